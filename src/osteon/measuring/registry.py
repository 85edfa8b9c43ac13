"""What can be measured: a table. A new measure is one function and one row, here or in a package's entry points
`osteon.measures`; a new family is one file.
"""

from __future__ import annotations

from collections.abc import Iterable

from osteon.core.errors import UsageError
from osteon.core.plugins import with_plugins
from osteon.measuring import (
    bones,
    femurs,
    fractures,
    intensities,
    joints,
    legs,
    spine,
    spine_angles,
    spine_levels,
    tibias,
    tumours,
)
from osteon.measuring.measure import Measure

MEASURES: tuple[Measure, ...] = (
    *bones.MEASURES,
    *intensities.MEASURES,
    *joints.MEASURES,
    *tumours.MEASURES,
    *femurs.MEASURES,
    *tibias.MEASURES,
    *legs.MEASURES,
    *fractures.MEASURES,
    *spine.MEASURES,
    *spine_levels.MEASURES,
    *spine_angles.MEASURES,
)


def all_measures() -> dict[str, Measure]:
    """All rows by name, plugins' too. Raises UsageError where a plugin's row is none."""
    return with_plugins("osteon.measures", {measure.name: measure for measure in MEASURES}, Measure)


def find_measures(what: Iterable[str] | None = None) -> tuple[Measure, ...]:
    """The rows that names (of rows, of families) stand for; None: all. Raises UsageError that lists the known ones."""
    rows = all_measures()
    if what is None:
        return tuple(rows.values())
    names = list(what)
    families = dict.fromkeys(row.family for row in rows.values())
    for name in names:
        if name not in rows and name not in families:
            raise UsageError(f"{name}: no measure", hint=f"use one of {', '.join([*families, *rows])}")
    return tuple(row for row in rows.values() if row.name in names or row.family in names)
