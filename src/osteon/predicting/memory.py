"""What a prediction needs of memory and disk, known before it starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from osteon.core.errors import CaseError, OsteonError
from osteon.core.geometry import Geometry
from osteon.networks.registry import inputs, outputs
from osteon.plan.schema import Network, NnUNet, Plan
from osteon.predicting.probabilities import shares_bytes
from osteon.predicting.scans import Scan
from osteon.predicting.tiles import AT_ONCE, whole_size
from osteon.preparing.case import passage

FIRST_PASS_BYTES = 128 << 20
"""What libraries load and compile when a network runs for the first time: 90 to 121 MB were measured."""
PASS_BYTES = 350 << 20
"""One pass of a network whose plan tells no features, where the plan has no measured figure."""
FLOAT = 4
PER_FEATURE = 7
"""Activations at a U-Net's finest level that live at a time, in its features: the way back joins both halves, and
turns them as oneDNN wants them."""
PARTS_BYTES = 100 << 20
"""What reading, preparing and restoring hold of a scan at a time, as long as its size is none of theirs: pieces of a
file, some planes as floats."""
PER_PROBABILITY = 8
"""Bytes of a voxel of an output on the scan's grid: it, and what it is interpolated from, or it turned back."""
FREE_SHARE = 0.8
"""Of the machine's free memory, where no limit is given."""


@dataclass(frozen=True)
class Needs:
    """Of one scan.

    Attributes:
        in_memory: Bytes with everything in memory.
        with_file: Bytes where the probabilities are kept in a file.
        file_bytes: That file's size.
        base: Of these what does not depend on the scan: scans that are worked on at a time share it.
    """

    in_memory: int
    with_file: int
    file_bytes: int
    base: int


@cache
def start_bytes() -> int:
    """What the process takes before it has read a scan: Python, the libraries, the model. Measured when first asked."""
    return int(psutil.Process().memory_info().rss)


def needs(plan: Plan, geometry: Geometry, *, probabilities: bool = False) -> Needs:
    """What a scan on this grid needs.

    Args:
        plan: Of the model. What its forecast measured with `forecast.predicting_shape` counts where it is more than
            what is computed.
        geometry: The scan's.
        probabilities: Whether these are kept on the scan's grid, too.
    """
    now, kept = scan_bytes(plan, geometry, probabilities=probabilities)
    base = start_bytes() + FIRST_PASS_BYTES
    cost = plan.forecast
    if cost.predicting_bytes and cost.predicting_shape and cost.predicting_spacing:
        spacing = cost.predicting_spacing
        affine = [[spacing[0], 0, 0, 0], [0, spacing[1], 0, 0], [0, 0, spacing[2], 0], [0, 0, 0, 1]]
        measured = Geometry(cost.predicting_shape, affine, plan.unit)  # type: ignore[arg-type]
        base = max(base, cost.predicting_bytes - sum(scan_bytes(plan, measured)))
    return Needs(base + now + kept, base + now, kept, base)


def scan_bytes(plan: Plan, geometry: Geometry, *, probabilities: bool = False) -> tuple[int, int]:
    """Bytes of what depends on the scan and the plan, and of the scan's probabilities."""
    way = passage(geometry, plan.grid)
    scan, grid, channels = math.prod(way.turned.shape), math.prod(way.shape), inputs(plan)
    labels = scan * (len(plan.structures) if plan.overlapping else 1)
    image = grid * channels * FLOAT
    closely = scan * channels * FLOAT if plan.zoom is not None and plan.zoom.predict else 0
    best = 0 if plan.overlapping else 2 * grid
    found = grid * (len(plan.structures) if plan.overlapping else 1)
    # The scan as it is read, at most in float32; for several channels the one that is laid in beside them.
    scanned = scan * (channels + (channels > 1)) * FLOAT
    kept = image + closely + best
    stages = [
        scanned + image + (2 * scan + image if plan.grid.nnunet is not None else 0) + PARTS_BYTES,
        # beside a pass the sums of one row of tiles, and of their weights
        kept + _pass_bytes(plan, way.shape) + _row(plan, way.shape) * (outputs(plan) + 1) * FLOAT,
        # what was found, and where each structure was, as numbers
        kept + found + 3 * grid + PARTS_BYTES,
        # codes of voxels that agree with their neighbours; labels, and the same labels turned back
        kept + 8 * grid + 2 * labels + PARTS_BYTES,
    ]
    if probabilities:
        total = 2 * scan * FLOAT if plan.grid.nnunet is not None and not plan.overlapping else 0
        stages.append(kept + PER_PROBABILITY * scan + total + PARTS_BYTES)
    return max(stages), shares_bytes(outputs(plan), way.shape)


