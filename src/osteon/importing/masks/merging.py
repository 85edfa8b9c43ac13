"""From one mask for each structure to one segmentation; overlaps are counted, and kept or resolved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.core.boxes import Box, bounding_box
from osteon.core.errors import LabelError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure, make_structures
from osteon.core.text import shorten_list
from osteon.dataset.label_placement import place_segmentation
from osteon.formats.io import read_segmentation, read_volume
from osteon.formats.labelmap import smallest_uint
from osteon.importing.pieces import overlap_error

Mask = npt.NDArray[np.bool_]
_LISTED = 6


def read_pieces(path: Path, geometry: Geometry, *, name: str, image_name: str) -> tuple[Iterator[Mask], str, str]:
    """The masks `[i, j, k]` of a file's values, each a piece, on the scan's grid; the rest as `read_mask`.

    Raises:
        FileError, LabelError: The file cannot be read, or is no label map.
        GeometryError: As `read_mask`.
    """
    labels, placement = place_segmentation(read_segmentation(path), geometry, name=name, image_name=image_name)
    values = ", ".join(str(structure.value) for structure in labels.structures)
    change = f"its values {values} taken as pieces" if len(labels.structures) > 1 else ""
    masks = (labels.mask(structure) for structure in labels.structures)
    return masks, "; ".join(part for part in (change, placement) if part), placement


def read_mask(path: Path, geometry: Geometry, *, name: str, image_name: str) -> tuple[Iterator[Mask], str, str]:
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
    return (
        iter([aligned.array.view(np.bool_)]),
        "; ".join(part for part in (change, axes, placement) if part),
        placement,
    )


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
    found: list[_PackedMask] = []
    times: Counter[str] = Counter()
    for name, mask in masks:
        owner = structures[number[name]]
        if owner.instances and times[name] >= len(owner.values):
            raise LabelError(
                f"{name} has more than {len(owner.values)} pieces", hint=f"--labels {name}=FIRST-LAST makes room"
            )
        found.append(_PackedMask.of(mask, owner, owner.piece(times[name]) if owner.instances else owner))
        times[name] += 1
    found.sort(key=lambda part: (number[part.owner.name], part.drawn.value))
    lines = _describe_overlaps(found, geometry)
    pieces = [structure.name for structure in structures if structure.instances]
    if lines and priority is None and pieces:
        raise overlap_error(shorten_list(lines, _LISTED), ",".join(pieces))
    if lines and priority is None:
        layers = np.zeros((len(structures), *geometry.shape), dtype=np.uint8)
        for part in found:
            part.draw(layers[number[part.owner.name]], 1)
        return Segmentation(layers, geometry, tuple(structures)), [f"{line}; kept as overlap" for line in lines]
    highest = max([*(s.value for s in structures), *(part.drawn.value for part in found)])
    labels = np.zeros(geometry.shape, dtype=smallest_uint(highest))
    ranked = sorted(found, key=lambda part: order.index(part.owner.name) if part.owner.name in order else len(order))
    for part in reversed(ranked):
        part.draw(labels, part.drawn.value)
    rule = " before ".join(part.drawn.name for part in ranked)
    return Segmentation(labels, geometry, tuple(structures)), [f"{line}; resolved by {rule}" for line in lines]


@dataclass(frozen=True, eq=False)
class _PackedMask:
    """A mask in its box, packed: of many pieces each takes little.

    Attributes:
        owner: Its structure.
        drawn: The same, or its piece.
        box: In which it lies.
        bits: `[i, j, k / 8]` of the box.
    """

    owner: Structure
    drawn: Structure
    box: Box
    bits: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, mask: Mask, owner: Structure, drawn: Structure) -> _PackedMask:
        """Pack a mask `[i, j, k]`."""
        box = bounding_box(mask) or Box((0, 0, 0), (0, 0, 0))
        return cls(owner, drawn, box, np.packbits(mask[box.slices], axis=-1))

    def unpack(self) -> Mask:
        """The mask inside its box."""
        return np.unpackbits(self.bits, axis=-1, count=self.box.shape[2]).view(np.bool_)

    def draw(self, labels: npt.NDArray[Any], value: int) -> None:
        """Set its voxels to a value, plane by plane."""
        for plane, bits in zip(labels[self.box.slices], self.bits, strict=True):
            mask = np.unpackbits(bits, axis=-1, count=plane.shape[-1]).view(np.bool_)
            np.copyto(plane, value, where=mask)

    def count_shared(self, other: _PackedMask) -> int:
        """Voxels that both have."""
        if not self.box.intersects(other.box):
            return 0
        shared = self.box.intersection(other.box)
        one, two = (part.unpack()[shared.move([-n for n in part.box.first]).slices] for part in (self, other))
        return int(np.count_nonzero(one & two))


def _describe_overlaps(packed: Sequence[_PackedMask], geometry: Geometry) -> list[str]:
    """A line for each pair of masks that share voxels."""
    times = np.zeros(geometry.shape, dtype=np.uint8)
    for part in packed:
        plane = times[part.box.slices]
        np.minimum(plane + part.unpack(), 2, out=plane)
    if times.max(initial=0) < 2:  # pairs are many where pieces are
        return []
    pairs = ((one.drawn.name, other.drawn.name, one.count_shared(other)) for one, other in combinations(packed, 2))
    return [f"{one} and {other} share {count} voxels" for one, other, count in pairs if count]
