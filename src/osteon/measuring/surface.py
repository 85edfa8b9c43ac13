"""From a mask to a smooth surface in the world that lies between the voxels, of a volume or of a picture.

1. Where slices are much further apart than pixels, slices between them are interpolated by their distance maps
   (shape-based
   interpolation: Raya and Udupa, IEEE Trans Med Imaging 9, 1990).
2. The mask is low-passed (Gaussian, one voxel), and what that took away is put back once ("twicing": Tukey, Exploratory
   Data Analysis, 1977): the kernel that results has no second moment, so that a curved surface does not move inwards,
   as it does by σ²/R under a Gaussian alone.
3. The surface is where that field is one half (marching cubes: Lewiner et al., J Graph Tools 8, 2003; in a picture
   marching squares). A plain marching cubes of the mask would follow its steps, and have up to half as much area again.
4. It is moved along its normals, everywhere by the same length, until it encloses what the voxels do: their number
   times their volume has no bias.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse

from osteon.core.geometry import Geometry

Points = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

SIGMA = 1.0
"""Voxels. Below, more of the steps is left; above, more of thin parts is lost."""
_LESS = (1.0, 0.7, 0.5)
"""Parts of `SIGMA` that are tried in turn where a mask is too thin for it."""
_LOST = 0.03
"""Part of the voxels that may change sides by smoothing."""
MANY_VOXELS = 100_000
"""Of a mask: above, voxels are first averaged two by two along each axis, as the parts that are filled."""
_LARGE_BOX = 2_000_000
"""Voxels of a mask's box, above which they are averaged, too."""
SLICES = 2.0
"""Times the pixels' edge that slices are apart, from which on slices between them are interpolated."""
_MOST_SLICES = 8
"""That take the place of one."""
_PAD = 4


@dataclass(frozen=True, eq=False)
class Surface:
    """A closed surface of triangles, or in a picture a closed outline of segments.

    Attributes:
        points: `[n, 3]` in the world, mm (px where a picture has no spacing).
        cells: `[m, 3]` triangles, counter-clockwise seen from outside; `[m, 2]` segments with the inside on one side.
        normals: `[n, 3]` unit vectors, outwards.
    """

    points: Points
    cells: Ints
    normals: Points
    _edges: list[Ints] = field(default_factory=list, repr=False)

    def moved(self, along_normals: npt.NDArray[np.float64]) -> Surface:
        """The surface with each point moved along its normal by `[n]`."""
        return Surface(self.points + along_normals[:, None] * self.normals, self.cells, self.normals, self._edges)

    @property
    def flat(self) -> bool:
        """Whether it is an outline."""
        return self.cells.shape[1] == 2

    @cached_property
    def sizes(self) -> npt.NDArray[np.float64]:
        """`[m]` area of each triangle, or length of each segment."""
        corners = self.points[self.cells]
        if self.flat:
            return np.asarray(np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1))
        return np.asarray(np.linalg.norm(_crosses(corners), axis=1) / 2)

    @property
    def area(self) -> float:
        """Area, mm²; of an outline its length, mm."""
        return float(self.sizes.sum())

    @cached_property
    def weights(self) -> npt.NDArray[np.float64]:
        """`[n]` the area, or length, that belongs to each point."""
        corners = self.cells.shape[1]
        return np.asarray(
            np.bincount(self.cells.ravel(), np.repeat(self.sizes / corners, corners), len(self.points)), np.float64
        )

    @property
    def edges(self) -> Ints:
        """`[e, 2]` pairs of points that cells join, each once; the same for all that were moved from this surface."""
        if not self._edges:
            rings = [self.cells[:, [n, (n + 1) % self.cells.shape[1]]] for n in range(self.cells.shape[1])]
            one, other = np.sort(np.vstack(rings), axis=1).T
            numbers = np.unique(one * len(self.points) + other)
            self._edges.append(np.stack(np.divmod(numbers, len(self.points)), axis=1))
        return self._edges[0]

    @property
    def enclosed(self) -> float:
        """Volume inside, mm³ (Gauss' theorem); of an outline the area inside, mm²."""
        return abs(_signed(self.points, self.cells))


