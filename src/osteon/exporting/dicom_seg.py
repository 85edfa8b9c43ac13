"""DICOM SEG: a segmentation in the terms of the series that it was drawn on, written with highdicom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from osteon.core.errors import CaseError, LabelError
from osteon.core.labels import Segmentation, Structure
from osteon.core.version import __version__
from osteon.dataset.checks import present_structures
from osteon.exporting.dicom_codes import codes_of
from osteon.exporting.dicom_common import derived_uid, ignore_pydicom_warnings, save_dicom
from osteon.exporting.dicom_source import DicomSources, PlacedSegmentation
from osteon.exporting.export_form import (
    Encoding,
    ExportCase,
    ExportedCase,
    Exporter,
    ExportForm,
    OutputFile,
)
from osteon.formats.header_limits import check_memory
from osteon.formats.labelmap import smallest_uint

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription

_RLE = "1.2.840.10008.1.2.5"
_PLAIN = "1.2.840.10008.1.2.1"
_MAX_SEGMENTS = 2**16 - 1


@dataclass(frozen=True)
class DicomSegExport(Exporter):
    """The export in progress."""

    encoding: Encoding
    sources: DicomSources

    def case(self, case: ExportCase) -> ExportedCase:
        """One file. Raises as `DicomSources.place`, and LabelError for a label map of structures that overlap."""
        placed = self.sources.place(case)
        present = present_structures(placed.segmentation)
        structures = [s for s in placed.segmentation.structures if s.name in present]
        if self.encoding == "labelmap":
            _refuse_overlap(placed.segmentation, case)
        dataset = make_seg(placed, structures, self.encoding, model=case.model)
        absent = [s.name for s in placed.segmentation.structures if s.name not in present]
        notes = [*placed.notes, *([f"without a voxel, and left out: {', '.join(absent)}"] if absent else [])]
        return ExportedCase([OutputFile(Path(f"{case.id}_seg.dcm"), partial(save_dicom, dataset=dataset))], None, notes)


def make_seg(placed: PlacedSegmentation, structures: Sequence[Structure], encoding: Encoding, *, model: str) -> Any:
    """The SEG as a pydicom dataset.

    Args:
        placed: Segmentation and series.
        structures: Those to be written; each has a voxel.
        encoding: `binary`: a frame for each structure and slice in which it is. `labelmap`: a frame for each slice,
            with the structures' values.
        model: Hash of the model that predicted it; empty where that is not known.

    Raises:
        CaseError: The series lacks what a SEG must repeat of it.
    """
    import highdicom as hd

    values = [s.value for s in structures] if encoding == "labelmap" else list(range(1, len(structures) + 1))
    pixels = _pixels(placed, structures, values, encoding)
    wholes = {s.name: whole for s, whole in zip(placed.segmentation.structures, placed.wholes, strict=True)}
    described = [_description(s, wholes[s.name], n, model) for s, n in zip(structures, values, strict=True)]
    uid = derived_uid(placed.series.uid, pixels.tobytes(), [s.name for s in structures], encoding)
    try:
        with ignore_pydicom_warnings():
            return hd.seg.Segmentation(
                source_images=list(placed.headers.values()),
                pixel_array=pixels,
                segmentation_type=hd.seg.SegmentationTypeValues[encoding.upper()],
                segment_descriptions=described,
                series_instance_uid=derived_uid(uid, "series"),
                series_number=_series_number(placed),
                sop_instance_uid=uid,
                instance_number=1,
                manufacturer="osteon",
                manufacturer_model_name="osteon",
                software_versions=__version__,
                device_serial_number="0",
                content_label="SEGMENTATION",
                content_description="osteon segmentation",
                series_description="osteon segmentation",
                # Not where a frame has an odd number of bytes: GDCM, which packs them, ends the whole process on these.
                transfer_syntax_uid=_RLE if encoding == "labelmap" and pixels[0].nbytes % 2 == 0 else _PLAIN,
                omit_empty_frames=True,
            )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CaseError(
            f"{placed.series.folder}: a DICOM SEG cannot refer to this series ({error})",
            hint="export seg-nrrd, or give the series as the scanner made it",
        ) from error


def _pixels(
    placed: PlacedSegmentation, structures: Sequence[Structure], values: Sequence[int], encoding: Encoding
) -> npt.NDArray[Any]:
    """`[frame, row, column]` labels, or masks `[frame, row, column, structure]` where structures overlap.

    The frames are those of the source in its order, the labels those of the segments.
    """
    order = np.argsort([slice_.frame for slice_ in placed.slices], kind="stable")  # of one file; else as they are
    segmentation = placed.segmentation
    if segmentation.overlapping and encoding == "binary":
        check_memory(placed.series.folder, 2 * segmentation.array.size)
        masks = [segmentation.mask(s).transpose(2, 1, 0)[order] for s in structures]
        return np.stack(masks, axis=-1).astype(np.uint8)
    kind = smallest_uint(max(values))
    labels = np.zeros(segmentation.geometry.shape, kind)
    for structure, value in zip(structures, values, strict=True):
        labels[segmentation.mask(structure)] = value
    return np.ascontiguousarray(labels.transpose(2, 1, 0)[order])


def _description(structure: Structure, whole: Structure, number: int, model: str) -> SegmentDescription:
    """A segment; a numbered piece has its structure's code and a label of its own."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    coded = codes_of(whole)
    algorithm = hd.AlgorithmIdentificationSequence(
        name="osteon" if model else "not recorded",
        family=codes.DCM.ArtificialIntelligence,
        version=f"{__version__} {model}"[:64].strip() if model else "not recorded",
    )
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=structure.name[:64],
        segmented_property_category=coded.category,
        segmented_property_type=coded.kind,
        algorithm_type="AUTOMATIC" if model else "SEMIAUTOMATIC",
        algorithm_identification=algorithm,
        display_color=hd.color.CIELabColor.from_rgb(*bytes.fromhex(structure.colour.removeprefix("#"))),
    )
    if coded.side is not None:
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            hd.sr.CodedConcept.from_code(coded.side)
        ]
    return description


def _series_number(placed: PlacedSegmentation) -> int:
    """Behind that of the images."""
    return 1000 + (placed.series.number or 0) % 1000


def _refuse_overlap(segmentation: Segmentation, case: ExportCase) -> None:
    if max(s.value for s in segmentation.structures) > _MAX_SEGMENTS:
        raise LabelError(f"{case.file}: values above {_MAX_SEGMENTS} fit no label map", hint="use --encoding binary")
    shared = int((np.count_nonzero(segmentation.array, axis=0) > 1).sum()) if segmentation.overlapping else 0
    if shared:
        raise LabelError(
            f"{case.file}: structures overlap in {shared} voxels, and a label map holds one in each",
            hint="use --encoding binary",
        )


FORM = ExportForm(
    "dicom-seg",
    "DICOM SEG that refers to the scan's series",
    lambda o, _: DicomSegExport(o.encoding, DicomSources(o.source, by_grid=o.ignore_references)),
    accepted=frozenset({"source", "encoding", "ignore_references"}),
)
