"""Jobs and their states, on disk: whatever happens to the server, an accepted job is not lost.

FOLDER/jobs/<id>/job.json      where it stands, written whole each time
FOLDER/jobs/<id>/scan/         what was uploaded, or case.json: a dataset's case; removed when the job is over
FOLDER/jobs/<id>/clicks.json   points in that scan, where these are to be answered
FOLDER/jobs/<id>/result/       the mask, result.json, and a zip for each form asked for

Whoever changes a state holds the queue's lock. Folders of other names are no jobs (`web.job_store`).
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from osteon.core.errors import OsteonError
from osteon.core.files import read_json, write_json
from osteon.core.folders import folder_size
from osteon.serving.click_tasks import CLICKS_JSON
from osteon.serving.job_ages import JobAges
from osteon.serving.upload_slots import UploadSlot, UploadSlots
from osteon.web.http_errors import RejectedError
from osteon.web.job_store import JobStore

JOB, SCAN, RESULT, RESULT_JSON, CASE_JSON = "job.json", "scan", "result", "result.json", "case.json"
State = Literal["queued", "running", "done", "failed"]
FINISHED = ("done", "failed")
FIRST_WAIT_S, LONGEST_WAIT_S = 5, 600
"""What `Retry-After` says before any job was done, and at most."""
FETCH_S = 600.0
"""A client has so many seconds to fetch a result, however much room results take."""
RECENT_JOBS = 20
"""From whose times `Retry-After` is guessed."""


class Job(BaseModel):
    """A scan to be segmented.

    Attributes:
        id: Opaque; who knows it may see and delete the job.
        state: Where it stands.
        submitted: When it was accepted: ISO 8601, UTC; likewise `started` and `finished`.
        forms: Forms of export that were asked for.
        crashes: How often the predicting process died over it.
        error: Why it failed, and `hint`, the way out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    state: State = "queued"
    submitted: str
    started: str | None = None
    finished: str | None = None
    forms: tuple[str, ...] = ()
    crashes: int = 0
    error: str = ""
    hint: str = ""


