"""docs/from-chainer.md leaves nothing out: every public name of Chainer's stands in the table of its module; what is
said to be the same here is there, and takes the same arguments."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
from pathlib import Path

import pytest

from compat.chainer_env import ROOT, start
from compat.public_names import OBJECT, parameters_of

PAGE = (ROOT / "docs" / "from-chainer.md").read_text(encoding="utf-8")
MODULES = (
    "chainer.training",
    "chainer.training.extensions",
    "chainer.training.extensions.snapshot_writers",
    "chainer.training.triggers",
    "chainer.training.updaters",
    "chainer.serializers",
    "chainer.reporter",
)
SAME = "the same"
POSITIONAL = "POSITIONAL_OR_KEYWORD"
GATHERED = ("VAR_POSITIONAL", "VAR_KEYWORD")
ABSENT = "there is none"
OTHERWISE = {"LogReport"}  # filename=None means "log" in Chainer's code, and no file in its documentation, and here


def tables(page: str) -> dict[str, dict[str, str]]:
    """By module: each name of Chainer's that stands in its table, and what stands there for it."""
    found: dict[str, dict[str, str]] = {}
    for part in re.split(r"^### ", page, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        body = re.split(r"^## ", body, flags=re.MULTILINE)[0]
        rows = [row.split(" | ") for row in re.findall(r"^\| (.+) \|$", body, re.MULTILINE)]
        found[heading] = {
            name: here for names, here, *_ in rows for name in re.findall(r"`([\w.*]+)`", names) if names != "none"
        }
    return found


@pytest.fixture(scope="module")
def chainers():
    """By module, Chainer's public names with their parameters."""
    script = Path(__file__).with_name("public_names.py")
    process = start(script, *MODULES, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return json.loads(output)


def place_of(module: str, name: str, table: dict[str, dict[str, str]]) -> str | None:
    """What stands for a name: in the table of its module, or of one above, with the rest of its path before it."""
    at, path = module, name
    while at != "chainer":
        for spelled in (path, path.rpartition(".")[0] + ".*"):
            if spelled in table.get(at, {}):
                return table[at][spelled]
        at, _, last = at.rpartition(".")
        path = f"{last}.{path}"
    return None


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_stands_in_the_table_of_its_module(module, chainers):
    table = tables(PAGE)
    assert chainers[module]
    assert [name for name in chainers[module] if place_of(module, name, table) is None] == []


@pytest.mark.parametrize("module", MODULES)
def test_what_is_called_the_same_is_there_and_takes_chainers_arguments(module, chainers):
    table, here = tables(PAGE), importlib.import_module(module.replace("chainer", "holdfast", 1))
    same = [name for name in chainers[module] if SAME in (place_of(module, name, table) or "")]
    differing = {
        name: [chainers[module][name], parameters_of(getattr(here, name))]
        for name in same
        if name not in OTHERWISE and not takes(parameters_of(getattr(here, name)), chainers[module][name])
    }
    assert differing == {}


def takes(own: list[list[str]], theirs: list[list[str]]) -> bool:
    """Whether whatever is called with `theirs` can be called so with `own`: the same positions, names and defaults, and
    perhaps more behind them. A default that is no plain value may be None here."""
    named = {name: default for name, _, default in own}
    positions = [name for name, kind, _ in own if kind == POSITIONAL]
    wanted = [name for name, kind, _ in theirs if kind == POSITIONAL]
    return positions[: len(wanted)] == wanted and all(
        named.get(name, ABSENT) in ((default, "None") if default == OBJECT else (default,))
        for name, kind, default in theirs
        if kind not in GATHERED
    )


def test_a_name_that_is_left_out_is_found():
    table = tables("### chainer.x\n| Chainer | here |\n| --- | --- |\n| `a`, `b.*` | the same |\n| none | `c` |\n")
    assert place_of("chainer.x", "a", table) == "the same"
    assert place_of("chainer.x.b", "d", table) == "the same"
    assert place_of("chainer.x", "c", table) is None
    assert place_of("chainer.y", "a", table) is None


def test_an_argument_that_is_not_taken_is_found():
    x, y, more = ["x", POSITIONAL, ""], ["y", POSITIONAL, "1"], ["more", "KEYWORD_ONLY", "None"]
    assert takes([x, y, more], [x, y])
    assert takes([x, y, more], [x, ["options", "VAR_KEYWORD", ""]])
    assert takes([x, y, more], [x, more])
    assert not takes([x, y], [y, x])
    assert not takes([x, y], [x, ["y", POSITIONAL, "2"]])
    assert not takes([x, y], [x, more])
    assert takes([["x", POSITIONAL, "None"]], [["x", POSITIONAL, OBJECT]])
    assert not takes([["x", POSITIONAL, "1"]], [["x", POSITIONAL, OBJECT]])
