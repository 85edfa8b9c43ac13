"""`python -m osteon.app.runner JOBS/ID`: run one job's command, write how it ended, begin the next.

It leads the process group of the command. A signal to the group reaches both: the runner waits for the command.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from osteon.app.jobs import INTERRUPTED, LOG, PROGRESS, Job, JobPhase, Jobs, JobState
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
        signal.signal(number, lambda *_: None)  # the command gets it, too; it would inherit SIG_IGN
    variables = {
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
            env=os.environ | variables,
        )
        code = child.wait()
    with jobs.store.lock():
        state = jobs.state(job)
        phase = outcome(jobs.root, job, state, code, before)
        jobs.write_state(job, replace(state, phase=phase, code=code, ended=time.time()))
    jobs.advance()
    return code


def outcome(root: Path, job: Job, state: JobState, code: int, before: str) -> JobPhase:
    """What an exit code means. `before` is what the product was when the command began: clocks may be set meanwhile."""
    if code == 0:
        return "done"
    if state.asked == "cancel":
        return "cancelled"
    if state.asked == "pause" and code in (INTERRUPTED, -signal.SIGINT):
        return "paused"
    made = bool(job.product) and modification_stamp(root / job.product) not in (before, "missing")
    return "partly" if code == 1 and made else "failed"


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1])))
