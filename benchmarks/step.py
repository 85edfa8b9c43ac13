"""A training step's share of the processor's matrix product, where its time goes, and what another checkout takes.

    python benchmarks/step.py [--before CHECKOUT] [--orders] [--threads 2]

A step is all that happens in an iteration: augmentation, forward, loss, backward, clipping, optimiser, average of the
weights. Its floating-point operations are counted by torch (convolutions and matrix products alone), the matrix
product is one of 1536×1536 in fp32 with the same threads. Both checkouts take turns, each time in a new process, and
the best of all steps counts. As on a processor without AVX-512:

    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/step.py
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections import defaultdict
from datetime import date
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PATCHES = {"demo": (24, 32, 24), "hippocampus": (40, 56, 40), "cube": (64, 64, 64)}
ROUNDS = 2
SECONDS = 8.0
"""Of steps in each process."""
GROUPS = {
    "forward convolutions": ("mkldnn_convolution", "slow_conv", "_convolution", "conv_transpose"),
    "backward convolutions": ("convolution_backward",),
    "norm and activation": ("norm", "leaky_relu", "_Fused", "bmm", "rsqrt"),
}
"""By words in the names of torch's operators, the first that fits; all else is `rest`."""


def plan_of(size: tuple[int, int, int]) -> Any:
    from osteon.plan.schema import parse_plan

    names = ["red", "green", "blue", "yellow"]
    structures = [{"name": n, "value": v, "colour": "#ff0000"} for v, n in enumerate(names, 1)]
    network = {"features": [16, 32, 64, 128], "deep_supervision": 3, "kernels": [[3, 3, 3]] * 4}
    from osteon.planning.recipes import RECIPES

    row = RECIPES["osteon"]
    augmentation = dict(row.augmentation) | {"rotate_degrees": [20.0] * 3, "shift": [0.08] * 3}
    data = {
        "dataset": "step",
        "channels": [{"name": "ct", "modality": "ct"}],
        "structures": structures,
        "overlapping": False,
        "grid": {"dimensions": 3, "spacing_mm": [1.0, 1.0, 1.0]},
        "intensities": [{"channel": "ct", "clip": [-1000.0, 1000.0], "mean": 0.0, "std": 400.0}],
        "patch": {"size": list(size), "batch": 2},
        "network": network | {"strides": [[1, 1, 1]] + [[2, 2, 2]] * 3},
        "training": {"recipe": "osteon", **row.training},
        "augmentation": augmentation,
    }
    return parse_plan(data, Path("plan.yaml"))


def batch_of(plan: Any, number: int) -> Any:
    import torch

    from osteon.training.sampling import Batch

    generator = torch.Generator().manual_seed(number)
    image = torch.randn((2, 1, *plan.patch.size), generator=generator)
    labels = torch.randint(0, 5, (2, *plan.patch.size), generator=generator)
    return Batch(number, image, labels, torch.ones(2, 4, dtype=torch.bool))


def measure(name: str, precision: str, order: str) -> dict[str, Any]:
    """In a process of its own: the matrix product, and the steps of one patch."""
    import torch
    from torch.profiler import ProfilerActivity, profile
    from torch.utils.flop_counter import FlopCounterMode

    from osteon.training.module import TrainingModule

    try:
        from osteon.core.heap import keep_freed_memory
    except ImportError:  # an older checkout
        pass
    else:
        keep_freed_memory()
    if order:
        from osteon.networks import fused_norm

        fused_norm.is_channels_last_faster = lambda *_: order == "channels innermost"
    plan = plan_of(PATCHES[name])
    module = TrainingModule(plan, 0, lambda: 0.5, fresh=True).train()
    module.ema_network.eval()
    optimiser = module.configure_optimizers()

    def step(number: int) -> float:
        batch = batch_of(plan, number)
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = module.training_step(batch, number)
        loss.backward()
        module.on_before_optimizer_step(optimiser)
        optimiser.step()
        optimiser.zero_grad()
        module.update_ema(batch)
        loss.item()
        return time.perf_counter() - began

    with FlopCounterMode(display=False) as counter:
        step(0)
    step(1)
    times, number = [], 2
    while sum(times) < SECONDS or len(times) < 5:
        times.append(step(number))
        number += 1
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        step(number)
    parts: dict[str, float] = defaultdict(float)
    for event in recorded.key_averages():
        group = next((g for g, words in GROUPS.items() if any(word in event.key for word in words)), "rest")
        parts[group] += event.self_cpu_time_total
    a = torch.randn(1536, 1536)
    products = []
    for _ in range(12):
        began = time.perf_counter()
        a @ a
        products.append(time.perf_counter() - began)
    total = sum(parts.values())
    return {
        "seconds": min(times),
        "gflop": counter.get_total_flops() / 1e9,
        "peak": 2 * 1536**3 / min(products) / 1e9,
        "parts": {group: part / total for group, part in parts.items()},
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def asked(checkout: Path, order: str, name: str, precision: str, threads: int) -> dict[str, Any]:
    """Measure in a new process, with the code of a checkout."""
    environment = os.environ | {"PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, str(Path(__file__).resolve()), "--child", name, precision, order]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="another checkout, whose code takes turns with this one's")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--precision", nargs="+", default=["fp32"], choices=["fp32", "bf16"])
    parser.add_argument("--patches", nargs="+", default=list(PATCHES), choices=PATCHES)
    parser.add_argument("--orders", action="store_true", help="this code with both orders in memory, whatever it takes")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(*options.child)))
        return
    checkouts = {"this": (HERE.parent, "")}
    if options.before:
        checkouts |= {"before": (options.before.resolve(), "")}
    if options.orders:
        checkouts |= {f"this, {order}": (HERE.parent, order) for order in ("usual order", "channels innermost")}
    rows, found = [], {}
    for name in options.patches:
        for precision in options.precision:
            best: dict[str, dict[str, Any]] = {}
            for _ in range(ROUNDS):
                for which, (checkout, order) in checkouts.items():
                    one = asked(checkout, order, name, precision, options.threads)
                    if which not in best or one["seconds"] < best[which]["seconds"]:
                        best[which] = one
            found = best["this"]
            peak = max(one["peak"] for one in best.values())
            for which in reversed(best):
                one = best[which]
                share = one["gflop"] / one["seconds"] / peak
                parts = " · ".join(f"{g} {100 * p:.0f} %" for g, p in sorted(one["parts"].items(), key=lambda x: -x[1]))
                size = "×".join(map(str, PATCHES[name]))
                cells = [f"{name} {size}", precision, which, f"{one['seconds']:.4f}", f"{one['gflop']:.1f}"]
                rows.append([*cells, f"{100 * share:.0f} %", parts])
    flop = math.floor(peak)
    print(
        f"{date.today()}, {platform.machine()}, {found['capability']}, {found['threads']} threads; the matrix product "
        f"in fp32: {flop} GFLOP/s\n"
    )
    head = ["patch, batch 2", "precision", "checkout", "s a step", "GFLOP", "of the fp32 product", "time"]
    print("\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]))


if __name__ == "__main__":
    main()
