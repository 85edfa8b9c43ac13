"""Is the order of `osteon suggest` better than a random one? Dice on test scans after 4, 8, 12, 16, 24 labelled cases.

    python benchmarks/suggestions.py
    python benchmarks/suggestions.py --steps 4,6 --seeds 1 --epochs 1 --only first:12 --hold-out last:4 --iterations 5

Hippocampus (MSD): 30 of the 100 scans are the test, and of the others as many have a label as the step says. For each
seed both orders begin with the same scans. At each step a network is trained from a random start with the same plan
and the same number of iterations, scored on the test scans, and the next scans are labelled: those that `osteon
suggest` names with this network, or random ones. Each row is kept in EPOCHSxITERATIONS/rows.json as soon as it is
there, and is not computed again: the whole can be run piece by piece.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from datetime import date
from pathlib import Path
from statistics import fmean
from typing import Any

from five_kinds import osteon

from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Manifest, write_manifest
from osteon.labelling.suggestion_files import read_suggestions

SHARED = Path(os.environ.get("OSTEON_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
ORDERS = ("suggested", "random")
Rows = dict[str, dict[str, Any]]


def length(options: argparse.Namespace) -> str:
    """Of each training; rows of others are kept apart."""
    return f"{options.epochs}x{options.iterations}"


def label_only(whole: Dataset, labelled: list[str], folder: Path) -> list[str]:
    """A dataset in which, beside the test scans, these alone have labels; the ids of the others."""
    cases, others = [], []
    for case in whole.manifest.cases:
        paths = {"images": [str(whole.resolve(image).resolve()) for image in case.images]}
        if case.held_out or case.id in labelled:
            cases.append(case.model_copy(update=paths | {"segmentation": str(whole.resolve(case.segmentation or ""))}))
        else:
            others.append(case.id)
            cases.append(case.model_copy(update=paths | {"segmentation": None}))
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(
        folder, Manifest.model_validate(whole.manifest.model_dump() | {"cases": [c.model_dump() for c in cases]})
    )
    return others


def step(
    whole: Dataset, order: str, seed: int, labelled: list[str], count: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Train on the labelled scans and score; `count` more to label next (0 after the last step)."""
    name = "start" if len(labelled) == int(options.steps.split(",")[0]) else order  # both orders begin with the same
    place = options.work / length(options) / f"{name}-{seed}-{len(labelled)}"
    others = label_only(whole, labelled, place / "data")
    keys = (f"training.epoch_iterations={options.iterations}", *options.set)
    changes = [word for key in keys for word in ("--set", key)]
    plan = ("--plan", options.work / "plan.yaml", *changes)
    osteon("train", place / "data", place / "run", *plan, "--epochs", options.epochs, "--fold", "none", "--seed", seed)
    test = ",".join(case.id for case in whole.manifest.cases if case.held_out)
    osteon("predict", place / "run", place / "data", place / "test", "--only", test)
    osteon("evaluate", place / "test", place / "data", "--overlap-only")
    dice = float(json.loads((place / "test/metrics.json").read_text())["overall"]["dice"]["mean"])
    if not count:
        after: list[str] = []
    elif order == "random":
        after = random.Random(f"{seed} {len(labelled)}").sample(sorted(others), count)
    else:
        osteon("suggest", place / "data", place / "run", "--count", count)
        after = [each.case for each in read_suggestions(place / "data/suggestions") if each.suggested]
    return {"labelled": labelled, "dice": dice, "next": after}


def table(rows: Rows, steps: list[int], seeds: int) -> str:
    """Mean Dice by order and number of labelled cases, over the seeds of which both have it."""
    lines = ["| labelled | " + " | ".join(map(str, steps)) + " |", "| --- |" + " --- |" * len(steps)]
    for order in ORDERS:
        cells = []
        for count in steps:
            both = [s for s in range(seeds) if all(f"{each} {s} {count}" in rows for each in ORDERS)]
            values = [rows[f"{order} {s} {count}"]["dice"] for s in both]
            cells.append(f"{fmean(values):.3f} ({min(values):.3f}–{max(values):.3f})" if values else "–")
        lines.append(f"| {order} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", default="4,8,12,16,24", help="labelled cases")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10, help="of each training")
    parser.add_argument("--iterations", type=int, default=50, help="of an epoch")
    parser.add_argument("--only", default="", help="of the 100 scans these alone, as `osteon import --only` takes it")
    parser.add_argument("--hold-out", default="last:30", help="the test scans, as `osteon import --hold-out` takes it")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the plan; give another --work then")
    parser.add_argument("--work", type=Path, default=Path(__file__).resolve().parents[1] / ".bench" / "suggestions")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    folder, steps = options.work / "whole", [int(text) for text in options.steps.split(",")]
    if not (folder / "dataset.yaml").is_file():
        only = ("--only", options.only) if options.only else ()
        osteon("import", SHARED / "msd-hippocampus", folder, "--hold-out", options.hold_out, *only)
    if not (options.work / "plan.yaml").is_file():
        osteon("plan", folder)
        (folder / "plan.yaml").rename(options.work / "plan.yaml")
    whole, path = Dataset.open(folder), options.work / length(options) / "rows.json"
    rows: Rows = json.loads(path.read_text()) if path.is_file() else {}
    path.parent.mkdir(exist_ok=True)
    pool = sorted(case.id for case in whole.manifest.trainable)
    for seed in range(options.seeds):
        first = random.Random(seed).sample(pool, steps[0])
        for order in ORDERS:
            labelled = first
            for count, following in zip(steps, [*steps[1:], steps[-1]], strict=True):
                key = f"{order} {seed} {count}"
                if key not in rows:
                    rows[key] = step(whole, order, seed, labelled, following - count, options)
                    path.write_text(json.dumps(rows, indent=1))
                print(f"{key}: Dice {rows[key]['dice']:.3f}", flush=True)
                labelled = [*labelled, *rows[key]["next"]]
    print(
        f"\n{date.today()}, {len(os.sched_getaffinity(0))} core(s); {options.epochs} epochs of {options.iterations}\n"
    )
    print(table(rows, steps, options.seeds))


if __name__ == "__main__":
    main()
