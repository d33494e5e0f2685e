"""The demonstration ends with status 0 where two runs are identical, with 1 and words where anything differs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import holdfast

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
SHORT = Path(__file__).with_name("short_training.py")
sys.path.insert(0, str(EXAMPLES / "digits"))

from compare import compare  # noqa: E402
from data import load  # noqa: E402
from killing import ONE_THREAD, RunFailed, live  # noqa: E402
from network import new_network  # noqa: E402


def demonstrate(folder: Path, *program: str) -> subprocess.CompletedProcess[str]:
    options = ["--iterations", "60", "--kills", "2", "--while-writing", "1", "--folder", str(folder)]
    command = [sys.executable, str(EXAMPLES / "digits" / "demo.py"), *options, *program]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def test_a_killed_run_that_keeps_everything_ends_identical(tmp_path):
    ended = demonstrate(tmp_path, str(SHORT))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "in the middle of writing a snapshot" in ended.stdout
    assert "both runs ended at iteration 60" in ended.stdout
    assert "arrays, 6 log rows" in ended.stdout


def test_a_killed_run_that_forgets_a_generator_ends_different_with_status_1(tmp_path):
    ended = demonstrate(tmp_path, str(SHORT), "forgetful")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "DIFFERENT" in ended.stdout
    assert "W1' differs in" in ended.stdout
    assert "identical" not in ended.stdout


def test_a_training_program_that_fails_ends_the_demonstration_with_its_last_words(tmp_path):
    program = tmp_path / "broken.py"
    program.write_text("print('starting after iteration 0'); raise SystemExit('the disk is made of cheese')")
    ended = demonstrate(tmp_path / "runs", str(program))
    assert ended.returncode == 1
    assert "the disk is made of cheese" in ended.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("short")
    subprocess.run([sys.executable, str(SHORT)], cwd=folder, env=ONE_THREAD, check=True, stdout=subprocess.DEVNULL)
    return folder / "result"


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    return shutil.copytree(finished, tmp_path / "result")


def edit_log(folder: Path, row: int, key: str) -> None:
    rows = json.loads((folder / "log").read_text())
    rows[row][key] += 1
    (folder / "log").write_text(json.dumps(rows))


def test_a_copy_of_a_run_is_identical(finished, copy):
    result = compare(finished, copy)
    assert result.differences == ()
    assert (result.iteration, result.rows, result.files) == (60, 6, 5)
    assert result.arrays >= 18
    assert result.generators >= 3


def test_a_different_time_is_no_difference(finished, copy):
    edit_log(copy, 0, "elapsed_time")
    assert compare(finished, copy).differences == ()


def test_a_different_row_of_the_log_is_named(finished, copy):
    edit_log(copy, 1, "loss")
    [difference] = compare(finished, copy).differences
    assert difference.startswith("log: row 2, 'loss' is ")


def test_one_different_bit_of_an_array_is_named(finished, copy):
    model = holdfast.restore(copy / "model_60", new_network(seed=1, hidden=512))
    model.weights["W2"].view(np.uint32)[3, 4] ^= 1
    holdfast.save(copy / "model_60", model)
    [difference] = compare(finished, copy).differences
    assert difference == f"model_60: array 'weights/W2' differs in 1 of {512 * 512} elements"


def test_a_generator_that_drew_once_more_is_named(finished, copy):
    model = holdfast.restore(copy / "model_60", new_network(seed=1, hidden=512))
    model.noise.random()
    holdfast.save(copy / "model_60", model)
    assert compare(finished, copy).differences == ("model_60: generator 'noise' is in another state",)


def test_a_missing_snapshot_is_named(finished, copy):
    (copy / "model_60").unlink()
    assert compare(finished, copy).differences == (f"model_60: only in {finished}",)


def test_a_temporary_file_that_nobody_swept_is_named(finished, copy):
    (copy / ".left.holdfast-tmp").touch()
    assert compare(finished, copy).differences == (f".left.holdfast-tmp: only in {copy}",)


@pytest.mark.parametrize("program", [("digits/train.py",), ("digits_torch.py", "train")], ids=["numpy", "torch"])
def test_an_example_that_is_killed_goes_on_from_its_newest_snapshot(tmp_path, program):
    if "torch" in program[0]:
        pytest.importorskip("torch")
    command = [sys.executable, str(EXAMPLES / program[0]), *program[1:]]
    first = live(command, tmp_path, kill_after=25)
    second = live(command, tmp_path, kill_after=50)
    assert first.started_after == 0
    assert second.started_after == second.whole_before >= 25


def test_a_program_that_ends_before_it_is_killed_is_a_failure(tmp_path):
    with pytest.raises(RunFailed, match="which was not to be"):
        live([sys.executable, "-c", "print('starting after iteration 0')"], tmp_path, kill_after=5)


def test_the_torch_example_without_torch_says_how_to_install_it():
    script = str(EXAMPLES / "digits_torch.py")
    program = f"import runpy, sys; sys.modules['torch'] = None; runpy.run_path({script!r}, run_name='__main__')"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "pip install" in ended.stdout


def test_the_digits_are_the_1797_of_the_uci_test_set():
    with np.load(EXAMPLES / "digits" / "digits.npz", allow_pickle=False) as file:
        images, labels = file["images"], file["labels"]
    assert images.shape == (1797, 8, 8)
    assert images.max() == 16
    assert int(images.sum(dtype=np.int64)) == 561718
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_training_and_held_out_digits_are_all_digits():
    images, labels, held_out_images, held_out_labels = load()
    assert (len(images), len(labels), len(held_out_images), len(held_out_labels)) == (1437, 1437, 360, 360)
    assert (images.dtype, images.min(), images.max()) == (np.float32, 0, 1)
