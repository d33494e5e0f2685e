"""What the snapshot extensions are given: whether it can be used together, and which files follow from it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from holdfast import files
from holdfast.keep import Policy, last
from holdfast.serializers import save_hdf5, save_npz
from holdfast.training.extensions.snapshot_files import Files, Foreign, Own
from holdfast.training.extensions.snapshot_names import Filename
from holdfast.training.extensions.snapshot_restore import restore_in_place
from holdfast.writers import SimpleWriter

Savefun = Callable[[str, Any], Any]
ON_FAILURE = ("raise", "warn")


def check_arguments(
    function: str, savefun: Any, condition: Any, writer: Any, n_retains: Any, keep: Any, loadfun: Any, on_failure: Any
) -> None:
    """Raise TypeError or ValueError where one is of the wrong kind, or two exclude one another.

    Args:
        function: that was called, for messages.
    """
    if savefun is not None and writer is not None:
        raise TypeError("savefun and writer arguments cannot be specified together.")
    for name, value in (("savefun", savefun), ("condition", condition), ("writer", writer), ("loadfun", loadfun)):
        if value is not None and not callable(value):
            raise TypeError(f"{function}: {name} must be callable, not {type(value).__name__}")
    torch = sys.modules.get("torch")
    if torch is not None and savefun is torch.save:
        raise TypeError(
            f"{function}: a savefun is called as savefun(path, mapping), and torch.save has its arguments in the other "
            "order; pass savefun=lambda path, mapping: torch.save(mapping, path), or leave savefun out"
        )
    if isinstance(n_retains, bool) or not hasattr(type(n_retains), "__index__"):
        raise TypeError(f"{function}: n_retains must be an int, not {n_retains!r}")
    if keep is not None and not isinstance(keep, Policy):
        raise TypeError(f"{function}: keep must be a policy such as holdfast.keep.last(3), not {keep!r}")
    if keep is not None and n_retains > 0:
        raise TypeError(f"{function}: keep and n_retains cannot be specified together")
    if on_failure not in ON_FAILURE:
        raise ValueError(f"{function}: on_failure must be 'raise' or 'warn', not {on_failure!r}")


def files_and_writer(
    function: str,
    names: Filename,
    role: str,
    autoload: bool,
    savefun: Savefun | None,
    writer: Any,
    n_retains: int,
    keep: Policy | None,
    loadfun: Savefun | None,
) -> tuple[Files, Any]:
    """How an extension's files are found again and read, and the writer that makes them.

    Raises:
        ValueError: they could not be read, or not be told apart.
    """
    if names.template is None and (keep is not None or n_retains > 0 or autoload):
        raise ValueError(
            f"{function}: filename is a function, and names that it made cannot be told from others: use a format "
            "string with n_retains, keep and autoload"
        )
    given = savefun if writer is None else getattr(writer, "savefun", None)
    takes_jobs = writer is None or bool(getattr(writer, "takes_jobs", hasattr(writer, "submit")))
    if given is files.save and (writer is None or hasattr(writer, "submit")):
        given, takes_jobs = None, True  # what a writer does anyway
    if takes_jobs and given is None and names.suffix != ".npz":
        if loadfun is not None:
            raise ValueError(f"{function}: loadfun is for files that a savefun wrote, and holdfast reads its own")
        return Own(names, role, keep or (last(n_retains) if n_retains > 0 else None)), writer or SimpleWriter()
    if keep is not None:
        raise ValueError(
            f"{function}: keep needs what the headers of snapshot files say, and a file in npz or of a savefun or "
            "custom writer has none: use n_retains, or leave savefun and writer out"
        )
    if given is None and takes_jobs:
        given = _save_stored_npz
    if loadfun is None and _is_known(given):
        loadfun = restore_in_place
    if autoload and loadfun is None:
        what = "writer" if given is None else "savefun"
        raise ValueError(
            f"{function}: autoload cannot read what a {what} of your own writes: pass loadfun=, a function "
            "loadfun(path, target)"
        )
    if writer is None:
        writer = SimpleWriter(savefun=given)
    return Foreign(names, max(n_retains, 0), loadfun), writer


def _save_stored_npz(path: str, mapping: Any) -> None:
    save_npz(path, mapping, compression=False)


def _is_known(savefun: Any) -> bool:
    """Whether holdfast itself reads what a savefun writes: its own ones, with other options too, and Chainer's."""
    while isinstance(savefun, partial):
        savefun = savefun.func
    chainers = sys.modules.get("chainer.serializers")
    theirs = [getattr(chainers, name, None) for name in ("save_npz", "save_hdf5")] if chainers is not None else []
    return savefun is not None and any(savefun is one for one in (save_npz, save_hdf5, _save_stored_npz, *theirs))
