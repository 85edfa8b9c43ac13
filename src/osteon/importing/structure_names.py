"""One table of structures for a dataset: from what the user says, or from what its label files say together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from osteon.core.errors import DatasetError, OsteonError, UsageError
from osteon.core.label_values import MAX_VALUE
from osteon.core.labels import BACKGROUND, Structure, check_values, make_structures, with_pieces
from osteon.formats.io import read_structures, table_of
from osteon.formats.label_meanings import parse_range
from osteon.formats.labelmap import is_placeholder
from osteon.importing.source_forms import SourceCase


def user_structures(given: Mapping[str, int | str] | None) -> tuple[Structure, ...] | None:
    """The structures of `--labels`, `background` = 0 left out; None where the user gave none.

    Args:
        given: The value of each, or the first and last value of its pieces: `11-20`.

    Raises:
        UsageError: A name is empty, a value below 1 or given twice, a range is none, or only the background is named.
    """
    if not given:
        return None
    ranges = {name: parse_range(name, value) for name, value in given.items() if isinstance(value, str)}
    named = {name: ranges[name][0] if isinstance(value, str) else value for name, value in given.items()}
    named = {n: v for n, v in named.items() if (n.lower(), v) != ("background", BACKGROUND)}
    hint = "--labels L1=1,L2=2, for example; 0 is the background and needs no name"
    if not named:
        raise UsageError("--labels: names no structure", hint=hint)
    for name, value in named.items():
        if not name:
            raise UsageError(f"--labels: the value {value} has no name", hint=hint)
        if value <= BACKGROUND:
            raise UsageError(f"--labels: {name}={value}: a structure's value is at least 1", hint=hint)
        if value > MAX_VALUE:
            raise UsageError(f"--labels: {name}={value}: a structure's value is at most {MAX_VALUE}", hint=hint)
        if others := [other for other in named if other != name and named[other] == value]:
            raise UsageError(f"--labels: {name} and {others[0]} both have the value {value}", hint=hint)
    made = make_structures(list(named), list(named.values()))
    structures = tuple(with_pieces(s, ranges[s.name][-1]) if s.name in ranges else s for s in made)
    try:
        check_values(structures)
    except ValueError as error:
        raise UsageError(f"--labels: {error}", hint=hint) from None
    return structures


def check_priority(priority: Sequence[str] | None, structures: Sequence[Structure] | None) -> None:
    """Refuse a `--priority` that names what is not a structure, or where label maps exclude overlaps (None)."""
    if priority and structures is None:
        raise UsageError("--priority: label maps cannot overlap", hint="leave it out")
    names = [structure.name for structure in structures or ()]
    if unknown := [name for name in priority or () if name not in names]:
        raise UsageError(f"--priority: no structure is called {unknown[0]}", hint=f"structures are {', '.join(names)}")


def merge_structures(files: Iterable[tuple[Structure, ...]], cases: Sequence[str] = ()) -> tuple[Structure, ...]:
    """The structures of all label files together, by ascending value.

    A name that several files give different values keeps the first; a value that stands for several names goes to
    the first name, the others get values of their own. (Files with names are read by name.)

    Args:
        files: What each label file says.
        cases: Whose file each is, for messages.

    Raises:
        DatasetError: Some files name a value and others use it without a name: nobody knows whether they mean the same.
    """
    named: dict[str, Structure] = {}
    generic: dict[int, Structure] = {}
    whose: dict[str | int, str] = {}
    for case, structure in ((case, one) for case, all_ in zip_longest(cases, files) for one in all_ or ()):
        whose.setdefault(
            structure.value if is_placeholder(structure.name) else structure.name, f" ({case})" if case else ""
        )
        if is_placeholder(structure.name):
            generic.setdefault(structure.value, structure)
        else:
            first = named.setdefault(structure.name, structure)
            if first.instances and len(structure.values) > len(first.values):
                named[structure.name] = with_pieces(first, first.value + len(structure.values) - 1)
    values: dict[str, int] = {}
    taken = set(generic)
    for structure in named.values():
        if structure.value in generic:
            raise DatasetError(
                f"some label files call {structure.value} {structure.name}{whose[structure.name]}, others use "
                f"{structure.value} without a name{whose[structure.value]}",
                hint="give each file its table of names, or name the structures for all: --labels NAME=VALUE,…",
            )
        highest = max([*taken, *(s.values[-1] for s in named.values())])
        values[structure.name] = structure.value if taken.isdisjoint(structure.values) else highest + 1
        taken |= {value - structure.value + values[structure.name] for value in structure.values}
    values |= {f"label_{value}": value for value in generic}
    names = sorted(values, key=lambda name: values[name])
    made = make_structures(names, [values[name] for name in names])
    return tuple(s if s.name not in named else _with_file_colours(s, named[s.name], names) for s in made)


def adopt_file_names(
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
        named = [other for other in by_value[structure.value].values() if not is_placeholder(other.name)]
        if source is None and not named:
            source = next(iter(by_value[structure.value].values()), None)
        elif source is None and is_placeholder(name) and rename and len(named) == 1 and named[0].name not in taken:
            name, source = named[0].name, named[0]
            taken.add(name)
        names.append(name)
        sources.append(source)
    fresh = make_structures(names, [structure.value for structure in known])
    coloured = (
        new.model_copy(update={"colour": old.colour}) if source is None else _with_file_colours(new, source, names)
        for new, old, source in zip(fresh, known, sources, strict=True)
    )
    return tuple(
        with_pieces(new, old.last_value) if old.last_value is not None else new
        for new, old in zip(coloured, known, strict=True)
    )


@dataclass(frozen=True)
class FileStructures:
    """What a label file's header, or a table beside it, calls the file's values."""

    path: Path
    structures: tuple[Structure, ...]
    table: bool = False


def read_file_structures(cases: Iterable[SourceCase]) -> list[FileStructures]:
    """What each label file's own header names, or its table. One that cannot be read says so when its case is taken."""
    named = []
    for case in cases:
        with suppress(OsteonError):
            if (table := case.table or (table_of(case.label) if case.label is not None else None)) is not None:
                named.append(FileStructures(table.path, table.structures, table=True))
            elif case.label is not None:
                named.append(FileStructures(case.label, read_structures(case.label)))
    return named


