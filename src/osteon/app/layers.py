"""Segmentations as viewers take them: label volumes in which nothing overlaps, and one bit for each structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.core.label_values import remap_values
from osteon.core.labels import Segmentation, Structure

WORD_BITS = 32
"""Bits, and so structures, in one word of a picture."""
MAX_VALUES = 255
"""Of a label volume that a viewer colours by a table."""


@dataclass(frozen=True, eq=False)
class LabelLayer:
    """Structures in one file.

    Attributes:
        array: `[i, j, k]`: uint8, where they share no voxel: 0, or n for the n-th of `structures`, from 1; or a bit of
            uint32 for each.
        structures: In that order.
    """

    array: npt.NDArray[np.uint8 | np.uint32]
    structures: tuple[Structure, ...]


def split_layers(segmentation: Segmentation) -> list[LabelLayer]:
    """As few layers as overlaps allow (greedily); every structure of the segmentation is in one of them."""
    if not segmentation.overlapping:
        return _renumber(segmentation)
    layers: list[LabelLayer] = []
    for structure in segmentation.structures:
        mask = segmentation.mask(structure)
        for number, layer in enumerate(layers):
            if len(layer.structures) < MAX_VALUES and not (mask & (layer.array > 0)).any():
                layer.array[mask] = len(layer.structures) + 1
                layers[number] = LabelLayer(layer.array, (*layer.structures, structure))
                break
        else:
            layers.append(LabelLayer(mask.astype(np.uint8), (structure,)))
    return layers


def _renumber(segmentation: Segmentation) -> list[LabelLayer]:
    """An index map with its values counted from 1; in parts where there are more than a table takes."""
    layers = []
    for start in range(0, len(segmentation.structures), MAX_VALUES):
        part = segmentation.structures[start : start + MAX_VALUES]
        numbers = {structure.value: number for number, structure in enumerate(part, 1)}
        layers.append(LabelLayer(remap_values(segmentation.array, numbers, np.uint8), part))
    return layers


def pack_bits(segmentation: Segmentation) -> list[LabelLayer]:
    """Every structure's mask as a bit of a uint32: structure n is bit n % 32 of layer n // 32."""
    layers = []
    for start in range(0, max(1, len(segmentation.structures)), WORD_BITS):
        structures = segmentation.structures[start : start + WORD_BITS]
        bits = np.zeros(segmentation.geometry.shape, dtype=np.uint32)
        for number, structure in enumerate(structures):
            bits[segmentation.mask(structure)] |= np.uint32(1 << number)
        layers.append(LabelLayer(bits, structures))
    return layers


DIFFERENCES: tuple[tuple[str, str], ...] = (
    ("in both", "#8c8c8c"),
    ("missed: in the first alone", "#3d8bfd"),
    ("invented: in the second alone", "#fd7e14"),
)
"""The classes of a difference map, and their colours."""


def difference_map(first: Segmentation, second: Segmentation, names: Sequence[str]) -> Segmentation:
    """Where two segmentations on one grid differ, over the structures of these names together.

    A voxel counts as in both where they agree in every structure that either has there. Otherwise it is missed where
    the first has a structure there that the second lacks, and else invented.
    """
    shape = first.geometry.shape
    first_only, second_only, both = (np.zeros(shape, dtype=bool) for _ in range(3))
    for name in names:
        a, b = (_mask_of(segmentation, name) for segmentation in (first, second))
        first_only |= a & ~b
        second_only |= b & ~a
        both |= a & b
    classes = np.where(first_only, 2, np.where(second_only, 3, both.astype(np.uint8))).astype(np.uint8)
    structures = tuple(Structure(name=n, value=v, colour=c) for v, (n, c) in enumerate(DIFFERENCES, 1))
    return Segmentation(classes, first.geometry, structures)


def _mask_of(segmentation: Segmentation, name: str) -> npt.NDArray[np.bool_]:
    structure = next((s for s in segmentation.structures if s.name == name), None)
    if structure is None:
        return np.zeros(segmentation.geometry.shape, dtype=bool)
    return segmentation.mask(structure)
