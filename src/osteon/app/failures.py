"""Why a job failed, found in its log and exit code."""

from __future__ import annotations

import signal

from osteon.app.jobs import Job, State
from osteon.core.errors import OsteonError


def said_error(log: str) -> tuple[str, str]:
    """The last error that a command's log names, and the way out; empty where it names none."""
    lines = log.splitlines()
    for number in range(len(lines) - 1, -1, -1):
        _, found, message = lines[number].partition("error: ")
        if found and not lines[number].partition("error: ")[0].strip():
            hint = next((text for text in lines[number + 1 :] if text.strip().startswith("→")), "")
            return message.strip(), hint.strip().removeprefix("→").strip()
    return "", ""


def _signal(code: int) -> str:
    """The signal that an exit code tells of: none was heeded below 0, one ended the command in order above 128."""
    try:
        return signal.Signals(-code if code < 0 else code - 128).name
    except ValueError:
        return ""


def error_of(job: Job, state: State, log: str) -> OsteonError:
    """What a failed job ended with, in words."""
    message, hint = said_error(log)
    if message:
        return OsteonError(message, hint=hint)
    if state.code is not None and (name := _signal(state.code)):
        why = "not enough memory, most likely" if name == "SIGKILL" else "another program ended it"
        return OsteonError(f"{job.title}: was ended by {name}: {why}", hint="close other programs, and try it again")
    said = state.why or f"the command ended with exit code {state.code}"
    return OsteonError(f"{job.title}: {said}", hint="the log says more; try it again")
