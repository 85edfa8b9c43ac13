"""A surface smoothed within its cells: the steps of the voxels go, and the volume stays.

Each corner goes to the mean of itself and its neighbours, many times over: that takes the steps away, and would shrink
whatever is round. What it took away is smoothed likewise and put back, twice ("twicing": Tukey, Exploratory Data
Analysis, 1977): coarse shape comes back, steps do not. Where few voxels lie side by side shape and steps are the same,
and the volume still falls; so the surface is then moved along its normals until it holds what the voxels hold. No
corner leaves its box, so that every voxel's centre stays on its side (see `surface`).

Means of neighbours know no lengths, and volumes of one grid differ by a factor alone: voxel indices serve for any grid,
oblique and sheared ones too.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from osteon.exporting.surface import Ints, Points, SurfaceNet, net_edges, triangulate

ITERATIONS = 20
"""Times that the mean is taken: reaches about 4 voxels. On spheres 10 left more of the steps, 40 took more shape."""
_PUT_BACK = 2
VOLUME_TOLERANCE = 1e-4
"""Part of the volume that may be missing in the end."""
_MAX_MOVES = 60
"""Even masks of noise need fewer than ten."""
_HALVINGS = 30


def smooth_surface(net: SurfaceNet, voxels: int) -> tuple[Points, Ints]:
    """Corners and triangles of a net, smoothed.

    Args:
        net: The boundary of a mask.
        voxels: How many the mask has.

    Returns:
        `[n, 3]` corners in voxel indices, within their boxes, and `[t, 3]` triangles, counter-clockwise seen from
        outside. They enclose `voxels`, to `VOLUME_TOLERANCE`.
    """
    points = np.clip(_low_pass(net), net.low, net.high)
    faces = triangulate(net, points)
    for _ in range(_MAX_MOVES):
        missing = voxels - enclosed_volume(points, faces)
        if abs(missing) <= VOLUME_TOLERANCE * voxels:
            return points, faces
        normals = _normals(points, faces)
        sizes = np.linalg.norm(normals, axis=1)
        away = normals / np.maximum(sizes, 1e-12)[:, None]
        points = np.clip(points + away * (missing / sizes.sum()), net.low, net.high)
    return _towards_voxels(net, points, voxels)


def enclosed_volume(points: Points, faces: Ints) -> float:
    """What a closed surface of corners `[n, 3]` and faces `[m, 3]` encloses, cubed units (Gauss' theorem)."""
    a, b, c = (points[faces[:, n]] - points[:1] for n in range(3))
    return float(np.einsum("ij,ij", a, np.cross(b, c)) / 6)


def _low_pass(net: SurfaceNet) -> Points:
    """`[n, 3]` corners without their high frequencies; what a pass took away is smoothed, too, and put back."""
    mean = _mean(net)
    result = np.zeros_like(net.points)
    rest = net.points
    for _ in range(1 + _PUT_BACK):
        for _ in range(ITERATIONS):
            rest = mean @ rest
        result = result + rest
        rest = net.points - result
    return result


def _mean(net: SurfaceNet) -> sparse.csr_matrix:
    """The mean of each corner and its neighbours, in which it counts as much as all of them."""
    ends, count = net_edges(net), len(net.points)
    ends = np.concatenate([ends, ends[:, ::-1]])
    linked = sparse.csr_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), (count, count))
    linked.data[:] = 1
    share = 1 / np.asarray(linked.sum(axis=1)).ravel()
    return ((sparse.identity(count) + sparse.diags(share) @ linked) / 2).tocsr()


def _normals(points: Points, faces: Ints) -> Points:
    """`[n, 3]` vectors outward; as long as the area that belongs to the corner."""
    a, b, c = (points[faces[:, n]] for n in range(3))
    parts = np.cross(b - a, c - a) / 6
    return np.stack(
        [sum(np.bincount(faces[:, n], parts[:, axis], len(points)) for n in range(3)) for axis in range(3)], axis=1
    )


def _towards_voxels(net: SurfaceNet, points: Points, voxels: int) -> tuple[Points, Ints]:
    """As far back as the volume asks: with its corners in the middle of their cells the boundary's volume is exact."""
    for halving in range(_HALVINGS):
        tried = net.points + (points - net.points) / 2**halving
        faces = triangulate(net, tried)
        if abs(enclosed_volume(tried, faces) - voxels) <= VOLUME_TOLERANCE * voxels:
            break
    return tried, faces
