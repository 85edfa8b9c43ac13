"""Drawn changes in words, for the page that shows them."""

from __future__ import annotations

import math

import numpy as np

from osteon.plan.schema import Plan
from osteon.training.augmenting.parameters import AugmentationParameters
from osteon.training.augmenting.spatial import in_millimetres

INTENSITIES = {
    "noise": "noise of SD {:.2g}",
    "blur": "blurred, sigma {:.2g} voxels",
    "brightness": "brightness × {:.2f}",
    "offset": "offset {:+.2f}",
    "contrast": "contrast × {:.2f}",
    "low_resolution": "resolution × {:.2f}",
    "gamma_inverted": "gamma of the negative {:.2f}",
    "gamma": "gamma {:.2f}",
}
"""In the order in which they happen."""


def describe_augmentation(parameters: AugmentationParameters, number: int, plan: Plan) -> list[str]:
    """What happens to one patch of a batch, in the order in which it happens; nothing: an empty list."""
    return [*_describe_spatial(parameters, number, plan), *_describe_intensities(parameters, number, plan)]


def _describe_spatial(parameters: AugmentationParameters, number: int, plan: Plan) -> list[str]:
    words = []
    mirrored = [letter for letter, flipped in zip(plan.grid.axes, parameters.mirror[number], strict=True) if flipped]
    if mirrored:
        swapped = "R" in mirrored and plan.mirror_partners != list(range(len(plan.structures)))
        words.append(f"mirrored along {', '.join(mirrored)}" + ("; left and right swap names" if swapped else ""))
    if parameters.elastic_mm[number] > 0:
        words.append(f"bent, its points by up to {parameters.elastic_mm[number]:.2g} {plan.unit}")
    affine = in_millimetres(parameters.affine[number], plan)
    stretch = np.linalg.norm(affine[:, :3], axis=0)
    rotation = affine[:, :3] / stretch
    degrees = math.degrees(math.acos(min(1.0, max(-1.0, (np.trace(rotation) - 1) / 2))))
    if degrees >= 0.05:
        words.append(f"rotated {degrees:.2g}°")
    seen = range(plan.grid.dimensions)
    if not np.allclose(stretch, 1, atol=1e-3):
        # The affine leads from the changed patch to the given one: what it stretches is seen smaller.
        factors = ", ".join(f"{1 / stretch[axis]:.2f}" for axis in seen)
        words.append(f"zoomed × {factors} along {', '.join(plan.grid.axes[axis] for axis in seen)}")
    shift = float(np.linalg.norm(affine[:, 3]))
    if shift > 0:
        words.append(f"shifted {shift:.2g} {plan.unit}")
    return words


def _describe_intensities(parameters: AugmentationParameters, number: int, plan: Plan) -> list[str]:
    words = []
    bias = parameters.bias[number]
    if bias > 0 and any(channel.modality == "mr" for channel in plan.channels):
        words.append(f"bias field × {math.exp(-bias):.2f} … {math.exp(bias):.2f}")
    for name, text in INTENSITIES.items():
        value = getattr(parameters, name)[number]
        if not math.isnan(value):
            words.append(text.format(value))
    return words
