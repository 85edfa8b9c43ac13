"""In which unit and world the coordinates of meshes are: found by where they lie in the CT.

First by the field of view: a frame fits where nearly all corners lie in it and the surfaces are larger than a few
voxels. Where several frames fit, by the bone's edge: across the true surface the CT falls from bone to soft tissue,
by some 200 HU; across a surface in the wrong place it rises as often as it falls. A frame wins where its contrast is
large and that of every other is less than half of it.

Some meshes say it themselves: 3D Slicer and osteon write the world into a header, osteon the unit too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast, get_args

import numpy as np
import numpy.typing as npt

from osteon.core.errors import OsteonError
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.formats.stl import TO_RAS, MeshSpace, read_stl_frame
from osteon.importing.options import ImportOptions, MeshUnit

Points = npt.NDArray[np.float64]
MM: dict[MeshUnit, float] = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
"""Millimetres in a unit."""
MIN_INSIDE = 0.9
"""Part of the corners that must lie in the field of view; the rest allows for meshes that reach over its border."""
_MARGIN = 2.0
"""Voxels around the field of view that still count as in it."""
_LEAST_VOXELS = 4.0
"""A structure smaller than this is taken for one in another unit."""
MIN_CONTRAST_HU = 50.0
"""The fall from bone to soft tissue across a true surface, at least; the mean of many bones at 3 mm is above 150."""
_MOST_HU = 600.0
"""A single difference counts no more than this: metal would outweigh all bone."""
_SAMPLES = 4000


@dataclass(frozen=True)
class MeshFrame:
    """How coordinates are read."""

    unit: MeshUnit
    space: MeshSpace

    def __str__(self) -> str:
        return f"{self.unit}, {self.space}"

    def ras_mm(self, points: Points) -> Points:
        """`[..., 3]` coordinates of a mesh in RAS+ millimetres."""
        return points * (MM[self.unit] * TO_RAS[self.space])


@dataclass(frozen=True)
class FrameEvidence:
    """What a case says about its meshes' coordinates.

    Attributes:
        inside: Part of the corners in the field of view, for every frame.
        contrasts: Mean fall of the CT across the surface in HU, for the frames that fit; empty where nobody looked, or
            where the image is no CT.
    """

    inside: dict[MeshFrame, float]
    contrasts: dict[MeshFrame, float]

    @property
    def fitting(self) -> list[MeshFrame]:
        """The frames that lie in the field of view."""
        return [frame for frame, share in self.inside.items() if share >= MIN_INSIDE]

    @property
    def best(self) -> MeshFrame | None:
        """The one frame that fits, or that beats all others that fit; None where it is unclear."""
        fitting = self.fitting
        if len(fitting) < 2 or not self.contrasts:
            return fitting[0] if len(fitting) == 1 else None
        best, *others = sorted(fitting, key=lambda frame: -self.contrasts[frame])
        clear = self.contrasts[best] >= MIN_CONTRAST_HU and all(
            self.contrasts[o] < self.contrasts[best] / 2 for o in others
        )
        return best if clear else None

    def describe(self) -> str:
        """In words: what fits, and how far the CT falls there."""
        if not self.fitting:
            return "no unit puts the meshes into the CT"
        contrasts = {frame: f" ({self.contrasts[frame]:+.0f} HU)" for frame in self.contrasts}
        return "inside the CT as " + " and as ".join(f"{frame}{contrasts.get(frame, '')}" for frame in self.fitting)


def candidate_frames(unit: MeshUnit | None, space: MeshSpace | None) -> list[MeshFrame]:
    """All frames that what the user says leaves open."""
    units = get_args(MeshUnit) if unit is None else (unit,)
    spaces = get_args(MeshSpace) if space is None else (space,)
    return [MeshFrame(u, s) for u, s in itertools.product(units, spaces)]


def weigh_frames(
    meshes: Sequence[Points], geometry: Geometry, candidates: Sequence[MeshFrame], image: Volume | None = None
) -> FrameEvidence:
    """Weigh frames of one case.

    Args:
        meshes: `[m, 3, 3]` triangles of each mesh, as the files have them.
        geometry: The CT's grid.
        candidates: The frames to be weighed.
        image: The CT; None leaves its edges out.
    """
    inside = {frame: _share_inside(meshes, geometry, frame) for frame in candidates}
    contrasts = {}
    if image is not None:
        samples = [_samples(triangles, _SAMPLES // len(meshes) + 1) for triangles in meshes]
        for frame in candidates:
            if inside[frame] >= MIN_INSIDE:
                points, normals = (frame.ras_mm(np.concatenate(part)) for part in zip(*samples, strict=True))
                contrasts[frame] = mean_contrast(points, normals, image)  # a half turn keeps outside out
    return FrameEvidence(inside, contrasts)


def _share_inside(meshes: Sequence[Points], geometry: Geometry, frame: MeshFrame) -> float:
    """Part of the corners in the field of view; 0 where the meshes together are no larger than a few voxels."""
    corners = [mesh.reshape(-1, 3)[:: 1 + mesh.size // (3 * _SAMPLES)] for mesh in meshes]
    points = frame.ras_mm(np.concatenate(corners))
    inverse = np.linalg.inv(geometry.affine_ras)
    with np.errstate(over="ignore", invalid="ignore"):
        index = points @ inverse[:3, :3].T + inverse[:3, 3]
        size = np.ptp(index, axis=0).max()
        near = ((index >= -_MARGIN) & (index <= np.array(geometry.shape) - 1 + _MARGIN)).all(axis=1)
    return float(near.mean()) if size >= _LEAST_VOXELS else 0.0


def _samples(triangles: Points, count: int) -> tuple[Points, Points]:
    """`count` points spread evenly over a surface, and its outward normals there (of length 1)."""
    centre = triangles.mean(axis=(0, 1))
    a, b, c = (triangles[:, n] - centre for n in range(3))
    normals = np.cross(b - a, c - a)
    outward = np.sign(np.einsum("ij,ij->", normals, a)) or 1.0  # six times the volume, negative where wound inwards
    areas = np.linalg.norm(normals, axis=1)
    total = np.cumsum(areas)
    chosen = np.searchsorted(total, (np.arange(count) + 0.5) / count * total[-1]).clip(max=len(areas) - 1)
    lengths = np.where(areas[chosen] > 0, areas[chosen], 1.0)
    return triangles[chosen].mean(axis=1), outward * normals[chosen] / lengths[:, None]


def mean_contrast(points: Points, normals: Points, image: Volume) -> float:
    """Mean difference of the image one voxel (1 mm at least) inside and outside a surface.

    Args:
        points: `[n, 3]` on the surface, RAS+ millimetres.
        normals: `[n, 3]` outward, of any length.
        image: The first channel is looked at.
    """
    from scipy.ndimage import map_coordinates

    inverse = np.linalg.inv(image.geometry.affine_ras)
    index = points @ inverse[:3, :3].T + inverse[:3, 3]
    outward = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    per_mm = np.linalg.norm(outward @ inverse[:3, :3].T, axis=1, keepdims=True)
    step = (outward * np.maximum(1.0, 1 / np.maximum(per_mm, 1e-12))) @ inverse[:3, :3].T
    sides = [
        map_coordinates(image.array[0], side.T, output=np.float64, order=1, mode="constant", cval=np.nan)
        for side in (index - step, index + step)
    ]
    contrasts = np.clip(sides[0] - sides[1], -_MOST_HU, _MOST_HU)
    seen = contrasts[np.isfinite(contrasts)]
    return float(seen.mean()) if len(seen) > len(contrasts) / 2 else 0.0


@dataclass(frozen=True)
class MeshHeader:
    """What one mesh says; None where nothing."""

    unit: MeshUnit | None = None
    space: MeshSpace | None = None

    def to_frame(self, points: Points, frame: MeshFrame) -> Points:
        """Coordinates `[…, 3]` as `frame` expects them, of a mesh that may say another unit or world than others."""
        factors = TO_RAS[self.space or frame.space] * TO_RAS[frame.space]
        return points * (factors * MM[self.unit or frame.unit] / MM[frame.unit])


def read_mesh_headers(source: Path, meshes: Iterable[PurePosixPath]) -> dict[PurePosixPath, MeshHeader]:
    """What the headers of meshes say. A file that cannot be read says nothing here, and fails its case later."""
    found = {}
    for place in meshes:
        try:
            unit, space = read_stl_frame(source / place)
        except OsteonError:
            unit = space = None
        found[place] = MeshHeader(cast("MeshUnit | None", unit), cast("MeshSpace | None", space))
    return found


def find_overridden(headers: Mapping[PurePosixPath, MeshHeader], options: ImportOptions) -> list[str]:
    """Headers that the user's options contradict, for people: the options win."""
    lines = []
    for what, given in (("unit", options.mesh_unit), ("space", options.mesh_space)):
        against = {
            place: getattr(one, what) for place, one in headers.items() if getattr(one, what) not in (None, given)
        }
        if given is not None and against:
            place, other = next(iter(against.items()))
            count = f"{len(against)} mesh{'es' * (len(against) > 1)}"
            lines.append(f"{place}: its header says {what.upper()}={other}; read as {given}, as told ({count} like it)")
    return lines


def open_frames(headers: Iterable[MeshHeader], options: ImportOptions) -> list[MeshFrame]:
    """The frames that the user's options and the headers of some meshes leave open.

    Where each mesh says its unit (or world), any will do: `MeshHeader.to_frame` brings the others to it.
    """
    units, spaces = zip(*[(one.unit, one.space) for one in headers], strict=True)
    unit = options.mesh_unit or (units[0] if None not in units else None)
    space = options.mesh_space or (spaces[0] if None not in spaces else None)
    return candidate_frames(unit, space)


def drop_overridden(header: MeshHeader, options: ImportOptions) -> MeshHeader:
    """What a header says that no option says otherwise. One that says a world alone means millimetres: 3D Slicer's."""
    unit = header.unit or ("mm" if header.space else None)
    return MeshHeader(None if options.mesh_unit else unit, None if options.mesh_space else header.space)
