"""Which network a plan names, and what the grid decides about it."""

from __future__ import annotations

import math

import numpy as np

from osteon.core.errors import UsageError
from osteon.networks.encoder_registry import HALVINGS
from osteon.networks.encoders import check_encoder, default_weights, has_fixed_size, weights_licence
from osteon.networks.registry import check_network, find_network
from osteon.plan.network_sections import FEATURE_MULTIPLES, MONAI, NNUNET, PRETRAINED, SCRATCH
from osteon.plan.schema import Grid, Monai, Network, Pretrained
from osteon.planning.network_shape import choose_stages
from osteon.planning.options import PlanOptions
from osteon.planning.recipes import Recipe, SizeLimits

DEFAULT_ENCODER = "resnet34"
"""Where a network needs an encoder and none is named."""
EQUAL_SPACING = 0.95
"""Spacings of at least this part of the largest count as equal to it."""
Triple = tuple[int, int, int]


def choose_network(
    patch: Triple, grid: Grid, limits: SizeLimits, recipe: Recipe, options: PlanOptions
) -> Network | Pretrained | Monai:
    """The plan's section `network`.

    Raises:
        UsageError: There is no network of that name, or it cannot have what was asked for.
        PlanError: The encoder does not exist, or does not go with the network.
    """
    name = options.network or "unet"
    find_network(name)
    if name == "monai-bundle":
        raise UsageError(
            f"{name} is not planned: it comes with a bundle of MONAI's (osteon import-model monai)",
            hint="segresnet and swinunetr are networks of MONAI that can be trained",
        )
    if name in NNUNET:
        raise UsageError(
            f"{name} is not planned: it comes with a model of nnU-Net's (osteon import-model nnunet)",
            hint=f"take {SCRATCH[NNUNET.index(name)]} to train one of your own",
        )
    if name in PRETRAINED and (options.encoder or name not in SCRATCH):
        return _choose_pretrained(name, options.encoder or DEFAULT_ENCODER, options.weights, patch, grid)
    if options.encoder:
        raise UsageError(
            f"{name} has no pre-trained encoder", hint=f"--encoder belongs to one of {', '.join(PRETRAINED)}"
        )
    if options.weights and options.weights != "none":
        raise UsageError(
            f"--weights {options.weights}: {name} has no encoder that they could be of",
            hint="name it with --encoder; to begin from a model of your own, train with --init",
        )
    if name in MONAI:
        features = max(1, round(limits.features / FEATURE_MULTIPLES[name])) * FEATURE_MULTIPLES[name]
        return Monai.model_validate(
            {"name": name, "features": features, "downsampling": _monai_downsampling(name, grid)}
        )
    section = choose_stages(patch, grid, limits, recipe)
    return section.model_copy(update={"name": name, "residual": name == "resunet"})


def _choose_pretrained(name: str, encoder: str, weights: str | None, patch: Triple, grid: Grid) -> Pretrained:
    check_encoder(encoder)
    weights = weights or default_weights(encoder)
    licence, kind = weights_licence(encoder, weights), "ImageNet" if weights == "imagenet" else weights
    why = [] if licence is None else [f"{kind} weights of {encoder}; their licence: {licence}"]
    values = {"name": name, "encoder": encoder, "weights": weights, "why": why}
    if grid.dimensions == 2:
        fixed = has_fixed_size(encoder)
        if fixed:
            why.append(f"{encoder} takes images of one size alone: the patch's")
        section = Pretrained.model_validate({**values, "fixed_size": fixed})
    else:
        section = Pretrained.model_validate({**values, **_inflate_axis(patch, grid, why)})
    i, j = (math.ceil(n / 2**HALVINGS) * 2**HALVINGS for n in patch[:2])
    check_network(section, grid.dimensions, (i, j))
    return section


def _inflate_axis(patch: Triple, grid: Grid, why: list[str]) -> dict[str, object]:
    """Along which axis a 2D encoder is inflated, and how many of its halvings leave it as it is.

    The thickest slices lie across it; where all voxels are alike, the fewest slices.
    """
    spacing = np.array(grid.spacing_mm)
    thickest = [axis for axis in (2, 1, 0) if spacing[axis] >= EQUAL_SPACING * spacing.max()]
    axis = min(thickest, key=lambda axis: patch[axis])
    ratio = float(spacing[axis] / np.delete(spacing, axis).max())
    thick = min(HALVINGS - 1, max(0, round(math.log2(ratio))))
    why.append(
        f"the 2D encoder is inflated along {grid.axes[axis]}: voxels {ratio:.3g} times as long as the others, "
        f"so its first {thick} halvings leave that axis as it is"
    )
    while thick < HALVINGS - 1 and 2 * patch[axis] <= 2 ** (HALVINGS - thick):
        thick += 1
        why.append(f"{patch[axis]} slices would be filled up to twice as many: {thick} halvings leave it as it is")
    downsampling = [2**HALVINGS] * 3
    downsampling[axis] = 2 ** (HALVINGS - thick)
    return {"through_axis": axis, "thick_stages": thick, "downsampling": downsampling}


def _monai_downsampling(name: str, grid: Grid) -> Triple:
    times = 32 if name == "swinunetr" else 8
    return times, times, times if grid.dimensions == 3 else 1
