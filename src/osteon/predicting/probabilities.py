"""Probabilities on the plan's grid, held in half precision: in memory, or in a file where memory is short."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from osteon.core.files import write_error
from osteon.core.platform import release_pages, reserve_space
from osteon.plan.schema import Plan
from osteon.predicting.sparse_resampling import greatest
from osteon.predicting.tiles import Slab

BYTES = 2
"""Of a probability: half precision keeps three decimals, and halves what a scan needs."""


@dataclass(frozen=True)
class Shares:
    """What a network says of a scan.

    Attributes:
        values: `[output, i, j, k]` float16; the planes across `axis` lie one after the other. For a model of nnU-Net's,
            which interpolates logits, they are logarithms of probabilities, or logits where structures overlap:
            `probability` brings them back.
        best: `[i, j, k]` int16: the output with the greatest probability, of `values` as they are kept; None where
            structures overlap.
        axis: Across which planes come.
        file: What the values are mapped from; None: they are in memory.
    """

    values: torch.Tensor
    best: torch.Tensor | None
    axis: int
    file: np.memmap[Any, Any] | None = None

    def found(self, plan: Plan) -> np.ndarray[Any, np.dtype[np.integer]]:
        """Index `[i, j, k]` (n for the n-th structure) or multi-hot `[structure, i, j, k]`."""
        if self.best is None:
            found = torch.zeros(self.values.shape, dtype=torch.uint8)
            for number, share in enumerate(self.values):
                found[number] = share > half_of(plan)
                self.release()
            return found.numpy()
        kind = np.uint8 if len(plan.structures) < 256 else np.uint16
        return self.best.numpy().astype(kind)

    def decided(self) -> Shares:
        """With `best` looked for anew, where values have changed."""
        return self if self.best is None else replace(self, best=greatest(self.values))

    def release(self) -> None:
        """Give back the memory that pages of the file take; they are read again when they are asked for."""
        if self.file is not None:
            mapped: Any = self.file
            release_pages(mapped._mmap)


def half_of(plan: Plan) -> float:
    """The value that stands for a probability of a half where structures overlap."""
    return 0.5 if plan.grid.nnunet is None else 0.0


def probability(share: torch.Tensor, plan: Plan) -> torch.Tensor:
    """The probabilities that values of `Shares` stand for."""
    if plan.grid.nnunet is None:
        return share
    return share.float().sigmoid_() if plan.overlapping else share.float().exp_()


def in_memory(values: torch.Tensor, plan: Plan) -> Shares:
    """Of probabilities `[output, i, j, k]` as they are."""
    return Shares(values, None if plan.overlapping else greatest(values), 0)


def shares_bytes(outputs: int, shape: Iterable[int]) -> int:
    """What probabilities take."""
    return outputs * math.prod(shape) * BYTES


def collect(
    slabs: Iterable[Slab], outputs: int, shape: tuple[int, int, int], plan: Plan, *, folder: Path | None = None
) -> Shares:
    """Keep what `tiles.stream` gives.

    Args:
        slabs: Of the whole image.
        outputs: Of the network.
        shape: Of the image.
        plan: Whether structures overlap.
        folder: Where a file without a name is made, which is gone when the process ends; None keeps all in memory.

    Raises:
        FileError: The disk is full.
    """
    made: Shares | None = None
    for slab in slabs:
        if made is None:
            made = _empty(slab.axis, outputs, shape, plan, folder)
        kept = slab.shares.half()
        there = made.values.narrow(1 + slab.axis, slab.first, kept.shape[1 + slab.axis])
        there.copy_(kept)
        if made.best is not None:
            made.best.narrow(slab.axis, slab.first, kept.shape[1 + slab.axis]).copy_(greatest(kept))
        made.release()
    if made is None:
        raise ValueError("an image without a voxel")
    return made


def _empty(axis: int, outputs: int, shape: tuple[int, int, int], plan: Plan, folder: Path | None) -> Shares:
    others = [n for a, n in enumerate(shape) if a != axis]
    laid_out = (shape[axis], outputs, *others)
    file = None
    if folder is None:
        flat = torch.empty(laid_out, dtype=torch.float16)
    else:
        file = _nameless(folder, laid_out)
        flat = torch.from_numpy(file)
    values = flat.movedim(0, 1 + axis)
    best = None if plan.overlapping else torch.empty(shape, dtype=torch.int16)
    return Shares(values, best, axis, file)


def _nameless(folder: Path, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A file that nobody sees and that is gone with the process, mapped."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            reserve_space(file, BYTES * math.prod(shape))
            return np.memmap(file, dtype=np.float16, mode="r+", shape=shape)
    except OSError as error:
        raise write_error(folder, error) from error
