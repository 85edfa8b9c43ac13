"""Jobs: the command line's own commands, each in a process group of its own, their state on disk.

JOBS/<id>/job.json     what is to be done; never changes
JOBS/<id>/state.json   where it stands
JOBS/<id>/log.txt      what the command printed
JOBS/<id>/progress.txt what it does just now, and how far that is

A job outlives the page that began it and the server: `runner` waits for the command, writes how it ended, and begins
what waits in the queue. Whoever changes a state holds the lock of the store (`web.job_store`).
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from osteon.core.errors import FileError, UsageError
from osteon.core.files import read_json, write_json
from osteon.core.processes import group_leader_options, interrupt_group, is_group_alive, start_time, terminate_group
from osteon.web.job_store import JobStore

JOB, STATE, LOG, PROGRESS = "job.json", "state.json", "log.txt", "progress.txt"
INTERRUPTED = 130
GRACE_S = 5.0
"""How long a cancelled group may take to end by itself."""
JobPhase = Literal["queued", "running", "done", "partly", "failed", "cancelled", "paused"]
FINISHED: tuple[JobPhase, ...] = ("done", "partly", "failed", "cancelled")
MODEL_COMMANDS = ("train", "import-model")
"""Commands that make a model."""
RESUMABLE_COMMANDS = ("train", "predict", "suggest", "archive")
"""Commands that go on where they were interrupted when they are given again."""
LANES = {
    **{"train": "training", "sweep": "training", "predict": "segmenting", "suggest": "segmenting"},
    "archive": "transferring",
}
"""One job of each lane runs at a time, beside those of others: a segmentation waits for no training."""
QUICK = "quick"
"""The lane of all other commands."""
LOG_TAIL_BYTES = 64_000


@dataclass(frozen=True)
class Job:
    """What is to be done.

    Attributes:
        id: Opaque; the folder's name.
        command: The command's name, such as `train`.
        arguments: What follows it.
        title: For people.
        about: Names in the workspace by what they are, such as `dataset` or `run`.
        product: A file, relative to the workspace, that is there when the command came to something.
        after: Jobs that must have come to something before.
        created: Seconds since 1970, later than of every other job; they begin in this order.
    """

    id: str
    command: str
    arguments: tuple[str, ...]
    title: str
    about: dict[str, str]
    product: str = ""
    after: tuple[str, ...] = ()
    created: float = 0.0

    @property
    def lane(self) -> str:
        """In which it waits for those before it."""
        return LANES.get(self.command, QUICK)


@dataclass(frozen=True)
class JobState:
    """Where a job stands.

    Attributes:
        phase: `partly`: the command came to something, and some cases failed.
        asked: `cancel` or `pause` where somebody asked for it.
        pid: The runner's, which leads the process group.
        pid_since: When that process began, so that another one with its number is not taken for it.
        began: When the command began last; 0 before.
        ended: When it ended; 0 before.
        code: Its exit code; negative where a signal ended it.
        why: Where no command says why.
    """

    phase: JobPhase
    asked: str = ""
    pid: int = 0
    pid_since: float = 0.0
    began: float = 0.0
    ended: float = 0.0
    code: int | None = None
    why: str = ""


@dataclass(frozen=True)
class Jobs:
    """All jobs of a workspace.

    Attributes:
        root: The workspace.
    """

    root: Path

    @cached_property
    def store(self) -> JobStore:
        """Their folders."""
        return JobStore(self.root / "jobs", id_bytes=8)

    def submit(
        self,
        command: str,
        arguments: Sequence[str | Path],
        title: str,
        *,
        about: Mapping[str, str] | None = None,
        product: str = "",
        after: Sequence[str] = (),
    ) -> Job:
        """Put a command into the queue, and begin it if nothing stands before it."""
        given, names = tuple(map(str, arguments)), dict(about or {})
        with self.store.lock(), self.store.incoming() as folder:
            last = max((other.created for other in self.all()), default=0.0)
            created = max(time.time(), last + 1e-3)  # a clock that is set back changes no order
            job = Job(self.store.new_id(), command, given, title, names, product, tuple(after), created)
            write_json(folder / STATE, asdict(JobState("queued")))
            write_json(folder / JOB, asdict(job))
            self.store.add(folder, job.id)
        self.advance()
        return job

    def all(self) -> list[Job]:
        """Every job, the newest first."""
        jobs = [job for job_id in self.store.ids() if (job := self.get(job_id)) is not None]
        return sorted(jobs, key=lambda job: -job.created)

    def get(self, job_id: str) -> Job | None:
        """The job of that id; None where there is none, or its files are damaged."""
        if not self.store.is_id(job_id):
            return None
        path = self.store.path(job_id) / JOB
        with suppress(FileError, OSError, TypeError):
            return _read_job(path, path.stat().st_mtime_ns)
        return None

    def state(self, job: Job) -> JobState:
        """Where it stands; a runner that is gone without a trace is noticed."""
        try:
            state = JobState(**read_json(self.store.path(job.id) / STATE, "the job's state"))
        except (FileError, TypeError):
            return JobState("failed", why="its state on disk is damaged")
        if state.phase != "running" or is_group_alive(state.pid, state.pid_since):
            return state
        phase: JobPhase = "cancelled" if state.asked == "cancel" else "paused" if state.asked == "pause" else "failed"
        why = "" if state.asked else "it ended without a word: the machine was restarted, or memory ran out"
        return replace(state, phase=phase, why=why)

    def log(self, job: Job) -> str:
        """The end of what the command printed."""
        path = self.store.path(job.id) / LOG
        if not path.is_file():
            return ""
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
            return stream.read().decode("utf-8", errors="replace")

    def progress(self, job: Job) -> str:
        """What a running command does just now and how far that is, such as `preparing: 3 of 10 (30 %), 0:20 left`."""
        with suppress(OSError, UnicodeDecodeError):
            return (self.store.path(job.id) / PROGRESS).read_text(encoding="utf-8").replace("\n", " · ")
        return ""

    def about(self, kind: str, name: str) -> list[Job]:
        """The jobs about one thing, the newest first."""
        return [job for job in self.all() if job.about.get(kind) == name]

    def cancel(self, job: Job, *, grace_s: float = GRACE_S) -> None:
        """End a job and its whole process group; one that waits never begins."""
        with self.store.lock():
            state = self.state(job)
            if state.phase in FINISHED:
                return
            running = state.phase == "running"
            self.write_state(job, replace(state, asked="cancel", phase="running" if running else "cancelled"))
        if running:
            terminate_group(state.pid, grace_s)
            with self.store.lock():
                self.write_state(job, replace(state, asked="cancel", phase="cancelled", ended=time.time()))
        self.advance()

    def pause(self, job: Job) -> None:
        """Let a training (or predicting) end after what it is just doing; `resume` goes on from there.

        Raises:
            UsageError: The command cannot go on later.
        """
        if job.command not in RESUMABLE_COMMANDS:
            raise UsageError(f"{job.title}: cannot be paused", hint="cancel it, or let it end")
        with self.store.lock():
            state = self.state(job)
            if state.phase == "queued":
                self.write_state(job, replace(state, phase="paused", asked="pause"))
            if state.phase != "running":
                return
            self.write_state(job, replace(state, asked="pause"))
        interrupt_group(state.pid)

    def resume(self, job: Job) -> None:
        """Give the same command again, at the end of the queue: it goes on, or begins anew."""
        with self.store.lock():
            state = self.state(job)
            if state.phase in ("running", "queued"):
                return
            self.write_state(job, replace(JobState("queued"), began=state.began))
        self.advance()

    def remove(self, job: Job) -> None:
        """Remove a job that is over, with its log; what it made stays."""
        if self.state(job).phase not in ("queued", "running"):
            self.store.remove(job.id)

    def advance(self) -> None:
        """Begin what may begin: in each lane the oldest that waits, once what it comes after came to something."""
        with self.store.lock():
            jobs = sorted(self.all(), key=lambda job: job.created)
            phases = {job.id: self.state(job).phase for job in jobs}
            busy = {job.lane for job in jobs if phases[job.id] == "running"}
            for job in jobs:
                if phases[job.id] != "queued":
                    continue
                earlier = [phases.get(other, "failed") for other in job.after]
                if any(phase in ("failed", "cancelled") for phase in earlier):
                    self.write_state(job, JobState("cancelled", why="what it needs came to nothing"))
                    phases[job.id] = "cancelled"
                elif job.lane not in busy and all(phase in ("done", "partly") for phase in earlier):
                    self._start(job)
                    busy.add(job.lane)

    def write_state(self, job: Job, state: JobState) -> None:
        """Write where a job stands; for whoever holds the lock."""
        write_json(self.store.path(job.id) / STATE, asdict(state))

    def _start(self, job: Job) -> None:
        command = [sys.executable, "-m", "osteon.app.runner", str(self.store.path(job.id))]
        (self.store.path(job.id) / PROGRESS).unlink(missing_ok=True)  # of an earlier try that was killed
        silent: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        child = subprocess.Popen(command, cwd=self.root, **silent, **group_leader_options())
        threading.Thread(target=child.wait, daemon=True).start()  # so that no zombie stays behind
        self.write_state(job, JobState("running", pid=child.pid, pid_since=start_time(child.pid), began=time.time()))


@lru_cache(maxsize=4096)
def _read_job(path: Path, _since: int) -> Job:
    """What is to be done; read once, as it never changes, though pages ask each second. Raises FileError, TypeError."""
    data = read_json(path, "the job")
    return Job(**data | {key: tuple(data[key]) for key in ("arguments", "after")})
