"""One table of structures for a dataset, from what its label files say, each for itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from osteon.core.errors import DatasetError
from osteon.core.labels import Structure, make_structures
from osteon.formats.labelmap import is_generic


def unite(own: Iterable[tuple[Structure, ...]]) -> tuple[Structure, ...]:
    """The structures of all label files together, by ascending value.

    A name that several files give different values keeps the first; a value that stands for several names goes to
    the first name, the others get values of their own. (Files with names are read by name.)

    Raises:
        DatasetError: Some files name a value and others use it without a name: nobody knows whether they mean the same.
    """
    named: dict[str, Structure] = {}
    generic: dict[int, Structure] = {}
    for structure in (structure for structures in own for structure in structures):
        if is_generic(structure.name):
            generic.setdefault(structure.value, structure)
        else:
            named.setdefault(structure.name, structure)
    values: dict[str, int] = {}
    for structure in named.values():
        if structure.value in generic:
            raise DatasetError(
                f"some label files call {structure.value} {structure.name}, others use {structure.value} "
                "without a name",
                hint="name the structures for all files: --labels NAME=VALUE,…",
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
        told = [other for other in by_value[structure.value].values() if not is_generic(other.name)]
        if source is None and not told:
            source = next(iter(by_value[structure.value].values()), None)
        elif source is None and is_generic(name) and rename and len(told) == 1 and told[0].name not in taken:
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


def _as_in_file(structure: Structure, file: Structure, names: Collection[str]) -> Structure:
    """The structure with its file's colour and, where the file tells one, side."""
    other = file.counterpart if file.counterpart in names else structure.counterpart
    return structure.model_copy(
        update={"colour": file.colour, "side": file.side or structure.side, "counterpart": other}
    )
