"""Memory shared by the scans that are in work at a time."""

from __future__ import annotations

import threading

from osteon.predicting.memory import MemoryPlan


class MemoryPool:
    """Memory shared by the scans in work: one that is read ahead waits until it fits beside the others.

    Args:
        limit: Bytes; None: no scan waits.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._taken: dict[str, int] = {}
        self._changed = threading.Condition()

    def acquire(self, plan: MemoryPlan) -> None:
        """Take a scan's bytes, as soon as they are free; the only scan never waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._fits(plan))
            self._taken[plan.name] = plan.scan_bytes

    def _fits(self, plan: MemoryPlan) -> bool:
        others = sum(count for name, count in self._taken.items() if name != plan.name)
        return self._limit is None or not others or others + plan.total_bytes <= self._limit

    def release(self, name: str, kept: int = 0) -> None:
        """Give a scan's bytes back; all but those that are still needed."""
        with self._changed:
            if self._taken.pop(name, None) is not None and kept:
                self._taken[name] = kept
            self._changed.notify_all()

    def lift_limit(self) -> None:
        """Let all scans through: the work was stopped."""
        with self._changed:
            self._limit = None
            self._changed.notify_all()
