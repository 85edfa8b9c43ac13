"""From one mask for each structure to one segmentation; overlaps are counted, and kept or resolved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.core.errors import LabelError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure, make_structures
from osteon.core.text import shorten_list
from osteon.dataset.label_placement import place_segmentation
from osteon.formats.io import read_volume
from osteon.formats.labelmap import smallest_uint
from osteon.importing.pieces import overlap_error

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
        masks: Name and mask `[i, j, k]`; each name is one of `structures` and comes once, or once for each piece.
        structures: The dataset's, in order.
        geometry: The scan's grid.
        priority: The first wins where masks overlap, unlisted ones come last in order of `structures`; None keeps
            overlaps as multi-hot `[structure, i, j, k]`.

    Raises:
        LabelError: There are pieces, and masks overlap without a priority; or there are more than values for them.
    """
    order, number = list(priority or ()), {s.name: n for n, s in enumerate(structures)}
    found: list[tuple[Structure, Structure, npt.NDArray[np.uint8]]] = []
    times: Counter[str] = Counter()
    for name, mask in masks:
        owner = structures[number[name]]
        if owner.instances and times[name] >= len(owner.values):
            raise LabelError(
                f"{name} has more than {len(owner.values)} pieces", hint=f"--labels {name}=FIRST-LAST makes room"
            )
        drawn = owner.piece(times[name]) if owner.instances else owner
        found.append((owner, drawn, np.packbits(mask, axis=-1)))
        times[name] += 1
    found.sort(key=lambda part: (number[part[0].name], part[1].value))
    lines = _describe_overlaps([(drawn, bits) for _, drawn, bits in found])
    pieces = [structure.name for structure in structures if structure.instances]
    if lines and priority is None and pieces:
        raise overlap_error(shorten_list(lines, _LISTED), ",".join(pieces))
    if lines and priority is None:
        layers = np.zeros((len(structures), *geometry.shape), dtype=np.uint8)
        for owner, _, bits in found:
            _draw(layers[number[owner.name]], bits, 1)
        return Segmentation(layers, geometry, tuple(structures)), [f"{line}; kept as overlap" for line in lines]
    highest = max([*(s.value for s in structures), *(drawn.value for _, drawn, _ in found)])
    labels = np.zeros(geometry.shape, dtype=smallest_uint(highest))
    ranked = sorted(found, key=lambda part: order.index(part[0].name) if part[0].name in order else len(order))
    for _, drawn, bits in reversed(ranked):
        _draw(labels, bits, drawn.value)
    rule = " before ".join(drawn.name for _, drawn, _ in ranked)
    return Segmentation(labels, geometry, tuple(structures)), [f"{line}; resolved by {rule}" for line in lines]


def _describe_overlaps(packed: Sequence[tuple[Structure, npt.NDArray[np.uint8]]]) -> list[str]:
    """A line for each pair of packed masks that share voxels."""
    united, shared = np.zeros_like(packed[0][1]) if packed else np.zeros(0, np.uint8), False
    for _, bits in packed:
        shared |= bool((united & bits).any())
        united |= bits
    if not shared:  # pairs are many where pieces are
        return []
    counts = (
        (one.name, other.name, int(np.bitwise_count(a & b).sum())) for (one, a), (other, b) in combinations(packed, 2)
    )
    return [f"{one} and {other} share {count} voxels" for one, other, count in counts if count]


def _draw(labels: npt.NDArray[Any], packed: npt.NDArray[np.uint8], value: int) -> None:
    """Set the voxels of a packed mask to a value, plane by plane."""
    for plane, bits in zip(labels, packed, strict=True):
        np.copyto(plane, value, where=np.unpackbits(bits, axis=-1, count=plane.shape[-1]).view(np.bool_))
