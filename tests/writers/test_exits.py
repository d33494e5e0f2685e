"""Writers that nobody closes: at the interpreter's end, in forked children, in a program without a main guard."""

from __future__ import annotations

import subprocess
import sys

import pytest

from writers.jobs import BACKGROUND, WRITERS

START = """
import logging, os, sys, threading
import numpy as np
import holdfast
from holdfast import writers
from holdfast.writers import Job
logging.basicConfig(format="%(levelname)s %(name)s %(message)s", level=logging.WARNING)
"""

SAVED = (
    START
    + """
store = holdfast.SnapshotStore(sys.argv[1], writer=getattr(writers, sys.argv[2])())
store.save(1, {"w": np.full(1 << 20, 1.0)})
"""
)

FAILED = (
    START
    + """
def fail():
    raise OSError("the disk is full")
writer = getattr(writers, sys.argv[1])()
pending = writer.submit(Job("model_7", fail))
pending.wait_finished()
"""
)

SLOW = (
    START
    + """
gate = threading.Event()
def slow():
    assert gate.wait(30)
    print("written", flush=True)
writer = getattr(writers, sys.argv[1])()
writer.submit(Job("slow", slow))
threading._register_atexit(gate.set)
"""
)


def run(*arguments):
    done = subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", WRITERS)
def test_a_store_that_is_never_closed_has_its_snapshot_after_the_program(name, tmp_path):
    assert run("-c", SAVED, tmp_path / "out", name) == (0, "", "")
    assert holdfast_verify(tmp_path / "out").step == 1


def holdfast_verify(directory):
    import holdfast

    [snapshot] = holdfast.SnapshotStore(directory, readonly=True).snapshots()
    return holdfast.verify(snapshot)


@pytest.mark.parametrize("name", ["ThreadWriter", "ProcessWriter"])
def test_a_program_in_a_file_without_a_main_guard_works(name, tmp_path):
    (tmp_path / "program.py").write_text(SAVED)
    assert run(tmp_path / "program.py", tmp_path / "out", name) == (0, "", "")
    assert holdfast_verify(tmp_path / "out").step == 1


@pytest.mark.parametrize("name", BACKGROUND)
def test_a_job_under_way_is_finished_before_the_interpreter_ends(name):
    code, output, _ = run("-c", SLOW, name)
    assert (code, output) == (0, "written\n")


@pytest.mark.parametrize("name", BACKGROUND)
def test_a_program_that_ends_with_an_error_keeps_its_last_snapshot_all_the_same(name, tmp_path):
    code, _, errors = run("-c", SAVED + "raise RuntimeError('the end')", tmp_path / "out", name)
    assert code == 1
    assert "the end" in errors
    assert holdfast_verify(tmp_path / "out").step == 1


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(
    ("more", "wanted"),
    [("", "ERROR holdfast model_7: not kept, and nobody was told: the disk is full\n"), ("pending.exception()", "")],
)
def test_a_failure_that_nobody_has_heard_of_at_the_end_of_the_program_is_logged(name, more, wanted):
    program = FAILED.replace('OSError("', 'OSError("model_7: ') + more
    wanted = wanted.replace("told: ", "told: model_7: ")
    assert run("-c", program, name) == (0, "", wanted)


def test_what_is_submitted_while_the_interpreter_ends_is_written():
    program = (
        START
        + """
import atexit
atexit.register(lambda: writer.submit(Job("last", lambda: print("written", flush=True))))
from holdfast.writers import ThreadWriter
writer = ThreadWriter()
"""
    )
    assert run("-c", program.replace("import holdfast\nfrom", "from")) == (0, "written\n", "")


FORK = (
    START
    + """
import warnings
warnings.simplefilter("ignore")  # newer Pythons warn of forks where there are threads
gate = threading.Event()
def slow():
    assert gate.wait(30)
    print("by", os.getpid() == parent, flush=True)
parent = os.getpid()
writer = getattr(writers, sys.argv[1])()
writer.submit(Job("slow", slow))
child = os.fork()
if child == 0:
    try:
        writer.submit(Job("late", lambda: print("by the child", flush=True)))
    except RuntimeError as error:
        print(error, flush=True)
    writer.close()
    mine = getattr(writers, sys.argv[1])()
    mine.submit(Job("own", lambda: print("a writer of its own", flush=True)))
    sys.exit()  # with everything that happens at the end of an interpreter
assert os.waitpid(child, 0)[1] == 0
gate.set()
writer.close()
again = getattr(writers, sys.argv[1])()
again.submit(Job("again", lambda: print("after the fork", flush=True)))
again.close()
"""
)


@pytest.mark.parametrize("name", BACKGROUND)
def test_a_forked_child_neither_writes_nor_waits_for_what_is_its_parents(name):
    code, output, errors = run("-c", FORK, name)
    lines = output.splitlines()
    assert code == 0, errors
    assert lines[0].startswith("late: this writer belongs to the process")
    assert lines[1:] == ["a writer of its own", "by True", "after the fork"]


@pytest.mark.parametrize("name", WRITERS)
def test_making_a_writer_starts_nothing(name):
    program = (
        START
        + """
before = threading.active_count()
writer = getattr(writers, sys.argv[1])()
print(threading.active_count() - before, os.path.exists(f"/proc/self/task/{os.getpid()}/children"))
print(open(f"/proc/self/task/{os.getpid()}/children").read())
"""
    )
    code, output, _ = run("-c", program, name)
    assert (code, output.split()) == (0, ["0", "True"])
