"""Which file is read by what: a table. A new format is one file and one row, here or in a package's entry points
`osteon.formats`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from osteon.core.errors import FileError, UsageError, missing_file_error
from osteon.core.files import is_file, is_folder
from osteon.core.folders import files_below, is_pointer_file
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.core.plugins import with_plugins
from osteon.core.volume import Volume
from osteon.formats.dicom import SUFFIXES as DICOM_SUFFIXES
from osteon.formats.dicom import (
    read_dicom,
    read_dicom_geometry,
    read_dicom_segmentation,
    read_dicom_structures,
)
from osteon.formats.dicom_files import looks_like_dicom
from osteon.formats.header_warnings import HeaderWarning
from osteon.formats.labelmap import read_index_map
from osteon.formats.meta_image import (
    meta_image_data,
    read_meta_image,
    read_meta_image_geometry,
)
from osteon.formats.nifti import (
    nifti_header_warnings,
    read_nifti,
    read_nifti_geometry,
    read_nifti_segmentation,
    read_nifti_structures,
    write_nifti,
)
from osteon.formats.nrrd import nrrd_header_warnings, read_nrrd, read_nrrd_geometry, write_nrrd
from osteon.formats.raster import SUFFIXES as PICTURE_SUFFIXES
from osteon.formats.raster import read_raster, read_raster_geometry, read_raster_segmentation
from osteon.formats.seg_nrrd import read_seg_nrrd, read_seg_nrrd_structures, write_seg_nrrd
from osteon.formats.unsupported import unsupported_format


class _ReadVolume(Protocol):
    def __call__(self, path: Path, *, single: bool = False) -> Volume: ...


class _FindHeaderWarnings(Protocol):
    def __call__(self, path: Path, *, label: bool) -> list[HeaderWarning]: ...


@dataclass(frozen=True)
class Format:
    """One file format.

    Attributes:
        name: As people call it.
        suffixes: Lower case, with the dot; the first is the one that osteon writes.
        read_volume: Reads an image; `single` asks for float32 in the place of types of eight bytes.
        read_geometry: Reads the grid alone, without the voxels.
        read_segmentation: Reads labels in the given structures, or in the file's own where they are None.
        read_structures: Reads the structures that the header names, without the voxels; None where none can be there.
        write_volume: Writes an image; None where the format holds none.
        write_segmentation: Writes labels; None where the format loses their names.
        holds_overlaps: Whether structures that share voxels can be written.
        header_warnings: Finds warnings about a file's header, read as labels or as an image; None where there are none.
        read_companions: Which files beside it hold a part of it; None where none can.
    """

    name: str
    suffixes: tuple[str, ...]
    read_volume: _ReadVolume
    read_geometry: Callable[[Path], Geometry]
    read_segmentation: Callable[[Path, Sequence[Structure] | None], Segmentation]
    read_structures: Callable[[Path], tuple[Structure, ...]] | None = None
    write_volume: Callable[[Path, Volume], None] | None = None
    write_segmentation: Callable[[Path, Segmentation], None] | None = None
    holds_overlaps: bool = False
    header_warnings: _FindHeaderWarnings | None = None
    read_companions: Callable[[Path], tuple[Path, ...]] | None = None


def _index_maps(read: _ReadVolume) -> Callable[[Path, Sequence[Structure] | None], Segmentation]:
    """What reads labels of a format whose files name no structures."""
    return lambda path, structures: read_index_map(read(path), (), structures, path)


FORMATS = (
    Format(
        "NIfTI",
        (".nii.gz", ".nii"),
        read_nifti,
        read_nifti_geometry,
        read_nifti_segmentation,
        read_structures=read_nifti_structures,
        write_volume=write_nifti,
        write_segmentation=write_nifti,
        header_warnings=nifti_header_warnings,
    ),
    Format(
        "3D Slicer segmentation",
        (".seg.nrrd",),
        read_nrrd,
        read_nrrd_geometry,
        read_seg_nrrd,
        read_structures=read_seg_nrrd_structures,
        write_segmentation=write_seg_nrrd,
        holds_overlaps=True,
        header_warnings=nrrd_header_warnings,
    ),
    Format(
        "NRRD",
        (".nrrd",),
        read_nrrd,
        read_nrrd_geometry,
        _index_maps(read_nrrd),
        write_volume=write_nrrd,
        header_warnings=nrrd_header_warnings,
    ),
    Format(
        "MetaImage",
        (".mha", ".mhd"),
        read_meta_image,
        read_meta_image_geometry,
        _index_maps(read_meta_image),
        read_companions=meta_image_data,
    ),
    Format("picture", PICTURE_SUFFIXES, read_raster, read_raster_geometry, read_raster_segmentation),
    Format(
        "DICOM",
        DICOM_SUFFIXES,
        read_dicom,
        read_dicom_geometry,
        read_dicom_segmentation,
        read_structures=read_dicom_structures,
    ),
)


@cache
def all_formats() -> dict[str, Format]:
    """All formats by suffix, those of plugins (entry points `osteon.formats`) too, longer suffixes first.

    Raises:
        UsageError: A plugin's row is none, or its suffix is taken.
    """
    plugins = with_plugins("osteon.formats", {}, Format)
    found = {suffix: row for row in FORMATS for suffix in row.suffixes}
    for name, row in plugins.items():
        if taken := sorted(found.keys() & set(row.suffixes)):
            raise UsageError(f"osteon.formats: {name} takes {taken[0]}, which is taken", hint="uninstall its package")
        found |= dict.fromkeys(row.suffixes, row)
    return dict(sorted(found.items(), key=lambda item: (-len(item[0]), item[0])))


def known_suffixes() -> tuple[str, ...]:
    """All suffixes, the longest first, so that `.seg.nrrd` is found before `.nrrd`."""
    return tuple(all_formats())


def suffix_of(path: Path) -> str | None:
    """The known suffix that the name ends in, lower case; None where it has none."""
    name = Path(path).name.lower()
    return next((suffix for suffix in known_suffixes() if name.endswith(suffix)), None)


def stem_of(path: Path) -> str:
    """The file's name without its known suffix."""
    return Path(path).name[: len(Path(path).name) - len(suffix_of(path) or "")]


