"""Processes that tests begin, and waiting for what they do."""

from __future__ import annotations

import os
import subprocess
import sys
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
    """A process that runs `code`; `folder` is looked in first for modules, sitecustomize among them."""
    paths = [*([str(folder)] if folder else []), str(HERE.parent / "src"), str(HERE)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def finish(process: subprocess.Popen[str], seconds: float = LONG_S) -> str:
    """What a process wrote; it must have ended well."""
    try:
        out, error = process.communicate(timeout=seconds)
    finally:
        process.kill()
    assert process.returncode == 0, error
    return out
