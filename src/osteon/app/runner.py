"""`python -m osteon.app.runner JOBS/ID`: run one job's command, write how it ended, begin the next.

It leads the process group of the command. What is asked of the group reaches both: the runner only notes it and waits.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from osteon.app.jobs import INTERRUPTED, LOG, PROGRESS, Job, Jobs, Phase, State
from osteon.core.file_stamps import modification_stamp
from osteon.core.processes import INTERRUPTS
from osteon.core.progress import PROGRESS_FILE_VARIABLE


def run(folder: Path) -> int:
    """Run the job of that folder; its exit code."""
    jobs = Jobs(folder.parent.parent)
    job = jobs.get(folder.name)
    if job is None:
        return 1
    for number in INTERRUPTS:
        signal.signal(number, _note)  # a handler of one's own: the command gets the usual one back
    told = {
        "COLUMNS": "160",
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
        PROGRESS_FILE_VARIABLE: str((folder / PROGRESS).resolve()),
    }
    before = modification_stamp(jobs.root / job.product)
    with (folder / LOG).open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "osteon.cli", job.command, *job.arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=jobs.root,
            env=os.environ | told,
        )
        code = child.wait()
    with jobs.locked():
        state = jobs.state(job)
        jobs.put(job, replace(state, phase=outcome(jobs.root, job, state, code, before), code=code, ended=time.time()))
    jobs.advance()
    return code


def outcome(root: Path, job: Job, state: State, code: int, before: str) -> Phase:
    """What an exit code means. `before` is what the product was when the command began: clocks may be set meanwhile."""
    if code == 0:
        return "done"
    if state.asked == "cancel":
        return "cancelled"
    if state.asked == "pause" and code in (INTERRUPTED, -signal.SIGINT):
        return "paused"
    made = bool(job.product) and modification_stamp(root / job.product) not in (before, "missing")
    return "partly" if code == 1 and made else "failed"


def _note(*_: object) -> None:
    """The command has got the same signal: wait for what it makes of it."""


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1])))