class JobQueue:
    """All jobs of a folder, and the queue of those that wait.

    Args:
        folder: Where they are kept.
        size: Limit for current uploads and waiting jobs together.

    Attributes:
        store: Of the jobs' folders.
        slots: Of uploads coming in.
        changed: Notified when a job comes; its lock is held by whoever changes a state.
        jobs: All of them, by id.
        waiting: Ids of those that wait, the next one first.
        damaged: Number of folders that are no jobs.
        running: The id of the one that is worked on.
        ages: Of those that are over.
        sizes: Bytes on the disk of those that are over.
        ended: How many ended since this server started, by state, and `worked_s`: the seconds that they took.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.store, self.slots = JobStore(folder / "jobs"), UploadSlots(size)
        self.changed = threading.Condition(threading.RLock())
        self.jobs: dict[str, Job] = {}
        self.waiting: deque[str] = deque()
        self.damaged = 0
        self.running: str | None = None
        self.sizes: dict[str, int] = {}
        self.ended: Counter[str] = Counter()
        self.worked_s = 0.0
        self._durations_s: deque[float] = deque(maxlen=RECENT_JOBS)
        self._began = 0.0
        self.ages = JobAges(folder)
        self._load()

    def _load(self) -> None:
        """Take up what an earlier server has left: what it had not finished waits again."""
        for path in self.store.folder.iterdir():
            if path.name.startswith("."):
                shutil.rmtree(path, ignore_errors=True)
                continue
            try:
                job = Job.model_validate(read_json(path / JOB, "the job"))
            except (OsteonError, ValidationError):
                self.damaged += 1
                continue
            if job.state == "running":
                job = self._change(job, state="queued", started=None)
            if job.state in FINISHED:
                shutil.rmtree(path / SCAN, ignore_errors=True)
                self.ages.start(job.id)
                self.sizes[job.id] = folder_size(path)
            self.jobs[job.id] = job
        waiting = [job for job in self.jobs.values() if job.state == "queued"]
        self.waiting.extend(job.id for job in sorted(waiting, key=lambda job: job.submitted))

    @contextmanager
    def incoming(self, slot: UploadSlot) -> Iterator[Path]:
        """Hold a place of the queue while an upload comes in. Yields its folder; what is left of it is removed.

        Raises:
            RejectedError: 429 where none is free.
        """
        with self.changed:
            self.slots.acquire(slot, len(self.waiting), self._wait_s())
        try:
            with self.store.incoming() as folder:
                yield folder
        finally:
            with self.changed:
                self.slots.release(slot)

    def submit(self, incoming: Path, forms: tuple[str, ...]) -> Job:
        """Make a job of an upload that is whole. When this returns, the job is on the disk."""
        job = Job(id=self.store.new_id(), submitted=_now(), forms=forms)
        write_json(incoming / JOB, job.model_dump())
        with self.changed:
            self.store.add(incoming, job.id)
            self.jobs[job.id] = job
            self.waiting.append(job.id)
            self.changed.notify_all()
        return job

    def get(self, job_id: str) -> Job:
        """A job. Raises RejectedError (404) where there is none."""
        with self.changed:
            if job_id not in self.jobs:
                raise RejectedError(
                    404,
                    "there is no such job",
                    hint="check the id; jobs are removed when they have been kept for --keep",
                )
            return self.jobs[job_id]

    def ahead(self, job_id: str) -> int | None:
        """How many jobs wait before it; None where it does not wait."""
        with self.changed:
            return self.waiting.index(job_id) if job_id in self.waiting else None

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

    def start_next(self, timeout_s: float) -> Job | None:
        """The next job, from now on running; None where none came in that time."""
        with self.changed:
            if not self.waiting:
                self.changed.wait(timeout_s)
            if not self.waiting:
                return None
            self._began = time.monotonic()
            job = self._change(self.jobs[self.waiting[0]], state="running", started=_now())
            self.waiting.popleft()  # not before it is written: the disk may be full
            self.running = job.id
            return job

    def complete(self, job_id: str) -> None:
        """Record that a job's results are complete."""
        self._end(job_id, state="done")

    def fail(self, job_id: str, error: str, hint: str) -> None:
        """Record that a job failed, with the error and the hint."""
        self._end(job_id, state="failed", error=error, hint=hint)

    def _end(self, job_id: str, **changes: str) -> None:
        with self.changed:
            if job_id not in self.jobs:  # deleted meanwhile
                return
            self._change(self.jobs[job_id], finished=_now(), **changes)
            took_s = time.monotonic() - self._began
            self.ended[changes["state"]] += 1
            self.worked_s += took_s
            if not (self.store.path(job_id) / CLICKS_JSON).is_file():  # these say nothing of how long a scan takes
                self._durations_s.append(took_s)
            self.running = None
            self.ages.start(job_id)
            shutil.rmtree(self.store.path(job_id) / SCAN, ignore_errors=True)
            self.sizes[job_id] = folder_size(self.store.path(job_id))

    def crash(self, job_id: str, most: int, reason: str) -> None:
        """The predicting process died over it: it is tried again, or given up after `most` times."""
        with self.changed:
            if job_id not in self.jobs:
                return
            job = self.jobs[job_id]
            if job.crashes + 1 >= most:
                self._change(job, crashes=job.crashes + 1)
                self.fail(job_id, f"the predicting process died {most} times over this scan ({reason})", _CRASH_HINT)
                return
            self._change(job, state="queued", started=None, crashes=job.crashes + 1)
            self.running = None
            self.waiting.appendleft(job_id)

    def remove(self, job_id: str) -> None:
        """Remove a job with all its files. One that runs must be stopped first, under the queue's lock.

        Raises:
            RejectedError: 404 where there is none.
        """
        with self.changed:
            del self.jobs[self.get(job_id).id]
            self.running = None if self.running == job_id else self.running
            self.sizes.pop(job_id, None)
            if job_id in self.waiting:
                self.waiting.remove(job_id)
        self.store.remove(job_id)

    def expire(self, keep_s: float, keep_bytes: int | None = None) -> int:
        """Remove jobs that have been over for so long while a server ran, and the oldest of those that take too much.

        Args:
            keep_s: Seconds for which they are kept.
            keep_bytes: That they may take; None: any. What has been over for less than FETCH_S stays all the same.

        Returns:
            How many were removed.
        """
        with self.changed:
            over = {job.id for job in self.jobs.values() if job.state in FINISHED}
            self.ages.keep_only(over)
            self.ages.save()
            old = {job_id for job_id in over if self.ages.of(job_id) >= keep_s}
            left = 0
            for job_id in sorted(over - old, key=lambda one: (self.ages.of(one), one)):  # the youngest first
                left += self.sizes.get(job_id, 0)
                if keep_bytes is not None and left > keep_bytes and self.ages.of(job_id) >= FETCH_S:
                    old.add(job_id)
        removed = 0
        for job_id in old:
            with suppress(RejectedError):  # whose it is has deleted it meanwhile
                self.remove(job_id)
                removed += 1
        return removed

    def _change(self, job: Job, **changes: object) -> Job:
        job = job.model_copy(update=changes)
        write_json(self.store.path(job.id) / JOB, job.model_dump())
        self.jobs[job.id] = job
        return job

    def _wait_s(self) -> int:
        """Seconds until a place should be free: what a job took on average."""
        took = FIRST_WAIT_S if self.mean_s is None else self.mean_s
        return int(min(max(1, round(took)), LONGEST_WAIT_S))


_CRASH_HINT = "the scan may need more memory than the server has: crop it, or ask who runs the server"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
