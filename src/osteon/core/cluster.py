"""`for_each` on many machines, by Dask: which worker does which case, and what follows when one is lost.

State lies in files alone. The scheduler knows what is being done and nothing else: whoever ends, workers, scheduler or
this process, the same command goes on where the files say.

Loaded only where a cluster is asked for; `distributed` and `dask_jobqueue` (the extra `cluster`) are imported here
and in `core.cluster_run` alone.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from osteon.core.cluster_run import ClusterRun, Scheduler
from osteon.core.cluster_settings import AddressSettings, ClusterSettings, LocalSettings, SlurmSettings, parse_cluster
from osteon.core.errors import CaseError, OsteonError, UsageError, summarise_error
from osteon.core.parallel import Outcome, use_backend
from osteon.core.platform import cpu_count

Item = TypeVar("Item")
Result = TypeVar("Result")

MEMORY_SHARE = 0.75
"""Of a worker's memory that its work may take: at 80 % Dask pauses it, at 95 % it is ended."""
_EXTRA = "pip install 'osteon[cluster]'"


@contextmanager
def open_cluster(text: str) -> Iterator[None]:
    """Let work over cases be done on a cluster inside the block.

    It is connected to, or started, when there is the first work, and what was started is ended with the block.

    Args:
        text: `local`, the address of a scheduler (`tcp://host:8786`), `slurm`, or a file (`core.cluster_settings`).

    Raises:
        UsageError: It is none of these, or the extra `cluster` is not installed.
        OsteonError: There is no scheduler, or it has gone.
    """
    settings = parse_cluster(text)
    _check_installed("dask_jobqueue" if isinstance(settings, SlurmSettings) else "distributed")
    cluster = _Cluster(settings)
    try:
        with use_backend(cluster):
            yield
    finally:
        cluster.close()


def worker_memory() -> int | None:
    """Bytes that work in this process may take; None where it is no worker of a cluster, or has no limit."""
    if "distributed" in sys.modules:
        from distributed import get_worker

        with suppress(ValueError):
            limit = get_worker().memory_manager.memory_limit
            return int(limit * MEMORY_SHARE) if limit else None
    return None


def _check_installed(module: str) -> None:
    handler = signal.getsignal(signal.SIGINT)
    try:
        __import__(module)
    except ImportError as error:
        raise UsageError(f"--cluster needs {module}, which cannot be loaded ({error})", hint=_EXTRA) from None
    if signal.getsignal(signal.SIGINT) is not handler:  # dask_jobqueue takes Ctrl-C, and would end the command with 0
        signal.signal(signal.SIGINT, handler)


@dataclass
class _Cluster:
    """The workers of a cluster, for `core.parallel`.

    Attributes:
        settings: Which cluster.
        stack: Of what is open: client, and what it started.
        scheduler: Its scheduler, once there was work.
    """

    settings: ClusterSettings
    stack: ExitStack = field(default_factory=ExitStack)
    scheduler: Scheduler | None = None

    @property
    def workers(self) -> int:
        """How many there are now; at least 1."""
        return max(1, len(self._connect().threads))

    def run(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        name: Callable[[Item], str],
        setup: Callable[[], None] | None,
    ) -> Iterator[Outcome[Item, Result]]:
        """Outcomes as they come.

        An item whose worker is lost is done again by another, as often as Dask has it (`allowed-failures`). Whether it
        was to blame, or its neighbour, shows when it is then done once more while nothing else is.
        """
        run = ClusterRun(self._connect(), function, setup)
        try:
            lost = []
            for number, outcome in run.outcomes({n: (item, name(item)) for n, item in enumerate(items)}):
                if outcome is None:
                    lost.append(number)
                else:
                    yield outcome
            for number in lost:
                item = items[number]
                for _, outcome in run.outcomes({number: (item, name(item))}):
                    yield outcome or Outcome(item, None, _killed(name(item)))
        finally:
            run.cancel()

    def close(self) -> None:
        """Leave the cluster, and end what was started."""
        with suppress(Exception):  # a scheduler that has gone cannot be taken leave of
            self.stack.close()

    def _connect(self) -> Scheduler:
        if self.scheduler is not None:
            return self.scheduler
        from distributed import Client

        self.stack.enter_context(_silence("distributed.batched", "distributed.client", "tornado.application"))
        where = self.stack.enter_context(_started(self.settings))
        try:
            client = self.stack.enter_context(Client(where, set_as_default=False))
        except OSError as error:
            raise OsteonError(
                f"{where}: there is no scheduler ({summarise_error(error)})",
                hint="start it (`dask scheduler`), and workers (`dask worker`), or correct the address",
            ) from error
        self.scheduler = Scheduler(client)
        self.scheduler.wait_for_worker()
        return self.scheduler


def _killed(name: str) -> OsteonError:
    return CaseError(
        f"{name}: the workers that had it ended, one after the other; perhaps it needs more memory than they have",
        hint="give workers more memory (--memory-limit of `dask worker`, `memory` in the file), or see their logs",
    )


@contextmanager
def _silence(*names: str) -> Iterator[None]:
    """Keep loggers from telling what the errors of osteon say, with all of its stack, when a scheduler goes."""
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def _started(settings: ClusterSettings) -> Iterator[Any]:
    """What a client connects to: an address, or a cluster that is started for the block."""
    if isinstance(settings, AddressSettings):
        yield settings.address
    elif isinstance(settings, LocalSettings):
        from distributed import LocalCluster

        count = settings.workers or cpu_count()
        before = dict(os.environ)
        try:
            with LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
                _restore_environment(before)
                yield cluster
        finally:
            _restore_environment(before)
    else:
        with _slurm(settings) as cluster:
            cluster.adapt(minimum_jobs=settings.jobs, maximum_jobs=settings.jobs)  # one that ends is started again
            yield cluster


def _restore_environment(before: dict[str, str]) -> None:
    """Take back what Dask sets for the workers that it starts, such as how many threads this process has."""
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def _slurm(settings: SlurmSettings) -> Any:
    from dask import config
    from dask_jobqueue import SLURMCluster

    given = settings.model_dump(exclude={"kind", "jobs", "options"}, exclude_none=True) | settings.options
    cores = given.get("cores") or config.get("jobqueue.slurm.cores", None)
    try:
        return SLURMCluster(**({"processes": cores} if cores else {}) | given)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"--cluster: SLURM's jobs cannot be described ({summarise_error(error)})",
            hint="name at least cores and memory in a file (kind: slurm), or in Dask's jobqueue.yaml",
        ) from error
