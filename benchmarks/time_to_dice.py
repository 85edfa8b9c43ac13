"""How good is a model after so many minutes of training? Osteon, and nnU-Net in the same run when asked for.

    python benchmarks/time_to_dice.py --data hippocampus --minutes 2 5 15 --dimensions 3 2 --seeds 0 1 2
    python benchmarks/time_to_dice.py --data lumbar --minutes 30 --dimensions 3 2
    python benchmarks/time_to_dice.py --data hippocampus --minutes 5 --nnunet /path/to/nnunet-env

Each row is one training by the command line (`osteon train --fold none`), then `osteon predict` and
`osteon evaluate` on cases that neither plan nor training has seen. Memory is the peak resident set of the command.
Rows are kept in .bench/time_to_dice.json; a row that is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("OSTEON_SHARED_DATA", HERE.parents[1] / "shared" / "data"))
OSTEON = [sys.executable, "-m", "osteon.cli"]

DATA = {
    "hippocampus": {
        "source": "msd-hippocampus",
        "import": ["--only", "first:60", "--hold-out", "last:20"],
        "what": "MSD hippocampus, the first 40 cases by name to train, the next 20 to test",
    },
    "lumbar": {
        "source": "spine-mr-lumbar/pairs.txt",
        "import": ["--modality", "mr", "--hold-out", "last:6", "--labels", "L1=1,L2=2,L3=3,L4=4,L5=5"],
        "what": "lumbar spine MR, the first 18 cases to train, the last 6 to test",
    },
}


def run(command: list[str], cores: int | None, log: Path) -> tuple[float, int]:
    """Run a command to its end; seconds, and the peak resident set in bytes."""
    env = dict(os.environ)
    if cores:
        env |= {"OMP_NUM_THREADS": str(cores), "MKL_NUM_THREADS": str(cores)}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=env)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed; see {log}")
    return time.perf_counter() - began, usage.ru_maxrss * 1024


def dataset(name: str, work: Path) -> Path:
    """Import the data once."""
    folder = work / name
    if not (folder / "dataset.yaml").is_file():
        source = SHARED / DATA[name]["source"]
        run([*OSTEON, "import", str(source), str(folder), *DATA[name]["import"]], None, work / f"{name}-import.log")
    return folder


def measure(name: str, minutes: float, dimensions: int, seed: int, cores: int | None, work: Path) -> dict[str, Any]:
    """One row of osteon."""
    data = dataset(name, work)
    plan = data / f"plan-{dimensions}d-{minutes:g}min{f'-{cores}core' if cores else ''}.yaml"
    if not plan.is_file():
        budget = ["--budget", f"{minutes}min", "--force"]
        run([*OSTEON, "plan", str(data), "--dimensions", str(dimensions), *budget], cores, work / "plan.log")
        (data / "plan.yaml").rename(plan)
    folder = work / f"{name}-{dimensions}d-{minutes:g}min-seed{seed}" / (f"{cores}core" if cores else "all")
    train = [*OSTEON, "train", str(data), str(folder), "--plan", str(plan), "--budget", f"{minutes}min"]
    train += ["--fold", "none", "--seed", str(seed), "--restart"]
    seconds, train_bytes = run(train, cores, folder.with_suffix(".log"))
    predicted = folder / "held-out"
    predict = [*OSTEON, "predict", str(folder), str(data), str(predicted), "--overwrite"]
    predict_seconds, predict_bytes = run(predict, cores, folder / "predict.log")
    run([*OSTEON, "evaluate", str(predicted), str(data)], cores, folder / "evaluate.log")
    scores = json.loads((predicted / "metrics.json").read_text())
    validation = json.loads((folder / "model" / "validation.json").read_text())
    import yaml

    forecast = yaml.safe_load(plan.read_text())["forecast"]
    return {
        "tool": "osteon",
        "dimensions": dimensions,
        "minutes": minutes,
        "seed": seed,
        "cores": cores or os.cpu_count(),
        "iterations": validation["training"]["iterations"],
        "train_s": round(seconds, 1),
        "predict_s": round(predict_seconds, 1),
        "train_mb": train_bytes // 10**6,
        "train_forecast_mb": forecast["training_bytes"] // 10**6,
        "predict_mb": predict_bytes // 10**6,
        "predict_forecast_mb": forecast["predicting_bytes"] // 10**6,
        "dice": scores["overall"]["dice"]["mean"],
        "structures": {n: s["dice"]["mean"] for n, s in scores["structures"].items()},
    }


def measure_nnunet(name: str, minutes: float, environment: Path, cores: int | None, work: Path) -> dict[str, Any]:
    """One row of nnU-Net 3d_fullres, trained for the same minutes in its own environment."""
    data = dataset(name, work)
    folder = work / f"nnunet-{name}-{minutes:g}min"
    command = [str(environment / "bin" / "python"), str(HERE / "nnunet_budget.py"), str(data), str(folder)]
    run([*command, str(minutes * 60)], cores, folder.with_suffix(".log"))
    run([*OSTEON, "evaluate", str(folder / "predictions"), str(data)], cores, folder / "evaluate.log")
    scores = json.loads((folder / "predictions" / "metrics.json").read_text())
    facts = json.loads((folder / "facts.json").read_text())
    return {
        "tool": "nnU-Net",
        "dimensions": 3,
        "minutes": minutes,
        "seed": 0,
        "cores": cores or os.cpu_count(),
        **facts,
        "dice": scores["overall"]["dice"]["mean"],
        "structures": {n: s["dice"]["mean"] for n, s in scores["structures"].items()},
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    names = list(rows[0]["structures"])
    head = ["tool", "", "minutes", "seed", "cores", "iterations", "s/iteration", "Dice", *names]
    head += ["training MB (forecast)", "predicting MB (forecast)"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in sorted(rows, key=lambda r: (r["tool"], -r["dimensions"], r["minutes"], r["seed"])):
        each = row["minutes"] * 60 / row["iterations"]
        cells = [row["tool"], f"{row['dimensions']}D", f"{row['minutes']:g}", row["seed"], row["cores"]]
        cells += [row["iterations"], f"{each:.3f}", f"**{row['dice']:.4f}**"]
        cells += [f"{row['structures'][n]:.4f}" for n in names]
        cells += [f"{row[k]} ({row.get(f + '_mb', '–')})" for k, f in _MEMORY]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


_MEMORY = (("train_mb", "train_forecast"), ("predict_mb", "predict_forecast"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=DATA, default="hippocampus")
    parser.add_argument("--minutes", type=float, nargs="+", default=[2, 5, 15])
    parser.add_argument("--dimensions", type=int, nargs="+", default=[3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--cores", type=int, help="threads for each command; all cores when left out")
    parser.add_argument("--nnunet", type=Path, help="an environment with nnunetv2 installed")
    parser.add_argument("--again", action="store_true", help="run rows again that are there")
    parser.add_argument("--work", type=Path, default=HERE.parent / ".bench")
    options = parser.parse_args()
    kept = options.work / "time_to_dice.json"
    rows: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
    chosen_rows = []
    jobs = [(m, d, s) for m in options.minutes for d in options.dimensions for s in options.seeds]
    for minutes, dimensions, seed in jobs:
        key = f"osteon {options.data} {minutes:g} {dimensions}D {seed} {options.cores}"
        if options.again or key not in rows:
            row = measure(options.data, minutes, dimensions, seed, options.cores, options.work)
            rows = (json.loads(kept.read_text()) if kept.is_file() else {}) | {key: row}
            kept.write_text(json.dumps(rows, indent=1))
        chosen_rows.append(rows[key])
    for minutes in options.minutes if options.nnunet else []:
        key = f"nnunet {options.data} {minutes:g} {options.cores}"
        if options.again or key not in rows:
            row = measure_nnunet(options.data, minutes, options.nnunet, options.cores, options.work)
            rows = (json.loads(kept.read_text()) if kept.is_file() else {}) | {key: row}
            kept.write_text(json.dumps(rows, indent=1))
        chosen_rows.append(rows[key])
    print(f"{DATA[options.data]['what']}. {date.today()}, {os.cpu_count()} cores, {platform.machine()}\n")
    print(table(chosen_rows))


if __name__ == "__main__":
    main()
