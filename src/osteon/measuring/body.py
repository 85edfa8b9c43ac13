"""One structure of a scan as geometry: its surface, what the field of view cuts, its pieces, and replicas of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar
from zlib import crc32

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from osteon.core.geometry import Geometry
from osteon.core.labels import Structure
from osteon.core.random_streams import item_generator
from osteon.measuring.anatomy import kind_of, side_of_structure
from osteon.measuring.figure import NotMeasuredError
from osteon.measuring.surface import Mask, Surface, make_surface
from osteon.measuring.uncertainty import NO_EVIDENCE, Evidence, displacements

Vector = npt.NDArray[np.float64]
Found = TypeVar("Found")

SMALL_PIECE = 0.02
"""Part of a body's voxels: a connected piece of less is left out of its surface."""
SHREDS = 0.005
"""Part of it that small pieces together may be before figures are flagged."""
LARGE_PIECE = 0.1
"""Part of it from which on the body counts as broken, or as two."""
HOLES = 0.01
"""Part of a body that its holes may be before figures are flagged."""
CONNECTIVITY = ndimage.generate_binary_structure(3, 2)


@dataclass(eq=False)
class Body:
    """A structure of one scan.

    Attributes:
        structure: Which.
        surface: Of its large pieces, holes filled; in the world.
        geometry: The grid of `mask`.
        mask: `[i, j, k]`, all voxels of the structure and a rim; the same for replicas.
        cut: `[n, 3]` unit vectors in the world that look out of the faces of the field of view that the structure
            touches.
        pieces: The part of its voxels that each connected piece has, the largest first.
        holes: Voxels inside that it does not hold, as a part of those inside.
        evidence: What is known of its border beside the mask.
        image: `[i, j, k]` of its grid, where there is an image.
        flat_end: Whether it ends flat near a face of the field of view, as what is cut does.
        offset_mm: How far a replica's surface lies outside the original, on average.
        original: Of a replica, what it is one of.
        siblings: Pieces of the same bone, the largest first, and itself among them.
        up: `[3]` unit vector along which its row goes upwards (vertebrae); None where it is in none.
    """

    structure: Structure
    surface: Surface
    geometry: Geometry
    mask: Mask
    cut: Vector
    pieces: tuple[float, ...]
    holes: float = 0.0
    evidence: Evidence = NO_EVIDENCE
    image: npt.NDArray[np.generic] | None = None
    flat_end: bool = False
    offset_mm: float = 0.0
    original: Body | None = field(default=None, repr=False)
    siblings: tuple[Body, ...] = field(default=(), repr=False)
    up: Vector | None = None
    _remembered: dict[Callable[..., Any], Any] = field(default_factory=dict, repr=False)
    _shared: dict[Callable[..., Any], Any] = field(default_factory=dict, repr=False)
    _replicas: tuple[Body, ...] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The structure's."""
        return self.structure.name

    @property
    def kind(self) -> str | None:
        """Which bone it is, where the name tells (`anatomy.KINDS`)."""
        return kind_of(self.structure)

    @property
    def side(self) -> Literal["left", "right"] | None:
        """Of the patient, by the dataset or the name."""
        return side_of_structure(self.structure)

    @property
    def broken(self) -> bool:
        """Whether a second piece is so large that its shape is not that of one bone."""
        return len(self.pieces) > 1 and self.pieces[1] >= LARGE_PIECE

    def find(self, function: Callable[[Body], Found]) -> Found:
        """`function` of this body, computed once. Raises NotMeasuredError as often as it is asked, if it does."""
        return _ask(self, function, self._remembered)

    def find_shared(self, function: Callable[[Body], Found]) -> Found:
        """`function` of mask and image alone, computed once for the body and all replicas. Raises as `find`."""
        return _ask(self, function, self._shared)

    @property
    def replicas(self) -> tuple[Body, ...]:
        """The body with its surface displaced by what is not known of it, `uncertainty.REPLICAS` times; made once."""
        if self._replicas is None:
            rng = item_generator(crc32(self.name.encode()))
            moved = displacements(self.surface, self.geometry, self.evidence, rng)
            weights = self.surface.weights / max(self.surface.weights.sum(), 1e-12)
            self._replicas = tuple(
                replace(
                    self,
                    surface=self.surface.moved(one),
                    offset_mm=float(one @ weights),
                    original=self,
                    _remembered={},
                    _replicas=None,
                )
                for one in moved
            )
        return self._replicas

    @property
    def flags(self) -> tuple[str, ...]:
        """What speaks against figures of its shape."""
        found = []
        if self.pieces[0] < 1 - SHREDS:
            rest = f"the largest has {self.pieces[0]:.0%} of it"
            found.append(f"{self.name} is in {len(self.pieces)} pieces; {rest}")
        if self.holes > HOLES:
            found.append(f"{self.name} has holes of {self.holes:.0%} of its volume, which are filled but for volumes")
        if self.flat_end:
            found.append(f"{self.name} ends flat close to the edge of the scan: perhaps it is cut")
        return tuple(found)


def _ask(body: Body, function: Callable[[Body], Found], known: dict[Callable[..., Any], Any]) -> Found:
    if function not in known:
        try:
            known[function] = function(body)
        except NotMeasuredError as error:
            known[function] = error
    found = known[function]
    if isinstance(found, NotMeasuredError):
        raise NotMeasuredError(str(found))
    return found


def make_body(
    structure: Structure,
    mask: Mask,
    geometry: Geometry,
    cut: Vector,
    *,
    evidence: Evidence = NO_EVIDENCE,
    image: npt.NDArray[np.generic] | None = None,
    flat_end: bool = False,
) -> Body:
    """A body of a mask that holds a voxel.

    Args:
        structure: Which.
        mask: `[i, j, k]`, cut to what it fills, with a rim or without.
        geometry: Its grid. An axis with one voxel makes it a picture.
        cut: As `Body.cut`.
        evidence: On the same grid.
        image: On the same grid.
        flat_end: As `Body.flat_end`.
    """
    flat = tuple(axis for axis, size in enumerate(mask.shape) if size == 1)
    joined = CONNECTIVITY if not flat else ndimage.generate_binary_structure(3, 3)
    labelled, count = ndimage.label(mask, joined)
    sizes = np.bincount(labelled.ravel(), minlength=count + 1)[1:]
    parts = np.sort(sizes / sizes.sum())[::-1]
    large = np.flatnonzero(sizes >= SMALL_PIECE * sizes.sum()) + 1
    kept = mask if len(large) == count else np.isin(labelled, large)
    filled = _fill(kept, flat)
    inside = np.count_nonzero(filled)
    holes = (inside - np.count_nonzero(kept)) / inside
    shares = tuple(map(float, parts))
    return Body(
        structure, make_surface(filled, geometry), geometry, mask, cut, shares, holes, evidence, image, flat_end
    )


def _fill(mask: Mask, flat: tuple[int, ...]) -> Mask:
    """The mask without the gaps that it encloses; in a picture, within its plane."""
    filled = ndimage.binary_fill_holes(mask.squeeze(axis=flat))
    return np.asarray(np.expand_dims(filled, flat))
