"""One table of structures for a dataset whose label files name them, each for itself."""

from __future__ import annotations

from collections.abc import Iterable

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
        other = file.counterpart if file.counterpart in values else fresh.counterpart
        united.append(
            fresh.model_copy(update={"colour": file.colour, "side": file.side or fresh.side, "counterpart": other})
        )
    return tuple(united)
