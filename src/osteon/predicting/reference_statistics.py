"""Statistics of a scan and of its structures: of each training scan, for reference, and of a new one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from osteon.core.files import write_json
from osteon.core.records import read_record
from osteon.core.structure_boxes import crop_mask, find_boxes
from osteon.core.text import significant
from osteon.plan.schema import Plan

FILE_NAME = "reference.json"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MOST_VOXELS = 1 << 21
"""Of larger images only every n-th slice is measured."""


class ReferenceStatistics(BaseModel):
    """What one training scan looks like.

    Attributes:
        volumes: Of each structure that is present, cm³ (thousands of pixels).
        touching: Structures that reach the scan's edge along an axis that is more than one voxel long.
        image: Of the normalised image on the plan's grid: quantiles and roughness of each channel.
        spacing_mm: Voxel edges of the scan itself, along the plan's axes.
        extent_mm: Of the scan, along the plan's axes.
        annotated: Structures that were annotated (on disk `looked_for`); None: all.
    """

    model_config = ConfigDict(frozen=True, validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    volumes: dict[str, float]
    touching: list[str]
    image: dict[str, float]
    spacing_mm: list[float]
    extent_mm: list[float]
    annotated: list[str] | None = Field(alias="looked_for")


def measure_statistics(
    image: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[np.integer],
    plan: Plan,
    spacing_mm: tuple[float, ...],
    extent_mm: tuple[float, ...],
    annotated: tuple[str, ...] | None = None,
) -> ReferenceStatistics:
    """Measure a scan on the plan's grid.

    Args:
        image: `[channel, i, j, k]`, normalised.
        labels: Index `[i, j, k]` (n for the n-th structure) or multi-hot `[structure, i, j, k]`.
        plan: Structures, channels.
        spacing_mm: The scan's own voxel edges along the plan's axes.
        extent_mm: The scan's extent along them.
        annotated: Structures that were annotated; None: all.
    """
    voxel = np.prod([e / n for e, n in zip(extent_mm, image.shape[1:], strict=True)]) / 1000
    volumes, touching = {}, []
    structures = [structure.model_copy(update={"value": n}) for n, structure in enumerate(plan.structures, 1)]
    for number, box in enumerate(find_boxes(labels, structures)):
        if box is None:
            continue
        count = int(np.count_nonzero(crop_mask(labels, structures, number, box)))
        volumes[structures[number].name] = significant(count * voxel, 4)
        ends = [s.start == 0 or s.stop == n for s, n in zip(box.slices, image.shape[1:], strict=True) if n > 1]
        if any(ends):
            touching.append(structures[number].name)
    statistics: dict[str, float] = {}
    for channel, part in zip(plan.channels, image, strict=True):
        statistics |= {f"{channel.name}: {name}": value for name, value in _channel_statistics(part).items()}
    spacing, extent = ([significant(v, 4) for v in values] for values in (spacing_mm, extent_mm))
    return ReferenceStatistics(
        volumes=volumes,
        touching=touching,
        image=statistics,
        spacing_mm=spacing,
        extent_mm=extent,
        annotated=None if annotated is None else list(annotated),
    )


def _channel_statistics(channel: npt.NDArray[np.floating[Any]]) -> dict[str, float]:
    """Quantiles, and the mean step between neighbours as a part of the standard deviation: 0 smooth, 1.1 noise."""
    step = -(-channel.size // MOST_VOXELS)
    part = np.asarray(channel[..., ::step] if channel.shape[-1] > 1 else channel[::step], dtype=np.float32)
    statistics = {f"quantile {q:g}": float(v) for q, v in zip(QUANTILES, np.quantile(part, QUANTILES), strict=True)}
    steps = [np.abs(np.diff(part, axis=axis)).mean() for axis in (0, 1) if part.shape[axis] > 1]
    statistics["roughness"] = float(np.mean(steps) / max(float(part.std()), 1e-6)) if steps else 0.0
    return {name: significant(value, 4) for name, value in statistics.items()}


def write_reference(path: Path, cases: list[ReferenceStatistics]) -> None:
    """Write reference.json. Raises FileError."""
    write_json(path, {"cases": [case.model_dump() for case in cases]})


def read_reference(path: Path) -> list[ReferenceStatistics]:
    """Read reference.json; empty where the model has none (older models do not).

    Raises:
        FileError: The file is not one of those.
    """
    if not path.is_file():
        return []
    data = read_record(path, "the statistics of the training scans", _Reference, "copy the model folder again, whole")
    return [ReferenceStatistics.model_validate(case) for case in data["cases"]]


class _Reference(BaseModel):
    cases: list[ReferenceStatistics]
