"""RTSTRUCT: outlines of each structure in the slices of the series that it was drawn on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from osteon.core.errors import CaseError
from osteon.core.labels import Structure
from osteon.core.version import __version__
from osteon.exporting.dicom_common import MAY_BE_EMPTY, copy_elements, derived_uid, ignore_pydicom_warnings, save_dicom
from osteon.exporting.dicom_source import DicomSources, PlacedSegmentation
from osteon.exporting.export_form import ExportCase, ExportedCase, Exporter, ExportForm, OutputFile
from osteon.exporting.masks import crop_masks
from osteon.exporting.outlines import outlines
from osteon.formats.dicom_stack import LPS_TO_RAS

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"
_STUDY_COMPONENT = "1.2.840.10008.3.1.2.3.1"
"""Detached Study Management, retired: what RT objects refer to studies with (PS3.3, C.8.8.5)."""
_REPEATED = (*MAY_BE_EMPTY, "StudyInstanceUID", "StudyDescription", "FrameOfReferenceUID")


@dataclass(frozen=True)
class RtstructExport(Exporter):
    """The export in progress."""

    sources: DicomSources

    def case(self, case: ExportCase) -> ExportedCase:
        """One file. Raises as `DicomSources.place`, and CaseError for a picture, which lies nowhere."""
        placed = self.sources.place(case)
        if placed.series.picture:
            raise CaseError(
                f"{case.file}: belongs to a picture, which lies nowhere in the patient, where contours do",
                hint="export dicom-seg or coco",
            )
        dataset = make_rtstruct(placed, model=case.model)
        return ExportedCase(
            [OutputFile(Path(f"{case.id}_rtstruct.dcm"), partial(save_dicom, dataset=dataset))], None, placed.notes
        )


def make_rtstruct(placed: PlacedSegmentation, *, model: str) -> Dataset:
    """The RTSTRUCT as a pydicom dataset (PS3.3, A.19); structures without a voxel are left out.

    Args:
        placed: Segmentation and series.
        model: Hash of the model that predicted it; empty where that is not known.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    header = next(iter(placed.headers.values()))
    contours = {structure: found for structure, found in _contours(placed) if found}
    content = [(s.name, [item.ContourData for item in found]) for s, found in contours.items()]
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    uid = UID(derived_uid(placed.series.uid, content))
    dataset.SOPClassUID, dataset.SOPInstanceUID = STORAGE, uid
    dataset.file_meta.MediaStorageSOPClassUID = UID(STORAGE)
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    with ignore_pydicom_warnings():
        for keyword, value in copy_elements(header, _REPEATED).items():
            setattr(dataset, keyword, value)
    now = datetime.now().astimezone()
    dataset.Modality, dataset.SeriesInstanceUID = "RTSTRUCT", derived_uid(uid, "series")
    dataset.SeriesNumber, dataset.SeriesDescription = 2000 + (placed.series.number or 0) % 1000, "osteon segmentation"
    dataset.OperatorsName, dataset.InstanceNumber = None, 1
    dataset.Manufacturer, dataset.ManufacturerModelName, dataset.SoftwareVersions = "osteon", "osteon", __version__
    dataset.StructureSetLabel, dataset.StructureSetName = "SEGMENTATION", "osteon segmentation"
    dataset.StructureSetDate, dataset.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    dataset.ReferencedFrameOfReferenceSequence = [_references(placed, header)]
    dataset.StructureSetROISequence, dataset.ROIContourSequence, dataset.RTROIObservationsSequence = [], [], []
    for number, (structure, found) in enumerate(contours.items(), start=1):
        _add(dataset, structure, found, number, model)
    dataset.ApprovalStatus = "UNAPPROVED"
    return dataset


def _add(dataset: Dataset, structure: Structure, contours: list[Dataset], number: int, model: str) -> None:
    """A region, its contours, and what is observed of it."""
    from pydicom.dataset import Dataset

    roi, drawn, observed = Dataset(), Dataset(), Dataset()
    roi.ROINumber, roi.ROIName = number, structure.name[:64]
    roi.ReferencedFrameOfReferenceUID = dataset.FrameOfReferenceUID
    roi.ROIGenerationAlgorithm = "AUTOMATIC" if model else ""
    drawn.ReferencedROINumber = number
    drawn.ROIDisplayColor = list(bytes.fromhex(structure.colour.removeprefix("#")))
    drawn.ContourSequence = contours
    observed.ObservationNumber, observed.ReferencedROINumber = number, number
    observed.RTROIInterpretedType, observed.ROIInterpreter = "", None
    dataset.StructureSetROISequence.append(roi)
    dataset.ROIContourSequence.append(drawn)
    dataset.RTROIObservationsSequence.append(observed)


def _contours(placed: PlacedSegmentation) -> list[tuple[Structure, list[Dataset]]]:
    """The contours of each structure, slice by slice."""
    found = []
    to_lps = LPS_TO_RAS @ placed.segmentation.geometry.affine_ras
    to_index = np.linalg.inv(placed.segmentation.geometry.affine_ras)
    for cut in crop_masks(placed.segmentation):
        first = np.rint((to_index @ cut.geometry.affine_ras)[:3, 3])
        contours = []
        for k in np.flatnonzero(cut.mask.any(axis=(0, 1))):
            for outline in outlines(cut.mask[:, :, k]):
                index = np.column_stack([outline + first[:2], np.full(len(outline), k + first[2])])
                world = index @ to_lps[:3, :3].T + to_lps[:3, 3]
                contours.append(_contour(world, placed, int(k + first[2])))
        found.append((cut.structure, contours))
    return found


def _contour(points: Any, placed: PlacedSegmentation, k: int) -> Dataset:
    from pydicom.dataset import Dataset

    contour = Dataset()
    contour.ContourImageSequence = [_image(placed, k)]
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
    contour.ContourData = [f"{value:.4f}" for value in points.ravel()]
    return contour


def _image(placed: PlacedSegmentation, k: int) -> Dataset:
    """A reference to the image of a slice."""
    from pydicom.dataset import Dataset

    slice_, image = placed.slices[k], Dataset()
    header = placed.headers[slice_.instance]
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    if len(placed.headers) < len(placed.slices):
        image.ReferencedFrameNumber = slice_.frame + 1
    return image


def _references(placed: PlacedSegmentation, header: Dataset) -> Dataset:
    """The frame of reference, the study and the series, with its images."""
    from pydicom.dataset import Dataset

    frame, study, series = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = header.SeriesInstanceUID
    series.ContourImageSequence = [_image(placed, k) for k in range(len(placed.slices))]
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = _STUDY_COMPONENT, header.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = header.FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


FORM = ExportForm(
    "rtstruct",
    "RTSTRUCT: contours that refer to the scan's series",
    lambda options, _: RtstructExport(DicomSources(options.source, by_grid=options.ignore_references)),
    accepted=frozenset({"source", "ignore_references"}),
)
