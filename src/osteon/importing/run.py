"""`osteon import`: from the user's files to dataset.yaml, with every case read and checked once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from osteon.core.errors import DatasetError, OsteonError, UsageError
from osteon.core.locks import lock_folder
from osteon.core.text import pluralise
from osteon.dataset.folds import SAY_WHO, structures_held_out, structures_without_cases, told_subject
from osteon.dataset.manifest import FILE_NAME, Manifest, explain, write_manifest
from osteon.dataset.modality import parse_modality
from osteon.formats.registry import describe_header_warnings
from osteon.formats.stl import MeshSpace
from osteon.importing.case_selection import hold_out as hold_cases_out
from osteon.importing.case_selection import nothing_left, select
from osteon.importing.import_case import told_once
from osteon.importing.patterns import finder
from osteon.importing.read_cases import Reading, forget, made_from, read_cases
from osteon.importing.recognition import form_named, recognise
from osteon.importing.reimport import as_told, inputs_digest, made_before
from osteon.importing.source_forms import (
    BetweenSlices,
    Form,
    Found,
    FoundCase,
    Group,
    MaskMarks,
    MeshUnit,
    Options,
    RleBase,
    RleOrder,
)
from osteon.importing.structure_names import adopt, contradicted, named_in_files, unite

_SHOWN = 5


@dataclass(frozen=True)
class ImportReport:
    """What came of an import.

    Attributes:
        folder: Where dataset.yaml was written.
        form: The form that the source had.
        manifest: What was written.
        failed: Case id → why it was left out.
        warnings: What people should look at.
        lost: Scans, masks and annotations that are there and were not taken, each with its name and why.
        present: Case id → names of the structures that have a voxel there, for labelled cases.
        duplicates: Ids of cases whose images are the same voxels, one tuple for each image.
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
    duplicates: list[tuple[str, ...]] = field(default_factory=list)
    repeated: bool = False


