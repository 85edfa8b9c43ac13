"""What a prediction needs of memory and disk, known before it starts."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from osteon.core.errors import CaseError, OsteonError
from osteon.core.geometry import Geometry
from osteon.networks.registry import inputs, outputs
from osteon.planning.plan import Plan
from osteon.predicting.scans import Scan
from osteon.predicting.shares import shares_bytes
from osteon.predicting.tiles import AT_ONCE, whole_size
from osteon.preparing.case import passage

BASE_BYTES = 700 << 20
"""Libraries, weights and one pass of a network, where the plan has no measured figure."""
FLOAT = 4
LEAST_BASE_BYTES = 300 << 20
"""Libraries alone."""
PARTS_BYTES = 100 << 20
"""What stages hold of a scan at a time, as long as its size is none of theirs: pieces of files, planes as floats."""
PER_PROBABILITY = 12
"""Bytes of a voxel while an output is interpolated onto the scan's grid: before, after, and turned back."""
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


def needs(plan: Plan, geometry: Geometry, *, probabilities: bool = False) -> Needs:
    """What a scan on this grid needs.

    Args:
        plan: Of the model. Its forecast was measured with `forecast.predicting_shape`; what the parts that depend on
            the scan took then is taken off, and what they take now added.
        geometry: The scan's.
        probabilities: Whether these are kept on the scan's grid, too.
    """
    now, kept = scan_bytes(plan, geometry, probabilities=probabilities)
    # Logits of a patch: the network's, their sum over mirror images, and what is made of them.
    base = BASE_BYTES + 3 * outputs(plan) * math.prod(plan.patch.size) * FLOAT
    cost = plan.forecast
    if cost.predicting_bytes and cost.predicting_shape and cost.predicting_spacing:
        spacing = cost.predicting_spacing
        affine = [[spacing[0], 0, 0, 0], [0, spacing[1], 0, 0], [0, 0, spacing[2], 0], [0, 0, 0, 1]]
        measured = Geometry(cost.predicting_shape, affine, plan.unit)  # type: ignore[arg-type]
        base = max(LEAST_BASE_BYTES, cost.predicting_bytes - sum(scan_bytes(plan, measured)))
    return Needs(base + now + kept, base + now, kept, base)


def scan_bytes(plan: Plan, geometry: Geometry, *, probabilities: bool = False) -> tuple[int, int]:
    """Bytes of what depends on the scan, and of its probabilities."""
    way = passage(geometry, plan.grid)
    scan, grid, channels = math.prod(way.turned.shape), math.prod(way.shape), inputs(plan)
    labels = scan * (len(plan.structures) if plan.overlapping else 1)
    image = grid * channels * FLOAT
    closely = scan * channels * FLOAT if plan.zoom is not None and plan.zoom.predict else 0
    best = 0 if plan.overlapping else 2 * grid
    found = grid * (len(plan.structures) if plan.overlapping else 1)
    # The scan as it is read, at most in float32; for several channels the one that is laid in beside them.
    scanned = scan * (channels + (channels > 1)) * FLOAT
    stages = [
        scanned + image + (2 * scan + image if plan.grid.nnunet is not None else 0),
        # the image beside the sums of one row of tiles
        image + closely + best + _row(plan, way.shape) * outputs(plan) * FLOAT,
        # what was found, and where each structure was, as numbers
        image + closely + best + found + 3 * grid,
        # codes of voxels that agree with their neighbours; labels, and the same labels turned back
        image + closely + best + 8 * grid + 2 * labels + (PER_PROBABILITY * scan if probabilities else 0),
    ]
    return max(stages) + PARTS_BYTES, shares_bytes(outputs(plan), way.shape)


def _row(plan: Plan, shape: Sequence[int]) -> int:
    """Voxels whose logits are held at a time: a row of tiles, what is made of some of its planes, or all."""
    if plan.grid.dimensions == 2:
        return 2 * math.prod(shape[:2]) * min(plan.patch.batch, shape[2])
    if whole_size(shape, plan) is not None:
        return 3 * math.prod(shape)
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
    """What may be taken: the limit; where there is none most of what is free now."""
    return limit or int(FREE_SHARE * psutil.virtual_memory().available)


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
        said = f"--memory {most / 1e9:.1f} GB" if limit is not None else f"the {most / 1e9:.1f} GB that are free"
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


class Allowance:
    """Memory that scans share which are worked on at a time: one that is read ahead waits until it fits beside them.

    Args:
        most: Bytes; None: nobody waits.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._taken: dict[str, int] = {}
        self._changed = threading.Condition()

    def take(self, room: Room) -> None:
        """Take a scan's own bytes, as soon as they are there; where nobody has any they are always."""
        with self._changed:
            self._changed.wait_for(lambda: self._fits(room))
            self._taken[room.name] = room.own_bytes

    def _fits(self, room: Room) -> bool:
        others = sum(count for name, count in self._taken.items() if name != room.name)
        return self._most is None or not others or others + room.bytes <= self._most

    def give(self, name: str, left: int = 0) -> None:
        """Give a scan's bytes back; where some are still needed, all but these."""
        with self._changed:
            if self._taken.pop(name, None) is not None and left:
                self._taken[name] = left
            self._changed.notify_all()

    def open(self) -> None:
        """Let everybody through: the work was stopped."""
        with self._changed:
            self._most = None
            self._changed.notify_all()


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
