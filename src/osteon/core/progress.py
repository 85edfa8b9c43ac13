"""How far a long work is: a bar on a terminal, a line now and then in a log, nothing where it is not wanted.

Whoever started the process and waits for it may name a file (`POSTED`), and finds there, each second, what is done now.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import parent_process
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")

console = Console(stderr=True, highlight=False)
"""Everything that is not the result of a command goes to standard error."""
EVERY_S = 30.0
"""A log is told at least this often how far the work is."""
POSTED = "OSTEON_PROGRESS"
"""The environment variable that names the file for whoever waits: a line for each work, the outermost first."""
POST_S = 1.0
now = time.monotonic
"""Seconds; replaced in tests."""
_going: list[Callable[[], str]] = []
_quiet = False


@contextmanager
def quiet(wanted: bool = True) -> Iterator[None]:
    """Show no progress inside the block, neither bars nor lines; results, warnings and errors still come.

    It holds for the whole process, its threads among it; `wanted` False leaves all as it is.
    """
    global _quiet
    before, _quiet = _quiet, _quiet or wanted
    try:
        yield
    finally:
        _quiet = before


def warn(message: str) -> None:
    """Show people a line in yellow; brackets in it are no markup."""
    console.print(f"[yellow]{escape(message)}[/]", soft_wrap=True)


def tell(message: str) -> None:
    """Show people a line; brackets in it are no markup."""
    console.print(escape(message), soft_wrap=True)


def is_quiet() -> bool:
    """Whether no progress is shown: it is not wanted, or this is a worker process, whose parent shows it."""
    return _quiet or parent_process() is not None


@contextmanager
def lines(start: str, line: Callable[[], str]) -> Iterator[None]:
    """Print `start`, and what `line` returns every `EVERY_S` seconds until the block ends, into a log.

    A thread prints them, so that they come although nothing advances. None comes after the block's end.
    """
    if is_quiet():
        yield
        return
    over = threading.Event()
    path = os.environ.get(POSTED)

    def repeat() -> None:
        said = time.monotonic()
        while not over.wait(min(EVERY_S, POST_S) if path else EVERY_S):
            with suppress(OSError):  # a full disk under the log; the work itself will say so
                if path:
                    _post(Path(path))
                if time.monotonic() - said >= EVERY_S or not path:
                    said = time.monotonic()
                    console.out(line())

    console.out(start)
    _going.append(line)
    thread = threading.Thread(target=repeat, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        _going.remove(line)
        if path:
            with suppress(OSError):
                _post(Path(path))


def _post(path: Path) -> None:
    """Write what goes on for whoever waits, whole or not at all."""
    partly = path.with_name(f".{path.name}-{threading.get_ident()}")
    partly.write_text("\n".join(line() for line in tuple(_going)), encoding="utf-8")
    partly.replace(path)


@dataclass
class _Count:
    """How many of how many are done, and when the last one was."""

    what: str
    total: int | None
    done: int = 0
    began: float = field(default_factory=lambda: now())
    advanced: float = 0.0

    def advance(self) -> None:
        self.done, self.advanced = self.done + 1, now()

    def place(self) -> str:
        return f"{self.what}: {self.done}" + ("" if self.total is None else f" of {self.total}")

    def line(self) -> str:
        if self.total is None:
            return f"{self.place()}, {clock(now() - self.began)} so far"
        left = None
        if self.done:
            left = (self.advanced - self.began) / self.done * (self.total - self.done) - (now() - self.advanced)
        return f"{self.place()} ({100 * self.done // max(1, self.total)} %), {time_left(left)}"


@contextmanager
def progress_bar(what: str, total: int | None = None) -> Iterator[Callable[[], None]]:
    """Show how far a work of `total` items is; yields what is to be called when one is done.

    Args:
        what: The work, such as `measuring`.
        total: Number of items; None: unknown. Nothing is shown of none.
    """
    if total == 0:
        yield lambda: None
    elif console.is_terminal and not is_quiet():
        bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        with bar:
            task = bar.add_task(what, total=total)
            yield lambda: bar.advance(task)
    else:
        count = _Count(what, total)
        with lines(count.place(), count.line):
            yield count.advance
        _say_end(count.place(), count.began)


def track(items: Iterable[T], what: str, *, total: int | None = None) -> Iterator[T]:
    """Yield `items` while showing `what` and how far it has come."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress_bar(what, total) as advance:
        for item in items:
            yield item
            advance()


@contextmanager
def status(what: str) -> Iterator[None]:
    """Show that a work goes on of which nobody knows how far it is: something turns on a terminal."""
    if console.is_terminal and not is_quiet():
        with console.status(escape(what)):
            yield
        return
    began = now()
    with lines(what, lambda: f"{what}: {clock(now() - began)} so far"):
        yield
    _say_end(f"{what}: done", began)


def _say_end(text: str, began: float) -> None:
    """The last line of what took so long that a log was told in between."""
    seconds = now() - began
    if seconds >= EVERY_S and not is_quiet():
        console.out(f"{text} in {clock(seconds)}")


def time_left(seconds: float | None) -> str:
    """`1:24 left`; `? left` where nothing tells yet."""
    return f"{'?' if seconds is None else clock(seconds)} left"


def clock(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
