"""What this machine can do, what is wrong with the installation, and which engine is fastest for a model."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import psutil
import torch

from osteon.core.cpu_load import LoadMeter
from osteon.core.errors import FileError, UsageError, summarise_error
from osteon.core.labels import Segmentation
from osteon.core.platform import cpu_count, cpu_quota, processor_flags
from osteon.core.progress import status, track
from osteon.core.threads import describe_waiting, threads_may_spin
from osteon.core.torchvision_ops import patch_torchvision_ops
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.machine.engine_timing import EngineSpeed, measure_engines, write_speeds
from osteon.machine.gate import GateResult, judge_engine, read_gates, write_gates
from osteon.predicting.engines import ENGINES, EngineKind
from osteon.predicting.model import Model
from osteon.predicting.model_folder import load_model
from osteon.predicting.quantised import quantise, quantised_file
from osteon.predicting.records import find_model_folder
from osteon.predicting.training_cases import TRAINED, UNSEEN
from osteon.runs.scoring import select_structures

logger = logging.getLogger(__name__)
CheckState = Literal["fine", "note", "wrong"]
WATCH_LOAD_S = 1.0
"""How long other work is watched."""
LOW_MEMORY = 4 << 30
LOW_DISK = 5 << 30
MAX_SCANS = 8
"""From which patches for quantising come."""
LIBRARIES = ("lightning", "segmentation-models-pytorch", "timm", "monai", "pydicom", "highdicom")


@dataclass(frozen=True)
class Check:
    """The outcome of one check; `hint` says the way out where something is wrong."""

    name: str
    state: CheckState
    message: str
    hint: str = ""


@dataclass(frozen=True)
class DoctorReport:
    """What was found.

    Attributes:
        checks: Of the machine and the installation.
        speeds: Of the engines with the model.
        gates: What engines of lower precision cost, by name.
        speeds_path: Where the speeds are remembered; none where that cannot be written to.
    """

    checks: list[Check]
    speeds: list[EngineSpeed] = field(default_factory=list)
    gates: dict[str, GateResult] = field(default_factory=dict)
    speeds_path: Path | None = None


def examine_machine(model: Path | None = None, dataset: Path | None = None) -> DoctorReport:
    """Check the installation; with a model measure the engines; with its dataset try those of lower precision.

    Raises:
        ModelError: The model folder lacks a file, or is damaged.
        UsageError: A dataset that has none of the model's validation cases; or no held-out ones, where it names none;
            or lacks structures of the model's.
    """
    checks = [
        _python(),
        _torch(),
        _torchvision(),
        *_libraries(),
        _processor(),
        _load(),
        _gpu(),
        _memory(),
        _disk(),
        *_engines(),
    ]
    if model is None:
        return DoctorReport(checks)
    folder = find_model_folder(model)
    loaded = load_model(folder)
    data = None if dataset is None else Dataset.open(dataset)
    ids = [] if data is None else _validation_ids(loaded, data)
    if data is not None:
        loaded = _quantise_model(loaded, folder, data, ids)
    with status("measuring engines"):
        speeds = measure_engines(loaded)
    gates = read_gates(folder, loaded.sha256) if data is None else _run_gates(loaded, folder, data, ids, speeds)
    return DoctorReport(checks, speeds, gates, _keep_speeds(loaded, speeds))


def _keep_speeds(model: Model, speeds: list[EngineSpeed]) -> Path | None:
    """Write them into the user's cache; where that cannot be written to they are shown all the same."""
    try:
        return write_speeds(model, speeds)
    except (FileError, OSError) as error:
        logger.warning("`osteon predict` will not know these speeds (XDG_CACHE_HOME names another place): %s", error)
        return None


def _validation_ids(model: Model, dataset: Dataset) -> list[str]:
    """Scans that the model was not trained on; for one that names none (nnU-Net's), those that are held out."""
    labelled = dataset.manifest.labelled
    absent = [s.name for s in model.plan.structures if s.name not in {s.name for s in dataset.structures}]
    if absent or dataset.manifest.overlapping != model.plan.overlapping:
        kinds = {True: "structures that overlap", False: "structures that exclude one another"}
        here, there = kinds[dataset.manifest.overlapping], kinds[model.plan.overlapping]
        lack = f"has no {', '.join(absent)}, which the model finds" if absent else f"has {here}, the model {there}"
        raise UsageError(
            f"{dataset.folder}: {lack}",
            hint="engines are judged by references of the model's structures: give data that call them as it does",
        )
    if not model.validation.get("cases"):
        held_out = [c.id for c in labelled if c.held_out and model.seen.role_of(c.id, c.content) != TRAINED]
        if not held_out:
            raise UsageError(
                f"{dataset.folder}: the model does not say which scans it was validated on, and none that it was not "
                "trained on is held out here",
                hint="import scans that it was not trained on with `osteon import … --hold-out`",
            )
        return held_out
    seen_in_run = {
        c.id for c in labelled if model.seen.role_in_run(c.id, c.content) != UNSEEN
    }  # not others of that name
    ids = [case_id for case_id in model.validation["cases"] if case_id in seen_in_run]
    if not ids:
        raise UsageError(
            f"{dataset.folder}: has none of the model's validation cases",
            hint="give the dataset that it was trained on",
        )
    return ids


