"""Which masks belong to which scan: by folder, by name and by grid, and nothing where these do not agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from osteon.core.file_names import name_key
from osteon.formats.mask_names import (
    SCAN_WORDS,
    channel_of,
    in_mask_folder,
    same_name,
    scan_folder,
    without_mask_words,
    words,
)
from osteon.formats.registry import stem_of
from osteon.importing.masks.files import Heap, Mask, Scan
from osteon.importing.masks.grids import Grids
from osteon.importing.masks.groups import Group, group_scans
from osteon.importing.masks.owners import Likeness, Names, is_numbered
from osteon.importing.masks.references import Links
from osteon.importing.patterns import path_finder
from osteon.importing.series_choice import choose_series, listed, one_study

NOWHERE = "lies in no folder that holds a scan"
OTHER_CASE = "is named like another case, which has no scan"
TWO_CASES = "is named after two cases"
UNSURE = "is named after several scans, and its grid does not tell which"
UNREADABLE = "is named after no scan, and cannot be read"
UNFIT = "is named after no scan, and its grid fits none"
SEVERAL = "is named after no scan, and its grid fits several"
GRID_ALONE = "is named after no scan, and its grid alone is no proof among many"
STRANGER = "is named after another case than the scan with which it lies"
NO_MASK = "no mask of its folder fits this scan"
NO_LABEL = "no label of its folder belongs to this series"
NO_CASE = "--case-pattern finds no case in its path"
NO_SCAN = "--case-pattern finds no scan of its case"

ROOT = PurePosixPath()


def pair(heap: Heap, pattern: str | None, *, series: str | None = None, ignore_references: bool = False) -> list[Group]:
    """Sort scans and masks into cases. What belongs nowhere is told in `heap.strays` and `heap.lost`.

    Args:
        heap: What was found.
        pattern: A regular expression whose first group, in a path, is the case.
        series: Of several DICOM series of a case, which one is meant.
        ignore_references: Take DICOM labels by place and grid, whatever they refer to.

    Raises:
        UsageError: The pattern is none, or has no group; or no series is called as `series` says.
    """
    links = Links() if ignore_references else Links([*heap.scans, *heap.pictures], heap.masks)
    groups = _by_place(heap, links, series) if pattern is None else by_pattern(heap, pattern, links, series)
    heap.warnings += links.notes((mask, group.scans[0]) for group in groups for mask in group.masks)
    return groups


def _by_place(heap: Heap, links: Links, series: str | None) -> list[Group]:
    homes: dict[PurePosixPath, list[Scan]] = defaultdict(list)
    masked = {folder for mask in heap.masks for folder in (mask.folder, *mask.folder.parents)}
    for scan in heap.scans:
        near = [folder for folder in (scan.folder, *scan.folder.parents) if folder in masked]
        homes[near[0] if near else ROOT].append(scan)
    homes = dict(zip(homes, choose_series(homes.values(), series, heap.warnings, heap.lost), strict=True))
    home_of = {scan: home for home, scans in homes.items() for scan in scans}
    masks: dict[PurePosixPath, list[Mask]] = {home: [] for home in homes}
    for mask in heap.masks:
        near = [folder for folder in (mask.folder, *mask.folder.parents) if folder in homes]
        home, said = links.home(mask, home_of, near[0] if near else None)
        if home is not None and homes[home]:
            masks[home].append(mask)
            heap.warnings += [said] if said else []
        elif said:
            heap.lost.append(said)
        else:
            heap.pass_over(mask, NOWHERE)
    groups = []
    for home, own in group_scans({home: scans for home, scans in homes.items() if scans}, masks).items():
        images = any(scan_folder(scan.place.relative_to(home)) for scan in homes[home])
        many = home == ROOT or (len(homes) == 1 and images)
        groups += _of_home(home, own, masks[home], heap, links, many=many)
    _drop_strangers(groups, heap, links)
    return sorted(groups, key=lambda group: (group.home.parts, group.name))


def _of_home(
    home: PurePosixPath, groups: list[Group], masks: list[Mask], heap: Heap, links: Links, *, many: bool
) -> list[Group]:
    """The cases of one folder with their masks; `many` says that it is a heap of cases rather than one case's."""
    refused = {mask: links.refused(mask, [group.scans for group in groups]) for mask in masks}
    heap.lost += [why for why in refused.values() if why]
    masks = [mask for mask in masks if not refused[mask]]
    like = Likeness(groups)
    if len(groups) == 1 and not _stranger(groups[0], masks):
        for mask in masks:
            if home == ROOT and not links.named(mask) and like.of_another(mask):
                heap.pass_over(mask, OTHER_CASE)
            else:
                groups[0].masks.append(mask)
        return groups
    names = Names(groups)
    left: list[tuple[Mask, list[Group], bool]] = []
    sorted_out = named = False
    for mask in masks:
        may = [group for group in groups if not links.against(mask, group.scans)]
        linked = len(may) == 1 and bool(links.named(mask))
        owners = may if linked else names.owners(mask)
        if owners is None:
            heap.pass_over(mask, TWO_CASES)
            continue
        told = [group for group in owners if group in may]
        if len(told) == 1:
            told[0].masks.append(mask)
            sorted_out, named = True, named or not linked
        else:
            left.append((mask, told or may, bool(told)))
    grids = Grids(groups if left else ())
    for mask, may, called in left:
        fitting = grids.fitting(mask, may)
        scans = [group.scans[0] for group in fitting]
        if fitting and not links.named(mask) and not called and like.of_another(mask):
            heap.pass_over(mask, OTHER_CASE)
        elif len(fitting) == 1 and (called or not many or links.named(mask) or like.akin(mask, fitting[0])):
            fitting[0].masks.append(mask)
        elif not fitting:
            heap.pass_over(mask, UNREADABLE if mask.kind == "file" and mask.geometry is None else UNFIT)
        elif sorted_out or (many and not one_study(scan for group in groups for scan in group.scans)):
            way = "; --series says which is meant" if len(fitting) > 1 and one_study(scans) else ""
            heap.pass_over(
                mask, UNSURE if called else SEVERAL if len(fitting) > 1 else GRID_ALONE, f": {listed(scans)}{way}"
            )
        else:
            return [Group(home, "", [scan for group in groups for scan in group.scans], masks, several=True)]
    taken = [group for group in groups if group.masks]
    if named or many or not taken:
        return groups
    patients = {scan.series.patient_key for group in taken for scan in group.scans if scan.series}
    for group in list(groups):
        series = group.scans[0].series
        if group.masks or (series is not None and series.patient_key not in patients):
            continue
        groups.remove(group)
        if series:
            heap.warnings.append(f"{group.scans[0].title}: {NO_LABEL}; passed over")
        else:
            heap.pass_over(group.scans[0], NO_MASK)
    if len(groups) == 1:
        groups[0].name = ""
    return groups


