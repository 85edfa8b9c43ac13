"""The server of one model, and the folder that is its alone."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from osteon.core.errors import UsageError
from osteon.core.files import write_error
from osteon.core.locks import lock_file
from osteon.serving.app import create_app
from osteon.serving.guard import ServerRules
from osteon.serving.predictor import Dispatcher
from osteon.web.address import ServerAddress
from osteon.web.connections import server_options

SHUTDOWN_S = 5
"""How long requests under way may take when the server is asked to end."""


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
    dispatcher: Dispatcher,
    address: ServerAddress,
    token: str,
    max_upload: int,
    labelling: Labelling | None = None,
    tls: Tls | None = None,
) -> uvicorn.Server:
    """The server of a model, which does not listen yet.

    Args:
        dispatcher: Hands jobs to the predicting process.
        address: Where it will listen.
        token: That requests need; empty where none is needed.
        max_upload: Bytes of an upload.
        labelling: Where MONAI Label's clients are answered, too.
        tls: Where it speaks HTTPS.

    Raises:
        FileError, DatasetError: The dataset cannot be read.
    """
    rules, protocol = ServerRules(token, address.local), None
    if labelling is not None:
        from osteon.serving.monailabel.label_server import create_label_server
        from osteon.serving.monailabel.routes import MONAILABEL_OPEN_PATHS, monailabel_routes

        rules.open_paths = MONAILABEL_OPEN_PATHS
        given = (labelling.folder, labelling.dataset, labelling.budget)
        protocol = monailabel_routes(create_label_server(dispatcher, rules, max_upload, *given))
    config = uvicorn.Config(
        create_app(dispatcher, rules, max_upload, protocol=protocol),
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
    return uvicorn.Server(config)
