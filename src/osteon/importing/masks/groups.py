"""Scans into cases: those that differ in the channel alone go together, unless each has masks of its own."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from osteon.formats.mask_names import (
    SCAN_WORDS,
    case_of,
    channel_of,
    first_words,
    numbered_channel,
    vertebra_of,
    without_mask_words,
    words,
)
from osteon.formats.registry import stem_of
from osteon.importing.masks.files import Mask, Scan
from osteon.importing.masks.values import is_binary

_SUBJECT = re.compile(r"(sub-[A-Za-z0-9]+)(?:_.*)?")
"""Whom files and folders show, https://bids-specification.readthedocs.io (entity `sub`)."""

_MOST_CHANNELS = 6
"""As many as `CHANNEL_WORDS` has numbers for."""


@dataclass(eq=False)
class Group:
    """The scans of one case and the masks that belong to it.

    Attributes:
        home: The folder of the case, relative to the source; that of many cases where names tell them apart.
        name: What tells the case from others in `home`; empty where it is alone there.
        scans: One for each channel.
        masks: May be none.
        several: The scans of the case, where nobody can tell which of them the masks belong to.
        subject: Whom it shows, where names say so.
    """

    home: PurePosixPath
    name: str
    scans: list[Scan]
    masks: list[Mask] = field(default_factory=list)
    several: bool = False
    subject: str | None = None

    @property
    def names(self) -> set[tuple[str, ...]]:
        """What it is called, in words: by its scan, by its scan's case, by both with the folders in front."""
        parts = [words(part) for part in self.name.split("/")]
        names = {parts[-1], tuple(word for part in parts for word in part)}
        if len(self.scans) == 1 and case_of(self.scans[0].name):
            names.add(words(self.scans[0].name))
        if len(self.scans) == 1:  # `scan_image` beside `scan (1)_image`: what says little tells it here
            names.add(first_words(self.scans[0].name))
        return names - {()}


def group_scans(
    homes: Mapping[PurePosixPath, Sequence[Scan]], masks: Mapping[PurePosixPath, Sequence[Mask]]
) -> dict[PurePosixPath, list[Group]]:
    """The scans of each folder in groups.

    Args:
        homes: The folder that holds a case or many → its scans.
        masks: The same folder → its masks.
    """
    groups = {home: _grouped(home, scans) for home, scans in homes.items()}
    owned = {id(group): _own_masks(group, masks[home], len(own)) for home, own in groups.items() for group in own}
    if any(len(set(scans)) > 1 for scans in owned.values() if None not in scans):
        for home, own in groups.items():
            if any(len(group.scans) > 1 for group in own):
                groups[home] = [part for group in own for part in _parted(group, owned[id(group)])]
                _share_subjects(groups[home])
    for group in (group for own in groups.values() for group in own):
        told = [match[1] for part in group.scans[0].place.parts if (match := _SUBJECT.fullmatch(part))]
        group.subject = told[0] if told else group.subject
    return groups


def _grouped(home: PurePosixPath, scans: Sequence[Scan]) -> list[Group]:
    """The scans of one folder; those that differ in the channel alone (`p1_T1`, `p1_T2`) go together."""
    numbers: dict[str, set[int]] = defaultdict(set)
    for scan in scans:
        if (number := numbered_channel(scan.name)) is not None:
            numbers[_called(scan, home, case_of(scan.name))].add(number)
    third = {scan.folder for scan in scans if scan.name.lower() == "t3"}  # the cases T1, T2, T3
    named: dict[str, list[Scan]] = defaultdict(list)
    for scan in scans:
        name = _called(scan, home, case_of(scan.name))
        told = numbers[name] if numbered_channel(scan.name) is not None else set()
        counted = told != set(range(min(len(told), _MOST_CHANNELS)))  # cases are counted from 1 on, or are many
        counted |= scan.folder in third and scan.name.lower() in ("t1", "t2")
        named[_called(scan, home, scan.name) if counted else name].append(scan)
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


def _called(scan: Scan, home: PurePosixPath, name: str) -> str:
    return "/".join(part for part in (*_folders(scan, home), name) if part)


def _folders(scan: Scan, home: PurePosixPath) -> list[str]:
    """The folders between home and scan that say something."""
    below = scan.folder.relative_to(home).parts[: -1 if scan.series else None]
    return [part for part in below if part.lower() not in SCAN_WORDS]


def _own_masks(group: Group, masks: Sequence[Mask], groups: int) -> list[Scan | None]:
    """For each mask of a group of channels the one scan that it is named after: `1_t1` beside `1_t1` and `1_t2`.

    None for a mask that is named after none of them, or that may be a vertebra (`T1`).
    """
    found: list[Scan | None] = []
    for mask in masks if len(group.scans) > 1 else ():
        told = words(without_mask_words(stem_of(mask.path)))
        owners = [scan for scan in group.scans if told[: len(own := words(scan.name))] == own]
        if owners and vertebra_of(PurePosixPath(mask.place.name), ()) and is_binary(mask.path):
            owners = []
        if owners or groups == 1 or any(told[: len(name)] == name for name in group.names):
            found.append(max(owners, key=lambda scan: len(words(scan.name)), default=None))
    return found


def _parted(group: Group, owners: Sequence[Scan | None]) -> list[Group]:
    """A group of its own for each scan, unless a mask is named after the case alone."""
    if None in owners:
        return [group]
    subject = "" if channel_of(group.scans[0].name).isdigit() else group.name.rpartition("/")[2] or group.home.name
    parts = [Group(group.home, _called(scan, group.home, scan.name), [scan]) for scan in group.scans]
    for part in parts:
        part.subject = None if subject in ("", part.scans[0].name) else subject
    return parts


def _share_subjects(groups: Sequence[Group]) -> None:
    """Scans that are named like the same subject's (`1_t2_SPACE` beside `1_t1`) show it too."""
    known = {words(group.subject): group.subject for group in groups if group.subject}
    for group in groups:
        told = words(group.scans[0].name)
        group.subject = group.subject or next(
            (known[head] for n in range(len(told), 0, -1) if (head := told[:n]) in known), None
        )
