"""Which masks belong to which scan: by folder, by name and by grid, and nothing where these do not agree."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from osteon.core.files import name_key
from osteon.core.geometry import turn_onto
from osteon.formats.registry import stem_of
from osteon.importing.mask_files import Heap, Mask, Scan
from osteon.importing.mask_groups import Group, group_scans
from osteon.importing.mask_names import (
    MASK_WORDS,
    SCAN_WORDS,
    channel_of,
    in_mask_folder,
    same_name,
    scan_folder,
    without_mask_words,
    words,
)
from osteon.importing.patterns import path_finder

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
NO_CASE = "--case-pattern finds no case in its path"
NO_SCAN = "--case-pattern finds no scan of its case"

ROOT = PurePosixPath()
_SHOWN = 3
Name = tuple[str, ...]


def pair(heap: Heap, pattern: str | None) -> list[Group]:
    """Sort scans and masks into cases. What belongs nowhere is told in `heap.strays`.

    Args:
        heap: What was found.
        pattern: A regular expression whose first group, in a path, is the case.

    Raises:
        UsageError: The pattern is none, or has no group.
    """
    if pattern is not None:
        return by_pattern(heap, pattern)
    homes: dict[PurePosixPath, list[Scan]] = defaultdict(list)
    masked = {folder for mask in heap.masks for folder in (mask.folder, *mask.folder.parents)}
    for scan in heap.scans:
        near = [folder for folder in (scan.folder, *scan.folder.parents) if folder in masked]
        homes[near[0] if near else ROOT].append(scan)
    masks: dict[PurePosixPath, list[Mask]] = {home: [] for home in homes}
    for mask in heap.masks:
        near = [folder for folder in (mask.folder, *mask.folder.parents) if folder in homes]
        if near:
            masks[near[0]].append(mask)
        else:
            heap.pass_over(mask, NOWHERE)
    groups = []
    for home, own in group_scans(homes, masks).items():
        images = any(scan_folder(scan.place.relative_to(home)) for scan in homes[home])
        groups += _of_home(home, own, masks[home], heap, many=home == ROOT or (len(homes) == 1 and images))
    _drop_strangers(groups, heap)
    return sorted(groups, key=lambda group: (group.home.parts, group.name))


def _of_home(home: PurePosixPath, groups: list[Group], masks: list[Mask], heap: Heap, *, many: bool) -> list[Group]:
    """The cases of one folder with their masks; `many` says that it is a heap of cases rather than one case's."""
    if len(groups) == 1 and not _stranger(groups[0], masks):
        for mask in masks:
            if home == ROOT and _of_another(mask, groups):
                heap.pass_over(mask, OTHER_CASE)
            else:
                groups[0].masks.append(mask)
        return groups
    names = _Names(groups)
    left: list[tuple[Mask, list[Group]]] = []
    named = False
    for mask in masks:
        owners = names.owners(mask)
        if owners is None:
            heap.pass_over(mask, TWO_CASES)
        elif len(owners) == 1:
            owners[0].masks.append(mask)
            named = True
        else:
            left.append((mask, owners))
    for mask, owners in left:
        fitting = [group for group in owners or groups if fits(mask, group)]
        more = " …" if len(fitting) > _SHOWN else ""
        fitted = f": {' and '.join(str(group.scans[0].path) for group in fitting[:_SHOWN])}{more}"
        if len(fitting) == 1 and owners:
            fitting[0].masks.append(mask)
        elif fitting and _of_another(mask, groups):
            heap.pass_over(mask, OTHER_CASE)
        elif len(fitting) == 1 and (not many or _akin(mask, fitting[0], groups)):
            fitting[0].masks.append(mask)
        elif not fitting:
            heap.pass_over(mask, UNREADABLE if mask.kind == "file" and mask.geometry is None else UNFIT)
        elif named or many:
            heap.pass_over(mask, UNSURE if owners else SEVERAL if len(fitting) > 1 else GRID_ALONE, fitted)
        else:
            return [Group(home, "", [scan for group in groups for scan in group.scans], masks, several=True)]
    taken = [group for group in groups if group.masks]
    if named or many or not taken:
        return groups
    for group in groups:
        if not group.masks:
            heap.pass_over(group.scans[0], NO_MASK)
    if len(taken) == 1:
        taken[0].name = ""
    return taken


