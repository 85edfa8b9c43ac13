"""How hard a phantom is."""

from __future__ import annotations

import numpy as np


def best_threshold_dice(image: np.ndarray, truth: np.ndarray) -> float:
    """The highest Dice that any single threshold reaches, for bright and for dark objects."""
    best = 0.0
    for values in (image.astype(np.float64), -image.astype(np.float64)):
        order = np.argsort(-values, axis=None, kind="stable")
        hits = np.cumsum(truth.ravel()[order])
        best = max(best, float((2 * hits / (np.arange(1, truth.size + 1) + truth.sum())).max()))
    return best
