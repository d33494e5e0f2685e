"""The writer process from within: how it reads its orders, and when it leaves."""

from __future__ import annotations

import json
import os
import socket

import pytest

from holdfast.writers import helper, helper_process
from writers.jobs import file_job

pytestmark = pytest.mark.skipif(not helper.is_possible(), reason="no memory can be shared with another process here")


def told(channel):
    """What a process has answered, up to its end."""
    answers = []
    while text := channel.recv(helper.MESSAGE_BYTES):
        answers.append(json.loads(text))
    return answers


def order(job, number):
    parcel = job.handoff()
    message = {**parcel.message(), "id": number, "parent": os.getpid(), "memories": []}
    return [json.dumps(message).encode()], parcel.descriptors()


def test_an_order_that_comes_twice_is_answered_once(tmp_path):
    channel, process = helper._start(None)
    with channel, process:
        channel.send(json.dumps({"id": 0, "paths": helper._paths(None), "savefun": None}).encode())
        jobs = [file_job(tmp_path, "first"), file_job(tmp_path, "second")]
        for job, number in ((jobs[0], 1), (jobs[0], 1), (jobs[1], 2)):
            socket.send_fds(channel, *order(job, number))
        channel.shutdown(socket.SHUT_WR)
        assert [answer.get("id", "ready") for answer in told(channel)] == ["ready", 1, 2]
    assert process.returncode == 0


@pytest.fixture
def source():
    """The side of the process, in this one, and the socket's other end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        source = helper_process.Source(theirs, os.getppid())
        yield source, ours
    os.close(source._pidfd)


def test_orders_are_read_to_the_end_when_the_trainer_has_gone_without_reading_an_answer(source):
    source, trainer = source
    trainer.send(b'{"id": 1}')
    trainer.send(b'{"id": 2}')
    source.answer(ready=True)  # never read, so that reading the orders is an error once
    trainer.close()
    assert [source.next()[0]["id"], source.next()[0]["id"], source.next()] == [1, 2, None]


@pytest.mark.parametrize("has_pidfds", [True, False])
def test_orders_are_read_to_the_end_when_the_trainer_has_gone_and_others_hold_the_socket(
    has_pidfds, program, monkeypatch
):
    trainer = program("import sys; sys.stdin.readline()")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    monkeypatch.setattr(helper_process, "_LOOK_MS", 10)
    monkeypatch.setattr(os, "getppid", lambda: trainer.pid)
    if not has_pidfds:
        monkeypatch.delattr(os, "pidfd_open")
    with ours, theirs:
        source = helper_process.Source(theirs, trainer.pid)
        ours.send(b'{"id": 1}')
        ours.send(b'{"id": 2}')
        trainer.kill()
        monkeypatch.setattr(os, "getppid", lambda: 1)
        assert [source.next()[0]["id"], source.next()[0]["id"], source.next()] == [1, 2, None]
        if has_pidfds:
            os.close(source._pidfd)


def test_a_process_that_begins_when_its_trainer_is_gone_reads_what_is_there(monkeypatch):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.send(b'{"id": 1}')
        source = helper_process.Source(theirs, 2**22 - 1)  # no process has this id
        assert [source.next()[0]["id"], source.next()] == [1, None]
