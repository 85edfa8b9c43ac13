"""One function over many cases, on as many processes as memory allows; a failed case never stops the others.

Inside `use_backend` the processes are those of a cluster (`core.cluster`): nothing else asks where they are.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import psutil

from osteon.core.errors import DiskFullError, OsteonError, is_out_of_memory, memory_error
from osteon.core.files import is_disk_full, write_error
from osteon.core.garbage import skip_last_collection
from osteon.core.platform import cpu_count
from osteon.core.progress import track
from osteon.core.threads import set_thread_count

logger = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")

CASE_BYTES_PER_VOXEL = 32
"""Peak memory of measuring or preparing a case (file, float copies, masks) for each voxel and channel."""
START_UP_BYTES = 400 << 20
"""What a fresh worker process holds before it has read anything (interpreter and libraries)."""


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """The result of one item, or the error that it ended with."""

    item: Item
    result: Result | None
    error: OsteonError | None


class Backend(Protocol):
    """Processes elsewhere."""

    @property
    def workers(self) -> int:
        """How many there are now; at least 1."""

    def run(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        name: Callable[[Item], str],
        setup: Callable[[], None] | None,
    ) -> Iterator[Outcome[Item, Result]]:
        """Outcomes as they come; arguments and errors are those of `for_each`."""


_backend: ContextVar[Backend | None] = ContextVar("backend", default=None)


@contextmanager
def use_backend(backend: Backend) -> Iterator[None]:
    """Let `for_each` work in these processes inside the block, in this thread."""
    token = _backend.set(backend)
    try:
        yield
    finally:
        _backend.reset(token)


def active_backend() -> Backend | None:
    """Where `for_each` works; None: on this machine."""
    return _backend.get()


def worker_count(items: int, bytes_each: int, *, limit: int | None = None) -> int:
    """How many processes fit: no more than items, cores, and the workers for which three quarters of memory suffice.

    Args:
        items: Number of items to be worked on.
        bytes_each: Peak memory of one item in work.
        limit: An upper bound from the user.

    Where a cluster is in use they are its workers, each with the memory that it was given.
    """
    if (backend := _backend.get()) is not None:
        return backend.workers
    by_memory = int(psutil.virtual_memory().available * 0.75 / (bytes_each + START_UP_BYTES))
    return max(1, min(items, limit or cpu_count(), cpu_count(), by_memory))


def for_each(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    what: str | None,
    *,
    name: Callable[[Item], str],
    workers: int = 1,
    setup: Callable[[], None] | None = None,
) -> Iterator[Outcome[Item, Result]]:
    """Apply `function` to each item and yield outcomes as they come, showing progress.

    Args:
        function: OsteonError, and memory that does not suffice, are outcomes. Any other error is a bug, and raised.
        items: What it is applied to.
        what: For the progress; None: none is shown.
        name: What an item is called in an error.
        workers: Processes.
        setup: What each worker process does first: for what `function` needs beside an item.

    With more than one worker, or on a cluster (whatever `workers` is), `function` and items must be picklable. When a
    worker dies (out of memory, a signal), the items it leaves undone are worked on again in this process, one at a
    time; on a cluster by another worker. Workers end with this process, however it ends, and compute with one thread
    each unless the environment says otherwise (OMP_NUM_THREADS).
    """
    if (backend := _backend.get()) is not None and items:
        yield from _track(backend.run(function, items, name, setup), what, len(items))
        return
    if workers <= 1:
        yield from _track((attempt(function, item, name(item)) for item in items), what, len(items))
        return
    remaining = dict(enumerate(items))
    context, others = multiprocessing.get_context("spawn"), set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, mp_context=context, initializer=init_worker, initargs=(setup,)) as pool:
        try:
            futures: dict[Future[Outcome[Item, Result]], int] = {
                pool.submit(attempt, function, item, name(item)): number for number, item in remaining.items()
            }
            yield from _track(_finished(futures, remaining), what, len(items))
        except BrokenProcessPool as error:
            logger.warning(f"a worker process died ({error}); continuing in one process")
        except KeyboardInterrupt:  # what they write is whole, or not there
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
            raise
        finally:  # whoever stops listening does not wait for what has not begun
            pool.shutdown(wait=False, cancel_futures=True)
    if remaining and setup is not None:
        setup()
    again = (attempt(function, item, name(item)) for item in remaining.values())
    yield from _track(again, what and f"{what}, one at a time", len(remaining))


def _track(outcomes: Iterable[Outcome[Item, Result]], what: str | None, total: int) -> Iterator[Outcome[Item, Result]]:
    if what is None:
        return iter(outcomes)
    return track(outcomes, what, total=total, error_of=lambda outcome: outcome.error)


def _finished(
    futures: Mapping[Future[Outcome[Item, Result]], int], remaining: dict[int, Item]
) -> Iterator[Outcome[Item, Result]]:
    """Outcomes as they come; what has one is taken from `remaining`."""
    for future in as_completed(futures):
        outcome = future.result()
        del remaining[futures[future]]
        yield outcome


def init_worker(setup: Callable[[], None] | None = None) -> None:
    """What a fresh worker does first, before it imports what it works with. Ctrl-C is its parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_thread_count(1)
    skip_last_collection()
    threading.Thread(target=exit_with_parent, daemon=True).start()
    if setup is not None:
        setup()


def exit_with_parent() -> None:
    """End with the parent, in a thread of a child: it would wait for work for ever, since it holds the queue open."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def case_failure(name: str, error: Exception, hint: str = "close other programs") -> OsteonError:
    """The error of one case among many, with which the others go on.

    Args:
        name: The case, for people.
        error: What it ended with.
        hint: What helps where memory did not suffice.

    Raises:
        DiskFullError: The disk was full: no case is to blame, and the next would fare no better.
        Exception: `error`, where it is a bug.
    """
    if isinstance(error, OSError) and is_disk_full(error):
        raise write_error(Path(error.filename or name), error) from error
    if isinstance(error, OsteonError) and not isinstance(error, DiskFullError):
        return error
    if is_out_of_memory(error):
        return memory_error(name, error, hint)
    raise error


def attempt(function: Callable[[Item], Result], item: Item, name: str) -> Outcome[Item, Result]:
    """The outcome of one item. Raises as `case_failure`."""
    try:
        return Outcome(item, function(item), None)
    except Exception as error:  # noqa: BLE001 (bugs are raised again)
        hint = "close other programs, or use fewer workers (--workers 1)"
        return Outcome(item, None, case_failure(name, error, hint))
