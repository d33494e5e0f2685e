"""Every exception that holdfast raises of its own, each with when it is raised.

All derive from HoldfastError; most also derive from the built-in that a caller would expect, so that an existing
`except OSError` or `except ValueError` keeps working. A message says where, what was found, what was wanted and what
to do.
"""

from __future__ import annotations


class HoldfastError(Exception):
    """The base of every error that holdfast raises on purpose."""


class CaptureError(HoldfastError, TypeError):
    """A target holds something that cannot be captured; names its path. Nothing was written."""


class StagingError(HoldfastError, MemoryError):
    """The host memory that a copy of the state needs could not be had. Nothing was written."""


class MismatchError(HoldfastError, ValueError):
    """A snapshot does not fit its target; lists what is missing, unexpected and different.

    Raised before anything is changed; or, when a target's own load method failed half-way, after the state of before
    was put back: the message then says of each target whether it is unchanged, put back, or not.
    """


class DamagedError(HoldfastError):
    """Bytes do not match their checksum, or a file is not whole; names the leaf and its byte range, or the header."""


class UnknownFormatError(HoldfastError, ValueError):
    """A file is of no format that holdfast reads, of a newer version, or has no checksums to verify."""


class NotFoundError(HoldfastError, LookupError):
    """There is no snapshot of that step or name, or no such path inside it; says which there are."""


class CommitError(HoldfastError, OSError):
    """A snapshot could not be made durable. It does not exist, and every earlier one is as it was, unless the message
    says that the outcome is unknown (the directory could not be synced after the rename)."""


class StoreLockedError(HoldfastError):
    """Another living process writes to this store; says what is known of it."""
