"""The plan's augmentation: along which axes patches are mirrored, shifted and bent without changing what is true."""

from __future__ import annotations

from typing import Literal

import numpy as np

from osteon.core.text import pluralise, significant
from osteon.dataset.dataset import Dataset
from osteon.plan.schema import Augmentation, Grid
from osteon.planning.fingerprint import Fingerprint
from osteon.planning.recipes import Recipe
from osteon.planning.sequences import (
    find_fixed_order,
    find_sequence,
    find_sequences,
    sequence_margin_mm,
    sequence_measures,
)

MAX_SHIFT = 0.25
"""Of a patch, along the axis of a sequence."""
ELASTIC_GRAIN = 2.5
"""Distance of a deformation's points, times that of two bodies in a row."""
ELASTIC_SHARE = 0.33
"""How far they move, as a part of their distance; below `sections.MAX_ELASTIC_SHARE`."""
ELASTIC_PROBABILITY = 0.5
"""Of the patches."""


def choose_augmentation(
    dataset: Dataset, fingerprint: Fingerprint, grid: Grid, patch: tuple[int, int, int], base: Recipe
) -> Augmentation:
    """The plan's section `augmentation`.

    Args:
        dataset: Its structures' sides and counterparts.
        fingerprint: The measured cases.
        grid: Of the plan.
        patch: Size along the grid's axes.
        base: Ranges and probabilities.
    """
    partners = {s.name: s.counterpart for s in dataset.structures if s.counterpart}
    alone = next((s for s in dataset.structures if s.side and not s.counterpart), None)
    mirror: list[Literal[0, 1, 2]] = []
    why = []
    for position in (0, 1, 2) if grid.dimensions == 3 else (0, 1):
        axis = grid.axes[position]
        order = find_fixed_order(fingerprint, grid.world_axes[position], partners)
        if base.mirror_all:
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
    if base.mirror_all:
        why.append("mirrored along every axis, as the recipe has it")
    shift = [0.0 if grid.dimensions == 2 and position == 2 else base.max_shift for position in range(3)]
    for position in range(3):
        world = grid.world_axes[position]
        names = find_sequence(fingerprint, world) if shift[position] else []
        if names:
            margin_mm = sequence_margin_mm(fingerprint, world, names)
            part = margin_mm / (patch[position] * grid.spacing_mm[position])
            shift[position] = round(min(max(base.max_shift, part), MAX_SHIFT), 3)
            why.append(
                f"shifted by up to {shift[position]:g} of a patch along {grid.axes[position]}: {', '.join(names)} look "
                "the same and keep their order, so their place in a scan must not tell them apart; scans leave them "
                f"{margin_mm:.3g} mm on either side, and further off the ends that tell them apart would be lost"
            )
    bends: dict[str, object] = {}
    if grid.dimensions == 3 and base.bend_sequences and not dataset.manifest.overlapping:
        bends = _bend_sequence(fingerprint, why)
    angle = base.rotate_degrees if grid.dimensions == 3 else base.rotate_degrees_2d
    rotate = (angle, angle, angle) if grid.dimensions == 3 else (0.0, 0.0, angle)
    return Augmentation(
        mirror_axes=mirror, rotate_degrees=rotate, shift=tuple(shift), why=why, **base.augmentation | bends
    )


def _bend_sequence(fingerprint: Fingerprint, why: list[str]) -> dict[str, object]:
    """A row of bodies is bent as a whole, as spines are: number and order tell names, not how straight they lie."""
    found = find_sequences(fingerprint)
    if not found:
        return {}
    _, names = found[0]
    grain = significant(ELASTIC_GRAIN * float(np.median(sequence_measures(fingerprint, names)[0])))
    most = significant(ELASTIC_SHARE * grain)
    why.append(
        f"bent smoothly by up to {most:g} mm over some {grain:g} mm: {', '.join(names)} are a row, and rows "
        "curve more in some people than in any of these cases"
    )
    return {"elastic_p": ELASTIC_PROBABILITY, "elastic_mm": (significant(most / 5), most), "elastic_grain_mm": grain}
