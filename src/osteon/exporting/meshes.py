"""Surfaces of structures in the world: one for each connected piece of a mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from osteon.core.geometry import Geometry
from osteon.exporting.masks import CONNECTIVITY, Mask
from osteon.exporting.surface import make_surface_net
from osteon.exporting.surface_smoothing import smooth_surface
from osteon.formats.stl import Mesh


def make_surfaces(mask: Mask, geometry: Geometry, *, smallest_mm3: float = 0.0) -> list[Mesh]:
    """The closed, smooth surface of each connected piece of a mask, the largest first.

    Args:
        mask: `[i, j, k]`; may touch the image's border.
        geometry: Its grid; oblique and sheared ones are right as well.
        smallest_mm3: Pieces of less are left out.

    Returns:
        Meshes in RAS+ millimetres: every edge belongs to two triangles, which are counter-clockwise seen from outside.
        Each encloses its voxels' volume (within 0.01 %), and the centres of these voxels and of no other.
    """
    numbered, count = ndimage.label(mask, CONNECTIVITY)
    if not count:
        return []
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
    found = ndimage.find_objects(numbered)
    kept = [n for n in np.argsort(-sizes, kind="stable") if sizes[n] * geometry.voxel_volume_mm3 >= smallest_mm3]
    return [_surface(numbered[found[n]] == n + 1, [part.start for part in found[n]], geometry) for n in kept]


def join_meshes(meshes: Sequence[Mesh]) -> Mesh:
    """Several meshes as one."""
    offsets = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [mesh.faces + np.int32(offset) for mesh, offset in zip(meshes, offsets, strict=False)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces))


def _surface(mask: Mask, first: Sequence[int], geometry: Geometry) -> Mesh:
    net = make_surface_net(mask)
    points, faces = smooth_surface(net, int(np.count_nonzero(mask)))
    if np.linalg.det(geometry.affine_ras[:3, :3]) < 0:  # a left-handed grid shows everything in a mirror
        faces = faces[:, ::-1]
    return Mesh(geometry.to_world(points + np.asarray(first)), np.ascontiguousarray(faces, np.int32))
