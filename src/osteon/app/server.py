"""The server: pages, routes and the guard in front of them, on one machine."""

from __future__ import annotations

import logging
import os
import socket
import traceback

from jinja2.ext import Extension

from osteon.app.guard import NONCE, AppRules
from osteon.app.state import AppState
from osteon.app.workspace import Workspace
from osteon.core.garbage import pause_collector
from osteon.web.address import ServerAddress
from osteon.web.connections import server_options
from osteon.web.guard import AccessRules, Guard

RECONNECT_S = 60.0
"""A page that loads a large scan does not answer for a while: NiceGUI would delete it after its usual 3 s."""
TOKEN_DIGITS = 32
ERROR_LOG = "errors.log"


def access_rules(workspace: Workspace, address: ServerAddress, *, ask_token: bool = False) -> AppRules:
    """What requests must satisfy: a token where others than this machine reach the server, or where it is wanted."""
    if address.local and not ask_token:
        return AppRules()
    token = workspace.keyed_hash("token", digits=TOKEN_DIGITS)
    return AppRules(token, address.local, workspace.keyed_hash("cookie", token, digits=TOKEN_DIGITS))


def page_url(address: ServerAddress, rules: AccessRules) -> str:
    """What to open in a browser."""
    host = address.host if address.host not in ("0.0.0.0", "::") else socket.gethostname()
    return address.url(host) + (f"?token={rules.token}" if rules.token else "")


class NonceExtension(Extension):
    """Writes the response's nonce into the scripts of NiceGUI's page, and not into those in values."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:  # noqa: ARG002 (Jinja's)
        """The template's text, before any value is in it."""
        return source.replace("<script", f'<script nonce="{{{{ request.state.{NONCE} }}}}"')


def build_app(state: AppState, rules: AccessRules) -> None:
    """Put pages, routes and guard onto NiceGUI's application."""
    from nicegui import app
    from nicegui.client import templates

    from osteon.app.bin import finish_purges
    from osteon.app.drawing.routes import remove_incoming
    from osteon.app.notifications import INTERVAL_S, JobEndWatcher
    from osteon.app.page_cleanup import CLEANUP_INTERVAL_S, PageCleanup
    from osteon.app.pages import (
        archive,
        case,
        compare,
        data,
        dataset,
        draw,
        home,
        jobs,
        runs,
        segment,
        source,
        space,
        train,
        work,
    )
    from osteon.app.routes import routes
    from osteon.app.updates import WATCH_EVERY_S, watch_labels

    for page in (home, data, archive, source, dataset, case, draw, train, segment, compare, runs, jobs, space, work):
        page.register(state)
    watcher, cleanup = JobEndWatcher(state.jobs), PageCleanup()
    app.router.routes[:0] = [*routes(state), cleanup.route]
    app.add_middleware(Guard, rules=rules)
    templates.env.add_extension(NonceExtension)
    app.on_startup(state.uploads.remove_leftovers)
    app.on_startup(lambda: remove_incoming(state))
    app.on_startup(lambda: finish_purges(state))
    app.on_startup(state.jobs.advance)
    app.on_startup(state.reader.start)
    app.on_startup(lambda: app.timer(INTERVAL_S, watcher.notify))
    app.on_startup(lambda: app.timer(INTERVAL_S, state.uploads.interrupt_idle))
    app.on_startup(lambda: app.timer(WATCH_EVERY_S, lambda: watch_labels(state)))
    app.on_startup(lambda: app.timer(CLEANUP_INTERVAL_S, cleanup.free_memory))
    app.on_delete(cleanup.mark_deleted)
    app.on_shutdown(state.reader.close)
    app.on_exception(lambda error: log_error(state.workspace, error))


def serve(state: AppState, address: ServerAddress, rules: AccessRules, *, show: bool = True) -> None:
    """Listen until interrupted."""
    os.environ["NICEGUI_STORAGE_PATH"] = str(state.workspace.root / "cache/.nicegui")  # before the import
    with pause_collector():
        from nicegui import ui

        build_app(state, rules)
    redirect_logs(state.workspace)
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


def log_error(workspace: Workspace, error: BaseException) -> None:
    """Write an error into the workspace, where only its owner reads it: it may name a patient."""
    path = workspace.root / ERROR_LOG
    with path.open("a", encoding="utf-8") as stream:
        path.chmod(0o600)
        stream.write("".join(traceback.format_exception(error)) + "\n")


class _WorkspaceLog(logging.Handler):
    """Writes errors of libraries into the workspace."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        if record.exc_info and record.exc_info[1] is not None:
            log_error(self.workspace, record.exc_info[1])
        elif record.levelno >= logging.ERROR:
            log_error(self.workspace, RuntimeError(record.getMessage()))


def redirect_logs(workspace: Workspace) -> None:
    """Keep log lines of libraries, which may name patients, off the terminal."""
    for name in ("nicegui", "uvicorn", "uvicorn.error", "uvicorn.access", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [_WorkspaceLog(workspace)], False
