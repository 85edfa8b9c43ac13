"""One case onto the plan's grid: turned, resampled, normalised; and the way back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.core.errors import PlanError
from osteon.core.geometry import AxisPermutation, Geometry, closest_axes
from osteon.core.label_values import exchange
from osteon.core.labels import Segmentation
from osteon.core.volume import Volume
from osteon.plan.grid_sections import WORLD_AXIS_NUMBERS
from osteon.plan.schema import Grid, Intensity, Plan
from osteon.preparing.nnunet_grid import Splines, nnunet_shape
from osteon.preparing.nonzero import nonzero_mask
from osteon.preparing.resample import resample_image, resample_index_map, resample_multi_hot, resampled_shape

PART = 1 << 18
"""Voxels that are looked at together in float64."""
SMALLEST = 1e-8
"""No image is divided by less: one that is the same everywhere becomes 0."""
Labels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
BYTES_PER_VOXEL = 32
"""Peak memory of measuring or preparing a case (file, float copies, masks) for each voxel and channel."""


@dataclass(frozen=True)
class Passage:
    """The way of a case from its own grid to the plan's and back.

    Attributes:
        turn: From the file's axes to the plan's.
        turned: The file's grid after the turn.
        shape: Voxels on the plan's grid.
    """

    turn: AxisPermutation
    turned: Geometry
    shape: tuple[int, int, int]


def passage(geometry: Geometry, grid: Grid) -> Passage:
    """How a scan of this geometry comes onto the plan's grid."""
    turn = _turn(geometry, grid)
    turned = turn.geometry(geometry)
    rule = resampled_shape if grid.nnunet is None else nnunet_shape
    i, j, k = rule(turned.shape, turned.spacing_mm, grid.spacing_mm)
    return Passage(turn, turned, (i, j, k if grid.resample_last else turned.shape[2]))


def _turn(geometry: Geometry, grid: Grid) -> AxisPermutation:
    if grid.axes[0] in "ijk":
        return AxisPermutation(tuple("ijk".index(letter) for letter in grid.axes), (False, False, False))
    axes, signs = closest_axes(geometry.affine_ras)
    order = tuple(axes.index(WORLD_AXIS_NUMBERS[letter]) for letter in grid.axes)
    backwards = {WORLD_AXIS_NUMBERS[letter] for letter in grid.axes if letter in "LPI"}
    return AxisPermutation(
        order, tuple((sign < 0) != (axis in backwards) for axis, sign in zip(axes, signs, strict=True))
    )


def prepare_image(volume: Volume, plan: Plan) -> npt.NDArray[np.float32]:
    """`[channel, i, j, k]` float32 on the plan's grid, normalised as the plan says."""
    return prepare_with_intensities(volume, plan)[0]


def prepare_with_intensities(volume: Volume, plan: Plan) -> tuple[npt.NDArray[np.float32], list[Intensity]]:
    """As `prepare_image`, and the plan's section `intensities` with numbers everywhere.

    The mean and std are this image's where the plan has none, so that a crop of it can be normalised as the whole.
    """
    way = passage(volume.geometry, plan.grid)
    if plan.grid.nnunet is not None:
        return _as_nnunet(volume, way, plan)
    image = resample_image(way.turn.apply(volume.array), way.shape)
    settled = [_settled(channel, how) for channel, how in zip(image, plan.intensities, strict=True)]
    return normalise_all(image, settled), settled


def _as_nnunet(volume: Volume, way: Passage, plan: Plan) -> tuple[npt.NDArray[np.float32], list[Intensity]]:
    """The same in nnU-Net's order: normalised on the scan's own grid, then resampled."""
    array = way.turn.apply(volume.array)
    mask = nonzero_mask(array) if any(how.inside for how in plan.intensities) else None
    splines = Splines.onto_grid(way.turned, way.shape, plan.grid)
    made = np.empty((len(array), *way.shape), dtype=np.float32)
    settled = []
    for number, how in enumerate(plan.intensities):
        inside = mask if how.inside else None
        own = volume.array[number] if inside is None else array[number][inside]
        settled.append(_settled(own, how))
        made[number] = splines.resample(way.turned.shape, partial(_planes, array[number], inside, settled[-1]))
    return made, settled


def _planes(
    channel: npt.NDArray[np.floating], inside: npt.NDArray[np.bool_] | None, how: Intensity, planes: slice
) -> npt.NDArray[np.float32]:
    """Some planes of a scan's channel, normalised, where there is a mask inside it."""
    part = np.array(channel[planes], dtype=np.float32)
    if inside is None:
        return normalise(part, how)
    np.copyto(part, normalise(part, how), where=inside[planes])
    return part


