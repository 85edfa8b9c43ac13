"""What a DICOM image's header says about each of its slices: place, spacing, echo, time, rescaling.

A classic file is one slice; a multi-frame one (enhanced CT and MR, PS3.3 C.7.6.16) has many, and says for each frame,
or once for all, what a classic header says. The two come out alike here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from osteon.core.errors import FileError
from osteon.formats.dicom_files import element_number, element_numbers, element_text, file_errors

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Vector = npt.NDArray[np.float64]

PLANAR = frozenset({"CR", "DX", "DR", "RG", "MG", "IO", "PX", "XA", "RF", "SC", "OT", "XC", "ES", "OP", "GM", "SM"})
"""Modalities whose images are pictures: each stands alone, and lies nowhere in the patient."""
_SQUARE = 0.01
"""How far row and column may be from right-angled unit vectors; headers round cosines to 4 digits at worst."""
_MAX_FRAMES = 200_000
_DISCRIMINATORS = (
    # keyword of a classic header; functional group and keyword of a frame; what people call it
    ("TemporalPositionIdentifier", "FrameContentSequence", "TemporalPositionIndex", "time"),
    ("ImageType", "", "FrameType", "type"),
    ("DiffusionBValue", "MRDiffusionSequence", "DiffusionBValue", "b-value"),
    ("DiffusionGradientOrientation", "", "", "gradient"),
    ("InversionTime", "MRModifierSequence", "InversionTimes", "inversion time"),
    ("FlipAngle", "MRTimingAndRelatedParametersSequence", "FlipAngle", "flip angle"),
    ("ConvolutionKernel", "CTReconstructionSequence", "ConvolutionKernel", "kernel"),
    ("TriggerTime", "CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime", "trigger time"),
    ("AcquisitionNumber", "FrameContentSequence", "FrameAcquisitionNumber", "acquisition"),
    ("SeriesTime", "", "", ""),
    ("AcquisitionTime", "FrameContentSequence", "FrameAcquisitionDateTime", ""),
    ("ContentTime", "", "", ""),
)
"""What may tell images at one position apart, the most telling first. Those without a name are dates: never shown."""
DISCRIMINATOR_NAMES = tuple(row[3] for row in _DISCRIMINATORS)
_FRAME_TYPES = (
    "MRImageFrameTypeSequence",
    "CTImageFrameTypeSequence",
    "PETFrameTypeSequence",
    "XRay3DFrameTypeSequence",
    "UnassignedSharedConvertedAttributesSequence",
)


@dataclass(frozen=True)
class Slice:
    """One slice of a file, as its header has it; LPS, millimetres.

    Attributes:
        path: The file.
        frame: Its number in the file, from 0.
        instance: SOPInstanceUID; the path where the file has none.
        rows: Pixels in a column.
        columns: Pixels in a row.
        position: World position of the first pixel's centre; None where the file does not say.
        orientation: Unit vectors along a row, then along a column; None where the file does not say.
        spacing: Distance between rows, then between columns; None where the file does not say.
        detector_spacing: The same on the detector (ImagerPixelSpacing), which is not that of the body.
        echo_ms: Echo time.
        echo_number: As counted by the scanner.
        stack: StackID of a frame.
        discriminators: Values of `_DISCRIMINATORS`, in their order.
        slope: Of the rescaling to HU or other units.
        intercept: Likewise.
    """

    path: Path
    frame: int
    instance: str
    rows: int
    columns: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    detector_spacing: tuple[float, ...] | None
    echo_ms: float | None
    echo_number: str
    stack: str
    discriminators: tuple[str, ...]
    slope: float
    intercept: float

    @property
    def has_position(self) -> bool:
        """Whether the slice says where it lies."""
        return self.position is not None and self.orientation is not None


def slices_of(dataset: Dataset, path: Path) -> list[Slice]:
    """All slices of an image.

    Raises:
        FileError: The header lacks the matrix or the frames' places, or holds numbers that are none.
    """
    with file_errors(path, "its header is damaged"):
        rows, columns = element_number(dataset, "Rows"), element_number(dataset, "Columns")
        frames = element_number(dataset, "NumberOfFrames") or 1
        if not rows or not columns or not 1 <= frames <= _MAX_FRAMES or frames != int(frames):
            raise ValueError(f"{columns or 0:g} columns, {rows or 0:g} rows, {frames:g} frames")
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
        each = dataset.get("PerFrameFunctionalGroupsSequence") or []
        if each and len(each) != frames:
            raise ValueError(f"{int(frames)} frames, of which {len(each)} are described")
        if frames > 1 and not each:
            raise FileError(
                f"{path}: {int(frames)} frames that do not give their position (a film, or an incomplete export)",
                hint="export the series again as the scanner made it, with a position for each frame",
            )
        groups = [[item, shared] for item in each] or [[None, shared]]
        return [_slice(dataset, group, frame, path) for frame, group in enumerate(groups)]


def _slice(dataset: Dataset, groups: list[Any], frame: int, path: Path) -> Slice:
    def item(sequence: str) -> Any:
        """The functional group: of the frame, else the one that all share, else the classic header."""
        for group in groups:
            found = group.get(sequence) if group is not None else None
            if found:
                return found[0]
        return dataset

    position = element_numbers(item("PlanePositionSequence"), "ImagePositionPatient", 3)
    orientation = element_numbers(item("PlaneOrientationSequence"), "ImageOrientationPatient", 6)
    spacing = element_numbers(item("PixelMeasuresSequence"), "PixelSpacing", 2)
    if spacing and min(spacing) <= 0:
        raise ValueError(f"a pixel spacing of {spacing[0]:g} and {spacing[1]:g} mm")
    echo = item("MREchoSequence")
    slope = element_number(item("PixelValueTransformationSequence"), "RescaleSlope")
    intercept = element_number(item("PixelValueTransformationSequence"), "RescaleIntercept")
    if slope == 0:
        raise ValueError("a RescaleSlope of 0")
    return Slice(
        path=path,
        frame=frame,
        instance=element_text(dataset, "SOPInstanceUID")
        or element_text(getattr(dataset, "file_meta", None), "MediaStorageSOPInstanceUID")
        or str(path),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        position=position,
        orientation=_right_angled(orientation) if orientation else None,
        spacing=spacing,
        detector_spacing=element_numbers(dataset, "ImagerPixelSpacing", 2),
        echo_ms=element_number(echo, "EchoTime" if echo is dataset else "EffectiveEchoTime"),
        echo_number=element_text(dataset, "EchoNumbers"),
        stack=element_text(item("FrameContentSequence"), "StackID"),
        discriminators=tuple(_discriminator(dataset, item, row) for row in _DISCRIMINATORS),
        slope=1.0 if slope is None else slope,
        intercept=intercept or 0.0,
    )


def _discriminator(dataset: Dataset, item: Any, row: tuple[str, str, str, str]) -> str:
    classic, sequence, keyword, _ = row
    for name in [sequence] if sequence else _FRAME_TYPES if keyword else ():
        found = item(name)
        if found is not dataset and keyword in found:
            return element_text(found, keyword)
    return element_text(dataset, classic)


def _right_angled(orientation: tuple[float, ...]) -> tuple[float, ...]:
    """Row and column as unit vectors at a right angle, which rounding in headers takes from them."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > _SQUARE or abs(row @ column) > _SQUARE:
        raise ValueError(f"ImageOrientationPatient {orientation} has no two unit vectors at a right angle")
    row /= lengths[0]
    column -= (column @ row) * row
    column /= np.linalg.norm(column)
    return (*row.tolist(), *column.tolist())
