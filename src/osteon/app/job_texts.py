"""Names of jobs, states and progress on pages and in notices."""

from __future__ import annotations

import re

from osteon.app.jobs import Job, JobPhase

UNKNOWN_STEP = "getting ready"
"""Shown while a command reports no progress: it loads its libraries, or is between two steps."""
COMMAND_NAMES = {
    "import": "an import",
    "audit": "a check of data",
    "plan": "a forecast",
    "train": "a training",
    "import-model": "taking in a model",
    "sweep": "a sweep",
    "predict": "a segmentation",
    "vote": "a vote",
    "evaluate": "a comparison",
    "compare": "a report",
    "measure": "measures",
    "export": "files to download",
    "suggest": "a choice of what to label next",
    "phantom": "made-up data",
    "archive": "a transfer from or to an archive",
}
PHASE_LABELS = {
    "queued": ("waits", "osteon-faint"),
    "running": ("runs", "osteon-busy"),
    "done": ("done", "osteon-good"),
    "partly": ("done, with some cases left out", "osteon-warn"),
    "failed": ("failed", "osteon-bad"),
    "cancelled": ("cancelled", "osteon-faint"),
    "paused": ("paused", "osteon-warn"),
}


def progress_fraction(doing: str) -> float | None:
    """The innermost fraction of a progress line, 0 … 1: `preparing: 3 of 10 (30 %), 0:20 left` is .3."""
    percent = re.findall(r"\b(\d{1,3}) %", doing)
    return min(1.0, int(percent[-1]) / 100) if percent else None


def describe_command(job: Job) -> str:
    """What kind of job it is, without names that users gave: those may be patients'."""
    return COMMAND_NAMES.get(job.command, job.command)


def end_sentence(job: Job, phase: JobPhase) -> str:
    """`A training is done`; `An import has failed`."""
    what = describe_command(job).capitalize()
    return f"{what} has failed" if phase == "failed" else f"{what} is {PHASE_LABELS[phase][0]}"


def format_age(seconds: float) -> str:
    """`5 s`, `12 min`, `3 h`, `4 days`."""
    for length, name in ((86_400, "day"), (3_600, "h"), (60, "min")):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {name}{'s' if name == 'day' and count != 1 else ''}"
    return f"{max(0, int(seconds))} s"
