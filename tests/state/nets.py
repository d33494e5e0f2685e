"""Small modules of torch, and optimizers that made a step."""

from __future__ import annotations

from typing import Any

import torch


def net(seed: int, width: int = 3) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.BatchNorm1d(width), torch.nn.Linear(width, 2))


def trained(seed: int, kind: Any = torch.optim.Adam, **options: Any) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    module = net(seed)
    optimizer = kind(module.parameters(), **options)
    step(module, optimizer)
    return module, optimizer


def step(module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    module(torch.arange(8.0).reshape(4, 2)).square().sum().backward()
    optimizer.step()
