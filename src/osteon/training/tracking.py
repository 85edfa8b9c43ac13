"""A training on an MLflow server as it goes on (`--track mlflow:URI`), beside metrics.csv and TensorBoard.

A server that does not answer when a training begins is an error; one that stops answering later costs a warning, and
what it has missed is sent with the next epoch. Ids of cases are never sent.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from osteon.core.errors import FileError, UsageError, summarise_error
from osteon.core.files import write_json
from osteon.core.records import read_record

logger = logging.getLogger(__name__)
PREFIX = "mlflow:"
RECORD = "mlflow.json"
"""In a run's folder: which run of the server it is, so that a training that goes on is the same there."""
PARENT = "mlflow.parentRunId"
"""MLflow's tag of a run within another."""
CLIENT_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""MLflow's own, unless the user has set them: a training does not wait for minutes, and prints what osteon prints."""
MOST_PARAMETER = 500
"""Characters of a parameter that every server takes."""
MOST_METRICS = 1000
"""That a server takes at once."""
Status = Literal["FINISHED", "FAILED", "KILLED"]
Row = Mapping[str, float | int | None]


class MetricsLogger(Protocol):
    """What gets the figures of each epoch."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Figures by name, at an iteration."""


def parse_track(text: str) -> str:
    """The server's address in `mlflow:URI`.

    Raises:
        UsageError: It is none, holds a password, or MLflow's client is not installed.
    """
    uri = text.removeprefix(PREFIX)
    if not text.startswith(PREFIX) or not uri:
        raise UsageError(f"--track {text}: is not a place to track to", hint="--track mlflow:http://127.0.0.1:5000")
    if "@" in urlsplit(uri).netloc:
        raise UsageError(
            "--track: the address holds a user or a password, which would be written into files",
            hint="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
        )
    if find_spec("mlflow") is None:
        raise UsageError("MLflow's client is not installed", hint="pip install 'osteon[track]'")
    return uri


class Tracker:
    """A run of an MLflow server.

    Args:
        uri: Of the server.
        experiment: Its name there; it is made where there is none.
        name: The run's.
        folder: In which `RECORD` is kept.
        parent: The id of the run that this one is a part of.
        parameters: What the run is made with.

    Raises:
        UsageError: The server does not answer, or refuses.
        FileError: The record is damaged, or cannot be written.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        name: str,
        folder: Path,
        parent: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        for key, value in CLIENT_SETTINGS.items():
            os.environ.setdefault(key, value)
        from mlflow import MlflowClient

        self.client, self.uri, self.waiting = MlflowClient(uri), uri, list[tuple[str, float, int, int]]()
        self.warned = False
        try:
            self.run_id = self._resume(folder) or self._create(experiment, name, parent, parameters or {})
        except FileError:
            raise
        except Exception as error:  # the errors of MLflow and of its HTTP library
            raise UsageError(
                f"--track: the MLflow server at {uri} does not take a run ({summarise_error(error)})",
                hint="start it (`mlflow server`), correct the address, or leave --track out",
            ) from error
        write_json(folder / RECORD, {"uri": uri, "run": self.run_id})

    def _resume(self, folder: Path) -> str | None:
        """The id of the run that was begun there; None: none was, or the server has it no more."""
        from mlflow.exceptions import MlflowException

        path = folder / RECORD
        if not path.is_file():
            return None
        hint = "remove it: a new run is made on the server"
        record = read_record(path, "the record of tracking", dict[str, str], hint)
        if record.get("uri") != self.uri:
            return None
        try:
            run: str = self.client.get_run(record["run"]).info.run_id
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        self.client.update_run(run, status="RUNNING")
        return run

    def _create(self, experiment: str, name: str, parent: str | None, parameters: Mapping[str, Any]) -> str:
        from mlflow.entities import Param

        found = self.client.get_experiment_by_name(experiment)
        place = self.client.create_experiment(experiment) if found is None else found.experiment_id
        tags = {} if parent is None else {PARENT: parent}
        run: str = self.client.create_run(place, tags=tags, run_name=name).info.run_id
        given = [Param(key, str(value)[:MOST_PARAMETER]) for key, value in parameters.items() if value is not None]
        self.client.log_batch(run, params=given)
        return run

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Send figures, and those that could not be sent before; a server that does not answer gets them later."""
        now = int(time.time() * 1000)
        self.waiting += [(_plain(name), value, now, step or 0) for name, value in metrics.items()]
        self._try(self._send)

    def end(self, status: Status) -> None:
        """Say how the run ended."""
        self._try(self._send)
        self._try(lambda: self.client.set_terminated(self.run_id, status))

    def _send(self) -> None:
        from mlflow.entities import Metric

        while self.waiting:
            part = self.waiting[:MOST_METRICS]
            self.client.log_batch(self.run_id, metrics=[Metric(*values) for values in part])
            del self.waiting[: len(part)]

    def _try(self, call: Callable[[], None]) -> None:
        try:
            call()
            self.warned = False
        except Exception as error:  # noqa: BLE001  (no training ends because nobody listens)
            if not self.warned:
                logger.warning(
                    f"the MLflow server at {self.uri} does not answer ({summarise_error(error)}); the training goes on"
                )
            self.warned = True


class Loggers:
    """Several loggers as one."""

    def __init__(self, loggers: Sequence[MetricsLogger]) -> None:
        self.loggers = loggers

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """To each of them."""
        for each in self.loggers:
            each.log_metrics(metrics, step)


def _plain(name: str) -> str:
    """A name that every server takes: letters, digits, `_-./ `."""
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_-./ ") else "_" for letter in name)
