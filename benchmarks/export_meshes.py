"""Surfaces of real bones: osteon's beside plain marching cubes, and marching cubes with trimesh's Taubin filter.

    python benchmarks/export_meshes.py --data ../shared/data --picture meshes.png

Each tool gets the label's mask, padded by one voxel so that it closes at the image's border, and gives a mesh in voxel
indices; coordinates are rounded to float32, as an STL has them, and equal corners are joined before anything is
counted. `watertight` is the number of structures in which every edge belongs to exactly two triangles that follow it in
opposite directions. Volumes are compared with voxel count times voxel volume. Distances are between points of the mesh
(corners and middles of triangles) and the label's surface, which are the faces between its voxels and the rest, in mm,
and back from the middles of these faces to the mesh's points. A smooth surface cannot have 0, since the faces have
steps; plain marching cubes have their corners on the faces. How far the true surface is only a made-up shape can tell:
the second table has an ellipsoid in grids of three kinds. `bend` is the mean angle between neighbouring triangles: the
steps. `voxels` is the share of the label's voxels that change when the mesh is filled again on the same grid. CPU
seconds are of one core, once for each structure.

trimesh is no part of osteon: without it (`pip install --no-deps --target DIR trimesh`, PYTHONPATH=DIR) its rows are
left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from osteon.core.geometry import Geometry
from osteon.exporting.masks import crop_mask
from osteon.exporting.mesh_files import join_meshes, make_surfaces
from osteon.formats import read_segmentation
from osteon.importing.meshes.voxelisation import voxelise

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
KNEE = {"femur": 5, "tibia": 6, "patella": 7, "fibula": 8}
_NEAREST = 12
"""Faces of which the nearest to a point is looked for; those with the nearest middles."""


@dataclass(frozen=True)
class Bone:
    """A label of one structure, cut out, with its voxels' size."""

    name: str
    mask: Mask
    spacing: Floats


def bones(data: Path) -> Iterator[tuple[str, list[Bone]]]:
    """The sets, one after the other."""
    classes = json.loads((data / "totalsegmentator-example/labels.json").read_text())["ct_bone_classes"]
    yield "CT, 3 mm", _labels(data / "totalsegmentator-example/ct/example_ct_seg.nii.gz", set(map(int, classes)))
    knee = data / "knee-mr/label-only/dess_right_bones_cart_men_fib-label.nrrd"
    yield "knee MR, .37×.37×.7 mm", _labels(knee, set(KNEE.values()))
    fragments = []
    for path in sorted((data / "pelvis-fracture-ct").rglob("*_mask.nii.gz")):
        fragments += _labels(path, None)
    yield "fractured pelvis CT, .8 to 1 mm", fragments


def _labels(path: Path, values: set[int] | None) -> list[Bone]:
    segmentation = read_segmentation(path)
    found = []
    for structure in segmentation.structures:
        if values is None or structure.value in values:
            part = crop_mask(structure, segmentation.mask(structure), segmentation.geometry)
            if part.mask.any():
                spacing = np.array(segmentation.geometry.spacing_mm)
                found.append(Bone(f"{path.name}: {structure.name}", part.mask, spacing))
    return found


def by_osteon(mask: Mask) -> tuple[Floats, Ints]:
    mesh = join_meshes(make_surfaces(mask, Geometry(mask.shape, np.eye(4))))
    return mesh.vertices, mesh.faces.astype(np.int64)


def by_marching_cubes(mask: Mask) -> tuple[Floats, Ints]:
    from skimage.measure import marching_cubes

    padded = np.pad(mask, 1).astype(np.float32)
    vertices, faces, _, _ = marching_cubes(padded, 0.5, gradient_direction="ascent")
    return vertices.astype(np.float64) - 1, faces.astype(np.int64)


