"""Rows of structures that their names show: vertebrae, ribs, phalanges, teeth."""

from __future__ import annotations

import re
from collections.abc import Sequence

from osteon.formats.labelmap import is_placeholder

SHORTEST = 3
"""Structures that make a row; two alike are rather a left and a right one."""
REGIONS = "CTLS"
"""Of the spine, downwards."""
_VERTEBRA = re.compile(r"(.*(?:[^a-zA-Z])|)([CTLS])(\d{1,2})")
_NUMBER = re.compile(r"\d+")


def split_vertebra(name: str) -> tuple[str, str, int] | None:
    """Prefix, region and number of a vertebra's name (`spine_T12`); None of any other name."""
    match = _VERTEBRA.fullmatch(name)
    return None if match is None else (match[1], match[2], int(match[3]))


def find_name_rows(names: Sequence[str]) -> list[list[int]]:
    """Names in a row, as positions: they differ in one number alone (`rib_left_1`, `rib_left_2` …), in its order.

    The vertebrae C, T, L and S are one row. Names that programs make up (`label_3`) say nothing. A row has three
    members at least.
    """
    rows: dict[str, list[tuple[int, int, int]]] = {}
    for position, name in enumerate(names):
        vertebra = split_vertebra(name)
        if vertebra is not None:
            rows.setdefault(f"{vertebra[0]}vertebra", []).append((REGIONS.index(vertebra[1]), vertebra[2], position))
        elif len(found := _NUMBER.findall(name)) == 1 and not is_placeholder(name):
            rows.setdefault(_NUMBER.sub("#", name), []).append((0, int(found[0]), position))
    return [[position for _, _, position in sorted(row)] for row in rows.values() if len(row) >= SHORTEST]
