"""The one place that orders the writes of a snapshot. docs/design.md, "Write order".

Header and data go into a temporary file; only when they are durable do they get their name, and only when the name is
durable too is the snapshot acknowledged. How a storage makes that so is its own; that it did is what `commit()` of its
upload promises.
"""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.errors import CaptureError
from holdfast.format import header
from holdfast.format.prefix import Facts
from holdfast.format.reader import as_snapshot
from holdfast.snapshot import Json, Snapshot
from holdfast.staging import Staged
from holdfast.storage.base import Storage


def commit(
    storage: Storage, name: str, staged: Staged, facts: Facts, metadata: Mapping[str, Json] | None = None
) -> Snapshot:
    """Write a staged state under `name`; once this returns it is durable, and an older one of that name is replaced.

    Raises:
        CommitError: it could not be made durable: there is no such snapshot, and what stood under `name` still does,
            unless the message says that the outcome is unknown.
        CaptureError: the facts, values or metadata take more room than a header has.
        ValueError: `metadata` is no JSON, or `name` leads out of the storage.
    """
    checked = header.check_metadata({} if metadata is None else metadata)
    try:
        head = header.encode(staged.layout, staged.tree, facts, checked, staged.checksums())
    except ValueError as error:
        raise CaptureError(f"{name}: {error}") from None
    size_bytes = len(head) + staged.layout.data_bytes
    upload = storage.create(name, size_bytes)
    try:
        upload.write(0, head)
        upload.write(len(head), staged.data.data)
        upload.commit()
    except BaseException:
        upload.abort()
        raise
    return as_snapshot(facts, storage.location, name, size_bytes)
