"""Probabilities on the plan's grid, held in half precision: in memory, or in a file where memory is short."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from osteon.core.files import write_error
from osteon.core.platform import release_pages, reserve_space
from osteon.networks.registry import output_channels
from osteon.plan.schema import Plan
from osteon.predicting.level_assignment import Levels
from osteon.predicting.pieces import PieceMap
from osteon.predicting.sparse_resampling import argmax_output
from osteon.predicting.tiles import Slab
from osteon.preparing.strategies import grid_strategy

BYTES_PER_PROBABILITY = 2
"""Half precision keeps three decimals, and halves what a scan needs."""


@dataclass(frozen=True)
class Probabilities:
    """A network's outputs for a scan.

    Attributes:
        values: `[output, i, j, k]` float16, as `GridStrategy.activate` gives them; the planes across `axis` are
            contiguous.
        argmax: `[i, j, k]` int16: the output with the greatest of `values`; None where structures overlap.
        axis: Across which planes come.
        file: What the values are mapped from; None: they are in memory.
        levels: How the bodies of the plan's sequence were named; None: it has none, or they could not be.
        pieces: Of structures whose pieces are numbered.
    """

    values: torch.Tensor
    argmax: torch.Tensor | None
    axis: int
    file: np.memmap[Any, Any] | None = None
    levels: Levels | None = None
    pieces: tuple[PieceMap, ...] = ()

    @staticmethod
    def from_tensor(values: torch.Tensor, plan: Plan) -> Probabilities:
        """Of values `[output, i, j, k]` in memory."""
        return Probabilities(values, None if plan.overlapping else argmax_output(values), 0)

    def labels(self, plan: Plan) -> np.ndarray[Any, np.dtype[np.integer]]:
        """Index `[i, j, k]` (n for the n-th structure) or multi-hot `[structure, i, j, k]`, on the plan's grid."""
        if self.argmax is None:
            threshold = grid_strategy(plan).threshold
            labels = torch.zeros(self.values.shape, dtype=torch.uint8)
            for mask, value in zip(labels, self.values, strict=True):
                mask.copy_(value > threshold)
                self.release_pages()
            return labels.numpy()
        return self.argmax.numpy().astype(np.uint8 if len(plan.structures) < 256 else np.uint16)

    def with_levels(self, values: torch.Tensor, levels: Levels | None) -> Probabilities:
        """With other values, as `sequence.name_sequence` gives them, and their `argmax`."""
        return replace(self, values=values, argmax=argmax_output(values), levels=levels)

    def release_pages(self) -> None:
        """Free the memory that pages of the file take; they are read again when needed."""
        if self.file is not None:
            mapped: Any = self.file
            release_pages(mapped._mmap)


def probabilities_bytes(outputs: int, shape: Iterable[int]) -> int:
    """Bytes of the probabilities of a grid."""
    return outputs * math.prod(shape) * BYTES_PER_PROBABILITY


def collect(slabs: Iterable[Slab], shape: Sequence[int], plan: Plan, *, folder: Path | None = None) -> Probabilities:
    """Keep what `tiles.stream_probabilities` gives.

    Args:
        slabs: Of the whole image.
        shape: Of the image.
        plan: Structures, and whether they overlap.
        folder: Where an unnamed file is made, which is gone when the process ends; None keeps all in memory.

    Raises:
        FileError: The disk is full.
    """
    result: Probabilities | None = None
    for slab in slabs:
        if result is None:
            result = _allocate(slab.axis, output_channels(plan), shape, plan, folder)
        values = slab.probabilities.half()
        count = values.shape[1 + slab.axis]
        result.values.narrow(1 + slab.axis, slab.first, count).copy_(values)
        if result.argmax is not None:
            result.argmax.narrow(slab.axis, slab.first, count).copy_(argmax_output(values))
        result.release_pages()
    if result is None:
        raise ValueError("an image without a voxel")
    return result


def _allocate(axis: int, outputs: int, shape: Sequence[int], plan: Plan, folder: Path | None) -> Probabilities:
    layout = (shape[axis], outputs, *(n for a, n in enumerate(shape) if a != axis))
    file = None if folder is None else _map_unnamed_file(folder, layout)
    planes = torch.empty(layout, dtype=torch.float16) if file is None else torch.from_numpy(file)
    argmax = None if plan.overlapping else torch.empty(tuple(shape), dtype=torch.int16)
    return Probabilities(planes.movedim(0, 1 + axis), argmax, axis, file)


def _map_unnamed_file(folder: Path, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A mapped file without a name, which is gone with the process."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            reserve_space(file, BYTES_PER_PROBABILITY * math.prod(shape))
            return np.memmap(file, dtype=np.float16, mode="r+", shape=shape)
    except OSError as error:
        raise write_error(folder, error) from error
