"""What the documents say is true: their Python runs, what they point at is there, and no argument is left out.

The ```python blocks below one "## " heading are one program: it is run in an empty folder, and once more in the same
folder, where it finds what it left. What is not to be run stands in blocks of another kind.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import holdfast
from compat import chainer_env
from holdfast.training import extensions

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
ARGUMENTS = ROOT / "docs" / "snapshot-extension.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FRAMEWORKS = ("torch", "jax", "optax", "pytorch_pfn_extras")

TWICE = """
import runpy, sys
for start in ("first", "second"):
    runpy.run_path(sys.argv[1], run_name="__main__")
"""  # in one process: importing a framework takes longer than all the rest

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
INLINE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"[\w.-]*[\w-](/[\w.-]+)*(/|\.(py|md|toml|txt))")
DOTTED = re.compile(r"\bholdfast(?:\.[A-Za-z_]\w*)+")


def name_of(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


def without_blocks(text: str) -> str:
    return FENCE.sub("", text)


def headings(text: str) -> list[str]:
    return re.findall(r"^#+ (.+)$", without_blocks(text), re.MULTILINE)


def anchor(heading: str) -> str:
    """What a link to a heading ends in, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def sections(text: str) -> Iterator[tuple[str, str]]:
    """Each "## " heading, and what stands below it."""
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        yield heading, body


def programs() -> Iterator[object]:
    for document in DOCUMENTS:
        for heading, body in sections(document.read_text(encoding="utf-8")):
            blocks = [code for language, code in FENCE.findall(body) if language == "python"]
            if blocks:
                yield pytest.param("\n".join(blocks), id=f"{name_of(document)}: {heading}")


def broken_links(document: Path) -> list[str]:
    text, found = without_blocks(document.read_text(encoding="utf-8")), []
    for target in LINK.findall(text):
        path, _, fragment = target.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        file = document if not path else document.parent / path
        if not file.exists():
            found.append(f"{target}: there is no such file")
        elif fragment and fragment not in map(anchor, headings(file.read_text(encoding="utf-8"))):
            found.append(f"{target}: there is no such heading")
    return found


def missing_files(document: Path) -> list[str]:
    """Files and folders, named between backticks, that are nowhere in the project; folders above may be left out."""
    text = without_blocks(document.read_text(encoding="utf-8"))
    named = [name for name in INLINE.findall(text) if PATH.fullmatch(name)]
    return [name for name in named if not any(place.endswith("/" + name) for place in places())]


@cache
def places() -> list[str]:
    """Every file of the project, and every folder with a "/" at its end, with a "/" before each."""
    folders = [ROOT / name for name in ("src", "tests", "docs", "examples", ".ci")]
    below = [path for folder in folders for path in folder.rglob("*")]
    paths = [*ROOT.glob("*.*"), ROOT / "Makefile", *folders, *below]
    return [f"/{path.relative_to(ROOT).as_posix()}{'/' if path.is_dir() else ''}" for path in paths]


def resolve(dotted: str) -> None:
    """Follow a name such as holdfast.training.Trainer.

    Raises:
        AttributeError, ModuleNotFoundError: there is no such name, or it is not public.
    """
    found: object = holdfast
    done = "holdfast"
    for name in dotted.split(".")[1:]:
        if name.startswith("_"):
            raise AttributeError(f"{dotted} is not public")
        if not hasattr(found, name):
            importlib.import_module(f"{done}.{name}")  # a module that nobody has imported yet
        inner = getattr(found, name)
        public = getattr(found, "__all__", (name,))
        if name not in public and not isinstance(inner, ModuleType):
            raise AttributeError(f"{dotted} is not public")
        found, done = inner, f"{done}.{name}"


def unknown_names(text: str) -> list[str]:
    found = []
    for dotted in sorted(set(DOTTED.findall(text))):
        try:
            resolve(dotted)
        except (AttributeError, ModuleNotFoundError):
            found.append(dotted)
    return found


def unknown_targets(text: str) -> list[str]:
    """Commands `make X` for which the Makefile has no rule."""
    rules = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    commands = re.findall(r"(?:^ {4}|`|PYTHON=\S+ )make ([\w-]+)", text, re.MULTILINE)
    return [name for name in commands if name not in rules]