def find_contradictions(known: Sequence[Structure], files: Iterable[FileStructures], authority: str) -> list[str]:
    """A note where label files give structures other values than the dataset: each is read by its own names.

    Args:
        known: The dataset's structures.
        files: What each label file says of itself.
        authority: Who says what the dataset's values mean, for messages.

    Raises:
        DatasetError: A value to which the dataset gives a name of its own stands for different structures in the files.
    """
    values = {structure.name: structure.value for structure in known}
    names = {structure.value: structure.name for structure in known if not structure.instances}
    names_of: dict[int, dict[str, Path]] = defaultdict(dict)
    other: list[tuple[FileStructures, Structure]] = []
    for file in files:
        renumbered = [s for s in file.structures if values.get(s.name, s.value) != s.value]
        if renumbered and (file.table or authority != "the dataset"):
            other.append((file, renumbered[0]))
        given = {values[s.name] for s in file.structures if s.name in values}
        by_value = not file.path.name.lower().endswith(".seg.nrrd")  # there, a name that is not known is refused
        for structure in file.structures if by_value else ():
            if (
                structure.name not in values
                and structure.value in set(names) - given
                and not is_placeholder(structure.name)
            ):
                names_of[structure.value].setdefault(structure.name, file.path)
    for value, called in names_of.items():
        if len(called) > 1:
            (one, here), (two, there), *_ = called.items()
            raise DatasetError(
                f"{authority} calls the value {value} {names[value]}, but it is {one} by {here} and {two} by {there}",
                hint=f"leave --labels out, or use the files' own names: --labels {one}=1,{two}=2",
            )
    if not other:
        return []
    file, structure = other[0]
    more = f" (the same for {len(other) - 1} more files)" if len(other) > 1 else ""
    text = f"{structure.value} {structure.name}, which has the value {values[structure.name]} by {authority}"
    return [f"{file.path} calls {text}{more}; each is read by its own names"]


def _with_file_colours(structure: Structure, file: Structure, names: Collection[str]) -> Structure:
    """The structure with its file's colour and, where the file tells them, side and pieces."""
    other = file.counterpart if file.counterpart in names else structure.counterpart
    coloured = structure.model_copy(
        update={"colour": file.colour, "side": file.side or structure.side, "counterpart": other}
    )
    return with_pieces(coloured, coloured.value + len(file.values) - 1) if file.instances else coloured
