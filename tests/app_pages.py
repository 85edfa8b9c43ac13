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

from osteon.app.guard import Rules
from osteon.app.jobs import Jobs
from osteon.app.reader import Reader
from osteon.app.server import build
from osteon.app.state import Studio
from osteon.app.workspace import Workspace

MAIN = Path(__file__).with_name("app_main.py")
going: list[Studio] = []
"""Whose pages the main file puts onto the server."""


def start() -> None:
    """What the main file does."""
    build(going[-1], Rules(local=False))
    ui.run(reload=False, show=False, tailwind=False, storage_secret="tests")


@asynccontextmanager
async def opened(studio: Studio) -> AsyncIterator[User]:
    """Somebody at the pages of a studio; what takes long is done at once, and no job is begun."""

    async def at_once(_: Reader, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        return function(*arguments, **named)

    before = dict(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reader, "ask", at_once)
        patch.setattr(Reader, "warm", lambda _: None)
        patch.setattr(Jobs, "advance", lambda _: None)
        going.append(studio)
        try:
            async with user_simulation(main_file=MAIN) as user:
                yield user
        finally:
            going.pop()
            sys.modules.update(before)  # NiceGUI's simulation takes the pages' modules and their parents away


def visit(folder: Path, steps: Callable[[User, Studio], Awaitable[None]], data: tuple[Path, ...] = ()) -> Studio:
    """Let somebody do something in a workspace."""
    studio = Studio(Workspace.open(folder, data))

    async def whole() -> None:
        async with opened(studio) as user:
            await steps(user, studio)

    asyncio.run(whole())
    return studio


async def click(user: User, text: str) -> None:
    """Click what is called so, and let what follows happen."""
    user.find(text).click()
    await asyncio.sleep(0.1)
