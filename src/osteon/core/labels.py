"""Named structures and segmentations of them."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from osteon.core.boxes import Box
from osteon.core.errors import LabelError
from osteon.core.geometry import Geometry
from osteon.core.label_values import MAX_VALUE, merge_ranges

BACKGROUND = 0
USUAL_PIECES = 99
"""How many pieces a structure may have in a case, where nothing says otherwise."""
MAX_PIECES = 1 << 14
"""How many it may have at all: values are looked up one by one."""
_HUE_STEPS = (0.0, 0.09, -0.09, 0.18, -0.18, 0.045, -0.045)
"""By how much a piece's hue differs from its structure's, piece by piece."""
_LIGHTNESS_STEPS = (0.0, -0.22, 0.2)
"""Likewise its lightness, after each round of hues."""


class Structure(BaseModel):
    """A class of a segmentation: a bone, a fragment, a tumour.

    Attributes:
        name: Unique in a dataset.
        value: The integer that marks it in an index map; unique, from 1 to 2⁵³.
        colour: `#rrggbb`.
        side: `left` or `right` where that is part of what it is.
        counterpart: Name of the same structure on the other side; the two swap when an image is mirrored.
        instances: True where its pieces are numbered in each case, and a number means nothing beyond its case: each
            value from `value` to `last_value` is one piece. None: it is one.
        last_value: The last value of its pieces; None where it has none, or for `USUAL_PIECES`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    value: int = Field(ge=1, le=MAX_VALUE)
    colour: str = Field(pattern=r"^#[0-9a-fA-F]{6}$")
    side: Literal["left", "right"] | None = None
    counterpart: str | None = None
    instances: Literal[True] | None = None
    last_value: int | None = Field(default=None, le=MAX_VALUE)

    @model_validator(mode="before")
    @classmethod
    def _pieces_have_a_last_value(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = {key: value for key, value in data.items() if (key, value) != ("instances", False)}
        if data.get("instances") and data.get("last_value") is None and isinstance(data.get("value"), int):
            data["last_value"] = data["value"] + USUAL_PIECES - 1
        return data

    @model_validator(mode="after")
    def _is_a_range(self) -> Structure:
        if (self.last_value is not None) != bool(self.instances):
            raise ValueError("last_value: is given where `instances` is true, and nowhere else")
        if self.last_value is not None and self.last_value < self.value:
            raise ValueError(f"last_value: {self.last_value} is below value, {self.value}")
        if len(self.values) > MAX_PIECES:
            raise ValueError(f"last_value: {self.value} to {self.last_value} are more than {MAX_PIECES} pieces")
        return self

    @property
    def values(self) -> range:
        """The values that are its own in an index map."""
        return range(self.value, (self.last_value or self.value) + 1)

    def piece(self, number: int) -> Structure:
        """One of its pieces, counted from 0, as a structure of its own."""
        colour = piece_colour(self.colour, number + 1)
        return Structure(name=f"{self.name} {number + 1}", value=self.value + number, colour=colour, side=self.side)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Which voxels belong to which structure.

    Attributes:
        array: An index map `[i, j, k]` of structure values (0 background), or multi-hot `[structure, i, j, k]` of
            0/1 in the order of `structures` where they may overlap. Of a structure with `instances` each piece has a
            value, or all of them have the structure's own (`merged`).
        geometry: Where the voxels lie, RAS+ millimetres.
        structures: The structures that the array may hold.
    """

    array: npt.NDArray[np.integer]
    geometry: Geometry
    structures: tuple[Structure, ...]

    def __post_init__(self) -> None:
        expected = self.geometry.shape if self.array.ndim == 3 else (len(self.structures), *self.geometry.shape)
        if self.array.shape != expected:
            raise ValueError(f"array {self.array.shape} does not fit the grid {expected}")

    def crop(self, box: Box) -> Segmentation:
        """A box of it, on the box's grid; the array is a view."""
        return Segmentation(self.array[(..., *box.slices)], self.geometry.crop(box), self.structures)

    @property
    def overlapping(self) -> bool:
        """Whether structures may share voxels (the array is multi-hot)."""
        return self.array.ndim == 4

    def mask(self, structure: Structure, part: tuple[slice | int, ...] = ()) -> npt.NDArray[np.bool_]:
        """`[i, j, k]` bool: the voxels of one structure; of a part of the grid where one is given."""
        if self.overlapping:
            position = [s.name for s in self.structures].index(structure.name)
            return np.asarray(self.array[position][part] > 0)
        if structure.instances:
            values = structure.values
            return np.asarray((self.array[part] >= values[0]) & (self.array[part] <= values[-1]))
        return np.asarray(self.array[part] == structure.value)

    def pieces(self, structure: Structure) -> npt.NDArray[np.integer]:
        """`[i, j, k]`: the number of each piece of a structure, from 1; 0 elsewhere. One that has none is piece 1.

        In the smallest type that holds as many as it may have.
        """
        mask = self.mask(structure)
        numbers = np.zeros(mask.shape, np.min_scalar_type(len(structure.values)))
        numbers[mask] = self.array[mask].astype(np.int64) - (structure.value - 1)
        return numbers

    def merged(self) -> Segmentation:
        """The same with all pieces of a structure under its own value; itself where there are none."""
        ranges = [structure.values for structure in self.structures if structure.instances]
        if not ranges or self.overlapping:
            return self
        return Segmentation(merge_ranges(self.array, ranges), self.geometry, self.structures)


def check_values(structures: Sequence[Structure], *, overlapping: bool = False) -> None:
    """Raise ValueError where two structures share a name or a value, or those that overlap have pieces."""
    names = [structure.name for structure in structures]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"structure name given twice: {', '.join(twice)}")
    in_order = sorted(structures, key=lambda structure: structure.value)
    for lower, upper in pairwise(in_order):
        if lower.values[-1] >= upper.value:
            if not (lower.instances or upper.instances):
                raise ValueError(f"structure value given twice: {upper.value}")
            raise ValueError(
                f"structure value given twice: {upper.name} has {upper.value}, which is a piece of {lower.name} "
                f"({lower.value} to {lower.values[-1]})"
            )
    pieces = [structure.name for structure in structures if structure.instances]
    if pieces and overlapping:
        raise ValueError(
            f"structures overlap, and pieces of {', '.join(pieces)} are numbered: one number for each voxel cannot "
            "say both"
        )