def _pass_bytes(plan: Plan, shape: Sequence[int]) -> int:
    """One pass of the network: its activations, and its logits; or these, their sum over mirror images and a copy."""
    size = whole_size(shape, plan) or plan.patch.size
    voxels = math.prod(size) * (plan.patch.batch if plan.grid.dimensions == 2 else 1)
    section = plan.network
    features = section.features[0] if isinstance(section, Network | NnUNet) else 0
    logits = outputs(plan) * voxels * FLOAT
    return logits + max(PER_FEATURE * features * voxels * FLOAT if features else PASS_BYTES, 2 * logits)


def _row(plan: Plan, shape: Sequence[int]) -> int:
    """Voxels whose logits are held at a time: a row of tiles, what is made of some of its planes, or all."""
    if plan.grid.dimensions == 2:
        return 2 * math.prod(shape[:2]) * min(plan.patch.batch, shape[2])
    if whole_size(shape, plan) is not None:
        return math.prod(shape)
    longest = max(range(3), key=lambda axis: shape[axis] / plan.patch.size[axis])
    planes = min(plan.patch.size[longest], shape[longest]) + 2 * AT_ONCE
    return math.prod(shape) // shape[longest] * planes


@dataclass(frozen=True)
class Room:
    """How a scan is worked on within a limit.

    Attributes:
        name: The scan's.
        bytes: What it will take.
        folder: Where its probabilities go into a file; None: they stay in memory.
        own_bytes: Of these what is the scan's own; the rest is there once for all scans.
    """

    name: str
    bytes: int
    folder: Path | None
    own_bytes: int


def most_bytes(limit: int | None) -> int:
    """What may be taken: the limit; where there is none what the process has, and most of what is free now."""
    return limit or start_bytes() + int(FREE_SHARE * psutil.virtual_memory().available)


def room_for(
    plan: Plan, geometry: Geometry, limit: int | None, folder: Path, name: str, *, probabilities: bool = False
) -> Room:
    """Decide whether a scan's probabilities stay in memory.

    Args:
        plan: Of the model.
        geometry: The scan's.
        limit: Bytes; None: most of what is free now.
        folder: Where a file may be made, or in the nearest folder above that is there.
        name: What messages call the scan.
        probabilities: As for `needs`.

    Raises:
        CaseError: The limit is too low for it even with a file, or the disk is too full for the file.
    """
    need = needs(plan, geometry, probabilities=probabilities)
    most = most_bytes(limit)
    if need.in_memory <= most:
        return Room(name, need.in_memory, None, need.in_memory - need.base)
    if need.with_file > most:
        free = f"the {most / 1e9:.1f} GB that the process has and that are free"
        said = free if limit is None else f"--memory {most / 1e9:.1f} GB"
        raise CaseError(
            f"{name}: needs about {need.with_file / 1e9:.1f} GB of memory, more than {said}",
            hint="allow more with --memory, close other programs, or crop the scan",
        )
    there = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    if psutil.disk_usage(str(there)).free < need.file_bytes:
        raise CaseError(
            f"{folder}: {need.file_bytes / 1e9:.1f} GB of disk are needed for a while, since memory is short; there "
            "is not so much",
            hint="free some space, or allow more memory with --memory",
        )
    return Room(name, need.with_file, folder, need.with_file - need.base)


def told_needs(plan: Plan, scans: Sequence[Scan], limit: int | None, *, probabilities: bool = False) -> str:
    """In a line what the largest of some scans will take, as far as their headers tell; arguments as for `room_for`."""
    largest: Needs | None = None
    for scan in scans:
        try:
            geometry = scan.geometry()
        except OsteonError:
            continue  # it is named when its turn comes
        need = None if geometry is None else needs(plan, geometry, probabilities=probabilities)
        if need is not None and (largest is None or need.in_memory > largest.in_memory):
            largest = need
    count = f"{len(scans)} scan{'s' * (len(scans) != 1)}"
    if largest is None:
        return count
    said = f"{count}; about {largest.in_memory / 1e9:.2g} GB of memory for the largest"
    most = most_bytes(limit)
    if largest.in_memory > most:
        said += (
            f", more than {most / 1e9:.2g} GB: its probabilities go into a file of {largest.file_bytes / 1e9:.2g} GB, "
            f"and it takes {largest.with_file / 1e9:.2g} GB"
        )
    return said
