"""The one place that orders the writes of a snapshot. docs/design.md, "Write order".

Header and data go into a temporary file; only when they are durable do they get their name, and only when the name is
durable too is the snapshot acknowledged. How a storage makes that so is its own; that it did is what `commit()` of its
upload promises. A writer process does this without numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import xxhash

from holdfast import crew
from holdfast.image import Image, seal
from holdfast.storage.base import Storage, Upload

BLOCK_BYTES = 16 << 20  # written in one call
WRITERS = 2  # calls under way at once; the disk gains nothing by more


def commit(storage: Storage, name: str, image: Image) -> None:
    """Write a file under `name`; once this returns it is durable, and an older one of that name is replaced.

    The checksums are made in the same pass, so that the header comes last.

    Raises:
        CommitError: it could not be made durable: there is no such snapshot, and what stood under `name` still does,
            unless the message says that the outcome is unknown.
        ValueError: `name` leads out of the storage.
    """
    upload = storage.create(name, image.size_bytes)
    try:
        digests: list[bytes] = []
        tasks: list[crew.Task] = [partial(_hash, image, digests), *_writes(upload, image)]
        crew.run(tasks, 1 + WRITERS if len(image.data) > BLOCK_BYTES else 1)
        seal(image, digests)
        upload.write(0, image.header)
        upload.commit()
    except BaseException:
        upload.abort()
        raise


def _hash(image: Image, digests: list[bytes]) -> None:
    start = 0
    for end in image.ends:
        digests.append(xxhash.xxh3_128_digest(image.data[start:end]))
        start = end


def _writes(upload: Upload, image: Image) -> Iterator[Callable[[], None]]:
    offset, data = len(image.header), image.data
    for start in range(0, len(data), BLOCK_BYTES):
        yield partial(upload.write, offset + start, data[start : start + BLOCK_BYTES])
