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

GridSlices = tuple[slice, slice, slice]


@dataclass(frozen=True)
class PartialMask:
    """Voxels of one structure in a part of the grid: mostly one slice.

    Attributes:
        structure: Its number among the structures, from 0.
        where: The part of the grid.
        mask: The voxels in it.
    """

    structure: int
    where: GridSlices
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


def compose_segmentation(
    parts: Sequence[PartialMask], structures: tuple[Structure, ...], geometry: Geometry, name: str | Path
) -> Segmentation:
    """An index map, or multi-hot where parts of structures share voxels. Raises LabelError where there are none."""
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
