"""What is known of one case, for a page of its own: pictures, volumes, confidence and reasons, versions, notes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation
from osteon.core.pieces import split_pieces
from osteon.core.volume import Volume
from osteon.dataset.calibration import Calibration, read_calibration
from osteon.dataset.case_history import CaseHistory, read_history
from osteon.dataset.dataset import Dataset
from osteon.dataset.label_placement import place_segmentation
from osteon.dataset.label_reviews import reader_agreement
from osteon.dataset.label_versions import load_version
from osteon.dataset.modality import Modality
from osteon.dataset.saved_measurements import SavedMeasurement, read_measurements
from osteon.drawing.overview import PictureRow, paint_case
from osteon.drawing.slices import encode_picture
from osteon.formats.io import read_scan
from osteon.formats.label_meanings import label_meanings_for, read_named_labels
from osteon.formats.raster import has_unknown_sides
from osteon.predicting.level_choices import LevelChoice, level_choices

QUALITY = 88


@dataclass(frozen=True)
class ReportedStructure:
    """A structure, or a numbered piece of one.

    Attributes:
        name: As it is called.
        colour: `#rrggbb`.
        voxels: How many it has.
        size: In `CaseReport.unit`; None where it is not there.
        confidence: Expected Dice, or the network's own figure; None where it is unknown.
        looked_for: Whether somebody looked for it; else it is unknown here, not background.
    """

    name: str
    colour: str
    voxels: int
    size: float | None = None
    confidence: float | None = None
    looked_for: bool = True


@dataclass(frozen=True)
class CaseReport:
    """What a page of a case says.

    Attributes:
        case: Its id.
        source: What the label is of: a dataset, a folder of predictions.
        scan: The scan's size, in words.
        picture: A PNG of three slices (of a picture one) with the structures.
        structures: In order, each numbered piece for itself; none where there is no label.
        unit: Of sizes: `cm³`; of pictures `mm²`, or `px²`.
        calibrated: Whether confidences are expected Dice.
        review: Why a person should look at it.
        levels: The ways to name the bodies of a row, the one that is shown first.
        state: How far it is in its dataset, with who said so and when; empty where it is of none.
        owner: Who works on it.
        note: What was said of it.
        history: Its versions; None where it is of no dataset.
        agreement: Dice of each structure between two readers.
        measurements: Lengths and angles that people saved.
        calibration: What somebody said of the pixels' size; sizes and lengths are in millimetres then.
        made: When this was made: `2026-01-31T14:05:00Z`.
        sides_known: Whether the scan says where the patient's right is.
    """

    case: str
    source: str
    scan: str
    picture: bytes
    structures: list[ReportedStructure]
    unit: str
    calibrated: bool = True
    review: list[str] = field(default_factory=list)
    levels: list[LevelChoice] = field(default_factory=list)
    state: str = ""
    owner: str = ""
    note: str = ""
    history: CaseHistory | None = None
    agreement: dict[str, float | None] = field(default_factory=dict)
    measurements: list[SavedMeasurement] = field(default_factory=list)
    calibration: Calibration | None = None
    made: str = ""
    sides_known: bool = True

    def facts(self) -> list[tuple[str, str]]:
        """What stands above the pictures: names and texts."""
        rows = [("Label of", self.source), ("Scan", self.scan)]
        if (pixels := self.calibration) is not None:
            rows.append(("Calibrated", f"{pixels.describe()}; {pixels.author}, {format_time(pixels.at)}"))
        rows += [("State", self.state), ("Owner", self.owner)]
        version = None if self.history is None else self.history.version
        if self.history is not None:
            made = f"version {version.number} by {version.author}, {format_time(version.at)}" if version else ""
            rows.append(("Label", made or ("as it was imported" if self.structures else "")))
        rows.append(("Note", self.note))
        unknown = [s.name for s in self.structures if not s.looked_for]
        rows.append(("Not annotated", f"{', '.join(unknown)}: unknown, not background" if unknown else ""))
        return [(name, text) for name, text in rows if text]

    def versions(self) -> list[tuple[str, ...]]:
        """A row for each version: number, kind, by, when, from which, minutes, what."""
        return [
            (
                str(v.number),
                v.kind,
                v.author,
                format_time(v.at),
                str(v.base),
                f"{v.seconds / 60:.1f}" if v.seconds else "",
                v.what,
            )
            for v in (self.history.versions if self.history is not None else ())
        ]

    def states(self) -> list[tuple[str, ...]]:
        """A row for each change of its state: when, what it became, by whom, note."""
        return [
            (format_time(c.at), c.state, c.by, c.note) for c in (self.history.log if self.history is not None else ())
        ]


def report_dataset_case(folder: Path, case_id: str, prediction: Mapping[str, Any] | None = None) -> CaseReport:
    """The report of a case of a dataset with the label that counts, or the prediction that nobody has approved yet.

    Args:
        folder: The dataset's.
        case_id: The case.
        prediction: What is known of a prediction of it (predictions.json), for confidences, reasons and names.

    Raises:
        UsageError: There is no such case.
        FileError, GeometryError, ImageError, DatasetError: The scan or the label cannot be read.
    """
    dataset = Dataset.open(folder)
    case, imported = dataset.case(case_id), dataset.imported.case(case_id)
    history = read_history(folder, case_id)
    has_label = history.current > 0 or imported.segmentation is not None
    label = load_version(dataset, case_id, history.current) if has_label else None
    known = imported.annotated if history.version is None else history.version.annotated
    image, modality = dataset.load_image(case, verify=False), dataset.manifest.channels[0].modality
    judged, state = history.judgement, history.state(imported)
    who = f" by {judged.by or 'somebody'}, {format_time(judged.at)}" if judged is not None else ""
    return _report(
        case_id,
        f"the dataset {dataset.manifest.name}",
        image,
        label,
        modality,
        prediction or {},
        looked_for=known,
        state=f"{state}{who}",
        owner=history.owner,
        note=history.note,
        history=history,
        agreement=(reader_agreement(dataset, case_id) or {}) if has_label else {},
        measurements=read_measurements(folder, case_id),
        pixels=read_calibration(folder, case_id),
    )


def report_prediction(
    case: str,
    images: Sequence[Path],
    label: Path,
    source: str,
    prediction: Mapping[str, Any],
    modality: Modality,
    dataset: Path | None = None,
) -> CaseReport:
    """The report of a prediction.

    Args:
        case: Its name.
        images: The files of the scan, as its record lists them.
        label: The label file.
        source: What it is of, in words.
        prediction: What is known of it (predictions.json).
        modality: Of the scan: decides the window of grey.
        dataset: The folder of the one that lists the case, where one does: it says how long pixels are.

    Raises:
        FileError, GeometryError: The scan or the label cannot be read, or they do not lie on one grid.
    """
    image = read_scan(images)
    segmentation = read_named_labels(label, None, label_meanings_for([label]), pieces=True)
    placed, _ = place_segmentation(segmentation, image.geometry, name=str(label), image_name=str(images[0]))
    measured, pixels = (
        read_measurements(label.parent, case),
        None if dataset is None else read_calibration(dataset, case),
    )
    return _report(case, source, image, placed, modality, prediction, measurements=measured, pixels=pixels)


def _report(
    case: str,
    source: str,
    image: Volume,
    label: Segmentation | None,
    modality: Modality,
    prediction: Mapping[str, Any],
    *,
    measurements: Sequence[SavedMeasurement],
    pixels: Calibration | None,
    looked_for: Sequence[str] | None = None,
    **more: Any,
) -> CaseReport:
    if pixels is not None:
        image = Volume(image.array, pixels.apply(image.geometry))
        label = None if label is None else replace(label, geometry=pixels.apply(label.geometry))
    grid = image.geometry
    empty = Segmentation(np.zeros(grid.shape, np.uint8), grid, ())
    pieces, wholes = split_pieces(label) if label is not None else (empty, ())
    factor, unit = _size_of_voxel(grid)
    confidence = prediction.get("confidence", {})
    structures = []
    for piece, whole in zip(pieces.structures, wholes, strict=True):
        voxels = int(np.count_nonzero(pieces.mask(piece)))
        size = voxels * factor if voxels else None
        looked = looked_for is None or whole.name in looked_for
        structures.append(ReportedStructure(piece.name, piece.colour, voxels, size, confidence.get(whole.name), looked))
    picture = paint_case(PictureRow(case, image, pieces, modality=modality))
    shape, edges = "×".join(map(str, grid.shape)), "×".join(f"{edge:.3g}" for edge in grid.spacing_mm)
    return CaseReport(
        case=case,
        source=source,
        scan=f"{shape} voxels of {edges} {grid.unit}",
        picture=encode_picture(picture, "PNG"),
        structures=structures,
        unit=unit,
        calibrated=bool(prediction.get("calibrated", True)),
        review=[str(reason) for reason in prediction.get("review", [])],
        levels=level_choices(prediction),
        measurements=[one if pixels is None else pixels.convert(one) for one in measurements],
        calibration=pixels,
        made=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        sides_known=not has_unknown_sides(grid),
        **more,
    )


def format_time(at: str) -> str:
    """`2026-01-31 14:05 UTC` of a time as histories have it."""
    return f"{at[:16].replace('T', ' ')} UTC" if at else ""


def _size_of_voxel(grid: Geometry) -> tuple[float, str]:
    """cm³ of a voxel; of a picture, which has an area alone, mm² or px²."""
    if 1 not in grid.shape:
        return grid.voxel_volume_mm3 / 1000, "cm³"
    area = float(np.prod([edge for edge, size in zip(grid.spacing_mm, grid.shape, strict=True) if size > 1]))
    return area, f"{grid.unit}²"
