"""The cases that are measured: label files, or a dataset's references, with scan, subject and members."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from osteon.core.errors import UsageError
from osteon.core.files import read_text
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation
from osteon.core.spreadsheets import read_rows
from osteon.dataset.calibration import Calibration, calibration_path, read_calibration
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import FILE_NAME as MANIFEST
from osteon.dataset.manifest import Case
from osteon.dataset.modality import Modality
from osteon.formats.label_folders import find_label_files
from osteon.formats.label_meanings import LabelMeanings, label_meanings_for, read_named_labels
from osteon.formats.probabilities import SUFFIX
from osteon.measuring.templates import template_files
from osteon.predicting.records import read_predictions

MIN_DICE = 0.7
"""Expected Dice of a structure below which its figures are flagged, as a prediction is for review."""


@dataclass(frozen=True)
class MeasureCase:
    """One case to be measured.

    Attributes:
        id: Its id.
        file: The label file.
        legend: What its numbers mean where it names none.
        scan: Files of the image; one for each channel, those of a DICOM series, or none.
        channel: Of the image, which counts.
        modality: Of that channel; None where it is unknown.
        subject: Whose scan it is, where that is known.
        day: When it was made, where that is known.
        annotated: Structures that somebody looked for; None: all.
        dataset: Where `entry` is a case of one: its reference is measured.
        entry: See `dataset`.
        probabilities: The file of the prediction's probabilities, where there is one.
        members: Label files of the same scan by other folds or readers.
        confidence: Expected Dice of each structure, where a prediction says it.
        review: Why a person should look at the prediction.
        templates: Files of others' bones that broken ones are compared with.
        broken: Bone → the structures that are its pieces.
        listed: The folder of the dataset that lists the case, where one does: it says how long pixels are.
    """

    id: str
    file: Path
    legend: LabelMeanings | None = None
    scan: tuple[Path, ...] = ()
    channel: int = 0
    modality: Modality | None = None
    subject: str | None = None
    day: date | None = None
    annotated: tuple[str, ...] | None = None
    dataset: Dataset | None = None
    entry: Case | None = None
    probabilities: Path | None = None
    members: tuple[Path, ...] = ()
    confidence: Mapping[str, float | None] | None = None
    review: tuple[str, ...] = ()
    templates: tuple[Path, ...] = ()
    broken: Mapping[str, tuple[str, ...]] | None = None
    listed: Path | None = None

    def __str__(self) -> str:
        return f"case {self.id}"

    @property
    def files(self) -> tuple[Path, ...]:
        """All that is read."""
        probabilities = (self.probabilities,) if self.probabilities else ()
        pixels = calibration_path(self.listed, self.id) if self.listed else None
        said = (pixels,) if pixels is not None and pixels.is_file() else ()
        return (self.file, *self.scan, *probabilities, *self.members, *self.templates, *said)

    def load(self) -> Segmentation:
        """What is measured, the numbers of pieces kept, as long as it is in truth. Raises CaseError as the readers."""
        if self.dataset is not None and self.entry is not None:
            found = self.dataset.load_segmentation(self.entry, pieces=True)
        else:
            found = read_named_labels(self.file, None, self.legend, pieces=True)
        return replace(found, geometry=self.calibrate(found.geometry))

    def calibrate(self, geometry: Geometry) -> Geometry:
        """A grid of the case's files, in millimetres where somebody said how long its pixels are. Raises CaseError."""
        return geometry if self.calibration is None else self.calibration.apply(geometry)

    @cached_property
    def calibration(self) -> Calibration | None:
        """What somebody said of its pixels. Raises FileError where that is damaged."""
        return None if self.listed is None else read_calibration(self.listed, self.id)

    def flags(self, structure: str) -> list[str]:
        """What a prediction's own record has against a structure."""
        dice = (self.confidence or {}).get(structure)
        found = [f"expected Dice {dice:.2f}"] if dice is not None and dice < MIN_DICE else []
        names = list(self.confidence or {})
        return found + [
            f"to review: {reason}"
            for reason in self.review
            if structure in reason or not any(name in reason for name in names)
        ]


@dataclass(frozen=True)
class CaseOptions:
    """What is known beside the label files.

    Attributes:
        dataset: Lists the cases of predictions: their scans, modality and subjects.
        members: Folders of label files of the same cases.
        modality: Of the scans, over what the dataset says.
        visits: A CSV with the columns `case`, `subject` and `date` (2026-11-30), the latter two where they are known.
        labels: What numbers mean in files that name none.
        template: A file or folder of others' whole bones (STL, masks), for broken ones without another side.
        bones: Bone → the structures that are its pieces, where they are classes.
        reduce: Whether the reduction of broken bones is written, too.
    """

    dataset: Path | None = None
    members: tuple[Path, ...] = ()
    modality: Modality | None = None
    visits: Path | None = None
    labels: Mapping[str, int | str] | None = None
    template: Path | None = None
    bones: Mapping[str, tuple[str, ...]] | None = None
    reduce: bool = False


