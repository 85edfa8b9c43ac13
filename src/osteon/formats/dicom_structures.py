"""What DICOM SEG and RTSTRUCT have in common: named structures, and where they overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.core.errors import LabelError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure, make_structures
from osteon.formats.labelmap import smallest_uint

Place = tuple[slice, slice, slice]

_XYZ_TO_RGB = np.array(
    [[3.2404542, -1.5371385, -0.4985314], [-0.969266, 1.8760108, 0.041556], [0.0556434, -0.2040259, 1.0572252]]
)


@dataclass(frozen=True)
class Part:
    """Voxels of one structure in a part of the grid: mostly one slice.

    Attributes:
        structure: Its number among the structures, from 0.
        where: The part of the grid.
        mask: The voxels in it.
    """

    structure: int
    where: Place
    mask: npt.NDArray[np.bool_]


def name_structures(
    names: Sequence[str], numbers: Sequence[int], colours: Sequence[str | None]
) -> tuple[Structure, ...]:
    """Structures of a file: names that occur twice get a number, an empty one is called by its value.

    Args:
        names: As the file has them.
        numbers: As the file has them; 1, 2, 3 … are taken where they are no labels (0, or one twice).
        colours: `#rrggbb`; None takes one of the palette.
    """
    values = list(numbers) if min(numbers, default=1) >= 1 and len(set(numbers)) == len(numbers) else None
    plain = [name or f"label_{value}" for name, value in zip(names, values or range(1, len(names) + 1), strict=True)]
    taken: list[str] = []
    for name in plain:
        other = (f"{name}_{n}" for n in range(2, len(plain) + 2))
        taken.append(name if name not in taken else next(one for one in other if one not in (*taken, *plain)))
    made = make_structures(taken, values)
    return tuple(
        structure.model_copy(update={"colour": colour} if colour else {})
        for structure, colour in zip(made, colours, strict=True)
    )


def cielab_colour(values: Sequence[int]) -> str:
    """`#rrggbb` of DICOM's CIELab in 16 bits (PS3.3 C.10.7.1.1), by the formulas of CIE 15 and IEC 61966-2-1.

    White stays white: the illuminant D50 of DICOM's L*a*b* is replaced by the screen's D65.
    """
    light, a, b = values[0] / 655.35, values[1] / 257 - 128, values[2] / 257 - 128
    f = (light + 16) / 116
    parts = np.array([f + a / 500, f, f - b / 200])
    xyz = np.where(parts > 6 / 29, parts**3, (parts - 4 / 29) * 3 * (6 / 29) ** 2) * (0.95047, 1.0, 1.08883)
    linear = np.clip(_XYZ_TO_RGB @ xyz, 0, 1)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{round(255 * float(part)):02x}" for part in rgb)


def compose(
    parts: Sequence[Part], structures: tuple[Structure, ...], geometry: Geometry, name: str | Path
) -> Segmentation:
    """An index map, or multi-hot where parts of different structures share voxels.

    Raises:
        LabelError: There is no structure at all.
    """
    if not structures:
        raise LabelError(f"{name}: holds no structure", hint="leave this file out, or draw its structures again")
    labels: npt.NDArray[Any] = np.zeros(geometry.shape, smallest_uint(max(s.value for s in structures)))
    overlapping = False
    for part in parts:
        here = labels[part.where]
        value = structures[part.structure].value
        overlapping |= bool((part.mask & (here != 0) & (here != value)).any())
        here[part.mask] = value
    if not overlapping:
        return Segmentation(labels, geometry, structures)
    layers = np.zeros((len(structures), *geometry.shape), np.uint8)
    for part in parts:
        layers[part.structure][part.where] |= part.mask
    return Segmentation(layers, geometry, structures)