def _quantise_model(model: Model, folder: Path, dataset: Dataset, validation_ids: list[str]) -> Model:
    """The model with a network in 8-bit integers, made from training cases; as it is where that cannot be made."""
    if any(kind.missing() for kind in ENGINES if kind.quantised) or not any(kind.quantised for kind in ENGINES):
        return model
    trainable = dataset.manifest.trainable
    trained = [case for case in trainable if case.id not in validation_ids] or trainable
    path = quantised_file(folder, model.sha256)
    try:
        with status("quantising"):
            images = [model.prepare(dataset.load_image(case)).image for case in trained[:MAX_SCANS]]
            quantise(model.network, model.plan, images, path)
    except (RuntimeError, ImportError, UsageError) as error:
        logger.warning(f"not quantised: {error}")
        return model
    return replace(model, quantised=path)


def _run_gates(
    model: Model, folder: Path, dataset: Dataset, ids: list[str], speeds: list[EngineSpeed]
) -> dict[str, GateResult]:
    def cases(kind: EngineKind) -> Iterator[tuple[Volume, Segmentation]]:
        for case_id in track(ids, f"trying {kind.name}"):
            case = dataset.case(case_id)
            reference = dataset.load_segmentation(case)
            array = select_structures(reference, model.plan.structures)
            yield dataset.load_image(case), Segmentation(array, reference.geometry, tuple(model.plan.structures))

    usable = {speed.name for speed in speeds if not speed.why_not}
    gates = [judge_engine(model, kind, cases(kind)) for kind in ENGINES if not kind.precise and kind.name in usable]
    write_gates(folder, model.sha256, gates)
    return {gate.engine: gate for gate in gates}


def _python() -> Check:
    return Check("Python", "fine", f"{platform.python_version()}, {sys.executable}")


def _torch() -> Check:
    message = f"{torch.__version__}, {torch.get_num_threads()} threads, which wait {describe_waiting()}"
    if threads_may_spin():
        return Check(
            "torch", "note", message, "one busy core slows spinning threads many times: OMP_WAIT_POLICY=passive"
        )
    return Check("torch", "fine", message)


def _torchvision() -> Check:
    try:
        mended = patch_torchvision_ops()
    except RuntimeError as error:
        return Check("torchvision", "wrong", summarise_error(error), "pip install a torchvision that fits torch")
    if mended:
        return Check("torchvision", "note", "is a build for CUDA beside a torch for the CPU; mended, `nms` excepted")
    return Check("torchvision", "fine", "can be imported")


def _libraries() -> list[Check]:
    checks = []
    for name in LIBRARIES:
        try:
            checks.append(Check(name, "fine", importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            checks.append(Check(name, "wrong", "is not installed", "pip install osteon"))
    return checks


def _processor() -> Check:
    flags = processor_flags()
    features = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    quota = cpu_quota()
    limits = [] if quota is None else [f"a quota of {quota:g}"]
    message = ", ".join([f"{cpu_count()} cores", *limits, *features])
    if "avx2" not in features and platform.machine() in ("x86_64", "AMD64"):
        return Check("processor", "note", message, "without AVX2 training on the CPU is slow")
    return Check("processor", "fine", message)


def _load() -> Check:
    with LoadMeter() as load:
        time.sleep(WATCH_LOAD_S)
    if load.warning:
        return Check("load", "note", load.warning, "what is measured now is slower than this machine is")
    return Check("load", "fine", f"{load.used_by_others:.1f} cores busy with other work")


def _gpu() -> Check:
    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        names = (f"cuda:{number} {gpu.name}, {gpu.total_memory / 1e9:.0f} GB" for number, gpu in enumerate(gpus))
        return Check("GPU", "fine", "; ".join(names))
    if torch.backends.mps.is_available():
        return Check("GPU", "note", "Apple's, which osteon was never tried on", "--device mps takes it")
    if torch.version.cuda is None and shutil.which("nvidia-smi"):
        return Check(
            "GPU", "note", "there is one, but this torch is built for the CPU", "install torch's CUDA build to use it"
        )
    return Check("GPU", "fine", "none that torch can use; everything runs on the CPU")


def _memory() -> Check:
    free = psutil.virtual_memory().available
    message = f"{free / 1e9:.1f} GB free"
    return Check("memory", "note" if free < LOW_MEMORY else "fine", message)


def _disk() -> Check:
    free = psutil.disk_usage(".").free
    message = f"{free / 1e9:.0f} GB free here"
    if free < LOW_DISK:
        return Check("disk", "note", message, "caches and runs need some")
    return Check("disk", "fine", message)


def _engines() -> list[Check]:
    checks = []
    for kind in ENGINES:
        missing = kind.missing()
        hint = "pip install 'osteon[fast]'" if "installed" in missing else ""
        checks.append(Check(f"engine {kind.name}", "note" if missing else "fine", missing or "ready", hint))
    return checks
