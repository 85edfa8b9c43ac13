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
from osteon.serving.job_work import PredictionTask, TaskResult
from osteon.serving.jobs import Job, JobQueue
from osteon.serving.worker import ServedModel, run_worker

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


class ProcessDiedError(Exception):
    """The predicting process has ended; the message says how it ended."""


class JobTimeoutError(Exception):
    """A task was not over in its time, and the process was ended."""


class PredictorProcess:
    """The process that holds the model. It is started by `start`, and dies with the server."""

    def __init__(self, model: ServedModel) -> None:
        self.model = model
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
        """Id of the predicting process; None where there is none."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start it, and wait until the model is loaded.

        Raises:
            OsteonError: The model cannot be loaded.
            ProcessDiedError: The process died before it was.
        """
        self.kill()
        context = multiprocessing.get_context("spawn")
        self._pipe, child_end = context.Pipe()
        arguments = (child_end, self.model)
        self._process = context.Process(target=run_worker, args=arguments, daemon=True, name="osteon-predictor")
        self._process.start()
        child_end.close()  # so that the pipe ends when the process does
        if not self._pipe.poll(START_S):
            self.kill()
            raise ProcessDiedError(f"the model was not loaded within {START_S:.0f} s")
        reply = self._receive()
        if isinstance(reply, OsteonError):
            self.kill()
            raise reply
        self.facts = reply
        self._ready = True

    def run(self, task: PredictionTask, limit_s: float) -> TaskResult:
        """Have a scan segmented.

        Args:
            task: The job.
            limit_s: Seconds that it may take; then the process is ended.

        Raises:
            ProcessDiedError: The process died over it.
            JobTimeoutError: It took too long.
        """
        assert self._pipe is not None  # noqa: S101 (it was started)
        with suppress(OSError):  # then it is dead, and silent
            self._pipe.send(task)
            if not self._pipe.poll(limit_s):
                self.kill()
                raise JobTimeoutError
        result: TaskResult = self._receive()
        return result

    def kill(self) -> None:
        """End it at once."""
        self._ready = False
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.join(END_S)

    def _receive(self) -> Any:
        process = self._process
        assert self._pipe is not None  # noqa: S101 (it was started)
        try:
            return self._pipe.recv()
        except (EOFError, OSError):
            self._ready = False
            self._pipe.close()
            self._pipe = None
        if process is None:
            raise ProcessDiedError("it was stopped")
        process.join(END_S)
        code = process.exitcode or 0
        raise ProcessDiedError(signal.strsignal(-code) or f"signal {-code}" if code < 0 else f"exit code {code}")


class Dispatcher(threading.Thread):
    """The thread that takes job after job from the queue, and never stops over one.

    Args:
        queue: Of the jobs.
        predictor: Started.
        keep_s: Seconds for which jobs are kept when they are over.
        limit_s: Seconds that a job may take.
        keep_bytes: That jobs may take which are over; the oldest go first. None: any.

    Attributes:
        restarts: How often the predicting process was started again.
    """

    def __init__(
        self,
        queue: JobQueue,
        predictor: PredictorProcess,
        keep_s: float,
        limit_s: float,
        keep_bytes: int | None = None,
    ) -> None:
        super().__init__(name="dispatcher", daemon=True)
        self.queue, self.predictor, self.keep_s, self.limit_s = queue, predictor, keep_s, limit_s
        self.keep_bytes, self.restarts = keep_bytes, 0
        self.stopping = threading.Event()

    def run(self) -> None:
        """Work until `stop`."""
        while not self.stopping.is_set():
            try:
                self.queue.expire(self.keep_s, self.keep_bytes)
                if self.predictor.alive or self._restart():
                    job = self.queue.start_next(TICK_S)
                    if job is not None:
                        self._predict(job)
            except (OsteonError, OSError) as error:
                self._pause(error)

    def delete(self, job_id: str) -> None:
        """Remove a job; one that runs is stopped. Raises RejectedError (404) where there is none."""
        with self.queue.changed:
            if self.queue.get(job_id).state == "running":
                self.predictor.kill()
            self.queue.remove(job_id)

    def stop(self) -> None:
        """End thread and process; the job that runs is begun again by the next server."""
        self.stopping.set()
        self.predictor.kill()
        with self.queue.changed:
            self.queue.ages.save(now=True)
            self.queue.changed.notify_all()

    def _predict(self, job: Job) -> None:
        try:
            result = self.predictor.run(PredictionTask(self.queue.store.path(job.id), job.forms), self.limit_s)
        except JobTimeoutError:
            problem = f"the job took longer than {self.limit_s:.4g} s"
            self._retry(lambda: self.queue.fail(job.id, problem, _TIMEOUT_HINT))
            return
        except ProcessDiedError as died:
            reason = str(died)  # the name ends with the block
            if not self.stopping.is_set():
                self._retry(lambda: self.queue.crash(job.id, MOST_CRASHES, reason))
            return
        if result.error:
            self._retry(lambda: self.queue.fail(job.id, result.error, result.hint))
        else:
            self._retry(lambda: self.queue.complete(job.id))

    def _retry(self, write: Callable[[], None]) -> None:
        """Write a state, as often as it takes: while the disk is full, no job is lost for that."""
        while not self.stopping.is_set():
            try:
                return write()
            except (OsteonError, OSError) as error:
                self._pause(error)

    def _pause(self, error: OsteonError | OSError) -> None:
        problem = error.message if isinstance(error, OsteonError) else str(error.strerror or error)
        logger.warning(f"{problem}; it is tried again")
        self.stopping.wait(FIRST_PAUSE_S)

    def _restart(self) -> bool:
        pause = FIRST_PAUSE_S
        while not self.stopping.is_set():
            try:
                self.predictor.start()
            except (OsteonError, ProcessDiedError) as error:
                logger.warning(f"the predicting process does not start: {error}")
                self.stopping.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                self.restarts += 1
                return True
        return False


_TIMEOUT_HINT = "crop the scan, or ask the server's administrator to raise --job-limit"


def start_predictor(served: ServedModel) -> PredictorProcess:
    """A predictor with its model loaded. Raises OsteonError where it cannot be."""
    predictor = PredictorProcess(served)
    try:
        predictor.start()
    except ProcessDiedError as died:
        raise ModelError(
            f"{served.folder}: the process that loads the model died ({died})", hint="free some memory, and try again"
        ) from None
    return predictor
