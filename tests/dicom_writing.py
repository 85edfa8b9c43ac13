"""Writes small DICOM images for tests, with known places and values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SERIES = "1.2.826.0.1.3680043.8.498.1"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def ct_slice(k: int) -> dict[str, object]:
    """Tags of the slice k of an axial CT with slices of 1.5 mm."""
    return {
        "ImagePositionPatient": [0.0, 0.0, 1.5 * k],
        "ImageOrientationPatient": list(AXIAL),
        "InstanceNumber": k + 1,
        "SliceThickness": 1.5,
        "RescaleSlope": 1,
        "RescaleIntercept": 0,
        "KVP": 120,
        "AcquisitionNumber": 1,
    }


def image(pixels: npt.NDArray[np.integer], **tags: object) -> Dataset:
    """An image `[row, column]` or `[frame, row, column]`; `tags` are set over what a CT slice has (None removes)."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = SERIES
    dataset.StudyInstanceUID = SERIES + ".1"
    dataset.FrameOfReferenceUID = SERIES + ".2"
    dataset.Modality = "CT"
    dataset.PatientID = "secret-id"
    dataset.PatientName = "Doe^Jane"
    dataset.ImageOrientationPatient = list(AXIAL)
    dataset.ImagePositionPatient = [0.0, 0.0, 0.0]
    dataset.PixelSpacing = [1.0, 1.0]
    dataset.SliceThickness = 7.0
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    raw = pixels.tobytes()
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated > 8 else "OB"
    for keyword, value in tags.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    """Write it as a file with preamble."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    return path


def series(folder: Path, positions: list[tuple[float, float, float]], **tags: object) -> list[Path]:
    """A slice for each position; slice n holds `100 n + 10 row + column`, named so that names do not sort by place."""
    rows, columns = np.mgrid[0:3, 0:4]
    paths = []
    for n, position in enumerate(positions):
        pixels = (100 * n + 10 * rows + columns).astype(np.int16)
        dataset = image(pixels, ImagePositionPatient=list(position), **tags)
        paths.append(save(dataset, folder / f"im{(n * 7) % 10}"))
    return paths
