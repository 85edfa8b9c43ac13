"""Which network a plan names, and what the grid decides about it."""

from __future__ import annotations

import math
from difflib import get_close_matches

import numpy as np

from osteon.core.errors import UsageError
from osteon.plan.network_sections import GROUPS, MONAI, NAMES, NNUNET, PRETRAINED, SCRATCH
from osteon.plan.schema import Grid, Monai, Network, Pretrained
from osteon.planning.network_shape import shape_network
from osteon.planning.options import Choices
from osteon.planning.recipes import Recipe, Size

ENCODER = "resnet34"
"""Where a network needs an encoder and none is named."""
HALVINGS = 5
"""Of every pre-trained encoder."""
ALIKE = 0.95
"""Spacings of at least this part of the largest count as equal to it."""
Triple = tuple[int, int, int]


def choose_network(
    patch: Triple, grid: Grid, size: Size, row: Recipe, choices: Choices
) -> Network | Pretrained | Monai:
    """The plan's section `network`.

    Raises:
        UsageError: There is no network of that name, or it cannot have what was asked for.
        PlanError: The encoder does not exist, or does not go with the network.
    """
    name = choices.network or "unet"
    if name not in NAMES:
        near = get_close_matches(name, NAMES, 3, 0.5) or NAMES
        raise UsageError(f"there is no network {name}", hint=f"near it: {', '.join(near)}")
    if name in NNUNET:
        raise UsageError(
            f"{name} is not planned: it comes with a model of nnU-Net's (osteon import-model nnunet)",
            hint=f"take {SCRATCH[NNUNET.index(name)]} to train one of your own",
        )
    if name in PRETRAINED and (choices.encoder or name not in SCRATCH):
        return _pretrained(name, choices.encoder or ENCODER, choices.weights or "imagenet", patch, grid)
    if choices.encoder:
        raise UsageError(
            f"{name} has no pre-trained encoder", hint=f"--encoder belongs to one of {', '.join(PRETRAINED)}"
        )
    if choices.weights and choices.weights != "none":
        raise UsageError(
            f"--weights {choices.weights}: {name} has no encoder that they could be of",
            hint="name it with --encoder; to begin from a model of your own, train with --init",
        )
    if name in MONAI:
        features = max(1, round(size.features / GROUPS[name])) * GROUPS[name]
        return Monai.model_validate({"name": name, "features": features, "downsampling": _monai(name, grid)})
    made = shape_network(patch, grid, size, row)
    return made.model_copy(update={"name": name, "residual": True}) if name == "resunet" else made


def _pretrained(name: str, encoder: str, weights: str, patch: Triple, grid: Grid) -> Pretrained:
    from osteon.networks.encoders import check_encoder, has_fixed_size, weights_licence  # smp and timm: two seconds
    from osteon.networks.registry import check_network

    check_encoder(encoder)
    why = [f"ImageNet weights of {encoder}; their licence: {weights_licence(encoder)}"] if weights == "imagenet" else []
    section = {"name": name, "encoder": encoder, "weights": weights, "why": why}
    if grid.dimensions == 2:
        fixed = has_fixed_size(encoder)
        if fixed:
            why.append(f"{encoder} takes images of one size alone: the patch's")
        made = Pretrained.model_validate({**section, "fixed_size": fixed})
    else:
        made = Pretrained.model_validate({**section, **_third_axis(patch, grid, why)})
    i, j = (math.ceil(n / 2**HALVINGS) * 2**HALVINGS for n in patch[:2])
    check_network(made, grid.dimensions, (i, j))
    return made


def _third_axis(patch: Triple, grid: Grid, why: list[str]) -> dict[str, object]:
    """Along which axis a 2D encoder is inflated, and how many of its halvings leave it as it is.

    The thickest slices lie across it; where all voxels are alike, the fewest slices.
    """
    spacing = np.array(grid.spacing_mm)
    alike = [axis for axis in (2, 1, 0) if spacing[axis] >= ALIKE * spacing.max()]
    through = min(alike, key=lambda axis: patch[axis])
    ratio = float(spacing[through] / np.delete(spacing, through).max())
    thick = min(HALVINGS - 1, max(0, round(math.log2(ratio))))
    why.append(
        f"the 2D encoder is inflated along {grid.axes[through]}: voxels {ratio:.3g} times as long as the others, "
        f"so its first {thick} halvings leave that axis as it is"
    )
    while thick < HALVINGS - 1 and 2 * patch[through] <= 2 ** (HALVINGS - thick):
        thick += 1
        why.append(f"{patch[through]} slices would be filled up to twice as many: {thick} halvings leave it as it is")
    downsampling = [2**HALVINGS] * 3
    downsampling[through] = 2 ** (HALVINGS - thick)
    return {"through_axis": through, "thick_stages": thick, "downsampling": downsampling}


def _monai(name: str, grid: Grid) -> Triple:
    times = 32 if name == "swinunetr" else 8
    return times, times, times if grid.dimensions == 3 else 1
