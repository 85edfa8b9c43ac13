"""Masks of vertebrae whose names are a channel's, or a case's: `T1` beside a CT, `C1` in the folder of case c1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from osteon.importing.mask_files import Mask
from osteon.importing.mask_groups import Group
from osteon.importing.mask_names import CHANNEL_WORDS, case_of, channel_of, same_name, vertebra_of

_CT = ("ct", "cbct")


def before_structure(group: Group) -> list[str]:
    """What stands before a structure in a mask's name, or is a folder above it, and says nothing about it."""
    parts = group.name.split("/")
    both = ["_".join(parts)] if len(set(parts)) == len(parts) else []  # in the folder c1 of case c1, `c1_C1` is C1
    return [*both, *parts, *group.home.parts]


def _told(group: Group) -> dict[Mask, str]:
    """The masks of a group that are called like a vertebra; `T1` may be a channel's name, and `C1` the case's."""
    prefixes = [*before_structure(group), *(case_of(scan.name) for scan in group.scans)]
    folders = Counter(mask.folder for mask in group.masks)
    told = {
        mask: vertebra_of(mask.place.relative_to(group.home), prefixes, alone=folders[mask.folder] == 1)
        for mask in group.masks
    }
    return {mask: name for mask, name in told.items() if name is not None and mask.kind == "file"}


def _doubtful(group: Group) -> set[str]:
    """Names that may mean the scan or the case."""
    return {channel_of(scan.name) for scan in group.scans} | {same_name(text) for text in before_structure(group)}


def is_spine(groups: Sequence[Group]) -> bool:
    """Whether a mask is called like a vertebra and like nothing else: `L1`."""
    return any(
        same_name(name) not in CHANNEL_WORDS | _doubtful(group) for group in groups for name in _told(group).values()
    )


def vertebrae_of(group: Group, known: Sequence[str] | None, *, spine: bool) -> dict[Mask, str]:
    """The masks that are a vertebra's, and its name.

    One that is called like a channel of the case's scans, or like the case, is none without another vertebra beside it.
    Any other is, in a CT, in a spine, and beside another.

    Args:
        group: A case.
        known: Names of structures that the user or a table gives.
        spine: Whether a mask of any case is called like a vertebra and like nothing else.
    """
    told, doubtful = _told(group), _doubtful(group)
    others = {same_name(name) for name in told.values()} - doubtful
    modalities = {channel_of(scan.name) for scan in group.scans}
    modalities |= {scan.series.modality.lower() for scan in group.scans if scan.series}
    sure = spine or len(others) > 1 or not modalities.isdisjoint(_CT)
    return {
        mask: name
        for mask, name in told.items()
        if (others if same_name(name) in doubtful else sure or name in (known or ()))
    }
