"""ParameterStatistics: mean, spread and percentiles of every parameter and its gradient, as reported values.

What was taken in since the last report belongs to the state: a resumed run reports what one does that was never
stopped.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from holdfast.reporter import report
from holdfast.state import arrays
from holdfast.training import chainer_bridge
from holdfast.training.extension import PRIORITY_WRITER, Extension
from holdfast.training.extensions.intervals import Means
from holdfast.training.extensions.variable_statistics import Statistician

if TYPE_CHECKING:
    from holdfast.training.trainer import Trainer

Statistic = Callable[[Any], Any]
"""Takes the elements of a parameter, in one dimension, and returns a real number or several."""

PERCENTILES = (0.13, 2.28, 15.87, 50, 84.13, 97.72, 99.87)
"""Of a normal distribution: the mean, and up to three standard deviations to either side."""


def _percentiles(values: Any) -> Any:
    if arrays.framework_of(values) == "torch":  # sorted on its device; torch.quantile takes 16 million elements at most
        return Statistician(False, False, PERCENTILES)([values])
    return chainer_bridge.array_module(values).percentile(values, np.asarray(PERCENTILES))


class ParameterStatistics(Extension):
    """Takes in statistics of parameters whenever it is called, and reports their means whenever `trigger` fires.

    The keys are Chainer's, such as "MLP/l1/W/data/mean": the prefix, the name of the link, the path of the parameter,
    "data" or "grad", and the name of the statistic, all joined by "/". One with several numbers has a key for each,
    with its position at the end: "MLP/l1/W/data/percentile/0". Nothing is reported of what is not there: parameters
    without a shape yet or without elements, and gradients that are None, as after `zero_grad()`.

    Args:
        links: a link of Chainer's or a module of PyTorch, a list or tuple of them, or a mapping of names to them. The
            name of a link that stands for itself is its attribute `name` ("None", as with Chainer, where it has none
            yet), and that of a module its attribute `name`, where that is a str, or else its class.
        statistics: names to functions, each of which takes all elements of a parameter in one dimension and returns a
            real number, or several: an array, a list or a tuple. What it takes is a numpy array where the parameter is
            in main memory (bfloat16 as float32), otherwise an array of cupy or a tensor on the parameter's device.
            "default" stands for `default_statistics`; None for none.
        report_params: take the values of the parameters in.
        report_grads: take their gradients in.
        prefix: stands, with a "/", before each key.
        trigger: when to report the means since the last time: a trigger, or a pair such as (1, "epoch"). It is not the
            one that `extend` takes, by which statistics are taken in: in every iteration, unless `extend` is told
            otherwise.
        skip_nan_params: report a single NaN for each statistic of an array that holds NaN, and do not call the
            function.

    Attributes:
        default_statistics: "mean", "std", "min", "max", "zeros" (how many elements are zero) and "percentile" (seven:
            0.13, 2.28, 15.87, 50, 84.13, 97.72, 99.87).
        report_key_template: what the keys are made with.

    Raises:
        TypeError: a link is none, a statistic is no function under a name, or `trigger` is none.
        ValueError: two parameters have the same key, or the trigger's period or unit is not one.
    """

    default_name = "parameter_statistics"
    priority = PRIORITY_WRITER
    report_key_template = "{prefix}{link_name}{param_name}/{attr_name}/{function_name}"
    default_statistics: ClassVar[dict[str, Statistic]] = {
        "mean": lambda values: values.mean(),
        # of the population, where torch would give that of a sample
        "std": lambda values: values.std(**({"correction": 0} if arrays.framework_of(values) == "torch" else {})),
        "min": lambda values: values.min(),
        "max": lambda values: values.max(),
        "zeros": lambda values: (values == 0).sum(),
        "percentile": _percentiles,
    }

    def __init__(
        self,
        links: Any,
        statistics: Mapping[str, Statistic] | str | None = "default",
        report_params: bool = True,
        report_grads: bool = True,
        prefix: str | None = None,
        trigger: Any = (1, "epoch"),
        skip_nan_params: bool = False,
    ) -> None:
        self._links = _named_links(links)
        if isinstance(statistics, str) and statistics == "default":
            statistics = self.default_statistics
        if statistics is not None and not isinstance(statistics, Mapping):
            raise TypeError(
                f"ParameterStatistics: statistics must be a mapping of names to functions, 'default' or None, not "
                f"{statistics!r}"
            )
        self._statistics: dict[str, Statistic] = {}
        for name, function in (statistics or {}).items():
            self.register_statistics(name, function)
        self._attrs = [name for name, wanted in (("data", report_params), ("grad", report_grads)) if wanted]
        self._prefix = f"{prefix}/" if prefix else ""
        self._means = Means("ParameterStatistics", trigger, kept_by_chainer=False)
        self._skip_nan_params = skip_nan_params
        self._check_keys()

    def register_statistics(self, name: str, function: Statistic) -> None:
        """Take in one more statistic from now on; see `statistics`. One of the same name is replaced.

        Raises:
            TypeError: `function` is none, or `name` is no str.
        """
        if not isinstance(name, str):
            raise TypeError(f"ParameterStatistics: the name of a statistic must be a str, not {name!r}")
        if not callable(function):
            raise TypeError(
                f"ParameterStatistics: the statistic {name!r} must be a function, not {type(function).__name__}"
            )
        self._statistics[name] = function

    def initialize(self, trainer: Trainer) -> None:
        """Begin here, where a training goes on whose snapshot knows nothing of this extension."""
        self._means.initialize(trainer)

    def __call__(self, trainer: Trainer) -> None:
        """Take in the statistics of this iteration; report the means if it is time."""
        with np.errstate(all="ignore"):  # statistics of what has diverged
            self._means.add(self._collected())
        if self._means.ends(trainer):
            report(self._means.take().compute_mean())

    def serialize(self, serializer: Any) -> None:
        """Save or restore what was taken in since the last report, and the trigger. Chainer keeps neither: from a file
        without them, the next means begin here."""
        self._means.serialize(serializer)

    def _collected(self) -> dict[str, Any]:
        """Keys to numbers, of this moment."""
        found: dict[str, Any] = {}
        for link_name, link in self._links:
            for param_name, parameter in _named_parameters(link):
                for attr_name in self._attrs:
                    values = _values_of(parameter, attr_name)
                    if values is None or not math.prod(values.shape):
                        continue
                    is_nan = self._skip_nan_params and _has_nan(values)
                    for function_name, function in self._statistics.items():
                        key = self._key(link_name, param_name, attr_name, function_name)
                        found.update(_numbered(key, math.nan if is_nan else function(values)))
        return found

    def _key(self, link_name: str, param_name: str, attr_name: str, function_name: str) -> str:
        return self.report_key_template.format(
            prefix=self._prefix,
            link_name=link_name,
            param_name=param_name,
            attr_name=attr_name,
            function_name=function_name,
        )

    def _check_keys(self) -> None:
        seen = set()
        for link_name, link in self._links:
            for param_name, _ in _named_parameters(link):
                key = self._key(link_name, param_name, "data", "mean")
                if key in seen:
                    raise ValueError(
                        f"ParameterStatistics: two parameters would be reported as {link_name + param_name!r}; give "
                        "the links names of their own, as in ParameterStatistics({'generator': gen, 'critic': critic})"
                    )
                seen.add(key)


def _named_links(links: Any) -> list[tuple[str, Any]]:
    if isinstance(links, Mapping):
        named = [(str(name), link) for name, link in links.items()]
    else:
        named = [(_name_of(link), link) for link in (links if isinstance(links, list | tuple) else [links])]
    for _, link in named:
        if not _is_module(link) and not callable(getattr(link, "namedparams", None)):
            raise TypeError(
                "ParameterStatistics: links must be links of Chainer's or modules of PyTorch, or a list or a mapping "
                f"of them, and a {type(link).__name__} is none"
            )
    return named


def _name_of(link: Any) -> str:
    name = getattr(link, "name", None)
    if _is_module(link):
        return name if isinstance(name, str) else type(link).__name__
    return str(name)


def _is_module(link: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(link, torch.nn.Module)


def _named_parameters(link: Any) -> Iterator[tuple[str, Any]]:
    """Paths, which begin with "/", and parameters."""
    if _is_module(link):
        for name, parameter in link.named_parameters():
            yield "/" + name.replace(".", "/"), parameter
    else:
        yield from link.namedparams()


def _values_of(parameter: Any, attr_name: str) -> Any:
    """All elements of a parameter or its gradient in one dimension: a tensor where it is on another device, an array
    otherwise; None where there is none."""
    if arrays.framework_of(parameter) != "torch":
        # one without a shape yet raises where it is asked for its gradient
        array = None if parameter.data is None else getattr(parameter, attr_name)
        return None if array is None else array.ravel()
    if arrays.is_uninitialised(parameter):
        return None
    tensor = parameter.detach() if attr_name == "data" else parameter.grad
    if tensor is None:
        return None
    torch = sys.modules["torch"]
    tensor = (tensor if tensor.layout == torch.strided else tensor.to_dense()).detach().reshape(-1)
    if tensor.dtype == torch.bfloat16 or (tensor.is_floating_point() and tensor.element_size() == 1):
        tensor = tensor.float()  # numpy has no such dtype
    return tensor.resolve_conj().resolve_neg().numpy() if tensor.device.type == "cpu" else tensor


def _has_nan(values: Any) -> bool:
    module = sys.modules["torch"] if arrays.framework_of(values) == "torch" else chainer_bridge.array_module(values)
    return bool(module.isnan(values).any())


def _numbered(key: str, value: Any) -> dict[str, Any]:
    """What a statistic returned, under its key; several numbers each under a key of its own."""
    if hasattr(value, "shape") and math.prod(value.shape) > 1:
        value = value.reshape(-1).tolist()
    elif hasattr(value, "shape") and len(value.shape):
        value = value.reshape(-1)[0] if math.prod(value.shape) else []
    if not isinstance(value, list | tuple):
        return {key: value}
    return {f"{key}/{number}": one for number, one in enumerate(value)}
