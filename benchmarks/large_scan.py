"""A 512×512×400 scan with 25 structures and a model of 1.5 mm: memory and time, and how the labels come back.

    python benchmarks/large_scan.py
    python benchmarks/large_scan.py --shape 128 128 100

The scan shows 25 ellipsoids that differ in brightness. The network does a U-Net's work (96³ patches), and its answer is
the nearest brightness, so that nothing need be trained and the result looks like one. Each in a process of its own
whose memory is sampled ten times a second:

- the prediction, from the start of Python to the written file;
- the way back alone, twice, from the same probabilities: osteon's, and each class resized by scipy's linear zoom onto
  the scan's grid and then the argmax, as tools that resample all logits do.

The figure of memory over time goes to `--figure`.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import psutil
import torch
from scipy import ndimage

from osteon.core.geometry import Geometry
from osteon.core.quantities import parse_bytes
from osteon.core.volume import Volume
from osteon.formats import read_geometry, read_segmentation, read_volume, write_volume
from osteon.networks.registry import build_network
from osteon.plan.schema import parse_plan
from osteon.predicting.engines import find_engine
from osteon.predicting.model import Model
from osteon.predicting.predictor import predict
from osteon.predicting.probabilities import Probabilities
from osteon.predicting.restore import restore
from osteon.predicting.scans import find_scans
from osteon.predicting.stages import PredictOptions

STRUCTURES = 25
STEP = 60.0
"""Between the brightnesses of two structures."""
SPACING_MM = (0.75, 0.75, 0.75)


def scene(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], seed: int, structures: int = STRUCTURES
) -> Volume:
    """Ellipsoids of 25 (or so many) brightnesses in a dark, noisy room."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, dtype=np.uint8)
    rows = math.ceil(math.sqrt(structures))
    for number in range(structures):
        place = (number % rows, number // rows)
        centre = [n * (0.5 + p) / rows for n, p in zip(shape[:2], place, strict=True)] + [
            shape[2] * (0.3 + 0.4 * rng.random())
        ]
        radii = [n * 0.35 / rows * (0.8 + 0.4 * rng.random()) for n in shape[:2]] + [shape[2] * 0.2]
        low = [max(0, int(c - r)) for c, r in zip(centre, radii, strict=True)]
        high = [min(n, int(c + r) + 2) for c, r, n in zip(centre, radii, shape, strict=True)]
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        grid = np.ogrid[box]
        inside = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) <= 1
        labels[box][inside] = number + 1
    image = labels.astype(np.float32)
    image *= STEP
    image += rng.normal(0, STEP / 8, shape).astype(np.float32)
    geometry = Geometry(shape, np.diag([*spacing, 1.0]))
    return Volume(image[None].astype(np.int16), geometry)


class Coded(torch.nn.Module):
    """A U-Net's work, and an answer that is right: the structure whose brightness is the nearest."""

    def __init__(self, network: torch.nn.Module, structures: int) -> None:
        super().__init__()
        self.network = network
        self.levels = torch.nn.Parameter(torch.arange(structures + 1.0)[None, :, None, None, None])

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Logits `[batch, output, i, j, k]`."""
        return [0.001 * self.network(image)[0] - 5 * (image - self.levels) ** 2]


def made_model(structures: int = STRUCTURES, features: Sequence[int] = (32, 64, 128, 160, 160)) -> Model:
    """A model of 25 structures on a grid of 1.5 mm with a U-Net of 5.6 million weights."""
    strides = [[1, 1, 1]] + [[2, 2, 2]] * (len(features) - 1)
    names = [{"name": f"s{n}", "value": n, "colour": "#ff0000"} for n in range(1, structures + 1)]
    data = {
        "dataset": "made up",
        "channels": [{"name": "image", "modality": "other"}],
        "structures": names,
        "overlapping": False,
        "grid": {"dimensions": 3, "spacing_mm": [1.5, 1.5, 1.5]},
        "intensities": [{"channel": "image", "mean": 0.0, "std": STEP}],
        "patch": {"size": [96, 96, 96], "batch": 1},
        "network": {"features": [*features], "strides": strides, "kernels": [[3, 3, 3]] * len(features)},
        "training": {
            "recipe": "osteon",
            "optimiser": "adamw",
            "learning_rate": 0.001,
            "weight_decay": 0.0,
            "schedule": "cosine",
            "clip_gradient": 1.0,
            "foreground_share": 0.5,
            "epoch_iterations": 1,
            "epochs": 1,
        },
        "augmentation": {"affine_p": 0.0, "rotate_degrees": [0.0, 0.0, 0.0], "scale": [1.0, 1.0]},
    }
    plan = parse_plan(data, Path("plan.yaml"))
    torch.manual_seed(0)
    return Model(Coded(build_network(plan), structures).eval(), plan, {}, "made up")


def child_predict(scan: Path, out: Path, memory: str, engine: str) -> None:
    """From file to file, as `osteon predict` does."""
    model = made_model().with_engine(find_engine(engine))
    report = predict(model, find_scans([scan]), out, PredictOptions(overwrite=True, memory=parse_bytes(memory)))
    print(json.dumps({"seconds": 0.0, "failed": {k: str(v) for k, v in report.failed.items()}}))


def sampled(command: list[str], log: Path) -> tuple[float, list[tuple[float, float]]]:
    """Seconds, and (second, MB of the process and its children) ten times a second."""
    began, found = time.perf_counter(), []
    with log.open("w") as stream:
        process = psutil.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        while process.poll() is None:
            total = 0
            for one in [process, *process.children(recursive=True)]:
                try:
                    total += one.memory_info().rss
                except psutil.Error:
                    continue
            found.append((time.perf_counter() - began, total / 1e6))
            time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed; see {log}")
    return time.perf_counter() - began, found


def child_shares(scan: Path, to: Path, engine: str) -> None:
    """Probabilities on the model's grid, kept."""
    model = made_model().with_engine(find_engine(engine))
    probabilities = model.infer(model.prepare(read_volume(scan)))
    np.save(to, probabilities.values.float().numpy())


