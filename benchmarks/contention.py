"""What other work on the machine costs: training and predicting alone, beside one and beside two busy processes.

    python benchmarks/contention.py [--before CHECKOUT] [--nnunet ENVIRONMENT]

Training: iterations in 30 seconds by the command line (`osteon train --budget 30s --fold none`, hippocampi, one plan
for all). Predicting: seconds of a made-up scan of 112×112×96 voxels with each engine, once it is ready. A busy process
is a Python loop. nnU-Net trains on the same cases for 30 seconds, from an environment of its own
(benchmarks/nnunet_budget.py). What is not done within its limit is ended, and shown as more than that.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from time_to_dice import OSTEON, dataset

HERE = Path(__file__).resolve().parent
BUDGET_S = 30
TRAIN_LIMIT_S = 90
PREDICT_LIMIT_S = 45
ENGINES = ("torch", "openvino", "onnx")
SHAPE = (112, 112, 96)
BUSY = "while True: pass"


@contextmanager
def busy(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def environment(checkout: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(checkout / "src")}


def iterations(checkout: Path, data: Path, plan: Path, run: Path) -> int | None:
    command = [*OSTEON, "train", str(data), str(run), "--plan", str(plan), "--budget", f"{BUDGET_S}s"]
    command += ["--fold", "none", "--restart"]
    try:
        subprocess.run(command, env=environment(checkout), check=True, capture_output=True, timeout=TRAIN_LIMIT_S)
    except subprocess.TimeoutExpired:
        return None
    return int(json.loads((run / "model" / "validation.json").read_text())["training"]["iterations"])


def seconds(checkout: Path, model: Path, engine: str) -> float | None:
    command = [sys.executable, str(Path(__file__).resolve()), "--child", str(model), engine]
    try:
        done = subprocess.run(
            command, env=environment(checkout), check=True, capture_output=True, text=True, timeout=PREDICT_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return None
    return float(done.stdout.splitlines()[-1])


def predict(model: Path, engine: str) -> float:
    """In a process of its own: seconds of one scan."""
    import osteon  # noqa: F401, I001 (it prepares the threads, before torch is loaded)
    import numpy as np

    from osteon.core.geometry import Geometry
    from osteon.core.volume import Volume
    from osteon.predicting.engines import find_engine
    from osteon.predicting.model_folder import load_model

    loaded = load_model(model).with_engine(find_engine(engine))
    array = np.random.default_rng(0).standard_normal((1, *SHAPE)).astype(np.float32)
    volume = Volume(array, Geometry(SHAPE, np.eye(4)))
    loaded.segment(volume)
    began = time.perf_counter()
    loaded.segment(volume)
    return time.perf_counter() - began


def nnunet(python: Path, data: Path, out: Path, stage: str) -> float | None:
    command = [str(python), str(HERE / "nnunet_budget.py"), str(data), str(out), str(BUDGET_S), "--stage", stage]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=TRAIN_LIMIT_S if stage == "train" else None)
    except subprocess.TimeoutExpired:
        return None
    return float(json.loads((out / "training.json").read_text())["iterations"]) if stage == "train" else None


def cells(found: list[float | None], *, rate: bool) -> list[str]:
    """Each figure, and what part of the quiet speed it is."""
    quiet = found[0]
    texts = []
    for value in found:
        if value is None or quiet is None:
            texts.append("not done" if rate else f"> {PREDICT_LIMIT_S}")
            continue
        part = value / quiet if rate else quiet / value
        texts.append(f"{value:.0f} ({100 * part:.0f} %)" if rate else f"{value:.2f} ({100 * part:.0f} %)")
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="another checkout, whose code takes turns with this one's")
    parser.add_argument("--nnunet", type=Path, help="an environment with nnunetv2 installed")
    parser.add_argument("--engines", nargs="+", default=list(ENGINES))
    parser.add_argument("--work", type=Path, default=HERE.parent / ".bench" / "contention")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(predict(Path(options.child[0]), options.child[1]))
        return
    here = HERE.parent
    checkouts = ({"before": options.before.resolve()} if options.before else {}) | {"this": here}
    options.work.mkdir(parents=True, exist_ok=True)
    data = dataset("hippocampus", options.work)
    plan, model = options.work / "plan.yaml", options.work / "model-run"
    if not plan.is_file():
        subprocess.run([*OSTEON, "plan", str(data), "--no-cost", "--force"], check=True, capture_output=True)
        (data / "plan.yaml").rename(plan)
    iterations(here, data, plan, model)
    peer = options.work / "nnunet"
    if options.nnunet:
        python = options.nnunet / "bin" / "python"
        if not (peer / "nnUNet_preprocessed").is_dir():
            for stage in ("convert", "plan"):
                nnunet(python, data, peer, stage)
    training: dict[str, list[float | None]] = {}
    predicting: dict[str, list[float | None]] = {}
    for count in (0, 1, 2):
        with busy(count):
            for name, checkout in checkouts.items():
                training.setdefault(name, []).append(iterations(checkout, data, plan, options.work / f"run-{name}"))
                for engine in options.engines:
                    predicting.setdefault(f"{name}, {engine}", []).append(seconds(checkout, model, engine))
            print(f"beside {count}: {training} {predicting}", file=sys.stderr, flush=True)
            if options.nnunet:
                training.setdefault("nnU-Net", []).append(nnunet(python, data, peer, "train"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{date.today()}, {cores} cores, {platform.machine()}; in brackets the part of the quiet speed\n")
    for title, rows, rate in (
        (f"iterations in {BUDGET_S} s", training, True),
        ("seconds of a prediction", predicting, False),
    ):
        print(f"| {title} | quiet | beside one busy process | beside two |\n| --- | --- | --- | --- |")
        for name, found in rows.items():
            print(f"| {name} | {' | '.join(cells(found, rate=rate))} |")
        print()


if __name__ == "__main__":
    main()
