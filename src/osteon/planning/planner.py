"""From the fingerprint to the plan: every decision, and the measurement that led to it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from osteon.core.errors import DatasetError, UsageError
from osteon.core.text import significant
from osteon.dataset.dataset import Dataset
from osteon.dataset.folds import structures_without_cases
from osteon.dataset.manifest import Channel
from osteon.plan.overlay import overlay
from osteon.plan.schema import (
    Grid,
    Intensity,
    Monai,
    Network,
    Patch,
    Plan,
    Pretrained,
    StructureSequence,
    Training,
)
from osteon.planning.augmentation_choice import choose_augmentation
from osteon.planning.click_choice import windows_around_structures, with_clicks
from osteon.planning.fingerprint import Fingerprint
from osteon.planning.grid_choice import choose_grid, drop_slices, fit_whole_slices, median_shape
from osteon.planning.network_choice import choose_network
from osteon.planning.network_shape import fit_patch, round_to_multiples
from osteon.planning.options import DEFAULTS, PlanOptions
from osteon.planning.recipe_files import ResolvedRecipe, resolve_recipe
from osteon.planning.recipes import Device, Recipe, SizeLimits
from osteon.planning.sequences import describe_other_sequences, find_sequences, sequence_measures
from osteon.planning.zoom_choice import choose_zoom, estimate_zoom_voxels, expand_smallest
from osteon.runs.record import check_plan_names
from osteon.training.losses import find_loss

MAX_BATCH_SLICES = 32
"""In a 2D batch, where the choice is the planner's."""
CROP_P = 0.5
"""Of batches that are cropped along a sequence."""
MAX_DISTANCE_RATIO = 1.25
"""Of distances of neighbours in a sequence: where they differ by more, each has its own in the plan."""
UNLIMITED_VOXELS = 1 << 62
"""Voxels: a size of images that was asked for is not made smaller."""


def make_plan(
    dataset: Dataset,
    fingerprint: Fingerprint,
    options: PlanOptions = DEFAULTS,
    *,
    device: Device = "cpu",
    patch_scale: float = 1.0,
) -> Plan:
    """Decide everything that training needs.

    Args:
        dataset: The dataset; its files are read only where the labels' loss on a coarser grid has to be measured.
        fingerprint: What was measured on its cases.
        options: What the user decides.
        device: What the sizes of patch and network are chosen for.
        patch_scale: So many times the recipe's voxels for a patch: a faster machine, or more time.

    Raises:
        UsageError: There is no such recipe, network, encoder or loss, or no channel or structure of that name; slices
            are dropped from a 3D plan, or it has an image size.
        PlanError: The recipe's file or the settings name a key that is none, or a value that makes no sense.
        DatasetError: A structure occurs in no case that can be trained on; some cases are in mm and some in pixels.
    """
    recipe = resolve_recipe(options)
    base, options = recipe.base, recipe.options
    _check_structures(dataset, fingerprint)
    _check_units(dataset, fingerprint)
    flat = bool((fingerprint.median_shape.min() <= 1) if fingerprint.cases else False)
    dimensions = options.dimensions or (2 if flat else 3)
    limits = base.sizes[device, dimensions]
    limits = replace(limits, voxels=round(patch_scale * limits.voxels))
    seen = windows_around_structures(fingerprint) if options.interactive else fingerprint
    grid = choose_grid(dataset, seen, dimensions, base, limits, options.image_size)
    if options.drop_slices is not None:
        grid = drop_slices(grid, options.drop_slices)
    patch, network = _choose_patch_and_network(seen, grid, limits, base, options)
    plan = Plan(
        dataset=dataset.manifest.name,
        unit="px" if fingerprint.cases[0].unit == "px" else "mm",
        channels=dataset.manifest.channels,
        structures=dataset.manifest.structures,
        overlapping=dataset.manifest.overlapping,
        grid=grid,
        intensities=_choose_intensities(dataset.manifest.channels, fingerprint, options.window or {}),
        patch=patch.model_copy(update={"scale": patch_scale}),
        network=network,
        training=_choose_training(dataset, recipe),
        augmentation=choose_augmentation(dataset, fingerprint, grid, patch.size, base),
        zoom=choose_zoom(
            dataset, fingerprint, grid, replace(options, zoom=expand_smallest(fingerprint, options.zoom or ()))
        ),
        sequence=None if dataset.manifest.overlapping else _choose_sequence(fingerprint, grid),
    )
    plan = with_clicks(plan) if options.interactive else _with_bodies(plan)
    plan = overlay(plan, recipe.settings, f"recipe {recipe.name}")
    plan = overlay(plan, options.settings or {})
    check_plan_names(plan)
    return plan


