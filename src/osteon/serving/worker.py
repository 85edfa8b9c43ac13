"""The predicting process: it loads the model once, and segments one scan after the other."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from osteon.core.errors import OsteonError, UsageError
from osteon.core.parallel import exit_with_parent
from osteon.serving.job_work import MOST_VOXELS, PredictionTask, Worker, run_task


@dataclass(frozen=True)
class ServedModel:
    """A model that is served, and how it predicts.

    Attributes:
        folder: A model's, or the run that made it.
        speed: A name of `predicting.speed`.
        engine: A name of `predicting.engines`, or auto.
        postprocess: auto, none, or a file.
        device: One of `core.devices.DEVICE_CHOICES`.
        memory: Bytes that a scan may take; None: most of what is free.
        most_voxels: That a scan may have, on its own grid or the model's.
        click_model: What answers clicks: a model's folder, or a run; None: `folder` itself where that does.
        name: As clients call it.
    """

    folder: Path
    speed: str = "balanced"
    engine: str = "torch"
    postprocess: str = "auto"
    device: str = "auto"
    memory: int | None = None
    most_voxels: int = MOST_VOXELS
    click_model: Path | None = None
    name: str = "model"


FREE_SHARE = 0.8
"""Of the machine's free memory, as `predicting.memory` has it."""


def share_memory(models: int) -> int | None:
    """Bytes that a scan may take where several models work at a time, each on its own; None: there is one model."""
    return None if models == 1 else int(FREE_SHARE * psutil.virtual_memory().available / models)


def run_worker(connection: Connection, served: ServedModel) -> None:
    """Load the model, send a description of it, then work on tasks until the server ends."""
    threading.Thread(target=exit_with_parent, daemon=True).start()
    for number in (signal.SIGINT, signal.SIGTERM):  # a terminal or a service manager sends them to all its processes
        signal.signal(number, signal.SIG_IGN)  # the server ends it
    try:
        worker = load_models(served)
    except OsteonError as error:
        connection.send(error)
        return
    connection.send(describe_model(worker, served))
    while True:
        try:
            task: PredictionTask = connection.recv()
        except EOFError:
            return
        connection.send(run_task(task, worker))


def load_models(served: ServedModel) -> Worker:
    """The models, ready to work. Raises OsteonError where one cannot be loaded, or answers no clicks and has to."""
    from osteon.core.devices import resolve_device
    from osteon.machine.engine_timing import choose_engine
    from osteon.predicting.model_folder import load_model
    from osteon.predicting.records import find_model_folder
    from osteon.predicting.speed import find_speed
    from osteon.predicting.stages import PredictOptions
    from osteon.serving.click_worker import ClickTools

    how = PredictOptions(find_speed(served.speed), memory=served.memory)
    folder, device = find_model_folder(served.folder), resolve_device(served.device)
    model = load_model(folder, device=device)
    answers = model if model.plan.clicks is not None else None
    if served.click_model is not None:
        answers = load_model(find_model_folder(served.click_model), device=device)
        if answers.plan.clicks is None:
            raise UsageError(f"{served.click_model}: answers no clicks", hint="train one with --interactive")
    if model.plan.clicks is None:
        model = choose_engine(model.with_postprocessing(served.postprocess), folder, served.engine, MANY_PATCHES)
    return Worker(model, how, ClickTools(answers), served.most_voxels)


MANY_PATCHES = 1_000_000
"""That a server predicts: how long an engine takes to get ready counts little."""


def describe_model(worker: Worker, served: ServedModel) -> dict[str, Any]:
    """What clients may know of the model."""
    model, plan, answers = worker.model, worker.model.plan, worker.clicks.model
    return {
        "sha256": model.sha256,
        "structures": [s.model_dump(exclude_none=True) for s in plan.structures],
        "channels": [c.model_dump() for c in plan.channels],
        "overlapping": plan.overlapping,
        "unit": plan.unit,
        "dimensions": plan.grid.dimensions,
        "validation_dice": model.validation.get("dice"),
        "speed": served.speed,
        "engine": model.engine,
        "interactive": plan.clicks is not None,
        "clicks": None
        if answers is None
        else {"dimensions": answers.plan.grid.dimensions, "dice": answers.validation.get("dice")},
    }
