"""The fingerprint: what is measured on the cases before anything is decided."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from osteon.core.boxes import bounding_box
from osteon.core.errors import DatasetError, FileError, OsteonError
from osteon.core.files import read_json, write_json
from osteon.core.geometry import reorient_to_ras
from osteon.core.label_values import bounding_boxes
from osteon.core.labels import Segmentation
from osteon.core.parallel import for_each, worker_count
from osteon.core.progress import status
from osteon.core.text import shorten_list
from osteon.core.voxel_sampling import plane_counts, voxels_at_ranks
from osteon.dataset.case_stamps import UNMARKED, CaseMark, mark_case, still_marked, tell_changed
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case
from osteon.preparing.case import BYTES_PER_VOXEL

FILE_NAME = "fingerprint.json"
SAMPLES = 2000
"""Foreground voxels whose intensities are kept from each case, spread evenly, so that every case weighs the same."""
_KEEP_EVERY_S, _KEEP_SHARE = 10.0, 20.0
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
    mark: CaseMark = UNMARKED
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


def measure(dataset: Dataset, *, workers: int | None = None) -> Fingerprint:
    """Measure every case that can be trained on; facts of unchanged cases are taken from fingerprint.json.

    Raises:
        DatasetError: No labelled case is left.
    """
    path = dataset.folder / FILE_NAME
    known = _known(path)
    cases = dataset.manifest.trainable
    with status("comparing files"):  # those that were touched are read
        found = {
            case.id: known[case.id].model_copy(update={"mark": mark})
            for case in cases
            if case.id in known and (mark := still_marked(dataset, case, known[case.id].mark)) is not None
        }
    left = [case for case in cases if case.id not in found]
    failed: dict[str, OsteonError] = {}
    if left:
        tell_changed(dataset, {case.id: known[case.id].mark for case in left if case.id in known}, "measured")
        voxels = [int(np.prod(dataset.geometry(case).shape)) for case in left if _readable(dataset, case)]
        largest = max(voxels, default=0) * len(dataset.manifest.channels) * BYTES_PER_VOXEL
        count = workers or (worker_count(len(left), largest) if sum(voxels) > 100e6 else 1)
        work = [(dataset.alone(case), case) for case in left]
        written, took = time.monotonic(), 0.0
        try:
            for outcome in for_each(
                _measure_case, work, "measuring", name=lambda item: f"case {item[1].id}", workers=count
            ):
                case = outcome.item[1]
                if outcome.result is not None:
                    found[case.id] = outcome.result
                elif outcome.error is not None:
                    failed[case.id] = outcome.error
                if (now := time.monotonic()) - written > max(_KEEP_EVERY_S, _KEEP_SHARE * took):
                    _write(path, found)
                    written = time.monotonic()
                    took = written - now
        except KeyboardInterrupt:
            _write(path, found)
            raise
    if not found:
        reason = next(iter(failed.values()), None)
        raise DatasetError(
            f"{dataset.folder}: no labelled case can be used"
            + (f"; the first failed with: {reason}" if reason else ""),
            hint="import cases that have a label and are not held out",
        )
    _write(path, found)
    return Fingerprint(
        cases=[found[case.id] for case in cases if case.id in found],
        failed={case: str(error) for case, error in failed.items()},
    )


def changed_since(dataset: Dataset) -> list[str]:
    """In what the cases that can be trained on differ from those of fingerprint.json, a line each; none without one.

    Files that were touched are read; that they are the same is written there, where it can be written.
    """
    path = dataset.folder / FILE_NAME
    known = _known(path)
    cases = {case.id: case for case in dataset.manifest.trainable}
    with status("comparing files"):
        marks = {name: still_marked(dataset, case, known[name].mark) for name, case in cases.items() if name in known}
    renewed = {name: mark for name, mark in marks.items() if mark not in (None, known[name].mark)}
    if renewed:
        now = {
            name: facts.model_copy(update={"mark": renewed[name]}) if name in renewed else facts
            for name, facts in known.items()
        }
        with suppress(FileError):  # it only saves reading them once more
            _write(path, now)
    told = (
        ("changed", [name for name, mark in marks.items() if mark is None]),
        ("not measured", [name for name in cases if name not in known]),
        ("not trained on any more", [name for name in known if name not in cases]),
    )
    return [f"{what}: {shorten_list(names)}" for what, names in told if names] if known else []


def _readable(dataset: Dataset, case: Case) -> bool:
    try:
        dataset.geometry(case)
    except OsteonError:
        return False  # measuring it will say why
    return True


def _known(path: Path) -> dict[str, CaseFacts]:
    if not path.is_file():
        return {}
    try:
        return {entry["id"]: CaseFacts.model_validate(entry) for entry in read_json(path, "the fingerprint")["cases"]}
    except (OsteonError, ValidationError, KeyError, TypeError):
        return {}  # only measurements: they are made again


def _write(path: Path, found: dict[str, CaseFacts]) -> None:
    write_json(path, {"cases": [facts.model_dump() for facts in found.values()]})


def _measure_case(work: tuple[Dataset, Case]) -> CaseFacts:
    dataset, case = work
    mark = mark_case(dataset, case)
    image = dataset.load_image(case)
    segmentation = dataset.load_segmentation(case)
    turn = reorient_to_ras(image.geometry)
    geometry = turn.geometry(image.geometry)
    turned = Segmentation(turn.apply(segmentation.array), geometry, segmentation.structures)  # type: ignore[arg-type]
    return CaseFacts(
        id=case.id,
        mark=mark,
        shape=geometry.shape,
        spacing_mm=geometry.spacing_mm,
        unit=geometry.unit,
        structures=_structure_facts(turned),
        intensities=_intensities(turn.apply(image.array), turned),
    )


def _intensities(array: npt.NDArray[np.generic], labels: Segmentation) -> list[list[float]]:
    """Of each channel at SAMPLES voxels of the foreground, spread evenly; nothing is made of the scan's size."""
    where: npt.NDArray[np.generic] = np.any(labels.array, axis=0) if labels.overlapping else labels.array
    counts = plane_counts(where)
    count = int(counts.sum())
    ranks = np.linspace(0, count - 1, min(SAMPLES, count)).astype(np.int64)
    i, j, k = voxels_at_ranks(where, counts, ranks).T
    return [[float(f"{value:.6g}") for value in channel[i, j, k]] for channel in array]


