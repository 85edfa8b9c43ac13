"""What a network is to answer to a batch: the labels as they are, the cores of pieces and bodies, and levels.

Levels: a sequence's members have the coordinates 0, 1, 2 … at their centres. Between two centres it is interpolated
along the sequence's axis, and beyond the first and the last it goes on in the same way, so that a place is described
where nothing is labelled: the body before the first, or what follows the last. There the background is unknown, too:
such a body looks like those of the sequence, and only where it lies says that nobody was asked to draw it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from osteon.plan.outputs import OutputLayout, output_layout
from osteon.plan.schema import Plan, StructureSequence

Floats = npt.NDArray[np.floating[Any]]

MIN_PART = 0.6
"""A body counts with its centre where so much of its usual volume is in the patch."""
TUBE = 0.95
"""Radius around the centres' line in which levels are learnt, as a part of a body's size."""
CONTACT = 0.35
"""The core of a body keeps this distance from other bodies, as a part of a body's size."""
PIECE_CONTACT = 2
"""The core of a piece keeps so many voxels from other pieces: pieces may be of any size."""


@dataclass(frozen=True)
class CoreTargets:
    """The cores of a sequence's bodies and of numbered pieces, each `[batch, i, j, k]`.

    Attributes:
        core: float: 1 in cores.
        known: bool: where that is known.
    """

    core: torch.Tensor
    known: torch.Tensor


@dataclass(frozen=True)
class LevelTargets:
    """Where along a sequence a place lies, each `[batch, i, j, k]`.

    Attributes:
        level: float: the coordinate + 1, from 0 (before the sequence) to the members' number + 1 (beyond it).
        near: bool: where levels are learnt.
        known: bool: where it is known whether there is a body.
    """

    level: torch.Tensor
    near: torch.Tensor
    known: torch.Tensor


