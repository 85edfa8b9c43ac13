"""Pixels of DICOM files: unpacked, turned from MONOCHROME1, and rescaled to HU or whatever the file names.

pydicom unpacks with its own code, OpenJPEG, GDCM and CharLS. Lossy JPEGs of 12 bits, which it refuses, go to GDCM as
whole files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from osteon.core.errors import FileError
from osteon.formats.dicom_files import element_text, file_errors, read_dataset, transfer_syntax
from osteon.formats.dicom_padding import pad_with_air
from osteon.formats.dicom_slices import Slice
from osteon.formats.header_limits import check_memory

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Pixels = npt.NDArray[np.generic]

_TWELVE_BITS = ("1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55")
"""JPEG extended, spectral selection and full progression; the last two are retired."""
_QUANTITIES = ("CT", "PT")
"""Modalities whose numbers mean something (HU, uptake): MONOCHROME1 says there only how to show them."""
_LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""
_WORST_BYTES = 9
"""Bytes in memory for one pixel while it is read: as stored, unpacked, and rescaled."""
_MOST_PACKED = 2_000
"""Empty slices are packed by a few hundred; a header that claims more than this is damaged or a trap."""


def read_pixels(path: Path, wanted: Sequence[Slice]) -> tuple[list[Pixels], list[str]]:
    """Read slices of one file as `[row, column]`, rescaled.

    Where nothing is rescaled the stored type stays; whole numbers become int16 or int32, others float32.

    Args:
        path: The file.
        wanted: Its slices, in any order.

    Returns:
        The slices in the order of `wanted`, and sentences on what was done beyond unpacking.

    Raises:
        FileError: The file is truncated or damaged, or its pixels are no grey values.
    """
    dataset = read_dataset(path, pixels=True)
    frames = stored_frames(dataset, path)
    notes: list[str] = []
    with file_errors(path, "truncated or damaged pixels"):
        samples = frames.shape[-1]
        _refuse_palettes(dataset, frames, path)
        turned = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
        if turned and dataset.get("Modality") in _QUANTITIES:
            turned = False
            notes.append("MONOCHROME1 was ignored: the numbers of this modality are measured, not shown")
        elif turned:
            notes.append("MONOCHROME1 was turned, so that bright is dense")
        if samples > 1:
            notes.append("colours were turned to grey (0.299 red + 0.587 green + 0.114 blue)")
        read = [_slice(dataset, frames[slice_.frame], slice_, turned, path) for slice_ in wanted]
        if dataset.get("Modality") == "CT" and samples == 1:
            padded = [
                pad_with_air(pixels, frames[slice_.frame, ..., 0], dataset, _lowest(frames.dtype, slice_))
                for pixels, slice_ in zip(read, wanted, strict=True)
            ]
            read = [pixels for pixels, _ in padded]
            notes += dict.fromkeys(note for _, texts in padded for note in texts)
        return read, notes


def stored_frames(dataset: Dataset, path: Path) -> Pixels:
    """All frames as they are stored, `[frame, row, column, sample]`.

    Raises:
        FileError: There are no pixels, fewer than the header says, or damaged ones.
    """
    with file_errors(path, "truncated or damaged pixels"):
        if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
            raise FileError(f"{path}: holds no pixels", hint="give the images of the study, not its other objects")
        _check_size(dataset, path)
        shape = [int(dataset.get(name) or 1) for name in ("NumberOfFrames", "Rows", "Columns", "SamplesPerPixel")]
        return _unpack(dataset).reshape(shape)


def _slice(dataset: Dataset, frame: Pixels, slice_: Slice, turned: bool, path: Path) -> Pixels:
    if frame.shape[-1] > 1:
        if slice_.has_position:
            raise FileError(f"{path}: holds colours where a scan holds grey values", hint="leave this series out")
        grey = frame if (frame == frame[..., :1]).all() else np.rint(frame @ np.array(_LUMINANCE))[..., None]
        frame = grey.astype(frame.dtype)
    pixels: npt.NDArray[Any] = frame[..., 0]
    if turned:
        bits = int(dataset.get("BitsStored") or dataset.BitsAllocated)
        lowest = -(1 << (bits - 1)) if dataset.get("PixelRepresentation") else 0
        ends = 2 * lowest + (1 << bits) - 1  # the lowest and the highest number that can be stored, added
        pixels = (ends - pixels.astype(np.int64)).astype(pixels.dtype)
    return _rescale(dataset, pixels, slice_)


def _rescale(dataset: Dataset, pixels: npt.NDArray[Any], slice_: Slice) -> Pixels:
    if dataset.get("ModalityLUTSequence") and len(dataset.ModalityLUTSequence):
        from pydicom.pixels import apply_modality_lut

        return np.asarray(apply_modality_lut(pixels, dataset))
    slope, intercept = slice_.slope, slice_.intercept
    if (slope, intercept) == (1.0, 0.0):
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if pixels.dtype.kind in "iub" and slope.is_integer() and intercept.is_integer():
        whole = pixels.astype(np.int64) * int(slope) + int(intercept)
        low, high, kinds = int(whole.min()), int(whole.max()), (np.int16, np.int32, np.int64)
        return whole.astype(next(k for k in kinds if np.iinfo(k).min <= low and high <= np.iinfo(k).max))
    return (pixels.astype(np.float64) * slope + intercept).astype(
        np.float32 if pixels.dtype.itemsize <= 2 else np.float64
    )


def _lowest(kind: np.dtype[Any], slice_: Slice) -> float:
    """What the least number that a type can store becomes."""
    if kind.kind != "u":
        return -math.inf
    return slice_.intercept if slice_.slope > 0 else slice_.slope * np.iinfo(kind).max + slice_.intercept


def _unpack(dataset: Dataset) -> Pixels:
    import gdcm
    from pydicom.pixels import pixel_array

    gdcm.Trace.WarningOff()  # it writes to the terminal past everything
    gdcm.Trace.ErrorOff()
    if transfer_syntax(dataset) in _TWELVE_BITS and dataset.BitsAllocated == 16:
        return _by_gdcm(dataset)
    if "file_meta" not in dataset.__dict__ or not getattr(dataset.file_meta, "TransferSyntaxUID", None):
        from pydicom.dataset import FileMetaDataset
        from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

        dataset.file_meta = getattr(dataset, "file_meta", None) or FileMetaDataset()
        implicit = dataset.original_encoding[0] is not False
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return np.asarray(pixel_array(dataset))


def _by_gdcm(dataset: Dataset) -> Pixels:
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(dataset.filename))
    if not reader.Read():
        raise ValueError("GDCM cannot unpack it")
    raw = reader.GetImage().GetBuffer().encode("utf-8", errors="surrogateescape")
    signed = "i" if dataset.PixelRepresentation else "u"
    return np.frombuffer(raw, dtype=f"<{signed}{dataset.BitsAllocated // 8}")


def _check_size(dataset: Dataset, path: Path) -> None:
    """Refuse a header that claims what the file cannot hold, before any memory is taken."""
    counts = [int(dataset.get(name) or 1) for name in ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel")]
    if min(counts) < 1 or math.prod(counts) * (int(dataset.get("BitsAllocated") or 8) / 8) > (
        path.stat().st_size * _MOST_PACKED
    ):
        raise ValueError(f"it claims {math.prod(counts)} pixels in a file of {path.stat().st_size} bytes")
    check_memory(path, math.prod(counts) * _WORST_BYTES)


def _refuse_palettes(dataset: Dataset, frames: Pixels, path: Path) -> None:
    """Numbers that stand for colours of a table are no grey values."""
    descriptor = dataset.get("RedPaletteColorLookupTableDescriptor")
    coloured = dataset.get("PhotometricInterpretation") == "PALETTE COLOR"
    if element_text(dataset, "PixelPresentation") in ("COLOR", "MIXED") and descriptor:
        coloured = bool(np.greater_equal(frames, int(descriptor[1])).any())
    if coloured:
        raise FileError(
            f"{path}: its pixels are numbers of colours in a table, not grey values",
            hint="give the images from which this coloured map was made",
        )
