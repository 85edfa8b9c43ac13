"""What marks one picture, whatever form it comes in; what the readers of these forms share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from osteon.core.errors import DatasetError, LabelError
from osteon.core.text import shorten_list
from osteon.formats.annotation_fields import Points
from osteon.formats.polygons import distance_outside
from osteon.importing.radiographs.files import File, short
from osteon.importing.source_forms import Found

Mask = npt.NDArray[np.bool_]
Size = tuple[int, int]
"""Rows and columns of a picture."""
Warn = Callable[[str], None]


@dataclass(frozen=True)
class Marks:
    """What one source says of one picture.

    Attributes:
        kind: In words, for people.
        names: Structures that are marked, in the source's order.
        parts: The files that say it.
        draw: Gives structure and mask `[rows, columns]`, a structure more than once where it is in parts. None where
            `label` says it all.
        label: A file whose values are the structures.
        annotated: Structures that somebody looked for; None where the source does not tell.
    """

    kind: str
    names: tuple[str, ...]
    parts: tuple[Path, ...]
    draw: Callable[[Size, Warn], Iterator[tuple[str, Mask]]] | None = None
    label: Path | None = None
    annotated: tuple[str, ...] | None = None


Told = list[tuple[File, Marks]]
"""Pictures, and what is said of them."""


def marked_twice(picture: File, first: Marks, second: Marks) -> Marks:
    """Marks of one kind from two files, or under two names: the case fails, since to take one would lose the other."""
    parts = tuple(dict.fromkeys((*first.parts, *second.parts)))
    names = tuple(dict.fromkeys((*first.names, *second.names)))
    return Marks(first.kind, names, parts, partial(_two_entries, picture.path, first.kind, parts))


def _two_entries(picture: Path, kind: str, parts: tuple[Path, ...], _: Size, __: Warn) -> Iterator[tuple[str, Mask]]:
    raise DatasetError(
        f"{picture}: is marked by {kind} twice: {', '.join(map(str, parts[:2]))}",
        hint="say all about a picture in one file and under one name, or give the file that is meant as SOURCE",
    )


def check_size(told: tuple[int, int] | None, size: Size, path: Path) -> None:
    """Raise LabelError where a picture of another size was drawn on than the one that is there."""
    if told is not None and told != size[::-1]:
        raise LabelError(
            f"{path}: was drawn on a picture of {told[0]}×{told[1]} pixels, this one has {size[1]}×{size[0]}",
            hint="give the picture that was drawn on, in its full size",
        )


def warn_outside(polygons: Sequence[Points], size: Size, name: str, warn: Warn) -> None:
    """Tell how far polygons reach out of their picture, where that is more than what a hand misses."""
    if beyond := distance_outside(polygons, size):
        warn(f"{name} reaches {beyond:.0f} pixels out of the picture; cut off at its edge")


def tell_missing(path: Path, names: Sequence[str], found: Found) -> None:
    """Tell the pictures that a file speaks of, and that are not there."""
    if names:
        listed = shorten_list([short(name) for name in names], 3)
        found.lost.append(f"{path}: there is no picture {listed}; what it says of {len(names)} is passed over")
