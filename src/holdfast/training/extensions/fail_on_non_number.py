"""FailOnNonNumber: ends a training that has diverged, instead of letting it go on with NaN and infinity.

Snapshots are taken after every other extension, so that none is taken of the iteration in which this one fails, but for
one on error, which is marked so and does not outrank the good ones.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.state import arrays, dtypes, protocols
from holdfast.state.capture import capture
from holdfast.state.tree import Array, join
from holdfast.training import chainer_bridge
from holdfast.training.extension import Extension
from holdfast.training.updater import is_optimizer

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer

Named = tuple[str, Any]
"""A path and the array that stands there."""

MOST_NAMED = 5  # arrays in one message


class FailOnNonNumber(Extension):
    """Raises a RuntimeError as soon as a parameter holds NaN or infinity; the error names the array and the element.

    Looked at are the parameters of Chainer's links and of PyTorch's modules (not their persistent values or buffers: a
    mask may well hold infinity), the parameters of optimizers (not their moments), and every array of whatever else can
    be captured: dicts of arrays, pytrees, objects with `serialize`. Arrays of whole numbers and numbers outside of
    arrays are passed over. On a GPU, it waits once in each call for what the device was given to do.

    Args:
        target: what to look at. None: the targets of the trainer's updater (FunctionUpdater, TorchUpdater), or else the
            models of its optimizers.

    Raises:
        CaptureError: something in `target` cannot be looked into; names its path.
    """

    def __init__(self, target: object = None) -> None:
        self._target = target
        if target is not None:
            list(_arrays_of(target, ""))

    def initialize(self, trainer: Trainer) -> None:
        """Look for something to look at.

        Raises:
            ValueError: no target was given, and the updater has neither targets nor optimizers.
        """
        if self._target is None and not _targets_of(trainer.updater):
            raise ValueError(
                f"FailOnNonNumber: the updater, a {type(trainer.updater).__name__}, has no targets and no optimizers; "
                "say what to look at, as in FailOnNonNumber(model)"
            )

    def __call__(self, trainer: Trainer) -> None:
        """Look at every array.

        Raises:
            RuntimeError: one holds NaN or infinity. Says which, how many, and where the first is.
        """
        found = _parameters_of(_targets_of(trainer.updater)) if self._target is None else _arrays_of(self._target, "")
        wrong = _with_non_numbers(_distinct(found))
        if wrong:
            raise RuntimeError(
                f"training has diverged in iteration {trainer.updater.iteration}: {_described(wrong)}; go on from an "
                "earlier snapshot with a lower learning rate, or look for a bad batch"
            )


def _targets_of(updater: Any) -> Mapping[str, Any]:
    """Names to what an updater changes."""
    targets = getattr(updater, "targets", None)
    return targets if isinstance(targets, Mapping) and targets else dict(updater.get_all_optimizers())


def _parameters_of(targets: Mapping[str, Any]) -> Iterator[Named]:
    """The arrays of an updater's targets. Those of optimizers come last: a parameter is called as its model has it, and
    only where no target has it by a name, by its place in the optimizer."""
    helpers = [name for name, target in targets.items() if _is_helper(target)]
    last = [name for name, target in targets.items() if is_optimizer(target)]
    first = [name for name in targets if name not in helpers and name not in last]
    for name in first + last:
        yield from _arrays_of(targets[name], join("", name))


def _distinct(found: Iterable[Named]) -> list[Named]:
    """Each array once, under the first of its paths."""
    distinct: dict[int, Named] = {}
    for path, array in found:
        distinct.setdefault(id(array), (path, array))
    return list(distinct.values())


def _is_helper(target: Any) -> bool:
    """Whether it holds no parameters: schedulers, loss scalers and generators of torch, and what says of itself that
    its keys come and go, such as gradients that are being summed up, in which a loss scaler copes with infinity."""
    if getattr(type(target), protocols.LENIENT, False):
        return True
    torch = sys.modules.get("torch")
    if torch is None or isinstance(target, torch.nn.Module | torch.optim.Optimizer | torch.Tensor):
        return False
    return type(target).__module__.split(".")[0] == "torch"


def _arrays_of(target: Any, path: str) -> Iterator[Named]:
    """Every array that is looked at, under `path`."""
    torch = sys.modules.get("torch")
    if target is None or type(target) in (bool, int, float, complex, str, bytes):
        return
    if arrays.framework_of(target) is not None:
        if not arrays.is_uninitialised(target) and not arrays.is_jax_key(target):
            yield path or "the target", target
    elif torch is not None and isinstance(target, torch.nn.Module):
        for name, parameter in target.named_parameters():
            yield from _arrays_of(parameter, join(path, name))
    elif callable(getattr(target, "namedparams", None)):
        for name, parameter in target.namedparams():
            if parameter.array is not None:
                yield path + name if path else name.lstrip("/"), parameter.array
    elif hasattr(target, "param_groups"):
        for number, group in enumerate(target.param_groups):
            for place, parameter in enumerate(group["params"]):
                yield from _arrays_of(parameter, f"{path or 'optimizer'}/param_groups/{number}/params/{place}")
    elif is_optimizer(target):
        yield from _arrays_of(target.target, path)
    elif isinstance(target, dict):
        for key, part in target.items():
            yield from _arrays_of(part, join(path, key))
    elif type(target) in (list, tuple):
        for number, part in enumerate(target):
            yield from _arrays_of(part, join(path, number))
    else:
        for name, node in capture(target).arrays():
            if isinstance(node, Array):
                yield f"{path}/{name}" if path else name, _array_of(node)


def _array_of(node: Array) -> Any:
    """The live array of a node; where it shares its memory with another in part, a copy."""
    if node.view is None:
        return node.leaf.source
    return arrays.carried(node).view(dtypes.to_numpy(node.view.dtype))


def _with_non_numbers(found: Sequence[Named]) -> list[Named]:
    """Those that hold NaN or infinity. Each device is waited for once, whatever the number of arrays."""
    verdicts: dict[str, list[tuple[int, Any]]] = {}
    for number, (_, array) in enumerate(found):
        if _may_hold_any(array):
            device = str(array.device) if arrays.framework_of(array) == "torch" else ""
            verdicts.setdefault(device, []).append((number, _is_finite(array).all()))
    wrong: list[int] = []
    for device, given in verdicts.items():
        numbers, flags = zip(*given, strict=True)
        answers = sys.modules["torch"].stack(flags).tolist() if device else map(bool, flags)
        wrong += [number for number, good in zip(numbers, answers, strict=True) if not good]
    return [found[number] for number in sorted(wrong)]


def _may_hold_any(array: Any) -> bool:
    """Whether its dtype has NaN or infinity."""
    if arrays.framework_of(array) == "torch":
        return bool(array.is_floating_point() or array.is_complex())
    dtype = np.dtype(str(array.dtype)) if not isinstance(array.dtype, np.dtype) else array.dtype
    # the dtypes of ml_dtypes say of themselves that they are V
    return dtype.kind in "fc" or (dtype.kind == "V" and dtype.name.startswith(("bfloat", "float")))


def _is_finite(array: Any) -> Any:
    """Whether each element is a number: an array of the same kind, on the same device."""
    if arrays.framework_of(array) == "torch":
        return sys.modules["torch"].isfinite(_as_plain_tensor(array))
    return chainer_bridge.array_module(array).isfinite(array)


def _as_plain_tensor(tensor: Any) -> Any:
    """Strided, and of a dtype that torch can compute with everywhere."""
    torch = sys.modules["torch"]
    tensor = tensor.detach()
    tensor = tensor if tensor.layout == torch.strided else tensor.to_dense()
    return tensor.to(torch.float32) if tensor.element_size() == 1 else tensor


def _on_host(array: Any) -> np.ndarray[Any, Any]:
    if arrays.framework_of(array) == "torch":
        torch = sys.modules["torch"]
        tensor = _as_plain_tensor(array).cpu().resolve_conj().resolve_neg()
        host: np.ndarray[Any, Any] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        return host
    if arrays.framework_of(array) is None:
        array = sys.modules["chainer"].get_device("@numpy").send(array)
    return np.asarray(array)


def _described(wrong: Sequence[Named]) -> str:
    path, array = wrong[0]
    host = _on_host(array)
    finite = np.isfinite(host)
    count, nans = host.size - int(np.count_nonzero(finite)), int(np.count_nonzero(np.isnan(host)))
    place = [int(index) for index in np.unravel_index(int(np.argmin(finite)), host.shape)]
    kinds = f"({nans} NaN, {count - nans} infinite)"
    text = f"'{path}' holds {count} of {host.size} elements that are no finite numbers {kinds}"
    if place:
        text += f", the first at {place}"
    others = [f"'{other}'" for other, _ in wrong[1:]]
    if others:
        text += "; so does 1 other array: " if len(others) == 1 else f"; so do {len(others)} other arrays: "
        text += ", ".join(others[:MOST_NAMED])
        text += ", ..." if len(others) > MOST_NAMED else ""
    return text
