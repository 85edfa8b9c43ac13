"""A 512×512×400 scan with 25 structures and a model of 1.5 mm: memory and time, and how the labels come back.

    python benchmarks/large_scan.py
    python benchmarks/large_scan.py --shape 128 128 100 --budget 20s

A model of 25 made-up structures (ellipsoids that differ in brightness) is trained first. Then, each in a process of its
own whose memory is sampled ten times a second:

- `osteon predict` of the scan, from the command to the written file;
- the way back alone, twice, from the same probabilities: osteon's, and each class resized by scipy's linear zoom onto
  the scan's grid and then the argmax, as tools that resample all logits do.

The figure of memory over time goes to `--figure`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
import psutil
from five_kinds import osteon

from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.formats import write_segmentation, write_volume

STRUCTURES = 25
SPACING_MM = (0.75, 0.75, 0.75)


def scene(shape: tuple[int, int, int], spacing: tuple[float, float, float], seed: int) -> tuple[Volume, Segmentation]:
    """Ellipsoids of 25 brightnesses in a dark, noisy room, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, dtype=np.uint8)
    rows = 5
    for number in range(STRUCTURES):
        place = (number % rows, number // rows)
        centre = [n * (0.1 + 0.2 * p) for n, p in zip(shape[:2], place, strict=True)] + [
            shape[2] * (0.3 + 0.4 * rng.random())
        ]
        radii = [n * 0.07 * (0.8 + 0.4 * rng.random()) for n in shape[:2]] + [shape[2] * 0.2]
        low = [max(0, int(c - r)) for c, r in zip(centre, radii, strict=True)]
        high = [min(n, int(c + r) + 2) for c, r, n in zip(centre, radii, shape, strict=True)]
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        grid = np.ogrid[box]
        inside = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) <= 1
        labels[box][inside] = number + 1
    image = labels.astype(np.float32)
    image *= 60
    image += rng.normal(0, 8, shape).astype(np.float32)
    geometry = Geometry(shape, np.diag([*spacing, 1.0]))
    structures = make_structures({f"s{n}": n for n in range(1, STRUCTURES + 1)})
    return Volume(image[None].astype(np.int16), geometry), Segmentation(labels, geometry, structures)


def train(work: Path, budget: str) -> Path:
    """The model's run."""
    run = work / "run"
    cohort, data = work / "cohort", work / "dataset"
    if not (data / "dataset.yaml").is_file():
        lines = []
        for seed in range(6):
            volume, labels = scene((96, 96, 96), (1.5, 1.5, 1.5), seed)
            write_volume(cohort / f"image{seed}.nii.gz", volume)
            write_segmentation(cohort / f"label{seed}.nii.gz", labels)
            lines.append(f"image{seed}.nii.gz,label{seed}.nii.gz")
        (cohort / "pairs.txt").write_text("\n".join(lines) + "\n")
        names = ",".join(f"s{n}={n}" for n in range(1, STRUCTURES + 1))
        osteon("import", cohort / "pairs.txt", data, "--modality", "other", "--labels", names)
    sets = ["grid.spacing_mm=[1.5,1.5,1.5]", "patch.size=[64,64,64]", "patch.batch=1", "training.foreground_share=1"]
    sets += ["network.features=[16,32,64]", "network.strides=[[1,1,1],[2,2,2],[2,2,2]]"]
    sets += ["network.kernels=[[3,3,3],[3,3,3],[3,3,3]]", "network.deep_supervision=1", "series=null"]
    words = [word for one in sets for word in ("--set", one)]
    osteon("plan", data, "--force", "--no-cost", "--dimensions", 3, *words)
    osteon("train", data, run, "--budget", budget, "--fold", "none")
    return run


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


def child_shares(run: Path, scan: Path, to: Path) -> None:
    """Probabilities on the model's grid, kept."""
    from osteon.formats import read_volume
    from osteon.predicting.model import load_model

    model = load_model(run)
    shares = model.infer(model.prepare(read_volume(scan)))
    np.save(to, shares.values.float().numpy())


