"""Predictions in a CSV of run-length codes, scored against a dataset's radiographs, one picture at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from osteon.core.errors import FileError, OsteonError
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case
from osteon.evaluating.record import Failure
from osteon.evaluating.scores import ALL_METRICS, MetricOptions, Score, score_case
from osteon.formats.labelmap import to_multi_hot
from osteon.formats.rle import RleRow, decode_rle, parse_runs, read_convention, read_rle_csv, read_rle_rows
from osteon.formats.rle_convention import DEFAULT_CONVENTION, RENAME, ConventionEvidence, RleConvention
from osteon.voting.picture_sizes import find_case

RowOffsets = dict[str, tuple[int, int]]
"""By structure the line and the offset of its row."""


@dataclass
class TableScores:
    """The scores of a table of run-length codes.

    Attributes:
        scores: One for each picture and structure.
        failures: Rows that cannot be used, by their picture, and pictures that could not be scored.
        missing: Pictures of the dataset that the table does not name.
        unmatched: Pictures of the table that the dataset does not have.
        convention: How the table counts pixels.
        evidence: Whether its masks look like that.
    """

    scores: list[Score] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    convention: RleConvention = DEFAULT_CONVENTION
    evidence: ConventionEvidence = field(default_factory=ConventionEvidence)


def score_table(path: Path, dataset: Dataset, measures: MetricOptions = ALL_METRICS) -> TableScores:
    """Score a CSV of RLE against a dataset of pictures.

    A row that is broken, names a structure that the dataset does not have, ends behind its picture, or stands there
    twice is reported with its line, and the others count. A structure without a row is predicted empty. Rows are
    decoded one picture at a time.

    Raises:
        FileError: The table is missing or none.
    """
    made = TableScores(convention=read_convention(path))
    held = [case for case in dataset.manifest.labelled if case.held_out] or list(dataset.manifest.labelled)
    places, made.unmatched = _index(path, dataset, made)
    made.missing = [case.id for case in held if case.id not in places]
    for case in held:
        if case.id not in places:
            continue
        try:
            made.scores += _score(path, case, places[case.id], dataset, made, measures)
        except OsteonError as error:
            made.failures.append(Failure(case.id, error.message, error.hint))
    if (doubt := made.evidence.doubt(made.convention)) is not None:
        made.failures.insert(0, Failure("the table", f"{path}: {doubt}", RENAME))
    return made


def _index(path: Path, dataset: Dataset, made: TableScores) -> tuple[dict[str, RowOffsets], list[str]]:
    """Where each case's rows stand, and the pictures that are no case."""
    known = {structure.name for structure in dataset.structures}
    cases: dict[str, Case | None] = {}
    found: dict[str, RowOffsets] = defaultdict(dict)

    def broken(line: int, error: FileError) -> None:
        made.failures.append(Failure(f"line {line}", error.message, error.hint))

    for row in read_rle_csv(path, broken=broken):
        if row.image not in cases:
            cases[row.image] = find_case(dataset, row.image)
        case = cases[row.image]
        if case is None:
            continue
        own = found[case.id]
        if row.structure not in known:
            made.failures.append(
                Failure(case.id, f"{path}, line {row.line}: there is no structure {row.structure}", "")
            )
        elif row.structure in own:
            first = own[row.structure][0]
            message = f"{path}, line {row.line}: {row.structure} is listed twice, first in line {first}"
            made.failures.append(Failure(case.id, message, "the first counts"))
        else:
            own[row.structure] = row.line, row.offset
    return dict(found), [image for image, case in cases.items() if case is None]


def _score(
    path: Path, case: Case, places: RowOffsets, dataset: Dataset, made: TableScores, measures: MetricOptions
) -> Sequence[Score]:
    reference = to_multi_hot(dataset.load_segmentation(case))
    masks: npt.NDArray[np.uint8] = np.zeros(reference.array.shape, dtype=np.uint8)
    names = [structure.name for structure in dataset.structures]
    for row in read_rle_rows(path, list(places.values())):
        mask = _mask(path, row, case, reference.geometry.shape, made)
        if mask is not None:
            masks[names.index(row.structure)] = mask
    return score_case(
        case.id,
        masks,
        reference.array,
        reference.geometry,
        dataset.structures,
        annotated=case.annotated,
        measures=measures,
    )


def _mask(
    path: Path, row: RleRow, case: Case, shape: tuple[int, int, int], made: TableScores
) -> npt.NDArray[np.bool_] | None:
    """`[i, j, 1]`; nothing, and a report, where the runs make no mask of that size."""
    try:
        mask = decode_rle(row.rle, (shape[1], shape[0]), made.convention, name=f"{path}, line {row.line}")
        made.evidence.add(parse_runs(row.rle), (shape[1], shape[0]), row.line)
        return mask.T[:, :, None]
    except OsteonError as error:
        made.failures.append(Failure(case.id, error.message, error.hint))
        return None
