"""The three speeds of `osteon predict`: Dice and seconds on the six lumbar spines that were never trained on.

    python benchmarks/speeds.py
    python benchmarks/speeds.py --run RUN --data DATASET --engine openvino

Takes a run trained on the first 18 (as `benchmarks/confidence.py` leaves one). Seconds are the median of a scan, from
reading to deciding, without the start of the process; every speed is run `--repeats` times, and the fastest counts.
"""

from __future__ import annotations

import argparse
import json
import os
from datetime import date
from pathlib import Path
from statistics import median

from five_kinds import osteon

HERE = Path(__file__).resolve().parents[1] / ".bench"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=HERE / "confidence" / "run" / "fold-0")
    parser.add_argument("--data", type=Path, default=HERE / "confidence" / "lumbar")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, default=HERE / "speeds")
    options = parser.parse_args()
    rows = []
    for speed in ("fast", "balanced", "best"):
        out, took = options.work / speed, []
        for _ in range(options.repeats):
            arguments = ["--speed", speed, "--engine", options.engine, "--device", "cpu", "--overwrite"]
            osteon("predict", options.run, options.data, out, *arguments)
            records = json.loads((out / "predictions.json").read_text())
            took.append(median(record["seconds"] for record in records.values()))
        osteon("evaluate", out, options.data)
        dice = json.loads((out / "metrics.json").read_text())["overall"]["dice"]["mean"]
        rows.append([speed, f"{dice:.4f}", f"{min(took):.2f}", f"{len(records)}"])
    print(f"{date.today()}, {len(os.sched_getaffinity(0))} core(s), engine {options.engine}\n")
    head = ["speed", "Dice", "s a scan", "scans"]
    print("\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)))


if __name__ == "__main__":
    main()
