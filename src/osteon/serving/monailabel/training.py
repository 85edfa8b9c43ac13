"""Trainings that viewers start: `osteon train --update` of the served model, or of the last one taken, one at a time.

FOLDER/trainings/<id>/training.json    when it began, its process; written whole
FOLDER/trainings/<id>/run/             the run
FOLDER/trainings/<id>/log.txt          what the command prints; progress.txt: what it does just now

A training outlives the server. The server goes on with the model that it was started with.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from osteon.core.errors import OsteonError, UsageError
from osteon.core.files import read_json, read_text, write_json
from osteon.core.processes import group_leader_options, interrupt_group, is_group_alive, start_time, terminate_group
from osteon.core.progress import PROGRESS_FILE_VARIABLE
from osteon.core.quantities import parse_seconds
from osteon.dataset.dataset import Dataset
from osteon.runs.update_files import finished_folder
from osteon.runs.update_history import read_update
from osteon.serving.monailabel.training_options import choose_beginning
from osteon.web.http_errors import RejectedError
from osteon.web.job_store import JobStore

TRAINING, RUN, LOG, PROGRESS = "training.json", "run", "log.txt", "progress.txt"
STOP_S = 30.0
"""How long a training may take to end after Ctrl-C, with a checkpoint; then it is killed."""
LOG_LINES, LOG_BYTES = 20, 1 << 14


class Training(BaseModel):
    """A training that was started.

    Attributes:
        id: Opaque.
        model: The served model, from which it began.
        budget: For how long it trains.
        client_id: Who started it, as the client says.
        began: Seconds since 1970.
        pid: The command's, which leads its process group.
        pid_since: When that process began, so that another one with its number is not taken for it.
        stopped: Whether somebody stopped it.
        before: From which model it goes on: the served one, where it is empty, or a run below the server's folder.
        ungated: Why the new model is not judged against that one; empty: it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    model: str
    budget: str
    client_id: str
    began: float
    pid: int
    pid_since: float
    stopped: bool = False
    before: str = ""
    ungated: str = ""


