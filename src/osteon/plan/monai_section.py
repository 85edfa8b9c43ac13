"""The plan's section `grid.monai`: how a bundle of MONAI's prepares scans."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from osteon.plan.sections import FiniteFloat, Section

MONAI_STEPS: dict[str, frozenset[str]] = {
    "ClipIntensityPercentiles": frozenset({"lower", "upper", "channel_wise"}),
    "NormalizeIntensity": frozenset({"subtrahend", "divisor", "nonzero", "channel_wise"}),
    "ScaleIntensity": frozenset({"minv", "maxv", "factor", "channel_wise"}),
    "ScaleIntensityRange": frozenset({"a_min", "a_max", "b_min", "b_max", "clip"}),
    "ScaleIntensityRangePercentiles": frozenset(
        {"lower", "upper", "b_min", "b_max", "clip", "relative", "channel_wise"}
    ),
    "ThresholdIntensity": frozenset({"threshold", "above", "cval"}),
}
"""MONAI's transforms of intensities that a plan may name, each with the arguments that it may have there."""
MonaiValue = bool | int | FiniteFloat | None


class MonaiStep(Section):
    """A transform of intensities.

    Attributes:
        name: A row of `MONAI_STEPS`.
        arguments: Numbers, or lists of them.
    """

    name: str
    arguments: dict[str, MonaiValue | list[MonaiValue]] = Field(default={})

    @model_validator(mode="after")
    def _is_known(self) -> MonaiStep:
        if self.name not in MONAI_STEPS:
            raise ValueError(f"{self.name} is no known transform of intensities; there are {', '.join(MONAI_STEPS)}")
        if unknown := sorted(self.arguments.keys() - MONAI_STEPS[self.name]):
            raise ValueError(f"{self.name}: {', '.join(unknown)} is not known here")
        return self


class MonaiPreparation(Section):
    """How a bundle of MONAI's brings a scan onto its grid, and puts patches together.

    First and last voxel centres along an axis stay in place; between them is linear interpolation, without a
    filter against aliasing, there and back.

    Attributes:
        resample: Whether scans are resampled at all; else `spacing_mm` is only what was usual.
        before: Transforms of intensities on the scan's own grid.
        after: Those on the plan's.
        overlap: Of patches that follow one another, as a part of their size.
        blend: Patches count most in their middle (`gaussian`), or everywhere as much.
    """

    resample: bool = True
    before: list[MonaiStep] = Field(default=[])
    after: list[MonaiStep] = Field(default=[])
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.25
    blend: Literal["gaussian", "constant"] = "constant"
