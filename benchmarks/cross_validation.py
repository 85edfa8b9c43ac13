"""Five-fold cross-validation on the 24 real lumbar spines, and the page of its result.

    python benchmarks/cross_validation.py
    python benchmarks/cross_validation.py --budget 8min --dimensions 3 2

For each number of dimensions `osteon train --fold all` with so much time for each fold; then `osteon compare` of all
against the references, each case predicted by the network that had not seen it. The post-processing that was chosen is
printed with its gain.
"""

from __future__ import annotations

import argparse
import os
from datetime import date
from pathlib import Path

import yaml
from five_kinds import osteon

SHARED = Path(os.environ.get("OSTEON_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="5min", help="of each fold")
    parser.add_argument("--dimensions", nargs="+", type=int, default=[3])
    parser.add_argument("--work", type=Path, default=Path(__file__).resolve().parents[1] / ".bench" / "cv")
    options = parser.parse_args()
    data = options.work / "lumbar"
    if not (data / "dataset.yaml").is_file():
        options.work.mkdir(parents=True, exist_ok=True)
        labels = ["--modality", "mr", "--labels", "L1=1,L2=2,L3=3,L4=4,L5=5"]
        osteon("import", SHARED / "spine-mr-lumbar" / "pairs.txt", data, *labels)
    runs = []
    for dimensions in options.dimensions:
        run = options.work / f"{dimensions}d"
        plan = ["--dimensions", dimensions, "--budget", options.budget]
        print(osteon("train", data, run, "--fold", "all", *plan))
        steps = yaml.safe_load((run / "model" / "postprocessing.yaml").read_text())
        print(yaml.safe_dump(steps, sort_keys=False))
        runs.append(run)
    print(f"{date.today()}, {len(os.sched_getaffinity(0))} core(s), {options.budget} for each of five folds\n")
    print(osteon("compare", *runs, "--reference", data, "--to", options.work / "comparison"))
    print((options.work / "comparison" / "comparison.csv").read_text())


if __name__ == "__main__":
    main()
