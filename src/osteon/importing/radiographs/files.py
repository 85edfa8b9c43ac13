"""The files of a heap of radiographs, and the pictures found again by the names that annotations give them.

Names out of annotation files are looked up among the files that were found below the source, and never opened as
paths: what a name says about other folders cannot lead anywhere.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from osteon.core.errors import DatasetError, FileError
from osteon.core.file_names import name_key
from osteon.core.files import read_json
from osteon.core.folders import files_below, is_pointer_file
from osteon.dataset.manifest import FILE_NAME
from osteon.formats.dicom import SUFFIXES as DICOM_SUFFIXES
from osteon.formats.dicom_files import looks_like_dicom
from osteon.formats.raster import SUFFIXES
from osteon.importing.masks.files import path_below

_SHOWN = 80
_DICOM_TOO = re.compile(r"(\.ima|\.[0-9]+)?", re.IGNORECASE)
"""Endings of files that are DICOM where their content says so; scanners write `IM_0002`, and UIDs as names."""
_KNOWN = (*SUFFIXES, *DICOM_SUFFIXES, ".ima", ".json")
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?P<name>.+)")
"""Label Studio puts eight digits before the name of what is uploaded."""
_CONVERTED = re.compile(rf"(?P<stem>.+)_(?P<suffix>{'|'.join(s[1:] for s in _KNOWN)})\.rf\.[0-9A-Za-z]+", re.IGNORECASE)
"""Roboflow calls `a.png` `a_png.rf.<digest>.jpg`."""


@dataclass(frozen=True)
class SourceFile:
    """A file below the source.

    Attributes:
        path: Where it is.
        relative_path: The same, relative to the source.
        dicom: Whether it is a DICOM file, by its suffix or its content.
    """

    path: Path
    relative_path: PurePosixPath
    dicom: bool = False

    @property
    def stem(self) -> str:
        """The name without the suffix of a picture or an annotation: `hand1` for `hand1.png` and `hand1.png.json`."""
        return plain_stem(self.relative_path.name)


@dataclass
class PictureInventory:
    """What lies below a source, each kind in natural order."""

    pictures: list[SourceFile] = field(default_factory=list)
    dicom: list[SourceFile] = field(default_factory=list)
    json: list[SourceFile] = field(default_factory=list)
    csv: list[SourceFile] = field(default_factory=list)


def plain_stem(name: str) -> str:
    """A file's name without the suffixes that say its kind."""
    while (suffix := os.path.splitext(name)[1].lower()) in _KNOWN:  # noqa: PTH122 (no path)
        name = name[: -len(suffix)]
    return name


def find_picture_files(source: Path) -> PictureInventory:
    """All pictures, JSON and CSV (TSV) files below a folder.

    Hidden files, what macOS leaves in archives, and osteon's own datasets, which people make beside their files, are
    skipped.
    """
    inventory = PictureInventory()
    kinds = {**dict.fromkeys(SUFFIXES, inventory.pictures), **dict.fromkeys(DICOM_SUFFIXES, inventory.dicom)}
    kinds |= {".json": inventory.json, ".csv": inventory.csv, ".tsv": inventory.csv}
    for path in files_below(source, hidden=False, skip_with=FILE_NAME):
        kind, place = kinds.get(path.suffix.lower()), path_below(source, path)
        if kind is None and _is_dicom(path):
            kind = inventory.dicom
        if kind is not None and "__MACOSX" not in place.parts and not is_pointer_file(path):
            kind.append(SourceFile(path, place, kind is inventory.dicom))
    return inventory


def _is_dicom(path: Path) -> bool:
    """Whether a file of no known suffix is DICOM, and no table of contents."""
    with suppress(FileError):
        named = _DICOM_TOO.fullmatch(path.suffix) and path.name.upper() != "DICOMDIR" and path.is_file()
        return bool(named) and looks_like_dicom(path)
    return False


def try_json(path: Path) -> Any:
    """What a JSON file says; the FileError itself where it cannot be read."""
    try:
        return read_json(path, "the annotation")
    except FileError as error:
        return error


