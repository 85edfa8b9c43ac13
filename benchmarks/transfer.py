"""Transfer, for real: a model of 18 lumbar spines, trained on with four others, against a random start.

    python benchmarks/transfer.py
    python benchmarks/transfer.py --first 10min --then 1min

The model is trained on the first 18 cases. Of the other six, four are trained on for a short time and two are tested:
three times, with another pair and another seed, so that each of the six is tested once. Both ways have the same plan
and time; they differ in `--init` alone.
"""

from __future__ import annotations

import argparse
import json
import os
from datetime import date
from pathlib import Path
from statistics import fmean

from five_kinds import osteon

from osteon.dataset.dataset import Dataset

SHARED = Path(os.environ.get("OSTEON_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
LABELS = ["--modality", "mr", "--labels", "L1=1,L2=2,L3=3,L4=4,L5=5"]
PAIRS = SHARED / "spine-mr-lumbar" / "pairs.txt"


def score(run: Path, data: Path, out: Path) -> float:
    """Mean Dice over structures of the cases held out."""
    osteon("predict", run, data, out, "--overwrite")
    osteon("evaluate", out, data)
    return float(json.loads((out / "metrics.json").read_text())["overall"]["dice"]["mean"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", default="15min", help="training of the model that is transferred")
    parser.add_argument("--then", default="2min", help="each training with four cases")
    parser.add_argument("--work", type=Path, default=Path(__file__).resolve().parents[1] / ".bench" / "transfer")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    whole = options.work / "lumbar"
    if not (whole / "dataset.yaml").is_file():
        osteon("import", PAIRS, whole, *LABELS, "--hold-out", "last:6")
        osteon("plan", whole)
    source = options.work / "model"
    osteon("train", whole, source, "--budget", options.first, "--fold", "none")
    ids = [case.id for case in Dataset.open(whole).manifest.cases if case.held_out]
    rows = []
    for seed in range(3):
        tested = ids[2 * seed : 2 * seed + 2]
        few = options.work / f"few-{seed}"
        osteon("import", PAIRS, few, *LABELS, "--only", ",".join(ids), "--hold-out", ",".join(tested), "--overwrite")
        found = {}
        for name, more in (("random", ("--plan", source / "plan.yaml")), ("transferred", ("--init", source))):
            run = options.work / f"{name}-{seed}"
            osteon("train", few, run, "--budget", options.then, "--fold", "none", "--seed", seed, "--restart", *more)
            found[name] = score(run, few, options.work / f"{name}-{seed}-predicted")
        rows.append([str(seed), ", ".join(tested), f"{found['random']:.3f}", f"{found['transferred']:.3f}"])
        print(" ".join(rows[-1]), flush=True)
    rows.append(["mean", "", *(f"{fmean(float(row[n]) for row in rows):.3f}" for n in (2, 3))])
    print(f"\n{date.today()}, {len(os.sched_getaffinity(0))} core(s); {options.first}, then {options.then} each\n")
    head = ["seed", "tested", "random start", "transferred"]
    print("\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)))


if __name__ == "__main__":
    main()
