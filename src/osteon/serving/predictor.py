"""The predicting process as the server sees it, and the thread that hands it one job after the other."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from osteon.core.errors import ModelError, OsteonError
from osteon.serving.job_work import PredictionTask, TaskResult
from osteon.serving.worker import ServedModel, run_worker

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


@contextmanager
def start_predictors(models: Sequence[ServedModel]) -> Iterator[list[PredictorProcess]]:
    """Predictors with their models loaded, which end with the block. Raises OsteonError where one cannot be."""
    predictors = [PredictorProcess(served) for served in models]
    try:
        for predictor in predictors:
            try:
                predictor.start()
            except ProcessDiedError as died:
                raise ModelError(
                    f"{predictor.model.folder}: the process that loads the model died ({died})",
                    hint="free some memory, and try again",
                ) from None
        yield predictors
    finally:
        for predictor in predictors:
            predictor.kill()
