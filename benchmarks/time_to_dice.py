"""How good is a model after so many minutes of training? Osteon, and nnU-Net in the same run when asked for.

    python benchmarks/time_to_dice.py --data hippocampus --minutes 2 5 15 --dimensions 3 2 --seeds 0 1 2
    python benchmarks/time_to_dice.py --data lumbar --minutes 30 --dimensions 3 2
    python benchmarks/time_to_dice.py --data hippocampus --minutes 5 --nnunet /path/to/nnunet-env
    python benchmarks/time_to_dice.py --minutes 60 --networks unet resunet --nnunet ENV --presets default residual

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
from itertools import product
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("OSTEON_SHARED_DATA", HERE.parents[1] / "shared" / "data"))
OSTEON = [sys.executable, "-m", "osteon.cli"]

PRESETS = {"default": "", "residual": "--residual"}
"""nnU-Net's planners: the default one and ResEncM, with what nnunet_budget.py is told."""
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


def measure(
    name: str, minutes: float, dimensions: int, seed: int, cores: int | None, work: Path, network: str
) -> dict[str, Any]:
    """One row of osteon."""
    data = dataset(name, work)
    other = f"-{network}" if network else ""
    plan = data / f"plan-{dimensions}d-{minutes:g}min{f'-{cores}core' if cores else ''}{other}.yaml"
    if not plan.is_file():
        budget = ["--budget", f"{minutes}min", "--force", *(["--network", network] if network else [])]
        run([*OSTEON, "plan", str(data), "--dimensions", str(dimensions), *budget], cores, work / "plan.log")
        (data / "plan.yaml").rename(plan)
    folder = work / f"{name}-{dimensions}d-{minutes:g}min-seed{seed}{other}" / (f"{cores}core" if cores else "all")
    train = [*OSTEON, "train", str(data), str(folder), "--plan", str(plan), "--budget", f"{minutes}min"]
    train += ["--fold", "none", "--seed", str(seed), "--restart"]
    seconds, train_bytes = run(train, cores, folder.with_suffix(".log"))
    predicted = folder / "held-out"
    predict = [*OSTEON, "predict", str(folder), str(data), str(predicted), "--overwrite"]
    predict_seconds, predict_bytes = run(predict, cores, folder / "predict.log")
    run([*OSTEON, "evaluate", str(predicted), str(data)], cores, folder / "evaluate.log")
    scores = read_scores(predicted)
    validation = json.loads((folder / "model" / "validation.json").read_text())
    import yaml

    forecast = yaml.safe_load(plan.read_text())["forecast"]
    return {
        "tool": f"osteon {network}".strip(),
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
        **scores,
    }


def measure_nnunet(
    name: str, minutes: float, environment: Path, cores: int | None, work: Path, preset: str
) -> dict[str, Any]:
    """One row of nnU-Net 3d_fullres, trained for the same minutes in its own environment."""
    data = dataset(name, work)
    folder = work / f"nnunet-{name}-{minutes:g}min{PRESETS[preset]}"
    command = [str(environment / "bin" / "python"), str(HERE / "nnunet_budget.py"), str(data), str(folder)]
    run([*command, str(minutes * 60), *PRESETS[preset].split()], cores, folder.with_suffix(".log"))
    run([*OSTEON, "evaluate", str(folder / "predictions"), str(data)], cores, folder / "evaluate.log")
    scores = read_scores(folder / "predictions")
    facts = json.loads((folder / "facts.json").read_text())
    return {
        "tool": "nnU-Net" if preset == "default" else f"nnU-Net, {preset}",
        "dimensions": 3,
        "minutes": minutes,
        "seed": 0,
        "cores": cores or os.cpu_count(),
        **facts,
        **scores,
    }


def read_scores(predicted: Path) -> dict[str, Any]:
    """What `osteon evaluate` found."""
    scores = json.loads((predicted / "metrics.json").read_text())
    return {
        "dice": scores["overall"]["dice"]["mean"],
        "structures": {n: s["dice"]["mean"] for n, s in scores["structures"].items()},
        "volume_error_percent": scores["overall"]["volume_error_percent"]["mean"],
        "wrong_level": scores["overall"]["wrong_level"],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    names = list(rows[0]["structures"])
    head = [
        "tool",
        "",
        "minutes",
        "seed",
        "cores",
        "iterations",
        "s/iteration",
        "Dice",
        *names,
        "volume error",
        "wrong names",
    ]
    head += ["training MB (forecast)", "predicting MB (forecast)"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in sorted(rows, key=lambda r: (r["tool"], -r["dimensions"], r["minutes"], r["seed"])):
        each = row["minutes"] * 60 / row["iterations"]
        cells = [row["tool"], f"{row['dimensions']}D", f"{row['minutes']:g}", row["seed"], row["cores"]]
        cells += [row["iterations"], f"{each:.3f}", f"**{row['dice']:.4f}**"]
        cells += [f"{row['structures'][n]:.4f}" for n in names]
        cells += [f"{row['volume_error_percent']:.1f} %", row["wrong_level"]]
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
    parser.add_argument("--presets", choices=PRESETS, nargs="+", default=["default"], help="nnU-Net's planner")
    parser.add_argument(
        "--networks", nargs="+", default=[""], help="osteon's, such as resunet; the plan's when left out"
    )
    parser.add_argument("--again", action="store_true", help="run rows again that are there")
    parser.add_argument("--work", type=Path, default=HERE.parent / ".bench")
    options = parser.parse_args()
    kept = options.work / "time_to_dice.json"
    rows: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
    chosen_rows = []
    jobs = [
        *(
            (f"osteon {options.data} {m:g} {d}D {s} {options.cores} {n}".strip(), measure, (m, d, s), n)
            for m, d, s, n in product(options.minutes, options.dimensions, options.seeds, options.networks)
        ),
        *(
            (f"nnunet {options.data} {m:g} {options.cores}{PRESETS[p]}", measure_nnunet, (m, options.nnunet), p)
            for m, p in product(options.minutes if options.nnunet else [], options.presets)
        ),
    ]
    for key, function, what, variant in jobs:
        if options.again or key not in rows:
            row = function(options.data, *what, options.cores, options.work, variant)
            rows = (json.loads(kept.read_text()) if kept.is_file() else {}) | {key: row}
            kept.write_text(json.dumps(rows, indent=1))
        chosen_rows.append(rows[key])
    print(f"{DATA[options.data]['what']}. {date.today()}, {os.cpu_count()} cores, {platform.machine()}\n")
    print(table(chosen_rows))


if __name__ == "__main__":
    main()
