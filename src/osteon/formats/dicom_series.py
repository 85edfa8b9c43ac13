"""DICOM series: found below a folder by what the files hold, and read as volumes.

A series here is a set of images that make one volume: images of one SeriesInstanceUID that share orientation, pixel
spacing, matrix, echo and time. Where a scanner heaps several of these under one UID they are told apart.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from osteon.core.errors import FileError, missing_file
from osteon.core.files import files_below
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.formats.dicom_found import Series, SeriesFound, sort_files
from osteon.formats.dicom_pixels import Pixels, join, read_pixels
from osteon.formats.dicom_resample import straightened
from osteon.formats.dicom_slices import Slice
from osteon.formats.dicom_stack import UNKNOWN_STEP, Stack, check_stack, make_stack, picture_geometry

__all__ = ["Series", "SeriesFound", "find_series", "read_series", "series_geometry", "slices_in_order"]


def find_series(folder: Path) -> SeriesFound:
    """Find all DICOM series anywhere below `folder`, by content; suffixes do not matter. Reads no pixels.

    Raises:
        FileError: `folder` is missing.
    """
    if not Path(folder).is_dir():
        raise missing_file(Path(folder), "the folder")
    return sort_files(files_below(Path(folder)))


def read_series(series: Series, *, accept_gaps: bool = False, resample_tilt: bool = False) -> tuple[Volume, list[str]]:
    """Read a series as `[1, i, j, k]`, RAS+ millimetres; i along the rows, j along the columns, k along the normal.

    Args:
        series: From `find_series`.
        accept_gaps: Resample missing or unevenly spaced slices to even ones.
        resample_tilt: Resample a tilted gantry's slices to a right-angled grid.

    Returns:
        The volume, and sentences that say what was done to it (none where the files were only sorted).

    Raises:
        FileError: A file is missing, truncated, damaged, or holds what is no grey image.
        GeometryError: The slices make no even, right-angled grid and the option that repairs it was not given.
    """
    name = _name(series)
    if series.picture:
        slice_ = series.slices[0]
        planes, notes = read_pixels(slice_.path, [slice_])
        return Volume(join(planes)[None], picture_geometry(slice_)), [*notes, *_picture_notes(series)]
    slices, pixels, notes = _without_copies(series)
    stack = make_stack(slices, name)
    check_stack(stack, name, accept_gaps=accept_gaps, resample_tilt=resample_tilt)
    unpacked, more = _unpack(slices, pixels)
    volume = join([unpacked[slice_.path, slice_.frame] for slice_ in stack.slices])
    notes += more
    if len(slices) == 1:
        notes.append(f"one slice: its thickness is not known from positions, {UNKNOWN_STEP:g} mm stands for it")
    if stack.even and not stack.tilted:
        return Volume(volume[None], stack.geometry()), notes
    resampled, geometry, done = straightened(stack, volume, name)
    return Volume(resampled[None], geometry), [*notes, *done]


def series_geometry(series: Series) -> Geometry:
    """The grid alone, without pixels.

    Raises:
        GeometryError: As `read_series` without its options.
    """
    if series.picture:
        return picture_geometry(series.slices[0])
    return _stack(series).geometry()


def slices_in_order(series: Series) -> tuple[Slice, ...]:
    """The slices in the order of the volume's k. Raises GeometryError as `series_geometry`."""
    return series.slices if series.picture else _stack(series).slices


def _stack(series: Series) -> Stack:
    """The slices without copies, sorted and even."""
    slices = list({(s.instance, s.frame, s.position): s for s in series.slices}.values())
    stack = make_stack(slices, _name(series))
    check_stack(stack, _name(series), accept_gaps=False, resample_tilt=False)
    return stack


def _picture_notes(series: Series) -> list[str]:
    slice_ = series.slices[0]
    if slice_.spacing is None and slice_.detector_spacing:
        size = "×".join(f"{mm:g}" for mm in slice_.detector_spacing)
        return [
            f"measured in pixels: the file gives ImagerPixelSpacing ({size} mm) alone, which is the detector's and "
            "larger than the body's"
        ]
    if slice_.spacing is None:
        return ["measured in pixels: the file gives no PixelSpacing"]
    if slice_.spacing == slice_.detector_spacing:
        return ["PixelSpacing is the detector's: lengths are those of the shadow, larger than the body's"]
    return []


def _without_copies(series: Series) -> tuple[list[Slice], dict[tuple[Path, int], Pixels], list[str]]:
    """The slices without those that are another's copy, and the pixels that had to be read to tell.

    The same file often lies in two folders. Equal UIDs alone do not prove it, since some programs give one to all.
    """
    same: dict[tuple[str, int, tuple[float, ...] | None], list[Slice]] = {}
    for slice_ in series.slices:
        same.setdefault((slice_.instance, slice_.frame, slice_.position), []).append(slice_)
    copies = [group for group in same.values() if len(group) > 1]
    pixels, _ = _unpack([slice_ for group in copies for slice_ in group], {})
    kept = list(series.slices)
    for first, *others in copies:
        for other in others:
            if np.array_equal(pixels[first.path, first.frame], pixels[other.path, other.frame]):
                kept.remove(other)
    left = len(series.slices) - len(kept)
    return kept, pixels, [f"{left} files that are copies of others were left out"] if left else []


def _unpack(
    slices: list[Slice], known: dict[tuple[Path, int], Pixels]
) -> tuple[dict[tuple[Path, int], Pixels], list[str]]:
    pixels, notes = dict(known), list[str]()
    wanted: dict[Path, list[Slice]] = {}
    for slice_ in slices:
        if (slice_.path, slice_.frame) not in pixels:
            wanted.setdefault(slice_.path, []).append(slice_)
    for path, group in wanted.items():
        planes, done = read_pixels(path, group)
        for slice_, plane in zip(group, planes, strict=True):
            if plane.shape != (slice_.rows, slice_.columns):
                raise FileError(f"{path}: has changed while it was read", hint="run the command again")
            pixels[slice_.path, slice_.frame] = plane
        notes += [note for note in done if note not in notes]
    return pixels, notes


def _name(series: Series) -> str:
    """For messages: the file where it is one, the folder else."""
    where = series.files[0] if len(series.files) == 1 else series.folder
    return f"{where} ({series.part})" if series.part else str(where)
