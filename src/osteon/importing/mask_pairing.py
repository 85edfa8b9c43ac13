"""Which masks belong to which scan: by folder, by name and by grid, and nothing where these do not agree."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from osteon.core.errors import OsteonError, UsageError
from osteon.core.geometry import turn_onto
from osteon.dataset.laying import lies_within
from osteon.formats.registry import read_geometry, stem_of
from osteon.importing.mask_dicom import lies_on
from osteon.importing.mask_files import Heap, Mask, Scan
from osteon.importing.mask_links import Links
from osteon.importing.mask_names import (
    MASK_WORDS,
    SCAN_WORDS,
    case_of,
    channel_of,
    in_mask_folder,
    same_name,
    without_mask_words,
    words,
)
from osteon.importing.series_choice import choose_series, listed, one_study


@dataclass
class Group:
    """The scans of one case and the masks that belong to it.

    Attributes:
        home: The folder of the case, relative to the source; that of many cases where names tell them apart.
        name: What tells the case from others in `home`; empty where it is alone there.
        scans: One for each channel.
        masks: May be none.
        several: The scans of the case, where nobody can tell which of them the masks belong to.
    """

    home: PurePosixPath
    name: str
    scans: list[Scan]
    masks: list[Mask] = field(default_factory=list)
    several: bool = False


def pair(heap: Heap, pattern: str | None, *, series: str | None = None, ignore_references: bool = False) -> list[Group]:
    """Sort scans and masks into cases. What belongs nowhere is told in `heap.warnings` and `heap.lost`.

    Args:
        heap: What was found.
        pattern: A regular expression whose first group, in a path, is the case.
        series: Of several DICOM series of a case, which one is meant.
        ignore_references: Take DICOM labels by place and grid, whatever they refer to.

    Raises:
        UsageError: The pattern is none, or has no group; or no series is called as `series` says.
    """
    links = Links() if ignore_references else Links([*heap.scans, *heap.pictures], heap.masks)
    groups = _by_place(heap, links, series) if pattern is None else _by_pattern(heap, pattern, links, series)
    heap.warnings += links.notes((mask, group.scans[0]) for group in groups for mask in group.masks)
    return groups


def _by_place(heap: Heap, links: Links, series: str | None) -> list[Group]:
    homes: dict[PurePosixPath, list[Scan]] = defaultdict(list)
    masked = {folder for mask in heap.masks for folder in (mask.folder, *mask.folder.parents)}
    for scan in heap.scans:
        near = [folder for folder in (scan.folder, *scan.folder.parents) if folder in masked]
        homes[near[0] if near else PurePosixPath()].append(scan)
    homes = dict(zip(homes, choose_series(homes.values(), series, heap.warnings, heap.lost), strict=True))
    home_of = {scan: home for home, scans in homes.items() for scan in scans}
    masks: dict[PurePosixPath, list[Mask]] = defaultdict(list)
    for mask in heap.masks:
        near = [folder for folder in (mask.folder, *mask.folder.parents) if folder in homes]
        home, said = links.home(mask, home_of, near[0] if near else None)
        if home is not None and homes[home]:
            masks[home].append(mask)
            heap.warnings += [said] if said else []
        else:
            _pass_over(mask, said or f"{mask.path}: lies with no scan; passed over", heap)
    groups = [
        group for home, scans in homes.items() if scans for group in _of_home(home, scans, masks[home], heap, links)
    ]
    _drop_strangers(groups, heap, links)
    return sorted(groups, key=lambda group: (group.home.parts, group.name))


def _pass_over(mask: Mask, why: str, heap: Heap) -> None:
    (heap.warnings if mask.kind == "file" else heap.lost).append(why)


def _of_home(home: PurePosixPath, scans: list[Scan], masks: list[Mask], heap: Heap, links: Links) -> list[Group]:
    groups = _grouped(home, scans)
    refused = {mask: links.refused(mask, [group.scans for group in groups]) for mask in masks}
    heap.lost += [why for why in refused.values() if why]
    masks = [mask for mask in masks if not refused[mask]]
    alone = len(groups) == 1 and not _stranger(groups[0], masks)
    if alone:
        for mask in masks:
            if home == PurePosixPath() and not links.named(mask) and _of_another(mask, groups):
                _pass_over(mask, f"{mask.path}: is named like another case, which has no scan; passed over", heap)
            else:
                groups[0].masks.append(mask)
        return groups
    left, named, linked = [], False, False
    called: dict[tuple[str, ...], list[Group]] = defaultdict(list)
    for group in groups:
        called[_called(group)].append(group)
    may = {mask: [group for group in groups if not links.against(mask, group.scans)] for mask in masks}
    for mask in masks:
        owner = may[mask][0] if len(may[mask]) == 1 and links.named(mask) else None
        linked |= owner is not None
        if owner is None:
            owner = _by_name(mask, called)
            owner = owner if owner in may[mask] else None
            named |= owner is not None
        if owner is not None:
            owner.masks.append(mask)
        else:
            left.append(mask)
    for mask in left:
        fitting = [group for group in may[mask] if _fits(mask, group)]
        fitting = fitting or [group for group in may[mask] if _fits(mask, group, cropped=True)]
        if fitting and not links.named(mask) and _of_another(mask, groups):
            _pass_over(mask, f"{mask.path}: is named like another case, which has no scan; passed over", heap)
        elif len(fitting) == 1 and (home != PurePosixPath() or links.named(mask) or _akin(mask, fitting[0], groups)):
            fitting[0].masks.append(mask)
        elif named or linked or len(fitting) < 2 or (home == PurePosixPath() and not one_study(scans)):
            which = f"fits {listed([group.scans[0] for group in fitting])}" if fitting else "fits no scan"
            way = (
                "; --series says which is meant"
                if len(fitting) > 1 and one_study(group.scans[0] for group in fitting)
                else ""
            )
            _pass_over(mask, f"{mask.path}: is named after no scan, and its grid {which}; passed over{way}", heap)
        else:
            return [Group(home, "", scans, masks, several=True)]
    taken = [group for group in groups if group.masks]
    if named or not taken or home == PurePosixPath():
        return groups
    patients = {scan.series.patient_key for group in taken for scan in group.scans if scan.series}
    for group in list(groups):
        series = group.scans[0].series
        if group.masks or (series is not None and series.patient_key not in patients):
            continue
        groups.remove(group)
        why = "no label of its folder belongs to this series" if series else "no mask of its folder fits this scan"
        heap.warnings.append(f"{group.scans[0].title}: {why}; passed over")
    return [Group(home, "" if len(groups) == 1 else group.name, group.scans, group.masks) for group in groups]


def _grouped(home: PurePosixPath, scans: Sequence[Scan]) -> list[Group]:
    """The scans of one folder; those that differ in the channel alone (`p1_T1`, `p1_T2`) go together."""
    named: dict[str, list[Scan]] = defaultdict(list)
    for scan in scans:
        below = scan.folder.relative_to(home).parts[: -1 if scan.series else None]
        parts = [part for part in below if part.lower() not in SCAN_WORDS]
        named["/".join([*parts, case_of(scan.name)])].append(scan)
    groups = []
    for name, group in named.items():
        channels = [channel_of(scan.name) for scan in group]
        apart = len(group) > 1 and (len(set(channels)) < len(group) or "" in channels)
        if apart:
            names = [f"{name}/{scan.name}#{n}" if scan.series else scan.name for n, scan in enumerate(group, 1)]
            groups += [Group(home, text.lstrip("/"), [scan]) for text, scan in zip(names, group, strict=True)]
        else:
            groups.append(Group(home, name, sorted(group, key=lambda scan: channel_of(scan.name))))
    return groups


def _called(group: Group) -> tuple[str, ...]:
    return words(group.name.rpartition("/")[2])


def _by_name(mask: Mask, called: Mapping[tuple[str, ...], list[Group]]) -> Group | None:
    """The group whose name the mask's name begins with, or that one of its folders has; the longest name wins."""
    below = [*mask.folder.parts, without_mask_words(stem_of(mask.path))]
    told = [words(part) for part in below]
    for length in range(max(map(len, told)), 0, -1):
        owners = [group for part in told if len(part) >= length for group in called.get(part[:length], [])]
        if owners:
            return owners[0] if len(owners) == 1 else None  # of two scans of one name, the grids must tell
    return None


