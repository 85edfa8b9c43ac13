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
from urllib.parse import unquote

from osteon.core.errors import DatasetError, FileError
from osteon.core.file_names import name_key
from osteon.core.folders import files_below, is_pointer_file
from osteon.dataset.manifest import FILE_NAME
from osteon.formats.dicom import SUFFIXES as DICOM_SUFFIXES
from osteon.formats.dicom_files import looks_like_dicom
from osteon.formats.raster import SUFFIXES

_SHOWN = 80
_DICOM_TOO = re.compile(r"(\.ima|\.[0-9]+)?", re.IGNORECASE)
"""Endings of files that are DICOM where their content says so; scanners write `IM_0002`, and UIDs as names."""
_KNOWN = (*SUFFIXES, *DICOM_SUFFIXES, ".ima", ".json")
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?P<name>.+)")
"""Label Studio puts eight digits before the name of what is uploaded."""
_CONVERTED = re.compile(rf"(?P<stem>.+)_(?P<suffix>{'|'.join(s[1:] for s in _KNOWN)})\.rf\.[0-9A-Za-z]+", re.IGNORECASE)
"""Roboflow calls `a.png` `a_png.rf.<digest>.jpg`."""


@dataclass(frozen=True)
class File:
    """A file below the source.

    Attributes:
        path: Where it is.
        place: The same, relative to the source.
        dicom: Whether it is a DICOM file, by its suffix or its content.
    """

    path: Path
    place: PurePosixPath
    dicom: bool = False

    @property
    def stem(self) -> str:
        """The name without the suffix of a picture or an annotation: `hand1` for `hand1.png` and `hand1.png.json`."""
        return plain_stem(self.place.name)


@dataclass
class Heap:
    """What lies below a source, each kind in natural order."""

    pictures: list[File] = field(default_factory=list)
    dicom: list[File] = field(default_factory=list)
    json: list[File] = field(default_factory=list)
    csv: list[File] = field(default_factory=list)


def plain_stem(name: str) -> str:
    """A file's name without the suffixes that say its kind."""
    while (suffix := os.path.splitext(name)[1].lower()) in _KNOWN:  # noqa: PTH122 (no path)
        name = name[: -len(suffix)]
    return name


def survey(source: Path) -> Heap:
    """All pictures, JSON and CSV (TSV) files below a folder.

    Hidden files, what macOS leaves in archives, and osteon's own datasets, which people make beside their files, are
    passed over.
    """
    heap = Heap()
    kinds = {**dict.fromkeys(SUFFIXES, heap.pictures), **dict.fromkeys(DICOM_SUFFIXES, heap.dicom)}
    kinds |= {".json": heap.json, ".csv": heap.csv, ".tsv": heap.csv}
    for path in files_below(source, hidden=False, skip_with=FILE_NAME):
        kind, place = kinds.get(path.suffix.lower()), PurePosixPath(path.relative_to(source).as_posix())
        if kind is None and _is_dicom(path):
            kind = heap.dicom
        if kind is not None and "__MACOSX" not in place.parts and not is_pointer_file(path):
            kind.append(File(path, place, kind is heap.dicom))
    return heap


def _is_dicom(path: Path) -> bool:
    """Whether a file of no known suffix is DICOM, and no table of contents."""
    with suppress(FileError):
        named = _DICOM_TOO.fullmatch(path.suffix) and path.name.upper() != "DICOMDIR" and path.is_file()
        return bool(named) and looks_like_dicom(path)
    return False


