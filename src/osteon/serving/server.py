"""The server of one model: its options, its folder, its address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from osteon.core.errors import UsageError
from osteon.core.files import write_error
from osteon.core.locks import lock_file
from osteon.serving.app import Service, create_app
from osteon.serving.guard import ServerRules
from osteon.serving.jobs import JobQueue
from osteon.serving.predictor import Dispatcher, start_predictor
from osteon.serving.worker import ServedModel
from osteon.web.address import ServerAddress
from osteon.web.connections import server_options

SHUTDOWN_S = 5
"""How long requests under way may take when the server is asked to end."""


@dataclass(frozen=True)
class ServeOptions:
    """Where the server listens, where its jobs lie, and what it takes.

    Attributes:
        folder: Of the jobs.
        address: Where it listens.
        queue: Uploads coming in and jobs waiting, together, at most.
        max_upload: Bytes.
        keep_s: Seconds for which jobs are kept when they are over.
        limit_s: Seconds that a job may take.
    """

    folder: Path
    address: ServerAddress
    queue: int
    max_upload: int
    keep_s: float
    limit_s: float


@contextmanager
def hold_jobs_folder(folder: Path) -> Iterator[None]:
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


def create_server(served: ServedModel, options: ServeOptions, token: str) -> tuple[Service, uvicorn.Server]:
    """Load the model, take up what an earlier server has left, and make the server; it does not listen yet.

    Raises:
        OsteonError: The model cannot be loaded.
    """
    queue = JobQueue(options.folder, options.queue)
    dispatcher = Dispatcher(queue, start_predictor(served), options.keep_s, options.limit_s)
    service = Service(dispatcher, options.max_upload, ServerRules(token, options.address.local))
    config = uvicorn.Config(
        create_app(service),
        host=options.address.host,
        port=options.address.port,
        ws="none",
        lifespan="on",
        log_level="warning",
        timeout_graceful_shutdown=SHUTDOWN_S,
        **server_options(),
    )
    return service, uvicorn.Server(config)