@dataclass(frozen=True)
class Targets:
    """The answers to a batch, at full resolution.

    Attributes:
        labels: Classes `[batch, i, j, k]` int64, or multi-hot `[batch, structure, i, j, k]` float.
        annotated: `[batch, class]` bool, without the background, on the host: whether anybody looked for it.
        cores: None where nothing is to be parted.
        levels: Of the plan's sequence; None where its names are classes, or there is none.
    """

    labels: torch.Tensor
    annotated: torch.Tensor
    cores: CoreTargets | None = None
    levels: LevelTargets | None = None

    def at(self, shape: torch.Size) -> Targets:
        """Every n-th voxel, so that they fit a coarser stage `[i, j, k]`."""
        i, j, k = (n // m for n, m in zip(self.labels.shape[-3:], shape, strict=True))

        def thin(values: torch.Tensor) -> torch.Tensor:
            return values[..., ::i, ::j, ::k]

        cores = None if self.cores is None else CoreTargets(*(thin(part) for part in vars(self.cores).values()))
        levels = None if self.levels is None else LevelTargets(*(thin(part) for part in vars(self.levels).values()))
        return Targets(thin(self.labels), self.annotated, cores, levels)


def make_targets(labels: torch.Tensor, annotated: torch.Tensor, plan: Plan) -> Targets:
    """The targets of an augmented batch.

    Args:
        labels: Index `[batch, i, j, k]` int64, n for the n-th structure, or multi-hot `[batch, structure, i, j, k]`;
            of numbered pieces as `plan.outputs.encode_pieces` has them.
        annotated: `[batch, structure]` bool, on the host.
        plan: Structures and sequence.
    """
    layout, sequence = output_layout(plan), plan.sequence
    if not layout.has_cores:
        return Targets(labels, annotated)
    numbers = labels % (len(plan.structures) + 1)
    classes = torch.tensor([0, *layout.class_of], device=labels.device)[numbers]
    inside = torch.zeros_like(labels, dtype=torch.bool)
    for number in layout.instances:
        inside |= numbers == number + 1
    core = inside & ~_near_another(labels, [PIECE_CONTACT] * 3) if layout.instances else inside.clone()
    if sequence is None or not layout.levels:
        return Targets(classes, annotated, CoreTargets(core.float(), inside))  # beside pieces the classes decide
    size = sequence.volume_mm3 ** (1 / 3)
    contact = [round(CONTACT * size / spacing) for spacing in plan.grid.spacing_mm]
    core |= (classes == layout.body) & ~_near_another(numbers, contact)
    level, near = _levels(numbers, layout, sequence, plan)
    beyond = (level < 0.5) | (level > len(layout.members) + 0.5)
    unknown = near & (classes == 0) & (beyond | ~_complete(annotated, layout.members, labels.device))
    known_classes = torch.ones(len(annotated), layout.classes - 1, dtype=torch.bool)
    for structure, place in enumerate(layout.class_of):
        if structure not in layout.members:
            known_classes[:, place - 1] = annotated[:, structure]
    known = ~unknown & (inside | _complete(annotated, layout.instances, labels.device))
    cores = CoreTargets(core.float(), known)
    return Targets(classes, known_classes, cores, LevelTargets(level, near, ~unknown))


def near_another_piece(pieces: npt.NDArray[np.integer[Any]], reach: int = PIECE_CONTACT) -> npt.NDArray[np.bool_]:
    """`[i, j, k]`: where a piece, numbered from 1, has another within so many voxels along each axis."""
    return np.asarray(_near_another(torch.from_numpy(pieces.astype(np.int64))[None], [reach] * 3)[0])


def _complete(annotated: torch.Tensor, structures: Sequence[int], device: torch.device) -> torch.Tensor:
    """`[batch, 1, 1, 1]`: whether all of these structures are annotated."""
    return annotated[:, list(structures)].all(1).to(device)[:, None, None, None]


def _near_another(labels: torch.Tensor, reaches: Sequence[int]) -> torch.Tensor:
    """Where voxels of one label have those of another within a box that reaches so many voxels along each axis."""
    none = float(labels.max()) + 1
    highest, lowest = labels[:, None].float(), torch.where(labels == 0, none, labels.float())[:, None]
    for axis, reach in enumerate(reaches):
        if not reach or labels.shape[1 + axis] == 1:
            continue
        window = [2 * reach + 1 if a == axis else 1 for a in range(3)]
        padding = [reach if a == axis else 0 for a in range(3)]
        highest = F.max_pool3d(highest, window, 1, padding)
        lowest = -F.max_pool3d(-lowest, window, 1, padding)
    own = labels.float()
    return (labels > 0) & ((highest[:, 0] > own) | (lowest[:, 0] < own))


def _levels(
    labels: torch.Tensor, layout: OutputLayout, sequence: StructureSequence, plan: Plan
) -> tuple[torch.Tensor, torch.Tensor]:
    """Level + 1, within 0 and the members' number + 1, and where it is known, of labels `[batch, i, j, k]`."""
    spacing, axis, device = np.array(plan.grid.spacing_mm), sequence.axis, labels.device
    size = sequence.volume_mm3 ** (1 / 3)
    usual = size**2 / np.prod(spacing[:2]) if plan.grid.dimensions == 2 else sequence.volume_mm3 / np.prod(spacing)
    count, centres = _centres(labels, layout)
    length = labels.shape[1 + axis]
    lines = [
        _along_line(places[found], np.flatnonzero(found), length, sequence, spacing)
        for found, places in zip(count >= MIN_PART * usual, centres, strict=True)
    ]
    line = torch.from_numpy(np.stack(lines)).to(device)  # [batch, along, level and centre]
    shape = [len(labels), 1, 1, 1]
    shape[1 + axis] = -1
    level = line[..., 0].reshape(shape)
    squared = torch.zeros_like(level)
    for across in range(3):
        if across != axis and labels.shape[1 + across] > 1:
            reach = [1, 1, 1, 1]
            reach[1 + across] = -1
            place = torch.arange(labels.shape[1 + across], device=device, dtype=torch.float32).reshape(reach)
            squared = squared + ((place - line[..., 1 + across].reshape(shape)) * float(spacing[across])) ** 2
    near = squared < (TUBE * size) ** 2  # never where the line is unknown (NaN)
    return (level.clamp(-1, len(layout.members)) + 1).expand(labels.shape), near.expand(labels.shape)


def _centres(labels: torch.Tensor, layout: OutputLayout) -> tuple[Floats, Floats]:
    """Voxels `[batch, member]` of each of the sequence's members, and their centres in voxels `[batch, member, 3]`."""
    flat, ones = labels.flatten(1), torch.ones(labels[0].numel(), device=labels.device)
    grids = torch.meshgrid(*(torch.arange(n, device=labels.device).float() for n in labels.shape[1:]), indexing="ij")
    number = len(layout.class_of) + 1
    sums = torch.stack(
        [
            torch.zeros(len(labels), number, device=labels.device).scatter_add_(1, flat, part.expand(len(labels), -1))
            for part in (ones, *(grid.flatten() for grid in grids))
        ]
    )
    table = sums.cpu().double().numpy()[:, :, [member + 1 for member in layout.members]]
    return table[0], np.moveaxis(table[1:] / np.maximum(table[0], 1), 0, -1)


def _along_line(
    centres: Floats, levels: npt.NDArray[np.intp], length: int, sequence: StructureSequence, spacing: Floats
) -> npt.NDArray[np.float32]:
    """Level and centre `[along, 4]` at each place along the sequence's axis; centres are NaN where none was found."""
    if not len(centres):
        return np.full((length, 4), [0, np.nan, np.nan, np.nan], np.float32)
    if len(centres) == 1:  # the next one, as it usually lies
        step = np.zeros(3)
        step[sequence.axis] = sequence.distance_mm / spacing[sequence.axis]
        centres, levels = np.stack([centres[0], centres[0] + step]), np.array([levels[0], levels[0] + 1])
    order = np.argsort(centres[:, sequence.axis])
    table = np.column_stack([levels[order], centres[order]])
    heights = centres[order, sequence.axis]
    along = np.arange(length)
    after = np.searchsorted(heights, along).clip(1, len(heights) - 1)
    part = (along - heights[after - 1]) / np.maximum(heights[after] - heights[after - 1], 1e-3)
    return np.asarray(table[after - 1] + part[:, None] * (table[after] - table[after - 1]), np.float32)