def by_taubin(mask: Mask) -> tuple[Floats, Ints]:
    import trimesh

    vertices, faces = by_marching_cubes(mask)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    trimesh.smoothing.filter_taubin(mesh, iterations=10)
    return np.asarray(mesh.vertices), np.asarray(mesh.faces)


TOOLS: dict[str, Callable[[Mask], tuple[Floats, Ints]]] = {
    "osteon": by_osteon,
    "marching cubes": by_marching_cubes,
    "marching cubes + Taubin": by_taubin,
}


def tools() -> list[str]:
    """Those that are installed."""
    there = importlib.util.find_spec("trimesh") is not None
    return [tool for tool in TOOLS if there or "Taubin" not in tool]


@dataclass(frozen=True)
class Measured:
    """What a mesh of one bone came to."""

    faces: int
    seconds: float
    volume: float
    watertight: bool
    mean_mm: float
    farthest_mm: float
    back_mm: float
    bend: float
    voxels: float


def measure(tool: str, bone: Bone) -> Measured:
    began = time.process_time()
    vertices, faces = TOOLS[tool](bone.mask)
    seconds = time.process_time() - began
    corners, index = np.unique((vertices * bone.spacing).astype(np.float32)[faces].reshape(-1, 3), axis=0,
                               return_inverse=True)  # fmt: skip
    corners, faces = corners.astype(np.float64), index.reshape(-1, 3)
    a, b, c = (corners[faces[:, n]] - corners.mean(axis=0) for n in range(3))
    volume = float((a * np.cross(b, c)).sum() / 6)
    points = np.concatenate([corners, corners[faces].mean(axis=1)])
    there, back = _distances(points, bone)
    filled = voxelise(corners[faces] / bone.spacing, Geometry(bone.mask.shape, np.eye(4)))
    again = np.zeros_like(bone.mask)
    again[filled.box] = filled.mask
    return Measured(
        len(faces),
        seconds,
        volume / float(bone.mask.sum() * bone.spacing.prod()) - 1,
        _is_watertight(faces),
        float(there.mean()),
        float(there.max()),
        float(back.max()),
        _bend(corners, faces),
        float((again != bone.mask).sum() / bone.mask.sum()),
    )


def _is_watertight(faces: Ints) -> bool:
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    _, both = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)
    _, each = np.unique(edges, axis=0, return_counts=True)
    return bool((both == 2).all() and (each == 1).all())