def _choose_patch_and_network(
    fingerprint: Fingerprint, grid: Grid, limits: SizeLimits, base: Recipe, options: PlanOptions
) -> tuple[Patch, Network | Pretrained | Monai]:
    shape = median_shape(fingerprint, grid)
    if options.image_size is None:
        patch, batch, why = fit_patch(shape, grid, limits)
        whole = patch == shape
    else:
        patch, why = fit_whole_slices(fingerprint, grid, options.image_size)
        whole, batch = True, min(MAX_BATCH_SLICES, max(2, limits.voxels // math.prod(patch)))
        limits = replace(limits, voxels=UNLIMITED_VOXELS)
    network = choose_network(patch, grid, limits, base, options)
    patch = round_to_multiples(patch, network, grid, limits, whole=whole)
    if options.batch is not None:
        if options.batch < 1:
            raise UsageError(f"--batch {options.batch}: is not a number of patches", hint="--batch 1 or more")
        batch, why = options.batch, [*why, f"a batch of {options.batch}, as asked"]
    return Patch(size=patch, batch=batch, why=why), network


def _choose_training(dataset: Dataset, recipe: ResolvedRecipe) -> Training:
    why = [f"recipe {recipe.name}: {recipe.source}"]
    values = dict(recipe.base.training)
    loss = recipe.options.loss
    if loss is not None:
        find_loss(loss)
        values["loss"] = loss
        why.append(f"loss {loss}, as asked")
    if dataset.manifest.overlapping:
        why.append("structures overlap: each has a sigmoid of its own, and cross-entropy is the binary one")
    return Training(recipe=recipe.name, why=why, **values)


def _check_structures(dataset: Dataset, fingerprint: Fingerprint) -> None:
    missing = structures_without_cases(dataset.structures, {c.id: c.structures for c in fingerprint.cases})
    if missing:
        raise DatasetError(
            f"{dataset.folder}: structures that are in no case for training: {', '.join(missing)}",
            hint="add a case in which they are labelled, or remove them from `structures` in dataset.yaml; "
            "cases held out for the final test do not count",
        )


def _check_units(dataset: Dataset, fingerprint: Fingerprint) -> None:
    pixels = [case.id for case in fingerprint.cases if case.unit == "px"]
    if pixels and len(pixels) < len(fingerprint.cases):
        raise DatasetError(
            f"{dataset.folder}: {len(pixels)} of {len(fingerprint.cases)} cases lack a pixel spacing, as {pixels[0]}",
            hint="give their files the spacing in mm, or leave them out: sizes could not be compared",
        )


def _choose_intensities(
    channels: Sequence[Channel], fingerprint: Fingerprint, window: Mapping[str, tuple[float, float]]
) -> list[Intensity]:
    names = [channel.name for channel in channels]
    unknown_channels = [name for name in window if name and name not in names]
    if unknown_channels:
        raise UsageError(
            f"--window: there is no channel {unknown_channels[0]}", hint=f"the channels are {', '.join(names)}"
        )
    sections = []
    for number, channel in enumerate(channels):
        fixed = window.get(channel.name, window.get(""))
        if fixed is None:
            sections.append(_choose_intensity(number, channel, fingerprint))
            continue
        low, high = fixed
        why = [f"a fixed range, as asked: {low:g} becomes −1, {high:g} becomes 1"]
        sections.append(
            Intensity(channel=channel.name, clip=fixed, mean=(low + high) / 2, std=(high - low) / 2, why=why)
        )
    return sections


def _choose_intensity(number: int, channel: Channel, fingerprint: Fingerprint) -> Intensity:
    if channel.modality != "ct":
        return Intensity(
            channel=channel.name, why=[f"modality {channel.modality}: intensities have no unit, each image by its own"]
        )
    sample = np.concatenate([case.intensities[number] for case in fingerprint.cases])
    low, high = np.percentile(sample, [0.5, 99.5])
    if low >= high:
        raise DatasetError(
            f"channel {channel.name}: all sampled voxels inside structures have the value {low:g}",
            hint="check that image and label belong together, or set the channel's modality to other",
        )
    inside = sample.clip(low, high)
    return Intensity(
        channel=channel.name,
        clip=(significant(low), significant(high)),
        mean=significant(inside.mean()),
        std=significant(inside.std()),
        why=[f"CT: percentiles 0.5 and 99.5, mean and SD of {len(sample)} voxels inside structures"],
    )


def _choose_sequence(fingerprint: Fingerprint, grid: Grid) -> StructureSequence | None:
    found = find_sequences(fingerprint, grid.world_axes)
    if not found:
        return None
    world, names = found[0]
    position = grid.world_axes.index(world)
    distances_mm, volume_mm3 = sequence_measures(fingerprint, names)
    differ = max(distances_mm) > MAX_DISTANCE_RATIO * min(distances_mm)
    return StructureSequence(
        axis=position,
        names=names,
        distance_mm=significant(float(np.median(distances_mm))),
        distances_mm=[significant(distance) for distance in distances_mm] if differ else None,
        volume_mm3=significant(volume_mm3),
        why=[
            f"{', '.join(names)} look the same and keep their order along {grid.axes[position]} in all cases: "
            "each body found gets one name, and names follow in order; without this section they stay as found",
            *describe_other_sequences(fingerprint, names),
        ],
    )


def _with_bodies(plan: Plan) -> Plan:
    """Where the plan has a sequence: bodies before their names, where network and sections allow it."""
    sequence = plan.sequence
    if sequence is None or plan.zoom is not None or plan.fixed_patch:
        return plan
    why = [
        *sequence.why,
        "bodies are found whatever their names, and places along the row are learnt: all names then follow together",
    ]
    cropping = "patches are cropped along the row, as scans are that end early: no name may hang on where they end"
    augmentation = plan.augmentation.model_copy(update={"crop_p": CROP_P, "why": [*plan.augmentation.why, cropping]})
    bodies = sequence.model_copy(update={"bodies": True, "why": why})
    return plan.model_copy(update={"sequence": bodies, "augmentation": augmentation})


def estimate_cache_bytes(plan: Plan, fingerprint: Fingerprint) -> int:
    """What the prepared cases will take on disk: float16 images and one byte for each voxel's label."""
    order = list(plan.grid.world_axes)
    total = 0.0
    for case in fingerprint.cases:
        shape = np.array(case.shape)[order] * np.array(case.spacing_mm)[order] / np.array(plan.grid.spacing_mm)
        if not plan.grid.resample_last:
            shape[2] = case.shape[order[2]]
        labels = len(plan.structures) if plan.overlapping else 1
        voxels = float(np.prod(shape)) + (0 if plan.zoom is None else estimate_zoom_voxels(plan, plan.zoom, case))
        total += voxels * (2 * len(plan.channels) + labels)
    return round(total)