def format_of(path: Path) -> Format:
    """The row for a file, by its suffix. Raises FileError that lists the known ones."""
    if (suffix := suffix_of(path)) is not None:
        return all_formats()[suffix]
    if unread := unsupported_format(Path(path)):
        raise FileError(f"{path}: is not read ({unread.name})", hint=unread.advice)
    raise FileError(
        f"{path}: no known image format", hint=f"give a file that ends in {', '.join(sorted(known_suffixes()))}"
    )


def readable_format(path: Path) -> Format:
    """The row for a file, or the folder of a DICOM series, that is there. Raises FileError where it cannot be read."""
    path = Path(path)
    # A DICOM series is a folder, and its files often have no suffix.
    there = is_file(path)
    if is_folder(path) or (there and suffix_of(path) is None and looks_like_dicom(path)):
        return format_of(Path(f"any{DICOM_SUFFIXES[0]}"))
    if not there and suffix_of(path) is None and os.path.islink(path):  # noqa: PTH114 (a name that no system takes is none)
        raise missing_file_error(path, "the file")
    row = format_of(path)
    if not there:
        raise missing_file_error(path, f"the {row.name} file")
    if is_pointer_file(path):
        raise FileError(
            f"{path}: is a pointer of Git LFS or git-annex; the file itself was not fetched",
            hint="fetch it: `git lfs pull`, `git annex get` or `datalad get`",
        )
    return row


def is_volume(path: Path) -> bool:
    """Whether the name is that of a file in which scans or masks lie; pictures are another form's."""
    return path.name.lower().endswith(_VOLUMES) and not path.name.startswith(".")


def contains_dicom(source: Path) -> bool:
    """Whether a DICOM file lies below `source`; looks at one file of each folder and kind of suffix."""
    seen = set()
    for path in files_below(source):
        kind = (path.parent, path.suffix.lower() if len(path.suffix) < 5 else "")  # a UID's last number is no suffix
        if kind in seen or is_volume(path):
            continue
        seen.add(kind)
        with suppress(FileError):
            if looks_like_dicom(path):
                return True
    return False


_VOLUMES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
_TEXTS = (".txt", ".md", ".pdf", ".docx", ".xlsx", ".html", ".log", ".json", ".csv", ".tsv")
_OTHER_SUFFIXES = (*_TEXTS, ".yaml", ".yml", ".py", ".sh")


def may_be_data(path: Path, annotations: Sequence[str] = ()) -> bool:
    """Whether a scan, a mask, a table or a folder of any may be meant; many DICOM files have no suffix."""
    if suffix_of(path) or unsupported_format(path) or path.name.lower().endswith(tuple(annotations)):
        return True
    return path.suffix.lower() not in _OTHER_SUFFIXES
