"""From slices to a grid: sorted along their normal, and refused where they make no even, right-angled one.

Distances come from the slices' positions. SliceThickness and SpacingBetweenSlices are what the scanner was told to do,
not where the images lie, and file names and instance numbers say nothing about either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from osteon.core.errors import GeometryError
from osteon.core.geometry import POSITION_TOLERANCE, Affine, Geometry
from osteon.formats.dicom_slices import Slice, Vector

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""The one place where DICOM's world turns into RAS."""
EVEN_TOLERANCE = 0.05
"""How far a slice may lie from its even place, in parts of the distance between slices."""
SAME_POSITION_MM = 0.01
"""Slices nearer to each other than this part of a pixel lie at one position."""
UNKNOWN_STEP = 1.0
"""Millimetres along k for a single slice, whose thickness no position tells."""
_PICTURE = np.array([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""Index → RAS of a picture that lies nowhere: i to the patient's left, j to the feet, as `raster.TO_RAS` has it."""


@dataclass(frozen=True)
class Stack:
    """Slices in order, and how they lie.

    Attributes:
        slices: Sorted along the normal.
        row: Unit vector along a row, LPS.
        column: Unit vector along a column, LPS.
        depth: `[n]` millimetres along the normal from the first slice.
        shift: `[n, 2]` millimetres along row and column from the first slice: not 0 where the gantry was tilted.
        spacing: Between columns (i), between rows (j), between slices (k).
    """

    slices: tuple[Slice, ...]
    row: Vector
    column: Vector
    depth: Vector
    shift: Vector
    spacing: tuple[float, float, float]

    @property
    def even(self) -> bool:
        """Whether the slices lie at even distances."""
        places = np.arange(len(self.slices)) * self.spacing[2]
        return bool((np.abs(self.depth - places) <= EVEN_TOLERANCE * self.spacing[2]).all())

    @property
    def tilted(self) -> bool:
        """Whether the slices are shifted against each other in their own plane."""
        return bool(np.abs(self.shift).max() > POSITION_TOLERANCE * min(self.spacing[:2]))

    @property
    def tilt_degrees(self) -> float:
        """The angle between the way from the first slice to the last and their normal."""
        return math.degrees(math.atan2(float(np.hypot(*self.shift[-1])), float(self.depth[-1])))

    def geometry(self) -> Geometry:
        """The right-angled grid from the first slice on."""
        first = self.slices[0]
        shape = (first.columns, first.rows, len(self.slices))
        return Geometry(shape, affine_ras(first.position or (0.0,) * 3, self.row, self.column, self.spacing))


def affine_ras(position: Sequence[float], row: Vector, column: Vector, spacing: tuple[float, float, float]) -> Affine:
    """Index → world, RAS, of a right-angled grid whose first voxel lies at `position` (LPS)."""
    affine = np.eye(4)
    affine[:3, :3] = np.stack([row, column, np.cross(row, column)], axis=1) * np.array(spacing)
    affine[:3, 3] = position
    ras: Affine = LPS_TO_RAS @ affine
    return ras


def picture_geometry(slice_: Slice) -> Geometry:
    """The grid of an image that lies nowhere: in mm where it gives PixelSpacing, in px where it does not."""
    affine = _PICTURE.copy()
    if slice_.spacing:
        affine[:3, :2] *= np.array([slice_.spacing[1], slice_.spacing[0]])
    return Geometry((slice_.columns, slice_.rows, 1), affine, "mm" if slice_.spacing else "px")


def make_stack(slices: Sequence[Slice], name: str | Path) -> Stack:
    """Sort slices by position, and measure how they lie.

    Args:
        slices: Of one orientation, matrix and pixel spacing; each says where it lies.
        name: Of the series, for messages.

    Raises:
        GeometryError: A slice lacks its place or spacing, or two lie at one position.
    """
    for slice_ in slices:
        if not slice_.has_position or slice_.spacing is None:
            lack = "position or orientation" if not slice_.has_position else "PixelSpacing"
            raise GeometryError(
                f"{name}: {slice_.path.name} gives no {lack}, so its place in the patient would be made up",
                hint="export the series again as the scanner made it",
            )
    frame = np.mean(np.array([slice_.orientation for slice_ in slices], dtype=np.float64), axis=0)
    row = frame[:3] / np.linalg.norm(frame[:3])
    column = frame[3:] - (frame[3:] @ row) * row
    column /= np.linalg.norm(column)
    positions = np.array([slice_.position for slice_ in slices], dtype=np.float64)
    depth = positions @ np.cross(row, column)
    order = np.argsort(depth, kind="stable")
    positions, depth = positions[order] - positions[order[0]], depth[order] - depth[order[0]]
    between_rows, between_columns = (
        np.array([slice_.spacing for slice_ in slices], dtype=np.float64).mean(axis=0).tolist()
    )
    ordered = tuple(slices[n] for n in order)
    step = float(depth[-1]) / (len(ordered) - 1) if len(ordered) > 1 else UNKNOWN_STEP
    twins = np.flatnonzero(np.diff(depth) < SAME_POSITION_MM * min(between_rows, between_columns))
    if len(twins):
        one, other = ordered[twins[0]], ordered[twins[0] + 1]
        raise GeometryError(
            f"{name}: {len(twins) + 1} or more of {len(ordered)} images share a position, and nothing tells them "
            f"apart; {_label(one)} and {_label(other)} lie {np.diff(depth)[twins[0]]:.3g} mm apart",
            hint="keep one image for each position, each set in a folder of its own",
        )
    shift = np.stack([positions @ row, positions @ column], axis=1)
    return Stack(ordered, row, column, depth, shift, (between_columns, between_rows, step))


def check_stack(stack: Stack, name: str | Path, *, accept_gaps: bool, resample_tilt: bool) -> None:
    """Refuse uneven and tilted stacks unless the option that repairs them is given.

    Raises:
        GeometryError: With the numbers that differ and the options.
    """
    wrong, options = [], []
    if not stack.even and not accept_gaps:
        steps = np.diff(stack.depth)
        usual = float(np.median(steps))
        worst = int(np.argmax(np.abs(steps - usual)))
        missing = round(float(steps[worst]) / usual) - 1
        lost = (
            f"; {missing} missing there"
            if missing >= 1 and abs(steps[worst] / usual - missing - 1) < EVEN_TOLERANCE
            else ""
        )
        wrong.append(
            f"slices lie {usual:.4g} mm apart, but {steps[worst]:.4g} mm between {_label(stack.slices[worst])} and "
            f"{_label(stack.slices[worst + 1])}{lost}"
        )
        options.append("--accept-gaps to resample them to even distances")
    if stack.tilted and not resample_tilt:
        wrong.append(
            f"the stack leans {stack.tilt_degrees:.1f}° from its slices' normal, 0° is right-angled (tilted gantry): "
            f"the last slice is shifted by {float(np.hypot(*stack.shift[-1])):.4g} mm in its plane"
        )
        options.append("--resample-tilt to resample it to a right-angled grid")
    if wrong:
        raise GeometryError(
            f"{name}: {'; '.join(wrong)}",
            hint=f"look for lost files, or let `osteon import` take it on purpose: {', and '.join(options)}",
        )


def _label(slice_: Slice) -> str:
    return slice_.path.name if slice_.frame == 0 else f"{slice_.path.name} (frame {slice_.frame + 1})"