class FileIndex:
    """Files, found by name.

    Args:
        files: What stands on it.
        case_of_path: The case that a path belongs to, where the user gave a pattern; None where a path says nothing.
    """

    def __init__(self, files: Iterable[SourceFile], case_of_path: Callable[[str], str | None] | None = None) -> None:
        self.files = list(files)
        self._case_of_path = case_of_path
        self._by_stem: dict[str, list[SourceFile]] = defaultdict(list)
        self._by_case: dict[str, list[SourceFile]] = defaultdict(list)
        for file in self.files:
            self._by_stem[name_key(file.stem)].append(file)
            if case_of_path is not None and (case := case_of_path(file.relative_path.as_posix())) is not None:
                self._by_case[case].append(file)
        self._folders = {name_key(part) for file in self.files for part in file.relative_path.parts[:-1]}
        self._by_place = {file.relative_path.as_posix(): file for file in self.files}
        self._by_url: dict[str, list[SourceFile]] = defaultdict(list)
        for stem, fitting in self._by_stem.items():  # Django, and with it Label Studio, lets no other characters in
            self._by_url[re.sub(r"[^-\w.]", "", stem.replace(" ", "_"))] += fitting
        self.renamed: dict[str, SourceFile] = {}

    @property
    def uses_pattern(self) -> bool:
        """Whether the user's pattern says what belongs together."""
        return self._case_of_path is not None

    def at_path(self, folder: PurePosixPath, path: str) -> SourceFile | None:
        """The file at a path, as seen from a folder below the source."""
        return self._by_place.get(posixpath.normpath(posixpath.join(folder.as_posix(), path)))

    def find_by_case(self, file: SourceFile) -> SourceFile | None:
        """The one file of the same case, by the user's pattern; None without a pattern, or where that finds none."""
        case = self._case_of_path(file.relative_path.as_posix()) if self._case_of_path is not None else None
        fitting = self._by_case.get(case, []) if case is not None else []
        return fitting[0] if len(fitting) == 1 else None

    def __contains__(self, stem: str) -> bool:
        return name_key(stem) in self._by_stem

    def find_referenced(self, file: SourceFile, name: str) -> SourceFile | None:
        """The file that an annotation file calls by a name: seen from its own folder, else as `find` does."""
        return self.at_path(file.relative_path.parent, name.replace("\\", "/")) or self.find(name, file.path)

    def find(self, name: str, annotation: Path) -> SourceFile | None:
        """The file that a name means, by its stem, its suffix and the folders that it shares; None where none is.

        A name that means none is looked for without what annotation programs put around names; `renamed` then tells.

        Args:
            name: A name or path as an annotation gives it, or the place of an annotation itself.
            annotation: The annotation's file, for the message.

        Raises:
            DatasetError: Several files are meant.
        """
        found = self._find(name, annotation, self._by_stem)
        for plain in _plain_names(name) if found is None else ():
            found = found or self._find(plain, annotation, self._by_stem) or self._find(plain, annotation, self._by_url)
            if found is not None:
                self.renamed[shorten(name)] = found
        return found

    def _find(self, name: str, annotation: Path, by_stem: Mapping[str, list[SourceFile]]) -> SourceFile | None:
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        if not parts:
            return None
        if self._case_of_path is not None and (case := self._case_of_path("/".join(parts))) is not None:
            fitting = self._by_case.get(case, [])
        else:
            fitting = by_stem.get(name_key(plain_stem(parts[-1])), [])
            # A folder that holds pictures tells whose file it is: ID2/left.json is not about ID1/left.png.
            named = self._folders.intersection(map(name_key, parts[:-1]))
            fitting = [f for f in fitting if named <= set(map(name_key, f.relative_path.parts[:-1]))]
        if len(fitting) > 1:
            fitting = [f for f in fitting if name_key(f.relative_path.name) == name_key(parts[-1])] or fitting
        if len(fitting) > 1:
            near = [count_shared_folders(parts[:-1], file.relative_path.parts[:-1]) for file in fitting]
            fitting = [file for file, n in zip(fitting, near, strict=True) if n == max(near)]
        if len(fitting) > 1:
            fitting = [f for f in fitting if f.stem == plain_stem(parts[-1])] or fitting
        if len(fitting) > 1:
            raise DatasetError(
                f"{annotation}: {shorten(name)} may be {fitting[0].relative_path} or {fitting[1].relative_path}",
                hint="write the folder in front, or say which part of a path is the case: --case-pattern",
            )
        return fitting[0] if fitting else None


def _plain_names(name: str) -> Iterator[str]:
    """A name without what Label Studio and Roboflow put around it."""
    path = unquote(name.rsplit("?d=", 1)[-1]).replace("\\", "/")
    folder, _, last = path.rpartition("/")
    if path != name.replace("\\", "/"):
        yield path
    if found := _UPLOADED.fullmatch(last):
        yield f"{folder}/{found['name']}"
    if found := _CONVERTED.fullmatch(plain_stem(last)):
        yield f"{folder}/{found['stem']}.{found['suffix']}"


def count_shared_folders(one: Iterable[str], other: Iterable[str]) -> int:
    """How many folders two paths have in common."""
    return len(set(map(name_key, one)) & set(map(name_key, other)))


def shorten(text: str) -> str:
    """A name out of a file, for messages: on one line, and not too long."""
    plain = "".join(c if c.isprintable() else "?" for c in text[:_SHOWN])
    return plain if len(text) <= _SHOWN else f"{plain}…"
