"""What a plan costs on this machine, measured: a few steps and one prediction on random data, in processes apart.

A process of its own gives the peak memory of that work alone, and frees it again.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import torch

from osteon.core.errors import UsageError
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.networks.registry import build_network
from osteon.planning.plan import Plan, Precision, read_plan, write_plan
from osteon.predicting.model import Model
from osteon.training.sampling import Batch

WARM_UP = 2
STEPS = 3
ENOUGH_S = 20.0
"""Iterations that take so long together need neither a warm-up nor repetition: the second one counts."""
WORTH_IT = 0.9
"""bf16 is chosen where an iteration takes less than this part of its time in fp32."""
PATIENCE = 2
"""bf16 is given up after so many times what fp32 took: CPUs without it emulate it, a hundred times as slowly."""


def forecast(
    plan: Plan,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    cache_bytes: int,
    device: str = "cpu",
) -> Plan:
    """The plan with its forecast, and with the faster precision.

    Args:
        plan: To be measured.
        shape: Of the largest scan, along R, A, S.
        spacing_mm: Its spacing.
        cache_bytes: Size of the cache.
        device: What to measure on. On cuda the memory of training is the GPU's, that of predicting the machine's.
    """
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.yaml"
        write_plan(path, plan)
        began = time.perf_counter()
        results["fp32"] = _measure(path, "train", device, "fp32")
        limit_s = PATIENCE * (time.perf_counter() - began)
        results["bf16"] = _measure(path, "train", device, "bf16", limit_s) or results["fp32"] | {"seconds": math.inf}
        predicting = _measure(path, "predict", device, json.dumps([*shape, *spacing_mm]))
    if any("error" in r for r in (*results.values(), predicting)):
        failed = next(r["error"] for r in (*results.values(), predicting) if "error" in r)
        why = [f"could not be measured: {failed}"]
        return plan.model_copy(
            update={"forecast": plan.forecast.model_copy(update={"cache_bytes": cache_bytes, "why": why})}
        )
    times = {name: result["seconds"] for name, result in results.items()}
    precision = "bf16" if times["bf16"] < WORTH_IT * times["fp32"] else "fp32"
    measured = ", ".join(
        f"{name} {seconds:.3f} s" if seconds < math.inf else f"{name} too long to wait for"
        for name, seconds in times.items()
    )
    reason = f"precision {precision}: an iteration took {measured} on this machine"
    training = plan.training.model_copy(update={"precision": precision, "why": [*plan.training.why, reason]})
    costs = {
        "cache_bytes": cache_bytes,
        "training_bytes": max(results[precision]["bytes"], predicting["bytes"] if device == "cpu" else 0),
        "predicting_bytes": predicting["bytes"],
        "predicting_shape": shape,
        "predicting_spacing": spacing_mm,
        "seconds_per_iteration": round(times[precision], 4),
        "parameters": results[precision]["parameters"],
        "device": device,
        "why": ["measured with random data: a few iterations, and one prediction of the largest scan"],
    }
    return plan.model_copy(update={"training": training, "forecast": plan.forecast.model_copy(update=costs)})


def _measure(
    plan: Path, what: Literal["train", "predict"], device: str, detail: str, limit_s: float | None = None
) -> dict[str, Any]:
    """What a process of its own printed; its error; or nothing where it took longer than the limit."""
    command = [sys.executable, "-m", "osteon.training.probe", str(plan), what, device, detail]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return {}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        return {"error": f"{what} ({detail}): {last}" + (", out of memory?" if done.returncode == -9 else "")}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _train(plan: Plan, device: torch.device, precision: Precision) -> dict[str, float]:
    from osteon.training.module import TrainingModule  # Lightning's 160 MB are no part of predicting

    module = TrainingModule(plan, 0, lambda: 0.0, fresh=False).to(device)  # weights cost the same whatever they are
    module.train()
    if module.average is not None:
        module.average.eval()
    optimiser = module.configure_optimizers()
    times = []
    for step in range(WARM_UP + STEPS):
        batch = _random_batch(plan, step)
        began = time.perf_counter()
        batch = batch.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = module.training_step(batch, step)
        loss.backward()
        module.on_before_optimizer_step(optimiser)
        optimiser.step()
        optimiser.zero_grad()
        module.follow(batch)
        loss.item()
        times.append(time.perf_counter() - began)
        if step and sum(times) > ENOUGH_S:
            break
    used = torch.cuda.max_memory_allocated() if device.type == "cuda" else peak_bytes()
    parameters = sum(p.numel() for p in module.network.parameters())
    settled = sorted(times[WARM_UP:] or times[1:])
    return {"seconds": settled[len(settled) // 2], "bytes": used, "parameters": parameters}


def _random_batch(plan: Plan, iteration: int) -> Batch:
    generator = torch.Generator().manual_seed(iteration)
    count, size = plan.patch.batch, plan.patch.size
    image = torch.randn((count, len(plan.channels), *size), generator=generator)
    if plan.overlapping:
        labels = torch.rand((count, len(plan.structures), *size), generator=generator).round()
    else:
        labels = torch.randint(0, len(plan.structures) + 1, (count, *size), generator=generator)
    return Batch(iteration, image, labels, torch.ones(count, len(plan.structures), dtype=torch.bool))


def _predict(
    plan: Plan, device: torch.device, shape: tuple[int, int, int], spacing_mm: tuple[float, ...]
) -> dict[str, float]:
    affine = torch.diag(torch.tensor([*spacing_mm, 1.0], dtype=torch.float64)).numpy()
    # Smooth, as scans are: of noise every voxel would be a border between structures.
    array = torch.linspace(-1, 1, shape[0])[:, None, None].expand(len(plan.channels), *shape).contiguous().numpy()
    volume = Volume(array, Geometry(shape, affine, plan.unit))
    model = Model(build_network(plan).to(device).eval(), plan, {}, "")
    began = time.perf_counter()
    model.segment(volume)
    return {"seconds": time.perf_counter() - began, "bytes": peak_bytes()}


def peak_bytes() -> int:
    """The most memory that this process has held so far (resident set).

    Linux's `ru_maxrss` begins with the parent's peak; the kernel's own high-water mark of the process does not.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(arguments: list[str]) -> None:
    """Entry of the measuring process: PLAN train DEVICE PRECISION, or PLAN predict DEVICE [i, j, k, mm, mm, mm]."""
    path, what, name, detail = arguments
    plan, device = read_plan(Path(path)), torch.device(name)
    if what == "train" and detail in ("fp32", "bf16"):
        result = _train(plan, device, "bf16" if detail == "bf16" else "fp32")
    elif what == "predict":
        numbers = json.loads(detail)
        i, j, k = (int(n) for n in numbers[:3])
        result = _predict(plan, device, (i, j, k), tuple(numbers[3:]))
    else:
        raise UsageError(f"nothing to measure: {what} {detail}")
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