class Shelf:
    """Files, found by name.

    Args:
        files: What stands on it.
        case_of: The case that a path belongs to, where the user gave a pattern; None where a path says nothing.
    """

    def __init__(self, files: Iterable[File], case_of: Callable[[str], str | None] | None = None) -> None:
        self.files = list(files)
        self._case_of = case_of
        self._by_stem: dict[str, list[File]] = defaultdict(list)
        self._by_case: dict[str, list[File]] = defaultdict(list)
        for file in self.files:
            self._by_stem[name_key(file.stem)].append(file)
            if case_of is not None and (case := case_of(file.place.as_posix())) is not None:
                self._by_case[case].append(file)
        self._folders = {name_key(part) for file in self.files for part in file.place.parts[:-1]}
        self._by_place = {file.place.as_posix(): file for file in self.files}
        self._by_url: dict[str, list[File]] = defaultdict(list)
        for stem, fitting in self._by_stem.items():  # Django, and with it Label Studio, lets no other characters in
            self._by_url[re.sub(r"[^-\w.]", "", stem.replace(" ", "_"))] += fitting
        self.renamed: dict[str, File] = {}

    @property
    def by_pattern(self) -> bool:
        """Whether the user's pattern says what belongs together."""
        return self._case_of is not None

    def at(self, folder: PurePosixPath, path: str) -> File | None:
        """The file at a path, as seen from a folder below the source."""
        return self._by_place.get(posixpath.normpath(posixpath.join(folder.as_posix(), path)))

    def of_case(self, file: File) -> File | None:
        """The one file of the same case, by the user's pattern; None without a pattern, or where that finds none."""
        case = self._case_of(file.place.as_posix()) if self._case_of is not None else None
        fitting = self._by_case.get(case, []) if case is not None else []
        return fitting[0] if len(fitting) == 1 else None

    def __contains__(self, stem: str) -> bool:
        return name_key(stem) in self._by_stem

    def named_in(self, file: File, name: str) -> File | None:
        """The file that an annotation file calls by a name: seen from its own folder, else as `find` does."""
        return self.at(file.place.parent, name.replace("\\", "/")) or self.find(name, file.path)

    def find(self, name: str, told_by: Path) -> File | None:
        """The file that a name means, by its stem, its suffix and the folders that it shares; None where none is.

        A name that means none is looked for without what annotation programs put around names; `renamed` then tells.

        Args:
            name: A name or path as an annotation gives it, or the place of an annotation itself.
            told_by: The annotation's file, for the message.

        Raises:
            DatasetError: Several files are meant.
        """
        found = self._find(name, told_by, self._by_stem)
        for plain in _plain_names(name) if found is None else ():
            found = found or self._find(plain, told_by, self._by_stem) or self._find(plain, told_by, self._by_url)
            if found is not None:
                self.renamed[short(name)] = found
        return found

    def _find(self, name: str, told_by: Path, by_stem: Mapping[str, list[File]]) -> File | None:
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        if not parts:
            return None
        if self._case_of is not None and (case := self._case_of("/".join(parts))) is not None:
            fitting = self._by_case.get(case, [])
        else:
            fitting = by_stem.get(name_key(plain_stem(parts[-1])), [])
            # A folder that holds pictures tells whose file it is: ID2/left.json is not about ID1/left.png.
            named = self._folders.intersection(map(name_key, parts[:-1]))
            fitting = [f for f in fitting if named <= set(map(name_key, f.place.parts[:-1]))]
        if len(fitting) > 1:
            fitting = [f for f in fitting if name_key(f.place.name) == name_key(parts[-1])] or fitting
        if len(fitting) > 1:
            near = [shared(parts[:-1], file.place.parts[:-1]) for file in fitting]
            fitting = [file for file, n in zip(fitting, near, strict=True) if n == max(near)]
        if len(fitting) > 1:
            fitting = [f for f in fitting if f.stem == plain_stem(parts[-1])] or fitting
        if len(fitting) > 1:
            raise DatasetError(
                f"{told_by}: {short(name)} may be {fitting[0].place} or {fitting[1].place}",
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


def shared(one: Iterable[str], other: Iterable[str]) -> int:
    """How many folders two paths have in common."""
    return len(set(map(name_key, one)) & set(map(name_key, other)))


def short(text: str) -> str:
    """A name out of a file, for messages: on one line, and not too long."""
    plain = "".join(c if c.isprintable() else "?" for c in text[:_SHOWN])
    return plain if len(text) <= _SHOWN else f"{plain}…"