def palette(count: int) -> list[str]:
    """`count` well-separated colours as `#rrggbb`: hues by the golden angle, three brightness levels."""
    colours = []
    for n in range(count):
        rgb = colorsys.hsv_to_rgb((0.02 + n * 0.381966) % 1.0, 0.72, (0.95, 0.8, 0.65)[n % 3])
        colours.append("#" + "".join(f"{round(255 * c):02x}" for c in rgb))
    return colours


def piece_colour(colour: str, number: int) -> str:
    """The colour of a piece, `#rrggbb`: of the first that of its structure, of others one near it."""
    rgb = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    hue, lightness, saturation = colorsys.rgb_to_hls(*rgb)
    turn, rounds = (number - 1) % len(_HUE_STEPS), (number - 1) // len(_HUE_STEPS)
    lightness += _LIGHTNESS_STEPS[(turn + rounds) % len(_LIGHTNESS_STEPS)]
    hue, saturation = (hue + _HUE_STEPS[turn]) % 1, max(saturation, 0.35) if turn else saturation
    shown = colorsys.hls_to_rgb(hue, min(0.85, max(0.2, lightness)), saturation) if number > 1 else rgb
    return "#" + "".join(f"{round(255 * part):02x}" for part in shown)


def make_structures(names: Sequence[str], values: Sequence[int] | None = None) -> tuple[Structure, ...]:
    """Structures with the palette's colours and with sides and counterparts read from the names.

    The words `left` and `right` always tell a side; the letters `L` and `R` only where the counterpart is among the
    names too.

    Args:
        names: Unique names.
        values: Their integers; 1, 2, 3 … when not given.

    Raises:
        LabelError: A value is below 1 or above `MAX_VALUE`.
    """
    numbers = list(values) if values is not None else list(range(1, len(names) + 1))
    structures = []
    for name, value, colour in zip(names, numbers, palette(len(names)), strict=True):
        if not 1 <= value <= MAX_VALUE:
            raise LabelError(
                f"{name} has the value {value}; a structure's value is at least 1 and at most {MAX_VALUE}",
                hint="number the structures from 1",
            )
        side, other = side_of(name)
        counterpart = next((n for n in names if other and n.lower() == other.lower()), None)
        if counterpart is None and not _FULL_WORDS.intersection(word.lower() for word in _words(name)):
            side = None  # a single letter may be a level or a lobe
        structures.append(Structure(name=name, value=value, colour=colour, side=side, counterpart=counterpart))
    return tuple(structures)


def with_pieces(structure: Structure, last: int) -> Structure:
    """The structure with the values up to `last` as its pieces."""
    return structure.model_copy(update={"instances": True, "last_value": last})


def side_of(name: str) -> tuple[Literal["left", "right"] | None, str | None]:
    """The side that a name tells (`femur_left`, `Left Femur`, `tibia-R`), and the name of its counterpart.

    A full word goes before a single letter; `L1` is a vertebra, and a letter alone is no side.
    """
    words = _words(name)
    lowered = [word.lower() for word in words]
    sides = [word for word in lowered if word in _FULL_WORDS] or [
        word for word in lowered if word in _OTHER_SIDE and len(words) > 1
    ]
    if not sides:
        return None, None
    position = lowered.index(sides[0])
    counterpart = [*words[:position], _OTHER_SIDE[sides[0]], *words[position + 1 :]]
    return "left" if sides[0].startswith("l") else "right", "".join(counterpart)


_OTHER_SIDE = {"left": "right", "right": "left", "l": "r", "r": "l"}
_FULL_WORDS = {"left", "right"}


def _words(name: str) -> list[str]:
    """Letters and the separators between them, alternating; joined they give the name again."""
    words: list[str] = [""]
    for character in name:
        if words[-1] and (character in "_- .") != (words[-1][-1] in "_- ."):
            words.append("")
        words[-1] += character
    return words
