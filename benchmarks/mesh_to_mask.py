"""From a surface to voxels: osteon, VTK's stencil and trimesh on an ellipsoid whose voxels are known.

    python benchmarks/mesh_to_mask.py --peers ENV

ENV is an environment of its own for the two others: `python3 -m venv ENV && ENV/bin/pip install vtk trimesh numpy
scipy`. Without it osteon is measured alone. Each tool gets the triangles in memory and gives a mask of the whole grid,
256×256×200 voxels of 0.8×0.8×1 mm. The seconds are those of the processor on one core, so that other work on the
machine matters little: the median of three, after one that is not counted. What VTK and trimesh need to join corners
before is not counted. Dice is against the voxels whose centres lie in the analytic ellipsoid; the volume is compared
with the ellipsoid's own, 4/3 π abc. trimesh fills cubes of one size alone: it gets 0.8 mm, and its mask is looked up at
the grid's centres.

This file also serves as the script that ENV runs: it imports nothing of osteon before it is asked to measure it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SHAPE, SPACING = (256, 256, 200), np.array([0.8, 0.8, 1.0])
CENTRE, RADII = np.array([101.3, 99.7, 100.1]), np.array([80.0, 70.0, 85.0])
RINGS = {"82k": 143, "328k": 286}
TOOLS = {"osteon": None, "vtk": "vtk", "trimesh": "trimesh"}
ROUNDS = 3

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def ellipsoid(rings: int) -> Floats:
    """`[m, 3, 3]` triangles, m about 4 rings², all corners on the surface."""
    theta, phi = np.linspace(0, np.pi, rings + 1), np.linspace(0, 2 * np.pi, 2 * rings, endpoint=False)
    t, p = np.meshgrid(theta, phi, indexing="ij")
    points = np.stack([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)], axis=-1)
    points[0], points[-1] = [0, 0, 1], [0, 0, -1]
    points = points * RADII + CENTRE
    after = np.roll(points, -1, axis=1)
    lower = np.stack([points[1:-1], points[2:], after[2:]], axis=2)[:-1]
    upper = np.stack([points[1:-1], after[2:], after[1:-1]], axis=2)[:-1]
    caps = [np.stack([np.broadcast_to(points[0], points[1].shape), points[1], after[1]], axis=1)]
    caps.append(np.stack([np.broadcast_to(points[-1], points[-2].shape), after[-2], points[-2]], axis=1))
    return np.concatenate([lower.reshape(-1, 3, 3), upper.reshape(-1, 3, 3), *caps])


def by_osteon(triangles: Floats) -> Bools:
    from osteon.core.geometry import Geometry
    from osteon.importing.meshes.voxelisation import voxelise

    mask = np.zeros(SHAPE, bool)
    filled = voxelise(triangles, Geometry(SHAPE, np.diag([*SPACING, 1.0])))
    mask[filled.box] = filled.mask
    return mask


def by_vtk(triangles: Floats) -> Bools:
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy

    corners, index = np.unique(triangles.reshape(-1, 3), axis=0, return_inverse=True)
    points = vtk.vtkPoints()
    points.SetData(numpy_to_vtk(corners, deep=True))
    cells = vtk.vtkCellArray()
    faces = np.column_stack([np.full(len(triangles), 3), index.reshape(-1, 3)]).astype(np.int64)
    cells.ImportLegacyFormat(numpy_to_vtkIdTypeArray(faces.ravel(), deep=True))
    surface = vtk.vtkPolyData()
    surface.SetPoints(points)
    surface.SetPolys(cells)
    began = time.process_time()
    stencil = vtk.vtkPolyDataToImageStencil()
    stencil.SetInputData(surface)
    stencil.SetOutputSpacing(*SPACING)
    stencil.SetOutputOrigin(0, 0, 0)
    stencil.SetOutputWholeExtent(0, SHAPE[0] - 1, 0, SHAPE[1] - 1, 0, SHAPE[2] - 1)
    stencil.SetTolerance(0)
    image = vtk.vtkImageStencilToImage()
    image.SetInputConnection(stencil.GetOutputPort())
    image.SetInsideValue(1)
    image.SetOutputScalarTypeToUnsignedChar()
    image.Update()
    flat = vtk_to_numpy(image.GetOutput().GetPointData().GetScalars())
    mask = flat.reshape(SHAPE[::-1]).transpose(2, 1, 0) > 0
    by_vtk.seconds = time.process_time() - began  # type: ignore[attr-defined]
    return np.ascontiguousarray(mask)


def by_trimesh(triangles: Floats) -> Bools:
    import trimesh

    mesh = trimesh.Trimesh(**trimesh.triangles.to_kwargs(triangles))
    began = time.process_time()
    voxels = mesh.voxelized(float(SPACING[0])).fill()
    by_trimesh.seconds = time.process_time() - began  # type: ignore[attr-defined]
    to_index = np.linalg.inv(voxels.transform)
    axes = [np.rint(np.arange(n) * s * to_index[a, a] + to_index[a, 3]).astype(int) for a, (n, s) in
            enumerate(zip(SHAPE, SPACING, strict=True))]  # fmt: skip
    inside = [(axis >= 0) & (axis < n) for axis, n in zip(axes, voxels.shape, strict=True)]
    mask = np.zeros(SHAPE, bool)
    mask[np.ix_(*inside)] = voxels.matrix[np.ix_(*(axis[ok] for axis, ok in zip(axes, inside, strict=True)))]
    return mask


def measure(tool: str, rings: int) -> dict[str, Any]:
    function: Callable[[Floats], Bools] = globals()[f"by_{tool}"]
    triangles = ellipsoid(rings)
    seconds = []
    for _ in range(1 + ROUNDS):
        began = time.process_time()
        mask = function(triangles)
        seconds.append(getattr(function, "seconds", time.process_time() - began))
    axes = np.ogrid[tuple(slice(0, n) for n in SHAPE)]
    distance = sum(((a * s - c) / r) ** 2 for a, s, c, r in zip(axes, SPACING, CENTRE, RADII, strict=True))
    truth = distance <= 1
    volume = float(mask.sum() * SPACING.prod() / (4 / 3 * np.pi * RADII.prod()) - 1)
    return {
        "faces": len(triangles),
        "seconds": statistics.median(seconds[1:]),
        "dice": float(2 * (mask & truth).sum() / (mask.sum() + truth.sum())),
        "volume": volume,
        "version": sys.modules[tool].__version__ if tool in ("osteon", "trimesh") else _vtk_version(),
    }


def _vtk_version() -> str:
    import vtk

    return str(vtk.vtkVersion.GetVTKVersion())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="environment with vtk and trimesh")
    parser.add_argument("--only", nargs=2, metavar=("TOOL", "RINGS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.only[0], int(arguments.only[1]))))
        return
    print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| tool | faces | CPU seconds | Dice | volume |\n| --- | --- | --- | --- | --- |")
    env = {**os.environ, "OMP_NUM_THREADS": "1", "VTK_SMP_MAX_THREADS": "1"}
    for rings in RINGS.values():
        for tool in TOOLS:
            if tool != "osteon" and arguments.peers is None:
                continue
            python = sys.executable if tool == "osteon" else str(arguments.peers / "bin" / "python")
            command = [python, str(Path(__file__).resolve()), "--only", tool, str(rings)]
            with tempfile.TemporaryDirectory() as folder:
                done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
            row = json.loads(done.stdout)
            print(
                f"| {tool} {row['version']} | {row['faces']} | {row['seconds']:.3f} | {row['dice']:.6f} | "
                f"{row['volume']:+.4%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
