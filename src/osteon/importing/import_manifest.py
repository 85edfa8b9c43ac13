"""The manifest of an import, and what is worth a look in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from osteon.core.errors import DatasetError, OsteonError
from osteon.core.labels import Structure
from osteon.core.text import pluralise
from osteon.dataset.folds import SUBJECT_HINT, describe_main_subject, structures_only_held_out, structures_without_cases
from osteon.dataset.manifest import Manifest, describe_errors
from osteon.importing.case_selection import hold_out_cases
from osteon.importing.import_case import ImportedCase
from osteon.importing.options import ImportOptions, flag_of
from osteon.importing.reimport import ImportOrigin
from osteon.importing.source_forms import Source
from osteon.importing.structure_names import merge_structures

_SHOWN = 5


def find_structures(
    found: Source, imported: Sequence[ImportedCase], failed: Mapping[str, OsteonError], path: str
) -> tuple[Structure, ...]:
    """The dataset's structures; those that the label files say together where the source says none.

    Raises:
        DatasetError: No case could be imported, or no label file names a structure; the message names `path`.
    """
    if not imported:
        raise no_cases(path, failed)
    structures = found.structures or merge_structures(
        (case.structures for case in imported), [case.entry.id for case in imported]
    )
    if not structures and failed:
        raise no_cases(path, failed)
    if not structures and any(case.entry.segmentation is not None for case in imported):
        raise DatasetError(f"{path}: no label file names a structure", hint="name them: --labels NAME=VALUE,…")
    return structures


def no_cases(path: str, failed: Mapping[str, OsteonError]) -> DatasetError:
    """The error for a source of which no case can be used."""
    if not failed:
        return DatasetError(f"{path}: lists no cases", hint="check the list")
    reasons = "\n".join(f"  {case_id}: {error}" for case_id, error in list(failed.items())[:_SHOWN])
    more = f"\n  … and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
    return DatasetError(
        f"{path}: none of its {len(failed)} cases can be used:\n{reasons}{more}", hint="correct what is named above"
    )


def build_manifest(
    found: Source,
    structures: Sequence[Structure],
    imported: Sequence[ImportedCase],
    origin: ImportOrigin,
    *,
    complete: bool,
) -> Manifest:
    """The manifest of the imported cases; `complete` says that nothing of the source was left out.

    Raises:
        DatasetError: Cases or structures do not fit together.
    """
    try:
        return Manifest(
            name=found.name,
            channels=found.channels,
            structures=list(structures),
            overlapping=any(case.overlaps for case in imported),
            source=origin.source,
            options=origin.options,
            inputs=origin.inputs if complete else None,
            cases=[case.entry for case in imported],
        )
    except ValidationError as error:
        source = origin.source.partition(": ")[2]
        raise DatasetError(
            f"{source}: {describe_errors(error)}", hint="correct the source, or name the structures: --labels"
        ) from None


def hold_out(manifest: Manifest, options: ImportOptions, failed: Sequence[str]) -> tuple[Manifest, list[str]]:
    """The manifest with the cases of the final test marked, and warnings about subjects and about these cases."""
    warnings = []
    if options.subject_pattern is None and (one := describe_main_subject(manifest.cases)):
        warnings.append(f"{one}, and stay in one fold; {SUBJECT_HINT}")
    if options.hold_out is None:
        return manifest, warnings
    marked, lines = hold_out_cases(manifest, options.hold_out, dropped=failed)
    return marked, warnings + lines


def check_structures(manifest: Manifest, present: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Warnings about structures that no training can learn; `present` is that of the import's report."""
    if not present:
        return []
    missing = structures_without_cases(manifest.structures, present)
    return [
        *(f"structure {name} occurs in no case" for name in missing),
        *(
            f"structure {name} occurs in held-out cases alone ({', '.join(ids)}): no training can learn it"
            for name, ids in structures_only_held_out(manifest, present).items()
        ),
    ]


def check_patterns(manifest: Manifest, options: ImportOptions) -> list[str]:
    """Warnings about cases in which the patterns for subject and site find nothing."""
    warnings = []
    for name, value in (("subject_pattern", "subject"), ("site_pattern", "site")):
        pattern = getattr(options, name)
        without = [case.id for case in manifest.cases if getattr(case, value) is None]
        if pattern and without:
            warnings.append(
                f"{flag_of(name)} {pattern} finds nothing in {pluralise(len(without), 'case')}, such as {without[0]}"
            )
    return warnings
