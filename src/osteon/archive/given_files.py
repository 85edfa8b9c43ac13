"""The DICOM files that a command was given, below folders too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from osteon.core.errors import FileError
from osteon.formats.dicom_files import looks_like_dicom


def dicom_files(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """DICOM files, and those that are none; hidden ones below folders are skipped.

    Raises:
        FileError: A path is not there, or a file cannot be read.
    """
    files = list(_files(paths))
    images = [path for path in files if looks_like_dicom(path)]
    return images, sorted(set(files) - set(images))


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(each for each in path.rglob("*") if each.is_file() and not _is_hidden(each, path))
        elif path.is_file():
            yield path
        else:
            raise FileError(f"{path}: is not there", hint="give DICOM files, or folders of them")


def _is_hidden(path: Path, below: Path) -> bool:
    """Also of a series that is being fetched."""
    return any(part.startswith(".") for part in path.relative_to(below).parts)
