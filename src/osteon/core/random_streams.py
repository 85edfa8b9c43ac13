"""Random numbers that depend on a seed and on what they are for: no two purposes share theirs."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a training draws from its seed, each beside the others.

    A number is never given to another purpose, nor changed: runs go on as they began.
    """

    PATCH = 1
    """Where a patch lies; with the iteration."""
    CASE_ORDER = 2
    """Which case's turn it is; with the round through all of them."""
    AUGMENTATION = 3
    """What is changed in a batch; with the iteration."""
    TARGET = 4
    """Whether a patch is enlarged, and which case stands in for another; with the patch's number."""
    CROP = 5
    """How much of a batch's patches is left; with the iteration."""
    CLICKS = 6
    """What a simulated person clicks; with the iteration and the patch."""


def generator(seed: int, stream: Stream, *numbers: int) -> np.random.Generator:
    """Of one purpose, and of these numbers of it (an iteration, a patch)."""
    return np.random.default_rng((seed, stream, *numbers))


def item_generator(seed: int, *numbers: int) -> np.random.Generator:
    """Of something with a seed of its own, which shares it with no stream: a made-up case, a resampling, a shuffle.

    NumPy fills a seed up with zeros: without numbers it is that of number 0.
    """
    return np.random.default_rng((seed, *numbers))
