"""From the fingerprint to the plan: every decision, and the measurement that led to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from osteon.core.errors import DatasetError, UsageError
from osteon.dataset.dataset import Dataset
from osteon.dataset.folds import structures_without_cases
from osteon.dataset.manifest import Channel
from osteon.planning.choices import DEFAULTS, Choices
from osteon.planning.fingerprint import Fingerprint, fixed_order, series, series_margin_mm, series_measures
from osteon.planning.network_choice import choose_network
from osteon.planning.network_shape import fit_patch, to_multiples
from osteon.planning.plan import Augmentation, Grid, Intensity, Patch, Plan, Series, Training
from osteon.planning.recipes import RECIPES, Device, Recipe, Size
from osteon.planning.small import plan_zoom
from osteon.planning.spacing import coarser_spacing, target_spacing

WORLD_AXES: tuple[Literal["R"], Literal["A"], Literal["S"]] = ("R", "A", "S")


MOST_SHIFT = 0.25
"""Of a patch, along the axis of a series."""
SLICES = 16
"""A 2D batch should hold at least so many whole slices: the sum of its Dice needs structures that are there."""


def make_plan(
    dataset: Dataset,
    fingerprint: Fingerprint,
    choices: Choices = DEFAULTS,
    *,
    device: Device = "cpu",
) -> Plan:
    """Decide everything that training needs.

    Args:
        dataset: The dataset; its files are read only where the labels' loss on a coarser grid has to be measured.
        fingerprint: What was measured on its cases.
        choices: What the user decides.
        device: What the sizes of patch and network are chosen for.

    Raises:
        UsageError: There is no such recipe, network or encoder, or no channel or structure of that name; slices are
            dropped from a 3D plan.
        DatasetError: A structure occurs in no case that can be trained on; some cases are in mm and some in pixels.
    """
    recipe = choices.recipe
    if recipe not in RECIPES:
        raise UsageError(f"there is no recipe {recipe}", hint=f"choose one of {', '.join(RECIPES)}")
    _check_structures(dataset, fingerprint)
    _check_units(dataset, fingerprint)
    row = RECIPES[recipe]
    flat = bool((fingerprint.median_shape.min() <= 1) if fingerprint.cases else False)
    wanted = choices.dimensions or (2 if flat else 3)
    size = row.sizes[device, wanted]
    grid = _grid(dataset, fingerprint, wanted, row, size)
    if choices.drop_slices is not None:
        grid = _dropping(grid, choices.drop_slices)
    shape = _median_shape(fingerprint, grid)
    patch, batch, patch_why = fit_patch(shape, grid, size)
    network = choose_network(patch, grid, size, row, choices)
    patch = to_multiples(patch, network, grid, size, whole=patch == shape)
    return Plan(
        dataset=dataset.manifest.name,
        unit="px" if fingerprint.cases[0].unit == "px" else "mm",
        channels=dataset.manifest.channels,
        structures=dataset.manifest.structures,
        overlapping=dataset.manifest.overlapping,
        grid=grid,
        intensities=_intensities(dataset.manifest.channels, fingerprint, choices.window or {}),
        patch=Patch(size=patch, batch=batch, why=patch_why),
        network=network,
        training=Training(recipe=recipe, why=[f"recipe {recipe}: {row.source}"], **row.training),
        augmentation=_augmentation(dataset, fingerprint, grid, patch, row),
        zoom=plan_zoom(dataset, choices),
        series=None if dataset.manifest.overlapping else _series(fingerprint, grid),
    )


def _check_structures(dataset: Dataset, fingerprint: Fingerprint) -> None:
    missing = structures_without_cases(dataset.structures, {c.id: c.structures for c in fingerprint.cases})
    if missing:
        raise DatasetError(
            f"{dataset.folder}: structures that occur in no case that can be trained on: {', '.join(missing)}",
            hint="remove it from `structures` in dataset.yaml, or add a case in which it is labelled",
        )


def _check_units(dataset: Dataset, fingerprint: Fingerprint) -> None:
    pixels = [case.id for case in fingerprint.cases if case.unit == "px"]
    if pixels and len(pixels) < len(fingerprint.cases):
        raise DatasetError(
            f"{dataset.folder}: {len(pixels)} of {len(fingerprint.cases)} cases lack a pixel spacing, as {pixels[0]}",
            hint="give their files the spacing in mm, or leave them out: sizes could not be compared",
        )


def _grid(dataset: Dataset, fingerprint: Fingerprint, dimensions: Literal[2, 3], row: Recipe, size: Size) -> Grid:
    spacing, why = target_spacing(fingerprint)
    extent = fingerprint.median_shape * fingerprint.median_spacing_mm
    if dimensions == 3:
        if row.covers:
            spacing, reasons = coarser_spacing(dataset, fingerprint, spacing, row.covers, size.voxels)
            why += reasons
        return Grid(dimensions=3, axes=WORLD_AXES, spacing_mm=_triple(spacing), why=why)
    median = fingerprint.median_spacing_mm
    if fingerprint.median_shape.min() <= 1:
        through = int(np.argmin(fingerprint.median_shape))
        why.append("the images are flat")
    elif median.max() > 1.5 * median.min():
        through = int(np.argmax(median))
        why.append(f"slices across {WORLD_AXES[through]}, the axis with the thickest slices ({median.max():.3g} mm)")
    else:
        through = int(np.argmin(extent))
        why.append(f"slices across {WORLD_AXES[through]}, the shortest extent ({extent.min():.4g} mm): largest slices")
    if row.covers:
        slice_voxels = size.voxels // SLICES
        spacing, reasons = coarser_spacing(dataset, fingerprint, spacing, row.covers, slice_voxels, across=through)
        why += reasons
    order = [axis for axis in range(3) if axis != through] + [through]
    return Grid(
        dimensions=2,
        axes=(WORLD_AXES[order[0]], WORLD_AXES[order[1]], WORLD_AXES[order[2]]),
        spacing_mm=_triple(spacing[order]),
        resample_last=False,
        why=why,
    )


def _median_shape(fingerprint: Fingerprint, grid: Grid) -> tuple[int, int, int]:
    """The median scan's shape on the plan's grid, along the grid's axes."""
    order = [WORLD_AXES.index(axis) for axis in grid.axes]
    shapes = [
        np.array(case.shape)[order] * np.array(case.spacing_mm)[order] / np.array(grid.spacing_mm)
        for case in fingerprint.cases
    ]
    i, j, k = (max(1, round(float(n))) for n in np.median(shapes, axis=0))
    return i, j, (1 if grid.dimensions == 2 else k)


