"""Which masks belong to which scan: by folder, by name and by grid, and nothing where these do not agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from osteon.core.file_names import name_key
from osteon.formats.mask_names import (
    SCAN_WORDS,
    channel_name,
    in_mask_folder,
    name_words,
    scan_folder,
    strip_mask_words,
    structure_key,
)
from osteon.formats.registry import stem_of
from osteon.importing.masks.files import MaskFile, Scan, SourceInventory
from osteon.importing.masks.grids import GridIndex
from osteon.importing.masks.groups import ScanGroup, group_scans
from osteon.importing.masks.owners import GroupNames, NameSimilarity, is_numbered
from osteon.importing.masks.references import LabelReferences
from osteon.importing.series_choice import choose_series, describe_scans, is_one_study
from osteon.importing.source_forms import compile_path_pattern

NOWHERE = "lies in no folder that holds a scan"
OTHER_CASE = "is named like another case, which has no scan"
TWO_CASES = "is named after two cases"
UNSURE = "is named after several scans, and its grid does not tell which"
UNREADABLE = "is named after no scan, and cannot be read"
UNFIT = "is named after no scan, and its grid fits none"
SEVERAL = "is named after no scan, and its grid fits several"
GRID_ALONE = "is named after no scan, and its grid alone is no proof among many"
CONTRADICTION = "is named after another case than the scan with which it lies"
NO_MASK = "no mask of its folder fits this scan"
NO_LABEL = "no label of its folder belongs to this series"
NO_CASE = "--case-pattern finds no case in its path"
NO_SCAN = "--case-pattern finds no scan of its case"

ROOT = PurePosixPath()


def pair_files(
    inventory: SourceInventory, pattern: str | None, *, series: str | None = None, ignore_references: bool = False
) -> list[ScanGroup]:
    """Sort scans and masks into cases. What belongs nowhere is added to `inventory.unmatched` or `inventory.lost`.

    Args:
        inventory: What was found.
        pattern: A regular expression whose first group, in a path, is the case.
        series: Of several DICOM series of a case, which one is meant.
        ignore_references: Take DICOM labels by place and grid, whatever they refer to.

    Raises:
        UsageError: The pattern is none, or has no group; or no series is called as `series` says.
    """
    references = (
        LabelReferences()
        if ignore_references
        else LabelReferences([*inventory.scans, *inventory.pictures], inventory.masks)
    )
    groups = (
        _pair_by_place(inventory, references, series)
        if pattern is None
        else pair_by_pattern(inventory, pattern, references, series)
    )
    inventory.warnings += references.describe_oddities(
        (mask, group.scans[0]) for group in groups for mask in group.masks
    )
    return groups


def _pair_by_place(inventory: SourceInventory, references: LabelReferences, series: str | None) -> list[ScanGroup]:
    homes: dict[PurePosixPath, list[Scan]] = defaultdict(list)
    masked = {folder for mask in inventory.masks for folder in (mask.folder, *mask.folder.parents)}
    for scan in inventory.scans:
        above = [folder for folder in (scan.folder, *scan.folder.parents) if folder in masked]
        homes[above[0] if above else ROOT].append(scan)
    homes = dict(zip(homes, choose_series(homes.values(), series, inventory.warnings, inventory.lost), strict=True))
    home_of = {scan: home for home, scans in homes.items() for scan in scans}
    masks: dict[PurePosixPath, list[MaskFile]] = {home: [] for home in homes}
    for mask in inventory.masks:
        above = [folder for folder in (mask.folder, *mask.folder.parents) if folder in homes]
        home, note = references.find_home(mask, home_of, above[0] if above else None)
        if home is not None and homes[home]:
            masks[home].append(mask)
            inventory.warnings += [note] if note else []
        elif note:
            inventory.lost.append(note)
        else:
            inventory.skip(mask, NOWHERE)
    groups = []
    for home, groups_here in group_scans({home: scans for home, scans in homes.items() if scans}, masks).items():
        images = any(scan_folder(scan.relative_path.relative_to(home)) for scan in homes[home])
        many = home == ROOT or (len(homes) == 1 and images)
        groups += _pair_in_folder(home, groups_here, masks[home], inventory, references, many=many)
    _skip_contradictions(groups, inventory, references)
    return sorted(groups, key=lambda group: (group.home.parts, group.name))


def _pair_in_folder(
    home: PurePosixPath,
    groups: list[ScanGroup],
    masks: list[MaskFile],
    inventory: SourceInventory,
    references: LabelReferences,
    *,
    many: bool,
) -> list[ScanGroup]:
    """The cases of one folder with their masks; `many` says that it is a heap of cases rather than one case's."""
    refused = {mask: references.explain_rejection(mask, [group.scans for group in groups]) for mask in masks}
    inventory.lost += [why for why in refused.values() if why]
    masks = [mask for mask in masks if not refused[mask]]
    similarity = NameSimilarity(groups)
    if len(groups) == 1 and not _is_other_patient(groups[0], masks):
        for mask in masks:
            if home == ROOT and not references.referenced_scans(mask) and similarity.names_other_case(mask):
                inventory.skip(mask, OTHER_CASE)
            else:
                groups[0].masks.append(mask)
        return groups
    names = GroupNames(groups)
    left: list[tuple[MaskFile, list[ScanGroup], bool]] = []
    sorted_out = named = False
    for mask in masks:
        candidates = [group for group in groups if not references.why_not(mask, group.scans)]
        linked = len(candidates) == 1 and bool(references.referenced_scans(mask))
        owners = candidates if linked else names.find_owners(mask)
        if owners is None:
            inventory.skip(mask, TWO_CASES)
            continue
        owning = [group for group in owners if group in candidates]
        if len(owning) == 1:
            owning[0].masks.append(mask)
            sorted_out, named = True, named or not linked
        else:
            left.append((mask, owning or candidates, bool(owning)))
    grids = GridIndex(groups if left else ())
    for mask, candidates, is_named in left:
        fitting = grids.find_matching(mask, candidates)
        scans = [group.scans[0] for group in fitting]
        if fitting and not references.referenced_scans(mask) and not is_named and similarity.names_other_case(mask):
            inventory.skip(mask, OTHER_CASE)
        elif len(fitting) == 1 and (
            is_named or not many or references.referenced_scans(mask) or similarity.shares_unique_word(mask, fitting[0])
        ):
            fitting[0].masks.append(mask)
        elif not fitting:
            inventory.skip(mask, UNREADABLE if mask.kind == "file" and mask.geometry is None else UNFIT)
        elif sorted_out or (many and not is_one_study(scan for group in groups for scan in group.scans)):
            advice = "; choose one with --series" if len(fitting) > 1 and is_one_study(scans) else ""
            inventory.skip(
                mask,
                UNSURE if is_named else SEVERAL if len(fitting) > 1 else GRID_ALONE,
                f": {describe_scans(scans)}{advice}",
            )
        else:
            return [ScanGroup(home, "", [scan for group in groups for scan in group.scans], masks, is_ambiguous=True)]
    if not (named or many):
        _drop_unmasked(groups, inventory)
    return groups