def _drop_strangers(groups: Sequence[Group], heap: Heap, links: Links) -> None:
    """Pass over masks whose name begins with that of another case: folder and name contradict each other."""
    names = {id(group): {words(group.home.name), *group.names} - {()} for group in groups}
    every = {name for called in names.values() for name in called if is_numbered(name)}
    for group in groups:
        own = names[id(group)]
        for mask in list(group.masks):
            told = words(without_mask_words(stem_of(mask.path)))
            heads = {told[:length] for length in range(1, len(told))}  # alone it may be a vertebra: C2 in case c1
            if (heads & every) - own and not (heads | {told}) & own and not links.named(mask):
                group.masks.remove(mask)
                heap.pass_over(mask, STRANGER, f" ({group.scans[0].path})")


def _stranger(group: Group, masks: Iterable[Mask]) -> bool:
    """Whether scan and mask lie in two folders of the source that look like two patients: `p2/ct` and `p3/femur`."""
    if group.home != ROOT:
        return False
    top = group.scans[0].folder.parts[:1]
    for mask in masks:
        other = mask.folder.parts[:1]
        if not top or not other or top == other or in_mask_folder(mask.place):
            continue
        if top[0].lower() not in SCAN_WORDS and same_name(top[0]) not in same_name(mask.place.as_posix()):
            return True
    return False


def by_pattern(heap: Heap, pattern: str, links: Links, series: str | None = None) -> list[Group]:
    """The cases that a pattern finds; one that is spelt with other capitals at its masks is the same."""
    find = path_finder(pattern, "--case-pattern") or str
    cases: dict[str, Group] = {}
    masks: dict[str, list[Mask]] = defaultdict(list)
    items: list[Scan | Mask] = [*heap.scans, *heap.masks]
    for item in items:
        case = find(item.place.as_posix())
        if not case:
            heap.pass_over(item, NO_CASE)
        elif isinstance(item, Scan):
            cases.setdefault(case, Group(ROOT, case, [])).scans.append(item)
        else:
            masks[case].append(item)
    alike: dict[str, list[Group]] = defaultdict(list)
    chosen = choose_series([group.scans for group in cases.values()], series, heap.warnings, heap.lost)
    for (case, group), scans in zip(list(cases.items()), chosen, strict=True):
        group.scans = scans
        if scans:
            alike[name_key(case)].append(group)
        else:
            del cases[case]
    for case, own in masks.items():
        owners = [cases[case]] if case in cases else alike[name_key(case)]
        if len(owners) == 1:
            owners[0].masks += own
        else:
            for mask in own:
                heap.pass_over(mask, NO_SCAN, f", {case}")
    for group in cases.values():
        group.scans, group.masks = links.within(group.scans, group.masks, heap)
        channels = [channel_of(scan.name) for scan in group.scans]
        group.several = len(channels) > 1 and (len(set(channels)) < len(channels) or "" in channels)
    return list(cases.values())
