"""Writers: when, and in which thread or process, a staged snapshot is committed; they hand failures back."""

from holdfast.writers.base import Job, Writer
from holdfast.writers.inline import InlineWriter
from holdfast.writers.pending import Pending
from holdfast.writers.simple import SimpleWriter

__all__ = ["InlineWriter", "Job", "Pending", "SimpleWriter", "Writer"]
