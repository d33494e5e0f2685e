"""A network with dropout and its optimizer Adam, in NumPy alone.

Both are plain dataclasses, and holdfast reads and restores them as they are: no method of theirs speaks of snapshots.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclass
class Network:
    """64 pixels, two hidden layers of rectified units with dropout, 10 digits."""

    weights: Arrays  # "W1", "b1", ..., "b3"; float32
    noise: np.random.Generator  # decides which units rest in a step: part of the state, like the weights
    dropout: float = 0.5  # the part of the hidden units that rests

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The digit (n,) that each picture (n, 64) shows, with all units at work."""
        w, hidden = self.weights, images
        for layer in "12":
            hidden = np.maximum(hidden @ w["W" + layer] + w["b" + layer], 0)
        return (hidden @ w["W3"] + w["b3"]).argmax(axis=1)

    def loss_and_gradients(self, images: np.ndarray, labels: np.ndarray) -> tuple[float, Arrays]:
        """The mean cross-entropy of a batch, and its gradient in every weight; draws from `noise`."""
        w, n = self.weights, len(images)
        kept1, kept2 = (self._keep((n, w[name].size)) for name in ("b1", "b2"))
        hidden1 = np.maximum(images @ w["W1"] + w["b1"], 0) * kept1
        hidden2 = np.maximum(hidden1 @ w["W2"] + w["b2"], 0) * kept2
        scores = hidden2 @ w["W3"] + w["b3"]

        scores -= scores.max(axis=1, keepdims=True)
        log_probabilities = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        loss = -log_probabilities[np.arange(n), labels].mean()

        error3 = np.exp(log_probabilities)
        error3[np.arange(n), labels] -= 1
        error3 /= n
        error2 = error3 @ w["W3"].T * kept2 * (hidden2 > 0)
        error1 = error2 @ w["W2"].T * kept1 * (hidden1 > 0)
        gradients = {
            "W1": images.T @ error1, "b1": error1.sum(axis=0),
            "W2": hidden1.T @ error2, "b2": error2.sum(axis=0),
            "W3": hidden2.T @ error3, "b3": error3.sum(axis=0),
        }  # fmt: skip
        return float(loss), gradients

    def _keep(self, shape: tuple[int, int]) -> np.ndarray:
        """What to multiply units with: 0 for those that rest, the rest made up for it."""
        drawn = self.noise.random(shape, dtype=np.float32)
        return (drawn >= self.dropout).astype(np.float32) / (1 - self.dropout)


def new_network(seed: int, hidden: int = 1152) -> Network:
    """A network that has learnt nothing yet; the same for the same seed."""
    noise = np.random.default_rng(seed)
    sizes = (64, hidden, hidden, 10)
    weights = {}
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes), start=1):
        drawn = noise.standard_normal((fan_in, fan_out), dtype=np.float32)
        weights[f"W{layer}"] = drawn * np.float32(np.sqrt(2 / fan_in))
        weights[f"b{layer}"] = np.zeros(fan_out, np.float32)
    return Network(weights, noise)


@dataclass
class Adam:
    """Adam (Kingma and Ba, 2015, https://arxiv.org/abs/1412.6980, algorithm 1)."""

    mean: Arrays  # running mean of the gradients
    square: Arrays  # running mean of their squares
    steps: int = 0
    rate: float = 1e-3
    decay: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def update(self, weights: Arrays, gradients: Arrays) -> None:
        """One step, in place."""
        self.steps += 1
        keep1, keep2 = self.decay
        rate = self.rate * math.sqrt(1 - keep2**self.steps) / (1 - keep1**self.steps)
        for name, gradient in gradients.items():
            mean, square = self.mean[name], self.square[name]
            mean += (1 - keep1) * (gradient - mean)
            square += (1 - keep2) * (gradient * gradient - square)
            weights[name] -= rate * mean / (np.sqrt(square) + self.epsilon)


def new_adam(weights: Arrays) -> Adam:
    """The optimizer before its first step."""
    return Adam(*({name: np.zeros_like(w) for name, w in weights.items()} for _ in range(2)))
