"""Grids in the world: shape, affine, and whether two of them are the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from osteon.core.boxes import Box

Unit = Literal["mm", "px"]
Affine = npt.NDArray[np.float64]
Scalar = TypeVar("Scalar", bound="np.generic[Any]")

POSITION_TOLERANCE = 0.1
"""Two grids are the same when no corner voxel's centre lies further from its counterpart than this part of the
smallest voxel edge. Headers round to about 1e-4 mm; a tenth of a voxel is far above that and below what one sees."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """A grid of voxels in the world.

    Attributes:
        shape: Number of voxels along the index axes `(i, j, k)`.
        affine_ras: `[4, 4]` float64, index → world, RAS+, in `unit`. Columns need not be orthogonal.
        unit: `mm`, or `px` for a picture whose file gives no pixel spacing.
        alternative_affines: Other affines in the same file, each with its name there; used in messages only.
    """

    shape: tuple[int, int, int]
    affine_ras: Affine
    unit: Unit = "mm"
    alternative_affines: tuple[tuple[str, Affine], ...] = ()

    def __post_init__(self) -> None:
        affine = np.asarray(self.affine_ras, dtype=np.float64)
        if affine.shape != (4, 4) or len(self.shape) != 3:
            raise ValueError(f"a geometry needs 3 axes and a 4×4 affine, not {self.shape} and {affine.shape}")
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise ValueError(f"the affine is singular or not finite:\n{affine}")
        object.__setattr__(self, "affine_ras", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Length of a voxel's edge along i, j, k in `unit`."""
        i, j, k = np.linalg.norm(self.affine_ras[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def extent_mm(self) -> tuple[float, ...]:
        """How far the grid reaches along i, j, k, in `unit`."""
        return tuple(n * s for n, s in zip(self.shape, self.spacing_mm, strict=True))

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in `unit`³; also right for sheared axes."""
        return float(abs(np.linalg.det(self.affine_ras[:3, :3])))

    @property
    def singleton_axes(self) -> tuple[int, ...]:
        """The index axes with one voxel: one in a picture, whose length along it was not measured."""
        return tuple(axis for axis, size in enumerate(self.shape) if size == 1)

    @property
    def corners_world(self) -> npt.NDArray[np.float64]:
        """`[8, 3]` world positions of the corner voxels' centres."""
        last = np.array(self.shape) - 1
        index = np.array(np.meshgrid(*[(0, n) for n in last], indexing="ij")).reshape(3, -1).T
        return self.to_world(index)

    def to_world(self, index: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """World positions `[n, 3]` of (fractional) voxel indices `[n, 3]`."""
        world: npt.NDArray[np.float64] = (
            np.asarray(index, dtype=np.float64) @ self.affine_ras[:3, :3].T + self.affine_ras[:3, 3]
        )
        return world

    def crop(self, box: Box) -> Geometry:
        """The grid of a box of this one; its voxels keep their positions in the world."""
        affine = self.affine_ras.copy()
        affine[:3, 3] = self.to_world([box.first])[0]
        return Geometry(box.shape, affine, self.unit)

    def is_close(self, other: Geometry, *, tolerance: float = POSITION_TOLERANCE) -> bool:
        """Whether every voxel of both grids lies at the same place, within `tolerance` voxel edges."""
        return not self.explain_mismatch(other, tolerance=tolerance)

    def explain_mismatch(self, other: Geometry, *, tolerance: float = POSITION_TOLERANCE) -> list[str]:
        """What differs, a phrase each: `shape`, `unit`, `spacing`, `orientation`, `position`. Empty if `is_close`."""
        reasons: list[str] = []
        gap = 0.0
        if self.unit != other.unit:
            reasons.append(f"unit {self.unit} against {other.unit}")
        if self.shape != other.shape:
            reasons.append(f"shape {_join(self.shape)} against {_join(other.shape)}")
            reach = max(*self.shape, *other.shape)
        else:
            gap = float(np.linalg.norm(self.corners_world - other.corners_world, axis=1).max())
            if gap <= tolerance * min(self.spacing_mm):
                return reasons
            reach = max(self.shape)
        slack = tolerance * min(self.spacing_mm)
        spacing, other_spacing = np.array(self.spacing_mm), np.array(other.spacing_mm)
        if (abs(spacing - other_spacing) * reach > slack).any():
            reasons.append(f"spacing {_join(spacing)} against {_join(other_spacing)} {self.unit}")
        if (abs(self.directions - other.directions) * reach * spacing > slack).any():
            reasons.append(f"orientation {self.axis_codes} against {other.axis_codes}")
        offset = np.linalg.norm(self.affine_ras[:3, 3] - other.affine_ras[:3, 3])
        if offset > slack:
            reasons.append(f"position of the first voxel {offset:.2f} {self.unit} apart")
        if not reasons:  # each part is within tolerance, together they are not
            reasons.append(f"position of the corner voxels {gap:.2f} {self.unit} apart")
        return reasons

    @property
    def directions(self) -> npt.NDArray[np.float64]:
        """`[3, 3]` unit vectors of the index axes in the world, one in each column."""
        vectors: npt.NDArray[np.float64] = self.affine_ras[:3, :3] / np.array(self.spacing_mm)
        return vectors

    @property
    def axis_codes(self) -> str:
        """The nearest world direction of each index axis, such as `LPS`; with `~` where the axes are oblique."""
        axes, signs = closest_axes(self.affine_ras)
        codes = "".join(("RAS" if sign > 0 else "LPI")[axis] for axis, sign in zip(axes, signs, strict=True))
        straight = np.abs(np.abs(self.directions).max(axis=0) - 1).max() < 1e-3
        return codes if straight else f"~{codes}"

    def describe(self) -> str:
        """One line for messages: shape, spacing, orientation, first voxel."""
        first = ", ".join(f"{x:.1f}" for x in self.affine_ras[:3, 3])
        return f"{_join(self.shape)} voxels of {_join(self.spacing_mm)} {self.unit}, {self.axis_codes}, at ({first})"


def closest_axes(affine_ras: Affine) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The world axis (0 R, 1 A, 2 S) that each index axis runs along most, and its sign.

    Every world axis is given away once, to the strongest claim first, so oblique grids too get a permutation.
    """
    strength = affine_ras[:3, :3] / np.linalg.norm(affine_ras[:3, :3], axis=0)
    claims = np.abs(strength).copy()
    axes, signs = [0, 0, 0], [1, 1, 1]
    for _ in range(3):
        world, index = np.unravel_index(int(np.argmax(claims)), claims.shape)
        axes[index] = int(world)
        signs[index] = 1 if strength[world, index] >= 0 else -1
        claims[world, :] = -1
        claims[:, index] = -1
    return tuple(axes), tuple(signs)


@dataclass(frozen=True)
class AxisPermutation:
    """A lossless reorientation of index axes: flip the `flipped` axes, then transpose by `order`."""

    order: tuple[int, ...]
    flipped: tuple[bool, ...]

    def apply(self, array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """Reorient the last three axes of an array `[…, i, j, k]`; a view, no copy."""
        lead = array.ndim - 3
        where = (slice(None),) * lead + tuple(slice(None, None, -1 if f else 1) for f in self.flipped)
        return array[where].transpose(*range(lead), *(lead + axis for axis in self.order))

    def undo(self, array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """The inverse of `apply`; a view, no copy."""
        lead = array.ndim - 3
        back = array.transpose(*range(lead), *(lead + int(axis) for axis in np.argsort(self.order)))
        where = (slice(None),) * lead + tuple(slice(None, None, -1 if f else 1) for f in self.flipped)
        return back[where]

    def geometry(self, geometry: Geometry) -> Geometry:
        """The geometry of an array that `apply` returns; every voxel keeps its position in the world."""
        affine = geometry.affine_ras.copy()
        for axis, flip in enumerate(self.flipped):
            if flip:
                affine[:3, 3] += affine[:3, axis] * (geometry.shape[axis] - 1)
                affine[:3, axis] *= -1
        affine[:3, :3] = affine[:3, list(self.order)]
        i, j, k = (geometry.shape[old] for old in self.order)
        return Geometry((i, j, k), affine, geometry.unit)


def reorient_to_ras(geometry: Geometry) -> AxisPermutation:
    """The permutation after which index axes run along R, A, S, as closely as whole axes can."""
    axes, signs = closest_axes(geometry.affine_ras)
    return AxisPermutation(tuple(int(a) for a in np.argsort(axes)), tuple(sign < 0 for sign in signs))


def reorient_like(source: Geometry, target: Geometry) -> AxisPermutation:
    """The permutation after which `source`'s axes run as `target`'s do, as closely as whole axes can.

    The axes are compared with each other, not each with the world's: two grids at 45° to the world still match.
    """
    relative = np.linalg.solve(target.directions, source.directions).astype(np.float64)
    axes, signs = closest_axes(relative)
    return AxisPermutation(tuple(axes.index(new) for new in range(3)), tuple(sign < 0 for sign in signs))


def offset_on(grid: Geometry, other: Geometry) -> tuple[int, int, int] | None:
    """The index in `grid` of the first voxel of `other`, where the voxels of both lie on one lattice.

    Args:
        grid: Any grid.
        other: Its axes in the same order and direction; it may lie within `grid`, around it, or beside it.

    Returns:
        None where the voxels are further apart than `POSITION_TOLERANCE`, or where the position of `other` means
        nothing: it is measured in pixels, or a corner or its centre lies at the world's origin, as in made-up headers.
    """
    if grid.unit == "px" or other.unit == "px" or _has_made_up_position(other):
        return None
    first = np.linalg.solve(grid.affine_ras[:3, :3], other.affine_ras[:3, 3] - grid.affine_ras[:3, 3])
    nearest = np.rint(first)
    if not (np.abs(nearest) < np.iinfo(np.int32).max).all():
        return None
    i, j, k = (int(index) for index in nearest)
    n, m, o = other.shape
    return (i, j, k) if grid.crop(Box((i, j, k), (i + n, j + m, k + o))).is_close(other) else None


def _has_made_up_position(geometry: Geometry) -> bool:
    """Whether a corner or the centre lies at the world's origin."""
    points = np.vstack([geometry.corners_world, geometry.corners_world.mean(axis=0)])
    return bool((np.linalg.norm(points, axis=1) < 1e-3 * min(geometry.spacing_mm)).any())


def _join(values: npt.ArrayLike) -> str:
    return "×".join(f"{v:g}" if float(v).is_integer() else f"{v:.4g}" for v in np.asarray(values, dtype=float))
