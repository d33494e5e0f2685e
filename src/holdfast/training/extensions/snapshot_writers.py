"""Chainer's names for the writers of holdfast.writers."""

from __future__ import annotations

from holdfast.writers.queues import ProcessQueueWriter, QueueWriter, ThreadQueueWriter
from holdfast.writers.simple import SimpleWriter, Writer
from holdfast.writers.standard import ProcessWriter, StandardWriter, ThreadWriter

__all__ = [
    "ProcessQueueWriter",
    "ProcessWriter",
    "QueueWriter",
    "SimpleWriter",
    "StandardWriter",
    "ThreadQueueWriter",
    "ThreadWriter",
    "Writer",
]
