"""Which engine is fastest for a model on this machine: measured once, and remembered."""

from __future__ import annotations

import hashlib
import math
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from osteon.core.devices import resolve_device
from osteon.core.errors import DiskFullError, OsteonError, UsageError, summarise_error
from osteon.core.files import write_json
from osteon.core.folders import user_cache
from osteon.core.geometry import Geometry
from osteon.core.records import read_record
from osteon.machine.gate import read_gates
from osteon.networks.registry import input_channels, output_channels
from osteon.plan.schema import Plan
from osteon.predicting.engines import ENGINES, NAMES, EngineKind, find_engine
from osteon.predicting.model import Model
from osteon.predicting.model_folder import load_model
from osteon.predicting.scans import Scan
from osteon.predicting.tiles import predicted_labels, tile_starts
from osteon.preparing.strategies import grid_strategy

FILE = "engines.json"
TIMED_RUNS = 5
"""Of which the best counts: other work on the machine can only slow one."""


@dataclass(frozen=True)
class EngineSpeed:
    """Of an engine with a model on this machine.

    Attributes:
        name: The engine's.
        start_s: Until it was ready, its first run among it.
        run_s: Of a patch afterwards.
        agrees: The part of the patch's voxels in which it decides as torch does.
        why_not: Why it was not measured.
    """

    name: str
    start_s: float = 0.0
    run_s: float = 0.0
    agrees: float = 1.0
    why_not: str = ""


def measure_engines(model: Model) -> list[EngineSpeed]:
    """Run a patch of smooth random data through every engine that this machine has."""
    size = model.plan.patch.size
    shape = (1, input_channels(model.plan), *size)
    image = torch.nn.functional.interpolate(
        torch.randn(1, shape[1], *(max(1, n // 8) for n in size), generator=torch.Generator().manual_seed(0)),
        size,
        mode="trilinear",
    )
    expected = predicted_labels(model.with_engine(find_engine("torch")).network(image)[0], model.plan)
    return [_measure_engine(model, kind, image, expected) for kind in ENGINES if kind.device == "cpu"]


def _measure_engine(model: Model, kind: EngineKind, image: torch.Tensor, expected: torch.Tensor) -> EngineSpeed:
    missing = kind.missing()
    if kind.quantised and model.quantised is None:
        missing = missing or "not made yet: give the dataset, too"
    if missing:
        return EngineSpeed(kind.name, why_not=missing)
    engine = model.with_engine(kind).network
    began = time.perf_counter()
    try:
        logits = engine(image)[0]
    except DiskFullError:
        raise
    except (RuntimeError, ImportError, OSError, OsteonError) as error:  # an engine that cannot take this network
        return EngineSpeed(kind.name, why_not=summarise_error(error))
    start_s = time.perf_counter() - began
    times = []
    for _ in range(TIMED_RUNS):
        began = time.perf_counter()
        engine(image)
        times.append(time.perf_counter() - began)
    agrees = float((predicted_labels(logits, model.plan) == expected).float().mean())
    return EngineSpeed(kind.name, round(start_s, 3), round(min(times), 4), round(agrees, 6))


def fastest_engine(speeds: Mapping[str, EngineSpeed], passed: set[str], patches: int) -> str:
    """The engine with which so many patches take least time; of those that are not precise only such as have passed.

    Args:
        speeds: As measured, by name.
        passed: Engines that passed the gate for this model.
        patches: How many are to be looked at.
    """
    offered = [s for s in speeds.values() if not s.why_not and (find_engine(s.name).precise or s.name in passed)]
    return min(offered, key=lambda s: s.start_s + patches * s.run_s).name if offered else "torch"


def read_speeds(model: Model) -> dict[str, EngineSpeed]:
    """What was measured of this model on this machine; nothing where it was not."""
    return {name: EngineSpeed(**facts) for name, facts in _read_all_speeds().get(_machine_key(model), {}).items()}


def _read_all_speeds() -> dict[str, Any]:
    path = speeds_file()
    shape, hint = dict[str, dict[str, dict[str, Any]]], "remove it, and measure again with `osteon doctor MODEL`"
    return read_record(path, "the speeds of engines", shape, hint) if path.is_file() else {}


def write_speeds(model: Model, speeds: list[EngineSpeed]) -> Path:
    """Keep what was measured. Returns the file."""
    path = speeds_file()
    write_json(path, _read_all_speeds() | {_machine_key(model): {speed.name: vars(speed) for speed in speeds}})
    return path


def speeds_file() -> Path:
    """The file that holds the engines' speeds on this machine, in the user's cache folder."""
    return user_cache() / FILE


def _machine_key(model: Model) -> str:
    """A network's shape and a machine: weights of one plan are equally fast."""
    plan = model.plan
    parts = [platform.processor() or platform.machine(), platform.node(), str(torch.__version__)]
    parts += [
        str(torch.get_num_threads()),
        plan.network.model_dump_json(),
        str(plan.patch.size),
        str(output_channels(plan)),
    ]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


def choose_engine(model: Model, folder: Path, engine_name: str, patches: int) -> Model:
    """The model with the engine that was asked for, or with the fastest that was measured.

    Args:
        model: With its own network.
        folder: Of the model, with what the gate found.
        engine_name: A name, or `auto`: by what `osteon doctor` measured; torch where it measured nothing, or on a GPU.
        patches: About how many will be looked at.

    Raises:
        UsageError: There is no such engine, it cannot run here, or it rounds and has not passed the gate.
    """
    on_gpu = next(model.network.parameters()).device.type != "cpu"
    passed = {name for name, gate in read_gates(folder, model.sha256).items() if gate.passed}
    if engine_name == "auto":
        speeds = {} if on_gpu else read_speeds(model)
        name = fastest_engine({n: s for n, s in speeds.items() if n in NAMES}, passed, patches) if speeds else "torch"
    else:
        name = engine_name
    kind = find_engine(name)
    if not kind.precise and name not in passed:
        raise UsageError(
            f"--engine {name}: rounds, and has not passed the gate for this model",
            hint="`osteon doctor MODEL DATASET` tries it on the validation cases",
        )
    if name == "torch":
        return model
    if on_gpu:
        raise UsageError(f"--engine {name}: runs on the CPU", hint="--device cpu, or leave --engine out")
    return model.with_engine(kind)


@dataclass(frozen=True)
class ModelSource:
    """How a model is loaded for a prediction; fields as `choose_engine` and `Model.with_postprocessing` take them."""

    folder: Path
    device: str
    postprocess: str
    engine: str
    patches: int

    def __call__(self) -> Model:
        """The model; errors are those of the three steps."""
        model = load_model(self.folder, device=resolve_device(self.device)).with_postprocessing(self.postprocess)
        return choose_engine(model, self.folder, self.engine, self.patches)


def count_passes(plan: Plan, geometry: Geometry) -> int:
    """Number of patches (2D: batches of slices) that a scan of this geometry is predicted in."""
    shape = grid_strategy(plan).transform(geometry).shape
    if plan.grid.dimensions == 2:
        return math.ceil(shape[2] / plan.patch.batch)
    return math.prod(len(tile_starts(n, s)) for n, s in zip(shape, plan.patch.size, strict=True))


def count_all_passes(plan: Plan, scans: Sequence[Scan]) -> int:
    """Patches of all scans together, as far as headers tell; one for each of the others."""
    total = 0
    for scan in scans:
        try:
            geometry = scan.geometry()
        except OsteonError:
            geometry = None  # it is named when its turn comes
        total += 1 if geometry is None else count_passes(plan, geometry)
    return total
