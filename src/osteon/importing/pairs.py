"""A text file with a line `image,label` for each case.

People write such files by hand and with spreadsheets: paths are relative to the text file, lines may end in CRLF, the
file may begin with a byte order mark, paths may be quoted, and tab, semicolon or spaces may stand for the comma. A
line without a label is an unlabelled case; `#` begins a comment line; a heading such as `image,label` is skipped.
"""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from osteon.core.errors import DatasetError, FileError
from osteon.core.files import is_file, read_text
from osteon.dataset.case_ids import unique_ids
from osteon.dataset.manifest import Channel
from osteon.formats.registry import stem_of, suffix_of
from osteon.formats.unsupported import unsupported_format
from osteon.importing.options import ImportOptions
from osteon.importing.source_forms import Source, SourceCase, SourceForm
from osteon.importing.structure_names import user_structures

_NAMES = ("pairs.txt", "pairs.csv", "pairs.tsv")
_SUFFIXES = (".txt", ".csv", ".tsv", ".lst")
_ENDING = re.compile(r"[_\-. ]+(image|img|scan|volume|ct|cbct|mr|mri|t1|t1w|t2|t2w|flair|pd|xray|0000)$", re.IGNORECASE)
_HEADING = re.compile(r"(image|img|scan|volume|path|file)s?(_?(path|file|name))?", re.IGNORECASE)


def _text_path(source: Path) -> Path | None:
    if source.is_dir():
        listed = [source / name for name in _NAMES if (source / name).is_file()]
        return listed[0] if len(listed) == 1 else None
    return source if source.suffix.lower() in _SUFFIXES else None


def explain_mismatch(source: Path) -> str | None:
    """What `source` lacks to be a list of pairs (or a folder with one)."""
    path = _text_path(source)
    if path is None:
        return f"no text file of pairs ({' or '.join(_NAMES)}; other names when given as SOURCE)"
    try:
        first = next(_rows(path), None)
    except FileError as error:
        return error.message
    if first is None:
        return f"{path.name} lists nothing"
    number, fields = first
    if suffix_of(Path(fields[0])) is None and unsupported_format(Path(fields[0])) is None:
        return f"line {number} of {path.name} begins with `{fields[0]}`, which is no image file"
    if len(fields) > 2 and path.name not in _NAMES:  # a table of something else; in pairs.csv it is a mistake
        return f"line {number} of {path.name} has {len(fields)} fields, not `image,label`"
    return None


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of every line that says something, after a heading. Raises FileError."""
    first = True
    for number, line in enumerate(read_text(path, "the list of pairs").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            fields = _fields(text, path.parent)
        except csv.Error as error:
            raise FileError(
                f"{path}: line {number} is not `image,label` ({error})", hint="give two paths, or correct the line"
            ) from error
        if not (first and _HEADING.fullmatch(fields[0])):
            yield number, fields
        first = False


def _fields(text: str, folder: Path) -> list[str]:
    whole = text.strip('"')
    if text.count('"') in (0, 2) and '"' not in whole and is_file(_place(folder, whole)):
        return [whole]  # one path, whatever commas and spaces it holds
    for separator in (",", ";", "\t"):
        fields = [part.strip() for part in next(csv.reader([text], delimiter=separator, skipinitialspace=True))]
        if len(fields) > 1:
            while len(fields) > 1 and not fields[-1]:  # `image,` has no label
                fields.pop()
            return fields
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.escape, lexer.quotes, lexer.commenters = True, "", '"', ""
    try:
        return list(lexer)
    except ValueError:  # a quote without an end
        return [text]


def _place(folder: Path, text: str) -> Path:
    path = folder / text
    if "\\" in text and not is_file(path):
        path = folder / text.replace("\\", "/")
    return path


def read(source: Path, options: ImportOptions) -> Source:
    """List the cases of a text file of pairs.

    Raises:
        FileError: The file is missing or not text.
        DatasetError: A line is not `image,label`, or two lines give one image different labels.
    """
    path = _text_path(source) or source
    found = Source(
        name=path.parent.absolute().name if path.stem == "pairs" else path.stem,
        channels=[Channel.of(options.modality or "other")],
        cases=[],
        structures=user_structures(options.structures),
    )
    if options.modality is None:
        found.warnings.append(f"{path}: does not say what the images are; pass --modality ct, mr or xray")
    pairs: dict[Path, Path | None] = {}
    for number, fields in _rows(path):
        if len(fields) > 2 or not fields[0]:
            raise DatasetError(
                f"{path}: line {number} is not `image,label`: {', '.join(fields)}",
                hint="give two paths; quote a path that holds a comma or a space",
            )
        image = _place(path.parent, fields[0])
        label = _place(path.parent, fields[1]) if len(fields) > 1 else None
        if image not in pairs:
            pairs[image] = label
        elif pairs[image] == label:
            found.warnings.append(f"{path}: line {number} repeats {fields[0]}; taken once")
        else:
            raise DatasetError(
                f"{path}: line {number} gives {fields[0]} a second label", hint="list every image once, or copy it"
            )
    ids = _ids(list(pairs), path.parent, found.warnings)
    found.cases = [SourceCase(n, (image,), label) for n, (image, label) in zip(ids, pairs.items(), strict=True)]
    return found


def _ids(images: list[Path], folder: Path, warnings: list[str]) -> list[str]:
    """File names without suffix and ending, as long as they differ; else with the folders in front."""
    stems = [stem_of(image).lstrip(".") for image in images]
    short = [_ENDING.sub("", stem) for stem in stems]
    parents = [image.parent.name for image in images]
    places = [image.relative_to(folder) if image.is_relative_to(folder) else image for image in images]
    full = ["_".join((*PurePosixPath(place.as_posix()).parts[:-1], stem_of(place))).strip("/._") for place in places]
    candidates = (
        short,
        stems,
        parents,
        [f"{parent}_{stem}" for parent, stem in zip(parents, stems, strict=True)],
        full,
    )
    return unique_ids(candidates, warnings)


FORM = SourceForm(
    "pairs",
    "a text file with a line `image,label` for each case",
    explain_mismatch,
    read,
    "a list whose lines begin with an image file",
    frozenset({"fragments"}),
)
