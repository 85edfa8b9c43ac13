"""What a prediction needs of memory and disk, known before it starts."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import psutil

from osteon.core.errors import CaseError, OsteonError
from osteon.core.geometry import Geometry
from osteon.core.text import pluralise
from osteon.networks.registry import input_channels, output_channels
from osteon.plan.outputs import output_layout
from osteon.plan.schema import Network, NnUNet, Plan
from osteon.predicting.probabilities import probabilities_bytes
from osteon.predicting.scans import Scan
from osteon.predicting.tiles import CHUNK_PLANES, whole_size
from osteon.preparing.strategies import grid_strategy

FIRST_PASS_BYTES = 128 << 20
"""What libraries load and compile when a network first runs: 90 to 121 MB were measured."""
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
PER_BODY_VOXEL = 48
"""Bytes of a voxel of the plan's grid while bodies of a sequence are parted: distances, nearest voxels, numbers."""
PER_PIECE_VOXEL = 48
"""Likewise while pieces of a structure are: connected parts, cores, what is flooded, numbers."""
FREE_SHARE = 0.8
"""Of the machine's free memory, where no limit is given."""


@dataclass(frozen=True)
class MemoryNeeds:
    """Memory that the prediction of one scan needs.

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
def process_bytes() -> int:
    """What the process takes before it has read a scan: Python, the libraries, the model. Measured when first asked."""
    return int(psutil.Process().memory_info().rss)


def estimate_memory(plan: Plan, geometry: Geometry, *, probabilities: bool = False) -> MemoryNeeds:
    """What a scan on this grid takes.

    Args:
        plan: Of the model. What its forecast measured with `forecast.predicting_shape` counts where it is more than
            what is computed.
        geometry: The scan's.
        probabilities: Whether these are kept on the scan's grid, too.
    """
    scan, kept = scan_bytes(plan, geometry, probabilities=probabilities)
    base = process_bytes() + FIRST_PASS_BYTES
    cost = plan.forecast
    if cost.predicting_bytes and cost.predicting_shape and cost.predicting_spacing:
        spacing = cost.predicting_spacing
        measured = Geometry(cost.predicting_shape, np.diag([*spacing, 1.0]), plan.unit)
        base = max(base, cost.predicting_bytes - sum(scan_bytes(plan, measured)))
    return MemoryNeeds(base + scan + kept, base + scan, kept, base)


def scan_bytes(plan: Plan, geometry: Geometry, *, probabilities: bool = False) -> tuple[int, int]:
    """Bytes of what depends on the scan and the plan, and of the scan's probabilities."""
    strategy = grid_strategy(plan)
    shape = strategy.transform(geometry).shape
    scan, grid, channels = math.prod(geometry.shape), math.prod(shape), input_channels(plan)
    labels = scan * (len(plan.structures) if plan.overlapping else 1)
    image = grid * channels * FLOAT
    zoomed = scan * channels * FLOAT if plan.zoom is not None and plan.zoom.predict else 0
    argmax = 0 if plan.overlapping else 2 * grid
    found = grid * (len(plan.structures) if plan.overlapping else 1)
    # The scan as it is read, at most in float32; for several channels the one that is laid in beside them.
    scanned = scan * (channels + (channels > 1)) * FLOAT
    kept = image + zoomed + argmax
    stages = [
        scanned + image + strategy.prepare_bytes(scan, image) + PARTS_BYTES,
        # beside a pass the sums of one row of tiles, and of their weights
        kept + _pass_bytes(plan, shape) + _row_voxels(plan, shape) * (output_channels(plan) + 1) * FLOAT,
        # what was found, and where each structure was, as numbers
        kept + found + 3 * grid + PARTS_BYTES,
        # codes of voxels that agree with their neighbours; labels, and the same labels turned back
        kept + 8 * grid + 2 * labels + PARTS_BYTES,
    ]
    if probabilities:
        stages.append(kept + PER_PROBABILITY * scan + strategy.restore_bytes(scan) + PARTS_BYTES)
    layout = output_layout(plan)
    if layout.levels:  # the classes beside what becomes of them
        stages.append(kept + probabilities_bytes(layout.classes, shape) + PER_BODY_VOXEL * grid)
    if layout.instances:  # where the whole grid is one connected part
        stages.append(kept + PER_PIECE_VOXEL * grid)
    return max(stages), probabilities_bytes(output_channels(plan), shape)


def _pass_bytes(plan: Plan, shape: Sequence[int]) -> int:
    """One pass of the network: its activations, and its logits; or these, their sum over mirror images and a copy."""
    size = whole_size(shape, plan) or plan.patch.size
    voxels = math.prod(size) * (plan.patch.batch if plan.grid.dimensions == 2 else 1)
    section = plan.network
    features = section.features[0] if isinstance(section, Network | NnUNet) else 0
    logits = output_channels(plan) * voxels * FLOAT
    return logits + max(PER_FEATURE * features * voxels * FLOAT if features else PASS_BYTES, 2 * logits)


