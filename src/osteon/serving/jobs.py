"""Jobs and their states, on disk: whatever happens to the server, an accepted job is not lost.

FOLDER/jobs/<id>/job.json      where it stands, written whole each time
FOLDER/jobs/<id>/scan/         what was uploaded; removed when the job is over
FOLDER/jobs/<id>/result/       the mask, result.json, and a zip for each form asked for

Whoever changes a state holds the store's lock. A folder whose name begins with a dot is no job: an upload that is
coming in, or a job that is being removed.
"""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from osteon.core.errors import OsteonError
from osteon.core.files import read_json, write_json, write_text
from osteon.serving.http_errors import RefusedError, no_job
from osteon.serving.job_ages import Ages
from osteon.serving.upload_slots import Held, Places

JOB, SCAN, RESULT, RESULT_JSON = "job.json", "scan", "result", "result.json"
State = Literal["queued", "running", "done", "failed"]
FIRST_WAIT_S, LONGEST_WAIT_S = 5, 600
"""What `Retry-After` says before any job was done, and at most."""
LEARNED_FROM = 20
"""Jobs from whose times `Retry-After` is guessed."""


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


@dataclass(frozen=True)
class Load:
    """What there is to do.

    Attributes:
        waiting: Jobs that wait.
        receiving: Uploads coming in.
        free: Places of the queue.
        since: When the job that is worked on was begun, ISO 8601; None: there is none.
        busy_s: Seconds since then, whatever became of the clock.
        usual_s: What the last jobs took on average; None before the first.
    """

    waiting: int
    receiving: int
    free: int
    since: str | None
    busy_s: float | None
    usual_s: float | None


