"""A server in the tests' own process, without a model behind it, and a client that knows only HTTP."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from osteon.core.files import write_json
from osteon.serving.app import Service, build
from osteon.serving.guard import Rules
from osteon.serving.jobs import RESULT, RESULT_JSON, Store
from osteon.serving.predictor import DiedError, Dispatcher, OvertimeError, Predictor
from osteon.serving.worker import Answer, Task, Work
from osteon.web.connections import BACKLOG, MOST_CONNECTIONS, watched

NIFTI = b"\x5c\x01\0\0" + bytes(340) + b"n+1\0" + bytes(100)
"""What looks like NIfTI, and is none."""


@dataclass
class Reply:
    """What the server said."""

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

    def ended(self, job_id: str, within_s: float = 60) -> dict[str, Any]:
        """A job, when it is over."""
        job: dict[str, Any] = {}
        until(
            lambda: job.update(self.ask("GET", f"/jobs/{job_id}").data) or job["state"] in ("done", "failed"), within_s
        )
        return job


def until(met: Callable[[], object], within_s: float = 60) -> None:
    end = time.monotonic() + within_s
    while not met():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


class Pretending(Predictor):
    """Answers as it is told to, once `go` is set."""

    def __init__(self, behave: Callable[[Task], Answer] | None = None) -> None:
        super().__init__(Work(Path("model")))
        self.facts = {"structures": ["femur"]}
        self.go, self.starts, self.up = threading.Event(), 0, True
        self.tasks: list[Task] = []
        self.behave = behave or masked

    @property
    def alive(self) -> bool:
        return self.up

    def start(self) -> None:
        self.starts += 1
        self.up = True

    def kill(self) -> None:
        self.up = False
        self.go.set()

    def ask(self, task: Task, limit_s: float) -> Answer:
        self.tasks.append(task)
        if not self.go.wait(limit_s):
            self.up = False
            raise OvertimeError
        if not self.up:
            raise DiedError("Killed")
        return self.behave(task)


def masked(task: Task) -> Answer:
    write_json(task.folder / RESULT / RESULT_JSON, {"files": ["mask.nii.gz"], "confidence": {"femur": 0.9}})
    (task.folder / RESULT / "mask.nii.gz").write_bytes(b"a mask")
    return Answer()


@dataclass
class Running:
    """A server that listens."""

    client: Client
    store: Store
    predictor: Pretending


@contextmanager
def serving(
    folder: Path,
    *,
    queue: int = 4,
    max_upload: int = 100_000,
    rules: Rules | None = None,
    predictor: Pretending | None = None,
    keep_s: float = 100,
    limit_s: float = 30,
) -> Iterator[Running]:
    predictor, store = predictor or Pretending(), Store(folder, queue)
    service = Service(store, Dispatcher(store, predictor, keep_s, limit_s), max_upload, rules or Rules())
    config = uvicorn.Config(
        build(service),
        http=watched(),
        ws="none",
        lifespan="on",
        log_level="error",
        access_log=False,
        backlog=BACKLOG,
        limit_concurrency=MOST_CONNECTIONS,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        until(lambda: server.started)
        try:
            yield Running(Client(listening.getsockname()[1]), store, predictor)
        finally:
            server.should_exit = True
            thread.join(20)
            service.dispatcher.join(20)
