"""Iterators over batches whose exact place in the epoch is part of a snapshot."""

from __future__ import annotations

from holdfast.iterators.batch_iterator import BatchIterator

__all__ = ["BatchIterator"]
