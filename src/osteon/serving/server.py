"""The server: one folder, one model, one address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from osteon.core.errors import UsageError
from osteon.core.files import write_error
from osteon.core.locks import lock_file
from osteon.serving.app import Service, build
from osteon.serving.guard import Rules
from osteon.serving.jobs import Store
from osteon.serving.predictor import Dispatcher, started
from osteon.serving.worker import Work
from osteon.web.connections import BACKLOG, MOST_CONNECTIONS, watched
from osteon.web.hosts import LOOPBACK

GOODBYE_S = 5
"""How long requests under way may take when the server is asked to end."""


@dataclass(frozen=True)
class Place:
    """Where the server listens, where its jobs lie, and what it takes.

    Attributes:
        folder: Of the jobs.
        host: The address that it binds to.
        port: The port.
        queue: Uploads coming in and jobs waiting, together, at most.
        max_upload: Bytes.
        keep_s: Seconds for which jobs are kept when they are over.
        limit_s: Seconds that a job may take.
    """

    folder: Path
    host: str = "127.0.0.1"
    port: int = 8000
    queue: int = 32
    max_upload: int = 2 * 10**9
    keep_s: float = 7 * 24 * 3600.0
    limit_s: float = 1800.0

    @property
    def local(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in LOOPBACK


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold a folder for one server alone. It is free again when the process ends, however it does.

    Raises:
        UsageError: Another server has it.
        FileError: It cannot be written.
    """
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            held.enter_context(lock_file(folder / ".lock", wait=False))
        except BlockingIOError:
            raise UsageError(
                f"{folder}: another `osteon serve` works in it", hint="stop that one, or give another --folder"
            ) from None
        except OSError as error:
            raise write_error(folder, error) from error
        yield


def prepare(work: Work, place: Place, token: str) -> tuple[Service, uvicorn.Server]:
    """Load the model, take up what an earlier server has left, and make the server; it does not listen yet.

    Raises:
        OsteonError: The model cannot be loaded.
    """
    dispatcher = Dispatcher(Store(place.folder, place.queue), started(work), place.keep_s, place.limit_s)
    service = Service(dispatcher.store, dispatcher, place.max_upload, Rules(token, place.local))
    config = uvicorn.Config(
        build(service),
        host=place.host,
        port=place.port,
        http=watched(),
        ws="none",
        lifespan="on",
        access_log=False,  # addresses of jobs are known to their owners alone
        server_header=False,
        log_level="warning",
        limit_concurrency=MOST_CONNECTIONS,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GOODBYE_S,
    )
    return service, uvicorn.Server(config)