class _Names:
    """What groups are called, to find the one that a mask's name means."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.called = defaultdict[Name, list[Group]](list)
        self.ends = defaultdict[Name, list[Group]](list)
        self.folders = defaultdict[Name, list[Group]](list)
        for group in groups:
            for name in group.names:
                self.called[name].append(group)
                for tail in (name[start:] for start in range(1, len(name) - 1)):
                    if _digits(tail) and group not in self.ends[tail]:
                        self.ends[tail].append(group)
            for part in map(words, group.name.split("/")):
                self.folders[part].append(group)
        self._longest = max(map(len, self.called), default=0)
        self._telling = {
            name: own for name, own in self.called.items() if _digits(name) and not "".join(name).isdigit()
        }

    def owners(self, mask: Mask) -> list[Group] | None:
        """The groups that a mask is named after; none where it is named after none, None where these are two cases.

        Its name or one of its folders begins with theirs, the longest wins. Or else it begins with the end of theirs,
        or holds theirs: CTPelvic1K has `CLINIC_metal_0000_mask_4label` to `dataset7_CLINIC_metal_0000_data`, and
        `dataset1_img0021_mask_4label` to `img0021`. Of groups that differ in capitals alone those spelt alike win.
        """
        parts = [without_mask_words(part) for part in (*mask.folder.parts, stem_of(mask.path))]
        told = [words(part) for part in parts]
        runs = [tuple(word for part in told[start:] for word in part) for start in range(len(told))]
        within = [told[-1][start:] for start in range(len(told[-1]))]
        for names, texts in ((self.called, runs), (self.ends, runs), (self._telling, within)):
            found = [head for text in texts if (head := self._head(text, names))]
            if found:
                return self._agreed(found, names, told[:-1], parts)
        return []

    def _head(self, text: Name, names: Mapping[Name, list[Group]]) -> Name:
        """The longest name with which the words begin; empty where none does."""
        heads = (text[:length] for length in range(min(len(text), self._longest), 0, -1))
        return next((head for head in heads if head in names), ())

    def _agreed(
        self, found: Sequence[Name], names: Mapping[Name, list[Group]], folders: Sequence[Name], parts: Sequence[str]
    ) -> list[Group] | None:
        """The groups that all longest names mean, and that neither a shorter name nor a folder contradicts."""
        best = [head for head in found if len(head) == max(map(len, found))]
        owners = [group for group in names[best[0]] if all(group in names[head] for head in best)]
        others = [names[head] for head in found if head not in {own[: len(head)] for own in best} and _numbered(head)]
        others += [self.folders[part] for part in folders if _digits(part) and part in self.folders]
        if not owners or any(set(owners).isdisjoint(other) for other in others):
            return None
        alike = [group for group in owners if any(part.startswith(group.name.rpartition("/")[2]) for part in parts)]
        return alike if len(owners) > 1 and alike else owners


def _digits(name: Name) -> bool:
    return any(character.isdigit() for word in name for character in word)


def _numbered(name: Name) -> bool:
    """Whether a name has a number in it, as cases have; digits alone may count masks."""
    return _shape(name) != name and not "".join(name).isdigit()


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
    called = [name for group in groups for name in group.names]
    if any(part[: len(name)] == name for part in parts for name in called):
        return False
    shapes = {shape for name in called if (shape := _shape(name)) != name}
    return any(_shape(part[: len(shape)]) == shape for part in parts for shape in shapes)


def _drop_strangers(groups: Sequence[Group], heap: Heap) -> None:
    """Pass over masks whose name begins with that of another case: folder and name contradict each other."""
    names = {id(group): {words(group.home.name), *group.names} - {()} for group in groups}
    for group in groups:
        own = names[id(group)]
        others = set[tuple[str, ...]]().union(*(names[id(g)] for g in groups if g is not group)) - own
        others = {name for name in others if _numbered(name)}
        for mask in list(group.masks):
            told = words(without_mask_words(stem_of(mask.path)))
            heads = {told[:length] for length in range(1, len(told))}  # alone it may be a vertebra: C2 in case c1
            if heads & others and not (heads | {told}) & own:
                group.masks.remove(mask)
                heap.pass_over(mask, STRANGER, f" ({group.scans[0].path})")


def _shape(name: tuple[str, ...]) -> tuple[str, ...]:
    """A name without its numbers; a word of digits alone keeps their count, since `01_femur` may be the first bone."""
    return tuple("#" * len(word) if word.isdigit() else re.sub(r"\d+", "#", word) for word in name)


def _all_words(place: PurePosixPath) -> set[str]:
    parts = (*place.parent.parts, stem_of(Path(place)))
    return {word for part in parts for word in words(part)} - SCAN_WORDS - MASK_WORDS


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


def fits(mask: Mask, group: Group) -> bool:
    """Whether the mask lies on the scan's grid, its axes in any order and direction."""
    scan, own = group.scans[0].geometry, mask.geometry
    return (
        scan is not None and own is not None and (scan.same_as(own) or scan.same_as(turn_onto(own, scan).geometry(own)))
    )


def by_pattern(heap: Heap, pattern: str) -> list[Group]:
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
    for case, group in cases.items():
        alike[name_key(case)].append(group)
        channels = [channel_of(scan.name) for scan in group.scans]
        group.several = len(channels) > 1 and (len(set(channels)) < len(channels) or "" in channels)
    for case, own in masks.items():
        owners = [cases[case]] if case in cases else alike[name_key(case)]
        if len(owners) == 1:
            owners[0].masks += own
        else:
            for mask in own:
                heap.pass_over(mask, NO_SCAN, f", {case}")
    return list(cases.values())
