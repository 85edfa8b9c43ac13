"""How busy other processes keep the cores that this one may use: what is measured beside them is slower than it is."""

from __future__ import annotations

import math
import time
from types import TracebackType

import psutil

from osteon.core.platform import cores
from osteon.core.threads import COUNTS, is_users

BUSY = 0.25
"""Cores' worth of other processes' work from which a measurement may be off."""

LOOK_EVERY_S = 3.0
"""Shorter looks see chance: the system counts time in hundredths of a second."""


class LoadMeter:
    """Measures, from `with` to its end, what other processes took of this process's cores.

    Attributes:
        others: Cores' worth of time that other processes (and a hypervisor) took; 0 where the system does not tell.
    """

    def __init__(self) -> None:
        self.others = 0.0

    def __enter__(self) -> LoadMeter:
        self._began = self._readings()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds, busy, own = (now - then for now, then in zip(self._readings(), self._began, strict=True))
        self.others = max(0.0, busy - own) / seconds if seconds > 0 else 0.0

    @property
    def warning(self) -> str:
        """`the machine was busy (load 3.1): other processes took 1.0 of 2 cores`; empty where it was not."""
        if self.others < BUSY:
            return ""
        load = psutil.getloadavg()[0]
        return f"the machine was busy (load {load:.1f}): other processes took {self.others:.1f} cores"

    @staticmethod
    def _readings() -> tuple[float, float, float]:
        """Seconds: of the clock, busy on the cores that may be used, and of this process and its ended children."""
        here = psutil.Process()
        each = psutil.cpu_times(percpu=True)
        allowed = here.cpu_affinity() if hasattr(here, "cpu_affinity") else range(len(each))
        idle = ("idle", "iowait", "guest", "guest_nice")  # a guest's time is in user's already
        busy = sum(
            sum(value for name, value in each[core]._asdict().items() if name not in idle)
            for core in allowed
            if core < len(each)
        )
        times = here.cpu_times()
        children = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
        return time.perf_counter(), busy, times.user + times.system + children


class ThreadFitter:
    """Keeps torch's threads to the cores that other processes leave free.

    Work is dealt out to threads in equal parts, so one that shares its core makes all the others wait: beside one busy
    process, one thread of two trained faster than both (benchmarks/contention.py).

    Args:
        cores: That this process may use.
    """

    def __init__(self, cores: int) -> None:
        self.cores = self.threads = cores
        self._meter = LoadMeter().__enter__()
        self._looked_at = time.monotonic()

    def fit(self, *, every_s: float = LOOK_EVERY_S) -> None:
        """Look at what others took since the last look, and set the threads; nothing less than `every_s` after it."""
        import torch

        if time.monotonic() - self._looked_at < every_s:
            return
        self._meter.__exit__(None, None, None)
        threads = max(1, self.cores - math.floor(self._meter.others + 0.5))
        if threads != self.threads:
            torch.set_num_threads(threads)
            self.threads = threads
        self._meter.__enter__()
        self._looked_at = time.monotonic()


def thread_fitter() -> ThreadFitter | None:
    """One for this process; None where the user has said how many threads there are, or there is but one core."""
    count = cores()
    return None if count == 1 or any(is_users(name) for name in COUNTS) else ThreadFitter(count)