@dataclass(frozen=True)
class Trainings:
    """All trainings of a server's folder.

    Attributes:
        folder: Of the server.
        dataset: What is trained on.
        model: From which a training begins: a run's folder, or a model's.
        name: The model's, as clients call it.
        device: One of `core.devices.DEVICE_CHOICES`.
        budget: For how long a training takes, where the client does not say.
    """

    folder: Path
    dataset: Path
    model: Path
    name: str
    device: str
    budget: str

    @property
    def store(self) -> JobStore:
        """Their folders."""
        return JobStore(self.folder / "trainings", id_bytes=8)

    def start(self, params: dict[str, Any], client_id: str) -> dict[str, Any]:
        """Start a training; `budget` in `params` says for how long.

        Raises:
            RejectedError: 422, the budget makes no sense, or there is nothing to learn or to judge by; 429, one runs
                already.
        """
        budget = str(params.get("budget") or self.budget)
        try:
            parse_seconds(budget)
        except UsageError as error:
            raise RejectedError(422, error.message, hint="write 90s, 20min or 1.5h") from error
        store = self.store
        with store.lock():
            if (last := self.last()) is not None and self.is_running(last):
                raise RejectedError(429, "a training runs already", hint="wait until it is over, or stop it")
            runs = [self.run(training) for training in self.all()]
            begin = choose_beginning(Dataset.open(self.dataset), self.model, runs)
            training_id = store.new_id()
            place = store.path(training_id)
            place.mkdir(mode=0o700)
            command = [sys.executable, "-m", "osteon.cli", "train", str(self.dataset.resolve()), str(place / RUN)]
            command += [*begin.options, "--budget", budget, "--device", self.device]
            variables = {"COLUMNS": "160", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}
            variables[PROGRESS_FILE_VARIABLE] = str((place / PROGRESS).resolve())
            with (place / LOG).open("ab") as log:
                child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=os.environ | variables,
                    **group_leader_options(),
                )
            threading.Thread(target=child.wait, daemon=True).start()  # so that no zombie stays behind
            training = Training(
                id=training_id,
                model=self.name,
                budget=budget,
                client_id=client_id,
                began=time.time(),
                pid=child.pid,
                pid_since=start_time(child.pid),
                before=self._public_name(begin.before),
                ungated=begin.ungated,
            )
            write_json(place / TRAINING, training.model_dump())
        return self.describe(training)

    def stop(self) -> dict[str, Any]:
        """Stop the training that runs: it ends with a checkpoint. Raises RejectedError (404) where none runs."""
        store = self.store
        with store.lock():
            training = self.last()
            if training is None or not self.is_running(training):
                raise _none_runs()
            training = training.model_copy(update={"stopped": True})
            write_json(store.path(training.id) / TRAINING, training.model_dump())
        interrupt_group(training.pid)
        until = time.monotonic() + STOP_S
        while self.is_running(training) and time.monotonic() < until:
            time.sleep(0.05)
        terminate_group(training.pid, 1.0)
        return self.describe(training)

    def all(self) -> list[Training]:
        """Every training, the oldest first."""
        store, found = self.store, []
        for training_id in store.ids():
            with suppress(OsteonError, ValidationError):
                data = read_json(store.path(training_id) / TRAINING, "the training")
                found.append(Training.model_validate(data))
        return sorted(found, key=lambda training: training.began)

    def last(self) -> Training | None:
        """The training that was started last; None before the first."""
        return next(reversed(self.all()), None)

    def status(self, *, running: bool) -> dict[str, Any]:
        """How the last training stands. Raises RejectedError (404) where there was none, or where it has to run."""
        training = self.last()
        if training is None or (running and not self.is_running(training)):
            raise _none_runs()
        return self.describe(training)

    def is_running(self, training: Training) -> bool:
        """Whether any process of it lives."""
        return is_group_alive(training.pid, training.pid_since)

    def describe(self, training: Training) -> dict[str, Any]:
        """A training as clients know it."""
        running, run = self.is_running(training), self.run(training)
        status: Literal["RUNNING", "STOPPED", "DONE", "ERROR"] = "RUNNING" if running else "STOPPED"
        if not running and not training.stopped:
            status = "DONE" if finished_folder(run) else "ERROR"
        lines = self._log(training)
        verdict = self._verdict(training)
        result = (lines or [status])[-1] if verdict is None else verdict["why"]
        return {
            "id": training.id,
            "status": status,
            "model": training.model,
            "request": {"budget": training.budget, "client_id": training.client_id},
            "start_ts": datetime.fromtimestamp(training.began).strftime("%Y-%m-%d %H:%M:%S"),
            "details": lines or ["it begins"],
            "result": "" if running else result,
            "run": f"trainings/{training.id}/{RUN}",
            "before": training.before or "the model",
            "verdict": verdict or {"taken": None, "why": training.ungated},
        }

    def _verdict(self, training: Training) -> dict[str, Any] | None:
        """Whether the new model was taken, and why; None before it is judged, or where nothing judges it."""
        with suppress(OsteonError):
            record = read_update(self.run(training))
            if record is not None and record.verdict is not None:
                taken, why = record.verdict.taken, record.verdict.why
                stays = "" if taken else f"not taken, and {training.before or 'the model'} stays in use: "
                return {"taken": taken, "why": f"{stays}{why}", **record.verdict.dice.model_dump()}
        return None

    def _public_name(self, before: Path) -> str:
        """Of a run that viewers have started its place in the server's folder; of the served model nothing."""
        return next((f"trainings/{t.id}/{RUN}" for t in self.all() if self.run(t).resolve() == before), "")

    def run(self, training: Training) -> Path:
        """The folder of a training's run."""
        return self.store.path(training.id) / RUN

    def stats(self) -> dict[str, Any]:
        """How far the last training is, and the best Dice so far; empty before the first."""
        training = self.last()
        if training is None:
            return {}
        with suppress(OsteonError):
            text = read_text(self.run(training) / "metrics.csv", "the curves")
            rows = list(csv.DictReader(text.splitlines()))
            dice = [float(row["dice"]) for row in rows if row.get("dice")]
            return {"epoch": len(rows), "best_metric": max(dice, default=0.0), "id": training.id}
        return {"epoch": 0, "best_metric": 0.0, "id": training.id}

    def _log(self, training: Training) -> list[str]:
        """The last lines that the command printed, and what it does just now; no paths of the server's."""
        place = self.store.path(training.id)
        text = ""
        with suppress(OSError), (place / LOG).open("rb") as stream:
            stream.seek(max(0, (place / LOG).stat().st_size - LOG_BYTES))
            text = stream.read().decode("utf-8", errors="replace")
        with suppress(OsteonError):
            text += "\n" + read_text(place / PROGRESS, "the progress")
        names = {place: "the training", place.parent: "trainings", self.dataset: "the dataset", self.model: "the model"}
        for path, name in names.items():
            text = text.replace(str(path.resolve()), name).replace(str(path), name)
        return [line for line in text.splitlines() if line.strip()][-LOG_LINES:]


def _none_runs() -> RejectedError:
    return RejectedError(404, "no training runs", hint="POST /train/MODEL starts one")
