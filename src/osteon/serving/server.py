"""The server, how it ends, and the folder that is its alone."""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from osteon.core.errors import UsageError
from osteon.core.files import write_error
from osteon.core.locks import lock_file
from osteon.core.processes import REPEAT_S
from osteon.serving.app import create_app
from osteon.serving.dispatcher import DispatcherGroup
from osteon.serving.guard import ServerRules
from osteon.web.address import ServerAddress
from osteon.web.connections import server_options

SHUTDOWN_S = 5
"""How long requests under way may take when the server ends."""
GRACE_S = 30.0
"""How long predictions that run may go on when it is asked to end."""


class Server(uvicorn.Server):
    """Asked to end (SIGTERM, Ctrl-C), it still answers, but takes no job, until no prediction runs; then it ends.

    Asked again it ends at once.

    Args:
        config: Of uvicorn.
        dispatchers: Hand jobs to the models' processes.
        grace_s: Seconds for which predictions may go on.
    """

    def __init__(self, config: uvicorn.Config, dispatchers: DispatcherGroup, grace_s: float) -> None:
        super().__init__(config)
        self.dispatchers, self.grace_s = dispatchers, grace_s
        self._asked: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 (uvicorn's)
        """A signal has come. It is not handed on, so that the exit code is 0."""
        now = time.monotonic()
        if self._asked is not None:
            if now - self._asked >= REPEAT_S:
                os._exit(128 + sig)  # as if it were killed: what is written is whole, and its processes go with it
            return
        self._asked = now
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        self.dispatchers.drain(self.grace_s)
        self.should_exit = True


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


@dataclass(frozen=True)
class Labelling:
    """What viewers label that speak MONAI Label.

    Attributes:
        folder: Of the server: sessions and trainings are kept there.
        dataset: A folder with dataset.yaml.
        budget: For how long a training takes, where the client does not say.
    """

    folder: Path
    dataset: Path
    budget: str


@dataclass(frozen=True)
class Tls:
    """PEM files of the server's certificate and of its key."""

    cert: Path
    key: Path


def read_tls(cert: Path | None, key: Path | None) -> Tls | None:
    """The files, checked; None where there are none. Raises UsageError where they are no certificate and its key."""
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise UsageError("TLS needs a certificate and its key", hint="give --tls-cert and --tls-key")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key, password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"{cert}, {key}: are no certificate and its key ({error.strerror or error})",
            hint="give PEM files that belong together; the key must not need a password",
        ) from None
    return Tls(cert, key)


def create_server(
    dispatchers: DispatcherGroup,
    address: ServerAddress,
    token: str,
    max_upload: int,
    labelling: Labelling | None = None,
    tls: Tls | None = None,
    grace_s: float = GRACE_S,
) -> Server:
    """The server, which does not listen yet.

    Args:
        dispatchers: Hand jobs to the models' processes.
        address: Where it will listen.
        token: That requests need; empty where none is needed.
        max_upload: Bytes of an upload.
        labelling: Where MONAI Label's clients are answered, too.
        tls: Where it speaks HTTPS.
        grace_s: Seconds for which predictions that run may go on when it is asked to end.

    Raises:
        FileError, DatasetError: The dataset cannot be read.
    """
    rules, protocol = ServerRules(token, address.local), None
    if labelling is not None:
        from osteon.serving.monailabel.label_server import create_label_server
        from osteon.serving.monailabel.routes import MONAILABEL_OPEN_PATHS, monailabel_routes

        rules.open_paths = MONAILABEL_OPEN_PATHS
        given = (labelling.folder, labelling.dataset, labelling.budget)
        protocol = monailabel_routes(create_label_server(dispatchers, rules, max_upload, *given))
    config = uvicorn.Config(
        create_app(dispatchers, rules, max_upload, protocol=protocol),
        host=address.host,
        port=address.port,
        ws="none",
        lifespan="on",
        log_level="warning",
        timeout_graceful_shutdown=SHUTDOWN_S,
        ssl_certfile=None if tls is None else tls.cert,
        ssl_keyfile=None if tls is None else tls.key,
        **server_options(),
    )
    return Server(config, dispatchers, grace_s)
