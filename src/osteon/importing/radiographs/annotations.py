"""What marks one picture, whatever form it comes in; what the readers of these forms share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from osteon.core.errors import DatasetError, LabelError
from osteon.core.text import shorten_list
from osteon.formats.annotation_fields import Points
from osteon.formats.polygons import distance_outside
from osteon.importing.radiographs.files import SourceFile, shorten
from osteon.importing.source_forms import Source, fail

Mask = npt.NDArray[np.bool_]
PictureSize = tuple[int, int]
"""Rows and columns of a picture."""
Warn = Callable[[str], None]


@dataclass(frozen=True)
class Annotation:
    """What one source says of one picture.

    Attributes:
        kind: In words, for people.
        names: Structures that are marked, in the source's order.
        parts: The files that say it.
        draw: Gives structure and mask `[rows, columns]`, a structure more than once where it is in parts. None where
            `label` says it all.
        label: A file whose values are the structures.
        annotated: Structures that somebody looked for; None where the source does not tell.
        times: How often each structure is marked, as `draw` gives it; those that are left out once.
    """

    kind: str
    names: tuple[str, ...]
    parts: tuple[Path, ...]
    draw: Callable[[PictureSize, Warn], Iterator[tuple[str, Mask]]] | None = None
    label: Path | None = None
    annotated: tuple[str, ...] | None = None
    times: Mapping[str, int] = field(default_factory=dict)


PictureAnnotations = list[tuple[SourceFile, Annotation]]
"""Pictures, each with an annotation."""


def conflicting_annotation(picture: SourceFile, first: Annotation, second: Annotation) -> Annotation:
    """Marks of one kind from two files, or under two names: the case fails, since to take one would lose the other."""
    parts = tuple(dict.fromkeys((*first.parts, *second.parts)))
    names = tuple(dict.fromkeys((*first.names, *second.names)))
    error = DatasetError(
        f"{picture.path}: is marked by {first.kind} twice: {', '.join(map(str, parts[:2]))}",
        hint="describe a picture in one file and under one name, or give the right file as SOURCE",
    )
    return Annotation(first.kind, names, parts, partial(fail, error))


def check_size(drawn_on: tuple[int, int] | None, size: PictureSize, path: Path) -> None:
    """Raise LabelError where a picture of another size was drawn on than the one that is there."""
    if drawn_on is not None and drawn_on != size[::-1]:
        raise LabelError(
            f"{path}: was drawn on a picture of {drawn_on[0]}×{drawn_on[1]} pixels, this one has {size[1]}×{size[0]}",
            hint="give the picture that was drawn on, in its full size",
        )


def warn_outside(polygons: Sequence[Points], size: PictureSize, name: str, warn: Warn) -> None:
    """Tell how far polygons `[n, 2]` reach out of their picture, where that is more than what a hand misses."""
    if beyond := distance_outside(polygons, size):
        warn(f"{name} reaches {beyond:.0f} pixels out of the picture; cut off at its edge")


def report_missing_pictures(path: Path, names: Sequence[str], found: Source) -> None:
    """Tell the pictures that a file speaks of, and that are not there."""
    if names:
        listed = shorten_list([shorten(name) for name in names], 3)
        found.lost.append(f"{path}: there is no picture {listed}; what it says of {len(names)} is skipped")
