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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from osteon.core.errors import OsteonError
from osteon.core.files import read_json, write_json
from osteon.core.folders import folder_size
from osteon.core.text import shorten_list
from osteon.serving.click_tasks import CLICKS_JSON
from osteon.serving.job_ages import JobAges
from osteon.serving.job_record import FINISHED, Job
from osteon.serving.model_queue import FIRST_WAIT_S, ModelQueue
from osteon.serving.upload_slots import UploadSlot
from osteon.web.http_errors import RejectedError
from osteon.web.job_store import JobStore

JOB, SCAN, RESULT, RESULT_JSON, CASE_JSON = "job.json", "scan", "result", "result.json", "case.json"
FETCH_S = 600.0
"""A client has so many seconds to fetch a result, however much room results take."""


class JobQueue:
    """All jobs of a folder, and the queue of those that wait.

    Args:
        folder: Where they are kept.
        size: Limit for current uploads and waiting jobs of a model together.
        models: Their names; the first one's are the jobs that name none.

    Attributes:
        store: Of the jobs' folders.
        models: What waits for each of them, by name.
        default: The name of the first.
        changed: Notified when a job comes, or has come to its end; its lock is held by whoever changes a state.
        jobs: All of them, by id.
        damaged: Number of folders that are no jobs.
        ages: Of those that are over.
        sizes: Bytes on the disk of those that are over.
    """

    def __init__(self, folder: Path, size: int, models: Sequence[str] = ("model",)) -> None:
        self.store, self.default = JobStore(folder / "jobs"), models[0]
        self.models = {name: ModelQueue(size) for name in models}
        self.changed = threading.Condition(threading.RLock())
        self.jobs: dict[str, Job] = {}
        self.damaged = 0
        self.sizes: dict[str, int] = {}
        self._opens: float | None = None
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
        waiting = [job for job in self.jobs.values() if job.state == "queued" and self.model_of(job) in self.models]
        for job in sorted(waiting, key=lambda job: job.submitted):
            self.models[self.model_of(job)].waiting.append(job.id)

    def of(self, model: str) -> ModelQueue:
        """What waits for a model, an empty name being the first one's. Raises RejectedError (404): there is none."""
        if (model or self.default) not in self.models:
            hint = f"GET /models names them: {shorten_list(list(self.models))}"
            raise RejectedError(404, "there is no such model", hint=hint)
        return self.models[model or self.default]

    def model_of(self, job: Job) -> str:
        """The name of the model that a job is, or will be, worked on by."""
        return job.model or self.default

    @contextmanager
    def incoming(self, slot: UploadSlot, model: str = "") -> Iterator[Path]:
        """Hold a place of the queue while an upload comes in. Yields its folder; what is left of it is removed.

        Raises:
            RejectedError: 429 where none is free; 503 where the server is ending; 404 where there is no such model.
        """
        queue = self.of(model)
        with self.changed:
            self.check_open()
            queue.slots.acquire(slot, len(queue.waiting), queue.retry_s)
        try:
            with self.store.incoming() as folder:
                yield folder
        finally:
            with self.changed:
                queue.slots.release(slot)

    def submit(self, incoming: Path, forms: tuple[str, ...], model: str = "") -> Job:
        """Make a job of an upload that is whole. When this returns, the job is on the disk."""
        queue, job = self.of(model), Job(id=self.store.new_id(), submitted=_now(), forms=forms, model=model)
        write_json(incoming / JOB, job.model_dump())
        with self.changed:
            self.store.add(incoming, job.id)
            self.jobs[job.id] = job
            queue.waiting.append(job.id)
            self.changed.notify_all()
        return job

    @property
    def closed(self) -> bool:
        """Whether the server is ending: no job is taken, and none is begun."""
        return self._opens is not None

    def close(self, limit_s: float) -> None:
        """Take no more jobs, and begin none: those that wait are the next server's.

        Args:
            limit_s: Seconds within which the server will have ended.
        """
        with self.changed:
            self._opens = self._opens or time.monotonic() + limit_s
            self.changed.notify_all()

    def check_open(self) -> None:
        """Raise RejectedError (503) where the server is ending."""
        if self._opens is not None:
            wait_s = max(FIRST_WAIT_S, round(self._opens - time.monotonic()))
            raise RejectedError(
                503,
                "the server is ending, and takes no more jobs",
                hint=f"try again in {wait_s} s, when it may have been started again",
                headers={"Retry-After": str(wait_s)},
            )

    def wait_idle(self, limit_s: float) -> bool:
        """Wait until no job runs; False where one still does after that time."""
        with self.changed:
            return self.changed.wait_for(lambda: all(queue.running is None for queue in self.models.values()), limit_s)

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

    def unserved(self) -> list[str]:
        """The names of models that jobs wait for, and that this server does not have."""
        waiting = [job for job in self.jobs.values() if job.state == "queued"]
        return sorted({self.model_of(job) for job in waiting} - set(self.models))

    def ahead(self, job_id: str) -> int | None:
        """How many jobs wait before it; None where it does not wait."""
        with self.changed:
            lines = (queue.waiting for queue in self.models.values())
            return next((line.index(job_id) for line in lines if job_id in line), None)

    def start_next(self, timeout_s: float, model: str = "") -> Job | None:
        """The next job of a model, from now on running; None where none came in that time, or the queue is closed."""
        queue = self.of(model)
        with self.changed:
            self.changed.wait_for(lambda: queue.waiting or self.closed, timeout_s)
            if not queue.waiting or self.closed:
                return None
            job = self._change(self.jobs[queue.waiting[0]], state="running", started=_now())
            queue.begin(job.id)  # not before it is written: the disk may be full
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
            model = self.model_of(self.jobs[job_id])
            self._change(self.jobs[job_id], finished=_now(), model=model, **changes)
            clicked = (self.store.path(job_id) / CLICKS_JSON).is_file()  # these say nothing of how long a scan takes
            self.models[model].end(changes["state"], typical=not clicked)
            self.ages.start(job_id)
            shutil.rmtree(self.store.path(job_id) / SCAN, ignore_errors=True)
            self.sizes[job_id] = folder_size(self.store.path(job_id))
            self.changed.notify_all()

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
            queue = self.models[self.model_of(job)]
            queue.running = None
            queue.waiting.appendleft(job_id)
            self.changed.notify_all()

    def remove(self, job_id: str) -> None:
        """Remove a job with all its files. One that runs must be stopped first, under the queue's lock.

        Raises:
            RejectedError: 404 where there is none.
        """
        with self.changed:
            del self.jobs[self.get(job_id).id]
            self.sizes.pop(job_id, None)
            for queue in self.models.values():
                queue.forget(job_id)
            self.changed.notify_all()
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


_CRASH_HINT = "the scan may need more memory than the server has: crop it, or ask who runs the server"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
