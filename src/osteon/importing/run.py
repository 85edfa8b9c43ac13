"""`osteon import`: from the user's files to dataset.yaml, with every case read and checked once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Unpack

from osteon.core.errors import OsteonError
from osteon.core.locks import lock_folder
from osteon.dataset.manifest import Manifest, write_manifest
from osteon.formats.io import describe_header_warnings
from osteon.importing.case_selection import choose_cases
from osteon.importing.import_case import ImportedCase, merge_warnings
from osteon.importing.import_manifest import build_manifest, check_patterns, check_structures, find_structures, hold_out
from osteon.importing.options import ImportKeywords, ImportOptions
from osteon.importing.piece_places import are_unlike
from osteon.importing.pieces import close_range, name_of_labels, number_pieces, owner_names
from osteon.importing.read_cases import ReadSettings, read_cases, remove_records
from osteon.importing.recognition import find_form
from osteon.importing.reimport import ImportOrigin, digest_inputs, find_previous_import
from osteon.importing.source_forms import Source, SourceCase, SourceForm, compile_pattern
from osteon.importing.structure_names import adopt_file_names, find_contradictions, read_file_structures

LOOKS_NUMBERED = "the same value lies on unlike places in different cases, as where values number pieces"
WAYS_OUT = (
    "--fragments instances takes them as pieces of one structure, --fragments classes says that each is a structure"
)


@dataclass(frozen=True)
class ImportReport:
    """The result of an import.

    Attributes:
        folder: Where dataset.yaml was written.
        form: The form that the source had.
        manifest: What was written.
        failed: Case id → why it was left out.
        warnings: What people should look at.
        lost: Scans, masks and annotations that are there and were not taken, each with its name and why.
        present: Case id → names of the structures that have a voxel there, for labelled cases.
        repeated: Nothing was done, since the dataset is there, from the same files with the same options. What only
            reading tells (`warnings`, `present`) is empty then.
    """

    folder: Path
    form: str
    manifest: Manifest
    failed: dict[str, OsteonError] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    present: dict[str, tuple[str, ...]] = field(default_factory=dict)
    repeated: bool = False

    @property
    def duplicates(self) -> list[tuple[str, ...]]:
        """Ids of cases whose images are the same voxels, one tuple for each image."""
        same: dict[str, list[str]] = defaultdict(list)
        for case in self.manifest.cases:
            if case.content is not None:
                same[case.content].append(case.id)
        return [tuple(ids) for ids in same.values() if len(ids) > 1]


def import_dataset(
    source: Path,
    folder: Path,
    *,
    overwrite: bool = False,
    workers: int | None = None,
    announce: Callable[[str], None] | None = None,
    ask: Callable[[str], bool] | None = None,
    **keywords: Unpack[ImportKeywords],
) -> ImportReport:
    """Read and check every case of `source` and write `folder`/dataset.yaml. The user's files stay as they are.

    Args:
        source: The data, in a form of `recognition.FORMS`.
        folder: The dataset to be made.
        overwrite: Replace an existing dataset.yaml. Without it, one that was made from the same files with the
            same options is left as it is, and any other is an error.
        workers: Processes for reading the cases; None: as memory allows.
        announce: Is called, line by line and before anything is written, with how the source was understood.
        ask: Is called with a question to people, and says yes or no; None: a note takes the question's place.
        **keywords: Fields of `ImportOptions`.

    Raises:
        UsageError: An option makes no sense, `source` has no known form, or another import works in `folder`.
        FileError: `source` is missing or its list cannot be read.
        DatasetError: No case could be imported, or none is left to train on.
    """
    source, folder, options = Path(source), Path(folder), ImportOptions(**keywords)
    form = find_form(source, options.form)
    form.check(options)
    found = form.read(source, options)
    cases = choose_cases(found.cases, options.only, options.hold_out)
    origin = ImportOrigin(f"{form.name}: {source.absolute()}", options.given(), digest_inputs(found, cases))
    if not overwrite and (before := find_previous_import(folder, origin)) is not None:
        return ImportReport(folder, form.name, before, repeated=True)
    why = f" (recognised by {form.recognised_by})" if options.form is None and form.recognised_by else ""
    if announce is not None:
        for line in (f"form {form.name}: {form.description}{why}", *found.summary):
            announce(line)
    found.warnings += _adopt_names(found, cases, by_user=options.structures is not None)
    if options.fragments == "instances" and found.structures is not None:
        found.structures = number_pieces(found.structures, name_of_labels(cases))
    cases = _find_subjects(cases, options)
    with lock_folder(folder, "another import", "wait until it has ended, or choose another folder"):
        if not overwrite and (before := find_previous_import(folder, origin)) is not None:  # made meanwhile
            return ImportReport(folder, form.name, before, repeated=True)
        return _import_cases(source, folder, form, found, cases, origin, options, workers, ask)


def _adopt_names(found: Source, cases: Sequence[SourceCase], *, by_user: bool) -> list[str]:
    """Give the source's structures what label files say of them; warnings where these say other values."""
    if found.structures is None:
        return []
    files = read_file_structures(cases)
    found.structures = adopt_file_names(found.structures, (file.structures for file in files), rename=not by_user)
    return find_contradictions(found.structures, files, "--labels" if by_user else "the dataset")


