"""What a source holds, before anything is imported: the form, the cases, what is odd. Runs in the reader's process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osteon.core.errors import FileError, OsteonError
from osteon.core.files import files_below, is_file
from osteon.core.labels import Structure
from osteon.formats.registry import read_structures, suffix_of
from osteon.importing.forms import Found, Options
from osteon.importing.naming import adopt, unite
from osteon.importing.recognise import form_named, recognise
from osteon.importing.repeat import read_beside

MOST_LISTED = 2000
SAMPLED = 3
"""Label files whose headers are asked for names."""


@dataclass(frozen=True)
class Inspected:
    """What was found.

    Attributes:
        form: Its name; empty where none was recognised.
        what: The form in words.
        understood: How the source was understood, in sentences.
        warnings: What is not taken, and what is odd.
        cases: For each: id, names of its files, whether it is labelled.
        structures: Name and value of each, where they are known before the labels are read.
        maps: Whether labels are numbers in label files, which the structures name.
        modality: Of the first channel.
        files: Images and labels below the source, relative, for pairing by hand.
        error: Why nothing was recognised; `hint` the way out.
        hint: See `error`.
    """

    form: str = ""
    what: str = ""
    understood: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    cases: tuple[dict[str, Any], ...] = ()
    structures: tuple[tuple[str, int], ...] = ()
    maps: bool = False
    modality: str = ""
    files: tuple[str, ...] = ()
    error: str = ""
    hint: str = ""


def inspect_source(source: Path, allowed: Sequence[Path], form: str | None = None) -> Inspected:
    """Look at a source.

    Args:
        source: The data.
        allowed: Folders that may be read. A source that refers to files elsewhere is refused.
        form: The form's name; recognised when None.
    """
    files = tuple(_files(source, allowed))
    try:
        row = recognise(source) if form is None else form_named(form)
        if form is not None and (missing := row.misses(source)):
            raise FileError(f"not of the form {form}: {missing}", hint="choose another form")
        found = row.read(source, Options())
        check_files(found, allowed)
    except OsteonError as error:
        return Inspected(files=files, error=error.message.replace(f"{source}: ", ""), hint=error.hint)
    structures = found.structures or _named(found)
    return Inspected(
        row.name,
        row.what,
        tuple(found.understood),
        (*found.lost, *found.warnings),
        tuple(_case(case) for case in found.cases),
        tuple((s.name, s.value) for s in structures),
        any(case.label is not None and not str(case.label).lower().endswith(".seg.nrrd") for case in found.cases),
        found.channels[0].modality if found.channels else "",
        files,
    )


def check_files(found: Found, allowed: Sequence[Path]) -> None:
    """Raise FileError where a list names files outside the allowed folders, however it gets there."""
    for case in found.cases:
        for path in (*case.images, *((case.label,) if case.label else ()), *case.parts, *read_beside(case)):
            real = path.resolve()
            if not any(real.is_relative_to(folder) for folder in allowed):
                raise FileError(
                    f"case {case.id}: names a file outside the workspace, and the app reads nothing there",
                    hint="upload the files with the list, or start `osteon app` with --data FOLDER",
                )


def _case(case: Any) -> dict[str, Any]:
    return {
        "id": case.id,
        "images": [path.name for path in case.images][:4] or [f"{len(case.parts)} files"],
        "label": case.label.name if case.label else "one for each structure" if case.labels else "",
        "labelled": case.labelled,
    }


def _named(found: Found) -> tuple[Structure, ...]:
    named: list[tuple[Structure, ...]] = []
    for case in found.cases:
        if case.label is not None and is_file(case.label) and len(named) < SAMPLED:
            try:
                named.append(read_structures(case.label))
            except OsteonError:
                continue
    return adopt(unite(named), iter(named)) if any(named) else ()


def _files(source: Path, allowed: Sequence[Path]) -> list[str]:
    if source.is_file():
        return [source.name]
    listed = []
    for path in files_below(source, hidden=False):
        there = any(path.resolve().is_relative_to(folder) for folder in allowed)
        if there and suffix_of(path) is not None:
            listed.append(path.relative_to(source).as_posix())
            if len(listed) >= MOST_LISTED:
                break
    return listed


@dataclass(frozen=True)
class Scans:
    """Ids of the scans that a source holds for segmenting, and of those among them that the model was trained on."""

    ids: tuple[str, ...]
    trained_on: tuple[str, ...]


def scans_in(source: Path, allowed: Sequence[Path], model: Path) -> Scans:
    """The scans that a source holds for a model, by its folder; of a dataset also those that it was trained on.

    Raises:
        UsageError: It holds none, or two of one name.
        FileError: It refers to files elsewhere, or the model's own are damaged.
    """
    from osteon.predicting.records import read_validation
    from osteon.predicting.scans import find_scans
    from osteon.predicting.seen import seen_by, trained_on

    seen = seen_by(model, read_validation(model))
    scans = find_scans([source], seen=seen)
    for scan in scans:
        if not all(any(path.resolve().is_relative_to(folder) for folder in allowed) for path in scan.files):
            raise FileError(
                f"{scan.id}: its file lies outside the workspace, and the app reads nothing there",
                hint="upload it, or start `osteon app` with --data FOLDER",
            )
    known = {s.id: seen.sight_of(s.id, s.case.content) for s in scans if s.case is not None}
    return Scans(tuple(scan.id for scan in scans), tuple(trained_on(known)))
