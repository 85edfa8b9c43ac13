"""Which network a plan names, and what the grid decides about it."""

from __future__ import annotations

import math
from difflib import get_close_matches

import numpy as np

from osteon.core.errors import UsageError
from osteon.planning.choices import Choices
from osteon.planning.network_sections import MONAI, NAMES, PRETRAINED, SCRATCH
from osteon.planning.network_shape import shape_network
from osteon.planning.plan import Grid, Monai, Network, Pretrained
from osteon.planning.recipes import Recipe, Size

ENCODER = "resnet34"
"""Where a network needs an encoder and none is named."""
HALVINGS = 5


def choose_network(
    patch: tuple[int, int, int], grid: Grid, size: Size, row: Recipe, choices: Choices
) -> Network | Pretrained | Monai:
    """The plan's section `network`.

    Raises:
        UsageError: There is no network of that name, or it cannot have what was asked for.
    """
    name = choices.network or "unet"
    if name not in NAMES:
        near = get_close_matches(name, NAMES, 3, 0.5) or NAMES
        raise UsageError(f"there is no network {name}", hint=f"near it: {', '.join(near)}")
    if name in PRETRAINED and (choices.encoder or name not in SCRATCH):
        return _pretrained(name, choices.encoder or ENCODER, choices.weights or "imagenet", grid)
    if choices.encoder or choices.weights:
        raise UsageError(
            f"{name} has no pre-trained encoder", hint=f"--encoder belongs to one of {', '.join(PRETRAINED)}"
        )
    if name in MONAI:
        return Monai.model_validate({"name": name, "features": size.features, "downsampling": _monai(name, grid)})
    return shape_network(patch, grid, size, row)


def _pretrained(name: str, encoder: str, weights: str, grid: Grid) -> Pretrained:
    times = 2**HALVINGS
    if grid.dimensions == 2:
        return Pretrained.model_validate({"name": name, "encoder": encoder, "weights": weights})
    spacing = np.array(grid.spacing_mm)
    through = int(np.argmax(spacing))
    ratio = float(spacing[through] / np.delete(spacing, through).max())
    thick = min(HALVINGS - 1, max(0, round(math.log2(ratio))))
    downsampling = [times] * 3
    downsampling[through] = 2 ** (HALVINGS - thick)
    axis = f"{grid.axes[through]}, {ratio:.2g} times as thick as the others"
    return Pretrained.model_validate(
        {
            "name": name,
            "encoder": encoder,
            "weights": weights,
            "through_axis": through,
            "thick_stages": thick,
            "downsampling": downsampling,
            "why": [f"the 2D encoder is inflated along {axis}"],
        }
    )


def _monai(name: str, grid: Grid) -> tuple[int, int, int]:
    times = 32 if name == "swinunetr" else 8
    return times, times, times if grid.dimensions == 3 else 1
