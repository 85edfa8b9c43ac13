"""The scans and masks below a folder: told apart by name, by their neighbours, and last by their values."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from osteon.core.errors import OsteonError
from osteon.core.folders import files_below, is_pointer_file
from osteon.core.geometry import Geometry
from osteon.core.text import pluralise
from osteon.dataset.manifest import FILE_NAME
from osteon.formats.dicom import series_title
from osteon.formats.dicom_series import DicomInventory, Series, find_series, series_geometry
from osteon.formats.io import read_geometry, read_volume
from osteon.formats.mask_names import FileKind, classify_name, name_words, scan_folder
from osteon.formats.nifti import stored_values
from osteon.formats.registry import contains_dicom, is_volume, stem_of

MANY = 3
MOST_LABELS = 40
"""Values of a label map at most: a spine has 26, a hand 29; pictures of 8 bits have more."""


def count_values(path: Path) -> int | None:
    """How many values the file holds: 1, 2 where these are 0 and another, `MANY` for all else, also NaN.

    A NIfTI file is read up to its third value, which in a scan comes early. None where it cannot be read as an image.
    """
    try:
        if path.name.lower().endswith((".nii", ".nii.gz")):
            lowest = highest = None
            for piece in stored_values(path):
                lowest = piece.min() if lowest is None else min(lowest, piece.min())
                highest = piece.max() if highest is None else max(highest, piece.max())
                if not ((piece == lowest) | (piece == highest)).all():
                    return MANY
        array = read_volume(path).array
    except (OsteonError, TypeError):  # colours have no order
        return None
    lowest, highest = array.min(), array.max()
    if lowest == highest:
        return 1
    return 2 if all(((plane == 0) | (plane == highest)).all() for channel in array for plane in channel) else MANY


def is_label_map(path: Path) -> bool:
    """Whether the file holds few values, all of them whole: a label map, whatever it is called, and no scan.

    A file is read up to the value that is one too many, which in a scan comes early.
    """
    values = np.zeros(0)
    try:
        pieces = stored_values(path) if path.name.lower().endswith((".nii", ".nii.gz")) else [read_volume(path).array]
        for piece in pieces:
            values = np.union1d(values, piece)
            if len(values) > MOST_LABELS or not (values == np.round(values)).all():
                return False
    except (OsteonError, TypeError):  # colours have no order
        return False
    return True


def is_binary(path: Path) -> bool:
    """Whether the file holds one value beside 0, or cannot be read as an image."""
    return count_values(path) != MANY


_IMAGES = ("images", "image", "imgs", "img", "scans", "imagesTr", "Images")
_LISTED = 5


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan: a file, or a DICOM series.

    Attributes:
        path: The file, or the series' folder.
        relative_path: The same, relative to the source.
        series: None for a file.
    """

    path: Path
    relative_path: PurePosixPath
    series: Series | None = None

    @property
    def folder(self) -> PurePosixPath:
        """Where it lies, relative to the source."""
        return self.relative_path if self.series else self.relative_path.parent

    @property
    def name(self) -> str:
        """The file's name without its suffix, or the name of the series' folder."""
        return self.relative_path.name if self.series else stem_of(Path(self.relative_path))

    @property
    def title(self) -> str:
        """For messages: the file, or the folder with what tells the series from others in it."""
        return f"{self.path} ({series_title(self.series)})" if self.series else str(self.path)

    @cached_property
    def geometry(self) -> Geometry | None:
        """Its grid; None where it cannot be read."""
        try:
            return series_geometry(self.series) if self.series else read_geometry(self.path)
        except OsteonError:
            return None


@dataclass(frozen=True, eq=False)
class MaskFile:
    """A file of labels: one structure's mask, a label map, a DICOM SEG or an RTSTRUCT."""

    path: Path
    relative_path: PurePosixPath
    kind: Literal["file", "seg", "rtstruct"] = "file"

    @property
    def folder(self) -> PurePosixPath:
        """Where it lies, relative to the source."""
        return self.relative_path.parent

    @cached_property
    def geometry(self) -> Geometry | None:
        """A file's grid; None where it cannot be read, and for DICOM."""
        try:
            return read_geometry(self.path) if self.kind == "file" else None
        except OsteonError:
            return None


@dataclass(frozen=True)
class UnmatchedFile:
    """A scan or mask that is there and belongs nowhere.

    Attributes:
        item: It.
        cause: Why, in the words that all of its kind share.
        detail: What is this one's own.
    """

    item: Scan | MaskFile
    cause: str
    detail: str = ""

    def __str__(self) -> str:
        """For people."""
        return f"{self.item.path}: {self.cause}{self.detail}; skipped"


@dataclass
class SourceInventory:
    """All that was found below a source.

    Attributes:
        scans: Volumes.
        pictures: DICOM series of a single picture, which are none.
        masks: Files of labels.
        warnings: What is odd.
        lost: What is there and was not taken.
    """

    scans: list[Scan] = field(default_factory=list)
    pictures: list[Scan] = field(default_factory=list)
    masks: list[MaskFile] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    unmatched: list[UnmatchedFile] = field(default_factory=list)

    def skip(self, item: Scan | MaskFile, cause: str, detail: str = "") -> None:
        """Note what is not taken, and why."""
        self.unmatched.append(UnmatchedFile(item, cause, detail))


