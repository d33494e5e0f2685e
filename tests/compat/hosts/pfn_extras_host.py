"""pytorch-pfn-extras' ExtensionsManager as a host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_pfn_extras as ppe
import torch


class _Run:
    def __init__(self, out: Path, stop: int, seed: int, fails_at: int | None) -> None:
        torch.manual_seed(seed)
        self.model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.parts = [self.model, self.model[1], self.optimizer]
        self._fails_at = fails_at
        self.host = ppe.training.ExtensionsManager(
            self.model,
            self.optimizer,
            1,
            iters_per_epoch=4,
            out_dir=str(out),
            stop_trigger=(stop, "iteration"),
        )

    @property
    def iteration(self) -> int:
        found: int = self.host.iteration
        return found

    def extend(self, extension: Any, trigger: Any = (1, "iteration"), **options: Any) -> None:
        options.setdefault("name", _free_name(self.host, extension))
        self.host.extend(extension, trigger=trigger, **options)

    def run(self) -> None:
        try:
            while not self.host.stop_trigger:
                with self.host.run_iteration(step_optimizers=["main"]):
                    loss = self.model(torch.randn(8, 4)).square().mean()
                    ppe.reporting.report({"loss": loss.item()})
                    loss.backward()
                    if self.iteration + 1 == self._fails_at:
                        self.optimizer.step()
                        raise ZeroDivisionError("the loss is gone")
        finally:
            self.host.finalize()

    def weights(self) -> np.ndarray[Any, Any]:
        states = [self.optimizer.state.get(parameter, {}) for parameter in self.model.parameters()]
        moments = [moment for state in states for _, moment in sorted(state.items())]
        return np.concatenate([one.detach().numpy().ravel() for one in [*self.model.state_dict().values(), *moments]])


def _free_name(manager: Any, extension: Any) -> str:
    """The library itself calls every second extension of a name "None_1"."""
    name = getattr(extension, "default_name", None) or getattr(extension, "__name__", "extension")
    free, ordinal = name, 0
    while free in manager._extensions:
        ordinal += 1
        free = f"{name}_{ordinal}"
    return free


class _Host:
    name = "pytorch-pfn-extras"

    def new(self, out: Path, stop: int, *, seed: int = 0, fails_at: int | None = None) -> _Run:
        return _Run(out, stop, seed, fails_at)

    def log_report(self) -> Any:
        return ppe.training.extensions.LogReport(trigger=(2, "iteration"))


HOST = _Host()
