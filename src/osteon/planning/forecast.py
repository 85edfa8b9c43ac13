"""What a plan will cost on this machine, and the faster precision: measured within a time limit."""

from __future__ import annotations

import json
import math
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from osteon.core.devices import device_kind
from osteon.core.geometry import Geometry
from osteon.core.platform import has_bf16
from osteon.machine.engine_timing import count_passes
from osteon.plan.schema import Plan, Precision, write_plan
from osteon.planning.probe import BF16_TIME_LIMIT
from osteon.predicting.memory import scan_bytes
from osteon.predicting.tiles import MAX_WHOLE
from osteon.preparing.strategies import grid_strategy

MEASURE_BUDGET_S = 15.0
"""Seconds of the clock, for all that is tried out."""
PATIENCE_S = 20.0
"""So much longer is waited for the first estimate: a busy machine takes long to load the libraries."""
FAILURE = "could not be measured"
SETTLED_STEPS = 3
"""Steps after which one of them was as fast as they get: the first ones set things up."""
Measurements = dict[str, dict[str, Any]]
"""What a process has written so far, by `what`."""


def measure_forecast(
    plan: Plan,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    cache_bytes: int,
    device: str = "cpu",
    *,
    until: float = math.inf,
    precision_is_fixed: bool = False,
    stop_early: Callable[[float], bool] = lambda _: False,
) -> Plan:
    """The plan with its forecast, and with the faster precision.

    Args:
        plan: To be measured.
        shape: Of the largest scan, along R, A, S.
        spacing_mm: Its spacing.
        cache_bytes: Size of the cache.
        device: What to measure on. On cuda the memory of training is the GPU's, that of predicting the machine's.
        until: When to stop, by `time.monotonic`; what is known by then is taken.
        precision_is_fixed: The plan's precision stays.
        stop_early: Given the seconds of a step in the precision that will be chosen: whether to measure nothing more.
            Asked once, as soon as steps have settled.
    """
    precisions: tuple[Precision, ...] = ("fp32", "bf16") if computes_in_bf16(device) else ("fp32",)
    if precision_is_fixed and plan.training.precision in precisions:  # else it would not be trained in, either
        precisions = (plan.training.precision,)
    tried_shape = _single_pass_shape(plan, shape, spacing_mm)
    facts: Measurements = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.yaml"
        write_plan(path, plan)
        for what, figures in _read_measurements(path, device, [*tried_shape, *spacing_mm], precisions, until):
            facts[what] = figures
            if (
                what == precisions[-1]
                and figures["steps"] == SETTLED_STEPS
                and stop_early(_chosen_seconds(facts, precisions))
            ):
                break
    changes: dict[str, Any] = {"cache_bytes": cache_bytes}
    steps = {name: facts[name] for name in precisions if name in facts}
    failed = f"{FAILURE}: {facts['error']['text']}" if "error" in facts else ""
    if failed and not steps and "estimate" not in facts:
        changes["why"] = [failed]
        return plan.model_copy(update={"forecast": plan.forecast.model_copy(update=changes)})
    notes = []
    training = plan.training
    if not precision_is_fixed and (steps or device_kind(device) == "cuda"):
        precision, reason = _choose_precision({name: step["seconds"] for name, step in steps.items()}, precisions)
        training = training.model_copy(update={"precision": precision, "why": [*training.why, reason]})
    step = steps.get(training.precision) or next(iter(steps.values()), facts.get("estimate"))
    if step is not None:
        changes |= {"training_bytes": step["bytes"], "seconds_per_iteration": float(f"{step['seconds']:.3g}")}
        changes |= {"parameters": step["parameters"]} if "parameters" in step else {}
        notes.append(
            "measured with random data: a few iterations"
            if steps
            else "estimated from iterations on a small part of the patch: whole ones would not have been done in time"
        )
    if "predict" in facts:
        changes |= _forecast_prediction(plan, facts["predict"], tried_shape, shape, spacing_mm)
        notes.append("and a prediction of as much of the largest scan as goes through the network at once")
    notes += [failed] if failed else []
    changes["why"] = notes or ["nothing was known when the time for measuring was over"]
    changes["device"] = device_kind(device) if steps else ""
    if device == "cpu" and "training_bytes" in changes and "predicting_bytes" in changes:
        changes["training_bytes"] = max(changes["training_bytes"], changes["predicting_bytes"])
    return plan.model_copy(update={"training": training, "forecast": plan.forecast.model_copy(update=changes)})


