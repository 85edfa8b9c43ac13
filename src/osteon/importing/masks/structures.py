"""What structures are called beyond a mask's own name: where the case stands last, vertebrae, and tables of values.

A vertebra may be called like a channel, or like a case: `T1` beside a CT, `C1` in the folder of case c1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from osteon.core.labels import Structure, make_structures
from osteon.formats.io import read_structures, table_of
from osteon.formats.label_tables import LabelTable, read_label_table
from osteon.formats.mask_names import (
    CHANNEL_WORDS,
    case_name,
    channel_name,
    strip_mask_words,
    strip_suffix_words,
    structure_key,
    vertebra_name,
)
from osteon.formats.registry import stem_of
from osteon.importing.masks.files import MaskFile
from osteon.importing.masks.groups import ScanGroup

_CT = ("ct", "cbct")


def structure_prefixes(group: ScanGroup) -> list[str]:
    """What stands before a structure in a mask's name, or is a folder above it, and says nothing about it."""
    parts = group.name.split("/")
    both = ["_".join(parts)] if len(set(parts)) == len(parts) else []  # in the folder c1 of case c1, `c1_C1` is C1
    return [*both, *parts, *group.home.parts]


def case_stands_last(groups: Sequence[ScanGroup]) -> bool:
    """Whether the name of every mask ends in its case's, in two cases or more: `femur_p1`, `femur_p2`."""
    names = [
        strip_suffix_words(strip_mask_words(stem_of(mask.path)), case_names(group))
        for group in groups
        for mask in group.masks
        if mask.kind == "file"
    ]
    return all(names) and sum(bool(group.masks) for group in groups) > 1


def case_names(group: ScanGroup) -> list[str]:
    """What the case is called that a group is."""
    return [group.name.rpartition("/")[2] or group.home.name, *(case_name(scan.name) for scan in group.scans)]


def _vertebra_candidates(group: ScanGroup) -> dict[MaskFile, str]:
    """The masks of a group that are called like a vertebra; `T1` may be a channel's name, and `C1` the case's."""
    prefixes = [*structure_prefixes(group), *(case_name(scan.name) for scan in group.scans)]
    masks = [mask for mask in group.masks if mask.kind == "file"]
    folders = Counter(mask.folder for mask in masks)
    candidates = {
        mask: vertebra_name(mask.relative_path.relative_to(group.home), prefixes, alone=folders[mask.folder] == 1)
        for mask in masks
    }
    return {mask: name for mask, name in candidates.items() if name is not None}


def _ambiguous_names(group: ScanGroup) -> set[str]:
    """Names that may mean the scan or the case."""
    return {channel_name(scan.name) for scan in group.scans} | {
        structure_key(text) for text in structure_prefixes(group)
    }


def is_spine(groups: Sequence[ScanGroup]) -> bool:
    """Whether a mask is called like a vertebra and like nothing else: `L1`."""
    return any(
        structure_key(name) not in CHANNEL_WORDS | _ambiguous_names(group)
        for group in groups
        for name in _vertebra_candidates(group).values()
    )


def find_vertebrae(group: ScanGroup, known: Sequence[str] | None, *, spine: bool) -> dict[MaskFile, str]:
    """The masks that are a vertebra's, and its name.

    One that is called like a channel of the case's scans, or like the case, is none without another vertebra beside it.
    Any other is, in a CT, in a spine, and beside another.

    Args:
        group: A case.
        known: Names of structures that the user or a table gives.
        spine: Whether a mask of any case is called like a vertebra and like nothing else.
    """
    candidates, ambiguous = _vertebra_candidates(group), _ambiguous_names(group)
    others = {structure_key(name) for name in candidates.values()} - ambiguous
    modalities = {channel_name(scan.name) for scan in group.scans}
    modalities |= {scan.series.modality.lower() for scan in group.scans if scan.series}
    is_likely = spine or len(others) > 1 or not modalities.isdisjoint(_CT)
    return {
        mask: name
        for mask, name in candidates.items()
        if (others if structure_key(name) in ambiguous else is_likely or name in (known or ()))
    }


def read_value_names(
    mask: MaskFile, spelling: dict[str, str], table_in: Callable[[Path], Path | None]
) -> tuple[tuple[Structure, ...], LabelTable | None]:
    """What names the values of a label map: its header, the table called after it, or one in a folder below the source.

    Names of tables are spelt as the first table has them.

    Args:
        mask: The label map.
        spelling: Key of a name → the name as first seen; new ones are added.
        table_in: The table in a folder that belongs to no other label map; None where there is none.
    """
    table = table_of(mask.path)
    if table is None and (in_header := read_structures(mask.path)):
        return in_header, None
    for above in range(len(mask.folder.parts)) if table is None else ():
        if (found := table_in(mask.path.parents[above])) is not None:
            table = LabelTable(found, read_label_table(found))
            break
    if table is None:
        return (), None
    spelt = [spelling.setdefault(structure_key(s.name), s.name) for s in table.structures]
    if len(set(spelt)) == len(spelt):
        named = make_structures(spelt, [structure.value for structure in table.structures])
        table = LabelTable(table.path, named)
    return table.structures, table
