"""Chainer's names for the writers of holdfast.writers."""

from __future__ import annotations

from holdfast.writers.simple import SimpleWriter, Writer

__all__ = ["SimpleWriter", "Writer"]
