"""How long `osteon measure` takes for a scan of 256³ voxels of 1 mm with ten structures, family by family.

    python benchmarks/measure_speed.py [legs spine bodies density tumours fractures]

Seconds are the processor's, of one core, for all rows of the families that are named; nothing is read or written.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import osteon
from measure_bodies import Field, ball, draw, mirrored, turned
from measure_bones import MadeFemur, MadeTibia
from measure_fractures import femur
from measure_spines import Part, build
from osteon.core.geometry import Geometry
from osteon.measuring.intervals import measure_scene
from osteon.measuring.registry import find_measures
from osteon.measuring.scene import make_scene

GRID = Geometry((256, 256, 256), np.array([[1, 0, 0, -128], [0, 1, 0, -128], [0, 0, 1, -128], [0, 0, 0, 1.0]]))
LEVELS = ("T8", "T9", "T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5")
Fields = dict[str, Field]


@dataclass(frozen=True)
class Kind:
    """What a scan holds, and which families are measured of it; None: all."""

    fields: Callable[[], Fields]
    families: tuple[str, ...] | None


def legs() -> Fields:
    """Both legs of a child and four round bones."""
    fields: Fields = {}
    for side, x, flip in (("right", 60, False), ("left", -60, True)):
        shin = MadeTibia(scale=0.3, shift=(0, 0, -14))
        for name, field in {"femur": MadeFemur(scale=0.48), "tibia": shin, "fibula": shin.fibula}.items():
            own = mirrored(field) if flip else field
            fields[f"{name}_{side}"] = turned(own, np.eye(3), (x, 0, -5))
    return fields | {f"vertebra {n}": ball((-90 + 60 * n, 70, -60), (22, 18, 16)) for n in range(4)}


def spine(arch: bool) -> Fields:
    """Ten vertebrae, whole or their bodies alone."""
    made = build([Part(name, height=18, half_depth=13, half_width=18, disc=5, arch=arch) for name in LEVELS])
    middle = -np.mean([centre for centre, _ in made.places], axis=0)
    return {name: turned(field, np.eye(3), middle) for name, field in made.fields().items()}


def eggs(name: str, radii: tuple[float, float, float]) -> Fields:
    """Ten ellipsoids."""
    return {f"{name} {n}": ball((-90 + 45 * (n % 5), -60 + 120 * (n // 5), 0), radii) for n in range(10)}


def broken(count: int) -> Fields:
    """A femur in pieces of one height, and the other side."""

    def piece(low: float, high: float) -> Field:
        return lambda p: np.maximum(femur(p), np.maximum(low - p[2], p[2] - high))

    heights = np.linspace(-97, 97, count + 1)
    fields = {
        f"femur_right_fragment_{n + 1}": turned(piece(*heights[n : n + 2]), np.eye(3), (60, 0, -5))
        for n in range(count)
    }
    return fields | {"femur_left": turned(mirrored(femur), np.eye(3), (-60, 0, -5))}


KINDS = {
    "legs": Kind(legs, None),
    "spine": Kind(lambda: spine(True), ("spine",)),
    "bodies": Kind(lambda: spine(False), ("spine",)),
    "density": Kind(lambda: eggs("bone", (20, 40, 100)), ("density",)),
    "tumours": Kind(lambda: eggs("tumour", (20, 40, 60)), ("tumour",)),
    "fractures": Kind(lambda: broken(8), ("fractures",)),
    "fractures of four": Kind(lambda: broken(4), ("fractures",)),
}


def measure_kind(name: str) -> str:
    """A row of the table."""
    kind = KINDS[name]
    segmentation = draw(kind.fields(), GRID)
    noise = np.random.default_rng(0).normal(150, 40, (1, *GRID.shape)).astype(np.float32)
    bone = segmentation.array > 0
    noise[0] += 900 * (bone & ~ndimage.binary_erosion(bone, iterations=3))
    image, rows = osteon.Volume(noise, GRID), find_measures(kind.families)
    begun = time.process_time()
    scene = make_scene("case", segmentation, image=image, modality="ct")
    made = time.process_time()
    found = measure_scene(scene, rows)
    done = time.process_time()
    known = sum(one.value is not None for one in found)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cells = (f"{made - begun:.2f}", f"{done - made:.2f}", f"{done - begun:.2f}", f"{peak:.0f}")
    return f"| {name} | {len(scene.bodies)} | {known} of {len(found)} | {' | '.join(cells)} |"


def main() -> None:
    """Print a table; each kind in a process of its own, whose peak of memory it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], help="all when left out")
    print("| scan | structures | figures | scene, s | figures, s | CPU s a case | peak MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for row in pool.imap(measure_kind, parser.parse_args().kinds or list(KINDS)):
            print(row, flush=True)


if __name__ == "__main__":
    main()