def child_restore(run: Path, scan: Path, kept: Path, to: Path) -> None:
    """Osteon's way back."""
    import torch

    from osteon.formats import read_geometry
    from osteon.predicting.model import load_model
    from osteon.predicting.restore import restore
    from osteon.predicting.shares import in_memory

    plan, geometry = load_model(run).plan, read_geometry(scan)
    shares = in_memory(torch.from_numpy(np.load(kept)).half(), plan)
    began = time.perf_counter()
    found = restore(shares, geometry, plan)
    print(json.dumps({"seconds": time.perf_counter() - began}))
    np.save(to, found.array)


def child_scipy(kept: Path, shape: tuple[int, ...], to: Path) -> None:
    """All classes resized, then the argmax."""
    from scipy import ndimage

    shares = np.load(kept).astype(np.float16).astype(np.float32)
    began = time.perf_counter()
    whole = np.empty((len(shares), *shape), np.float32)
    for number, share in enumerate(shares):
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
    parser.add_argument("--budget", default="90s")
    parser.add_argument("--memory", default="4GB")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--work", type=Path, default=Path(__file__).resolve().parents[1] / ".bench" / "large")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        kind, *paths = options.child
        if kind == "scipy":
            child_scipy(Path(paths[0]), tuple(options.shape), Path(paths[1]))
        else:
            {"shares": child_shares, "restore": child_restore}[kind](*map(Path, paths))
        return
    work = options.work
    work.mkdir(parents=True, exist_ok=True)
    run = work / "run"
    if not (run / "model" / "weights.safetensors").is_file():
        run = train(work, options.budget)
    shape = tuple(options.shape)
    scan, kept = work / "scan.nii.gz", work / "shares.npy"
    volume, truth = scene(shape, SPACING_MM, 100)
    write_volume(scan, volume)
    del volume
    me = [sys.executable, __file__, "--shape", *map(str, shape), "--child"]
    predict = [sys.executable, "-m", "osteon.cli", "predict", run, scan, work / "out", "--overwrite"]
    predict += ["--memory", options.memory, "--engine", options.engine, "--device", "cpu", "--postprocess", "none"]
    seconds, lines = {}, {}
    seconds["osteon predict"], lines["osteon predict, from file to file"] = sampled(
        [str(word) for word in predict], work / "predict.log"
    )
    sampled([*me, "shares", str(run), str(scan), str(kept)], work / "shares.log")
    for name, child in (
        ("restore", ["restore", str(run), str(scan), str(kept), str(work / "ours.npy")]),
        ("scipy", ["scipy", str(kept), str(work / "scipy.npy")]),
    ):
        _, samples = sampled([*me, *child], work / f"{name}.log")
        lines[{"restore": "osteon, the way back alone", "scipy": "scipy, all classes, the way back alone"}[name]] = (
            samples
        )
        seconds[name] = json.loads((work / f"{name}.log").read_text().splitlines()[-1])["seconds"]
    ours, theirs = np.load(work / "ours.npy"), np.load(work / "scipy.npy")
    from osteon.formats import read_segmentation

    final = read_segmentation(work / "out" / "scan.nii.gz").array
    dice = (
        2
        * np.count_nonzero((final == truth.array) & (final > 0))
        / (np.count_nonzero(final) + np.count_nonzero(truth.array))
    )
    print(f"{date.today()}, {len(psutil.Process().cpu_affinity())} core(s); {'×'.join(map(str, shape))}\n")
    print("| what | seconds | peak MB |\n| --- | --- | --- |")
    for (name, samples), took in zip(lines.items(), seconds.values(), strict=True):
        print(f"| {name} | {took:.1f} | {max(mb for _, mb in samples):.0f} |")
    print(f"\nthe way back: {seconds['scipy'] / seconds['restore']:.0f} times as fast as scipy's;", end=" ")
    print(f"{np.count_nonzero(ours != theirs)} of {ours.size} voxels differ from it; Dice against the truth {dice:.4f}")
    if options.figure:
        draw(options.figure, lines)


if __name__ == "__main__":
    main()
