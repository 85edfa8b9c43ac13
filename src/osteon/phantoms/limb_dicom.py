"""An MR series as a scanner sends it: one file for each slice, names without meaning, a patient who does not exist."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from osteon.core.files import atomic_write
from osteon.core.geometry import Geometry

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset
    from pydicom.uid import UID

PATIENTS = ("Quellmann^Ottilie", "Brückenau^Jasper", "Tannhoff^Mirabel", "Zierlein^Corvin")
"""Made up. None of it may get into a dataset: tests look for them."""
LPS = np.diag([-1.0, -1.0, 1.0])


def write_series(
    folder: Path,
    image: npt.NDArray[np.uint16],
    geometry: Geometry,
    rng: np.random.Generator,
    *,
    number: int,
    localizer: str,
) -> None:
    """Write a series `[column, row, slice]`.

    Args:
        folder: Where the files go.
        image: Stored values.
        geometry: Where they lie, RAS+ mm.
        rng: Where names and UIDs come from.
        number: Of the case: who the patient is.
        localizer: `none`; `own series`: three slices of a localizer share the folder; `same series`: they share the
            series' UID as well.

    Raises:
        FileError: A file cannot be written.
    """
    affine = LPS @ geometry.affine_ras[:3]
    study, frame, series, other = (_uid(rng) for _ in range(4))
    slices = [
        _slice(
            image[:, :, k],
            affine[:, 3] + affine[:, 2] * k,
            affine,
            {"SeriesInstanceUID": series, "InstanceNumber": k + 1},
        )
        for k in range(image.shape[2])
    ]
    if localizer != "none":
        slices += _localizer(image, affine, series if localizer == "same series" else other)
    suffix = "" if number % 2 else ".dcm"
    names = rng.choice(16**6, len(slices), replace=False)
    for name, dataset in zip(names, slices, strict=True):
        dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = study, frame
        dataset.SOPInstanceUID = _uid(rng)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.PatientName = PATIENTS[number % len(PATIENTS)]
        dataset.PatientID = f"KH-2019-{4711 + number:06d}"
        dataset.PatientBirthDate = f"2012{1 + number % 12:02d}17"
        with atomic_write(folder / f"I{name:06X}{suffix}") as temporary:
            dataset.save_as(temporary, enforce_file_format=True)


def _localizer(image: npt.NDArray[np.uint16], affine: npt.NDArray[np.float64], series: str) -> list[FileDataset]:
    """Three thick sagittal slices of the same patient, every fourth row."""
    found = []
    step = image.shape[0] // 4
    turned = np.column_stack([affine[:, 2], affine[:, 1] * 4, affine[:, 0]])
    for n in range(3):
        column = step * (n + 1)
        tags = {"SeriesInstanceUID": series, "InstanceNumber": n + 1, "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
        first = affine[:, 3] + affine[:, 0] * column
        found.append(_slice(image[column, ::4, :].T, first, turned, tags))
    return found


def _slice(
    pixels: npt.NDArray[np.uint16],
    first: npt.NDArray[np.float64],
    axes: npt.NDArray[np.float64],
    tags: dict[str, object],
) -> FileDataset:
    """One file: pixels `[column, row]`, the first one's place (LPS mm), the steps to the next column, row, slice."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = MRImageStorage, ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    column, row, through = (float(length) for length in np.linalg.norm(axes[:, :3], axis=0))
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "SE"]
    dataset.SOPClassUID, dataset.Modality, dataset.Manufacturer = MRImageStorage, "MR", "osteon phantom"
    dataset.SeriesDescription, dataset.ProtocolName = "t1 cor legs", "legs"
    dataset.StudyDate, dataset.InstitutionName = "20190314", "Kinderklinik am Phantomberg"
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "SE", "SK", ""
    dataset.MRAcquisitionType, dataset.EchoTime, dataset.RepetitionTime = "2D", "11", "520"
    dataset.PatientPosition, dataset.SeriesNumber = "FFS", "4"
    dataset.ImageOrientationPatient = [f"{v:.8f}" for v in (*(axes[:, 0] / column), *(axes[:, 1] / row))]
    dataset.ImagePositionPatient = [f"{v:.6f}" for v in first]
    dataset.PixelSpacing = [f"{row:.8f}", f"{column:.8f}"]
    # As on real scanners the slice is thinner than the step to the next.
    dataset.SliceThickness, dataset.SpacingBetweenSlices = f"{through * 0.8:.4f}", f"{through:.4f}"
    dataset.Rows, dataset.Columns = pixels.shape[1], pixels.shape[0]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = np.ascontiguousarray(pixels.T).astype("<u2").tobytes()
    return dataset


def _uid(rng: np.random.Generator) -> UID:
    """A UID of the root for UUIDs, from the seed."""
    from pydicom.uid import UID

    return UID(f"2.25.{int.from_bytes(rng.bytes(15), 'big')}")
