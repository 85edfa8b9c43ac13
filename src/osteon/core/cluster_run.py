"""A cluster's scheduler as a client sees it, and one function over many items in the hands of its workers."""

from __future__ import annotations

import logging
import os
import pickle
import platform
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osteon.core.errors import OsteonError, UsageError
from osteon.core.parallel import Outcome, attempt
from osteon.core.progress import status
from osteon.core.threads import set_thread_count
from osteon.core.version import __version__

logger = logging.getLogger(__name__)
IN_FLIGHT = 4
"""Items that the scheduler knows at a time for each worker: enough that none waits, and its memory stays flat."""
POLL_EVERY_S = 0.02
CHECK_EVERY_S = 2.0
"""Between two questions to the scheduler who its workers are."""
VERSIONS = (__version__, ".".join(platform.python_version_tuple()[:2]))
"""Of osteon and Python: those of all workers are the same."""


@dataclass
class Scheduler:
    """A scheduler that was connected to.

    Attributes:
        client: Dask's.
        threads: Threads of each worker, by its address, as they were last.
        checked: When that was.
    """

    client: Any
    threads: dict[str, int] = field(default_factory=dict)
    checked: float = float("-inf")

    def check(self) -> bool:
        """Ask who the workers are, where it was not asked lately. Raises UsageError where one has several threads."""
        if time.monotonic() - self.checked < CHECK_EVERY_S:
            return False
        with self.errors():
            before, self.threads = self.threads, self.client.nthreads()
        self.checked = time.monotonic()
        if before and not self.threads:
            logger.warning("the cluster has no worker any more: waiting for one")
        for address, count in self.threads.items():
            if count > 1:
                raise UsageError(
                    f"the worker {address} has {count} threads: cases would be worked on side by side in one process",
                    hint="start workers with --nthreads 1, and as many as there is memory for (--nworkers)",
                )
        return True

    def wait_for_worker(self) -> None:
        """Wait until there is one."""
        self.check()
        if not self.threads:
            with status("waiting for the cluster's first worker"):
                while not self.threads:
                    time.sleep(POLL_EVERY_S)
                    self.check()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raise OsteonError where the scheduler does not answer any more."""
        from distributed.client import ClosedClientError

        try:
            yield
        except (OSError, ClosedClientError) as error:  # TimeoutError and Dask's CommClosedError are OSErrors
            raise _lost() from error


@dataclass
class ClusterRun:
    """One function over items, with a bounded number of them in the scheduler's hands.

    Attributes:
        scheduler: Where.
        function: What is done.
        setup: What each worker does first.
        token: Names the run.
        job: Dask's future of function and setup: a worker fetches them once.
        flying: Dask's future of each item that has begun or is about to → its number.
        tries: How many were handed over.
    """

    scheduler: Scheduler
    function: Callable[[Any], Any]
    setup: Callable[[], None] | None
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    job: Any = None
    flying: dict[Any, int] = field(default_factory=dict)
    tries: int = 0

    def outcomes(self, items: dict[int, tuple[Any, str]]) -> Iterator[tuple[int, Outcome[Any, Any] | None]]:
        """Number and outcome of each item with its name; None for one whose workers were lost."""
        from distributed import KilledWorker, as_completed

        left = deque(items)
        done = as_completed([], loop=self.scheduler.client.loop, with_results=True, raise_errors=False)
        while left or self.flying:
            if self.scheduler.check() and any(future.status == "cancelled" for future in self.flying):
                raise _lost()  # also where another took its place meanwhile
            while left and len(self.flying) < IN_FLIGHT * max(1, len(self.scheduler.threads)):
                number = left.popleft()
                future = self._submit(number, *items[number])
                self.flying[future] = number
                done.add(future)
            if not done.has_ready():
                time.sleep(POLL_EVERY_S)
                continue
            for future, result in done.next_batch(block=False):
                number = self.flying.pop(future)
                if future.status == "finished":
                    yield number, Outcome(items[number][0], *result)
                elif future.status == "error" and isinstance(result[1], KilledWorker):
                    yield number, None
                elif future.status == "error":
                    raise _explained(result[1])
                else:
                    raise _lost()
                del future  # or the worker keeps its result

    def cancel(self) -> None:
        """Let go of what has not begun."""
        if self.flying:
            with suppress(Exception):  # a scheduler that has gone has nothing to cancel
                self.scheduler.client.cancel(list(self.flying))
            self.flying.clear()
        self.job = None

    def _submit(self, number: int, item: Any, name: str) -> Any:
        from dask import config
        from distributed.protocol.pickle import dumps

        client = self.scheduler.client
        with self.scheduler.errors(), config.set({"distributed.admin.large-graph-warning-threshold": "10GB"}):
            if self.job is None:
                packed = dumps((self.function, self.setup, str(Path.cwd())))
                self.job = client.submit(bytes, packed, key=(f"osteon-{self.token}-job", 0), pure=False)
            self.tries += 1
            key = (f"osteon-{self.token}", number, self.tries)
            return client.submit(_do, self.job, self.token, dumps(item), name, VERSIONS, key=key, pure=False)


_job_here: list[tuple[str, Callable[[Any], Any]]] = []
"""Token and function of the run that this worker works for."""


def _do(job: bytes, token: str, item: bytes, name: str, versions: tuple[str, str]) -> tuple[Any, OsteonError | None]:
    """One item, in a worker: its result and its error."""
    if not _job_here or _job_here[0][0] != token:
        if versions != VERSIONS:
            theirs, ours = (f"osteon {osteon} with Python {python}" for osteon, python in (versions, VERSIONS))
            raise UsageError(
                f"a worker on {platform.node()} runs {ours}, and this command {theirs}",
                hint="install the same osteon and Python everywhere, and start the workers again",
            )
        set_thread_count(1)
        _job_here.clear()  # its memory is free before there is another
        function, setup, folder = pickle.loads(job)
        _enter(folder)
        if setup is not None:
            setup()
        _job_here.append((token, function))
    outcome = attempt(_job_here[0][1], pickle.loads(item), name)
    return outcome.result, outcome.error


def _enter(folder: str) -> None:
    """Let relative paths mean what they mean to the command. Raises UsageError where its folder is not here."""
    try:
        os.chdir(folder)
    except OSError as error:
        raise UsageError(
            f"{folder}: a worker on {platform.node()} cannot enter the folder of this command ({error.strerror})",
            hint="give the command in a folder on a disk that all machines share, at the same path",
        ) from None


def _lost() -> OsteonError:
    return OsteonError(
        "the cluster's scheduler has gone",
        hint="start it and its workers again, and give the same command; what is done is kept",
    )


def _explained(error: BaseException) -> BaseException:
    """An error of a worker, in words where it has no osteon."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("osteon"):
        return UsageError(
            f"the cluster's scheduler or a worker has no osteon, or another one ({error})",
            hint="start `dask scheduler` and `dask worker` where the same osteon is installed",
        )
    return error
