"""How far figures of `osteon measure` lie from the truth, and how often their intervals hold it.

    python benchmarks/measures.py accuracy coverage real

accuracy    bodies and leg bones of known figures in 20 random positions (one in three mirrored), in voxels of 0.5, 1
            and 2 mm: mean and largest error of each measure, and how many intervals hold the truth
frames      one body in RAS, LPS, permuted, oblique and left-handed voxels: by how much figures differ
coverage    200 phantoms whose border is displaced as readers may differ (0.25 voxels all over, 0.25 in waves); fewer
            with none and twice of that; the last also with the masks of four members: how many intervals hold the truth
real        femurs, hips and knee of ../shared/data
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import osteon
from measure_bodies import Field, ball, cylinder, draw, ellipsoid_area, grid_around, mirrored, turned
from measure_bones import MadeFemur, MadeTibia
from osteon.core.labels import Segmentation
from osteon.measuring.figure import Figure
from osteon.measuring.intervals import measure_scene
from osteon.measuring.registry import find_measures
from osteon.measuring.scene import make_scene
from osteon.phantoms.shapes import RandomWaves

SHARED = Path(os.environ.get("OSTEON_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@dataclass
class Phantom:
    """Bodies with their truths by structure kind and measure, and a box that holds them."""

    fields: dict[str, Field]
    truth: dict[str, float]
    low: np.ndarray
    high: np.ndarray


def egg(radii: tuple[float, float, float] = (30.0, 15.0, 10.0)) -> Phantom:
    truth = {
        "volume_cm3": 4 / 3 * np.pi * float(np.prod(radii)) / 1000,
        "surface_area_mm2": ellipsoid_area(radii),
        **dict(zip(("length_mm", "width_mm", "depth_mm"), (2 * np.sort(radii)[::-1]).tolist(), strict=True)),
        "longest_diameter_3d_mm": 2 * max(radii),
    }
    truth["sphericity"] = float(np.cbrt(36 * np.pi * (truth["volume_cm3"] * 1000) ** 2) / truth["surface_area_mm2"])
    return Phantom({"tumour": ball((0, 0, 0), radii)}, truth, -np.array(radii), np.array(radii))


def rod(length: float = 60, radius: float = 10) -> Phantom:
    area = 2 * np.pi * radius * (length + radius)
    truth = {
        "volume_cm3": np.pi * radius**2 * length / 1000,
        "surface_area_mm2": area,
        "length_mm": length,
        "longest_diameter_3d_mm": float(np.hypot(length, 2 * radius)),
    }
    reach = np.array([radius, radius, length / 2])
    return Phantom({"lesion": cylinder(length, radius)}, truth, -reach, reach)


def thigh(scale: float, neck_shaft: float, turn: float, tilt: float) -> Phantom:
    bone = MadeFemur(neck_shaft, turn, tilt, scale)
    truth = {
        "femur_length_mm": float(np.linalg.norm(bone.head_centre - bone.knee)),
        "head_diameter_mm": 2 * bone.head_radius,
        "neck_shaft_angle_deg": bone.neck_shaft,
        "femoral_version_deg": bone.version,
        "distal_femoral_angle_deg": bone.distal_angle,
        "axes_angle_deg": float(np.degrees(np.arccos(bone.axis[2]))),
    }
    return Phantom({"femur_right": bone}, truth, *bone.box)


def shin(scale: float, torsion: float, slope: float) -> Phantom:
    bone = MadeTibia(torsion, slope, scale)
    truth = {
        "tibia_length_mm": float(np.linalg.norm(bone.ankle - bone.centre)),
        "tibial_torsion_deg": torsion,
        "proximal_tibial_angle_deg": bone.plateau_angle,
    }
    return Phantom({"tibia_right": bone, "fibula_right": bone.fibula}, truth, *bone.box)


def placed(phantom: Phantom, rotation: np.ndarray, flip: bool) -> Phantom:
    """Turned, and mirrored from right to left."""
    corners = np.array(np.meshgrid(*zip(phantom.low, phantom.high, strict=True))).reshape(3, -1)
    corners = rotation @ corners * ([[-1], [1], [1]] if flip else 1)
    fields = {name: turned(field, rotation) for name, field in phantom.fields.items()}
    if flip:
        fields = {name.replace("right", "left"): mirrored(field) for name, field in fields.items()}
    return Phantom(fields, phantom.truth, corners.min(axis=1), corners.max(axis=1))


def figures(segmentation: Segmentation, **more: object) -> dict[str, Figure]:
    """By name, of the first structure alone; of families that have a truth here."""
    rows = find_measures(["bone", "tumour", "femur", "tibia"])
    found = measure_scene(make_scene("case", segmentation, **more), rows)  # type: ignore[arg-type]
    first = segmentation.structures[0].name
    return {one.name: one for one in found if one.structures[0] == first}


def compare(results: Mapping[str, list[tuple[Figure, float]]], head: str) -> Iterator[str]:
    """A line for each measure: errors, and how many intervals hold the truth."""
    for name, pairs in results.items():
        known = [(one, truth) for one, truth in pairs if one.value is not None]
        errors = np.array([one.value - truth for one, truth in known])
        held = [one.low <= truth <= one.high for one, truth in known if one.low is not None]
        half = np.mean([(one.high - one.low) / 2 for one, _ in known if one.low is not None])
        yield (
            f"| {head} | {name} | {len(known)}/{len(pairs)} | {errors.mean():+.2f} | {np.abs(errors).max():.2f} | "
            f"{half:.2f} | {sum(held)}/{len(held)} |"
        )


def accuracy(positions: int) -> None:
    print("| body | mm | measure | measured | mean error | largest | ± interval | held |\n" + "| --- " * 8 + "|")
    bodies: tuple[tuple[str, Callable[[], Phantom], tuple[float, ...]], ...] = (
        ("ellipsoid 60×30×20 mm", egg, (0.5, 1, 2)),
        ("cylinder 60×20 mm", rod, (0.5, 1, 2)),
        ("femur of 215 mm", lambda: thigh(0.5, 127, 15, 2), (0.5, 1)),
        ("femur of 430 mm", lambda: thigh(1.0, 127, 15, 2), (1, 2)),
        ("tibia of 180 mm", lambda: shin(0.5, 30, -2), (0.5, 1)),
        ("tibia of 360 mm", lambda: shin(1.0, 30, -2), (1, 2)),
    )
    for name, make, spacings in bodies:
        for spacing in spacings:
            results: dict[str, list[tuple[Figure, float]]] = defaultdict(list)
            for seed in range(positions):
                rotation = Rotation.random(random_state=seed).as_matrix() if seed else np.eye(3)
                one = placed(make(), rotation, seed % 3 == 1)
                shift = np.random.default_rng(seed).uniform(-0.5, 0.5, 3) * spacing
                found = figures(draw(one.fields, grid_around(one.low + shift, one.high + shift, spacing)))
                for measure, truth in one.truth.items():
                    results[measure].append((found[measure], truth))
            for line in compare(results, f"{name} | {spacing:g}"):
                print(line, flush=True)


def frames() -> None:
    print("| frame | largest change of any figure, as a part of its interval's half width |\n| --- | --- |")
    oblique = Rotation.from_euler("zyx", [35, 20, 10], degrees=True).as_matrix()
    kinds = {
        "LPS": np.diag([-1, -1, 1]),
        "axes exchanged (SRA)": np.eye(3)[[2, 0, 1]],
        "oblique": oblique,
        "left-handed, oblique": oblique @ np.diag([1, 1, -1]),
    }
    for phantom in (egg(), thigh(0.5, 127, 15, 2)):
        first = figures(draw(phantom.fields, grid_around(phantom.low, phantom.high, 1)))
        for name, directions in kinds.items():
            other = figures(draw(phantom.fields, grid_around(phantom.low, phantom.high, 1, directions)))
            known = [key for key, one in first.items() if one.value is not None and one.low is not None]
            parts = {
                key: 2 * abs(first[key].value - other[key].value) / (first[key].high - first[key].low) for key in known
            }
            worst = max(parts, key=parts.__getitem__)
            print(f"| {next(iter(phantom.fields))}, {name} | {parts[worst]:.2f} ({worst}) |", flush=True)


def displaced(fields: Mapping[str, Field], rng: np.random.Generator, by_mm: float) -> dict[str, Field]:
    """Bodies whose border lies elsewhere: by a length that is the same all over, and by waves, each of that SD."""

    def move(field: Field) -> Field:
        wave = RandomWaves.draw(rng, wavelengths_mm=np.exp(rng.uniform(np.log(12), np.log(80), 6)), sd=by_mm)
        common = np.float32(rng.normal(0, by_mm))
        return lambda points: field(points) + common + wave(points)

    return {name: move(field) for name, field in fields.items()} if by_mm else dict(fields)


def coverage(count: int) -> None:
    print("| border | phantoms | figures | held | least, of a measure |\n| --- | --- | --- | --- | --- |")
    for part, members, number in ((1.0, 0, count), (0.0, 0, count // 8), (2.0, 0, count // 8), (2.0, 4, count // 8)):
        held: dict[str, list[bool]] = defaultdict(list)
        for seed in range(number):
            rng = np.random.default_rng((7, seed))
            kind = seed % 5
            spacing = np.exp(rng.uniform(np.log(0.8), np.log(2.0)))
            if kind < 2:
                phantom = egg(tuple(rng.uniform(8, 30, 3)))
            elif kind == 2:
                phantom = rod(rng.uniform(30, 70), rng.uniform(6, 12))
            elif kind == 3:
                phantom = thigh(0.5, rng.uniform(115, 140), rng.uniform(-10, 40), rng.uniform(-2, 4))
            else:
                phantom = shin(0.5, rng.uniform(0, 50), rng.uniform(-3, 3))
            one = placed(phantom, Rotation.random(random_state=seed).as_matrix(), seed % 2 == 1)
            shift = rng.uniform(-0.5, 0.5, 3) * spacing
            grid = grid_around(one.low + shift, one.high + shift, spacing)
            by_mm = 0.25 * part * float(spacing)
            drawn = [draw(displaced(one.fields, rng, by_mm), grid) for _ in range(members + 1)]
            found = figures(drawn[0], members=drawn[1:]) if members else figures(drawn[0])
            for name, truth in one.truth.items():
                figure = found[name]
                if figure.low is not None and figure.high is not None:
                    held[name].append(figure.low <= truth <= figure.high)
        every = [one for values in held.values() for one in values]
        worst = min(held, key=lambda name: np.mean(held[name]))
        told = f"{part:g} × 0.25 voxels" + (f", {members} members" if members else "")
        least = f"{np.mean(held[worst]):.0%} ({worst}, of {len(held[worst])})"
        print(f"| {told} | {number} | {len(every)} | {np.mean(every):.1%} | {least} |", flush=True)
        rates = ", ".join(f"{name} {np.mean(values):.0%}" for name, values in held.items())
        print(f"  {rates}", file=sys.stderr)


def real() -> None:
    folder = SHARED / "totalsegmentator-example"
    table = json.loads((folder / "labels.json").read_text())["ct_classes"]
    labels = {name: int(value) for value, name in table.items()}
    wanted = [name for name in labels if name.split("_")[0] in ("femur", "hip", "sacrum", "humerus")]
    knee = SHARED / "knee-mr/label-only/dess_right_bones_cart_men_fib-label.nrrd"
    bones = {"femur_right": 5, "tibia_right": 6, "patella_right": 7, "fibula_right": 8}
    other = {f"other_{value}": value for value in (1, 2, 3, 4, 9, 10)}
    sources = (
        (folder / "ct/example_ct_seg.nii.gz", labels, wanted),
        (folder / "ct_dicom_seg/example_ct_dicom_seg.nii.gz", labels, wanted),
        (knee, bones | other, list(bones)),
    )
    print("| file | structure | measure | value | 95 % | flags, or why not |\n| --- | --- | --- | --- | --- | --- |")
    for file, names, structures in sources:
        with tempfile.TemporaryDirectory() as out:
            report = osteon.measure(file, out, labels=names, structures=structures)
        for one in report.figures:
            if one.value is None or one.low is None:
                continue
            told = "; ".join(one.flags)
            print(
                f"| {file.name} | {one.about} | {one.name} | {one.value:.4g} | {one.low:.4g}–{one.high:.4g} | {told} |"
            )
        reasons: dict[str, list[str]] = defaultdict(list)
        for one in report.figures:
            if one.not_measured and not one.not_measured.startswith("it is unknown"):
                reasons[one.not_measured].append(one.name)
        for why, what in reasons.items():
            print(f"| {file.name} | – | {', '.join(dict.fromkeys(what))} | – | – | {why} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=["accuracy", "frames", "coverage", "real"])
    parser.add_argument("--positions", type=int, default=20, help="of each body, for accuracy")
    parser.add_argument("--phantoms", type=int, default=200, help="for coverage")
    given = parser.parse_args()
    for part in given.parts:
        print(f"\n### {part}\n", flush=True)
        {
            "accuracy": lambda: accuracy(given.positions),
            "frames": frames,
            "coverage": lambda: coverage(given.phantoms),
            "real": real,
        }[part]()


if __name__ == "__main__":
    main()
