"""R17: golden files load, and damaged ones are named; and a reader that takes them otherwise is found."""

from __future__ import annotations

import pytest

from faults.broken import use_broken_copy
from faults.campaigns import in_processes
from faults.r17_golden import campaign, judged
from golden import make_golden


def test_old_files_load_and_what_is_damaged_in_them_is_named(tmp_path):
    outcome = campaign(1, folder=tmp_path)
    assert outcome.bad == ()
    assert outcome.tried > make_golden.PATH.stat().st_size // 97


@pytest.mark.parametrize(
    ("module", "old", "new", "said"),
    [
        ("format/checking.py", "        if found != digest:", "        if False:", "neither a leaf nor the header"),
        ("format/sums.py", 'VERSION = b"1"', 'VERSION = b"2"', "version_1.safetensors"),
        ("format/npz.py", 'return Value("none", None)', 'return Value("int", 0)', ""),
    ],
    ids=["no sums", "another version", "None is 0"],
)
def test_a_reader_that_takes_them_otherwise_is_found(tmp_path, monkeypatch, module, old, new, said):
    use_broken_copy(monkeypatch, tmp_path / "broken", (module, old, new))
    try:
        (outcome,) = in_processes(judged, [(("numpy",),)])  # torch takes longer than the rest
        text = " ".join(outcome.bad)
    except RuntimeError as error:
        text = str(error)
    assert text
    assert said in text
