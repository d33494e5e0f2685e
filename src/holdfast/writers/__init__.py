"""Writers: when, and in which thread or process, a staged snapshot is committed; they hand failures back.

engine.py    takes jobs, bounds how many are under way, and loses no failure
carriers.py  carry jobs out: in the caller's thread, or in one beside it; helper.py: in a process
simple.py, standard.py, queues.py    Chainer's face, `writer(filename, outdir, mapping)`, and the five constructors
"""

from holdfast.writers.base import Handoff, Job, Writer
from holdfast.writers.pending import Pending, skipped
from holdfast.writers.queues import ProcessQueueWriter, ThreadQueueWriter
from holdfast.writers.simple import SimpleWriter
from holdfast.writers.standard import ProcessWriter, ThreadWriter

__all__ = [
    "Handoff",
    "Job",
    "Pending",
    "ProcessQueueWriter",
    "ProcessWriter",
    "SimpleWriter",
    "ThreadQueueWriter",
    "ThreadWriter",
    "Writer",
    "skipped",
]
