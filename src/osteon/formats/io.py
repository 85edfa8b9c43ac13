"""Images and labels read and written, whatever their format: each function asks the table of formats (`registry`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from osteon.core.errors import FileError, OsteonError
from osteon.core.files import is_file
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.core.volume import Volume
from osteon.formats.dicom import read_dicom_files
from osteon.formats.dicom_files import looks_like_dicom
from osteon.formats.header_warnings import HeaderWarning, describe_warnings
from osteon.formats.label_tables import LabelTable, table_beside
from osteon.formats.labelmap import is_placeholder, make_index_map
from osteon.formats.registry import all_formats, format_of, readable_format, stem_of, suffix_of


def read_volume(path: Path, *, single: bool = False) -> Volume:
    """Read an image as `[channel, i, j, k]`, RAS+ millimetres.

    Args:
        path: The file, or the folder of a DICOM series.
        single: Whether types of eight bytes become float32, as networks take them: for half the memory.

    Raises:
        FileError: The file is missing, of an unknown kind, truncated or damaged.
    """
    return readable_format(path).read_volume(Path(path), single=single)


def read_scan(files: Sequence[Path]) -> Volume:
    """Read what the files of one scan, as a record lists them, show: a DICOM series, or the first of them.

    Further files are read with the first, as the `.raw` of a `.mhd` is, or hold other channels. Raises as the readers.
    """
    return read_dicom_files(files) if len(files) > 1 and looks_like_dicom(files[0]) else read_volume(files[0])


def read_geometry(path: Path) -> Geometry:
    """Read the grid alone, which takes milliseconds. Raises FileError as `read_volume` does for the header."""
    return readable_format(path).read_geometry(Path(path))


def read_segmentation(
    path: Path,
    structures: Sequence[Structure] | None = None,
    *,
    table: LabelTable | None = None,
    pieces: bool = False,
) -> Segmentation:
    """Read labels: an index map, or multi-hot where the file's structures overlap.

    Args:
        path: The file. Floats are taken where all of them are whole numbers.
        structures: What the labels mean. None takes the file's own names, `label_<value>` where it has none.
        table: What names the file's values; None asks its header, and the table that lies beside it.
        pieces: Of structures with `instances`, whether each piece keeps its value; else all have the structure's.

    Raises:
        FileError: As `read_volume`.
        LabelError: Values are not whole numbers, or are not among `structures`; the message lists values and voxels.
    """
    found = _read_segmentation(path, structures, table)
    return found if pieces else found.merged()


def _read_segmentation(path: Path, structures: Sequence[Structure] | None, table: LabelTable | None) -> Segmentation:
    row = readable_format(path)
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
    row = readable_format(path)
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
    row = readable_format(path)
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
