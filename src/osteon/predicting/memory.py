"""What a prediction needs of memory and disk, known before it starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from osteon.core.errors import CaseError, OsteonError
from osteon.core.geometry import Geometry
from osteon.networks.registry import inputs
from osteon.planning.plan import Plan
from osteon.predicting.scans import Scan
from osteon.predicting.shares import shares_bytes
from osteon.predicting.tiles import AT_ONCE
from osteon.preparing.case import passage

BASE_BYTES = 700 << 20
"""Libraries, weights and one pass of a network, where the plan has no measured figure."""
FLOAT = 4
FREE_SHARE = 0.8
"""Of the machine's free memory, where no limit is given."""


@dataclass(frozen=True)
class Needs:
    """Of one scan.

    Attributes:
        in_memory: Bytes with everything in memory.
        with_file: Bytes where the probabilities are kept in a file.
        file_bytes: That file's size.
    """

    in_memory: int
    with_file: int
    file_bytes: int


def needs(plan: Plan, geometry: Geometry) -> Needs:
    """What a scan on this grid needs.

    Args:
        plan: Of the model. Its forecast was measured with `forecast.predicting_shape`; what the parts that depend on
            the scan took then is taken off, and what they take now added.
        geometry: The scan's.
    """
    now, kept = scan_bytes(plan, geometry)
    base = BASE_BYTES
    cost = plan.forecast
    if cost.predicting_bytes and cost.predicting_shape and cost.predicting_spacing:
        spacing = cost.predicting_spacing
        affine = [[spacing[0], 0, 0, 0], [0, spacing[1], 0, 0], [0, 0, spacing[2], 0], [0, 0, 0, 1]]
        measured = Geometry(cost.predicting_shape, affine, plan.unit)  # type: ignore[arg-type]
        base = max(100 << 20, cost.predicting_bytes - sum(scan_bytes(plan, measured)))
    return Needs(base + now + kept, base + now, kept)


def scan_bytes(plan: Plan, geometry: Geometry) -> tuple[int, int]:
    """Bytes of what depends on the scan, and of its probabilities."""
    way = passage(geometry, plan.grid)
    outputs = len(plan.structures) + (0 if plan.overlapping else 1)
    scan, grid = math.prod(way.turned.shape), math.prod(way.shape)
    channels = inputs(plan)
    # The scan as floats, and once more while its axes are turned; then the image on the plan's grid beside the sums
    # of one row of tiles; then labels, the best class, and the same labels turned back.
    reading = (2 * scan + grid) * channels * FLOAT
    if plan.grid.dimensions == 2:
        row = 2 * math.prod(way.shape[:2]) * min(plan.patch.batch, way.shape[2])
    else:
        longest = max(range(3), key=lambda axis: way.shape[axis] / plan.patch.size[axis])
        row = grid // way.shape[longest] * min(plan.patch.size[longest] + 2 * AT_ONCE, way.shape[longest])
    inferring = grid * channels * FLOAT + row * outputs * FLOAT
    labels = scan * (len(plan.structures) if plan.overlapping else 1)
    restoring = 2 * labels + 2 * grid
    return max(reading, inferring, restoring), shares_bytes(outputs, way.shape)


@dataclass(frozen=True)
class Room:
    """How a scan is worked on within a limit.

    Attributes:
        bytes: What it will take.
        folder: Where its probabilities go into a file; None: they stay in memory.
    """

    bytes: int
    folder: Path | None


def room_for(plan: Plan, geometry: Geometry, limit: int | None, folder: Path, name: str) -> Room:
    """Decide whether a scan's probabilities stay in memory.

    Args:
        plan: Of the model.
        geometry: The scan's.
        limit: Bytes; None: most of what is free now.
        folder: Where a file may be made.
        name: What messages call the scan.

    Raises:
        CaseError: The limit is too low for it even with a file, or the disk is too full for the file.
    """
    need = needs(plan, geometry)
    free = int(FREE_SHARE * psutil.virtual_memory().available)
    most = free if limit is None else limit
    if need.in_memory <= most:
        return Room(need.in_memory, None)
    if need.with_file > most:
        said = f"--memory {most / 1e9:.1f} GB" if limit is not None else f"the {most / 1e9:.1f} GB that are free"
        raise CaseError(
            f"{name}: needs about {need.with_file / 1e9:.1f} GB of memory, more than {said}",
            hint="allow more with --memory, close other programs, or crop the scan",
        )
    if psutil.disk_usage(str(folder)).free < need.file_bytes:
        raise CaseError(
            f"{folder}: {need.file_bytes / 1e9:.1f} GB of disk are needed for a while, since memory is short; there "
            "is not so much",
            hint="free some space, or allow more memory with --memory",
        )
    return Room(need.with_file, folder)


def told_needs(plan: Plan, scans: Sequence[Scan], limit: int | None) -> str:
    """In a line what the largest of some scans will take, as far as their headers tell."""
    largest: Needs | None = None
    for scan in scans:
        try:
            geometry = scan.geometry()
        except OsteonError:
            continue  # it is named when its turn comes
        need = None if geometry is None else needs(plan, geometry)
        if need is not None and (largest is None or need.in_memory > largest.in_memory):
            largest = need
    count = f"{len(scans)} scan{'s' * (len(scans) != 1)}"
    if largest is None:
        return count
    said = f"{count}; about {largest.in_memory / 1e9:.2g} GB of memory for the largest"
    most = limit or int(FREE_SHARE * psutil.virtual_memory().available)
    if largest.in_memory > most:
        said += (
            f", more than {most / 1e9:.2g} GB: its probabilities go into a file of {largest.file_bytes / 1e9:.2g} GB, "
            f"and it takes {largest.with_file / 1e9:.2g} GB"
        )
    return said
