"""What do ImageNet weights give? The same encoder with them and from a random start, and osteon's own network.

    python benchmarks/imagenet.py --data hippocampus --cases 4 8 0 --minutes 5 --seeds 0 1 2
    python benchmarks/imagenet.py --data lumbar --dimensions 3 --cases 0 --epochs 5

EfficientNet-Lite0 (timm's `tf_efficientnet_lite0`) with the weights in ../shared/weights, in osteon's U-Net decoder;
`--dimensions 3` inflates it. Equal time (`--minutes`) or equal iterations (`--epochs`, of 100). `--cases 4`: trained on
the first four of the training cases, 0: on all. Each row is trained without validation, and scored on the same held-out
cases. Rows are kept in .bench/imagenet/rows.json; a row that is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
from collections import defaultdict
from datetime import date
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from five_kinds import osteon

from osteon.dataset.manifest import read_manifest, write_manifest
from osteon.phantoms.registry import KINDS

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("OSTEON_SHARED_DATA", HERE.parents[1] / "shared" / "data")).parent
WEIGHTS = SHARED / "weights" / "tf_efficientnet_lite0.imagenet.safetensors"
ENCODER = ["--network", "unet", "--encoder", "tu-tf_efficientnet_lite0", "--weights"]
WAYS = {"ImageNet": [*ENCODER, str(WEIGHTS)], "random start": [*ENCODER, "none"], "osteon's own": []}
LUMBAR = ["--modality", "mr", "--labels", "L1=1,L2=2,L3=3,L4=4,L5=5"]
REAL = {
    "hippocampus": ["msd-hippocampus", "--only", "first:60", "--hold-out", "last:20"],
    "lumbar": ["spine-mr-lumbar/pairs.txt", "--hold-out", "last:6", *LUMBAR],
}
PHANTOMS = {"limb": ["--cases", "24"], "hand": ["--cases", "24", "--size", "384"]}


def dataset(name: str, count: int, work: Path) -> Path:
    """The data, imported once, with the first `count` of the training cases; 0: all of them."""
    whole = work / name
    if not (whole / "dataset.yaml").is_file():
        if name in REAL:
            osteon("import", SHARED / "data" / REAL[name][0], whole, *REAL[name][1:])
        else:
            cohort, row = work / f"{name}-phantom", KINDS[name]
            osteon("phantom", name, cohort, *PHANTOMS[name], "--overwrite")
            osteon("import", cohort / row.source, whole, *shlex.split(row.options), "--hold-out", "last:8")
    if not count:
        return whole
    part = work / f"{name}-{count}"
    if not (part / "dataset.yaml").is_file():
        manifest = read_manifest(whole)
        chosen = {case.id for case in manifest.trainable[:count]}
        cases = [case for case in manifest.cases if case.held_out or case.id in chosen]
        shutil.copytree(whole, part, ignore=shutil.ignore_patterns("cache", "plan.yaml", "dataset.yaml"))
        write_manifest(part, manifest.model_copy(update={"cases": cases}))
    return part


def measure(way: str, data: Path, limit: list[str], dimensions: int, seed: int, work: Path) -> dict[str, Any]:
    """One row."""
    run, out = work / "run", work / "predictions"
    for folder in (run, out):
        shutil.rmtree(folder, ignore_errors=True)
    osteon("train", data, run, "--fold", "none", "--dimensions", dimensions, "--seed", seed, *limit, *WAYS[way])
    osteon("predict", run, data, out)
    osteon("evaluate", out, data, "--overlap-only")
    scores = json.loads((out / "metrics.json").read_text())
    validation = json.loads((run / "model" / "validation.json").read_text())
    return {"dice": scores["overall"]["dice"]["mean"], "iterations": validation["training"]["iterations"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=[*REAL, *PHANTOMS], default="hippocampus")
    parser.add_argument("--dimensions", type=int, choices=(2, 3), default=2)
    parser.add_argument("--cases", type=int, nargs="+", default=[4, 8, 0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--epochs", type=int, help="of 100 iterations, in place of minutes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=HERE.parent / ".bench" / "imagenet")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    kept = options.work / "rows.json"
    rows: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
    limit = ["--budget", f"{options.minutes:g}min"] if options.epochs is None else ["--epochs", str(options.epochs)]
    found: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for seed in options.seeds:  # by turns, so that what the machine does besides meets all ways
        for count in options.cases:
            for way in WAYS:
                key = " ".join([options.data, f"{options.dimensions}D", str(count), limit[1], str(seed), way])
                if key not in rows:
                    data = dataset(options.data, count, options.work)
                    rows[key] = measure(way, data, limit, options.dimensions, seed, options.work)
                    kept.write_text(json.dumps(rows, indent=1))
                found[count, way].append(rows[key])
    print(f"{date.today()}, {os.cpu_count()} cores, {options.data}, {options.dimensions}D, {' '.join(limit)}\n")
    print(
        "| training cases | way | Dice of each seed | mean | SD | iterations |\n| --- | --- | --- | --- | --- | --- |"
    )
    for (count, way), each in found.items():
        dices = [row["dice"] for row in each]
        spread = f"{stdev(dices):.4f}" if len(dices) > 1 else "–"
        iterations = round(fmean(row["iterations"] for row in each))
        listed = ", ".join(f"{dice:.4f}" for dice in dices)
        print(f"| {count or 'all'} | {way} | {listed} | {fmean(dices):.4f} | {spread} | {iterations} |")


if __name__ == "__main__":
    main()
