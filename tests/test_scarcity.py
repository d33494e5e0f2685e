"""A lack of memory comes out as a MemoryError, whoever reports it, and other errors as they are."""

from __future__ import annotations

import ctypes
import errno

import pytest

from holdfast.errors import CommitError
from holdfast.scarcity import as_memory_error, is_lack_of_memory


def caused(error, cause):
    error.__cause__ = cause
    return error


def ended(error, context):
    error.__context__ = context
    return error


LACKS = [
    RuntimeError("can't allocate lock"),
    RuntimeError("can't allocate read lock"),
    ended(RuntimeError("cannot release un-acquired lock"), MemoryError()),
    ctypes.ArgumentError("argument 2: MemoryError: "),
    caused(SystemError("<class 'zip'> returned a result with an exception set"), MemoryError()),
    SystemError("<ufunc> returned NULL without setting an exception"),
    SystemError("NULL object passed to Py_BuildValue"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]
OTHERS = [
    RuntimeError("can't start new thread"),
    ended(RuntimeError("cannot release un-acquired lock"), ValueError()),
    ctypes.ArgumentError("argument 2: TypeError: wrong type"),
    caused(SystemError("<class 'zip'> returned a result with an exception set"), ValueError()),
    SystemError("of somebody else"),
    OSError(errno.EIO, "Input/output error"),
    CommitError(errno.ENOMEM, "model: not committed"),
    ValueError("can't allocate"),
    KeyboardInterrupt(),
]


def raising(error):
    with as_memory_error:
        raise error


@pytest.mark.parametrize("error", LACKS, ids=repr)
def test_a_lack_of_memory_comes_out_as_a_memory_error(error):
    assert is_lack_of_memory(error)
    with pytest.raises(MemoryError, match="there is no memory left") as raised:
        raising(error)
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_other_errors_come_out_as_they_are(error):
    assert not is_lack_of_memory(error)
    with pytest.raises(type(error)) as raised:
        raising(error)
    assert raised.value is error


def test_a_memory_error_is_not_wrapped():
    error = MemoryError("its own words")
    with pytest.raises(MemoryError) as raised:
        raising(error)
    assert raised.value is error


def test_a_function_that_is_marked_keeps_what_it_returns():
    @as_memory_error
    def twice(value):
        """Its words."""
        return 2 * value

    assert twice(4) == 8
    assert twice.__doc__ == "Its words."