def make_surface(mask: Mask, geometry: Geometry) -> Surface:
    """The surface of a mask `[i, j, k]` that holds a voxel, closed also where the mask ends.

    Holes inside a mask have a surface of their own. Voxels along an axis that has one voxel in `geometry` make a
    picture.
    """
    thin = tuple(axis for axis, size in enumerate(mask.shape) if size == 1)[:1]
    field, grid = _prepare(mask, geometry) if not thin else (mask, geometry)
    smooth = _smooth(field, thin)
    surface = _outline(smooth, grid, thin[0]) if thin else _triangles(smooth, grid)
    return _fill(surface, np.count_nonzero(mask) * _voxel_size(geometry, thin))


def surface_of(points: Points, cells: Ints) -> Surface:
    """The surface of triangles that share their points, wound one way; its normals look outwards."""
    return _oriented(points, cells)


def _voxel_size(geometry: Geometry, thin: tuple[int, ...]) -> float:
    """Volume of a voxel; of a picture's the area."""
    if not thin:
        return geometry.voxel_volume_mm3
    one, other = np.delete(geometry.affine_ras[:3, :3], thin, axis=1).T
    return float(np.linalg.norm(np.cross(one, other)))


def _fill(surface: Surface, size: float) -> Surface:
    """The surface moved along its normals until it encloses `size`."""
    points = surface.points
    for _ in range(3):
        now = Surface(points, surface.cells, surface.normals)
        points = points + surface.normals * ((size - now.enclosed) / max(now.area, 1e-12))
    return Surface(points, surface.cells, surface.normals)


def _prepare(mask: Mask, geometry: Geometry) -> tuple[npt.NDArray[np.generic], Geometry]:
    """The mask on a grid whose edges are of similar lengths, and that has not too many voxels."""
    edges = np.array(geometry.spacing_mm)
    axis = int(np.argmax(edges))
    if edges[axis] >= SLICES * np.median(edges):
        return _interpolate(mask, geometry, axis)
    many = mask.size > _LARGE_BOX or np.count_nonzero(mask) > MANY_VOXELS
    return _average(mask, geometry) if many else (mask, geometry)


def _interpolate(mask: Mask, geometry: Geometry, axis: int) -> tuple[npt.NDArray[np.float32], Geometry]:
    """The part of each voxel that is filled, on a grid with more slices along `axis`, and that grid."""
    edges = np.delete(np.array(geometry.spacing_mm), axis)
    slices = np.pad(np.moveaxis(mask, axis, 0), ((1, 1), (2, 2), (2, 2)))
    depths = np.stack([_depth(one, edges) for one in slices])
    full = np.asarray(slices.any(axis=(1, 2)))
    for empty in np.flatnonzero(~full):
        beside = [other for other in (empty - 1, empty + 1) if 0 <= other < len(full) and full[other]]
        depths[empty] = -np.abs(np.max(depths[beside], axis=0)) if beside else -edges.max() * max(slices.shape)
    more = int(np.clip(round(geometry.spacing_mm[axis] / edges.max()), 2, _MOST_SLICES))
    places = (np.arange(more * len(slices)) + 0.5) / more - 0.5
    low = np.clip(np.floor(places).astype(int), 0, len(slices) - 2)
    part = (places - low)[:, None, None].astype(np.float32)
    between = depths[low] * (1 - part) + depths[low + 1] * part
    filled = np.moveaxis(np.clip(0.5 + between / edges.max(), 0, 1), 0, axis)
    affine = geometry.affine_ras.copy()
    first = np.full(3, -2.0)
    first[axis] = places[0] - 1
    affine[:3, 3] = geometry.to_world([first])[0]
    affine[:3, axis] /= more
    i, j, k = filled.shape
    grid = Geometry((i, j, k), affine, geometry.unit)
    return _average(filled, grid) if filled.size > _LARGE_BOX else (filled, grid)