def find_cases(source: Path, options: CaseOptions) -> list[MeasureCase]:
    """The cases of a label file, of a folder of them, or of a dataset with references.

    Raises:
        FileError: A path does not exist.
        UsageError: There are no labels, or an option makes no sense.
    """
    templates = () if options.template is None else template_files(options.template)
    return [replace(case, templates=templates, broken=options.bones) for case in _find_cases(source, options)]


def _find_cases(source: Path, options: CaseOptions) -> list[MeasureCase]:
    visits = {} if options.visits is None else read_visits(options.visits)
    members = [find_label_files(folder, "the member") for folder in options.members]
    if (source / MANIFEST).is_file():
        if options.labels or options.dataset:
            flag = "--labels" if options.labels else "--dataset"
            raise UsageError(f"{flag}: {source} is a dataset, which says that itself", hint="leave it out")
        dataset = Dataset.open(source)
        if not dataset.manifest.labelled:
            raise UsageError(f"{source}: none of its cases has labels", hint="give a folder of predictions")
        return [_of_dataset(dataset, case, options, members, visits) for case in dataset.manifest.labelled]
    files = find_label_files(source, "the segmentation")
    legend = label_meanings_for(files.values(), options.labels)
    folder = source if source.is_dir() else source.parent
    records, listed = read_predictions(folder), None if options.dataset is None else Dataset.open(options.dataset)
    known = {} if listed is None else {case.id: case for case in listed.manifest.cases}
    cases = []
    for name, file in files.items():
        record: Mapping[str, Any] = records.get(name, {})
        record = record if record.get("output") == file.name else {}
        entry = known.get(name)
        scan, channel, modality = _scan(listed, entry, options.modality)
        subject, day = visits.get(name, (None, None))
        probabilities = folder / f"{name}{SUFFIX}"
        cases.append(
            MeasureCase(
                name,
                file,
                legend,
                scan or tuple(Path(one[0]) for one in record.get("input") or ()),
                channel,
                modality,
                subject or (entry.subject if entry else None),
                day,
                probabilities=probabilities if probabilities.is_file() else None,
                members=tuple(found[name] for found in members if name in found),
                confidence=record.get("confidence"),
                review=tuple(record.get("review") or ()),
                listed=listed.folder if listed is not None and entry is not None else None,
            )
        )
    return cases


def _of_dataset(
    dataset: Dataset,
    case: Case,
    options: CaseOptions,
    members: Sequence[Mapping[str, Path]],
    visits: Mapping[str, tuple[str | None, date | None]],
) -> MeasureCase:
    scan, channel, modality = _scan(dataset, case, options.modality)
    subject, day = visits.get(case.id, (None, None))
    return MeasureCase(
        case.id,
        dataset.resolve(case.segmentation or ""),
        None,
        scan,
        channel,
        modality,
        subject or case.subject,
        day,
        None if case.annotated is None else tuple(case.annotated),
        dataset.restrict_to(case),
        case,
        members=tuple(found[case.id] for found in members if case.id in found),
        listed=dataset.folder,
    )


def _scan(
    dataset: Dataset | None, case: Case | None, modality: Modality | None
) -> tuple[tuple[Path, ...], int, Modality | None]:
    """The files of a case's image, the channel that counts (CT before others), and its modality."""
    if dataset is None or case is None:
        return (), 0, modality
    own = [channel.modality for channel in dataset.manifest.channels]
    channel = own.index("ct") if "ct" in own else 0
    return tuple(dataset.resolve(image) for image in case.images), channel, modality or own[channel]


def read_visits(path: Path) -> dict[str, tuple[str | None, date | None]]:
    """Case → subject and day, of a CSV with the columns `case`, `subject`, `date`.

    Raises:
        FileError: It cannot be read.
        UsageError: A column is missing, or a date is none.
    """
    text = read_text(path, "the table of visits").splitlines()
    head = next(csv.reader(text), [])
    if "case" not in head or not {"subject", "date"} & set(head):
        raise UsageError(f"{path}: has no column case, or neither subject nor date", hint="case,subject,date")
    found: dict[str, tuple[str | None, date | None]] = {}
    for row in read_rows(text):
        try:
            day = date.fromisoformat(row["date"].strip()) if row.get("date", "").strip() else None
        except ValueError:
            raise UsageError(
                f"{path}: case {row['case']}: {row['date']!r} is not a date", hint="write 2026-11-30"
            ) from None
        found[row["case"]] = row.get("subject") or None, day
    return found
