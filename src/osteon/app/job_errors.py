"""Why a job failed, found in its log and exit code."""

from __future__ import annotations

import re
import signal

from osteon.app.jobs import Job, JobState
from osteon.core.errors import OsteonError

_LIST_HEADING = re.compile(r"\d+ (?:cases? [\w ]+|skipped|passed over):")
"""The line above a list of cases: `2 cases failed:`, `1 case left out:`, `3 skipped:`."""
_USAGE = re.compile(r"Usage: .* \[OPTIONS\]")
_EXCEPTION = re.compile(r"(?:[a-z_]+\.)*[A-Z]\w*(?:Error|Exception|Interrupt)(?::.*)?")
_EXIT_CODES = {1: "the command ended without a result", 2: "the command does not have these options"}


def find_error(log: str) -> tuple[str, str]:
    """Message and hint of the last error in a command's log; empty where there is none."""
    lines = log.splitlines()
    for number in range(len(lines) - 1, -1, -1):
        before, found, message = lines[number].partition("error: ")
        if found and not before.strip():
            rest = lines[number + 1 :]
            hint = next((text for text in rest if text.strip().startswith("→")), "")
            details = rest[: rest.index(hint)] if hint else []
            indented = [text.strip() for text in details if text.startswith(" ")]
            return "\n".join([message.strip(), *indented]), hint.strip().removeprefix("→").strip()
    return "", ""


def _signal_name(code: int) -> str:
    """The signal behind an exit code: below 0 it killed the command, above 128 the command ended in order; or empty."""
    try:
        return signal.Signals(-code if code < 0 else code - 128).name
    except ValueError:
        return ""


def list_left_out(log: str) -> list[str]:
    """Cases that a command's log lists as failed, left out or skipped, each with the reason and the hint."""
    return [f"{line} ({hint})" if hint else line for line, hint in _failure_list(log)]


def _failure_list(log: str) -> list[tuple[str, str]]:
    """Reasons and hints; of several lists of one kind the last."""
    lists: dict[str, list[tuple[str, str]]] = {}
    kind = ""
    for line in log.splitlines():
        if _LIST_HEADING.fullmatch(line.strip()):
            kind = line.strip().lstrip("0123456789 ")
            lists[kind] = []
        elif not line.startswith("  "):
            kind = ""
        elif kind and line.strip().startswith("→") and lists[kind]:
            lists[kind][-1] = (lists[kind][-1][0], line.strip().removeprefix("→").strip())
        elif kind:
            lists[kind].append((line.strip(), ""))
    return [pair for pairs in lists.values() for pair in pairs]


def job_error(job: Job, state: JobState, log: str) -> OsteonError:
    """The error that a failed job ended with."""
    message, hint = find_error(log)
    if message:
        return OsteonError(message, hint=hint)
    if failures := _failure_list(log):
        more = f"{len(failures)} cases failed" if len(failures) > 1 else "it failed"
        listed = "\n".join(list_left_out(log)) if len(failures) > 1 else ""
        return OsteonError(f"{more}: {failures[0][0]}\n{listed}".strip(), hint=failures[0][1])
    if state.code is not None and (name := _signal_name(state.code)):
        why = "not enough memory, most likely" if name == "SIGKILL" else "another program ended it"
        return OsteonError(f"{job.title}: was ended by {name}: {why}", hint="close other programs, and try it again")
    lines = [line.strip(" │") for line in log.splitlines() if line.strip(" │╭╰─╮╯")]
    if lines and _EXCEPTION.fullmatch(lines[-1]):
        return OsteonError(
            f"{job.title}: stopped with an internal error of osteon\n{lines[-1]}",
            hint="try it again; where it happens again, report it with what the command says",
        )
    if lines and any(_USAGE.search(line) for line in lines):
        return OsteonError(f"{job.title}: {lines[-1]}", hint="start it again from its page")
    why = state.why or _EXIT_CODES.get(state.code or 0, f"the command ended with exit code {state.code}")
    last = f"\n{lines[-1]}" if lines else ""
    return OsteonError(f"{job.title}: {why}{last}", hint="the log says more; try it again")
