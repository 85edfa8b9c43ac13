"""The plan's sections `grid` and `intensities`: where a scan's voxels go, and what their values become."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from osteon.plan.monai_section import MonaiPreparation
from osteon.plan.sections import FiniteFloat, PositiveFloat, Section

SplineOrder = Literal[0, 1, 2, 3, 4, 5]
WorldAxis = Literal["R", "A", "S", "L", "P", "I"]
FileAxis = Literal["i", "j", "k"]
WORLD_AXIS_NUMBERS = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}
"""The world axis that a letter runs along; R, A and S forwards, the others backwards."""


class NnUNetPreparation(Section):
    """How nnU-Net brings a scan onto a grid and back. Its models need just that: what they saw in training.

    The scan is cropped to what is not 0 and normalised on its own grid, then resampled by splines without a filter
    against aliasing; patches have one size, and what is beyond the scan is 0 in them. On the way back logits are
    interpolated, not probabilities. Where slices are thick, they are resampled apart from one another.

    Attributes:
        order: Of the splines: 0 the nearest voxel, 1 linear, 3 cubic.
        order_across: The same from slice to slice, where these are resampled apart.
        apart: Whether slices are resampled apart along the axis of the longest voxels; None: where voxels are more
            than three times as long there, in the scan or on the grid.
        back: The order on the way back.
        back_across: The same from slice to slice.
        back_apart: As `apart`, on the way back.
    """

    order: SplineOrder = 3
    order_across: SplineOrder = 0
    apart: bool | None = None
    back: Literal[0, 1] = 1
    back_across: Literal[0, 1] = 0
    back_apart: bool | None = None


class Grid(Section):
    """The grid that the network works on.

    Attributes:
        dimensions: 3 for volumes; 2 for slices across the last axis, or for radiographs.
        axes: Which world axis (R, A, S) each array axis runs along, after the lossless turn. With `nnunet` or
            `monai` also backwards (L, P, I), or i, j, k: the file's own axes in this order, however they lie in
            the world.
        spacing_mm: Voxel edges along these axes (`px` for radiographs without spacing).
        resample_last: False keeps the last axis as it is (2D: slices are not mixed).
        drop_slices: 2D: slices of each scan that are never trained on: the first of them (None: from the beginning)
            and the one after the last (None: to the end). They count along the last axis, from the left (R), the
            back (A) or the feet (S); negative numbers count from the other end, as in Python.
        nnunet: A model of nnU-Net's, or one that began with such: scans are prepared and restored in its way.
        monai: A bundle of MONAI's: the same in its way.
    """

    dimensions: Literal[2, 3]
    axes: tuple[WorldAxis, WorldAxis, WorldAxis] | tuple[FileAxis, FileAxis, FileAxis] = ("R", "A", "S")
    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    resample_last: bool = True
    drop_slices: tuple[int | None, int | None] | None = None
    nnunet: NnUNetPreparation | None = None
    monai: MonaiPreparation | None = None

    @model_validator(mode="after")
    def _axes_differ(self) -> Grid:
        if len({WORLD_AXIS_NUMBERS.get(letter, letter) for letter in self.axes}) != 3:
            raise ValueError(f"axes must name R, A and S once each, not {', '.join(self.axes)}")
        if not self.imported and not {"R", "A", "S"}.issuperset(self.axes):
            raise ValueError(f"axes: {', '.join(self.axes)} is for models of nnU-Net; others have R, A and S")
        if self.monai is not None and (self.nnunet is not None or self.dimensions == 2):
            raise ValueError("monai: belongs to volumes, and not beside nnunet")
        if self.drop_slices is not None and (self.dimensions == 3 or self.resample_last):
            raise ValueError("drop_slices: only a 2D plan that keeps the last axis (resample_last: false) has slices")
        return self

    @property
    def imported(self) -> str:
        """The section of the program whose way of preparing it is, `nnunet` or `monai`; empty for osteon's."""
        return "nnunet" if self.nnunet is not None else "monai" if self.monai is not None else ""

    @property
    def left_right_axis(self) -> int | None:
        """The array axis from left to right; None where nobody knows."""
        return next((number for number, letter in enumerate(self.axes) if letter in "RL"), None)

    @property
    def world_axes(self) -> tuple[int, ...]:
        """Which world axis (0 R, 1 A, 2 S) each array axis runs along, forwards or backwards.

        Raises:
            ValueError: They are a file's own axes, of which nobody knows how they lie.
        """
        if self.axes[0] in "ijk":
            raise ValueError(f"axes {', '.join(self.axes)} have no world axes")
        return tuple(WORLD_AXIS_NUMBERS[letter] for letter in self.axes)

    @property
    def flipped(self) -> tuple[bool, ...]:
        """Whether each array axis runs against its world axis."""
        return tuple(letter in "LPI" for letter in self.axes)

    def kept_slices(self, count: int) -> list[int]:
        """Which of a scan's `count` slices are trained on."""
        if self.drop_slices is None:
            return list(range(count))
        along = range(count)[::-1] if self.flipped[2] else range(count)
        dropped = along[slice(*self.drop_slices)]
        return [number for number in range(count) if number not in dropped]


class Intensity(Section):
    """How one channel is normalised: clipped to `clip` where given, then (x − mean) / std.

    `mean` and `std` None: those of each image itself (MR); numbers: the same for all images (CT).

    Attributes:
        channel: Its name.
        clip: Bounds.
        mean: What is taken off.
        std: What the rest is divided by.
        by: Where the two are each image's own: `std` its mean and standard deviation; `range` its minimum, and the
            maximum less that.
        inside: They are taken where some channel is not 0 (holes filled), and what is outside stays as it is.
    """

    channel: str
    clip: tuple[FiniteFloat, FiniteFloat] | None = None
    mean: FiniteFloat | None = None
    std: PositiveFloat | None = None
    by: Literal["std", "range"] = "std"
    inside: bool = False

    @model_validator(mode="after")
    def _makes_sense(self) -> Intensity:
        if self.clip is not None and self.clip[0] >= self.clip[1]:
            raise ValueError(f"clip: the lower bound {self.clip[0]} is not below the upper bound {self.clip[1]}")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std are given both or not at all")
        return self
