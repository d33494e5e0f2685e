"""One extension, three hosts: the same cases in holdfast's Trainer, in a manager of pytorch-pfn-extras, and in
Chainer's own Trainer, for which an interpreter of its own runs the cases of a module one after the other."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.register_assert_rewrite("compat.hosts.taking", "compat.hosts.resuming")

from compat.chainer_env import start  # noqa: E402
from compat.hosts import resuming, taking  # noqa: E402
from compat.hosts.adapters import host_named  # noqa: E402
from compat.hosts.run_cases import Case, cases_of  # noqa: E402

HERE = Path(__file__).resolve().parent
ALL = [*cases_of(taking), *cases_of(resuming)]


def name_of(case: Case) -> str:
    return case.__name__


def names_in(module: str) -> list[str]:
    """The cases of a module that may import what is not here."""
    tree = ast.parse((HERE / f"{module}.py").read_text(encoding="utf-8"))
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [name for name in functions if not name.startswith("_")]


IN_CHAINER = [(module, case) for module in ("taking", "resuming", "chainer_only") for case in names_in(module)]


@pytest.mark.parametrize("case", ALL, ids=name_of)
def test_in_holdfasts_trainer(case, tmp_path):
    case(host_named("holdfast"), tmp_path / "out")


@pytest.mark.parametrize("case", ALL, ids=name_of)
def test_in_a_manager_of_pytorch_pfn_extras(case, tmp_path):
    pytest.importorskip("pytorch_pfn_extras")
    case(host_named("pytorch-pfn-extras"), tmp_path / "out")


@pytest.fixture(scope="module")
def in_chainer(tmp_path_factory):
    """Runs the cases of a module in Chainer's environment, once; returns what came of each."""
    known: dict[str, dict[str, str]] = {}

    def run(module: str) -> dict[str, str]:
        if module not in known:
            arguments = (HERE / "run_cases.py", "chainer", tmp_path_factory.mktemp(module), module)
            process = start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            output, errors = process.communicate()
            assert process.returncode == 0, errors
            known[module] = json.loads(output.splitlines()[-1])
        return known[module]

    return run


@pytest.mark.parametrize(("module", "case"), IN_CHAINER)
def test_in_chainers_trainer(module, case, in_chainer):
    outcome = in_chainer(module)[case]
    assert not outcome, outcome


def test_neither_chainer_nor_pytorch_pfn_extras_is_imported_for_holdfasts_trainer(tmp_path):
    program = """
import sys
from pathlib import Path
from compat.hosts.adapters import host_named, started
from holdfast.training import extensions
host, out = host_named("holdfast"), Path(sys.argv[1])
started(host, out, 2, extensions.snapshot(snapshot_on_error=True))
started(host, out, 4, extensions.snapshot(autoload=True))
print(*sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, "-c", program, str(tmp_path / "out")]
    ended = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in ended.stdout.split()}
    assert "holdfast" in loaded
    assert loaded.isdisjoint({"pytorch_pfn_extras", "chainer", "torch"})