def _find_subjects(cases: Sequence[SourceCase], options: ImportOptions) -> list[SourceCase]:
    subject_of = compile_pattern(options.subject_pattern, "--subject")
    site_of = compile_pattern(options.site_pattern, "--site")
    return [replace(case, subject=subject_of(case) or case.subject, site=site_of(case) or case.site) for case in cases]


def look_numbered(imported: Sequence[ImportedCase]) -> bool:
    """Whether nothing names the values of the labels, and they look as if they numbered pieces."""
    labelled = [case for case in imported if case.entry.segmentation is not None]
    return all(case.places for case in labelled) and are_unlike([case.places for case in labelled])


def _import_cases(
    source: Path,
    folder: Path,
    form: SourceForm,
    found: Source,
    cases: Sequence[SourceCase],
    origin: ImportOrigin,
    options: ImportOptions,
    workers: int | None,
    ask: Callable[[str], bool] | None,
) -> ImportReport:
    """Read the cases and write the manifest; the folder is held."""
    pieces = options.fragments == "instances"
    settings = ReadSettings(found, folder, origin.digest(), options.repair_geometry, options.allow_empty, pieces)
    imported, failed = read_cases(settings, cases, workers)
    structures = find_structures(found, imported, failed, str(source))
    if options.fragments is None and look_numbered(imported):
        if ask is not None:
            pieces = ask(f"{LOOKS_NUMBERED}. Take them as pieces of one structure?")
        else:
            found.warnings.append(f"{LOOKS_NUMBERED}: {WAYS_OUT}")
    if pieces:
        structures = close_range(number_pieces(structures, name_of_labels(cases)), max(c.highest for c in imported))
    manifest = build_manifest(found, structures, imported, origin, complete=not failed and not found.lost)
    manifest, warnings = hold_out(manifest, options, [case.id for case in cases if case.id in failed])
    labelled = [case for case in imported if case.entry.segmentation is not None]
    present = {case.entry.id: owner_names(case.present, case.structures, structures) for case in labelled}
    report = ImportReport(folder, form.name, manifest, failed, [], found.lost, present)
    report.warnings.extend(
        [
            *found.warnings,
            *warnings,
            *merge_warnings(imported),
            *describe_header_warnings(file for case in cases if case.id not in failed for file in case.files),
            *(f"{', '.join(ids)}: the images are the same voxels; they stay in one fold" for ids in report.duplicates),
            *check_structures(manifest, present),
            *check_patterns(manifest, options),
        ]
    )
    write_manifest(folder, manifest)
    if not failed:  # else another attempt with --overwrite need not read the others
        remove_records(folder)
    return report
