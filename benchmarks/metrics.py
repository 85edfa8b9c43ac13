"""Do osteon's figures agree with others' on real label pairs, how fast are they, and does memory stay the same?

    python benchmarks/metrics.py --data ../shared/data agree
    python benchmarks/metrics.py --data ../shared/data speed
    python benchmarks/metrics.py scale --cases 50 500

`agree` and `speed` compare with monai, surface-distance (DeepMind's) and nnunetv2, as far as the environment has them.
A pair is a real label map and the same one changed: shifted, grown, shrunk, or another case's. In `agree` four pairs of
eight are taken for scans with voxels of 0.7×0.7×2 mm. Everything runs on one thread; seconds are the processor's, which
other work on the same core changes little.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from metric_peers import TOLERANCES, Figures, by_monai, by_nnunet, by_surface_distance
from scipy import ndimage

from osteon.core.geometry import Geometry
from osteon.core.labels import Structure, make_structures
from osteon.core.volume import Volume
from osteon.dataset.manifest import Case, Channel, Manifest, write_manifest
from osteon.evaluating.evaluate import score_pair
from osteon.evaluating.metrics import score_to_row
from osteon.evaluating.pairing import match_predictions
from osteon.evaluating.scores import MetricOptions, score_case
from osteon.formats import read_segmentation, write_volume

SOURCES = {"hippocampus": ("msd-hippocampus/labelsTr/*.nii.gz", 30), "lumbar": ("spine-mr-lumbar/*_label.nrrd", 20)}
FIGURES = ("dice", "iou", "precision", "recall", "hd_mm", "hd95_mm", "assd_mm", "nsd_1mm", "nsd_2mm")
CASES = 10
Pair = tuple[np.ndarray, np.ndarray, Geometry, tuple[Structure, ...]]


def pairs_of(data: Path, source: str, count: int) -> Iterator[Pair]:
    """Prediction, reference, grid and structures; how the prediction differs follows from its number."""
    paths = sorted(data.glob(SOURCES[source][0]))
    for number, path in enumerate(paths[:count]):
        truth = read_segmentation(path)
        other = read_segmentation(paths[(number + 1) % len(paths)]).array
        yield changed(truth.array, other, number), truth.array, truth.geometry, truth.structures


def changed(labels: np.ndarray, other: np.ndarray, number: int) -> np.ndarray:
    """Shifted by one to three voxels, grown by one, shrunk by one, or the labels of another case at the same place."""
    match number % 4:
        case 0:
            return np.roll(labels, 1 + number // 4 % 3, number // 4 % 3)
        case 1:
            return np.where(labels > 0, labels, ndimage.grey_dilation(labels, (3, 3, 3)))
        case 2:
            inside = [ndimage.binary_erosion(labels == value) for value in np.unique(labels) if value]
            return np.where(np.any(inside, axis=0), labels, 0)
        case _:
            moved = np.zeros_like(labels)
            size = tuple(slice(0, min(a, b)) for a, b in zip(labels.shape, other.shape, strict=True))
            moved[size] = other[size]
            return moved


def by_osteon(found: np.ndarray, truth: np.ndarray, geometry: Geometry, structures: Any, **more: Any) -> list[Figures]:
    measures = MetricOptions(tolerances=TOLERANCES, **more)
    scores = [score_to_row(s) for s in score_case("a", found, truth, geometry, structures, measures=measures)]
    return [{name: float(s[name]) for name in FIGURES if s.get(name) is not None} for s in scores]  # type: ignore[arg-type]


PEERS: dict[str, tuple[str, Callable[..., list[Figures]]]] = {
    "surface-distance": ("surface_distance", by_surface_distance),
    "MONAI": ("monai", by_monai),
    "MONAI, voxels": ("monai", partial(by_monai, subvoxels=False)),
}


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def agree(data: Path) -> None:
    """Fifty pairs; how far every figure of every structure lies from a peer's."""
    pairs = []
    for source, (_, count) in SOURCES.items():
        for number, (found, truth, geometry, structures) in enumerate(pairs_of(data, source, count)):
            flat_voxels = Geometry(geometry.shape, np.diag([0.7, 0.7, 2.0, 1.0]))
            pairs.append((found, truth, flat_voxels if number % 8 >= 4 else geometry, structures))
    own = [row for pair in pairs for row in by_osteon(*pair)]
    print(f"{len(pairs)} pairs, {len(own)} structures\n")
    print("| peer | figure | compared | the same to 1e-6 | median difference | greatest | mean: osteon | mean: peer |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for peer, (module, measure) in PEERS.items():
        if not installed(module):
            print(f"| {peer} | not installed | | | | | | |")
            continue
        measured = [row for pair in pairs for row in measure(*pair)]
        for name in FIGURES:
            both = [(a[name], b[name]) for a, b in zip(own, measured, strict=True) if name in a and name in b]
            values = np.array([pair for pair in both if np.isfinite(pair).all()])
            if not len(values) or (peer == "MONAI, voxels" and not name.startswith("nsd")):
                continue
            away = np.abs(values[:, 0] - values[:, 1])
            means = " | ".join(f"{mean:.4f}" for mean in values.mean(0))
            print(
                f"| {peer} | {name} | {len(values)} | {np.mean(away < 1e-6):.0%} | {np.median(away):.2g} "
                f"| {away.max():.2g} | {means} |"
            )


def speed(data: Path) -> None:
    """Ten lumbar cases: arrays to figures, files to figures, and the whole command."""
    pairs = list(pairs_of(data, "lumbar", CASES))
    with tempfile.TemporaryDirectory() as folder:
        dataset, predictions = write_cohort(Path(folder), pairs)
        ready = match_predictions(predictions, dataset)
        names = [(dataset / "labels" / f"{p.case}.nrrd", p.prediction) for p in ready.pairs]
        files = {
            "osteon": lambda: [score_pair(pair, ready.structures) for pair in ready.pairs],
            "osteon, overlap only": lambda: [
                score_pair(pair, ready.structures, MetricOptions(surfaces=False)) for pair in ready.pairs
            ],
        }
        arrays: dict[str, Callable[[], object]] = {
            "osteon": lambda: [by_osteon(*pair) for pair in pairs],
            "osteon, overlap only": lambda: [by_osteon(*pair, surfaces=False) for pair in pairs],
        }
        commands = {
            "osteon": [sys.executable, "-m", "osteon.cli", "evaluate", predictions, dataset],
            "osteon, overlap only": [
                *(sys.executable, "-m", "osteon.cli", "evaluate", predictions, dataset, "--overlap-only")
            ],
        }
        if installed("surface_distance"):
            arrays["surface-distance"] = lambda: [by_surface_distance(*pair) for pair in pairs]
        if installed("monai"):
            arrays["MONAI"] = lambda: [by_monai(*pair) for pair in pairs]
        if installed("nnunetv2"):
            values = [str(s.value) for s in pairs[0][3]]
            files["nnU-Net"] = lambda: by_nnunet(names, [int(value) for value in values])
            arrays["nnU-Net"] = lambda: by_nnunet(names, [int(value) for value in values], arrays=True)
            program = Path(sys.executable).with_name("nnUNetv2_evaluate_simple")
            where = dataset / "labels", predictions, "-np", "1", "-o", Path(folder) / "summary.json"
            commands["nnU-Net"] = [program, *where, "-l", *values]
        what = {
            "osteon": "Dice, IoU, precision, recall, volumes, HD, HD95, ASSD, NSD at 1 and 2 mm, pieces, levels",
            "osteon, overlap only": "Dice, IoU, precision, recall, volumes",
            "surface-distance": "Dice, HD, HD95, ASSD, NSD at 1 and 2 mm",
            "MONAI": "Dice, IoU, precision, recall, HD, HD95, ASSD, NSD at 1 and 2 mm",
            "nnU-Net": "Dice, IoU, TP, FP, FN, TN",
        }
        print("| tool | computes | arrays: ms a case | files: ms a case | command: s |")
        print("| --- | --- | --- | --- | --- |")
        for tool in what:
            if tool in arrays:
                in_memory, read = (timed(part.get(tool)) for part in (arrays, files))
                whole = f"{run(commands[tool])[0]:.1f}" if tool in commands else "–"
                print(f"| {tool} | {what[tool]} | {in_memory} | {read} | {whole} |", flush=True)


def timed(work: Callable[[], object] | None) -> str:
    """Milliseconds of the processor a case, the best of five."""
    if work is None:
        return "–"
    best = np.inf
    for _ in range(5):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return f"{1000 * best / CASES:.0f}"


def write_cohort(folder: Path, pairs: list[Pair]) -> tuple[Path, Path]:
    """The pairs as a dataset, whose images are the labels themselves, and a folder of predictions."""
    for number, (found, truth, geometry, _) in enumerate(pairs):
        write_volume(folder / f"dataset/labels/case_{number}.nrrd", Volume(truth[None], geometry))
        write_volume(folder / f"predictions/case_{number}.nrrd", Volume(found[None], geometry))
    write_dataset(folder / "dataset", pairs[0][3], [f"labels/case_{n}.nrrd" for n in range(len(pairs))])
    return folder / "dataset", folder / "predictions"


def write_dataset(folder: Path, structures: Any, labels: list[str]) -> None:
    channels = [Channel(name="ct", modality="ct")]
    cases = [Case(id=Path(label).name.partition(".")[0], images=[label], segmentation=label) for label in labels]
    write_manifest(folder, Manifest(name="made up", channels=channels, structures=list(structures), cases=cases))


def scale(cases: list[int]) -> None:
    """Made-up cases of 29 ellipsoids, some shifted, some lost: one process, `osteon evaluate` from start to end."""
    print("| cases | structures | voxels | seconds | ms a case | peak MB | rows |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    grid = Geometry((128, 112, 64), np.diag([0.8, 0.8, 1.5, 1.0]))
    structures = make_structures([f"bone_{n}" for n in range(29)])
    with tempfile.TemporaryDirectory() as name:
        for count in cases:
            folder = Path(name) / str(count)
            for number in range(count):
                for side in ("labels", "predictions"):
                    labels = made_up(grid, number, moved=side == "predictions")
                    write_volume(folder / f"{side}/case_{number:04d}.nii.gz", Volume(labels[None], grid))
            write_dataset(folder, structures, [f"labels/case_{n:04d}.nii.gz" for n in range(count)])
            command = [sys.executable, "-m", "osteon.cli", "evaluate", folder / "predictions", folder, "--workers", "1"]
            seconds, peak = run(command)
            rows = len((folder / "predictions/metrics.csv").read_text().splitlines()) - 1
            each = 1000 * seconds / count
            print(
                f"| {count} | 29 | {np.prod(grid.shape)} | {seconds:.1f} | {each:.0f} | {peak:.0f} | {rows} |",
                flush=True,
            )


def made_up(grid: Geometry, number: int, *, moved: bool) -> np.ndarray:
    """29 ellipsoids; moved by up to two voxels, every fiftieth lost."""
    draw = np.random.default_rng(number)
    labels = np.zeros(grid.shape, np.uint8)
    for value in range(1, 30):
        radii, centre = draw.uniform(6, 12, 3), draw.uniform(12, np.array(grid.shape) - 12)
        shift, lost = draw.integers(-2, 3, 3), draw.random() < 0.02
        if moved and lost:
            continue
        place = centre + (shift if moved else 0)
        box = tuple(slice(max(0, int(c - 13)), int(c + 14)) for c in place)
        axes = np.ogrid[box]
        inside = sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, place, radii, strict=True)) < 1
        inside = inside[tuple(slice(0, n) for n in labels[box].shape)]
        labels[box][inside] = value
    return labels


def run(command: list[Any]) -> tuple[float, float]:
    """Seconds of the processor and peak memory in MB of a command and the processes it starts."""
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = process.stdout.read() if process.stdout else b""
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(output.decode())
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=["agree", "speed", "scale"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cases", type=int, nargs="+", default=[50, 500])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if installed("torch"):
        import torch

        torch.set_num_threads(1)
    for part in arguments.what:
        scale(arguments.cases) if part == "scale" else {"agree": agree, "speed": speed}[part](arguments.data)
        print()


if __name__ == "__main__":
    main()
