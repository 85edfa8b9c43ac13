"""How far the places of a broken bone's pieces lie from the truth, and how often intervals hold it.

    python benchmarks/measure_fractures.py sweep real --moves 20

sweep   a made-up femur whose upper part has moved by up to 15 mm and 25°, in voxels of 0.5, 1 and 2 mm, against the
        other side and against a template that is 10 % larger
real    humerus and femur of ../shared/data/bone-stl broken virtually in voxels of 1 mm: against the mirrored bone, and
        against a model of eight bones that are deformed at random (length, thickness, bend, torsion, dents), the broken
        one being a ninth

Errors are those of the reduction: millimetres at the piece's centre, and degrees.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from measure_bodies import draw, grid_around
from measure_fractures import Move, broken_femur, errors_of, femur, halves, other_side
from osteon.core.labels import Segmentation, Structure
from osteon.formats.stl import read_stl
from osteon.importing.meshes.voxelisation import voxelise
from osteon.measuring.broken_bones import broken_bones
from osteon.measuring.figure import Figure
from osteon.measuring.intervals import measure_scene
from osteon.measuring.placement import placed
from osteon.measuring.registration import spread_points
from osteon.measuring.registration_pairs import Cloud
from osteon.measuring.registry import find_measures
from osteon.measuring.scene import make_scene
from osteon.measuring.shape_model import POINTS, ShapeModel, make_model
from osteon.measuring.surface import surface_of
from osteon.phantoms.shapes import RandomWaves

SHARED = Path(os.environ.get("OSTEON_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
REAL = {"humerus": "bone-stl/ct-humerus/humerus_left.stl", "femur": "bone-stl/femur-morph/femur.stl"}
Floats = npt.NDArray[np.float64]


def draw_move(rng: np.random.Generator, pivot: npt.ArrayLike) -> Move:
    way, turn = rng.normal(size=3), rng.normal(size=3)
    shift = rng.uniform(2, 15) * way / np.linalg.norm(way)
    rotation = Rotation.from_rotvec(np.radians(rng.uniform(2, 25)) * turn / np.linalg.norm(turn))
    return Move(rotation.as_euler("xyz", degrees=True), shift, np.asarray(pivot))


def model_of(name: str, clouds: list[Cloud]) -> ShapeModel:
    return make_model(Structure(name=name, value=1, colour="#cccccc"), clouds)


def judge(segmentation: Segmentation, move: Move, **more: object) -> tuple[float, float, int, int, float]:
    """Errors in mm and degrees, figures whose interval holds the truth, figures, and seconds of the processor."""
    begun = time.process_time()
    scene = make_scene("case", segmentation, **more)  # type: ignore[arg-type]
    found = {figure.measure: figure for figure in measure_scene(scene, find_measures(["displacement", *TRUTHS]))}
    seconds = time.process_time() - begun
    bone = broken_bones(scene)[0]
    assert bone.intact is not None
    main, piece = bone.pieces  # the larger one stays: seen from the upper part, the lower has moved the other way
    moved = move.matrix if main.name == "bone_right 1" else np.linalg.inv(move.matrix)
    one = placed(piece, main, bone.intact)
    home = (np.linalg.inv(moved) @ [*one.centre, 1])[:3]
    way, turn = one.centre - home, np.degrees(Rotation.from_matrix(moved[:3, :3]).as_rotvec())
    truth = dict(zip(TRUTHS, (*way, -turn[0], turn[1], -turn[2]), strict=True))
    return (*errors_of(one.reduction, moved, one.centre), _held(found, truth), len(truth), seconds)


TRUTHS = (
    "displacement_lateral",
    "displacement_anterior",
    "displacement_superior",
    "rotation_sagittal",
    "rotation_coronal",
    "rotation_axial",
)


def _held(found: dict[str, Figure], truth: dict[str, float]) -> int:
    return sum((found[name].low or 0) <= value <= (found[name].high or 0) for name, value in truth.items())


def sweep(moves: int) -> None:
    larger = draw(
        {"bone_right": lambda p: femur(p / np.float32(1.1)) * 1.1}, grid_around([-60, -60, -110], [60, 60, 125], 1.5)
    )
    template = make_scene("template", larger).bodies["bone_right"].surface
    chosen = spread_points(template, POINTS)
    templates = [model_of("bone_right", [Cloud(template.points[chosen], template.normals[chosen])])]
    print(
        "| voxels | compared with | moves | mm, mean | largest | °, mean | largest | intervals that hold | s a case |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for spacing in (2.0, 1.0, 0.5):
        for what in ("other side", "template"):
            rows = []
            for number in range(moves):
                rng = np.random.default_rng((7, number))
                lower, upper = halves(height=rng.uniform(0, 25), normal=(*rng.normal(0, 0.3, 2), 1))
                move = draw_move(rng, (-5, 0, 60))
                fields = {"bone_right": (lower, move.apply(upper))}
                if what == "other side":
                    rows.append(judge(broken_femur(fields | {"bone_left": (other_side(),)}, spacing=spacing), move))
                else:
                    alone = ((-55.0, -55.0, -100.0), (55.0, 55.0, 118.0))
                    rows.append(judge(broken_femur(fields, spacing=spacing, space=alone), move, templates=templates))
            report(f"{spacing:g} mm | {what}", rows)


def report(what: str, rows: list[tuple[float, float, int, int, float]]) -> None:
    away, turned, held, all_of, seconds = np.array(rows).T
    print(
        f"| {what} | {len(rows)} | {away.mean():.2f} | {away.max():.2f} | {turned.mean():.2f} | {turned.max():.2f} "
        f"| {held.sum() / all_of.sum():.0%} | {seconds.mean():.1f} |",
        flush=True,
    )


def deform(points: Floats, rng: np.random.Generator) -> Floats:
    """A bone along z, centred: longer, thicker, bent, twisted and dented at random."""
    height = np.ptp(points[:, 2])
    moved = points * (1 + rng.normal(0, [0.04, 0.04, 0.05]))
    part = moved[:, 2] / height
    twist = np.radians(rng.normal(0, 6)) * part
    cos, sin = np.cos(twist), np.sin(twist)
    x, y = cos * moved[:, 0] - sin * moved[:, 1], sin * moved[:, 0] + cos * moved[:, 1]
    bend = rng.normal(0, 0.012, 2) * height
    moved = np.stack([x + bend[0] * part**2, y + bend[1] * part**2, moved[:, 2]], axis=1)
    dents = [RandomWaves.draw(rng, wavelengths_mm=[90, 60, 45], sd=0.4) for _ in range(3)]
    return moved + np.stack([wave(moved.T.astype(np.float32)) for wave in dents], axis=1)


def break_mesh(
    points: Floats, cells: npt.NDArray[np.int64], move: Move, height: float, other: Floats | None
) -> Segmentation:
    """The bone in two pieces, and the other side beside it, in voxels of 1 mm."""
    both = [points, points @ move.matrix[:3, :3].T + move.matrix[:3, 3], *([] if other is None else [other])]
    grid = grid_around(np.concatenate(both).min(axis=0), np.concatenate(both).max(axis=0), 1.0)
    labels = np.zeros(grid.shape, np.uint8)
    for value, (corners, back) in enumerate(zip(both, (np.eye(4), np.linalg.inv(move.matrix), None), strict=False), 1):
        found = voxelise(corners[cells], grid)
        index = np.argwhere(found.mask) + [one.start for one in found.box]
        if back is not None:
            home = grid.to_world(index) @ back[:3, :3].T + back[:3, 3]
            above = home[:, 2] + 0.2 * home[:, 0] + np.sin(home[:, 0] / 3) > height
            index = index[above == (value == 2)]
        labels[tuple(index.T)] = value
    bone = Structure(name="bone_right", value=1, colour="#46a758", instances=True, last_value=2)
    side = Structure(name="bone_left", value=3, colour="#3e7bfa")
    return Segmentation(labels, grid, (bone,) if other is None else (bone, side))


def real_cases(path: str, moves: int) -> Iterator[tuple[str, Callable[[], list[tuple[float, float, int, int, float]]]]]:
    mesh = read_stl(SHARED / path)
    points, cells = np.unique(mesh.triangles.reshape(-1, 3), axis=0, return_inverse=True)
    cells = cells.reshape(-1, 3)
    axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][[1, 2, 0]]
    axes[1] *= np.linalg.det(axes)
    points = (points - points.mean(axis=0)) @ axes.T

    def mirrored_side() -> list[tuple[float, float, int, int, float]]:
        rows = []
        for number in range(moves):
            rng = np.random.default_rng((11, number))
            turn = Rotation.from_euler("xyz", rng.uniform(-15, 15, 3), degrees=True).as_matrix()
            beside = (points * [-1, 1, 1]) @ turn.T + [-190, 5, 3]
            move = draw_move(rng, (0, 0, 60))
            rows.append(judge(break_mesh(points, cells, move, rng.uniform(-20, 60), beside), move))
        return rows

    def shape_model() -> list[tuple[float, float, int, int, float]]:
        rng = np.random.default_rng(5)
        clouds = []
        for _ in range(8):
            surface = surface_of(deform(points, rng), cells)
            chosen = spread_points(surface, POINTS)
            clouds.append(Cloud(surface.points[chosen], surface.normals[chosen]))
        model, rows = model_of("bone_right", clouds), []
        for number in range(moves):
            rng = np.random.default_rng((13, number))
            move = draw_move(rng, (0, 0, 60))
            segmentation = break_mesh(deform(points, rng), cells, move, rng.uniform(-20, 60), None)
            rows.append(judge(segmentation, move, templates=[model]))
        return rows

    yield "mirrored", mirrored_side
    yield "model of 8", shape_model


def real(moves: int) -> None:
    print("| bone | compared with | moves | mm, mean | largest | °, mean | largest | intervals that hold | s a case |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for bone, path in REAL.items():
        for what, rows in real_cases(path, moves):
            report(f"{bone} | {what}", rows())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=("sweep", "real"))
    parser.add_argument("--moves", type=int, default=20)
    given = parser.parse_args()
    for what in dict.fromkeys(given.what):
        {"sweep": sweep, "real": real}[what](given.moves)


if __name__ == "__main__":
    main()
