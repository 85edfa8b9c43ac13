"""What a watch answers with: DICOM SEG, SR of the measures and an overview picture, each under a UID that is known
before it is made.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from osteon.archive.watch_config import Answer
from osteon.core.errors import CaseError
from osteon.core.version import __version__
from osteon.dataset.checks import present_structures
from osteon.dataset.modality import Modality
from osteon.exporting.cases import find_segmentations
from osteon.exporting.dicom_common import derived_uid, ignore_pydicom_warnings, save_dicom
from osteon.exporting.dicom_seg import make_seg
from osteon.exporting.dicom_source import DicomSources, PlacedSegmentation
from osteon.exporting.dicom_sr import make_sr
from osteon.exporting.export_form import ExportCase
from osteon.measuring.cases import CaseOptions
from osteon.measuring.registry import all_measures
from osteon.measuring.run import measure


@dataclass(frozen=True)
class AnswerId:
    """The identity of an answer: of the same study, series and model always the same.

    Attributes:
        series: SeriesInstanceUID.
        instance: SOPInstanceUID.
    """

    series: str
    instance: str


def answer_id(study: str, series: str, model: str, kind: Answer) -> AnswerId:
    """The identity of an answer.

    Args:
        study: StudyInstanceUID of the scan.
        series: SeriesInstanceUID of the scan.
        model: Hash of the model.
        kind: Of the answer.
    """
    parts = "osteon answer", study, series, model, kind
    return AnswerId(derived_uid(*parts, "series"), derived_uid(*parts, "instance"))


@dataclass(frozen=True)
class AnswerMaker:
    """Makes the answers to one segmented scan.

    Attributes:
        predicted: Folder with the prediction of one scan alone, a DICOM series.
        out: Folder of the answers, and of what is measured.
        ids: Of the answers that are asked for.
        modality: Of the scan.
        measures: Names of measures or of their families; None: all.
    """

    predicted: Path
    out: Path
    ids: Mapping[Answer, AnswerId]
    modality: Modality
    measures: Sequence[str] | None = None

    def write(self) -> dict[Answer, Path]:
        """Write a file of each answer, whole or not at all.

        Raises:
            LabelError: The model found nothing.
            CaseError: The series cannot be referred to, or its segmentation cannot be measured.
            FileError: A file cannot be read or written.
        """
        files = {}
        for kind, identity in self.ids.items():
            dataset = _MAKERS[kind](self)
            _identify(dataset, identity)
            files[kind] = self.out / f"{kind}.dcm"
            save_dicom(files[kind], dataset)
        return files

    @cached_property
    def case(self) -> ExportCase:
        """The prediction."""
        return find_segmentations([self.predicted])[0]

    @property
    def found_nothing(self) -> bool:
        """Whether no voxel belongs to any structure: there is nothing to answer."""
        return not self.case.load().array.any()

    @cached_property
    def placed(self) -> PlacedSegmentation:
        """On the grid of its series. Raises LabelError where the model found nothing."""
        return DicomSources(None).place(self.case)

    @cached_property
    def seg(self) -> Any:
        """The SEG, to which the SR refers, too."""
        found = self.placed.segmentation
        present = present_structures(found)
        seg = make_seg(self.placed, [s for s in found.structures if s.name in present], "binary", model=self.case.model)
        if "seg" in self.ids:
            _identify(seg, self.ids["seg"])
        return seg

    def make_sr(self) -> Any:
        """The SR of the measures."""
        report = measure(
            self.predicted,
            self.out,
            what=self.measures,
            options=CaseOptions(modality=self.modality),
            workers=1,
            overwrite=True,
        )
        for error in report.failed.values():
            raise error
        words = {name: row.what for name, row in all_measures().items()}
        return make_sr(report.figures, self.placed, self.seg, words=words, model=self.case.model)

    def make_picture(self) -> Any:
        """A Secondary Capture: the overview in colours, for viewers that cannot show a SEG."""
        import highdicom as hd
        import numpy as np
        from PIL import Image

        from osteon.drawing.overview import PictureRow, paint_overview
        from osteon.formats.dicom import read_dicom_files

        row = PictureRow(
            f"osteon {__version__}", read_dicom_files(self.case.scan), self.case.load(), modality=self.modality
        )
        with Image.open(io.BytesIO(paint_overview([row]))) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        headers = list(self.placed.headers.values())
        try:
            with ignore_pydicom_warnings():
                capture = hd.sc.SCImage.from_ref_dataset(
                    headers[0],
                    pixel_array=pixels,
                    photometric_interpretation="RGB",
                    bits_allocated=8,
                    coordinate_system="PATIENT",
                    series_instance_uid=self.ids["picture"].series,
                    series_number=3000 + (self.placed.series.number or 0) % 1000,
                    sop_instance_uid=self.ids["picture"].instance,
                    instance_number=1,
                    manufacturer="osteon",
                    patient_orientation=("L", "F"),
                    transfer_syntax_uid="1.2.840.10008.1.2.1",
                )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CaseError(
                f"{self.placed.series.folder}: a Secondary Capture cannot refer to this series ({error})",
                hint="give the series as the scanner made it",
            ) from error
        capture.PatientOrientation = []  # several planes stand side by side
        capture.Laterality = headers[0].get("Laterality", "")
        capture.SeriesDescription = "osteon overview"
        capture.ImageType = ["DERIVED", "SECONDARY"]
        capture.BurnedInAnnotation = "NO"
        capture.SourceImageSequence = [_reference(header) for header in headers]
        return capture


_MAKERS: dict[Answer, Callable[[AnswerMaker], Any]] = {
    "seg": lambda maker: maker.seg,
    "sr": AnswerMaker.make_sr,
    "picture": AnswerMaker.make_picture,
}


def _reference(header: Any) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    return item


def _identify(dataset: Any, identity: AnswerId) -> None:
    dataset.SeriesInstanceUID = identity.series
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = identity.instance
