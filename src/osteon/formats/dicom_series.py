"""DICOM series: found below a folder by what the files hold, and read as volumes.

A series here is a set of images that make one volume: images of one SeriesInstanceUID that share orientation, pixel
spacing, matrix, echo and time. Where a scanner heaps several of these under one UID they are told apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from osteon.core.errors import FileError, missing_file_error
from osteon.core.folders import files_below
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.formats.dicom_inventory import DicomInventory, Series, sort_dicom_files
from osteon.formats.dicom_pixels import Pixels, read_pixels
from osteon.formats.dicom_resample import resample_stack
from osteon.formats.dicom_slices import Slice
from osteon.formats.dicom_stack import UNKNOWN_STEP, Stack, check_stack, make_stack, picture_geometry
from osteon.formats.voxel_stream import array_type, copy_into

_TOGETHER = 32
"""Slices that are laid into a volume at once."""

__all__ = ["DicomInventory", "Series", "find_series", "read_series", "series_geometry", "slices_in_order"]


def find_series(folder: Path) -> DicomInventory:
    """Find all DICOM series anywhere below `folder`, by content; suffixes do not matter. Reads no pixels.

    Raises:
        FileError: `folder` is missing.
    """
    if not Path(folder).is_dir():
        raise missing_file_error(Path(folder), "the folder")
    return sort_dicom_files(files_below(Path(folder)))


def read_series(
    series: Series, *, accept_gaps: bool = False, resample_tilt: bool = False, single: bool = False
) -> tuple[Volume, list[str]]:
    """Read a series as `[1, i, j, k]`, RAS+ millimetres; i along the rows, j along the columns, k along the normal.

    Args:
        series: From `find_series`.
        accept_gaps: Resample missing or unevenly spaced slices to even ones.
        resample_tilt: Resample a tilted gantry's slices to a right-angled grid.
        single: Whether types of eight bytes become float32.

    Returns:
        The volume, and sentences that say what was done to it (none where the files were only sorted).

    Raises:
        FileError: A file is missing, truncated, damaged, or holds what is no grey image.
        GeometryError: The slices make no even, right-angled grid and the option that repairs it was not given.
    """
    name = _name(series)
    if series.picture:
        volume, notes = _stack_pixels(series.slices, single=single)
        return Volume(volume[None], picture_geometry(series.slices[0])), [*notes, *_picture_notes(series)]
    slices, notes = _drop_copies(series)
    stack = make_stack(slices, name)
    check_stack(stack, name, accept_gaps=accept_gaps, resample_tilt=resample_tilt)
    volume, more = _stack_pixels(stack.slices, single=single)
    notes += more
    if len(slices) == 1:
        notes.append(f"one slice: its thickness is not known from positions, {UNKNOWN_STEP:g} mm stands for it")
    if stack.even and not stack.tilted:
        return Volume(volume[None], stack.geometry()), notes
    resampled, geometry, done = resample_stack(stack, volume, name)
    return Volume(resampled[None], geometry), [*notes, *done]


def series_geometry(series: Series) -> Geometry:
    """The grid alone, without pixels. Raises GeometryError as `read_series` without its options."""
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


def _drop_copies(series: Series) -> tuple[list[Slice], list[str]]:
    """The slices without those that are another's copy.

    The same file often lies in two folders. Equal UIDs alone do not prove it, since some programs give one to all:
    pixels are read to tell.
    """
    same: dict[tuple[str, int, tuple[float, ...] | None], list[Slice]] = {}
    for slice_ in series.slices:
        same.setdefault((slice_.instance, slice_.frame, slice_.position), []).append(slice_)
    kept = []
    for first, *others in same.values():
        kept.append(first)
        if others:
            [own], _ = _planes(first.path, [first])
            kept += [other for other in others if not np.array_equal(own, _planes(other.path, [other])[0][0])]
    left = len(series.slices) - len(kept)
    return kept, [f"{left} files that are copies of others were left out"] if left else []


def _stack_pixels(slices: Sequence[Slice], *, single: bool) -> tuple[Pixels, list[str]]:
    """Slices as `[i, j, k]` in the smallest type that holds them all, and what was done to them; files read once.

    Beside the volume only some slices are held: as many as fill lines of the processor's cache.
    """
    notes: dict[str, None] = {}
    places: dict[Path, list[int]] = {}
    for place, slice_ in enumerate(slices):
        places.setdefault(slice_.path, []).append(place)
    volume: Pixels | None = None
    waiting: list[tuple[int, Pixels]] = []
    for number, (path, own) in enumerate(places.items(), start=1):
        planes, done = _planes(path, [slices[place] for place in own])
        notes |= dict.fromkeys(done)
        waiting += zip(own, planes, strict=True)
        if len(waiting) < _TOGETHER and number < len(places):
            continue
        types = [plane.dtype for _, plane in waiting] + ([] if volume is None else [volume.dtype])
        kind = array_type(np.result_type(*types), single=single)
        if volume is None:
            volume = np.zeros((slices[0].columns, slices[0].rows, len(slices)), dtype=kind)
        volume = volume.astype(kind, copy=False)
        for first in _runs([place for place, _ in waiting]):
            run = np.stack([plane for _, plane in waiting[first]])
            start = waiting[first][0][0]
            copy_into(run.T, volume[:, :, start : start + len(run)])
        waiting = []
    if volume is None:
        raise ValueError("a series without a slice")
    return volume, list(notes)


def _runs(places: Sequence[int]) -> Iterator[slice]:
    """Where numbers follow one another without a gap."""
    ends = [n for n in range(1, len(places)) if places[n] != places[n - 1] + 1]
    yield from map(slice, [0, *ends], [*ends, len(places)])


def _planes(path: Path, wanted: Sequence[Slice]) -> tuple[list[Pixels], list[str]]:
    planes, done = read_pixels(path, wanted)
    if any(plane.shape != (slice_.rows, slice_.columns) for slice_, plane in zip(wanted, planes, strict=True)):
        raise FileError(f"{path}: has changed while it was read", hint="run the command again")
    return planes, done


def _name(series: Series) -> str:
    """For messages: the file where it is one, the folder else."""
    where = series.files[0] if len(series.files) == 1 else series.folder
    return f"{where} ({series.part})" if series.part else str(where)
