"""What VariableStatisticsPlot looks at, and what it keeps of it: the arrays of its targets, their statistics, and a
sample of these of a fixed size."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from holdfast.state import arrays

Array = np.ndarray[Any, Any]

SEED = 7390  # of the draws; any number will do


class Reservoir:
    """A sample of at most `size` items of all that were added, each of them with the same chance.

    What is drawn follows from the count of items alone: no random generator is disturbed, and a restored sample goes on
    as the one that was saved.

    Args:
        size: the most items that it holds.
        data_shape: of an item.
        dtype: of its elements.

    Attributes:
        data: the items, in the order of their places; the first `min(counter, size)` are in use.
        idxs: the index of each.
        counter: how many items were added.
    """

    def __init__(self, size: int, data_shape: tuple[int, ...], dtype: Any = np.float32) -> None:
        self.size = size
        self.data: Array = np.zeros((size, *data_shape), dtype)
        self.idxs: Array = np.zeros(size, np.int64)
        self.counter = 0

    def add(self, x: Any, idx: int | None = None) -> None:
        """Add an item; it, or one that it displaces, may be lost.

        Args:
            x: of `data_shape`.
            idx: what it is sorted by; by default the count of items before it.
        """
        place = self.counter
        if place >= self.size:
            place = int(np.random.default_rng([SEED, self.counter]).integers(self.counter + 1))
        if place < self.size:
            self.data[place] = x
            self.idxs[place] = self.counter if idx is None else idx
        self.counter += 1

    def get_data(self) -> tuple[Array, Array]:
        """The indices of the items, rising, and the items."""
        filled = min(self.counter, self.size)
        order = np.argsort(self.idxs[:filled], kind="stable")
        return self.idxs[order], self.data[order]

    def serialize(self, serializer: Any) -> None:
        """Save or restore the sample."""
        self.data = serializer("data", self.data)
        self.idxs = serializer("idxs", self.idxs)
        self.counter = int(serializer("counter", self.counter))


class Statistician:
    """Statistics of all elements of some arrays together.

    Args:
        collect_mean: the mean.
        collect_std: the standard deviation of the population.
        percentile_sigmas: percentiles, from 0 to 100; as numpy's, linear between two elements.
    """

    def __init__(self, collect_mean: bool, collect_std: bool, percentile_sigmas: Sequence[float]) -> None:
        self.collect_mean = collect_mean
        self.collect_std = collect_std
        self.percentile_sigmas = percentile_sigmas

    @property
    def columns(self) -> list[str]:
        """What each statistic is called: "mean", "std", and the percentiles by their numbers."""
        moments = [name for name, wanted in (("mean", self.collect_mean), ("std", self.collect_std)) if wanted]
        return [*moments, *[f"{percentile:g}" for percentile in self.percentile_sigmas]]

    def __call__(self, parts: Sequence[Any]) -> Array:
        """The statistics, in the order of `columns`.

        Args:
            parts: arrays and tensors of any shapes. Tensors that are all on one device are looked at there.
        Returns:
            float32, NaN where there are no elements, or one of them is NaN.
        Raises:
            TypeError: one is of complex numbers.
        """
        flat = [one for one in map(_flat, parts) if len(one)]
        if not flat:
            return np.full(len(self.columns), np.nan, np.float32)
        places = {"host" if isinstance(one, np.ndarray) else str(one.device) for one in flat}
        if len(places) == 1 and "host" not in places:
            return self._of_tensor(sys.modules["torch"].cat(flat))
        return self._of_array(
            np.concatenate([one if isinstance(one, np.ndarray) else one.cpu().numpy() for one in flat])
        )

    def _of_array(self, values: Array) -> Array:
        with np.errstate(all="ignore"):  # infinite values make NaN
            moments = [function(values) for wanted, function in self._moments(np.mean, np.std) if wanted]
            percentiles = self._percentiles(len(values), lambda places: np.partition(values, places)[places])
            return np.array([*moments, *percentiles], np.float32)

    def _of_tensor(self, values: Any) -> Array:
        torch = sys.modules["torch"]

        def at(places: Array) -> Array:  # by sorting: torch.quantile refuses more than 16 million elements
            found: Array = values.sort().values[torch.as_tensor(places, device=values.device)].cpu().numpy()
            return found

        functions = self._moments(torch.mean, lambda values: torch.std(values, correction=0))
        moments = [function(values).item() for wanted, function in functions if wanted]
        with np.errstate(all="ignore"):
            return np.array([*moments, *self._percentiles(len(values), at)], np.float32)

    def _moments(self, mean: Any, std: Any) -> list[tuple[bool, Callable[[Any], Any]]]:
        return [(self.collect_mean, mean), (self.collect_std, std)]

    def _percentiles(self, count: int, at: Callable[[Array], Array]) -> Array:
        """The percentiles of `count` values, of which `at` gives those at some places in rising order, NaN last."""
        if not self.percentile_sigmas:
            return np.zeros(0)
        positions = np.asarray(self.percentile_sigmas, np.float64) / 100 * (count - 1)
        below = np.floor(positions).astype(np.int64)
        above = np.minimum(below + 1, count - 1)
        found = at(np.concatenate([below, above, [count - 1]])).astype(np.float64)
        if np.isnan(found[-1]):
            return np.full(len(positions), np.nan)
        low, high = np.split(found[:-1], 2)
        part = positions - below
        between: Array = np.where((low == high) | (part == 0), low, low + (high - low) * part)
        return between


def variables_of(targets: Any) -> list[Any]:
    """The variables of Chainer's links, of torch's modules, of lists and tuples of such and of variables; a variable is
    Chainer's, a tensor or a numpy array.

    Raises:
        TypeError: there is something else among them.
    """
    if isinstance(targets, list | tuple):
        return [variable for target in targets for variable in variables_of(target)]
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(targets, torch.nn.Module):
        return list(targets.parameters())
    if isinstance(targets, np.ndarray) or (torch is not None and isinstance(targets, torch.Tensor)):
        return [targets]
    if callable(getattr(targets, "params", None)):
        return list(targets.params())
    if hasattr(targets, "data") and hasattr(targets, "grad"):
        return [targets]
    raise TypeError(
        "VariableStatisticsPlot: targets must be variables, links, modules, tensors or numpy arrays, or lists of them, "
        f"and a {type(targets).__name__} is none of these"
    )


def has_grad(variable: Any) -> bool:
    """Whether there may be a gradient of it."""
    return not isinstance(variable, np.ndarray)


def part_of(variable: Any, part: str) -> Any:
    """The "data" or the "grad" of a variable; None where there is none, as before the first backward pass."""
    if isinstance(variable, np.ndarray):
        return variable if part == "data" else None
    if arrays.is_uninitialised(variable):
        return None
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(variable, torch.Tensor) and part == "grad":
        return variable.grad if variable.is_leaf or variable.retains_grad else None  # else torch warns
    return getattr(variable, part)


def _flat(array: Any) -> Any:
    """All elements in one dimension, in single or double precision: a tensor where it is on a device, else an array."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor):
        if array.is_complex():
            raise _complex(array)
        tensor = array.detach()
        tensor = (tensor.to_dense() if tensor.layout != torch.strided else tensor).reshape(-1)
        tensor = tensor if tensor.dtype == torch.float64 else tensor.to(torch.float32)
        return tensor.numpy() if tensor.device.type == "cpu" else tensor
    values: Array = np.ravel(array if not hasattr(array, "get") else array.get())  # cupy's gives it to numpy
    if values.dtype.kind == "c":
        raise _complex(array)
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float32)


def _complex(array: Any) -> TypeError:
    return TypeError(
        f"VariableStatisticsPlot: there are no percentiles of complex numbers ({array.dtype}); leave it out"
    )