def volume_files(source: Path) -> Iterator[Path]:
    """The files below `source` in which a scan or a mask may lie, in order.

    Hidden ones are skipped, those of osteon's own datasets, which people like to make beside their files, and
    pointers to files that were not fetched.
    """
    below = files_below(source, hidden=False, skip_with=FILE_NAME)
    yield from sorted(path for path in below if is_volume(path) and not is_pointer_file(path))


def find_source_files(source: Path) -> SourceInventory:
    """Find scans and masks below `source`. Reads headers, and of voxels what it takes to tell the two apart."""
    inventory = SourceInventory()
    if contains_dicom(source):
        inventory, found = find_dicom_scans(source)
        inventory.masks += [MaskFile(path, path_below(source, path), "seg") for path in found.segmentations]
        inventory.masks += [MaskFile(path, path_below(source, path), "rtstruct") for path in found.structure_sets]
    files = list(volume_files(source))
    kinds = _classify(files, source, inventory.scans)
    images = {scan.path for scan in inventory.scans} | {path.parent for path in files if kinds[path] == "scan"}
    near = {folder for image in images for folder in (image, *image.parents)}
    beginnings: dict[Path, set[tuple[str, ...]]] = defaultdict(set)
    for path in files:
        words = name_words(stem_of(path))
        beginnings[path.parent] |= {words[:length] for length in range(1, len(words))}
    for path in files:
        kind = kinds[path]
        if kind == "unclear":
            kind = _classify_by_neighbours(path, source, near, beginnings[path.parent])
        if kind == "unclear":
            kind = "mask" if is_binary(path) else "scan"
        if kind == "scan":
            inventory.scans.append(Scan(path, path_below(source, path)))
        else:
            inventory.masks.append(MaskFile(path, path_below(source, path)))
    return inventory


def _classify(files: Sequence[Path], source: Path, series: Sequence[Scan]) -> dict[Path, FileKind]:
    """What names say. A file that is called a scan but holds one value beside 0 is a mask: `T1` may be a vertebra.

    Unless a folder such as `images` says that it is a scan; further up the tree (`images/p1/T1.nii.gz`) that is only
    counts where no other scan lies beside it.
    """
    places = {path: path_below(source, path) for path in files}
    kinds = {path: classify_name(place) for path, place in places.items()}
    scan_folders = {path: scan_folder(place) for path, place in places.items() if kinds[path] == "scan"}
    counts = {path: count_values(path) for path, folder in scan_folders.items() if folder != path.parent.name}
    beside = {path.parent for path, values in counts.items() if values in (MANY, None)}
    beside |= {folder for scan in series for folder in (scan.path, scan.path.parent)}
    for path, values in counts.items():
        is_mask = values == 2 and scan_folders[path] is None
        if values in (1, 2) and (is_mask or path.parent in beside):
            kinds[path] = "mask"
    return kinds


def find_dicom_scans(source: Path) -> tuple[SourceInventory, DicomInventory]:
    """The DICOM series below `source`, and what else lies there; what is no volume gets a warning."""
    found, inventory = find_series(source), SourceInventory()
    for series in found.series:
        scan = Scan(series.folder, path_below(source, series.folder), series)
        (inventory.scans if series.kind == "volume" else inventory.pictures).append(scan)
    inventory.warnings += shorten_lines(
        [f"{scan.title}: a single picture; skipped" for scan in inventory.pictures], "such pictures"
    )
    folders = Counter((path.parent, reason) for path, reason in found.left_out)
    inventory.warnings += [
        f"{folder}: {pluralise(n, 'file')} left out: {reason}" for (folder, reason), n in folders.items()
    ]
    inventory.lost += shorten_lines([f"{path}: {reason}" for path, reason in found.refused], "such files")
    return inventory, found


def shorten_lines(lines: Sequence[str], what: str) -> list[str]:
    """The first of many lines, and how many more there are of what."""
    more = [f"and {len(lines) - _LISTED} more {what}"] if len(lines) > _LISTED else []
    return [*lines[:_LISTED], *more]


def path_below(source: Path, path: Path) -> PurePosixPath:
    """A path relative to the source, with slashes on every system."""
    return PurePosixPath(path.relative_to(source).as_posix())


def _classify_by_neighbours(path: Path, source: Path, near: set[Path], beginnings: set[tuple[str, ...]]) -> FileKind:
    """What a file is whose name does not say it: a mask where a scan is near, a scan where others begin as it does."""
    for folder in (path.parent, *path.parent.parents):
        if folder == source.parent or (folder == source and path.parent != source):
            break
        if folder in near:
            return "mask"
    if any(source / name in near for name in _IMAGES):
        return "mask"  # `images/p1.nii.gz` beside `femur/p1.nii.gz`
    return "scan" if name_words(stem_of(path)) in beginnings else "unclear"