def _structure_facts(segmentation: Segmentation) -> dict[str, StructureFacts]:
    facts = {}
    if segmentation.overlapping:
        boxes = [bounding_box(layer) for layer in segmentation.array]
    else:
        boxes = bounding_boxes(segmentation.array, [structure.value for structure in segmentation.structures])
    for number, (structure, box) in enumerate(zip(segmentation.structures, boxes, strict=True)):
        if box is None:
            continue
        inside = segmentation.array[number if segmentation.overlapping else slice(None)][box.slices]
        mask = inside > 0 if segmentation.overlapping else inside == structure.value
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


def series(fingerprint: Fingerprint, axis: int) -> list[str]:
    """Structures that look alike and keep their order along a world axis, as vertebrae do.

    They are told apart by what lies beyond them, never by where in the scan they happen to be.

    Args:
        fingerprint: The measured cases.
        axis: 0 R, 1 A, 2 S.

    Returns:
        At least three names in their order, whose median volumes differ by a factor of two at most; else none.
    """
    names = {name for case in fingerprint.cases for name in case.structures}
    facts = {
        name: [(c.structures[name], c.spacing_mm) for c in fingerprint.cases if name in c.structures] for name in names
    }
    volumes = {
        name: float(np.median([found.voxels * np.prod(spacing) for found, spacing in each]))
        for name, each in facts.items()
    }
    if len(names) < 3 or max(volumes.values()) > 2 * min(volumes.values()):
        return []
    if not all(_order(fingerprint, axis, *pair)[0] for pair in itertools.combinations(sorted(names), 2)):
        return []
    return sorted(names, key=lambda name: float(np.median([found.centre_mm[axis] for found, _ in facts[name]])))


def series_margin_mm(fingerprint: Fingerprint, axis: int, names: Sequence[str]) -> float:
    """The most room that a scan leaves beyond either end of a series, were the series in its middle.

    Args:
        fingerprint: The measured cases.
        axis: 0 R, 1 A, 2 S.
        names: The series in its order along the axis, as `series` gives it.

    Returns:
        mm, at least 0; 0 where no case holds both ends. Beyond its centre an end reaches half the mean gap.
    """
    margins = [0.0]
    for case in fingerprint.cases:
        ends = [case.structures[name].centre_mm[axis] for name in (names[0], names[-1]) if name in case.structures]
        if len(ends) == 2:
            length = (ends[1] - ends[0]) * len(names) / (len(names) - 1)
            margins.append((case.shape[axis] * case.spacing_mm[axis] - length) / 2)
    return max(margins)


def series_measures(fingerprint: Fingerprint, names: Sequence[str]) -> tuple[float, float]:
    """Median distance in mm between the centres of neighbours in a series, and median volume in mm³ of its members."""
    distances, volumes = [], []
    for case in fingerprint.cases:
        found = [case.structures.get(name) for name in names]
        volumes += [facts.voxels * float(np.prod(case.spacing_mm)) for facts in found if facts is not None]
        distances += [
            float(np.linalg.norm(np.subtract(one.centre_mm, other.centre_mm)))
            for one, other in itertools.pairwise(found)
            if one is not None and other is not None
        ]
    return float(np.median(distances)), float(np.median(volumes))


def fixed_order(fingerprint: Fingerprint, axis: int, partners: dict[str, str]) -> tuple[str, str, int] | None:
    """Two structures whose order along a world axis a mirror image would turn round.

    They keep their order in all of at least three cases, and so do, the same way round, the structures that they
    become on a mirror: mirroring would take from the network what tells the two apart. (A left femur beside the
    pelvis is no such pair where the right femur lies on the pelvis's other side.)

    Args:
        fingerprint: The measured cases.
        axis: 0 R, 1 A, 2 S.
        partners: What a structure becomes on a mirror; those not listed stay what they are.

    Returns:
        The names and the number of cases, or None. Centroids must lie at least two voxels apart to count.
    """
    names = sorted({name for case in fingerprint.cases for name in case.structures})
    for first, second in itertools.combinations(names, 2):
        way, count = _order(fingerprint, axis, first, second)
        twins = _order(fingerprint, axis, partners.get(first, first), partners.get(second, second))
        if way and way == twins[0]:
            return first, second, count
    return None


def _order(fingerprint: Fingerprint, axis: int, first: str, second: str) -> tuple[int, int]:
    """1 where `second` lies beyond `first` in all of at least three cases, −1 where before, else 0; and the cases."""
    gaps = [
        (case.structures[second].centre_mm[axis] - case.structures[first].centre_mm[axis]) / case.spacing_mm[axis]
        for case in fingerprint.cases
        if first in case.structures and second in case.structures
    ]
    if len(gaps) < 3 or (min(gaps) < 2 and max(gaps) > -2):
        return 0, len(gaps)
    return (1 if gaps[0] > 0 else -1), len(gaps)
