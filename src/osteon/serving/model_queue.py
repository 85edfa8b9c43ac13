"""What waits for a model, and what it works on."""

from __future__ import annotations

import time
from collections import Counter, deque

from osteon.serving.upload_slots import UploadSlots

FIRST_WAIT_S, LONGEST_WAIT_S = 5, 600
"""What `Retry-After` says before any job was done, and at most."""
RECENT_JOBS = 20
"""From whose times `Retry-After` is guessed."""


class ModelQueue:
    """The uploads and jobs of a model; whoever changes something holds the lock of the `JobQueue`.

    Args:
        size: Limit for current uploads and waiting jobs together.

    Attributes:
        slots: Of uploads coming in.
        waiting: Ids of the jobs that wait, the next one first.
        running: The id of the one that is worked on.
        ended: How many ended since this server started, by state, and `worked_s`: the seconds that they took.
    """

    def __init__(self, size: int) -> None:
        self.slots = UploadSlots(size)
        self.waiting: deque[str] = deque()
        self.running: str | None = None
        self.ended: Counter[str] = Counter()
        self.worked_s = 0.0
        self._durations_s: deque[float] = deque(maxlen=RECENT_JOBS)
        self._began = 0.0

    @property
    def free(self) -> int:
        """Places that neither an upload nor a job has."""
        return max(0, self.slots.most - len(self.slots.held) - len(self.waiting))

    @property
    def busy_s(self) -> float | None:
        """Seconds for which a job has been worked on, by a clock that nobody can set; None: there is none."""
        return None if self.running is None else time.monotonic() - self._began

    @property
    def mean_s(self) -> float | None:
        """What the last jobs took on average; None before the first."""
        return sum(self._durations_s) / len(self._durations_s) if self._durations_s else None

    @property
    def retry_s(self) -> int:
        """Seconds until a place should be free: what a job took on average."""
        took = FIRST_WAIT_S if self.mean_s is None else self.mean_s
        return int(min(max(1, round(took)), LONGEST_WAIT_S))

    def begin(self, job_id: str) -> None:
        """The one that waits first is worked on from now on."""
        self.waiting.remove(job_id)
        self.running, self._began = job_id, time.monotonic()

    def end(self, state: str, *, typical: bool) -> None:
        """The one that is worked on has come to its end; `typical`: it took as long as scans do."""
        took_s = time.monotonic() - self._began
        self.running = None
        self.ended[state] += 1
        self.worked_s += took_s
        if typical:
            self._durations_s.append(took_s)

    def forget(self, job_id: str) -> None:
        """It neither waits nor is worked on."""
        self.running = None if self.running == job_id else self.running
        if job_id in self.waiting:
            self.waiting.remove(job_id)
