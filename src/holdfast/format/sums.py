"""Where the first bytes of a snapshot file stand, and the sum over its header. docs/format.md, "The prefix".

Nothing here needs more than the standard library and xxhash: a writer process does without numpy.
"""

from __future__ import annotations

import struct

import xxhash

PAGE = 4096
PREFIX = struct.Struct("<Q")  # length of the JSON header, padding included; then the header itself
LITERAL = b'{"__metadata__":{"holdfast":"'
VERSION = b"1"
VERSION_AT = PREFIX.size + len(LITERAL)  # 37: one character, a space
HEADER_SUM = slice(VERSION_AT + 2, VERSION_AT + 34)  # 39-70: 32 hex digits, a space
FACTS_SUM = slice(HEADER_SUM.stop + 1, HEADER_SUM.stop + 17)  # 72-87: 16 hex digits, a space
FACTS_AT = FACTS_SUM.stop + 1  # 89: the facts, up to the closing quote


def header_sum(header: bytes | bytearray | memoryview) -> bytes:
    """32 hex digits over length prefix, JSON and padding, the place of these digits taken as zeroes."""
    hasher = xxhash.xxh3_128(bytes(header[: HEADER_SUM.start]))
    hasher.update(b"0" * 32)
    hasher.update(memoryview(header)[HEADER_SUM.stop :])
    return hasher.hexdigest().encode("ascii")
