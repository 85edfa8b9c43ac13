"""One export: each case is read, made and written by itself; a case that fails never stops the others."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from osteon.core.errors import OsteonError, UsageError
from osteon.core.labels import Structure, make_structures
from osteon.core.parallel import for_each
from osteon.core.progress import status
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import FILE_NAME as MANIFEST
from osteon.exporting.cases import dataset_case, find_segmentations
from osteon.exporting.export_form import ExportCase, ExportedCase, Exporter, ExportForm, ExportOptions, refuse_options
from osteon.exporting.output_record import OutputRecord
from osteon.exporting.registry import MODEL_FORMS, find_form
from osteon.formats.io import describe_header_warnings


@dataclass(frozen=True)
class ExportReport:
    """The result of an export.

    Attributes:
        out: The output folder.
        done: Cases that were exported.
        files: What was written, in order.
        failed: Case → why it was not exported.
        notes: What a person should know.
    """

    out: Path
    done: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    failed: dict[str, OsteonError] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def export(
    form: str, sources: Sequence[Path], out: Path, options: ExportOptions | None = None, *, overwrite: bool = False
) -> ExportReport:
    """Write segmentations, or a dataset, in another form.

    Args:
        form: A name of `registry.FORMS` or `registry.MODEL_FORMS`.
        sources: Label files, folders of them, or datasets; one dataset for a form of datasets, one model for a form of
            models.
        out: The folder; made if it does not exist.
        options: What the user says.
        overwrite: Replace files in `out` that no export has written.

    Raises:
        UsageError: Form, options or sources make no sense.
        FileError: A source does not exist, or `out` cannot be written.
    """
    options, out = options or ExportOptions(), Path(out)
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: the output is a folder, and this is a file", hint="name a folder for it")
    if form in MODEL_FORMS:
        return _model(form, sources, out, options, overwrite=overwrite)
    row = find_form(form)
    row.check(options)
    dataset = _dataset(row, sources) if row.of_dataset else None
    cases = (
        find_segmentations(sources, _structures(options))
        if dataset is None
        else [dataset_case(dataset.restrict_to(case), case) for case in dataset.manifest.cases]
    )
    record = OutputRecord.open(out, overwrite=overwrite)
    record.check(row.name, [Path(name) for name in row.once])
    exporter, report = row.start(options, dataset), ExportReport(out)
    try:
        _export(row.name, exporter, record, cases, report)
    except BaseException:
        with suppress(OsteonError):  # what stopped the work is what counts
            record.write_summary()
        raise
    record.write_summary()
    return report


def _export(
    form: str, exporter: Exporter, record: OutputRecord, cases: Sequence[ExportCase], report: ExportReport
) -> None:
    """Case by case, and then what is about all of them."""

    def write(name: str, made: ExportedCase, of: Sequence[ExportCase]) -> ExportedCase:
        files = [file.path for file in made.files]
        kept = [path for case in of for path in (case.file, *case.scan) if path is not None]
        if files:
            with record.claim(form, name):
                record.check(form, files, kept)
                record.begin(form, name, files)
                for file in made.files:
                    file.write(record.folder / file.path)
                record.end(form, name, files)
        return replace(made, files=[replace(file, write=_written) for file in made.files])  # their contents can go

    def export_case(case: ExportCase) -> ExportedCase:
        return write(case.id, exporter.case(case), [case])

    rows, out = [], report.out
    found = for_each(export_case, cases, f"exporting {form}", name=lambda case: f"case {case.id}")
    order = {case.id: number for number, case in enumerate(cases)}
    for outcome in sorted(found, key=lambda outcome: order[outcome.item.id]):
        case, made = outcome.item, outcome.result or ExportedCase()
        if outcome.error is not None:
            report.failed[case.id] = outcome.error
            continue
        rows.append(made.row)
        report.done.append(case.id)
        report.files.extend(out / file.path for file in made.files)
        report.notes.extend(f"{case.id}: {note}" for note in made.notes)
    done = set(report.done)
    report.notes.extend(describe_header_warnings((case.file, True) for case in cases if case.file and case.id in done))
    if rows:
        made = write("", exporter.finish(rows), cases)
        report.files.extend(out / file.path for file in made.files)
        report.notes.extend(made.notes)


def _written(path: Path) -> None:
    """What is left of writing a file once it is done."""


def _model(form: str, sources: Sequence[Path], out: Path, options: ExportOptions, *, overwrite: bool) -> ExportReport:
    from osteon.exporting.model_files import export_model  # loads torch

    refuse_options(form, options)
    if len(sources) != 1:
        raise UsageError(f"{form} takes one model, not {len(sources)}", hint=f"osteon export {form} MODEL OUT")
    with status(f"exporting {form}"):
        files, notes = export_model(form, Path(sources[0]), out, overwrite=overwrite)
    return ExportReport(out, [str(sources[0])], files, {}, notes)


def _dataset(form: ExportForm, sources: Sequence[Path]) -> Dataset:
    if len(sources) != 1 or not (Path(sources[0]) / MANIFEST).is_file():
        raise UsageError(
            f"{form.name} takes one dataset, not {', '.join(map(str, sources))}",
            hint=f"give a folder with {MANIFEST}, as `osteon import` makes it",
        )
    return Dataset.open(Path(sources[0]))


def _structures(options: ExportOptions) -> tuple[Structure, ...] | None:
    if options.labels is None:
        return None
    if any(value < 1 for value in options.labels.values()) or len(set(options.labels.values())) < len(options.labels):
        raise UsageError("--labels: each structure has a value of its own, at least 1", hint="--labels L1=1,L2=2")
    return make_structures(list(options.labels), list(options.labels.values()))