def computes_in_bf16(device: str) -> bool:
    """Whether a device computes in bf16 itself: others emulate it, a CPU a hundred times as slowly."""
    if device_kind(device) != "cuda":
        return device == "cpu" and has_bf16()
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _chosen_seconds(facts: Measurements, precisions: Sequence[Precision]) -> float:
    """Seconds of a step in the precision that will be chosen."""
    seconds = {name: facts[name]["seconds"] for name in precisions if name in facts}
    return float(seconds[_choose_precision(seconds, precisions)[0]])


def _choose_precision(seconds: dict[Precision, float], precisions: Sequence[Precision]) -> tuple[Precision, str]:
    """The precision to train in, and the reason; where nothing was measured in time, a device's usual one."""
    if not seconds:
        chosen = precisions[-1]
        return chosen, f"precision {chosen}: usual on such a device; none was measured in time"
    chosen = "bf16" if seconds.get("bf16", math.inf) < BF16_TIME_LIMIT * seconds.get("fp32", math.inf) else "fp32"
    parts = [f"{name} {step_s:.3f} s" for name, step_s in seconds.items()]
    parts += [f"{name} was not tried in time" for name in precisions if name not in seconds]
    parts += [] if "bf16" in precisions else ["bf16 was not tried, since the device is not known to compute in it"]
    return chosen, f"precision {chosen}: an iteration took {', '.join(parts)} on this machine"


def _single_pass_shape(
    plan: Plan, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> tuple[int, int, int]:
    """The shape of as much of a scan, along R, A, S, as the network sees at once."""
    grid = grid_strategy(plan).transform(_geometry(plan, shape, spacing_mm)).shape
    size = plan.patch.size if plan.grid.dimensions == 3 else (*plan.patch.size[:2], plan.patch.batch)
    if plan.grid.dimensions == 3 and not plan.fixed_patch and math.prod(grid) <= MAX_WHOLE * math.prod(size):
        return shape
    parts = [min(1.0, part / whole) for part, whole in zip(size, grid, strict=True)]
    along = [plan.grid.world_axes.index(world) for world in range(3)]
    i, j, k = (max(1, math.floor(parts[axis] * n)) for axis, n in zip(along, shape, strict=True))
    return i, j, k


def _forecast_prediction(
    plan: Plan,
    figures: dict[str, Any],
    tried_shape: tuple[int, int, int],
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
) -> dict[str, Any]:
    """The forecast for the largest scan: what depends on the scan's size is computed, the rest was measured."""
    part, whole = (_geometry(plan, some, spacing_mm) for some in (tried_shape, shape))
    grown = sum(scan_bytes(plan, whole)) - sum(scan_bytes(plan, part))
    times = max(math.prod(shape) / math.prod(tried_shape), count_passes(plan, whole) / count_passes(plan, part))
    return {
        "predicting_bytes": figures["bytes"] + max(0, grown),
        "predicting_shape": shape,
        "predicting_spacing": spacing_mm,
        "predicting_seconds": float(f"{figures['seconds'] * times:.3g}"),
    }


def _geometry(plan: Plan, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Geometry:
    return Geometry(shape, np.diag([*spacing_mm, 1.0]), plan.unit)


def _read_measurements(
    plan: Path, device: str, scan: Sequence[float], precisions: Sequence[str], until: float
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a process writes, as it comes, until it ends or its time is up; last of all its error, where it had one."""
    command = [sys.executable, "-m", "osteon.planning.probe", str(plan), device, json.dumps(list(scan)), *precisions]
    lines: queue.Queue[str | None] = queue.Queue()
    received: set[str] = set()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, encoding="utf-8", errors="replace")
        listener = threading.Thread(target=_forward_lines, args=(process, lines), daemon=True)
        listener.start()
        try:
            while True:
                patience_s = 0.0 if received & {"estimate", *precisions} else PATIENCE_S
                left_s = until + patience_s - time.monotonic()
                line = lines.get(timeout=max(0.0, min(left_s, threading.TIMEOUT_MAX)))
                if line is None:
                    process.wait()  # it has ended by itself, well or not
                    break
                if not line.startswith('{"what"'):
                    continue  # what a library has to say
                figures = json.loads(line)
                received.add(what := figures.pop("what"))
                yield what, figures
                if what == "estimate" and time.monotonic() + figures["seconds"] > until:
                    return  # a step at the plan's own size would not be done in time
        except queue.Empty:
            return
        finally:
            process.kill()
            code = process.wait()
            listener.join()
        if code:
            errors.seek(0)
            last_line = (errors.read().strip().splitlines() or [f"ended with {code}"])[-1]
            yield "error", {"text": last_line + (", out of memory?" if code == -9 else "")}


def _forward_lines(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    if process.stdout is not None:
        with process.stdout:
            for line in process.stdout:
                lines.put(line)
    lines.put(None)