def import_dataset(
    source: Path,
    folder: Path,
    *,
    form: str | None = None,
    repair_geometry: bool = False,
    structures: Mapping[str, int] | None = None,
    subject_pattern: str | None = None,
    site_pattern: str | None = None,
    modality: str | None = None,
    case_pattern: str | None = None,
    group: Group = "color",
    mesh_unit: MeshUnit | None = None,
    mesh_space: MeshSpace | None = None,
    priority: Sequence[str] | None = None,
    accept_gaps: bool = False,
    resample_tilt: bool = False,
    keep_identity: bool = False,
    series: str | None = None,
    ignore_references: bool = False,
    between_slices: BetweenSlices = "fill",
    rle_order: RleOrder | None = None,
    rle_base: RleBase | None = None,
    mask_marks: MaskMarks | None = None,
    only: str | Sequence[str] | None = None,
    hold_out: str | None = None,
    allow_empty: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    announce: Callable[[str], None] | None = None,
) -> ImportReport:
    """Read and check every case of `source` and write `folder`/dataset.yaml. The user's files stay as they are.

    Args:
        source: The data, in a form of `recognise.FORMS`.
        folder: The dataset to be made.
        form: The form's name; recognised when None.
        repair_geometry: Resample labels that do not lie on the image's grid, instead of leaving the case out.
        structures: Name → value, over what the source says.
        subject_pattern: A regular expression whose first group, in a case's id or else in its image's path, is the
            subject. The case id without one.
        site_pattern: The same for the site.
        modality: `ct`, `mr`, `xray` or `other` for all channels, over what the source says.
        case_pattern: This and the next thirteen are for forms that convert; `forms.Options` says more.
        group: `color`, `all` or `none`: which meshes become one structure.
        mesh_unit: `mm`, `cm` or `m`; found out when None.
        mesh_space: `LPS` or `RAS`; found out when None.
        priority: The first name wins where structures overlap; None keeps overlaps.
        accept_gaps: Take DICOM series with missing or uneven slices, resampled.
        resample_tilt: Take DICOM series with a tilted gantry, resampled.
        keep_identity: Let patients' names, ids and dates into the dataset.
        series: Of several DICOM series of a case, the one with this number, UID or description.
        ignore_references: Take DICOM SEG and RTSTRUCT by their grid alone, also where they refer to another scan.
        between_slices: `fill` or `leave` the slices between, where labels were drawn on every second one or so.
        rle_order: `rows` or `columns`, along which runs are counted; by the columns' names when None.
        rle_base: 0 or 1, the number of the first pixel; by the columns' names when None.
        mask_marks: `bright` or `dark`, which pixels of a picture's mask are the structure; found out when None.
        only: Import these cases alone, in a form of `selecting`, such as `first:40` or `c1,c7`.
        hold_out: Keep these cases for the final test (`Case.held_out`), in a form of `selecting`: `6` (the last six),
            `0.2` (a fifth, drawn by whole groups), `c1,c7`. Cases of one subject or image go with each other.
        allow_empty: Take cases whose label is empty.
        overwrite: Replace a dataset.yaml that is there. Without it, one that was made from the same files with the
            same options is left as it is, and any other is an error.
        workers: Processes for reading the cases; None: as memory allows.
        announce: Is told, line by line and before anything is written, how the source was understood.

    Returns:
        What was taken, what was left out and why, and what is odd.

    Raises:
        UsageError: An argument makes no sense, `source` has no known form, or another import works in `folder`.
        FileError: `source` is missing or its list cannot be read.
        DatasetError: No case could be taken, or none is left to train on.
    """
    source, folder = Path(source), Path(folder)
    options = Options(
        structures,
        parse_modality(modality),
        case_pattern=case_pattern,
        group=group,
        mesh_unit=mesh_unit,
        mesh_space=mesh_space,
        priority=None if priority is None else tuple(priority),
        accept_gaps=accept_gaps,
        resample_tilt=resample_tilt,
        keep_identity=keep_identity,
        series=series,
        ignore_references=ignore_references,
        between_slices=between_slices,
        rle_order=rle_order,
        rle_base=rle_base,
        mask_marks=mask_marks,
    )
    subject_of, site_of = finder(subject_pattern, "--subject"), finder(site_pattern, "--site")
    row = _form(source, form)
    row.check(options)
    found = row.read(source, options)
    warnings = list(found.warnings)
    selected = _selected(found, only, hold_out)
    place = f"{row.name}: {source.absolute()}"
    told = as_told(
        repair_geometry=repair_geometry,
        structures=structures,
        subject_pattern=subject_pattern,
        site_pattern=site_pattern,
        modality=options.modality,
        case_pattern=case_pattern,
        group=None if group == "color" else group,
        mesh_unit=mesh_unit,
        mesh_space=mesh_space,
        priority=priority,
        accept_gaps=accept_gaps,
        resample_tilt=resample_tilt,
        keep_identity=keep_identity,
        series=series,
        ignore_references=ignore_references,
        between_slices=None if between_slices == "fill" else between_slices,
        rle_order=rle_order,
        rle_base=rle_base,
        mask_marks=mask_marks,
        only=only,
        hold_out=hold_out,
        allow_empty=allow_empty,
    )
    inputs = inputs_digest(found, selected)
    if not overwrite and (before := _there_already(folder, place, told, inputs)) is not None:
        return ImportReport(folder, row.name, before, duplicates=_duplicates(before), repeated=True)
    if announce is not None:
        why = f" (recognised by {row.fits})" if row.fits and form is None else ""
        for line in (f"form {row.name}: {row.what}{why}", *found.understood):
            announce(line)
    if found.structures is not None:
        named = named_in_files(selected)
        found.structures = adopt(found.structures, (own.structures for own in named), rename=structures is None)
        warnings += contradicted(found.structures, named, "the dataset" if structures is None else "--labels")
    selected = [
        replace(case, subject=subject_of(case) or case.subject, site=site_of(case) or case.site) for case in selected
    ]
    with lock_folder(folder, "another import", "wait until it has ended, or choose another folder"):
        if not overwrite and (before := _there_already(folder, place, told, inputs)) is not None:  # meanwhile
            return ImportReport(folder, row.name, before, duplicates=_duplicates(before), repeated=True)
        reading = Reading(
            found,
            folder,
            made_from(place, told, inputs),
            repair_geometry=repair_geometry,
            allow_empty=allow_empty,
        )
        taken, failed = read_cases(reading, selected, workers)
        if not taken:
            raise _nothing_taken(source, failed)
        present = {case.entry.id: case.present for case in taken if case.entry.segmentation is not None}
        known = found.structures or unite((case.structures for case in taken), [case.entry.id for case in taken])
        if not known and failed:
            raise _nothing_taken(source, failed)
        if not known and present:
            raise DatasetError(f"{source}: no label file names a structure", hint="name them: --labels NAME=VALUE,…")
        lost = [*found.lost, *(line for case in taken for line in case.lost)]
        try:
            manifest = Manifest(
                name=found.name,
                channels=found.channels,
                structures=list(known),
                overlapping=any(case.overlaps for case in taken),
                source=place,
                options=told,
                inputs=None if failed or lost else inputs,
                cases=[case.entry for case in taken],
            )
        except ValidationError as error:
            raise DatasetError(
                f"{source}: {explain(error)}", hint="correct the source, or name the structures: --labels"
            ) from None
        if subject_pattern is None and (one := told_subject(manifest.cases)):
            warnings.append(f"{one}, and stay in one fold; {SAY_WHO}")
        if hold_out is not None:
            manifest, lines = hold_cases_out(manifest, hold_out, dropped=[c.id for c in selected if c.id in failed])
            warnings += lines
        duplicates = _duplicates(manifest)
        warnings += told_once(taken)
        warnings += describe_header_warnings(file for case in selected if case.id not in failed for file in case.files)
        warnings += [f"{', '.join(ids)}: the images are the same voxels; they stay in one fold" for ids in duplicates]
        if present:
            warnings += [f"structure {name} occurs in no case" for name in structures_without_cases(known, present)]
            for name, ids in structures_held_out(manifest, present).items():
                warnings.append(
                    f"structure {name} occurs in held-out cases alone ({', '.join(ids)}): no training can learn it"
                )
        for what, pattern, missed in (
            ("--subject", subject_pattern, [c.id for c in manifest.cases if c.subject is None]),
            ("--site", site_pattern, [c.id for c in manifest.cases if c.site is None]),
        ):
            if pattern and missed:
                warnings.append(
                    f"{what} {pattern} finds nothing in {pluralise(len(missed), 'case')}, such as {missed[0]}"
                )
        write_manifest(folder, manifest)
        if not failed:  # else another attempt with --overwrite need not read the others
            forget(folder)
        return ImportReport(folder, row.name, manifest, failed, warnings, lost, present, duplicates)


