"""The states that are saved and restored, and the model of the training loop.

a: GPT-2 small with the moments of Adam, 1.49 GB in 444 leaves. b: 50,000 leaves of 1 KiB. c: one leaf of 1 GiB. Others
are given as "bytes:SIZE" (leaves of 4 MiB) and "leaves:COUNT" (leaves of 1 KiB).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional

VOCABULARY, CONTEXT, WIDTH, HEADS, DEPTH = 50257, 1024, 768, 12, 12
MIB = 1 << 20


class Block(nn.Module):
    """One layer of a transformer decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(WIDTH)
        self.c_attn = nn.Linear(WIDTH, 3 * WIDTH)
        self.c_proj = nn.Linear(WIDTH, WIDTH)
        self.ln_2 = nn.LayerNorm(WIDTH)
        self.c_fc = nn.Linear(WIDTH, 4 * WIDTH)
        self.c_out = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch, tokens, WIDTH) float32; returns the same shape."""
        batch, tokens, _ = x.shape
        heads = self.c_attn(self.ln_1(x)).view(batch, tokens, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(heads[0], heads[1], heads[2], is_causal=True)
        x = x + self.c_proj(mixed.transpose(1, 2).reshape(batch, tokens, WIDTH))
        return x + self.c_out(functional.gelu(self.c_fc(self.ln_2(x))))


class Gpt2(nn.Module):
    """The shapes of GPT-2 small, 124 million parameters. The last layer shares the matrix of the first, and has no
    name of its own: every contestant saves the same bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(VOCABULARY, WIDTH)
        self.wpe = nn.Embedding(CONTEXT, WIDTH)
        self.h = nn.ModuleList(Block() for _ in range(DEPTH))
        self.ln_f = nn.LayerNorm(WIDTH)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * DEPTH))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """tokens: (batch, tokens) int64; returns the mean loss of predicting each token from those before it."""
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.h:
            x = block(x)
        scores = functional.linear(self.ln_f(x), self.wte.weight)
        return functional.cross_entropy(scores[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


@dataclass
class State:
    """What is saved.

    Attributes:
        name: as given to `make`.
        target: what holdfast takes: live objects.
        model, optimizer: where there are some.
    """

    name: str
    target: dict[str, Any]
    model: nn.Module | None = None
    optimizer: torch.optim.Optimizer | None = None
    tensors: list[torch.Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tensors = [tensor.detach() for tensor in self.flat().values()]

    @property
    def size_bytes(self) -> int:
        """Of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors)

    def tree(self) -> dict[str, Any]:
        """What peers take: dicts of tensors, and of the optimizer's numbers. Made anew, as a training loop must."""
        if self.model is None or self.optimizer is None:
            return self.target
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def flat(self) -> dict[str, torch.Tensor]:
        """The tensors by name, for formats that have nothing else."""
        return dict(flattened(self.tree()))


def flattened(tree: Any, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Each tensor of nested dicts and lists, with its path."""
    if isinstance(tree, torch.Tensor):
        yield path, tree
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from flattened(value, f"{path}/{key}" if path else str(key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from flattened(value, f"{path}/{index}")


def make(name: str) -> State:
    """One of the states, every page of it touched."""
    if name == "a":
        model = Gpt2()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
        fill(optimizer)
        return State(name, {"model": model, "optimizer": optimizer}, model, optimizer)
    kind, _, number = name.partition(":")
    if kind == "bytes" and int(number) <= 4 * MIB:
        return State(name, leaves(1, int(number)))
    if kind == "bytes":
        return State(name, leaves(int(number) // (4 * MIB), 4 * MIB))
    if kind == "leaves":
        return State(name, leaves(int(number), 1024))
    return State(name, {"b": lambda: leaves(50_000, 1024), "c": lambda: leaves(1, 1024 * MIB)}[name]())


def leaves(count: int, size_bytes: int) -> dict[str, torch.Tensor]:
    """So many tensors of float32, each with memory of its own."""
    return {f"layer{index:06d}.weight": torch.rand(size_bytes // 4) for index in range(count)}


def fill(optimizer: torch.optim.Optimizer) -> None:
    """Give Adam its moments, without the gradients that a step needs."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = {
                "step": torch.tensor(100.0),
                "exp_avg": torch.rand_like(parameter, requires_grad=False),
                "exp_avg_sq": torch.rand_like(parameter, requires_grad=False),
            }
