"""Threads that hand a model's process one job after the other, and what all models of a server have in common."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from osteon.core.errors import OsteonError
from osteon.serving.job_record import Job
from osteon.serving.job_work import PredictionTask
from osteon.serving.jobs import JobQueue
from osteon.serving.predictor import JobTimeoutError, PredictorProcess, ProcessDiedError

logger = logging.getLogger(__name__)
MOST_CRASHES = 2
"""A scan over which the process died so often is given up."""
TICK_S = 30.0
"""How often kept jobs are looked through."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Between attempts to start the process again."""


class Dispatcher(threading.Thread):
    """The thread that takes job after job of a model from the queue, and never stops over one.

    Args:
        queue: Of the jobs; it knows the model by its name.
        predictor: Started; of this model.
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
        """Work until `stop`, or until the queue is closed."""
        while not self._ending:
            try:
                self.queue.expire(self.keep_s, self.keep_bytes)
                if self.predictor.alive or self._restart():
                    job = self.queue.start_next(TICK_S, self.model)
                    if job is not None:
                        self._predict(job)
            except (OsteonError, OSError) as error:
                self._pause(error)

    @property
    def model(self) -> str:
        """The model's name."""
        return self.predictor.model.name

    def stop(self) -> None:
        """End thread and process; the job that runs is begun again by the next server."""
        self.stopping.set()
        self.predictor.kill()

    @property
    def _ending(self) -> bool:
        return self.stopping.is_set() or self.queue.closed

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
        while not self._ending:
            try:
                self.predictor.start()
            except (OsteonError, ProcessDiedError) as error:
                if self._ending:
                    return False
                logger.warning(f"the predicting process does not start: {error}")
                self.stopping.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                self.restarts += 1
                return True
        return False


_TIMEOUT_HINT = "crop the scan, or ask the server's administrator to raise --job-limit"


class DispatcherGroup:
    """The models of a server: a process and a thread for each, so that one that hangs holds up no other.

    Args:
        dispatchers: Of one queue; the first is of the model that does what names none.

    Attributes:
        queue: Of all jobs.
        by_model: The dispatchers, by the name of the model.
    """

    def __init__(self, dispatchers: Sequence[Dispatcher]) -> None:
        self.queue = dispatchers[0].queue
        self.by_model = {dispatcher.model: dispatcher for dispatcher in dispatchers}

    def find(self, model: str) -> Dispatcher:
        """That of a model, an empty name being the first one's. Raises RejectedError (404) where there is none."""
        self.queue.of(model)
        return self.by_model[model or self.queue.default]

    def start(self) -> None:
        """Begin to work."""
        for dispatcher in self.by_model.values():
            dispatcher.start()

    def delete(self, job_id: str) -> None:
        """Remove a job; one that runs is stopped. Raises RejectedError (404) where there is none."""
        with self.queue.changed:
            job = self.queue.get(job_id)
            if job.state == "running":
                self.find(job.model).predictor.kill()
            self.queue.remove(job_id)

    def drain(self, limit_s: float) -> None:
        """Take no more jobs, and let those that run go on for so many seconds."""
        self.queue.close(limit_s)
        self.queue.wait_idle(limit_s)

    def stop(self) -> None:
        """End all threads and processes; jobs that run are begun again by the next server."""
        for dispatcher in self.by_model.values():
            dispatcher.stop()
        self.queue.close(0)
        with self.queue.changed:
            self.queue.ages.save(now=True)

    def join(self, limit_s: float) -> None:
        """Wait until the threads have ended, for so many seconds each."""
        for dispatcher in self.by_model.values():
            dispatcher.join(limit_s)
