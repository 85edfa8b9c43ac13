"""DICOM series: found below a folder by what the files hold, and read as volumes.

A series here is a set of images that make one volume: images of one SeriesInstanceUID that share orientation, pixel
spacing, matrix, echo and time. Where a scanner heaps several of these under one UID they are told apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from osteon.core.volume import Volume

SeriesKind = Literal["volume", "image"]


@dataclass(frozen=True)
class Series:
    """Images that make one volume or one picture.

    Attributes:
        files: In the order of their paths; `read_series` sorts by position.
        uid: SeriesInstanceUID.
        modality: `CT`, `MR`, `CR`, `DX` …, as DICOM has it.
        description: SeriesDescription, and what tells the series from others of its UID (echo, time, orientation).
        number: SeriesNumber; None where there is none.
        frame_of_reference: FrameOfReferenceUID; empty where there is none.
        patient_key: `p001`, `p002` … in the order in which patients are found: stable in a run, says nothing.
        patient_id: The plain PatientID. Not to be written anywhere unless the user asks for it.
        folder: The common parent of the files.
        kind: `volume`, or `image` for a picture (radiograph, single slice).
        part: What tells it from the other parts of the same UID; empty where it is the only one.
    """

    files: tuple[Path, ...]
    uid: str
    modality: str
    description: str
    number: int | None
    frame_of_reference: str
    patient_key: str
    patient_id: str = field(repr=False)
    folder: Path
    kind: SeriesKind
    part: str = ""


@dataclass(frozen=True)
class SeriesFound:
    """What lies below a folder.

    Attributes:
        series: Images, in the order of their folders and numbers.
        segmentations: DICOM SEG files.
        structure_sets: RTSTRUCT files.
        skipped: Files that are neither, and why: (path, reason).
    """

    series: list[Series]
    segmentations: list[Path]
    structure_sets: list[Path]
    skipped: list[tuple[Path, str]]


def find_series(folder: Path) -> SeriesFound:
    """Find all DICOM series anywhere below `folder`, by content; suffixes do not matter. Reads no pixels.

    Raises:
        FileError: `folder` is missing.
    """
    raise NotImplementedError


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
    raise NotImplementedError
