"""Scans into cases: those that differ in the channel alone go together, unless each has masks of its own."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from osteon.formats.mask_names import (
    SCAN_WORDS,
    case_name,
    channel_name,
    channel_number,
    name_before_last_word,
    name_words,
    strip_mask_words,
    vertebra_name,
)
from osteon.formats.registry import stem_of
from osteon.importing.masks.files import MaskFile, Scan, is_binary

_SUBJECT = re.compile(r"(sub-[A-Za-z0-9]+)(?:_.*)?")
"""Whom files and folders show, https://bids-specification.readthedocs.io (entity `sub`)."""

_MOST_CHANNELS = 6
"""As many as `CHANNEL_WORDS` has numbers for."""


@dataclass(eq=False)
class ScanGroup:
    """The scans of one case and the masks that belong to it.

    Attributes:
        home: The folder of the case, relative to the source; that of many cases where names tell them apart.
        name: What tells the case from others in `home`; empty where it is alone there.
        scans: One for each channel.
        masks: May be none.
        is_ambiguous: The scans of the case, where nobody can tell which of them the masks belong to.
        subject: Whom it shows, where names say so.
    """

    home: PurePosixPath
    name: str
    scans: list[Scan]
    masks: list[MaskFile] = field(default_factory=list)
    is_ambiguous: bool = False
    subject: str | None = None

    @property
    def names(self) -> set[tuple[str, ...]]:
        """What it is called, in words: by its scan, by its scan's case, by both with the folders in front."""
        parts = [name_words(part) for part in self.name.split("/")]
        names = {parts[-1], tuple(word for part in parts for word in part)}
        if len(self.scans) == 1 and case_name(self.scans[0].name):
            names.add(name_words(self.scans[0].name))
        if len(self.scans) == 1:  # `scan_image` beside `scan (1)_image`: what says little tells it here
            names.add(name_before_last_word(self.scans[0].name))
        return names - {()}


def group_scans(
    homes: Mapping[PurePosixPath, Sequence[Scan]], masks: Mapping[PurePosixPath, Sequence[MaskFile]]
) -> dict[PurePosixPath, list[ScanGroup]]:
    """The scans of each folder in groups.

    Args:
        homes: The folder that holds a case or many → its scans.
        masks: The same folder → its masks.
    """
    groups = {home: _group_by_channel(home, scans) for home, scans in homes.items()}
    named_scans = {
        id(group): _masks_of_scans(group, masks[home], len(groups_here))
        for home, groups_here in groups.items()
        for group in groups_here
    }
    if any(len(set(scans)) > 1 for scans in named_scans.values() if None not in scans):
        for home, groups_here in groups.items():
            if any(len(group.scans) > 1 for group in groups_here):
                groups[home] = [part for group in groups_here for part in _split_by_scan(group, named_scans[id(group)])]
                _share_subjects(groups[home])
    for group in (group for groups_here in groups.values() for group in groups_here):
        subjects = [match[1] for part in group.scans[0].relative_path.parts if (match := _SUBJECT.fullmatch(part))]
        group.subject = subjects[0] if subjects else group.subject
    return groups


def _group_by_channel(home: PurePosixPath, scans: Sequence[Scan]) -> list[ScanGroup]:
    """The scans of one folder; those that differ in the channel alone (`p1_T1`, `p1_T2`) go together."""
    numbers: dict[str, set[int]] = defaultdict(set)
    for scan in scans:
        if (number := channel_number(scan.name)) is not None:
            numbers[_name_in_folder(scan, home, case_name(scan.name))].add(number)
    t3_folders = {scan.folder for scan in scans if scan.name.lower() == "t3"}  # the cases T1, T2, T3
    named: dict[str, list[Scan]] = defaultdict(list)
    for scan in scans:
        name = _name_in_folder(scan, home, case_name(scan.name))
        channel_numbers = numbers[name] if channel_number(scan.name) is not None else set()
        numbered_cases = channel_numbers != set(
            range(min(len(channel_numbers), _MOST_CHANNELS))
        )  # cases are counted from 1 on, or are many
        numbered_cases |= scan.folder in t3_folders and scan.name.lower() in ("t1", "t2")
        named[_name_in_folder(scan, home, scan.name) if numbered_cases else name].append(scan)
    groups = []
    for name, group in named.items():
        channels = [channel_name(scan.name) for scan in group]
        apart = len(group) > 1 and (len(set(channels)) < len(group) or "" in channels)
        if apart:
            names = [f"{name}/{scan.name}#{n}" if scan.series else scan.name for n, scan in enumerate(group, 1)]
            groups += [ScanGroup(home, text.lstrip("/"), [scan]) for text, scan in zip(names, group, strict=True)]
        else:
            groups.append(ScanGroup(home, name, sorted(group, key=lambda scan: channel_name(scan.name))))
    return groups


def _name_in_folder(scan: Scan, home: PurePosixPath, name: str) -> str:
    return "/".join(part for part in (*_folders(scan, home), name) if part)


def _folders(scan: Scan, home: PurePosixPath) -> list[str]:
    """The folders between home and scan that say something."""
    below = scan.folder.relative_to(home).parts[: -1 if scan.series else None]
    return [part for part in below if part.lower() not in SCAN_WORDS]


def _masks_of_scans(group: ScanGroup, masks: Sequence[MaskFile], groups: int) -> list[Scan | None]:
    """For each mask of a group of channels the one scan that it is named after: `1_t1` beside `1_t1` and `1_t2`.

    None for a mask that is named after none of them, or that may be a vertebra (`T1`).
    """
    found: list[Scan | None] = []
    for mask in masks if len(group.scans) > 1 else ():
        mask_words = name_words(strip_mask_words(stem_of(mask.path)))
        owners = [scan for scan in group.scans if mask_words[: len(scan_words := name_words(scan.name))] == scan_words]
        if owners and vertebra_name(PurePosixPath(mask.relative_path.name), ()) and is_binary(mask.path):
            owners = []
        if owners or groups == 1 or any(mask_words[: len(name)] == name for name in group.names):
            found.append(max(owners, key=lambda scan: len(name_words(scan.name)), default=None))
    return found


def _split_by_scan(group: ScanGroup, owners: Sequence[Scan | None]) -> list[ScanGroup]:
    """A group of its own for each scan, unless a mask is named after the case alone."""
    if None in owners:
        return [group]
    subject = "" if channel_name(group.scans[0].name).isdigit() else group.name.rpartition("/")[2] or group.home.name
    parts = [ScanGroup(group.home, _name_in_folder(scan, group.home, scan.name), [scan]) for scan in group.scans]
    for part in parts:
        part.subject = None if subject in ("", part.scans[0].name) else subject
    return parts


def _share_subjects(groups: Sequence[ScanGroup]) -> None:
    """Scans that are named like the same subject's (`1_t2_SPACE` beside `1_t1`) show it too."""
    known = {name_words(group.subject): group.subject for group in groups if group.subject}
    for group in groups:
        words = name_words(group.scans[0].name)
        group.subject = group.subject or next(
            (known[head] for n in range(len(words), 0, -1) if (head := words[:n]) in known), None
        )
