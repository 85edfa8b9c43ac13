"""From one mask for each structure to one segmentation; overlaps are counted, and kept or resolved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.core.errors import LabelError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure, make_structures
from osteon.dataset.label_placement import place_segmentation
from osteon.formats.io import read_volume
from osteon.formats.labelmap import smallest_uint

Mask = npt.NDArray[np.bool_]
_LISTED = 6


def read_mask(path: Path, geometry: Geometry, *, name: str, image_name: str) -> tuple[Mask, str, str]:
    """A binary mask `[i, j, k]` on the scan's grid, what was done to it, and how it was laid (empty where it was not).

    Taken are 0/1, 0/255, 0 and any other one whole number, and a mask of 0 alone, in any type.

    Raises:
        FileError: The file cannot be read.
        LabelError: It has several channels, or values of which nobody knows which belong to the structure.
        GeometryError: Its grid is neither the scan's nor a box of it, up to an order and direction of the axes.
    """
    volume = read_volume(path)
    if len(volume.array) != 1:
        raise LabelError(f"{path}: {len(volume.array)} channels where a mask has one", hint="write one file for each")
    array = volume.array[0]
    value = array.max(initial=0) or array.min(initial=0)
    is_whole = np.isfinite(value) and value == np.rint(value) and value >= 0
    if not is_whole or not all(bool(((plane == 0) | (plane == value)).all()) for plane in array):
        values, counts = np.unique(array, return_counts=True)
        listed = ", ".join(f"{value:g} in {count}" for value, count in zip(values[:_LISTED], counts, strict=False))
        more = f" and {len(values) - _LISTED} more values" if len(values) > _LISTED else ""
        raise LabelError(
            f"{path}: a mask holds 0 and one other whole number; this one holds {listed} voxels{more}",
            hint="write it again without smoothing; a label map of several structures needs a table (labels.json)",
        )
    mask_grid = volume.geometry
    ready = array.dtype == np.uint8 and value <= 1
    labels = Segmentation(array if ready else (array != 0).view(np.uint8), mask_grid, make_structures(["mask"]))
    del volume, array  # of large scans two copies are one too many
    hint = "check that the mask belongs to this scan, and correct the header that is wrong"
    aligned, placement = place_segmentation(labels, geometry, name=name, image_name=image_name, hint=hint)
    change = f"its value {int(value)} taken as the structure" if value not in (0, 1) else ""
    turned = mask_grid.axis_codes != geometry.axis_codes
    axes = f"its axes {mask_grid.axis_codes} turned to the scan's {geometry.axis_codes}" if turned else ""
    return aligned.array.view(np.bool_), "; ".join(part for part in (change, axes, placement) if part), placement


def merge_masks(
    masks: Iterable[tuple[str, Mask]],
    structures: Sequence[Structure],
    geometry: Geometry,
    priority: Sequence[str] | None,
) -> tuple[Segmentation, list[str]]:
    """One segmentation of all masks, and a line for each pair that overlaps.

    Args:
        masks: Name and mask `[i, j, k]`; each name is one of `structures` and comes once.
        structures: The dataset's, in order.
        geometry: The scan's grid.
        priority: The first wins where masks overlap, unlisted ones come last in order of `structures`; None keeps
            overlaps as multi-hot `[structure, i, j, k]`.
    """
    packed = {name: np.packbits(mask, axis=-1) for name, mask in masks}
    present = [structure for structure in structures if structure.name in packed]
    lines = []
    for one, other in combinations(present, 2):
        shared = int(np.bitwise_count(packed[one.name] & packed[other.name]).sum())
        if shared:
            lines.append(f"{one.name} and {other.name} share {shared} voxels")
    if lines and priority is None:
        layers = np.zeros((len(structures), *geometry.shape), dtype=np.uint8)
        for layer, structure in zip(layers, structures, strict=True):
            if structure.name in packed:
                _draw(layer, packed[structure.name], 1)
        return Segmentation(layers, geometry, tuple(structures)), [f"{line}; kept as overlap" for line in lines]
    labels = np.zeros(geometry.shape, dtype=smallest_uint(max(s.value for s in structures)))
    order = list(priority or ())
    ranked = sorted(present, key=lambda s: order.index(s.name) if s.name in order else len(order))
    for structure in reversed(ranked):
        _draw(labels, packed[structure.name], structure.value)
    rule = " before ".join(s.name for s in ranked)
    return Segmentation(labels, geometry, tuple(structures)), [f"{line}; resolved by {rule}" for line in lines]


def _draw(labels: npt.NDArray[Any], packed: npt.NDArray[np.uint8], value: int) -> None:
    """Set the voxels of a packed mask to a value, plane by plane."""
    for plane, bits in zip(labels, packed, strict=True):
        np.copyto(plane, value, where=np.unpackbits(bits, axis=-1, count=plane.shape[-1]).view(np.bool_))
