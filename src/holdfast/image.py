"""A snapshot file in memory, whole but for its checksums. Whoever writes it hashes the leaves and seals the header.

Nothing here needs more than the standard library and xxhash: a writer process does without numpy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from holdfast.format.sums import HEADER_SUM, header_sum


@dataclass(frozen=True, slots=True)
class Image:
    """A header and the data behind it. Nobody may change the memory before the file is written."""

    header: memoryview  # bytes, writable; its own sum and the checksums are zeroes
    checksums_at: int  # where in the header the checksums stand: 32 hex digits a leaf, in file order
    data: memoryview  # bytes, the leaves one behind the other
    ends: Sequence[int]  # one a leaf: where it ends in the data; each begins where the one before it ends

    @property
    def size_bytes(self) -> int:
        """Of the whole file."""
        return len(self.header) + len(self.data)


def seal(image: Image, digests: Iterable[bytes]) -> None:
    """Put the checksums and the header's own sum into the header, which is complete then.

    Args:
        digests: the xxh3-128 digest (16 bytes) of each leaf, in file order.
    """
    text = b"".join(digests).hex().encode("ascii")
    image.header[image.checksums_at : image.checksums_at + len(text)] = text
    image.header[HEADER_SUM] = header_sum(image.header)