def _drop_unmasked(groups: list[ScanGroup], inventory: SourceInventory) -> None:
    """Pass over the scans of a case's folder that no mask fits, where another of them has masks."""
    with_masks = [group for group in groups if group.masks]
    if not with_masks:
        return
    patients = {scan.series.patient_key for group in with_masks for scan in group.scans if scan.series}
    for group in list(groups):
        series = group.scans[0].series
        if group.masks or (series is not None and series.patient_key not in patients):
            continue
        groups.remove(group)
        if series:
            inventory.warnings.append(f"{group.scans[0].title}: {NO_LABEL}; skipped")
        else:
            inventory.skip(group.scans[0], NO_MASK)
    if len(groups) == 1:
        groups[0].name = ""


def _skip_contradictions(groups: Sequence[ScanGroup], inventory: SourceInventory, references: LabelReferences) -> None:
    """Pass over masks whose name begins with that of another case: folder and name contradict each other."""
    names = {id(group): {name_words(group.home.name), *group.names} - {()} for group in groups}
    every = {name for names_of in names.values() for name in names_of if is_numbered(name)}
    for group in groups:
        own_names = names[id(group)]
        for mask in list(group.masks):
            words = name_words(strip_mask_words(stem_of(mask.path)))
            heads = {words[:length] for length in range(1, len(words))}  # alone it may be a vertebra: C2 in case c1
            if (
                (heads & every) - own_names
                and not (heads | {words}) & own_names
                and not references.referenced_scans(mask)
            ):
                group.masks.remove(mask)
                inventory.skip(mask, CONTRADICTION, f" ({group.scans[0].path})")


def _is_other_patient(group: ScanGroup, masks: Iterable[MaskFile]) -> bool:
    """Whether scan and mask lie in two folders of the source that look like two patients: `p2/ct` and `p3/femur`."""
    if group.home != ROOT:
        return False
    top = group.scans[0].folder.parts[:1]
    for mask in masks:
        other = mask.folder.parts[:1]
        if not top or not other or top == other or in_mask_folder(mask.relative_path):
            continue
        if top[0].lower() not in SCAN_WORDS and structure_key(top[0]) not in structure_key(
            mask.relative_path.as_posix()
        ):
            return True
    return False


def pair_by_pattern(
    inventory: SourceInventory, pattern: str, references: LabelReferences, series: str | None = None
) -> list[ScanGroup]:
    """The cases that a pattern finds; one that is spelt with other capitals at its masks is the same."""
    find = compile_path_pattern(pattern) or str
    cases: dict[str, ScanGroup] = {}
    masks: dict[str, list[MaskFile]] = defaultdict(list)
    items: list[Scan | MaskFile] = [*inventory.scans, *inventory.masks]
    for item in items:
        case = find(item.relative_path.as_posix())
        if not case:
            inventory.skip(item, NO_CASE)
        elif isinstance(item, Scan):
            cases.setdefault(case, ScanGroup(ROOT, case, [])).scans.append(item)
        else:
            masks[case].append(item)
    same_name: dict[str, list[ScanGroup]] = defaultdict(list)
    chosen = choose_series([group.scans for group in cases.values()], series, inventory.warnings, inventory.lost)
    for (case, group), scans in zip(list(cases.items()), chosen, strict=True):
        group.scans = scans
        if scans:
            same_name[name_key(case)].append(group)
        else:
            del cases[case]
    for case, case_masks in masks.items():
        owners = [cases[case]] if case in cases else same_name[name_key(case)]
        if len(owners) == 1:
            owners[0].masks += case_masks
        else:
            for mask in case_masks:
                inventory.skip(mask, NO_SCAN, f", {case}")
    for group in cases.values():
        group.scans, group.masks = references.select_for_case(group.scans, group.masks, inventory)
        channels = [channel_name(scan.name) for scan in group.scans]
        group.is_ambiguous = len(channels) > 1 and (len(set(channels)) < len(channels) or "" in channels)
    return list(cases.values())
