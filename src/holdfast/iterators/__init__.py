"""Iterators over batches whose exact place in the epoch is part of a snapshot."""

from __future__ import annotations

from holdfast.iterators.batch_iterator import BatchIterator
from holdfast.iterators.loader_iterator import LoaderIterator

__all__ = ["BatchIterator", "LoaderIterator"]