def _akin(mask: Mask, group: Group, groups: Sequence[Group]) -> bool:
    """Whether mask and scan share a word that other scans do not have: a grid alone is no proof in a heap of many."""
    own = _all_words(group.scans[0].place) & _all_words(mask.place)
    for other in groups:
        if other is not group:
            own -= _all_words(other.scans[0].place)
    return bool(own)


def _of_another(mask: Mask, groups: Sequence[Group]) -> bool:
    """Whether a mask's name or folder is a case's up to the numbers in it: `p9_tibia` beside `p1` and `p2`."""
    parts = [words(part) for part in (*mask.folder.parts, without_mask_words(stem_of(mask.path)))]
    called = [name for group in groups if (name := _called(group))]
    if any(part[: len(name)] == name for part in parts for name in called):
        return False
    shapes = {shape for name in called if (shape := _shape(name)) != name}
    return any(_shape(part[: len(shape)]) == shape for part in parts for shape in shapes)


def _drop_strangers(groups: Sequence[Group], heap: Heap, links: Links) -> None:
    """Pass over masks whose name begins with that of another case: folder and name contradict each other."""
    names = {id(group): {words(group.home.name), _called(group)} - {()} for group in groups}
    for group in groups:
        own = names[id(group)]
        others = set[tuple[str, ...]]().union(*(names[id(g)] for g in groups if g is not group)) - own
        others = {name for name in others if _shape(name) != name and not "".join(name).isdigit()}
        for mask in list(group.masks):
            told = words(without_mask_words(stem_of(mask.path)))
            heads = {told[:length] for length in range(1, len(told))}  # alone it may be a vertebra: C2 in case c1
            if heads & others and not heads & own and not links.named(mask):
                group.masks.remove(mask)
                beside = f"{mask.path}: lies with {group.scans[0].path}"
                _pass_over(mask, f"{beside}, but is named after another case; passed over", heap)


