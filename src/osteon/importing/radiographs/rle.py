"""Tables of RLE that mark radiographs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from osteon.core.errors import DatasetError, OsteonError
from osteon.formats.annotation_fields import check_label
from osteon.formats.io import read_geometry
from osteon.formats.rle import decode_rle, parse_runs, read_convention, read_rle_csv, read_rle_rows
from osteon.formats.rle_convention import ConventionEvidence, RleConvention
from osteon.importing.options import ImportOptions
from osteon.importing.radiographs.annotations import (
    Annotation,
    Mask,
    PictureAnnotations,
    PictureSize,
    Warn,
    report_missing_pictures,
)
from osteon.importing.radiographs.files import FileIndex, SourceFile
from osteon.importing.source_forms import Source


def read_rle_annotations(
    file: SourceFile, pictures: FileIndex, options: ImportOptions, found: Source
) -> PictureAnnotations:
    """What a table of RLE says. The runs stay in the file until a picture's turn comes.

    Raises:
        FileError, LabelError: The table is broken; the message names the line.
        DatasetError: Its masks look as if pixels were counted in another way than its heading says.
    """
    rows: dict[str, list[tuple[int, int]]] = defaultdict(list)
    names: dict[str, Counter[str]] = defaultdict(Counter)
    shown: dict[str, tuple[SourceFile | None, PictureSize | None]] = {}
    evidence = ConventionEvidence()
    for row in read_rle_csv(file.path):
        name = check_label(row.structure, f"{file.path}: line {row.line}")
        rows[row.image].append((row.line, row.offset))
        names[row.image][name] += 1
        if row.image not in shown:
            picture = pictures.find_referenced(file, row.image)
            shown[row.image] = picture, _size(picture)
        with suppress(OsteonError):  # reported when the case is read
            evidence.add(parse_runs(row.rle), shown[row.image][1], row.line)
    convention = _convention(file.path, evidence, options)
    square = "" if options.rle_order or not evidence.square else "; square pictures do not show whether that is right"
    found.summary.append(f"{file.path}: {convention.describe()}{square}")
    annotations: PictureAnnotations = []
    missing = []
    for image, places in rows.items():
        picture = shown[image][0]
        if picture is None:
            missing.append(image)
        else:
            draw = partial(_draw, file.path, places, convention, options.fragments == "instances")
            times = names[image]
            marks = Annotation("RLE in a table", tuple(times), (file.path,), draw, times=times)
            annotations.append((picture, marks))
    report_missing_pictures(file.path, missing, found)
    return annotations


def _size(picture: SourceFile | None) -> PictureSize | None:
    """Rows and columns of a picture; None where it is not there, or its header cannot be read."""
    with suppress(OsteonError):
        if picture is not None:
            columns, rows, _ = read_geometry(picture.path).shape
            return rows, columns
    return None


def _convention(path: Path, evidence: ConventionEvidence, options: ImportOptions) -> RleConvention:
    """As the user says; else as the heading says, where the masks do not contradict it."""
    convention = read_convention(path)
    given = [f"--rle-{name}" for name in ("order", "base") if getattr(options, f"rle_{name}") is not None]
    why = [convention.why] if len(given) < 2 else []
    why += [f"by {' and '.join(given)}"] if given else []
    base = convention.base if options.rle_base is None else options.rle_base
    if options.rle_base is None and evidence.zero is not None:
        base = 0
        why.append(f"a run begins at pixel 0, in line {evidence.zero}")
    convention = RleConvention(options.rle_order or convention.order, base, ", ".join(why))
    for option, other in (
        ("--rle-order", None if options.rle_order else evidence.other_order(convention)),
        ("--rle-base", None if options.rle_base is not None else evidence.other_base(convention)),
    ):
        if other is not None:
            here = convention.order if option == "--rle-order" else convention.base
            raise DatasetError(
                f"{path}: {other[1]}", hint=f"{option} {other[0]}; or {option} {here}, where the masks are right so"
            )
    return convention


def _draw(
    path: Path,
    places: list[tuple[int, int]],
    convention: RleConvention,
    pieces: bool,
    size: PictureSize,
    warn: Warn,
) -> Iterator[tuple[str, Mask]]:
    seen = set()
    for row in read_rle_rows(path, places):
        if row.structure in seen and not pieces:
            warn(f"{path}: line {row.line} marks {row.structure} a second time; united")
        seen.add(row.structure)
        yield row.structure, decode_rle(row.rle, size, convention, name=f"{path}: line {row.line} ({row.structure})")
