"""One table of structures for a dataset, from what its label files say, each for itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from osteon.core.errors import DatasetError, OsteonError
from osteon.core.labels import Structure, make_structures
from osteon.formats.labelmap import is_placeholder
from osteon.formats.registry import read_structures, table_of
from osteon.importing.source_forms import FoundCase


def unite(own: Iterable[tuple[Structure, ...]], cases: Sequence[str] = ()) -> tuple[Structure, ...]:
    """The structures of all label files together, by ascending value.

    A name that several files give different values keeps the first; a value that stands for several names goes to
    the first name, the others get values of their own. (Files with names are read by name.)

    Args:
        own: What each label file says.
        cases: Whose file each is, for messages.

    Raises:
        DatasetError: Some files name a value and others use it without a name: nobody knows whether they mean the same.
    """
    named: dict[str, Structure] = {}
    generic: dict[int, Structure] = {}
    whose: dict[str | int, str] = {}
    for case, structure in ((case, one) for case, all_ in zip_longest(cases, own) for one in all_ or ()):
        whose.setdefault(
            structure.value if is_placeholder(structure.name) else structure.name, f" ({case})" if case else ""
        )
        if is_placeholder(structure.name):
            generic.setdefault(structure.value, structure)
        else:
            named.setdefault(structure.name, structure)
    values: dict[str, int] = {}
    for structure in named.values():
        if structure.value in generic:
            raise DatasetError(
                f"some label files call {structure.value} {structure.name}{whose[structure.name]}, others use "
                f"{structure.value} without a name{whose[structure.value]}",
                hint="give each file its table of names, or name the structures for all: --labels NAME=VALUE,…",
            )
        taken = {*values.values(), *generic}
        highest = max([*taken, *(s.value for s in named.values())], default=0)
        values[structure.name] = structure.value if structure.value not in taken else highest + 1
    values |= {f"label_{value}": value for value in generic}
    names = sorted(values, key=lambda name: values[name])
    united = []
    for fresh in make_structures(names, [values[name] for name in names]):
        if (file := named.get(fresh.name)) is None:
            united.append(fresh)
            continue
        united.append(_as_in_file(fresh, file, names))
    return tuple(united)


def adopt(
    known: Sequence[Structure], files: Iterable[Sequence[Structure]], *, rename: bool = True
) -> tuple[Structure, ...]:
    """The dataset's structures with the colours, and for made-up names the names, that its label files' headers give.

    A structure of the same name gives colour and side. A made-up name on either side (`label_3`, `Segment_1`) is
    matched by value. It takes the files' name with `rename`, where all files that name the value agree and nothing
    else has the name. The first file wins where colours differ. Values and order stay.
    """
    by_name: dict[str, Structure] = {}
    by_value: dict[int, dict[str, Structure]] = defaultdict(dict)
    for structure in (structure for structures in files for structure in structures):
        by_name.setdefault(structure.name, structure)
        by_value[structure.value].setdefault(structure.name, structure)
    taken = {structure.name for structure in known}
    names, sources = [], []
    for structure in known:
        name, source = structure.name, by_name.get(structure.name)
        told = [other for other in by_value[structure.value].values() if not is_placeholder(other.name)]
        if source is None and not told:
            source = next(iter(by_value[structure.value].values()), None)
        elif source is None and is_placeholder(name) and rename and len(told) == 1 and told[0].name not in taken:
            name, source = told[0].name, told[0]
            taken.add(name)
        names.append(name)
        sources.append(source)
    fresh = make_structures(names, [structure.value for structure in known])
    coloured = (
        new.model_copy(update={"colour": old.colour}) if source is None else _as_in_file(new, source, names)
        for new, old, source in zip(fresh, known, sources, strict=True)
    )
    return tuple(coloured)


@dataclass(frozen=True)
class Named:
    """What a label file's header, or a table beside it, calls the file's values."""

    path: Path
    structures: tuple[Structure, ...]
    table: bool = False


def named_in_files(cases: Iterable[FoundCase]) -> list[Named]:
    """What each label file's own header names, or its table. One that cannot be read says so when its case is taken."""
    named = []
    for case in cases:
        with suppress(OsteonError):
            if (table := case.table or (table_of(case.label) if case.label is not None else None)) is not None:
                named.append(Named(table.path, table.structures, table=True))
            elif case.label is not None:
                named.append(Named(case.label, read_structures(case.label)))
    return named


def contradicted(known: Sequence[Structure], files: Iterable[Named], told_by: str) -> list[str]:
    """A note where label files give structures other values than the dataset: each is read by its own names.

    Args:
        known: The dataset's structures.
        files: What each label file says of itself.
        told_by: Who says what the dataset's values mean, for messages.

    Raises:
        DatasetError: A value to which the dataset gives a name of its own stands for different structures in the files.
    """
    values = {structure.name: structure.value for structure in known}
    names = {structure.value: structure.name for structure in known}
    meant: dict[int, dict[str, Path]] = defaultdict(dict)
    other: list[tuple[Named, Structure]] = []
    for file in files:
        moved = [s for s in file.structures if values.get(s.name, s.value) != s.value]
        if moved and (file.table or told_by != "the dataset"):
            other.append((file, moved[0]))
        given = {values[s.name] for s in file.structures if s.name in values}
        by_value = not file.path.name.lower().endswith(".seg.nrrd")  # there, a name that is not known is refused
        for structure in file.structures if by_value else ():
            if (
                structure.name not in values
                and structure.value in set(names) - given
                and not is_placeholder(structure.name)
            ):
                meant[structure.value].setdefault(structure.name, file.path)
    for value, called in meant.items():
        if len(called) > 1:
            (one, here), (two, there), *_ = called.items()
            raise DatasetError(
                f"{told_by} calls the value {value} {names[value]}, but it is {one} by {here} and {two} by {there}",
                hint=f"leave --labels out, or use the files' own names: --labels {one}=1,{two}=2",
            )
    if not other:
        return []
    file, structure = other[0]
    more = f" (and {len(other) - 1} more files likewise)" if len(other) > 1 else ""
    told = f"{structure.value} {structure.name}, which has the value {values[structure.name]} by {told_by}"
    return [f"{file.path} calls {told}{more}; each is read by its own names"]


def _as_in_file(structure: Structure, file: Structure, names: Collection[str]) -> Structure:
    """The structure with its file's colour and, where the file tells one, side."""
    other = file.counterpart if file.counterpart in names else structure.counterpart
    return structure.model_copy(
        update={"colour": file.colour, "side": file.side or structure.side, "counterpart": other}
    )
