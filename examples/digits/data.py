"""The handwritten digits of DATA.md as arrays to train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("digits.npz")
TRAINING = 1437  # the first four fifths are trained on, the rest is held out


def load() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pictures and digits to train on, then pictures and digits held out.

    Returns:
        float32 (n, 64) with values from 0 to 1, and int64 (n,); n = 1437, then the same with n = 360.
    """
    with np.load(FILE, allow_pickle=False) as file:
        images = file["images"].reshape(-1, 64).astype(np.float32) / 16
        labels = file["labels"].astype(np.int64)
    return images[:TRAINING], labels[:TRAINING], images[TRAINING:], labels[TRAINING:]
