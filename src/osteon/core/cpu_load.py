"""How busy other processes keep the cores that this one may use: timings taken beside them are too slow."""

from __future__ import annotations

import math
import time

import psutil

from osteon.core.platform import cpu_count
from osteon.core.threads import COUNT_VARIABLES, is_user_set

BUSY, BUSY_SHARE = 0.25, 0.1
"""Cores' worth of other processes' work from which a measurement may be off, and as a part of those that are used."""
POLL_EVERY_S = 3.0
"""Shorter intervals measure chance: the system counts time in hundredths of a second."""


class LoadMeter:
    """Measures, from `with` to its end, what other processes took of this process's cores.

    Attributes:
        used_by_others: Cores' worth of time that other processes (and a hypervisor) took; 0 where the system does not
            tell. Work of low priority (nice) does not count: it gives way.
        allowed: The cores that this process may run on, whatever its quota.
    """

    def __init__(self) -> None:
        here = psutil.Process()
        everywhere = list(range(psutil.cpu_count() or 1))
        self.allowed = here.cpu_affinity() if hasattr(here, "cpu_affinity") else everywhere
        self.used_by_others = 0.0

    def __enter__(self) -> LoadMeter:
        self._began = self._readings()
        return self

    def __exit__(self, *_: object) -> None:
        seconds, busy, own = (now - then for now, then in zip(self._readings(), self._began, strict=True))
        self.used_by_others = max(0.0, busy - own) / seconds if seconds > 0 else 0.0

    @property
    def warning(self) -> str:
        """`the machine was busy (load 3.1): other processes took 1.0 of 2 cores`; empty where they left enough."""
        wanted = cpu_count()
        if self.used_by_others < len(self.allowed) - wanted + max(BUSY, BUSY_SHARE * wanted):
            return ""
        load = psutil.getloadavg()[0]
        taken = f"other processes took {self.used_by_others:.1f} of {len(self.allowed)} cores"
        return f"the machine was busy (load {load:.1f}): {taken}"

    def _readings(self) -> tuple[float, float, float]:
        """Seconds: of the clock, busy on the cores that may be used, and of this process and its ended children."""
        each = psutil.cpu_times(percpu=True)
        free = ("idle", "iowait", "nice", "guest", "guest_nice")  # a guest's time is in user's already
        busy = sum(
            sum(value for name, value in each[core]._asdict().items() if name not in free)
            for core in self.allowed
            if core < len(each)
        )
        times = psutil.Process().cpu_times()
        children = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
        return time.perf_counter(), busy, times.user + times.system + children


class ThreadLimiter:
    """Keeps torch's threads to the cores that other processes leave free.

    Work is dealt out to threads in equal parts, so one that shares its core makes all the others wait: beside one busy
    process, one thread of two trained faster than both (benchmarks/contention.py).
    """

    def __init__(self) -> None:
        import torch

        self.initial_threads = self.threads = torch.get_num_threads()
        self._meter = LoadMeter().__enter__()
        self._measured_at = time.monotonic()

    def update(self, *, every_s: float = POLL_EVERY_S) -> None:
        """Set the threads by what others took since the last call that measured, `every_s` ago at least."""
        if time.monotonic() - self._measured_at < every_s:
            return
        self._meter.__exit__()
        free = len(self._meter.allowed) - math.floor(self._meter.used_by_others + 0.5)
        self._set(min(self.initial_threads, max(1, free)))
        self._meter.__enter__()
        self._measured_at = time.monotonic()

    def restore(self) -> None:
        """Set the number of threads that torch had to begin with."""
        self._set(self.initial_threads)

    def _set(self, threads: int) -> None:
        import torch

        if threads != self.threads:
            torch.set_num_threads(threads)
            self.threads = threads


def make_thread_limiter() -> ThreadLimiter | None:
    """A limiter for this process; None where the user has set the number of threads."""
    return None if any(is_user_set(name) for name in COUNT_VARIABLES) else ThreadLimiter()
