"""The predicting process as the server sees it, and the thread that hands it one job after the other."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from osteon.core.errors import ModelError, OsteonError
from osteon.serving.jobs import Job, Store
from osteon.serving.worker import Answer, Task, Work, main

logger = logging.getLogger(__name__)
MOST_CRASHES = 2
"""A scan over which the process died so often is given up."""
TICK_S = 30.0
"""How often kept jobs are looked through."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Between attempts to start the process again."""


START_S = 600.0
"""How long the process may take to load the model."""
END_S = 10.0
"""How long is waited for a process that was killed; one that hangs in the kernel is left behind."""


class DiedError(Exception):
    """The predicting process is no more; the words say how it ended."""


class OvertimeError(Exception):
    """A task was not over in its time, and the process was ended."""


class Predictor:
    """The process that holds the model. It is started by `start`, and dies with the server."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.facts: dict[str, Any] = {}
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._ready = False

    @property
    def alive(self) -> bool:
        """Whether it is ready for a task."""
        return self._ready and self._process is not None and self._process.is_alive()

    @property
    def pid(self) -> int | None:
        """Of the process."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start it, and wait until the model is loaded.

        Raises:
            OsteonError: The model cannot be loaded.
            DiedError: The process died before it was.
        """
        self.kill()
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=main, args=(theirs, self.work), daemon=True, name="osteon-predictor")
        self._process.start()
        theirs.close()  # so that the pipe ends when the process does
        if not self._pipe.poll(START_S):
            self.kill()
            raise DiedError(f"the model was not loaded within {START_S:.0f} s")
        said = self._heard()
        if isinstance(said, OsteonError):
            self.kill()
            raise said
        self.facts = said
        self._ready = True

    def ask(self, task: Task, limit_s: float) -> Answer:
        """Have a task carried out.

        Args:
            task: The job.
            limit_s: Seconds that it may take; then the process is ended.

        Raises:
            DiedError: The process died over it.
            OvertimeError: It took too long.
        """
        assert self._pipe is not None  # noqa: S101 (it was started)
        with suppress(OSError):  # then it is dead, and silent
            self._pipe.send(task)
            if not self._pipe.poll(limit_s):
                self.kill()
                raise OvertimeError
        answer: Answer = self._heard()
        return answer

    def kill(self) -> None:
        """End it at once."""
        self._ready = False
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.join(END_S)

    def _heard(self) -> Any:
        process = self._process
        assert self._pipe is not None  # noqa: S101 (it was started)
        try:
            return self._pipe.recv()
        except (EOFError, OSError):
            self._ready = False
            self._pipe.close()
            self._pipe = None
        if process is None:
            raise DiedError("it was stopped")
        process.join(END_S)
        code = process.exitcode or 0
        raise DiedError(signal.strsignal(-code) or f"signal {-code}" if code < 0 else f"exit code {code}")


class Dispatcher(threading.Thread):
    """Takes job after job from the store, and never stops over one.

    Args:
        store: Of the jobs.
        predictor: Started.
        keep_s: Seconds for which jobs are kept when they are over.
        limit_s: Seconds that a job may take.
    """

    def __init__(self, store: Store, predictor: Predictor, keep_s: float, limit_s: float) -> None:
        super().__init__(name="dispatcher", daemon=True)
        self.store, self.predictor, self.keep_s, self.limit_s = store, predictor, keep_s, limit_s
        self.ending = threading.Event()

    def run(self) -> None:
        """Work until `stop`."""
        while not self.ending.is_set():
            try:
                self.store.expire(self.keep_s)
                if self.predictor.alive or self._restarted():
                    job = self.store.take(TICK_S)
                    if job is not None:
                        self._carry_out(job)
            except (OsteonError, OSError) as error:
                self._pause(error)

    def drop(self, job_id: str) -> None:
        """Remove a job; one that runs is stopped. Raises RefusedError (404) where there is none."""
        with self.store.changed:
            if self.store.get(job_id).state == "running":
                self.predictor.kill()
            self.store.remove(job_id)

    def stop(self) -> None:
        """End thread and process; the job that runs is begun again by the next server."""
        self.ending.set()
        self.predictor.kill()
        with self.store.changed:
            self.store.ages.save(now=True)
            self.store.changed.notify_all()

    def _carry_out(self, job: Job) -> None:
        try:
            answer = self.predictor.ask(Task(self.store.path(job.id), job.forms), self.limit_s)
        except OvertimeError:
            self._surely(lambda: self.store.failed(job.id, f"the job took longer than {self.limit_s:.4g} s", _TOO_LONG))
            return
        except DiedError as died:
            why = str(died)  # the name ends with the block
            if not self.ending.is_set():
                self._surely(lambda: self.store.crashed(job.id, MOST_CRASHES, why))
            return
        if answer.error:
            self._surely(lambda: self.store.failed(job.id, answer.error, answer.hint))
        else:
            self._surely(lambda: self.store.done(job.id))

    def _surely(self, note: Callable[[], None]) -> None:
        """Write a state, as often as it takes: while the disk is full, no job is lost for that."""
        while not self.ending.is_set():
            try:
                return note()
            except (OsteonError, OSError) as error:
                self._pause(error)

    def _pause(self, error: OsteonError | OSError) -> None:
        said = error.message if isinstance(error, OsteonError) else str(error.strerror or error)
        logger.warning(f"{said}; it is tried again")
        self.ending.wait(FIRST_PAUSE_S)

    def _restarted(self) -> bool:
        pause = FIRST_PAUSE_S
        while not self.ending.is_set():
            try:
                self.predictor.start()
            except (OsteonError, DiedError) as error:
                logger.warning(f"the predicting process does not start: {error}")
                self.ending.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                return True
        return False


_TOO_LONG = "crop the scan; or whoever runs the server allows more with --job-limit"


def started(work: Work) -> Predictor:
    """A predictor with its model loaded. Raises OsteonError where it cannot be."""
    predictor = Predictor(work)
    try:
        predictor.start()
    except DiedError as died:
        raise ModelError(
            f"{work.model}: the process that loads the model died ({died})", hint="free some memory, and try again"
        ) from None
    return predictor
