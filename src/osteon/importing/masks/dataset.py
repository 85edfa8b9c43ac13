"""What the cases of scans and masks are together: ids, channels, structures, and how they are described."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from osteon.core.errors import DatasetError, UsageError
from osteon.core.file_names import natural_key
from osteon.core.labels import Structure, make_structures
from osteon.core.text import pluralise, shorten_list
from osteon.dataset.case_ids import safe_id, unique_ids
from osteon.dataset.manifest import Channel
from osteon.dataset.modality import Modality, modality_of
from osteon.formats.mask_names import case_name, channel_name, name_before_last_word
from osteon.importing.masks.cases import MaskCase
from osteon.importing.masks.groups import ScanGroup
from osteon.importing.options import ImportOptions
from osteon.importing.pieces import owner_of
from osteon.importing.pseudonyms import Patient, Pseudonyms
from osteon.importing.structure_names import check_priority, merge_structures

_SHOWN = 8


def collect_structures(cases: Sequence[MaskCase]) -> tuple[Structure, ...] | None:
    """The structures that all masks name, in natural order; None where only values are known."""
    names = {
        name
        for case in cases
        for name in case.names
        if case.structure_masks or (case.dicom_labels and not case.label_maps)
    }
    maps = {name for case in cases for name in case.names if case.label_maps}
    if not names:  # each label map says its own: the import unites what their headers say
        tabled = any(case.table is not None for case in cases)
        return merge_structures(case.map_structures for case in cases) if tabled else None
    return make_structures(sorted(names | maps, key=natural_key))


def check_names(
    cases: Sequence[MaskCase], structures: Sequence[Structure] | None, *, by_user: bool, priority: Sequence[str] | None
) -> None:
    """Refuse names that do not fit together.

    Args:
        cases: A case whose label file has no name, beside others that have, gets a `problem`.
        structures: The dataset's; None where only the label files say.
        by_user: Whether they come from the user or a table.
        priority: As the user gave it.

    Raises:
        UsageError: Masks of structures that are not listed, or a priority of unknown names.
    """
    if structures is None:
        check_priority(priority, None)
        return
    listed = [structure.name for structure in structures]
    masks = {name for case in cases for name in case.structure_masks}
    unlisted = sorted({name for name in masks if owner_of(name, structures) is None}, key=natural_key)
    if unlisted:
        raise UsageError(
            f"there are masks of {shorten_list(unlisted, _SHOWN)}, which the list of structures does not name "
            f"({shorten_list(listed, _SHOWN)})",
            hint="name them all: --labels femur=1,tibia=2; or leave --labels and the table of labels out",
        )
    check_priority(priority, structures)
    for case in cases:
        if case.is_unnamed and not by_user and case.problem is None:
            case.problem = DatasetError(
                f"{case.label_maps[0].path}: nothing says which of {shorten_list(listed, _SHOWN)} it shows",
                hint="name it after its structure, or name the structures: --labels femur=1,tibia=2",
            )


def _modality_in(case: MaskCase) -> Modality | None:
    """What the case's first scan says about its modality; None where it says nothing."""
    scan = case.group.scans[0]
    modality = modality_of(scan.series.modality) if scan.series else modality_of(channel_name(scan.name))
    return None if modality == "other" else modality


def _channel_names(case: MaskCase) -> tuple[str, ...]:
    """The names of the case's channels; that of a single one says nothing."""
    scans = case.group.scans
    return tuple(channel_name(scan.name) for scan in scans) if len(scans) > 1 else ("",)


def collect_channels(cases: Sequence[MaskCase], options: ImportOptions) -> list[Channel]:
    """The channels that most cases have; a case with others gets a `problem`."""
    clear = [case for case in cases if not case.group.is_ambiguous]
    [(usual, _)] = Counter(map(_channel_names, clear)).most_common(1) or [(("",), 0)]
    for case in clear:
        if _channel_names(case) != usual and case.problem is None:
            listed = ", ".join(str(scan.path) for scan in case.group.scans)
            wanted = ", ".join(usual) if len(usual) > 1 else "one scan"
            case.problem = DatasetError(
                f"its scans are {listed}, while most cases have {wanted}", hint="give all cases the same channels"
            )
    if len(usual) > 1:
        return [Channel(name=name, modality=options.modality or modality_of(name)) for name in usual]
    modalities = Counter(modality for case in cases if (modality := _modality_in(case)) is not None)
    modality = options.modality or (modalities.most_common(1)[0][0] if modalities else "other")
    for case in cases:
        own_modality = _modality_in(case)
        if options.modality is None and own_modality not in (None, modality) and case.problem is None:
            case.problem = DatasetError(
                f"{case.group.scans[0].path} is {own_modality}, while most scans here are {modality}",
                hint="import them apart (--only), or pass --modality where one rule for intensities is right",
            )
    return [Channel.of(modality)]


