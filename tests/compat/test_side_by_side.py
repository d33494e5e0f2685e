"""Programs written to Chainer's documentation see the same with holdfast, but for what they list as better.

Each program of side_by_side/ is run twice in Chainer's environment: with Chainer, and with holdfast in its place.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from compat.chainer_env import interpreter, start
from holdfast.training import extensions, triggers
from holdfast.training.extensions import snapshot_writers

FOLDER = Path(__file__).parent / "side_by_side"
PROGRAMS = {path.stem: path for path in sorted(FOLDER.glob("*.py")) if path.stem not in ("runner", "support")}
SIDES = ("chainer", "holdfast")
ABSENT = "(absent)"
OWN = {"AnyTrigger", "every"}  # Chainer has no such thing
LIMIT_S = 250  # a quarter of a minute on a quiet machine; runner.py says first which program hangs

Outcomes = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcomes]:
    """By side, what came of every program."""
    interpreter()
    folders = {side: tmp_path_factory.mktemp(side) for side in SIDES}
    with ExitStack() as started:
        running = {}
        for side, folder in folders.items():
            output = started.enter_context((folder / "outcomes.json").open("w"))
            errors = started.enter_context((folder / "errors.txt").open("w"))
            arguments = (FOLDER / "runner.py", side, folder, *PROGRAMS.values())
            running[side] = started.enter_context(start(*arguments, stdout=output, stderr=errors))
            started.callback(running[side].kill)
        for side, process in running.items():
            assert process.wait(LIMIT_S) == 0, (folders[side] / "errors.txt").read_text()
    return {side: json.loads((folder / "outcomes.json").read_text()) for side, folder in folders.items()}


def differences(chainer: dict[str, Any], holdfast: dict[str, Any]) -> dict[str, list[Any]]:
    """What is not the same on both sides, with both values."""
    names = sorted({*chainer, *holdfast})
    pairs = {name: [chainer.get(name, ABSENT), holdfast.get(name, ABSENT)] for name in names}
    return {name: pair for name, pair in pairs.items() if _text(pair[0]) != _text(pair[1])}


def _text(value: Any) -> str:
    """A value with its type: 1, 1.0 and true are equal."""
    return json.dumps(value, sort_keys=True)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_sees_the_same_with_holdfast_but_for_what_it_lists(program, outcomes):
    chainer, holdfast = (outcomes[side][program] for side in SIDES)
    for outcome in (chainer, holdfast):
        assert "crashed" not in outcome, outcome["crashed"]
    assert chainer["outcome"], "it compares nothing"
    assert differences(chainer["outcome"], holdfast["outcome"]) == holdfast["differs"]


def test_a_difference_is_found_whether_a_value_or_a_name_differs():
    assert differences({"a": [1, 2], "b": None}, {"a": [1, 2], "b": None}) == {}
    assert differences({"a": 1, "b": 2}, {"a": 1, "b": 3}) == {"b": [2, 3]}
    assert differences({"a": 1}, {"a": 1.0}) == {"a": [1, 1.0]}
    assert differences({"a": 1}, {"b": 1}) == {"a": [1, ABSENT], "b": [ABSENT, 1]}


@pytest.mark.parametrize("module", [extensions, triggers, snapshot_writers], ids=lambda module: module.__name__)
def test_every_name_that_chainer_has_too_stands_in_a_program(module):
    texts = "\n".join(path.read_text() for path in PROGRAMS.values())
    assert [name for name in module.__all__ if name not in texts and name not in OWN] == []
