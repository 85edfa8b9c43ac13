"""What a source holds, before anything is imported: the form, the cases, what is odd. Runs in the reader's process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from osteon.app.model_import import UploadedModel, find_model
from osteon.core.errors import FileError, OsteonError
from osteon.core.files import is_file
from osteon.core.folders import files_below
from osteon.core.labels import Structure, make_structures
from osteon.core.text import pluralise
from osteon.formats.io import read_segmentation, read_structures
from osteon.formats.registry import suffix_of
from osteon.importing.options import ImportOptions, flag_of, parse_option
from osteon.importing.recognition import get_form, recognise
from osteon.importing.reimport import companion_files
from osteon.importing.source_forms import Source, SourceForm
from osteon.importing.structure_names import adopt_file_names, merge_structures

MAX_LISTED = 2000
MAX_HEADERS = 3
"""Label files whose headers are asked for names."""
MAX_FILES_READ = 40
"""Label files whose voxels are looked at for values, where nothing names them."""


@dataclass(frozen=True)
class SourceReport:
    """What a source holds.

    Attributes:
        form: Its name; empty where none was recognised.
        what: The form in words.
        understood: How the source is read, in sentences.
        lost: What is not imported.
        warnings: What is unusual.
        cases: For each: id, names of its files, whether it is labelled.
        structures: Name and value of each.
        has_label_maps: Whether labels are numbers in label files, which the structures name.
        files_read: Label files whose voxels were read for values; 0 where something names them.
        modality: Of the first channel.
        options: Those that change how a source of this form is read, as the command line calls them.
        files: Images and labels below the source, relative, for pairing by hand.
        error: Why nothing was recognised; `hint` the way out.
        hint: See `error`.
        model: A trained model, where that is what came in; then all else is empty.
    """

    form: str = ""
    what: str = ""
    understood: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    cases: tuple[dict[str, Any], ...] = ()
    structures: tuple[tuple[str, int], ...] = ()
    has_label_maps: bool = False
    files_read: int = 0
    modality: str = ""
    options: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    error: str = ""
    hint: str = ""
    model: UploadedModel | None = None


def inspect_source(
    source: Path, allowed: Sequence[Path], form: str | None = None, options: Mapping[str, str] | None = None
) -> SourceReport:
    """Recognise a source and list what it holds.

    Args:
        source: The data.
        allowed: Folders that may be read. A source that refers to files elsewhere is refused.
        form: The form's name; recognised when None.
        options: As the command line calls them, such as `--series`, with their values.
    """
    files = tuple(_files(source, allowed))
    row = None
    try:
        if form is None and (model := find_model(source)) is not None:
            return SourceReport(model=model)
        row = recognise(source) if form is None else get_form(form)
        if form is not None and (missing := row.explain_mismatch(source)):
            raise FileError(f"not of the form {form}: {missing}", hint="choose another form")
        found = row.read(source, _reader_options(options or {}, row))
        check_allowed(found, allowed)
    except OsteonError as error:
        names = () if row is None else _option_names(row)
        form, message = "" if row is None else row.name, error.message.replace(f"{source}: ", "")
        return SourceReport(form, error=message, hint=error.hint, files=files, options=names)
    has_label_maps = any(
        case.label is not None and not str(case.label).lower().endswith(".seg.nrrd") for case in found.cases
    )
    structures = found.structures or _read_names(found)
    files_read = 0
    if not structures and has_label_maps:
        structures, files_read = _read_values(found)
    return SourceReport(
        row.name,
        row.description,
        tuple(found.summary),
        tuple(found.lost),
        tuple(found.warnings),
        tuple(_case(case) for case in found.cases),
        tuple((s.name, s.value) for s in structures),
        has_label_maps,
        files_read,
        found.channels[0].modality if found.channels else "",
        _option_names(row),
        files,
    )


def _option_names(row: SourceForm) -> tuple[str, ...]:
    return tuple(sorted(map(flag_of, row.options)))


def _reader_options(options: Mapping[str, str], row: SourceForm) -> ImportOptions:
    """The options that the form has, as its reader takes them."""
    fields = {name: parse_option(name, text) for name in row.options if (text := options.get(flag_of(name)))}
    return ImportOptions(**fields)


def check_allowed(found: Source, allowed: Sequence[Path]) -> None:
    """Raise FileError where a list names files outside the allowed folders, however it gets there."""
    for case in found.cases:
        for path in (*case.images, *((case.label,) if case.label else ()), *case.parts, *companion_files(case)):
            real = path.resolve()
            if not any(real.is_relative_to(folder) for folder in allowed):
                raise FileError(
                    f"case {case.id}: names a file outside the workspace, and the app reads nothing there",
                    hint="upload the files with the list, or start `osteon app` with --data FOLDER",
                )


def _case(case: Any) -> dict[str, Any]:
    return {
        "id": case.id,
        "images": [path.name for path in case.images][:4] or [f"{pluralise(len(case.parts), 'file')}"],
        "label": case.label.name if case.label else "one for each structure" if case.labels else "",
        "labelled": case.labelled,
    }


def _read_names(found: Source) -> tuple[Structure, ...]:
    named: list[tuple[Structure, ...]] = []
    for case in found.cases:
        if case.label is not None and is_file(case.label) and len(named) < MAX_HEADERS:
            try:
                named.append(read_structures(case.label))
            except OsteonError:
                continue
    return adopt_file_names(merge_structures(named), iter(named)) if any(named) else ()


def _read_values(found: Source) -> tuple[tuple[Structure, ...], int]:
    """The values in label files that nothing names, called `label_<value>`, and how many files were looked into."""
    labels = [case.label for case in found.cases if case.label is not None and is_file(case.label)][:MAX_FILES_READ]
    values: set[int] = set()
    for label in labels:
        try:
            array = read_segmentation(label).array
        except OsteonError:  # raised again when the case is imported
            continue
        values |= set(np.unique(array).tolist()) - {0}
    ordered = sorted(values)
    return make_structures([f"label_{value}" for value in ordered], ordered), len(labels)


def _files(source: Path, allowed: Sequence[Path]) -> list[str]:
    if source.is_file():
        return [source.name]
    files = []
    for path in files_below(source, hidden=False):
        allowed_path = any(path.resolve().is_relative_to(folder) for folder in allowed)
        if allowed_path and suffix_of(path) is not None:
            files.append(path.relative_to(source).as_posix())
            if len(files) >= MAX_LISTED:
                break
    return files


@dataclass(frozen=True)
class ScanList:
    """What a source holds for segmenting.

    Attributes:
        ids: Of the scans.
        problems: Id → why it cannot be segmented.
        notes: What is left out, and what a user should know.
        trained_on: Of a dataset's cases among them those that the model was trained on.
    """

    ids: tuple[str, ...] = ()
    problems: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    trained_on: tuple[str, ...] = ()


def list_scans(source: Path, allowed: Sequence[Path], model: Path | None = None) -> ScanList:
    """The scans that a model would segment of a source.

    Args:
        source: A folder, a dataset or a file.
        allowed: Folders that may be read.
        model: The model's folder, which says what it takes and what it has seen; None takes everything.

    Raises:
        UsageError: It holds none, or two of one name.
        FileError: It refers to files elsewhere, or the model's own are damaged.
    """
    from osteon.plan.schema import FILE_NAME as PLAN
    from osteon.plan.schema import read_plan
    from osteon.predicting.records import read_validation
    from osteon.predicting.scans import find_scans
    from osteon.predicting.training_cases import UNKNOWN, read_seen_scans, trained_on

    notes: list[str] = []
    plan = None if model is None or not is_file(model / PLAN) else read_plan(model / PLAN)
    seen = UNKNOWN if model is None else read_seen_scans(model, read_validation(model))
    scans = find_scans([source], plan, on_note=notes.append, seen=seen)
    for scan in scans:
        if not all(any(path.resolve().is_relative_to(folder) for folder in allowed) for path in scan.files):
            raise FileError(
                f"{scan.id}: its file is outside the workspace, where the app reads nothing",
                hint="upload it, or start `osteon app` with --data FOLDER",
            )
    problems = {scan.id: str(scan.problem.message) for scan in scans if scan.problem is not None}
    for scan in scans:
        if scan.problem is None and (lost := [path for path in scan.files if not is_file(path)]):
            problems[scan.id] = f"{lost[0]}: there is no such file"
    known = {s.id: seen.role_of(s.id, s.case.content) for s in scans if s.case is not None}
    ids = tuple(scan.id for scan in scans if scan.id not in problems)
    return ScanList(ids, problems, tuple(notes), tuple(trained_on(known)))
