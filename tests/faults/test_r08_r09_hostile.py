"""R8 and R9: whatever a file says, it costs a typed error, little memory, and runs nothing; and that would be seen."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from faults import hostile_files, r08_hostile, r09_no_code
from faults.audit import Watch
from faults.broken import use_broken_copy
from faults.campaigns import in_processes
from faults.hostile_files import Bomb

COUNT = 50_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.mark.timeout(600)
def test_a_hostile_file_costs_a_typed_error_and_little_else(folder):
    outcome = r08_hostile.campaign(COUNT, folder=folder)
    assert outcome.bad == ()
    assert outcome.tried >= COUNT


@pytest.mark.timeout(600)
def test_loading_runs_no_code(folder):
    outcome = r09_no_code.campaign(COUNT, folder=folder)
    assert outcome.bad == ()
    assert outcome.tried >= COUNT


def test_every_kind_of_file_is_drawn():
    drawn = hostile_files.files(0)
    kinds = {next(drawn)[0] for _ in range(2000)}
    assert kinds == set(map(hostile_files.name_of, hostile_files.KINDS))


@pytest.mark.parametrize(
    ("changes", "promise", "said"),
    [
        pytest.param(
            [("format/npz.py", "except (ValueError, TypeError, KeyError,", "except (KeyError,")], 0, "ValueError",
            id="an error of another kind",
        ),
        pytest.param(
            [("format/npz.py", "if dtype == np.dtype(object) and shape == () and not fortran and "
              "is_pickled_none(data.tobytes()):",
              "if __import__('pickle').loads(data.tobytes()) is None:")],
            1, "pickle.find_class", id="a pickle that is loaded",
        ),
        pytest.param(
            [("format/npz.py", "spec = literal.parse(text)", "spec = eval(text)")], 1, "os.system",
            id="a text that is run",
        ),
        pytest.param(
            [("format/npz.py", "if length > min(MAX_NPY_HEADER, len(content) - start):", "if False:"),
             ("format/npz.py", "check_shape(list(shape), dtype.itemsize) * dtype.itemsize",
              "len(bytes(check_shape(list(shape), dtype.itemsize) * dtype.itemsize))")],
            0, "", id="a size that is believed",
        ),
    ],
)  # fmt: skip
def test_a_check_that_is_left_out_is_found(tmp_path, monkeypatch, changes, promise, said):
    use_broken_copy(monkeypatch, tmp_path / "broken", *changes)
    archives = ("lying_member", "lying_archive")
    ((*outcomes,),) = in_processes(r08_hostile.attack, [(600, 1, str(tmp_path), archives, 5)])
    assert outcomes[promise].bad_count > 0
    assert any(said in one for one in outcomes[promise].bad)


def test_the_watch_sees_what_a_pickle_runs():
    text = pickle.dumps(Bomb())
    with Watch() as watch:
        pickle.loads(text)
    assert any(event.startswith("pickle.find_class") for event in watch.seen)
    assert any(event.startswith("os.system") for event in watch.seen)
    watch.seen.clear()
    pickle.loads(text)
    assert watch.seen == []