def _bend(corners: Floats, faces: Ints) -> float:
    """Mean angle in degrees between triangles that share an edge; edges of other than two are skipped."""
    a, b, c = (corners[faces[:, n]] for n in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    _, which, count = np.unique(edges, axis=0, return_inverse=True, return_counts=True)
    owner = np.tile(np.arange(len(faces)), 3)[np.argsort(which.ravel(), kind="stable")]
    first = (np.cumsum(count) - count)[count == 2]
    cosines = (normals[owner[first]] * normals[owner[first + 1]]).sum(axis=1)
    return float(np.degrees(np.arccos(np.clip(cosines, -1, 1))).mean())


def _distances(points: Floats, bone: Bone) -> tuple[Floats, Floats]:
    """Of points to the voxels' outer faces, exact; and of the faces' middles to the points."""
    padded = np.pad(bone.mask, 1)
    middles, halves = [], []
    for axis in range(3):
        place = np.argwhere(np.diff(padded.view(np.int8), axis=axis)).astype(np.float64) - 1
        place[:, axis] += 0.5
        middles.append(place * bone.spacing)
        half = bone.spacing / 2 * (np.arange(3) != axis)
        halves.append(np.broadcast_to(half, place.shape))
    middle, half = np.concatenate(middles), np.concatenate(halves)
    _, near = KDTree(middle).query(points, min(_NEAREST, len(middle)))
    beyond = np.maximum(np.abs(points[:, None] - middle[near]) - half[near], 0)
    return np.linalg.norm(beyond, axis=2).min(axis=1), KDTree(points).query(middle)[0]


def row(name: str, tool: str, found: list[Measured]) -> str:
    volumes = np.abs([one.volume for one in found])
    faces = np.array([one.faces for one in found], dtype=float)
    cells = [
        name,
        tool,
        f"{faces.sum() / 1000:.0f}k",
        f"{sum(one.seconds for one in found):.1f}",
        f"{np.median(volumes):.3%} / {volumes.max():.3%}",
        f"{sum(one.watertight for one in found)} of {len(found)}",
        f"{np.average([one.mean_mm for one in found], weights=faces):.3f}",
        f"{max(one.farthest_mm for one in found):.2f}",
        f"{max(one.back_mm for one in found):.2f}",
        f"{np.average([one.bend for one in found], weights=faces):.1f}°",
        f"{np.mean([one.voxels for one in found]):.3%}",
    ]
    return "| " + " | ".join(cells) + " |"


def ellipsoid_row(spacing: Floats, tool: str) -> str:
    """An ellipsoid with radii of 18, 14 and 25 mm: how far the mesh's corners lie from its true surface."""
    radii = np.array([18.0, 14, 25])
    shape = tuple(int(n) for n in np.ceil(2 * (radii + 3) / spacing))
    centre = np.array(shape) * spacing / 2 + (0.2, 0.3, 0.7)
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) * spacing
    mask = np.asarray(np.linalg.norm((places - centre) / radii, axis=-1) < 1)
    vertices, faces = TOOLS[tool](mask)
    scaled = (vertices * spacing - centre) / radii
    length = np.linalg.norm(scaled, axis=1)
    away = np.abs((length - 1) * length / np.linalg.norm(scaled / radii, axis=1))  # to first order
    size = "×".join(f"{s:g}" for s in spacing)
    return f"| {size} mm | {tool} | {away.mean():.3f} | {away.max():.2f} | {_bend(vertices * spacing, faces):.1f}° |"


def picture(path: Path, shown: list[tuple[str, Bone]]) -> None:
    """Each bone by each tool, lit from one side."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.colors import LightSource
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    columns = len(tools())
    figure = plt.figure(figsize=(5 * columns, 5 * len(shown)))
    for n, (name, bone) in enumerate(shown):
        for m, tool in enumerate(tools()):
            vertices, faces = TOOLS[tool](bone.mask)
            corners = (vertices * bone.spacing)[faces]
            axes = figure.add_subplot(len(shown), columns, n * columns + m + 1, projection="3d")
            axes.add_collection3d(
                Poly3DCollection(corners, facecolors="#e8d8b8", shade=True, lightsource=LightSource(300, 30))
            )
            low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
            axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]), title=f"{name}: {tool}")
            axes.set_box_aspect(high - low)
            axes.set_axis_off()
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--picture", type=Path, help="draw some of them into this file")
    arguments = parser.parse_args()
    print(f"{date.today()}, {platform.machine()}, Python {platform.python_version()}\n")
    print("| bones | tool | triangles | CPU s | volume error, median / worst | watertight | mesh to label mm, mean | "
          "farthest | label to mesh, farthest | bend | voxels |")  # fmt: skip
    print("| --- " * 11 + "|")
    shown: list[tuple[str, Bone]] = []
    for name, group in bones(arguments.data):
        shown.append((name, max(group, key=lambda bone: int(bone.mask.sum()))))
        for tool in tools():
            print(row(f"{len(group)}, {name}", tool, [measure(tool, bone) for bone in group]), flush=True)
    print("\n| ellipsoid in voxels of | tool | mesh to true surface mm, mean | farthest | bend |")
    print("| --- " * 5 + "|")
    for spacing in ((1.0, 1.0, 1.0), (3.0, 3.0, 3.0), (0.7, 0.7, 3.0)):
        for tool in tools():
            print(ellipsoid_row(np.array(spacing), tool), flush=True)
    if arguments.picture:
        picture(arguments.picture, shown)


if __name__ == "__main__":
    main()
