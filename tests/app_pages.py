"""The browser app without a browser: its pages in the tests' own process, its jobs noted and not begun."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("NICEGUI_STORAGE_PATH", str(Path(tempfile.gettempdir()) / "osteon-tests-nicegui"))

import pytest
from nicegui import ui
from nicegui.testing.user import User
from nicegui.testing.user_simulation import user_simulation

from osteon.app.guard import AppRules
from osteon.app.jobs import Jobs
from osteon.app.reader import ReaderProcess
from osteon.app.server import build_app
from osteon.app.state import AppState
from osteon.app.workspace import Workspace

MAIN = Path(__file__).with_name("app_main.py")
going: list[AppState] = []
"""Whose pages the main file puts onto the server."""


def start() -> None:
    """What the main file does."""
    build_app(going[-1], AppRules(local=False))
    ui.run(reload=False, show=False, tailwind=False, storage_secret="tests")


@asynccontextmanager
async def open_app(app: AppState) -> AsyncIterator[User]:
    """A user at the pages of an app; what takes long is done at once, and no job is begun."""

    async def at_once(_: ReaderProcess, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        return function(*arguments, **named)

    before = dict(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReaderProcess, "run", at_once)
        patch.setattr(ReaderProcess, "start", lambda _: None)
        patch.setattr(Jobs, "advance", lambda _: None)
        going.append(app)
        try:
            async with user_simulation(main_file=MAIN) as user:
                yield user
        finally:
            going.pop()
            sys.modules.update(before)  # NiceGUI's simulation takes the pages' modules and their parents away


def visit(folder: Path, steps: Callable[[User, AppState], Awaitable[None]], data: tuple[Path, ...] = ()) -> AppState:
    """Let somebody do something in a workspace."""
    app = AppState(Workspace.open(folder, data))

    async def whole() -> None:
        async with open_app(app) as user:
            await steps(user, app)

    asyncio.run(whole())
    return app


async def click(user: User, text: str) -> None:
    """Click what is called so, and let what follows happen."""
    user.find(text).click()
    await asyncio.sleep(0.1)