def _depth(plane: Mask, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """How far each pixel lies inside, in the world's unit; below 0 outside. The border lies between pixels."""
    if not plane.any():
        return np.zeros(plane.shape, np.float32)
    inside, outside = (ndimage.distance_transform_edt(side, edges) for side in (plane, ~plane))
    return np.asarray(inside - outside - np.sign(inside - outside) * edges.mean() / 2, dtype=np.float32)


def _average(mask: npt.NDArray[np.generic], geometry: Geometry) -> tuple[npt.NDArray[np.float32], Geometry]:
    """Means of 2×2×2 voxels, and their grid."""
    filled = np.pad(mask, [(0, size % 2) for size in mask.shape])
    i, j, k = (size // 2 for size in filled.shape)
    means = filled.reshape(i, 2, j, 2, k, 2).mean(axis=(1, 3, 5), dtype=np.float32)
    affine = geometry.affine_ras.copy()
    affine[:3, 3] = geometry.to_world([[0.5, 0.5, 0.5]])[0]
    affine[:3, :3] *= 2
    return means, Geometry((i, j, k), affine, geometry.unit)


def _smooth(field: npt.NDArray[np.generic], thin: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """The field, padded by `_PAD` along every axis that is not thin, without its steps."""
    padded = np.pad(field.astype(np.float32), [(0, 0) if axis in thin else (_PAD, _PAD) for axis in range(3)])
    inside = padded > 0.5
    allowed = _LOST * np.count_nonzero(inside)
    for part in _LESS:
        sigma = [0.0 if axis in thin else SIGMA * part for axis in range(3)]
        once = ndimage.gaussian_filter(padded, sigma, truncate=3)
        smooth = 2 * once - ndimage.gaussian_filter(once, sigma, truncate=3)
        if np.count_nonzero((smooth > 0.5) != inside) <= max(allowed, _steps(inside)):
            return smooth
    return padded


def _steps(inside: Mask) -> float:
    """Voxels that change sides where only steps of the surface are taken away: a part of those at the surface."""
    return 0.2 * np.count_nonzero(inside & ~ndimage.binary_erosion(inside))


def _triangles(field: npt.NDArray[np.float32], geometry: Geometry) -> Surface:
    from skimage.measure import marching_cubes  # loads much

    index, cells, _, _ = marching_cubes(field, 0.5)
    points, cells = geometry.to_world(index - _PAD), np.asarray(cells, dtype=np.int64)
    return _oriented(points, cells)


def _outline(field: npt.NDArray[np.float32], geometry: Geometry, thin: int) -> Surface:
    from skimage.measure import find_contours

    plane = np.take(field, 0, axis=thin)
    points, cells, count = [], [], 0
    for ring in find_contours(plane, 0.5):
        index = np.insert(ring[:-1] - _PAD, thin, 0.0, axis=1)
        places = count + np.arange(len(index))
        points.append(geometry.to_world(index))
        cells.append(np.stack([places, np.roll(places, -1)], axis=1))
        count += len(index)
    return _oriented(np.concatenate(points), np.concatenate(cells))


def _oriented(points: Points, cells: Ints) -> Surface:
    """The surface with its cells turned so that normals look outwards."""
    if _signed(points, cells) < 0:
        cells = cells[:, ::-1].copy()
    return Surface(points, cells, _normals(points, cells))


def _signed(points: Points, cells: Ints) -> float:
    corners = points[cells] - points[:1]
    if cells.shape[1] == 2:
        return float(np.dot(np.cross(corners[:, 0], corners[:, 1]).sum(axis=0), _up(points)) / 2)
    return float(np.einsum("ij,ij", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6)


def _crosses(corners: Points) -> Points:
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def _up(points: Points) -> Points:
    """The normal of the plane in which an outline lies, of either sign, but the same for the same plane."""
    normal = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][2]
    return normal * np.sign(normal[np.argmax(np.abs(normal))])


def _normals(points: Points, cells: Ints) -> Points:
    corners = points[cells]
    flat = cells.shape[1] == 2
    vectors = np.cross(corners[:, 1] - corners[:, 0], _up(points)) if flat else _crosses(corners)
    count = len(points)
    row = cells.ravel()
    column = np.repeat(np.arange(len(cells)), cells.shape[1])
    summed = sparse.csr_matrix((np.ones(len(row)), (row, column)), (count, len(cells))) @ vectors
    return np.asarray(summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12))
