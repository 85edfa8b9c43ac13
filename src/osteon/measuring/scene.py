"""One scan with all that is known of it: its structures as bodies, its image, and what speaks against it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from osteon.core.boxes import Box
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure, side_of
from osteon.core.pieces import split_pieces
from osteon.core.structure_boxes import crop_mask, find_boxes
from osteon.core.volume import Volume
from osteon.dataset.modality import Modality
from osteon.formats.raster import has_unknown_sides
from osteon.measuring.body import Body, make_body
from osteon.measuring.shape_model import ShapeModel
from osteon.measuring.uncertainty import Evidence

Found = TypeVar("Found")

RIM = 2
"""Voxels around a body that are read with it."""
NEAR_EDGE = 6
"""Voxels from a face of the scan within which a large last section looks like a cut."""
END_SECTIONS = 16
"""How deep at most the section lies that an end is compared with; nor deeper than a quarter of the body, nor than half
of its width there, beyond which a round end is narrow again. Fewer than four tell nothing: slices are too thick."""
FLAT = 0.8
"""Part of that section's area which the second one has where an end is cut, and a round or boxy one has not (the first
may be rounded off by a network); where few are compared, the first one."""


@dataclass(eq=False)
class Scene:
    """What measures are taken of.

    Attributes:
        case: Its id.
        bodies: By structure, in the structures' order; those that have a voxel.
        absent: Structures that were looked for and are not there, in their order.
        geometry: The scan's grid.
        modality: What the scan shows; None: that is unknown.
        flags: By structure, what speaks against all that is measured of it.
        wholes: Numbered piece → the structure that it is a piece of.
        broken: Bone → structures that are pieces of it, where somebody says so.
        templates: Models of others' bones, to compare with.
    """

    case: str
    bodies: dict[str, Body]
    absent: tuple[str, ...]
    geometry: Geometry
    modality: Modality | None = None
    flags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    wholes: Mapping[str, Structure] = field(default_factory=dict)
    broken: Mapping[str, Sequence[str]] = field(default_factory=dict)
    templates: Sequence[ShapeModel] = ()
    _remembered: dict[Callable[..., Any], Any] = field(default_factory=dict, repr=False)

    def find(self, function: Callable[[Scene], Found]) -> Found:
        """`function` of this scene, computed once."""
        if function not in self._remembered:
            self._remembered[function] = function(self)
        return self._remembered[function]

    @property
    def picture(self) -> bool:
        """Whether it is one voxel thin."""
        return bool(self.geometry.singleton_axes)

    def of_kind(self, kind: str, side: str | None = None) -> list[Body]:
        """The bodies of a kind (`anatomy.KINDS`), of a side where one is given."""
        return [body for body in self.bodies.values() if body.kind == kind and side in (None, body.side)]


Probabilities = Callable[[str], npt.NDArray[np.floating] | None]


def make_scene(
    case: str,
    segmentation: Segmentation,
    *,
    image: Volume | None = None,
    modality: Modality | None = None,
    annotated: Collection[str] | None = None,
    wanted: Collection[str] | None = None,
    members: Sequence[Segmentation] = (),
    probability_of: Probabilities | None = None,
    flags: Mapping[str, Sequence[str]] | None = None,
    broken: Mapping[str, Sequence[str]] | None = None,
    templates: Sequence[ShapeModel] = (),
) -> Scene:
    """The scene of a segmentation; a structure's numbered pieces are bodies of their own.

    Args:
        case: Its id.
        segmentation: What is measured.
        image: On the segmentation's grid; its first channel counts.
        modality: What the scan shows, where that is known.
        annotated: Structures that were looked for; None: all.
        wanted: Structures that are measured, by name; None: all.
        members: Segmentations of the same scan on the same grid, by other folds or readers.
        probability_of: The probability `[i, j, k]` of a structure on the segmentation's grid; None where it is unknown.
        flags: As `Scene.flags`.
        broken: As `Scene.broken`.
        templates: As `Scene.templates`.
    """
    split, wholes = split_pieces(segmentation)
    boxes = find_boxes(split.array, split.structures)
    bodies, absent = {}, []
    grid = segmentation.geometry
    for number, (structure, whole, box) in enumerate(zip(split.structures, wholes, boxes, strict=True)):
        if (wanted is not None and not {structure.name, whole.name} & set(wanted)) or (
            annotated is not None and whole.name not in annotated
        ):
            continue
        if box is None:
            absent.append(structure.name)
            continue
        wide = box.expand([RIM] * 3, grid.shape)
        probability = probability_of(structure.name) if probability_of else None
        evidence = Evidence(
            None if probability is None else np.asarray(probability[wide.slices]),
            [
                other.mask(own, wide.slices)
                for other in members
                for own in other.structures
                if own.name == structure.name
            ],
        )
        mask = crop_mask(split.array, split.structures, number, wide)
        bodies[structure.name] = make_body(
            structure,
            mask,
            grid.crop(wide),
            _cut(box, grid),
            evidence=evidence,
            image=None if image is None else np.asarray(image.array[0][wide.slices]),
            flat_end=_ends_flat(mask, box, grid),
        )
    pieces = {piece.name: whole for piece, whole in zip(split.structures, wholes, strict=True) if whole.instances}
    against = dict(flags or {})
    against |= {name: against[whole.name] for name, whole in pieces.items() if whole.name in against}
    names = {structure.name: whole.name for structure, whole in zip(split.structures, wholes, strict=True)}
    for name, flag in _exchanged_sides(bodies, names, grid).items():
        against[name] = [*against.get(name, ()), flag]
    return Scene(case, bodies, tuple(absent), grid, modality, against, pieces, broken or {}, templates)


def _exchanged_sides(bodies: Mapping[str, Body], wholes: Mapping[str, str], grid: Geometry) -> dict[str, str]:
    """Of structures and bodies whose left one lies right of the right one, as the audit of a dataset finds: a flag."""
    if has_unknown_sides(grid):
        return {}
    places: dict[str, list[float]] = {}
    for name, body in bodies.items():
        places.setdefault(wholes[name], []).append(float(body.surface.points[:, 0].mean()))
    found: dict[str, str] = {}
    for left, at in places.items():
        side, right = side_of(left)
        if side == "left" and right in places and np.mean(at) > np.mean(places[right]):
            flag = f"{left} lies right of {right}: sides exchanged, or a mirrored image"
            found |= {name: flag for own, whole in wholes.items() if whole in (left, right) for name in (own, whole)}
    return found


def _cut(box: Box, grid: Geometry) -> npt.NDArray[np.float64]:
    """`[n, 3]` directions out of the grid's faces that a box touches."""
    outwards = []
    for axis in range(3):
        if grid.shape[axis] > 1:
            direction = grid.directions[:, axis]
            outwards += [-direction] * (box.first[axis] == 0) + [direction] * (box.stop[axis] == grid.shape[axis])
    return np.array(outwards).reshape(-1, 3)


def _ends_flat(mask: npt.NDArray[np.bool_], box: Box, grid: Geometry) -> bool:
    """Whether a body ends flat near a face of the grid, and does not touch it."""
    for axis in range(3):
        first, stop, size = box.first[axis], box.stop[axis], grid.shape[axis]
        others = tuple(other for other in range(3) if other != axis)
        sections = np.count_nonzero(mask, axis=others)
        filled = sections[sections > 0] * float(np.prod([grid.spacing_mm[other] for other in others]))
        ends = [filled] * (0 < first <= NEAR_EDGE) + [filled[::-1]] * (0 < size - stop <= NEAR_EDGE)
        for end in ends:
            half_width = np.sqrt(end[:END_SECTIONS].max()) / 2
            count = int(min(END_SECTIONS, len(end) / 4, half_width / grid.spacing_mm[axis]))
            if count >= 4 and end[1 if count > 5 else 0] > FLAT * end[count - 1]:
                return True
    return False
