"""The plan's section of augmentation: how often and how far patches are changed at random."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from osteon.plan.sections import FiniteFloat, Fraction, NonNegativeFloat, PositiveFloat, Section

HalfFraction = Annotated[float, Field(ge=0, le=0.5)]

MAX_ELASTIC_SHARE = 0.4
"""Of a cubic B-spline's grain: below 0.403 a deformation cannot fold in 3D, below 0.488 in 2D (Choi and Lee, Graphical
Models 62, 2000)."""


def _check_rising(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError(f"a range goes from low to high, not from {limits[0]:g} to {limits[1]:g}")
    return limits


PositiveRange = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_check_rising)]
FiniteRange = Annotated[tuple[FiniteFloat, FiniteFloat], AfterValidator(_check_rising)]
NonNegativeRange = Annotated[tuple[NonNegativeFloat, NonNegativeFloat], AfterValidator(_check_rising)]
FractionRange = Annotated[
    tuple[Annotated[PositiveFloat, Field(le=1)], Annotated[PositiveFloat, Field(le=1)]], AfterValidator(_check_rising)
]


def _repeat_for_axes(value: Any) -> Any:
    return (value, value, value) if isinstance(value, int | float) else value


class Augmentation(Section):
    """Probabilities (`p`) and ranges of random changes to a patch.

    Attributes:
        mirror_axes: Array axes along which a patch is mirrored, each with probability ½.
        rotate_degrees: Greatest angle about each array axis.
        scale: Range of the zoom, drawn for each axis.
        shift: Greatest shift along each array axis, as a part of the patch; one number stands for all axes.
        brightness: Range of the factor on all intensities (they are normalised, so about zero).
        offset: Range of what is added to them.
        contrast: Range of the factor about the patch's mean, its range kept.
        low_resolution: Range of the part of the resolution that is kept.
        gamma: Range of the exponent on the patch's intensities scaled to 0 … 1; inverted: on their negative.
        elastic_mm: Range of the greatest displacement of a smooth random deformation's independent points along each
            axis (`px` for radiographs); at most `MAX_ELASTIC_SHARE` of their distance.
        elastic_grain_mm: Distance of these points.
        crop_p: Probability that a batch is cropped along the axis of the plan's sequence, so that names do not hang on
            where a scan ends.
        crop: Least part of the patch that is left of that axis.
        bias: MR channels: range of the greatest factor of a smooth random field on the intensities, as a natural
            logarithm: 0.4 is between × 0.67 and × 1.49.
    """

    mirror_axes: list[Literal[0, 1, 2]] = Field(default_factory=list)
    affine_p: Fraction
    rotate_degrees: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat]
    scale: PositiveRange
    shift: Annotated[tuple[HalfFraction, HalfFraction, HalfFraction], BeforeValidator(_repeat_for_axes)] = (
        0.0,
        0.0,
        0.0,
    )
    noise_p: Fraction = 0.0
    noise_std: NonNegativeFloat = 0.0
    blur_p: Fraction = 0.0
    blur_sigma: PositiveRange = (0.5, 1.0)
    brightness_p: Fraction = 0.0
    brightness: PositiveRange = (1.0, 1.0)
    offset_p: Fraction = 0.0
    offset: FiniteRange = (0.0, 0.0)
    contrast_p: Fraction = 0.0
    contrast: PositiveRange = (1.0, 1.0)
    low_resolution_p: Fraction = 0.0
    low_resolution: FractionRange = (0.5, 1.0)
    gamma_p: Fraction = 0.0
    gamma_inverted_p: Fraction = 0.0
    gamma: PositiveRange = (1.0, 1.0)
    elastic_p: Fraction = 0.0
    elastic_mm: NonNegativeRange = (2.0, 8.0)
    elastic_grain_mm: PositiveFloat = 32.0
    crop_p: Fraction = 0.0
    crop: Annotated[float, Field(gt=0, le=1)] = 0.55
    bias_p: Fraction = 0.0
    bias: NonNegativeRange = (0.1, 0.4)

    @model_validator(mode="after")
    def _axes_differ(self) -> Augmentation:
        if len(set(self.mirror_axes)) != len(self.mirror_axes):
            raise ValueError(f"mirror_axes names an axis twice: {self.mirror_axes}")
        return self

    @model_validator(mode="after")
    def _never_folds(self) -> Augmentation:
        if self.elastic_mm[1] > MAX_ELASTIC_SHARE * self.elastic_grain_mm:
            raise ValueError(
                f"elastic_mm: {self.elastic_mm[1]:g} is more than {MAX_ELASTIC_SHARE} of elastic_grain_mm "
                f"({self.elastic_grain_mm:g}): space would fold, and bones overlap themselves"
            )
        return self