class Store:
    """All jobs of a folder, and the queue of those that wait.

    Args:
        folder: Where they are kept.
        places: Uploads coming in and jobs waiting, together, at most.
    """

    def __init__(self, folder: Path, places: int) -> None:
        self.folder, self.places = folder / "jobs", Places(places)
        self.changed = threading.Condition(threading.RLock())
        self.jobs: dict[str, Job] = {}
        self.queue: deque[str] = deque()
        self.damaged = 0
        self.running: str | None = None
        self._took: deque[float] = deque(maxlen=LEARNED_FROM)
        self._began = 0.0
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.ages = Ages(folder)
        self._find()

    def _find(self) -> None:
        """Take up what an earlier server has left: what it had not finished waits again."""
        for path in self.folder.iterdir():
            if path.name.startswith("."):
                shutil.rmtree(path, ignore_errors=True)
                continue
            try:
                job = Job.model_validate(read_json(path / JOB, "the job"))
            except (OsteonError, ValidationError):
                self.damaged += 1
                continue
            if job.state == "running":
                job = job.model_copy(update={"state": "queued", "started": None})
                self._write(job)
            if job.state in ("done", "failed"):
                shutil.rmtree(path / SCAN, ignore_errors=True)
                self.ages.begin(job.id)
            self.jobs[job.id] = job
        waiting = [job for job in self.jobs.values() if job.state == "queued"]
        self.queue.extend(job.id for job in sorted(waiting, key=lambda job: job.submitted))

    @contextmanager
    def place(self, upload: Held) -> Iterator[Path]:
        """Hold a place of the queue while an upload comes in. Yields its folder; what is left of it is removed.

        Raises:
            RefusedError: 429 where none is free.
        """
        with self.changed:
            self.places.take(upload, len(self.queue), self._wait_s())
        incoming = self.folder / f".incoming-{secrets.token_hex(16)}"
        try:
            incoming.mkdir(mode=0o700)
            yield incoming
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
            with self.changed:
                self.places.leave(upload)

    def submit(self, incoming: Path, forms: tuple[str, ...]) -> Job:
        """Make a job of an upload that is whole. When this returns, the job is on the disk."""
        job = Job(id=secrets.token_hex(16), submitted=_now(), forms=forms)
        write_json(incoming / JOB, job.model_dump())
        with self.changed:
            incoming.rename(self.folder / job.id)
            self.jobs[job.id] = job
            self.queue.append(job.id)
            self.changed.notify_all()
        return job

    def get(self, job_id: str) -> Job:
        """A job. Raises RefusedError (404) where there is none."""
        with self.changed:
            if job_id not in self.jobs:
                raise no_job()
            return self.jobs[job_id]

    def ahead(self, job_id: str) -> int | None:
        """How many jobs wait before it; None where it does not wait."""
        with self.changed:
            return self.queue.index(job_id) if job_id in self.queue else None

    def load(self) -> Load:
        """What there is to do."""
        with self.changed:
            waiting, receiving = len(self.queue), len(self.places.held)
            busy_s = None if self.running is None else time.monotonic() - self._began
            since = None if self.running is None else self.jobs[self.running].started
            return Load(
                waiting, receiving, max(0, self.places.most - receiving - waiting), since, busy_s, self._usual_s
            )

    def path(self, job_id: str) -> Path:
        """A job's folder."""
        return self.folder / job_id

    def take(self, timeout_s: float) -> Job | None:
        """The next job, from now on running; None where none came in that time."""
        with self.changed:
            if not self.queue:
                self.changed.wait(timeout_s)
            if not self.queue:
                return None
            self._began = time.monotonic()
            job = self._change(self.jobs[self.queue[0]], state="running", started=_now())
            self.queue.popleft()  # not before it is written: the disk may be full
            self.running = job.id
            return job

    def done(self, job_id: str) -> None:
        """Its results are whole."""
        self._end(job_id, state="done")

    def failed(self, job_id: str, error: str, hint: str) -> None:
        """It came to nothing."""
        self._end(job_id, state="failed", error=error, hint=hint)

    def _end(self, job_id: str, **changes: str) -> None:
        with self.changed:
            if job_id not in self.jobs:  # deleted meanwhile
                return
            self._change(self.jobs[job_id], finished=_now(), **changes)
            self._took.append(time.monotonic() - self._began)
            self.running = None
            self.ages.begin(job_id)
            shutil.rmtree(self.path(job_id) / SCAN, ignore_errors=True)

    def crashed(self, job_id: str, most: int, why: str) -> None:
        """The predicting process died over it: it is tried again, or given up after `most` times."""
        with self.changed:
            if job_id not in self.jobs:
                return
            job = self.jobs[job_id]
            if job.crashes + 1 >= most:
                self._change(job, crashes=job.crashes + 1)
                self.failed(job_id, f"the predicting process died {most} times over this scan ({why})", _DIED)
                return
            self._change(job, state="queued", started=None, crashes=job.crashes + 1)
            self.running = None
            self.queue.appendleft(job_id)

    def remove(self, job_id: str) -> None:
        """Remove a job with all its files. One that runs must be stopped first, under the store's lock."""
        with self.changed:
            if job_id not in self.jobs:
                raise no_job()
            gone = self.folder / f".gone-{job_id}"
            with suppress(FileNotFoundError):  # somebody has removed it by hand
                self.path(job_id).rename(gone)
            del self.jobs[job_id]
            self.running = None if self.running == job_id else self.running
            if job_id in self.queue:
                self.queue.remove(job_id)
        shutil.rmtree(gone, ignore_errors=True)

    def expire(self, keep_s: float) -> int:
        """Remove jobs that have been over for so long while a server ran. Returns how many."""
        with self.changed:
            over = {job.id for job in self.jobs.values() if job.state in ("done", "failed")}
            self.ages.keep_only(over)
            self.ages.save()
            old = [job_id for job_id in over if self.ages.of(job_id) >= keep_s]
        removed = 0
        for job_id in old:
            with suppress(RefusedError):  # whose it is has deleted it meanwhile
                self.remove(job_id)
                removed += 1
        return removed

    def _change(self, job: Job, **changes: object) -> Job:
        job = job.model_copy(update=changes)
        self._write(job)
        self.jobs[job.id] = job
        return job

    def _write(self, job: Job) -> None:
        write_json(self.path(job.id) / JOB, job.model_dump())

    def _wait_s(self) -> int:
        """Seconds until a place should be free: what a job took on average."""
        took = FIRST_WAIT_S if self._usual_s is None else self._usual_s
        return int(min(max(1, round(took)), LONGEST_WAIT_S))

    @property
    def _usual_s(self) -> float | None:
        """What the last jobs took on average; None before the first."""
        return sum(self._took) / len(self._took) if self._took else None


_DIED = "the scan may need more memory than the server has: crop it, or ask who runs the server"


def note_trouble(folder: Path, text: str) -> None:
    """Keep what only whoever runs the server should see: it may name what the scan holds."""
    write_text(folder / "trouble.txt", text)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