def _settled(channel: npt.NDArray[np.floating], how: Intensity) -> Intensity:
    if how.mean is not None and how.std is not None:
        return how.model_copy(update={"std": max(how.std, SMALLEST)})
    mean, std = _centre(channel, how)
    return how.model_copy(update={"mean": mean, "std": max(std, SMALLEST)})


def prepare_labels(segmentation: Segmentation, plan: Plan) -> Labels:
    """As `planned_labels`, on the plan's grid."""
    return resample_labels(planned_labels(segmentation, plan), passage(segmentation.geometry, plan.grid).shape)


def planned_labels(segmentation: Segmentation, plan: Plan) -> Labels:
    """Labels on the scan's own grid, turned as the plan has it; what the plan does not name is background.

    Returns:
        Index `[i, j, k]`: 0 background, n the n-th structure of the plan; or multi-hot `[structure, i, j, k]`.
        Structures are told by their names.

    Raises:
        PlanError: The plan names a structure that the segmentation does not.
    """
    numbers = {structure.name: n for n, structure in enumerate(segmentation.structures)}
    unknown = [structure.name for structure in plan.structures if structure.name not in numbers]
    if unknown or plan.overlapping != segmentation.overlapping:
        raise PlanError(
            f"structures: the dataset has no {', '.join(unknown)}"
            if unknown
            else f"overlapping: {plan.overlapping} in the plan, {segmentation.overlapping} in the dataset",
            hint="make the plan anew with `osteon plan DATASET --force`, or correct the key in plan.yaml",
        )
    positions = [numbers[structure.name] for structure in plan.structures]
    turned = passage(segmentation.geometry, plan.grid).turn.apply(segmentation.array)
    if plan.overlapping:
        return turned[positions]  # type: ignore[return-value]
    values = [structure.value for structure in segmentation.structures]
    kind = np.uint8 if len(positions) < 256 else np.uint16
    return exchange(turned, {values[position]: n for n, position in enumerate(positions, start=1)}, kind)  # type: ignore[arg-type, return-value]


def resample_labels(labels: Labels, shape: tuple[int, int, int]) -> Labels:
    """An index map `[i, j, k]` or multi-hot `[structure, i, j, k]` on a grid of this shape over the same extent."""
    resampled = resample_multi_hot(labels, shape) if labels.ndim == 4 else resample_index_map(labels, shape)
    return resampled  # type: ignore[return-value]


def normalise_all(image: npt.NDArray[np.float32], intensities: Sequence[Intensity]) -> npt.NDArray[np.float32]:
    """Each channel of `[channel, i, j, k]` as its section says, in place: a second image would be a second memory."""
    for channel, how in zip(image, intensities, strict=True):
        normalise(channel, how, out=channel)
    return image


def normalise(
    channel: npt.NDArray[np.floating], how: Intensity, *, out: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float32]:
    """Clip and scale one channel `[i, j, k]` as the plan's section `intensities` says, into `out` where it is given."""
    mean, std = _centre(channel, how)
    made = np.empty(channel.shape, dtype=np.float32) if out is None else out
    for part, there in zip(_parts(channel), _parts(made), strict=True):
        values = (part if how.clip is None else part.clip(*how.clip)) - mean
        values /= max(std, SMALLEST)
        there[...] = values
    return made


def _centre(channel: npt.NDArray[np.floating], how: Intensity) -> tuple[float, float]:
    """What is taken off a clipped channel, and what it is divided by: the section's mean and std, or else its own."""
    if how.mean is not None and how.std is not None:
        return how.mean, how.std

    def parts() -> Iterator[npt.NDArray[np.floating]]:
        return (part if how.clip is None else part.clip(*how.clip) for part in _parts(channel))

    if how.mean is None and how.by == "range":
        least, most = (float(end([end(part) for part in parts()])) for end in (np.min, np.max))
        return least, most - least
    mean = how.mean
    if mean is None:
        mean = math.fsum(float(part.sum(dtype=np.float64)) for part in parts()) / channel.size
    if how.std is not None:
        return mean, how.std
    # No np.dot: the threads that it wakes wait on the processor, in the network's way.
    apart = (part.astype(np.float64) - mean for part in parts())
    return mean, math.sqrt(math.fsum(float(np.square(part, out=part).sum()) for part in apart) / channel.size)


def _parts(values: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """The values, some planes along the first axis at a time: what is made of all at once takes memory as often."""
    step = max(1, PART * len(values) // max(1, values.size))
    return (values[first : first + step] for first in range(0, len(values), step))
