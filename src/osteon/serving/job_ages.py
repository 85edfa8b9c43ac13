"""How long jobs have been over, by a clock that runs only while a server does, and that nobody can set."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from osteon.core.errors import OsteonError
from osteon.core.files import read_json, write_json

FILE_NAME = "ages.json"
SAVE_EVERY_S = 300.0
"""What is lost of the ages where a server is killed, at most."""


class _AgesRecord(BaseModel):
    """The file: seconds that servers have run, and what they were when each job was over."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    ran_s: float = 0.0
    over: dict[str, float] = {}


class JobAges:
    """The ages of jobs that are over.

    Args:
        folder: In which they are kept, so that the next server goes on from there.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        record = _AgesRecord()
        with suppress(OsteonError, ValidationError):  # without them all are new
            record = _AgesRecord.model_validate(read_json(self.path, "the ages"))
        self._before, self._began = record.ran_s, time.monotonic()
        self._over = dict(record.over)
        self._saved = self._began

    def start(self, job_id: str) -> None:
        """A job is over now, unless it already was."""
        self._over.setdefault(job_id, self._now())

    def of(self, job_id: str) -> float:
        """Seconds for which a job has been over."""
        return max(0.0, self._now() - self._over.get(job_id, self._now()))

    def keep_only(self, jobs: set[str]) -> None:
        """Forget all other jobs."""
        self._over = {job_id: when for job_id, when in self._over.items() if job_id in jobs}

    def save(self, *, now: bool = False) -> None:
        """Write them now and then. A disk that is full costs no more than the ages since the last time."""
        if self._over and (now or time.monotonic() - self._saved >= SAVE_EVERY_S):
            self._saved = time.monotonic()
            with suppress(OsteonError, OSError):
                write_json(self.path, _AgesRecord(ran_s=self._now(), over=self._over).model_dump())

    def _now(self) -> float:
        return self._before + time.monotonic() - self._began