def argument_sections() -> dict[str, str]:
    """Each heading of the page on snapshots that is one name between backticks, and what stands below it."""
    parts = re.split(r"^### ", ARGUMENTS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = {}
    for part in parts:
        heading, _, body = part.partition("\n")
        if name := re.fullmatch(r"`(\w+)`", heading):
            found[name[1]] = re.split(r"^## ", body, flags=re.MULTILINE)[0]
    return found


@pytest.mark.parametrize("program", [*programs()])
def test_the_python_of_a_document_runs_and_runs_again_in_the_same_folder(program, tmp_path):
    for framework in FRAMEWORKS:
        if re.search(rf"^import {framework}\b", program, re.MULTILINE):
            pytest.importorskip(framework)
    python = [sys.executable, "-W", "error"]
    if re.search(r"^import chainer\b", program, re.MULTILINE):
        python = [chainer_env.interpreter(), "-W", "ignore"]  # Chainer warns of every numpy and Python since 2020
    file, folder = tmp_path / "program.py", tmp_path / "empty"
    file.write_text(program, encoding="utf-8")
    folder.mkdir()
    ended = subprocess.run(
        [*python, "-c", TWICE, str(file)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # threads that wait for a busy machine take many times as long
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def test_the_readme_runs_a_trainer_and_a_loop_of_each_framework():
    text = "\n".join(
        code for language, code in FENCE.findall(README.read_text(encoding="utf-8")) if language == "python"
    )
    for needed in ("training.Trainer(", "import torch", "import jax", "import optax", "store.resume(", "store.save("):
        assert needed in text


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_to_files_and_headings_that_exist(document):
    assert broken_links(document) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_files_and_folders_that_are_named_exist(document):
    assert missing_files(document) == []


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if d.name != "format.md"], ids=name_of)
def test_every_name_of_holdfasts_is_there_and_public(document):
    """docs/format.md names keys of a header that look like them."""
    assert unknown_names(document.read_text(encoding="utf-8")) == []


def test_the_readme_names_nothing_that_is_not_public():
    named = {dotted.split(".")[1] for dotted in DOTTED.findall(README.read_text(encoding="utf-8"))}
    assert named - set(holdfast.__all__) == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_make_command_has_a_rule(document):
    assert unknown_targets(document.read_text(encoding="utf-8")) == []


def test_the_readme_opens_with_the_two_commands():
    commands = re.findall(r"^    (make \w+)", README.read_text(encoding="utf-8")[:600], re.MULTILINE)
    assert commands == ["make demo", "make test"]


def test_six_entry_points_lead_through_the_source():
    [body] = [body for heading, body in sections(README.read_text(encoding="utf-8")) if heading == "Reading the source"]
    entries = re.findall(r"^\d\. `(src/holdfast/[\w/]+\.py)`", body, re.MULTILINE)
    assert len(entries) == 6
    assert all((ROOT / entry).is_file() for entry in entries)


def test_every_argument_of_the_snapshot_extensions_has_a_paragraph_and_an_example():
    wanted = {
        name
        for function in (extensions.snapshot_object, extensions.snapshot)
        for name in inspect.signature(function).parameters
    }
    found = argument_sections()
    assert found.keys() == wanted
    for name, body in found.items():
        examples = [code for language, code in FENCE.findall(body) if language == "python"]
        assert any(name in code for code in examples), f"{name} has no example"
        assert len(without_blocks(body).split()) >= 20, f"{name} has no paragraph"


@pytest.fixture
def document(tmp_path):
    """Writes a document, and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "document.md"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_link_to_nowhere_is_found(document):
    text = "# A heading, of sorts\n[a](other.md) [b](#a-heading-of-sorts) [c](#another) [d](https://example.org/x)\n"
    assert broken_links(document(text)) == ["other.md: there is no such file", "#another: there is no such heading"]


def test_a_file_that_is_nowhere_is_found(document):
    text = "`store.py`, `state/`, `tests/test_layers.py`, `a/b` and `it_10.npz`; but `shop.py` and `attic/`\n"
    assert missing_files(document(text)) == ["shop.py", "attic/"]


def test_a_name_that_does_not_exist_or_is_not_public_is_found():
    text = (
        "holdfast.save, holdfast.training.Trainer, holdfast.iterators.BatchIterator, holdfast.shave, holdfast._version"
    )
    assert unknown_names(text) == ["holdfast._version", "holdfast.shave"]


def test_a_make_command_without_a_rule_is_found():
    assert unknown_targets("    make test   all\n`make fast`, PYTHON=python3.12 make sure; make what you like") == [
        "fast",
        "sure",
    ]
