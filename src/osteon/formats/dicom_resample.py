"""Tilted and uneven stacks of slices, resampled linearly onto an even, right-angled grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from osteon.core.errors import GeometryError
from osteon.core.geometry import Geometry
from osteon.formats.dicom_stack import Stack, affine_ras
from osteon.formats.header_limits import check_memory

_MOST_MADE_UP = 1.0
"""At most as many slices are put between the measured ones as were measured."""


def resample_stack(
    stack: Stack, volume: npt.NDArray[np.generic], name: str | Path
) -> tuple[npt.NDArray[np.generic], Geometry, list[str]]:
    """Resample a stack onto an even, right-angled grid, float32.

    Slices of a tilted stack are moved in their own plane to where they lie, on a grid that is wide enough for all;
    what no slice covers takes the lowest value of the image. Then slices are interpolated along the normal.

    Args:
        stack: How the slices lie.
        volume: `[i, j, k]`, k in the order of `stack.slices`.
        name: Of the series, for messages.

    Returns:
        The array `[i, j, k]`, its grid, and sentences that say what was done.

    Raises:
        GeometryError: More slices would be made up than there are.
    """
    count = len(stack.slices)
    steps = np.diff(stack.depth)
    step, slices = stack.spacing[2], count
    if not stack.even:
        slices = round(float(stack.depth[-1]) / float(np.median(steps))) + 1
        if slices > count * (1 + _MOST_MADE_UP):
            raise GeometryError(
                f"{name}: {slices - count} slices would be made up between {count} measured ones",
                hint="look for lost files; gaps as wide as these cannot be filled",
            )
        step = float(stack.depth[-1]) / (slices - 1)
    pixel = np.array(stack.spacing[:2])
    shift = stack.shift / pixel if stack.tilted else np.zeros_like(stack.shift)
    first = np.floor(shift.min(axis=0) + 1e-6)
    wide, high = (np.array(volume.shape[:2]) + np.ceil((shift - first).max(axis=0) - 1e-6)).astype(int)
    check_memory(stack.slices[0].path, int(wide) * int(high) * (slices + count) * 4)
    fill = float(np.asarray(volume.min()))
    moved = np.full((wide, high, count), fill, dtype=np.float32)
    for k in range(count):
        moved[:, :, k] = _shift_plane(
            np.asarray(volume[:, :, k], dtype=np.float32), shift[k] - first, (wide, high), fill
        )
    notes = []
    if stack.tilted:
        notes.append(
            f"a tilt of {stack.tilt_degrees:.1f}° was resampled to a right-angled grid (linear; "
            f"{volume.shape[0]}×{volume.shape[1]} pixels became {wide}×{high}, filled with {fill:g})"
        )
    result = moved
    if not stack.even:
        places = np.interp(np.arange(slices) * step, stack.depth, np.arange(count))
        below = np.minimum(places.astype(int), count - 2)
        part = (places - below).astype(np.float32)
        result = np.stack(
            [(1 - w) * moved[:, :, b] + w * moved[:, :, b + 1] for b, w in zip(below, part, strict=True)], 2
        )
        notes.append(
            f"{count} slices {steps.min():.4g} to {steps.max():.4g} mm apart were resampled to {slices} slices "
            f"{step:.4g} mm apart (linear)"
        )
    offset = first * pixel
    position = np.array(stack.slices[0].position) + offset[0] * stack.row + offset[1] * stack.column
    affine = affine_ras(position, stack.row, stack.column, (*stack.spacing[:2], step))
    return result, Geometry(result.shape, affine), notes


def _shift_plane(
    plane: npt.NDArray[np.float32], shift: npt.NDArray[np.float64], shape: tuple[int, int], fill: float
) -> npt.NDArray[np.float32]:
    """The plane on a larger grid, moved by a shift in pixels (none negative)."""
    from scipy.ndimage import map_coordinates

    i = np.arange(shape[0])[:, None] - shift[0]
    j = np.arange(shape[1])[None, :] - shift[1]
    where = np.broadcast_arrays(i, j)
    # Rounding must not push the outermost pixels out of the plane.
    near = [np.where(np.abs(w - np.rint(w)) < 1e-5, np.rint(w), w) for w in where]
    moved: npt.NDArray[np.float32] = map_coordinates(plane, near, order=1, mode="constant", cval=fill)
    return moved