def case_ids(
    groups: Sequence[ScanGroup], source: Path, patients: Sequence[Patient], pseudonyms: Pseudonyms, warnings: list[str]
) -> list[str]:
    """Ids from folders and names, patients' names and ids replaced by their keys; twins get a line in `warnings`."""
    cases_in = Counter(group.home for group in groups)
    short, long = [], []
    for group, patient in zip(groups, patients, strict=True):
        is_alone = group.home.name and cases_in[group.home] == 1
        last = group.home.name if is_alone else group.name.rpartition("/")[2] or _name_alone(group, source)
        full = "_".join([*group.home.parts, *([group.name] if group.name else [])]) or last
        short.append(safe_id(pseudonyms.hide(last, patient)))
        long.append(safe_id(pseudonyms.hide(full, patient)))
    scans = [
        safe_id(pseudonyms.hide(f"{'_'.join(g.scans[0].folder.parts)}_{g.scans[0].name}", p))
        for g, p in zip(groups, patients, strict=True)
    ]
    return unique_ids([short, long, scans], warnings)


def _name_alone(group: ScanGroup, source: Path) -> str:
    """The name of a case that is alone in its folder."""
    if group.home.name:
        return group.home.name
    scan = group.scans[0]
    return (
        case_name(scan.name)
        or "_".join(name_before_last_word(scan.name))
        or (scan.folder.parts or (source.absolute().name,))[0]
    )


def summarise_cases(cases: Sequence[MaskCase], structures: Sequence[Structure] | None, table: Path | None) -> list[str]:
    """What was found, in sentences, for people to agree with before anything is written."""
    labelled = [case for case in cases if case.group.masks]
    series = sum(scan.series is not None for case in cases for scan in case.group.scans)
    files = sum(len(case.group.scans) for case in cases) - series
    kinds = " and ".join(
        part for part in (series and f"{series} DICOM series", files and f"{pluralise(files, 'file')}") if part
    )
    lines = [f"{pluralise(len(cases), 'case')}, {len(labelled)} of them with labels; scans are {kinds}"]
    subjects = defaultdict[str, list[str]](list)
    for case in cases:
        if case.group.subject and not case.group.scans[0].series:
            subjects[case.group.subject].append(case.id)
    if (several := max(subjects, key=lambda subject: len(subjects[subject]), default="")) and len(
        subjects[several]
    ) > 1:
        listed = shorten_list(subjects[several], _SHOWN)
        lines.append(f"names tell {len(subjects)} subjects, such as {several} with {listed}")
    if not labelled:
        return lines
    if structures is None:
        lines.append("label files say values only; names come from --labels NAME=VALUE,… or a table labels.json")
        return lines
    if table is not None:
        lines.append(f"structures are those of {table.name}")
    beside = [case.table.path for case in cases if case.table is not None]
    if beside:
        tables = f"{len(set(beside))} tables of their own, such as" if len(set(beside)) > 1 else "the table"
        lines.append(f"the values of {len(beside)} label maps are named by {tables} {beside[0]}")
    named = [case for case in labelled if case.structure_masks]
    owned = [{owner_of(name, structures) for name in case.structure_masks} for case in named]
    have = Counter(name for names in owned for name in names)
    if have:
        shown = [f"{s.name} ({have[s.name]})" for s in structures if have[s.name]]
        lines.append(f"masks: {shorten_list(shown, _SHOWN)}")
    for structure in structures:
        without = [case.id for case, names in zip(named, owned, strict=True) if structure.name not in names]
        if have[structure.name] and without:
            more = " …" if len(without) > _SHOWN else ""
            lines.append(
                f"no mask of {structure.name} in {pluralise(len(without), 'case')} "
                f"({', '.join(without[:_SHOWN])}{more}): not annotated there, so neither present nor background"
            )
    return lines
