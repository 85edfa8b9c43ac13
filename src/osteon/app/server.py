"""The server: pages, routes and the guard in front of them, on one machine."""

from __future__ import annotations

import logging
import os
import socket
import traceback
from collections.abc import Callable

from jinja2.ext import Extension

from osteon.app.guard import NONCE, AppRules
from osteon.app.state import Studio
from osteon.app.workspace import Workspace
from osteon.web.address import ServerAddress
from osteon.web.connections import server_options
from osteon.web.guard import AccessRules, Guard

RECONNECT_S = 60.0
"""A page that loads a large scan is deaf for a while: with NiceGUI's 3 s it would be thrown away."""
TOKEN_DIGITS = 32
ERRORS = "errors.log"


def access_rules(workspace: Workspace, address: ServerAddress, *, ask_token: bool = False) -> AppRules:
    """What requests must satisfy: a token where others than this machine reach the server, or where it is wanted."""
    if address.local and not ask_token:
        return AppRules()
    token = workspace.keyed("token", digits=TOKEN_DIGITS)
    return AppRules(token, address.local, workspace.keyed("cookie", token, digits=TOKEN_DIGITS))


def page_url(address: ServerAddress, rules: AccessRules) -> str:
    """What to open in a browser."""
    host = address.host if address.host not in ("0.0.0.0", "::") else socket.gethostname()
    return address.url(host) + (f"?token={rules.token}" if rules.token else "")


class Marked(Extension):
    """Writes the answer's nonce into the scripts of NiceGUI's page, and not into what values may bring along."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:  # noqa: ARG002 (Jinja's)
        """The template's text, before any value is in it."""
        return source.replace("<script", f'<script nonce="{{{{ request.state.{NONCE} }}}}"')


def build(studio: Studio, rules: AccessRules) -> None:
    """Put pages, routes and guard onto NiceGUI's application."""
    from nicegui import app
    from nicegui.client import templates

    from osteon.app.bin import sweep
    from osteon.app.notifications import EVERY_S, Ringer
    from osteon.app.page_cleanup import TIDY_S, Tidier
    from osteon.app.pages import compare, data, dataset, home, jobs, look, runs, segment, source, space, train
    from osteon.app.routes import routes

    for page in (home, data, source, dataset, look, train, segment, compare, runs, jobs, space):
        page.register(studio)
    ringer, tidier = Ringer(studio.jobs), Tidier()
    app.router.routes[:0] = [*routes(studio), tidier.route]
    app.add_middleware(Guard, rules=rules)
    templates.env.add_extension(Marked)
    app.on_startup(studio.uploads.remove_leftovers)
    app.on_startup(lambda: sweep(studio))
    app.on_startup(studio.jobs.advance)
    app.on_startup(studio.reader.warm)
    app.on_startup(lambda: app.timer(EVERY_S, ringer.look))
    app.on_startup(lambda: app.timer(EVERY_S, studio.uploads.interrupt_idle))
    app.on_startup(lambda: app.timer(TIDY_S, tidier.tidy))
    app.on_delete(tidier.note)
    app.on_shutdown(studio.reader.close)
    app.on_exception(lambda error: note_error(studio.workspace, error))


def serve(
    studio: Studio,
    address: ServerAddress,
    rules: AccessRules,
    *,
    show: bool = True,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Listen until interrupted."""
    os.environ["NICEGUI_STORAGE_PATH"] = str(studio.workspace.root / "cache/.nicegui")  # before the import
    from nicegui import app, ui

    build(studio, rules)
    quiet(studio.workspace)
    app.on_startup(ready)
    ui.run(
        host=address.host,
        port=address.port,
        title="osteon",
        language="en-US",
        favicon="🦴",
        show=f"/?token={rules.token}" if show and rules.token else show,
        reload=False,
        tailwind=False,
        reconnect_timeout=RECONNECT_S,
        show_welcome_message=False,
        **server_options(),
    )


def note_error(workspace: Workspace, error: BaseException) -> None:
    """Keep an error where only the workspace's owner looks: its words may name a patient."""
    path = workspace.root / ERRORS
    with path.open("a", encoding="utf-8") as stream:
        path.chmod(0o600)
        stream.write("".join(traceback.format_exception(error)) + "\n")


class _Aside(logging.Handler):
    """Writes log lines into the workspace, and says on the terminal only that there are some."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        if record.exc_info and record.exc_info[1] is not None:
            note_error(self.workspace, record.exc_info[1])
        elif record.levelno >= logging.ERROR:
            note_error(self.workspace, RuntimeError(record.getMessage()))


def quiet(workspace: Workspace) -> None:
    """Let no library write names of files, which may be patients', to the terminal."""
    for name in ("nicegui", "uvicorn", "uvicorn.error", "uvicorn.access", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [_Aside(workspace)], False
