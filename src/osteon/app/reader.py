"""Reading volumes in a process beside the server's, so that the server stays small and its pages quick."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from typing import ParamSpec, TypeVar

from osteon.core.errors import OsteonError, is_out_of_memory
from osteon.core.garbage import pause_collector
from osteon.core.parallel import init_worker

P = ParamSpec("P")
T = TypeVar("T")
TIMEOUT_S = 600.0
"""Longest time of a call; then the process is killed, and the next call gets a new one."""


class ReaderProcess:
    """One process that runs functions, one after the other."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._lock = asyncio.Lock()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a function in that process; function, arguments and result are picklable.

        Raises:
            OsteonError: The function's, or that memory does not suffice, or that it took too long.
        """
        hint = "close other programs, or look at a smaller scan"
        try:
            async with self._lock:
                future = asyncio.wrap_future(self._open().submit(function, *args, **kwargs))
                if not (await asyncio.wait([future], timeout=TIMEOUT_S))[0]:
                    future.cancel()
                    self._kill()
                    raise OsteonError(f"reading it took longer than {TIMEOUT_S:.0f} s", hint="look at a smaller scan")
                return await future
        except BrokenProcessPool:
            self.close()
            raise OsteonError("reading it took more memory than there is", hint=hint) from None
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise OsteonError("there is not enough memory to read it", hint=hint) from error

    def start(self) -> None:
        """Start the process, so that the first scan does not wait for it."""
        self._open().submit(_warm_up)

    def close(self) -> None:
        """End the process."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = None

    def _kill(self) -> None:
        """End the process at once, whatever it does."""
        running = [] if self._pool is None else list((self._pool._processes or {}).values())  # Python 3.14 has a method
        for process in running:
            process.kill()
        self.close()

    def _open(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=init_worker)
        return self._pool


def _warm_up() -> None:
    """Import what takes longest."""
    with pause_collector():
        for module in ("osteon.app.scenes", "osteon.importing.recognition"):
            import_module(module)
