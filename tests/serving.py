"""A server in the tests' own process, without a model behind it, and a client that knows only HTTP."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from osteon.core.files import write_json
from osteon.serving.app import create_app
from osteon.serving.dispatcher import Dispatcher, DispatcherGroup
from osteon.serving.guard import ServerRules
from osteon.serving.job_work import PredictionTask, TaskResult
from osteon.serving.jobs import RESULT, RESULT_JSON, JobQueue
from osteon.serving.monailabel.label_server import create_label_server
from osteon.serving.monailabel.routes import monailabel_routes
from osteon.serving.predictor import JobTimeoutError, PredictorProcess, ProcessDiedError
from osteon.serving.worker import ServedModel
from osteon.web.connections import server_options

TOKEN = "0123456789abcdef"
NIFTI = b"\x5c\x01\0\0" + bytes(340) + b"n+1\0" + bytes(100)
"""What looks like NIfTI, and is none."""


@dataclass
class Reply:
    """The answer of the server."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """Sends requests to a port of this machine."""

    port: int
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        connection = http.client.HTTPConnection("localhost", self.port, timeout=60)
        try:
            named = {key.replace("_", "-"): value for key, value in headers.items()}
            connection.request(method, path, body, self.headers | named)
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.headers), answer.read())
        finally:
            connection.close()

    def send(self, body: Any = NIFTI, query: str = "", **headers: str) -> Reply:
        return self.ask("POST", f"/jobs{query}", body, **headers)

    def wait_for(self, job_id: str, within_s: float = 60) -> dict[str, Any]:
        """A job, when it is over."""
        job: dict[str, Any] = {}
        wait_until(
            lambda: job.update(self.ask("GET", f"/jobs/{job_id}").data) or job["state"] in ("done", "failed"), within_s
        )
        return job


def wait_until(met: Callable[[], object], within_s: float = 60) -> None:
    end = time.monotonic() + within_s
    while not met():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


class FakePredictor(PredictorProcess):
    """Behaves as given, once `go` is set."""

    def __init__(self, behave: Callable[[PredictionTask], TaskResult] | None = None, name: str = "model") -> None:
        super().__init__(ServedModel(Path(name), name=name))
        self.facts = {"structures": ["femur"]}
        self.go, self.starts, self.up = threading.Event(), 0, True
        self.tasks: list[PredictionTask] = []
        self.behave = behave or write_mask

    @property
    def alive(self) -> bool:
        return self.up

    def start(self) -> None:
        self.starts += 1
        self.up = True

    def kill(self) -> None:
        self.up = False
        self.go.set()

    def run(self, task: PredictionTask, limit_s: float) -> TaskResult:
        self.tasks.append(task)
        if not self.go.wait(limit_s):
            self.up = False
            raise JobTimeoutError
        if not self.up:
            raise ProcessDiedError("Killed")
        return self.behave(task)


def write_mask(task: PredictionTask) -> TaskResult:
    write_json(task.folder / RESULT / RESULT_JSON, {"files": ["mask.nii.gz"], "confidence": {"femur": 0.9}})
    (task.folder / RESULT / "mask.nii.gz").write_bytes(b"a mask")
    return TaskResult()


@dataclass
class RunningServer:
    """A server that listens."""

    client: Client
    queue: JobQueue
    predictor: FakePredictor
    dispatchers: DispatcherGroup


@contextmanager
def serving(
    folder: Path,
    *,
    queue: int = 4,
    max_upload: int = 100_000,
    rules: ServerRules | None = None,
    predictor: FakePredictor | None = None,
    keep_s: float = 100,
    limit_s: float = 30,
    others: Sequence[FakePredictor] = (),
    dataset: Path | None = None,
) -> Iterator[RunningServer]:
    predictors = [predictor or FakePredictor(), *others]
    jobs = JobQueue(folder, queue, [one.model.name for one in predictors])
    dispatchers = DispatcherGroup([Dispatcher(jobs, one, keep_s, limit_s) for one in predictors])
    rules, protocol = rules or ServerRules(), None
    if dataset is not None:
        labelled = create_label_server(dispatchers, rules, max_upload, folder, dataset, "1h")
        protocol = monailabel_routes(labelled)
    config = uvicorn.Config(
        create_app(dispatchers, rules, max_upload, protocol=protocol),
        ws="none",
        lifespan="on",
        log_level="error",
        **server_options(),
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        wait_until(lambda: server.started)
        try:
            yield RunningServer(Client(listening.getsockname()[1]), jobs, predictors[0], dispatchers)
        finally:
            server.should_exit = True
            thread.join(20)
            dispatchers.join(20)


@contextmanager
def serve_model(trained: Path, folder: Path, *options: object) -> Iterator[tuple[Client, subprocess.Popen[str]]]:
    """`osteon serve` in a process of its own; killed at the end."""
    port = free_port()
    line = [sys.executable, "-m", "osteon.cli", "serve", trained, "--folder", folder, "--port", port, "--device", "cpu"]
    line += options
    with (folder.parent / "log").open("a") as log:
        process = subprocess.Popen(
            [str(word) for word in line],
            stdout=log,
            stderr=log,
            text=True,
            env=os.environ | {"OSTEON_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"},
        )
    try:
        wait_until(lambda: process.poll() is not None or is_listening(port), 120)
        assert process.poll() is None, (folder.parent / "log").read_text()
        yield Client(port, {"Authorization": f"Bearer {TOKEN}"}), process
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
