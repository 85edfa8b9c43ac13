"""Structures whose pieces are numbered: told by ranges of values, by numbers in names, or by the user's word."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from osteon.core.errors import LabelError, UsageError
from osteon.core.file_names import name_key
from osteon.core.labels import (
    MAX_PIECES,
    USUAL_PIECES,
    Segmentation,
    Structure,
    check_values,
    make_structures,
    with_pieces,
)
from osteon.formats.io import read_segmentation
from osteon.formats.labelmap import is_placeholder, make_index_map, piece_stem, to_index_map
from osteon.formats.mask_names import MASK_WORDS, SCAN_WORDS, name_words, structure_key
from osteon.formats.registry import stem_of, suffix_of
from osteon.importing.source_forms import SourceCase

FRAGMENT = "fragment"
"""What pieces are called where no name says of what."""
_NO_BONES = frozenset(
    name_words("case patient pat subject sub ses session anon study left right stl mesh dataset data")
)
"""Words that stand in the names of many files, and call no bone."""
_RANGES = "say which values are pieces of what: --labels NAME=FIRST-LAST,…; or number the names: tibia_1, tibia_2"


def common_name(names: Iterable[str], ignored: Iterable[str] = ()) -> str:
    """What the names of all files say beside the case, in words of letters: `humerus`; `fragment` where it is nothing.

    Args:
        names: Of files, without their suffixes.
        ignored: Words that say nothing about the bone, such as colours.
    """
    found = [re.findall(r"[^\W\d_]{3,}", name_key(name)) for name in names]
    no_bones = {*_NO_BONES, *MASK_WORDS, *SCAN_WORDS, *ignored}
    common = [word for word in (*found, [])[0] if word not in no_bones and all(word in words for words in found)]
    return "_".join(dict.fromkeys(common)) or FRAGMENT


def lay_out(names: Sequence[str], pieces: Mapping[str, int]) -> tuple[Structure, ...]:
    """Structures with room for their pieces, each that has some from 1, 101, 201 … on.

    Args:
        names: In order.
        pieces: How many a structure has in a case at most; those that are not in it have none.
    """
    values, last, value = [], [], 1
    for name in names:
        room = max(USUAL_PIECES, pieces[name]) if name in pieces else 1
        values.append(value)
        last.append(value + room - 1)
        value = 100 * (last[-1] // 100 + 1) + 1 if name in pieces else value + 1
    made = make_structures(names, values)
    return tuple(with_pieces(s, end) if s.name in pieces else s for s, end in zip(made, last, strict=True))


def stems_with_pieces(names: Iterable[str]) -> tuple[Structure, ...]:
    """Structures of the names without the numbers at their ends, each with pieces."""
    stems = {structure_key(stem): stem for name in names if (stem := piece_stem(name) or FRAGMENT)}
    return lay_out(list(stems.values()), dict.fromkeys(stems.values(), 1))


def number_pieces(structures: Sequence[Structure], name: str) -> tuple[Structure, ...]:
    """The structures as pieces of others, as `--fragments instances` asks for it.

    Where ranges of values were given, they say it. Else names that end in a number (`tibia_1`, `label_3`) are pieces of
    what stands before it, and others have none; where no name does, each structure owns the values up to the next
    one's. What nothing follows is open: see `close_range`.

    Args:
        structures: As the source or the user has them.
        name: What pieces are called whose names say nothing.

    Raises:
        UsageError: A structure would have one value, or values of two alternate.
    """
    if not structures or any(structure.instances for structure in structures):
        return tuple(structures)
    groups: dict[str, list[Structure]] = defaultdict(list)
    for structure in sorted(structures, key=lambda s: s.value):
        if is_placeholder(structure.name) or piece_stem(structure.name) != structure.name:
            stem = "" if is_placeholder(structure.name) else piece_stem(structure.name)
            groups[stem or name].append(structure)
    whole = [s for s in structures if not any(s in group for group in groups.values())]
    if groups:
        made = make_structures(list(groups), [group[0].value for group in groups.values()])
        ends = [group[-1].value for group in groups.values()]
    else:
        in_order = sorted(structures, key=lambda s: s.value)
        made, whole = tuple(in_order), []
        ends = [*(after.value - 1 for _, after in pairwise(in_order)), in_order[-1].value]
        for structure, end in zip(made[:-1], ends, strict=False):
            if end == structure.value:
                raise UsageError(
                    f"--fragments instances: {structure.name} has the value {end} alone, so no pieces", hint=_RANGES
                )
    highest = max(s.value for s in structures)
    ends = [s.value + MAX_PIECES - 1 if end == highest else end for s, end in zip(made, ends, strict=True)]
    result = (*whole, *(with_pieces(s, end) for s, end in zip(made, ends, strict=True)))
    try:
        check_values(result)
    except ValueError as error:
        raise UsageError(f"--fragments instances: {error}", hint=_RANGES) from None
    return tuple(sorted(result, key=lambda s: s.value))


def close_range(structures: Sequence[Structure], highest: int) -> tuple[Structure, ...]:
    """The structures with the last value of an open range: the highest that was found, or that of the usual number."""
    return tuple(
        with_pieces(s, max(highest, s.value + USUAL_PIECES - 1)) if s.instances and len(s.values) == MAX_PIECES else s
        for s in structures
    )


def owner_names(names: Iterable[str], own: Sequence[Structure], structures: Sequence[Structure]) -> tuple[str, ...]:
    """The names of a file's own structures as the dataset has them, where their values became pieces."""
    values = {structure.name: structure.value for structure in own}
    known = {structure.name for structure in structures}
    owners = (next((s.name for s in structures if values[name] in s.values), name) for name in names if name in values)
    return tuple(names) if known.issuperset(names) else tuple(dict.fromkeys(owners))


def name_of_labels(cases: Iterable[SourceCase]) -> str:
    """What the names of all label files say: see `common_name`."""
    files = [path for case in cases for path, label in case.files if label and suffix_of(path)]
    return common_name(map(stem_of, files))


def overlap_error(what: str, priority: str = "") -> LabelError:
    """The error for pieces that share voxels; `priority` is the option's value that resolves it."""
    way_out = f"--priority {priority} gives them to the first of the pieces; " if priority else ""
    return LabelError(
        f"{what}; pieces are numbered, and one number for each voxel cannot say both",
        hint=f"{way_out}--fragments classes keeps the overlap",
    )


def unite_layers(path: Path, structures: Sequence[Structure] | None) -> Segmentation:
    """The layers of a file as one index map. Raises LabelError where two share a voxel, or as `make_index_map`."""
    layers = read_segmentation(path)
    if shared := int(np.count_nonzero(np.count_nonzero(layers.array, axis=0) > 1)):
        raise overlap_error(f"{path}: {shared} voxels belong to several structures")
    united = to_index_map(layers, path)
    array, named = make_index_map(united.array, united.structures, structures, path, by_value=False)
    return Segmentation(array, united.geometry, named)


def owner_of(name: str, structures: Sequence[Structure]) -> str | None:
    """The structure that a mask's name means: itself, or the one of which it is a piece; None where there is none."""
    if any(structure.name == name for structure in structures):
        return name
    stem = structure_key(piece_stem(name)) or FRAGMENT
    return next((s.name for s in structures if s.instances and structure_key(s.name) == stem), None)