def _row_voxels(plan: Plan, shape: Sequence[int]) -> int:
    """Voxels whose logits are held at a time: a row of tiles, what is made of some of its planes, or all."""
    if plan.grid.dimensions == 2:
        return 2 * math.prod(shape[:2]) * min(plan.patch.batch, shape[2])
    if whole_size(shape, plan) is not None:
        return math.prod(shape)
    longest = max(range(3), key=lambda axis: shape[axis] / plan.patch.size[axis])
    planes = min(plan.patch.size[longest], shape[longest]) + 2 * CHUNK_PLANES
    return math.prod(shape) // shape[longest] * planes


@dataclass(frozen=True)
class MemoryPlan:
    """How a scan is predicted within a limit.

    Attributes:
        name: The scan's.
        total_bytes: What the process takes with it.
        folder: Where its probabilities go into a file; None: they stay in memory.
        scan_bytes: Of `total_bytes` what the scan adds; the rest is there once for all scans.
    """

    name: str
    total_bytes: int
    folder: Path | None
    scan_bytes: int


def available_bytes(limit: int | None) -> int:
    """Memory that may be taken: the limit; where there is none what the process has, and most of what is free now."""
    return limit or process_bytes() + int(FREE_SHARE * psutil.virtual_memory().available)


def plan_memory(
    plan: Plan, geometry: Geometry, limit: int | None, folder: Path, name: str, *, probabilities: bool = False
) -> MemoryPlan:
    """Decide whether a scan's probabilities stay in memory.

    Args:
        plan: Of the model.
        geometry: The scan's.
        limit: Bytes; None: most of what is free now.
        folder: Where a file may be made, or in the nearest folder above that is there.
        name: What messages call the scan.
        probabilities: As for `estimate_memory`.

    Raises:
        CaseError: The limit is too low for it even with a file, or the disk is too full for the file.
    """
    need = estimate_memory(plan, geometry, probabilities=probabilities)
    most = available_bytes(limit)
    if need.in_memory <= most:
        return MemoryPlan(name, need.in_memory, None, need.in_memory - need.base)
    if need.with_file > most:
        free = f"the {most / 1e9:.1f} GB that the process has and that are free"
        allowed = free if limit is None else f"--memory {most / 1e9:.1f} GB"
        raise CaseError(
            f"{name}: needs about {need.with_file / 1e9:.1f} GB of memory, more than {allowed}",
            hint="allow more with --memory, close other programs, or crop the scan",
        )
    existing = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    if psutil.disk_usage(str(existing)).free < need.file_bytes:
        raise CaseError(
            f"{folder}: {need.file_bytes / 1e9:.1f} GB of disk are needed for a while, since memory is short; less is "
            "free",
            hint="free some space, or allow more memory with --memory",
        )
    return MemoryPlan(name, need.with_file, folder, need.with_file - need.base)


def describe_memory(plan: Plan, scans: Sequence[Scan], limit: int | None, *, probabilities: bool = False) -> str:
    """One line: what the largest of some scans will take, by their headers; arguments as for `plan_memory`."""
    largest: MemoryNeeds | None = None
    for scan in scans:
        try:
            geometry = scan.geometry()
        except OsteonError:
            continue  # reported when it is read
        need = None if geometry is None else estimate_memory(plan, geometry, probabilities=probabilities)
        if need is not None and (largest is None or need.in_memory > largest.in_memory):
            largest = need
    count = pluralise(len(scans), "scan")
    if largest is None:
        return count
    line = f"{count}; about {largest.in_memory / 1e9:.2g} GB of memory for the largest"
    most = available_bytes(limit)
    if largest.in_memory > most:
        line += (
            f", more than {most / 1e9:.2g} GB: its probabilities go into a file of {largest.file_bytes / 1e9:.2g} GB, "
            f"and it takes {largest.with_file / 1e9:.2g} GB"
        )
    return line


class MemoryPool:
    """Memory shared by the scans in work: one that is read ahead waits until it fits beside the others.

    Args:
        limit: Bytes; None: no scan waits.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._taken: dict[str, int] = {}
        self._changed = threading.Condition()

    def acquire(self, plan: MemoryPlan) -> None:
        """Take a scan's bytes, as soon as they are free; the only scan never waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._fits(plan))
            self._taken[plan.name] = plan.scan_bytes

    def _fits(self, plan: MemoryPlan) -> bool:
        others = sum(count for name, count in self._taken.items() if name != plan.name)
        return self._limit is None or not others or others + plan.total_bytes <= self._limit

    def release(self, name: str, kept: int = 0) -> None:
        """Give a scan's bytes back; all but those that are still needed."""
        with self._changed:
            if self._taken.pop(name, None) is not None and kept:
                self._taken[name] = kept
            self._changed.notify_all()

    def lift_limit(self) -> None:
        """Let all scans through: the work was stopped."""
        with self._changed:
            self._limit = None
            self._changed.notify_all()
