"""Processes that tests begin, and waiting for what they do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LONG_S = 60
HERE = Path(__file__).parent


def wait(met: Callable[[], Any], seconds: float = LONG_S) -> None:
    until = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def python(code: str, folder: Path | None = None, **options: Any) -> subprocess.Popen[str]:
    """A process that runs `code`, and ends as osteon's own; `folder` is looked in first, for sitecustomize too."""
    paths = [*([str(folder)] if folder else []), str(HERE.parent / "src"), str(HERE)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen(
        [sys.executable, "-c", f"import atexit, gc; atexit.register(gc.freeze)\n{code}"],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


FORKS = """
import gc, json, os, sys
import IMPORTS
gc.freeze()  # what forks look through, or take apart at their end, they have to copy
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream, file in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
            os.dup2(file, stream)
        sys.argv = ["-c", *asked["arguments"]]
        exec(asked["code"], {"__name__": "__main__"})
        sys.exit()
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Forks:
    """Processes that begin at once: forks of one that has imported what takes seconds, and has done nothing else."""

    def __init__(self, *modules: str) -> None:
        self._parent = python(
            FORKS.replace("IMPORTS", ", ".join(modules)), stdin=subprocess.PIPE, start_new_session=True
        )

    def begin(self, code: str, *arguments: object, log: Path) -> int:
        """The number of a process that runs `code`, and writes what it says into `log`."""
        assert self._parent.stdin is not None
        asked = {"code": code, "arguments": [str(argument) for argument in arguments], "log": str(log)}
        self._parent.stdin.write(json.dumps(asked) + "\n")
        self._parent.stdin.flush()
        return self._answer()

    def end(self) -> int:
        """The exit code of what was begun; it is waited for."""
        return self._answer()

    def close(self) -> None:
        os.killpg(self._parent.pid, signal.SIGKILL)
        self._parent.communicate()

    def _answer(self) -> int:
        assert self._parent.stdout is not None
        limit = threading.Timer(2 * LONG_S, os.killpg, [self._parent.pid, signal.SIGKILL])
        limit.start()
        try:
            return int(self._parent.stdout.readline())
        finally:
            limit.cancel()


def finish(process: subprocess.Popen[str], seconds: float = LONG_S) -> str:
    """What a process wrote; it must have ended well."""
    try:
        out, error = process.communicate(timeout=seconds)
    finally:
        process.kill()
    assert process.returncode == 0, error
    return out
