"""From the fingerprint to the plan: every decision, and the measurement that led to it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from osteon.core.errors import DatasetError, UsageError
from osteon.core.text import pluralise
from osteon.dataset.dataset import Dataset
from osteon.dataset.folds import structures_without_cases
from osteon.dataset.manifest import Channel
from osteon.plan.overlay import nearest, overlay
from osteon.plan.schema import (
    Augmentation,
    Grid,
    Intensity,
    Monai,
    Network,
    Patch,
    Plan,
    Pretrained,
    Series,
    Training,
)
from osteon.plan.sections import Loss
from osteon.planning.fingerprint import Fingerprint, fixed_order, series, series_margin_mm, series_measures
from osteon.planning.grid_choice import choose_grid, digits, drop_slices, median_shape, whole_slice
from osteon.planning.network_choice import choose_network
from osteon.planning.network_shape import fit_patch, to_multiples
from osteon.planning.options import DEFAULTS, Choices
from osteon.planning.recipe_files import Resolved, resolve
from osteon.planning.recipes import Device, Recipe, Size
from osteon.planning.smallest_structures import named_structures
from osteon.planning.zoom_choice import plan_zoom, zoom_voxels

MOST_SHIFT = 0.25
"""Of a patch, along the axis of a series."""
MOST_SLICES = 32
"""In a 2D batch, where the choice is the planner's."""
BEND_GRAIN = 2.5
"""Distance of a deformation's points, times that of two bodies in a row."""
BEND = 0.33
"""How far they move, as a part of their distance; below `sections.FOLDING`."""
BEND_SHARE = 0.5
"""Of the patches."""
ANY_SIZE = 1 << 62
"""Voxels: a size of images that was asked for is not made smaller."""
LOSSES: tuple[str, ...] = get_args(Loss)


def make_plan(
    dataset: Dataset,
    fingerprint: Fingerprint,
    choices: Choices = DEFAULTS,
    *,
    device: Device = "cpu",
    room: float = 1.0,
) -> Plan:
    """Decide everything that training needs.

    Args:
        dataset: The dataset; its files are read only where the labels' loss on a coarser grid has to be measured.
        fingerprint: What was measured on its cases.
        choices: What the user decides.
        device: What the sizes of patch and network are chosen for.
        room: So many times the recipe's voxels for a patch: a faster machine, or more time.

    Raises:
        UsageError: There is no such recipe, network, encoder or loss, or no channel or structure of that name; slices
            are dropped from a 3D plan, or it has an image size.
        PlanError: The recipe's file or the settings name a key that is none, or a value that makes no sense.
        DatasetError: A structure occurs in no case that can be trained on; some cases are in mm and some in pixels.
    """
    recipe = resolve(choices)
    row, choices = recipe.row, recipe.choices
    _check_structures(dataset, fingerprint)
    _check_units(dataset, fingerprint)
    flat = bool((fingerprint.median_shape.min() <= 1) if fingerprint.cases else False)
    wanted = choices.dimensions or (2 if flat else 3)
    size = row.sizes[device, wanted]
    size = replace(size, voxels=round(room * size.voxels))
    grid = choose_grid(dataset, fingerprint, wanted, row, size, choices.image_size)
    if choices.drop_slices is not None:
        grid = drop_slices(grid, choices.drop_slices)
    patch, network = _patch_and_network(fingerprint, grid, size, row, choices)
    plan = Plan(
        dataset=dataset.manifest.name,
        unit="px" if fingerprint.cases[0].unit == "px" else "mm",
        channels=dataset.manifest.channels,
        structures=dataset.manifest.structures,
        overlapping=dataset.manifest.overlapping,
        grid=grid,
        intensities=_intensities(dataset.manifest.channels, fingerprint, choices.window or {}),
        patch=patch.model_copy(update={"room": room}),
        network=network,
        training=_training(dataset, recipe),
        augmentation=_augmentation(dataset, fingerprint, grid, patch.size, row),
        zoom=plan_zoom(
            dataset, fingerprint, grid, replace(choices, zoom=named_structures(fingerprint, choices.zoom or ()))
        ),
        series=None if dataset.manifest.overlapping else _series(fingerprint, grid),
    )
    plan = overlay(plan, recipe.settings, f"recipe {recipe.name}")
    return overlay(plan, choices.settings or {})


