"""How far a long stage is: a bar on a terminal, a line now and then in a log, nothing unless `show_progress` is on.

The command line switches it on (`show_progress`), and has the messages of osteon's loggers printed (`print_messages`);
in a program of others osteon prints nothing, and logs to `logging.getLogger("osteon")`.

Whoever started the process and waits for it may name a file (`PROGRESS_FILE_VARIABLE`), and finds there, each second,
what is done now.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import parent_process
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

T = TypeVar("T")

console = Console(stderr=True, highlight=False)
"""Everything that is not the result of a command goes to standard error."""
LOG_EVERY_S = 30.0
"""Between two lines of progress in a log."""
PROGRESS_FILE_VARIABLE = "OSTEON_PROGRESS"
"""Names the file for whoever waits: a line for each stage, the outermost first."""
POST_EVERY_S = 1.0
now = time.monotonic
"""Seconds; replaced in tests."""
_active: list[Callable[[], str]] = []
_shown = False
progress_logger = logging.getLogger("osteon.progress")
"""Messages that tell how far a stage is: printed only while progress is shown."""


@contextmanager
def show_progress(wanted: bool = True) -> Iterator[None]:
    """Show progress inside the block, bars and lines; with `wanted` False none. It holds for the whole process."""
    global _shown
    before, _shown = _shown, wanted
    try:
        yield
    finally:
        _shown = before


def is_quiet() -> bool:
    """Whether no progress is shown: nobody asked for it, or this is a worker process, whose parent shows it."""
    return not _shown or parent_process() is not None


class _ConsoleHandler(logging.Handler):
    """Prints messages on the console, warnings in yellow, as they are: without markup, never broken into lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record; a full disk under the log is an error of whoever logs."""
        if record.name != progress_logger.name or not is_quiet():
            style = "yellow" if record.levelno >= logging.WARNING else ""
            console.print(Text(record.getMessage(), style), soft_wrap=True)


@contextmanager
def print_messages() -> Iterator[None]:
    """Print what osteon logs inside the block, information too, on the console and nowhere else."""
    logger = logging.getLogger("osteon")
    level, propagate, handlers = logger.level, logger.propagate, logger.handlers
    logger.setLevel(logging.INFO)
    logger.propagate, logger.handlers = False, [_ConsoleHandler()]
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.propagate, logger.handlers = propagate, handlers


@contextmanager
def log_lines(start: str, line: Callable[[], str]) -> Iterator[None]:
    """Print `start`, and what `line` returns every `LOG_EVERY_S` seconds until the block ends, into a log.

    A thread prints them, so that they come although nothing advances. None comes after the block's end.
    """
    if is_quiet():
        yield
        return
    over = threading.Event()
    path = os.environ.get(PROGRESS_FILE_VARIABLE)

    def repeat() -> None:
        logged = time.monotonic()
        while not over.wait(min(LOG_EVERY_S, POST_EVERY_S) if path else LOG_EVERY_S):
            with suppress(OSError):  # a full disk under the log; the work itself will say so
                if path:
                    _write_progress_file(Path(path))
                if time.monotonic() - logged >= LOG_EVERY_S or not path:
                    logged = time.monotonic()
                    console.out(line())

    console.out(start)
    _active.append(line)
    thread = threading.Thread(target=repeat, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        _active.remove(line)
        if path:
            with suppress(OSError):
                _write_progress_file(Path(path))


def _write_progress_file(path: Path) -> None:
    """Write the lines of all active work, whole or not at all."""
    temporary = path.with_name(f".{path.name}-{threading.get_ident()}")
    temporary.write_text("\n".join(line() for line in tuple(_active)), encoding="utf-8")
    temporary.replace(path)


@dataclass
class _Counter:
    """How many of how many items are done, when the last one was, and how many failed for which reason."""

    what: str
    total: int | None
    done: int = 0
    began: float = field(default_factory=lambda: now())
    advanced: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)

    def advance(self, error: Exception | None = None) -> None:
        self.done, self.advanced = self.done + 1, now()
        if error is not None:
            self.failures[type(error).__name__] += 1

    def count(self) -> str:
        return f"{self.what}: {self.done}" + ("" if self.total is None else f" of {self.total}")

    def failed(self) -> str:
        """`; failed: 2 FileError, 1 GeometryError`; empty where none did."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.failures.most_common())
        return f"; failed: {reasons}" if reasons else ""

    def line(self) -> str:
        if self.total is None:
            return f"{self.count()}, {format_duration(now() - self.began)} so far{self.failed()}"
        left, rate = None, ""
        if self.done and (took := self.advanced - self.began) > 0:
            left = took / self.done * (self.total - self.done) - (now() - self.advanced)
            rate = f"{format_rate(self.done / took)}, "
        percent = 100 * self.done // max(1, self.total)
        return f"{self.count()} ({percent} %), {rate}{format_time_left(left)}{self.failed()}"


class _RateColumn(ProgressColumn):
    """How many items are done in a second, a minute or an hour."""

    def render(self, task: Task) -> Text:
        return Text("" if task.finished or not task.speed else format_rate(task.speed))


@contextmanager
def progress_bar(what: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """Show how far a work of `total` items is; yields a function to call when one is done, with its error where it
    failed.

    Args:
        what: The work, such as `measuring`.
        total: Number of items; None: unknown. Nothing is shown of none.
    """
    counter = _Counter(what, total)
    if total == 0:
        yield lambda *_: None
    elif console.is_terminal and not is_quiet():
        bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            _RateColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        with bar:
            task = bar.add_task(what, total=total)

            def advance(error: Exception | None = None) -> None:
                counter.advance(error)
                bar.update(task, advance=1, description=f"{what}{counter.failed()}")

            yield advance
    else:
        with log_lines(counter.count(), counter.line):
            yield counter.advance
        _log_end(counter.count(), counter.began)


def track(
    items: Iterable[T], what: str, *, total: int | None = None, error_of: Callable[[T], Exception | None] | None = None
) -> Iterator[T]:
    """Yield `items` while showing `what`, how far it has come, and the kinds of what `error_of` says of them."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress_bar(what, total) as advance:
        for item in items:
            yield item
            advance(error_of(item) if error_of else None)


@contextmanager
def status(what: str) -> Iterator[None]:
    """Show that work goes on whose length is unknown: a spinner on a terminal, a line now and then in a log."""
    if console.is_terminal and not is_quiet():
        with console.status(escape(what)):
            yield
        return
    began = now()
    with log_lines(what, lambda: f"{what}: {format_duration(now() - began)} so far"):
        yield
    _log_end(f"{what}: done", began)


def _log_end(text: str, began: float) -> None:
    """The last line of work that took so long that a log has lines in between."""
    seconds = now() - began
    if seconds >= LOG_EVERY_S and not is_quiet():
        console.out(f"{text} in {format_duration(seconds)}")


def format_time_left(seconds: float | None) -> str:
    """`1:24 left`; `? left` where nothing tells yet."""
    return f"{'?' if seconds is None else format_duration(seconds)} left"


def format_rate(per_s: float) -> str:
    """`3.2 a second`, `18 a minute`, `7.5 an hour`."""
    for seconds, unit in ((1, "a second"), (60, "a minute")):
        if (rate := per_s * seconds) >= 1:
            return f"{rate:.{int(rate < 10)}f} {unit}"
    return f"{per_s * 3600:.1f} an hour"


def format_duration(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