def _shape(name: tuple[str, ...]) -> tuple[str, ...]:
    """A name without its numbers; a word of digits alone keeps their count, since `01_femur` may be the first bone."""
    return tuple("#" * len(word) if word.isdigit() else re.sub(r"\d+", "#", word) for word in name)


def _all_words(place: PurePosixPath) -> set[str]:
    parts = (*place.parent.parts, stem_of(Path(place)))
    return {word for part in parts for word in words(part)} - SCAN_WORDS - MASK_WORDS


def _stranger(group: Group, masks: Iterable[Mask]) -> bool:
    """Whether scan and mask lie in two folders of the source that look like two patients: `p2/ct` and `p3/femur`."""
    if group.home != PurePosixPath():
        return False
    top = group.scans[0].folder.parts[:1]
    for mask in masks:
        other = mask.folder.parts[:1]
        if not top or not other or top == other or in_mask_folder(mask.place):
            continue
        if top[0].lower() not in SCAN_WORDS and same_name(top[0]) not in same_name(mask.place.as_posix()):
            return True
    return False


def _fits(mask: Mask, group: Group, *, cropped: bool = False) -> bool:
    """Whether the mask lies on the scan's grid (or on a box of it), its axes in any order and direction."""
    scan = group.scans[0].geometry
    if scan is None:
        return False
    if mask.kind != "file":
        return lies_on(mask, scan)
    try:
        own = read_geometry(mask.path)
    except OsteonError:
        return False
    return scan.same_as(turn_onto(own, scan).geometry(own)) or (cropped and lies_within(scan, own))


def _by_pattern(heap: Heap, pattern: str, links: Links, series: str | None) -> list[Group]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"--case-pattern {pattern}: not a regular expression ({error})", hint="such as `^(\\d+)_`"
        ) from None
    if compiled.groups < 1:
        raise UsageError(f"--case-pattern {pattern}: has no group", hint="put brackets around the case: `^(\\d+)_`")
    groups: dict[str, Group] = {}
    items: list[Scan | Mask] = [*heap.scans, *heap.masks]
    for item in items:
        match = compiled.search(item.place.as_posix())
        if match is None or not match[1]:
            heap.warnings.append(f"{item.path}: --case-pattern finds no case in it; passed over")
            continue
        group = groups.setdefault(match[1], Group(PurePosixPath(), match[1], []))
        if isinstance(item, Scan):
            group.scans.append(item)
        else:
            group.masks.append(item)
    chosen = choose_series([group.scans for group in groups.values()], series, heap.warnings, heap.lost)
    for (name, group), scans in zip(list(groups.items()), chosen, strict=True):
        group.scans, group.masks = links.within(scans, group.masks, heap)
        if not group.scans:
            heap.warnings.append(f"--case-pattern: {name} has masks, but no scan; passed over")
            del groups[name]
        channels = [channel_of(scan.name) for scan in group.scans]
        group.several = len(group.scans) > 1 and (len(set(channels)) < len(channels) or "" in channels)
    return list(groups.values())