def _patch_and_network(
    fingerprint: Fingerprint, grid: Grid, size: Size, row: Recipe, choices: Choices
) -> tuple[Patch, Network | Pretrained | Monai]:
    shape = median_shape(fingerprint, grid)
    if choices.image_size is None:
        patch, batch, why = fit_patch(shape, grid, size)
        whole = patch == shape
    else:
        patch, why = whole_slice(fingerprint, grid, choices.image_size)
        whole, batch = True, min(MOST_SLICES, max(2, size.voxels // math.prod(patch)))
        size = replace(size, voxels=ANY_SIZE)
    network = choose_network(patch, grid, size, row, choices)
    patch = to_multiples(patch, network, grid, size, whole=whole)
    if choices.batch is not None:
        if choices.batch < 1:
            raise UsageError(f"--batch {choices.batch}: is no number of patches", hint="--batch 1 or more")
        batch, why = choices.batch, [*why, f"a batch of {choices.batch}, as asked"]
    return Patch(size=patch, batch=batch, why=why), network


def _training(dataset: Dataset, recipe: Resolved) -> Training:
    why = [f"recipe {recipe.name}: {recipe.source}"]
    values = dict(recipe.row.training)
    loss = recipe.choices.loss
    if loss is not None:
        if loss not in LOSSES:
            raise UsageError(f"there is no loss {loss}", hint=f"near it: {nearest(loss, LOSSES)}")
        values["loss"] = loss
        why.append(f"loss {loss}, as asked")
    if dataset.manifest.overlapping:
        why.append("structures overlap: each has a sigmoid of its own, and cross-entropy is the binary one")
    return Training(recipe=recipe.name, why=why, **values)


def _check_structures(dataset: Dataset, fingerprint: Fingerprint) -> None:
    missing = structures_without_cases(dataset.structures, {c.id: c.structures for c in fingerprint.cases})
    if missing:
        raise DatasetError(
            f"{dataset.folder}: structures that occur in no case that can be trained on: {', '.join(missing)}",
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


def _intensities(
    channels: Sequence[Channel], fingerprint: Fingerprint, window: Mapping[str, tuple[float, float]]
) -> list[Intensity]:
    names = [channel.name for channel in channels]
    unknown = [name for name in window if name and name not in names]
    if unknown:
        raise UsageError(f"--window: there is no channel {unknown[0]}", hint=f"the channels are {', '.join(names)}")
    made = []
    for number, channel in enumerate(channels):
        fixed = window.get(channel.name, window.get(""))
        if fixed is None:
            made.append(_intensity(number, channel, fingerprint))
            continue
        low, high = fixed
        why = [f"a fixed range, as asked: {low:g} becomes −1, {high:g} becomes 1"]
        made.append(Intensity(channel=channel.name, clip=fixed, mean=(low + high) / 2, std=(high - low) / 2, why=why))
    return made


def _intensity(number: int, channel: Channel, fingerprint: Fingerprint) -> Intensity:
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
        clip=(digits(low), digits(high)),
        mean=digits(inside.mean()),
        std=digits(inside.std()),
        why=[f"CT: percentiles 0.5 and 99.5, mean and SD of {len(sample)} voxels inside structures"],
    )


def _augmentation(
    dataset: Dataset, fingerprint: Fingerprint, grid: Grid, patch: tuple[int, int, int], row: Recipe
) -> Augmentation:
    partners = {s.name: s.counterpart for s in dataset.structures if s.counterpart}
    alone = next((s for s in dataset.structures if s.side and not s.counterpart), None)
    mirror: list[Literal[0, 1, 2]] = []
    why = []
    for position in (0, 1, 2) if grid.dimensions == 3 else (0, 1):
        axis = grid.axes[position]
        order = fixed_order(fingerprint, grid.worlds[position], partners)
        if row.mirror_all:
            mirror.append(position)
        elif axis != "R":
            why.append(f"not mirrored along {axis}: bodies have a front and a head")
        elif alone is not None:
            why.append(f"not mirrored along R: {alone.name} has a side, and no counterpart to become")
        elif order is not None:
            why.append(
                f"not mirrored along R: {order[0]} and {order[1]} keep their order in all {pluralise(order[2], 'case')}"
            )
        else:
            mirror.append(position)
            why.append("mirrored along R: no two structures keep an order from left to right, or they swap names")
    if row.mirror_all:
        why.append("mirrored along every axis, as the recipe has it")
    shift = [0.0 if grid.dimensions == 2 and position == 2 else row.shift for position in range(3)]
    for position in range(3):
        world = grid.worlds[position]
        alike = series(fingerprint, world) if shift[position] else []
        if alike:
            margin_mm = series_margin_mm(fingerprint, world, alike)
            part = margin_mm / (patch[position] * grid.spacing_mm[position])
            shift[position] = round(min(max(row.shift, part), MOST_SHIFT), 3)
            why.append(
                f"shifted by up to {shift[position]:g} of a patch along {grid.axes[position]}: {', '.join(alike)} look "
                "alike and keep their order, so where in a scan they lie must tell nothing; scans leave them "
                f"{margin_mm:.3g} mm on either side, and further off the ends that tell them apart would be lost"
            )
    bends: dict[str, object] = {}
    if grid.dimensions == 3 and row.bends and not dataset.manifest.overlapping:
        bends = _bends(fingerprint, why)
    angle = row.rotate if grid.dimensions == 3 else row.rotate_2d
    rotate = (angle, angle, angle) if grid.dimensions == 3 else (0.0, 0.0, angle)
    return Augmentation(
        mirror_axes=mirror, rotate_degrees=rotate, shift=tuple(shift), why=why, **row.augmentation | bends
    )


def _bends(fingerprint: Fingerprint, why: list[str]) -> dict[str, object]:
    """A row of bodies is bent as a whole, as spines are: number and order tell names, not how straight they lie."""
    for axis in range(3):
        alike = series(fingerprint, axis)
        if alike:
            grain = digits(BEND_GRAIN * series_measures(fingerprint, alike)[0])
            most = digits(BEND * grain)
            why.append(
                f"bent smoothly by up to {most:g} mm over some {grain:g} mm: {', '.join(alike)} are a row, and rows "
                "curve more in some people than in any of these cases"
            )
            return {"elastic_p": BEND_SHARE, "elastic_mm": (digits(most / 5), most), "elastic_grain_mm": grain}
    return {}


def _series(fingerprint: Fingerprint, grid: Grid) -> Series | None:
    for position in (0, 1, 2):
        names = series(fingerprint, grid.worlds[position])
        if names:
            distance_mm, volume_mm3 = series_measures(fingerprint, names)
            return Series(
                axis=position,
                names=names,
                distance_mm=digits(distance_mm),
                volume_mm3=digits(volume_mm3),
                why=[
                    f"{', '.join(names)} look alike and keep their order along {grid.axes[position]} in all cases: "
                    "each body found gets one name, and names follow in order; without this section they stay as found"
                ],
            )
    return None


def cache_bytes(plan: Plan, fingerprint: Fingerprint) -> int:
    """What the prepared cases will take on disk: float16 images and one byte for each voxel's label."""
    order = list(plan.grid.worlds)
    total = 0.0
    for case in fingerprint.cases:
        shape = np.array(case.shape)[order] * np.array(case.spacing_mm)[order] / np.array(plan.grid.spacing_mm)
        if not plan.grid.resample_last:
            shape[2] = case.shape[order[2]]
        labels = len(plan.structures) if plan.overlapping else 1
        voxels = float(np.prod(shape)) + (0 if plan.zoom is None else zoom_voxels(plan, plan.zoom, case))
        total += voxels * (2 * len(plan.channels) + labels)
    return round(total)
