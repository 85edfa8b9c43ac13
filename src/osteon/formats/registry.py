"""Which file is read by what: a table. A new format is one file and one row, here or in a package's entry points
`osteon.formats`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from osteon.core.errors import FileError, OsteonError, UsageError, missing_file_error
from osteon.core.files import is_file, is_folder
from osteon.core.folders import is_pointer_file
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.core.plugins import with_plugins
from osteon.core.volume import Volume
from osteon.formats.dicom import SUFFIXES as DICOM_SUFFIXES
from osteon.formats.dicom import (
    read_dicom,
    read_dicom_files,
    read_dicom_geometry,
    read_dicom_segmentation,
    read_dicom_structures,
)
from osteon.formats.dicom_files import looks_like_dicom
from osteon.formats.header_warnings import HeaderWarning, describe_warnings
from osteon.formats.label_tables import LabelTable, table_beside
from osteon.formats.labelmap import is_placeholder, make_index_map
from osteon.formats.meta_image import (
    meta_image_data,
    read_meta_image,
    read_meta_image_geometry,
    read_meta_image_segmentation,
)
from osteon.formats.nifti import (
    nifti_header_warnings,
    read_nifti,
    read_nifti_geometry,
    read_nifti_segmentation,
    read_nifti_structures,
    write_nifti,
)
from osteon.formats.nrrd import nrrd_header_warnings, read_nrrd, read_nrrd_geometry, read_nrrd_segmentation, write_nrrd
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
        read_volume: Reads an image, where asked with float32 in the place of types of eight bytes.
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
        read_nrrd_segmentation,
        write_volume=write_nrrd,
        header_warnings=nrrd_header_warnings,
    ),
    Format(
        "MetaImage",
        (".mha", ".mhd"),
        read_meta_image,
        read_meta_image_geometry,
        read_meta_image_segmentation,
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


def _to_read(path: Path) -> Format:
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


def read_volume(path: Path, *, single: bool = False) -> Volume:
    """Read an image as `[channel, i, j, k]`, RAS+ millimetres.

    Args:
        path: The file, or the folder of a DICOM series.
        single: Whether types of eight bytes become float32, as networks take them: for half the memory.

    Raises:
        FileError: The file is missing, of an unknown kind, truncated or damaged.
    """
    return _to_read(path).read_volume(Path(path), single=single)


def read_scan(files: Sequence[Path]) -> Volume:
    """Read what the files of one scan, as a record lists them, show: a DICOM series, or the first of them.

    Further files are read with the first, as the `.raw` of a `.mhd` is, or hold other channels. Raises as the readers.
    """
    return read_dicom_files(files) if len(files) > 1 and looks_like_dicom(files[0]) else read_volume(files[0])


def read_geometry(path: Path) -> Geometry:
    """Read the grid alone, which takes milliseconds. Raises FileError as `read_volume` does for the header."""
    return _to_read(path).read_geometry(Path(path))


def read_segmentation(
    path: Path, structures: Sequence[Structure] | None = None, *, table: LabelTable | None = None
) -> Segmentation:
    """Read labels: an index map, or multi-hot where the file's structures overlap.

    Args:
        path: The file. Floats are taken where all of them are whole numbers.
        structures: What the labels mean. None takes the file's own names, `label_<value>` where it has none.
        table: What names the file's values; None asks its header, and the table that lies beside it.

    Raises:
        FileError: As `read_volume`.
        LabelError: Values are not whole numbers, or are not among `structures`; the message lists values and voxels.
    """
    row = _to_read(path)
    table = table or table_of(path)
    own = None if table is None else row.read_segmentation(Path(path), None)
    if table is None or own is None or own.overlapping:
        return row.read_segmentation(Path(path), structures)
    labels, named = make_index_map(own.array, table.structures, structures, path, by_value=True)
    return Segmentation(labels, own.geometry, named)


def read_structures(path: Path) -> tuple[Structure, ...]:
    """The structures that a label file's own header names, or a table beside it; empty where nothing names any.

    It takes milliseconds.

    Raises:
        FileError: As `read_geometry`.
        LabelError: Two of them share a name or a value.
    """
    table = table_of(path)
    return table.structures if table is not None else _in_header(path)


def table_of(path: Path) -> LabelTable | None:
    """The table beside a label file that names its values; None where there is none, or the header has names.

    Raises:
        FileError, DatasetError, LabelError: The header or the table cannot be read.
    """
    table = table_beside(Path(path), stem_of(path)) if is_file(Path(path)) else None
    return table if table is None or all(is_placeholder(s.name) for s in _in_header(path)) else None


def _in_header(path: Path) -> tuple[Structure, ...]:
    row = _to_read(path)
    return row.read_structures(Path(path)) if row.read_structures else ()


def header_warnings(path: Path, *, label: bool) -> list[HeaderWarning]:
    """What is odd about a file that can be read: where its header contradicts itself, or left open what was then taken.

    Reads no voxels. Files of several series, and those that cannot be read, have none.

    Args:
        path: The file.
        label: Whether it is taken as labels, or as an image.
    """
    row = all_formats().get(suffix_of(path) or "")
    if row is None or row.header_warnings is None:
        return []
    try:
        return row.header_warnings(Path(path), label=label)
    except OsteonError:  # said when it is read
        return []


def describe_header_warnings(files: Iterable[tuple[Path, bool]]) -> list[str]:
    """Header warnings as lines for people, each file named; many files with one kind of warning become one line.

    Args:
        files: Each with whether it is taken as labels; one that comes twice is described once.
    """
    return describe_warnings(
        (str(path), odd) for path, label in dict.fromkeys(files) for odd in header_warnings(path, label=label)
    )


def companion_paths(path: Path) -> tuple[Path, ...]:
    """Files beside an image or label file that hold a part of it, such as the voxels of a header. Raises FileError."""
    row = _to_read(path)
    return row.read_companions(Path(path)) if row.read_companions else ()


def write_volume(path: Path, volume: Volume) -> None:
    """Write an image in the format that the suffix names. Raises FileError."""
    row = format_of(path)
    if row.write_volume is None:
        raise FileError(f"{path}: {row.name} holds no images", hint="write a .nii.gz or .nrrd file")
    row.write_volume(Path(path), volume)


def write_segmentation(path: Path, segmentation: Segmentation) -> None:
    """Write labels with their structures: index maps as .nii.gz (or .seg.nrrd), overlapping ones as .seg.nrrd.

    Raises:
        FileError: The format cannot hold them, or the file cannot be written.
    """
    row = format_of(path)
    if row.write_segmentation is None:
        raise FileError(f"{path}: {row.name} does not keep structures' names", hint="write .nii.gz or .seg.nrrd")
    if segmentation.overlapping and not row.holds_overlaps:
        raise FileError(f"{path}: {row.name} holds no overlapping structures", hint="write a .seg.nrrd file")
    row.write_segmentation(Path(path), segmentation)


_OTHER_SUFFIXES = (
    ".txt",
    ".md",
    ".pdf",
    ".docx",
    ".xlsx",
    ".html",
    ".log",
    ".yaml",
    ".yml",
    ".py",
    ".sh",
    ".json",
    ".csv",
    ".tsv",
)


def may_be_data(path: Path, annotations: Sequence[str] = ()) -> bool:
    """Whether a scan, a mask, a table or a folder of any may be meant; many DICOM files have no suffix."""
    if suffix_of(path) or unsupported_format(path) or path.name.lower().endswith(tuple(annotations)):
        return True
    return path.suffix.lower() not in _OTHER_SUFFIXES