def _dropping(grid: Grid, slices: tuple[int | None, int | None]) -> Grid:
    if grid.dimensions == 3:
        raise UsageError("--drop-slices: a 3D plan has no slices", hint="plan with --dimensions 2")
    first, last = slices
    if slices == (None, None) or (None not in slices and not range(10**6)[first:last]):
        raise UsageError(f"--drop-slices: {first}:{last} is no range of slices", hint="0:30 drops the first thirty")
    told = f"slices {'' if first is None else first}:{'' if last is None else last} along {grid.axes[2]}"
    return grid.model_copy(update={"drop_slices": slices, "why": [*grid.why, f"not trained on, as asked: {told}"]})


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
        clip=(_digits(low), _digits(high)),
        mean=_digits(inside.mean()),
        std=_digits(inside.std()),
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
        order = fixed_order(fingerprint, WORLD_AXES.index(axis), partners)
        if row.mirror_all:
            mirror.append(position)
        elif axis != "R":
            why.append(f"not mirrored along {axis}: bodies have a front and a head")
        elif alone is not None:
            why.append(f"not mirrored along R: {alone.name} has a side, and no counterpart to become")
        elif order is not None:
            why.append(f"not mirrored along R: {order[0]} and {order[1]} keep their order in all {order[2]} cases")
        else:
            mirror.append(position)
            why.append("mirrored along R: no two structures keep an order from left to right, or they swap names")
    if row.mirror_all:
        why.append("mirrored along every axis, as the recipe has it")
    shift = [0.0 if grid.dimensions == 2 and position == 2 else row.shift for position in range(3)]
    for position in range(3):
        world = WORLD_AXES.index(grid.axes[position])
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
    angle = row.rotate if grid.dimensions == 3 else row.rotate_2d
    rotate = (angle, angle, angle) if grid.dimensions == 3 else (0.0, 0.0, angle)
    return Augmentation(mirror_axes=mirror, rotate_degrees=rotate, shift=tuple(shift), why=why, **row.augmentation)


def _series(fingerprint: Fingerprint, grid: Grid) -> Series | None:
    for position in (0, 1, 2):
        names = series(fingerprint, WORLD_AXES.index(grid.axes[position]))
        if names:
            distance_mm, volume_mm3 = series_measures(fingerprint, names)
            return Series(
                axis=position,
                names=names,
                distance_mm=_digits(distance_mm),
                volume_mm3=_digits(volume_mm3),
                why=[
                    f"{', '.join(names)} look alike and keep their order along {grid.axes[position]} in all cases: "
                    "each body found gets one name, and names follow in order; without this section they stay as found"
                ],
            )
    return None


def _triple(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[float, float, float]:
    i, j, k = (_digits(v) for v in values)
    return i, j, k


def _digits(value: float) -> float:
    """Six digits that count, wherever the point is: not every CT file is in Hounsfield units."""
    return float(f"{value:.6g}")


def cache_bytes(plan: Plan, fingerprint: Fingerprint) -> int:
    """What the prepared cases will take on disk: float16 images and one byte for each voxel's label."""
    order = [WORLD_AXES.index(axis) for axis in plan.grid.axes]
    total = 0.0
    for case in fingerprint.cases:
        shape = np.array(case.shape)[order] * np.array(case.spacing_mm)[order] / np.array(plan.grid.spacing_mm)
        if not plan.grid.resample_last:
            shape[2] = case.shape[order[2]]
        labels = len(plan.structures) if plan.overlapping else 1
        total += float(np.prod(shape)) * (2 * len(plan.channels) + labels)
    return round(total)
