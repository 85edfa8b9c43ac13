"""The fingerprint: what is measured on the cases before anything is decided."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from osteon.core.errors import DatasetError, FileError, OsteonError
from osteon.core.files import read_json, write_json
from osteon.core.geometry import reorient_to_ras
from osteon.core.labels import Segmentation
from osteon.core.parallel import CASE_BYTES_PER_VOXEL, for_each, worker_count
from osteon.core.progress import status
from osteon.core.structure_boxes import structure_masks
from osteon.core.text import shorten_list
from osteon.core.voxel_sampling import plane_counts, voxels_at_ranks
from osteon.dataset.case_stamps import NO_STAMP, CaseStamp, renew_stamp, stamp_case, warn_changed
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case

FILE_NAME = "fingerprint.json"
INTENSITY_SAMPLES = 2000
"""Foreground voxels whose intensities are kept from each case, spread evenly, so that every case weighs the same."""
_SAVE_EVERY_S, _SAVE_COST_FACTOR = 10.0, 20.0
"""Seconds of measuring that a kill may cost, and at least so many times what writing all of it down takes."""


class StructureFacts(BaseModel):
    """One structure in one case.

    Attributes:
        voxels: How many it has.
        centre_mm: Its centroid along R, A, S from the grid's first voxel.
        extent_mm: The edges of the box around it along R, A, S.
    """

    model_config = ConfigDict(frozen=True)

    voxels: int
    centre_mm: tuple[float, float, float]
    extent_mm: tuple[float, float, float]


class CaseFacts(BaseModel):
    """One case, its axes turned to R, A, S. `mark`: what it was when it was measured."""

    model_config = ConfigDict(frozen=True)

    id: str
    mark: CaseStamp = NO_STAMP
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    unit: str
    structures: dict[str, StructureFacts]
    intensities: list[list[float]]


class Fingerprint(BaseModel):
    """The measured facts of all cases that can be trained on, and the cases that failed with the reason."""

    cases: list[CaseFacts]
    failed: dict[str, str] = {}

    @property
    def median_shape(self) -> npt.NDArray[np.float64]:
        """`[3]` median number of voxels along R, A, S."""
        return np.median([case.shape for case in self.cases], axis=0).astype(np.float64)

    @property
    def median_spacing_mm(self) -> npt.NDArray[np.float64]:
        """`[3]` median voxel edge along R, A, S."""
        return np.median([case.spacing_mm for case in self.cases], axis=0).astype(np.float64)


def measure_fingerprint(dataset: Dataset, *, workers: int | None = None) -> Fingerprint:
    """Measure every case that can be trained on; facts of unchanged cases are taken from fingerprint.json.

    Raises:
        DatasetError: No labelled case is left.
    """
    path = dataset.folder / FILE_NAME
    recorded = _read_facts(path)
    cases = dataset.manifest.trainable
    with status("comparing files"):  # those that were touched are read
        measured = {
            case.id: recorded[case.id].model_copy(update={"mark": mark})
            for case in cases
            if case.id in recorded and (mark := renew_stamp(dataset, case, recorded[case.id].mark)) is not None
        }
    left = [case for case in cases if case.id not in measured]
    failed: dict[str, OsteonError] = {}
    if left:
        warn_changed(dataset, {case.id: recorded[case.id].mark for case in left if case.id in recorded}, "measured")
        voxels = [int(np.prod(dataset.geometry(case).shape)) for case in left if _has_geometry(dataset, case)]
        largest = max(voxels, default=0) * len(dataset.manifest.channels) * CASE_BYTES_PER_VOXEL
        count = workers or (worker_count(len(left), largest) if sum(voxels) > 100e6 else 1)
        work = [(dataset.restrict_to(case), case) for case in left]
        written, took = time.monotonic(), 0.0
        try:
            for outcome in for_each(
                _measure_case, work, "measuring", name=lambda item: f"case {item[1].id}", workers=count
            ):
                case = outcome.item[1]
                if outcome.result is not None:
                    measured[case.id] = outcome.result
                elif outcome.error is not None:
                    failed[case.id] = outcome.error
                if (now := time.monotonic()) - written > max(_SAVE_EVERY_S, _SAVE_COST_FACTOR * took):
                    _write_facts(path, measured)
                    written = time.monotonic()
                    took = written - now
        except KeyboardInterrupt:
            _write_facts(path, measured)
            raise
    if not measured:
        reason = next(iter(failed.values()), None)
        raise DatasetError(
            f"{dataset.folder}: no labelled case can be used"
            + (f"; the first failed with: {reason}" if reason else ""),
            hint="import cases that have a label and are not held out",
        )
    measured = {case.id: measured[case.id] for case in cases if case.id in measured}
    _write_facts(path, measured)
    return Fingerprint(
        cases=list(measured.values()),
        failed={case.id: str(failed[case.id]) for case in cases if case.id in failed},
    )


def find_changes(dataset: Dataset) -> list[str]:
    """In what the cases that can be trained on differ from those of fingerprint.json, a line each; none without one.

    Files that were touched are read; that they are the same is written there, where it can be written.
    """
    path = dataset.folder / FILE_NAME
    recorded = _read_facts(path)
    cases = {case.id: case for case in dataset.manifest.trainable}
    with status("comparing files"):
        marks = {
            name: renew_stamp(dataset, case, recorded[name].mark) for name, case in cases.items() if name in recorded
        }
    renewed = {name: mark for name, mark in marks.items() if mark not in (None, recorded[name].mark)}
    if renewed:
        facts = {
            name: facts.model_copy(update={"mark": renewed[name]}) if name in renewed else facts
            for name, facts in recorded.items()
        }
        with suppress(FileError):  # it only saves reading them once more
            _write_facts(path, facts)
    differences = (
        ("changed", [name for name, mark in marks.items() if mark is None]),
        ("not measured", [name for name in cases if name not in recorded]),
        ("not trained on any more", [name for name in recorded if name not in cases]),
    )
    return [f"{what}: {shorten_list(names)}" for what, names in differences if names] if recorded else []


def _has_geometry(dataset: Dataset, case: Case) -> bool:
    try:
        dataset.geometry(case)
    except OsteonError:
        return False  # measuring it will say why
    return True


def _read_facts(path: Path) -> dict[str, CaseFacts]:
    if not path.is_file():
        return {}
    try:
        return {entry["id"]: CaseFacts.model_validate(entry) for entry in read_json(path, "the fingerprint")["cases"]}
    except (OsteonError, ValidationError, KeyError, TypeError):
        return {}  # only measurements: they are made again


def _write_facts(path: Path, facts_by_case: dict[str, CaseFacts]) -> None:
    write_json(path, {"cases": [facts.model_dump() for facts in facts_by_case.values()]})


def _measure_case(work: tuple[Dataset, Case]) -> CaseFacts:
    dataset, case = work
    mark = stamp_case(dataset, case)
    image = dataset.load_image(case)
    segmentation = dataset.load_segmentation(case)
    permutation = reorient_to_ras(image.geometry)
    geometry = permutation.geometry(image.geometry)
    turned = Segmentation(permutation.apply(segmentation.array), geometry, segmentation.structures)
    return CaseFacts(
        id=case.id,
        mark=mark,
        shape=geometry.shape,
        spacing_mm=geometry.spacing_mm,
        unit=geometry.unit,
        structures=_structure_facts(turned),
        intensities=_intensities(permutation.apply(image.array), turned),
    )


def _intensities(array: npt.NDArray[np.generic], labels: Segmentation) -> list[list[float]]:
    """Of each channel at `INTENSITY_SAMPLES` foreground voxels, evenly spread; no array is as large as the scan."""
    where: npt.NDArray[np.generic] = np.any(labels.array, axis=0) if labels.overlapping else labels.array
    counts = plane_counts(where)
    count = int(counts.sum())
    ranks = np.linspace(0, count - 1, min(INTENSITY_SAMPLES, count)).astype(np.int64)
    i, j, k = voxels_at_ranks(where, counts, ranks).T
    return [[float(f"{value:.6g}") for value in channel[i, j, k]] for channel in array]


def _structure_facts(segmentation: Segmentation) -> dict[str, StructureFacts]:
    facts = {}
    for structure, box, mask in structure_masks(segmentation):
        voxels = int(np.count_nonzero(mask))
        centre, extent = [], []
        for axis, spacing in enumerate(segmentation.geometry.spacing_mm):
            others = tuple(other for other in range(3) if other != axis)
            along = mask.sum(axis=others, dtype=np.int64)
            centre.append((float(along @ np.arange(len(along))) / voxels + box.first[axis]) * spacing)
            extent.append(float(box.shape[axis]) * spacing)
        facts[structure.name] = StructureFacts(
            voxels=voxels,
            centre_mm=(centre[0], centre[1], centre[2]),
            extent_mm=(extent[0], extent[1], extent[2]),
        )
    return facts