def child_restore(scan: Path, kept: Path, to: Path) -> None:
    """Osteon's way back."""
    plan, geometry = made_model().plan, read_geometry(scan)
    probabilities = Probabilities.from_tensor(torch.from_numpy(np.load(kept)).half(), plan)
    began = time.perf_counter()
    found = restore(probabilities, geometry, plan)
    print(json.dumps({"seconds": time.perf_counter() - began}))
    np.save(to, found.array)


def child_scipy(kept: Path, shape: tuple[int, ...], to: Path) -> None:
    """All classes resized, then the argmax."""
    probabilities = np.load(kept).astype(np.float16).astype(np.float32)
    began = time.perf_counter()
    whole = np.empty((len(probabilities), *shape), np.float32)
    for number, share in enumerate(probabilities):
        factors = [a / b for a, b in zip(shape, share.shape, strict=True)]
        ndimage.zoom(share, factors, output=whole[number], order=1, mode="nearest", grid_mode=True)
    best = whole.argmax(0).astype(np.uint8)
    print(json.dumps({"seconds": time.perf_counter() - began}))
    np.save(to, best)


def draw(path: Path, lines: dict[str, list[tuple[float, float]]]) -> None:
    """Memory over time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.5, 3.6), layout="constrained")
    for name, samples in lines.items():
        axes.plot([t for t, _ in samples], [mb / 1000 for _, mb in samples], label=name)
    axes.set_xscale("symlog", linthresh=10)
    axes.set_xlim(0)
    axes.set_ylim(0)
    axes.set_xlabel("seconds")
    axes.set_ylabel("GB of memory")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs=3, type=int, default=[512, 512, 400])
    parser.add_argument("--memory", default="4GB")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--work", type=Path, default=Path(__file__).resolve().parents[1] / ".bench" / "large")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        kind, *words = options.child
        if kind == "scipy":
            child_scipy(Path(words[0]), tuple(options.shape), Path(words[1]))
        elif kind == "restore":
            child_restore(*map(Path, words))
        elif kind == "shares":
            child_shares(Path(words[0]), Path(words[1]), options.engine)
        else:
            child_predict(Path(words[0]), Path(words[1]), options.memory, options.engine)
        return
    work = options.work
    work.mkdir(parents=True, exist_ok=True)
    shape = tuple(options.shape)
    scan, kept = work / "scan.nii.gz", work / "shares.npy"
    volume = scene(shape, SPACING_MM, 100)
    write_volume(scan, volume)
    del volume
    me = [sys.executable, __file__, "--shape", *map(str, shape), "--memory", options.memory]
    me += ["--engine", options.engine, "--child"]
    seconds, lines = {}, {}
    seconds["predict"], lines["osteon, from file to file"] = sampled(
        [*me, "predict", str(scan), str(work / "out")], work / "predict.log"
    )
    sampled([*me, "shares", str(scan), str(kept)], work / "shares.log")
    for name, what, child in (
        ("restore", "osteon, the way back alone", [str(scan), str(kept), str(work / "ours.npy")]),
        ("scipy", "scipy, all classes, the way back alone", [str(kept), str(work / "scipy.npy")]),
    ):
        _, lines[what] = sampled([*me, name, *child], work / f"{name}.log")
        seconds[name] = json.loads((work / f"{name}.log").read_text().splitlines()[-1])["seconds"]
    restored, by_scipy = np.load(work / "ours.npy"), np.load(work / "scipy.npy")
    final = read_segmentation(work / "out" / "scan.nii.gz").array
    print(f"{date.today()}, {len(psutil.Process().cpu_affinity())} core(s); {'×'.join(map(str, shape))}\n")
    print("| what | seconds | peak MB |\n| --- | --- | --- |")
    for (name, samples), took in zip(lines.items(), seconds.values(), strict=True):
        print(f"| {name} | {took:.1f} | {max(mb for _, mb in samples):.0f} |")
    print(f"\nthe way back: {seconds['scipy'] / seconds['restore']:.0f} times as fast as scipy's;", end=" ")
    differ = [np.count_nonzero(restored != other) for other in (by_scipy, final)]
    print(f"{differ[0]} of {restored.size} voxels differ from it, {differ[1]} from the written file")
    if options.figure:
        draw(options.figure, lines)


if __name__ == "__main__":
    main()