def _there_already(folder: Path, place: str, told: Mapping[str, Any], inputs: str) -> Manifest | None:
    """The dataset where it is there and was made from the same; None where there is none.

    Raises:
        UsageError: Another one is there.
    """
    if not (folder / FILE_NAME).exists():
        return None
    before = made_before(folder, place, told, inputs)
    if before is None:
        raise UsageError(
            f"{folder / FILE_NAME}: is there already, and was not made from these files with these options",
            hint="choose another folder, or pass --overwrite",
        )
    return before


def _form(source: Path, name: str | None) -> Form:
    if name is None:
        return recognise(source)
    row = form_named(name)
    reason = row.misses(source)
    if reason is not None:
        raise UsageError(f"{source}: is not of the form {name}: {reason}", hint="check SOURCE, or leave --form out")
    return row


def _selected(found: Found, only: str | Sequence[str] | None, hold_out: str | None) -> list[FoundCase]:
    """The cases to be read, in the source's order. What `hold_out` asks for is looked at before anything is read."""
    cases = found.cases
    if only is not None:
        chosen = set(select(only, [case.id for case in cases], "--only"))
        cases = [case for case in cases if case.id in chosen]
    if hold_out is not None and cases:
        labelled = [case.id for case in cases if case.labelled]
        if not labelled:
            raise UsageError(
                f"--hold-out {hold_out}: none of the {len(cases)} cases has a label, so no test can score them",
                hint="leave it out",
            )
        if set(select(hold_out, [case.id for case in cases], "--hold-out", counted=labelled)) >= set(labelled):
            raise nothing_left(len(labelled))
    return cases


def _duplicates(manifest: Manifest) -> list[tuple[str, ...]]:
    same: dict[str, list[str]] = defaultdict(list)
    for case in manifest.cases:
        if case.content is not None:
            same[case.content].append(case.id)
    return [tuple(ids) for ids in same.values() if len(ids) > 1]


def _nothing_taken(source: Path, failed: Mapping[str, OsteonError]) -> DatasetError:
    if not failed:
        return DatasetError(f"{source}: lists no cases", hint="check the list")
    reasons = "\n".join(f"  {case_id}: {error}" for case_id, error in list(failed.items())[:_SHOWN])
    more = f"\n  … and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
    return DatasetError(
        f"{source}: none of its {len(failed)} cases can be used:\n{reasons}{more}", hint="correct what is named above"
    )
