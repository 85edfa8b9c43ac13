"""Why a job failed, found in its log and exit code."""

from __future__ import annotations

import re
import signal

from osteon.app.jobs import Job, State
from osteon.core.errors import OsteonError

_LIST_HEADING = re.compile(r"\d+ (?:cases? [\w ]+|passed over):")
"""Above what a command lists case by case: `2 cases failed:`, `1 case left out:`, `3 passed over:`."""
_USAGE = re.compile(r"Usage: .* \[OPTIONS\]")
_EXCEPTION = re.compile(r"(?:[a-z_]+\.)*[A-Z]\w*(?:Error|Exception|Interrupt)(?::.*)?")
_EXIT_CODES = {
    1: "the command ended before it came to anything",
    2: "the command was asked for something that it does not do",
}


def find_error(log: str) -> tuple[str, str]:
    """The last error that a command's log names, and the way out; empty where it names none."""
    lines = log.splitlines()
    for number in range(len(lines) - 1, -1, -1):
        _, found, message = lines[number].partition("error: ")
        if found and not lines[number].partition("error: ")[0].strip():
            rest = lines[number + 1 :]
            hint = next((text for text in rest if text.strip().startswith("→")), "")
            details = rest[: rest.index(hint)] if hint else []
            indented = [text.strip() for text in details if text.startswith(" ")]
            return "\n".join([message.strip(), *indented]), hint.strip().removeprefix("→").strip()
    return "", ""


def _signal_name(code: int) -> str:
    """The signal that an exit code tells of: none was heeded below 0, one ended the command in order above 128."""
    try:
        return signal.Signals(-code if code < 0 else code - 128).name
    except ValueError:
        return ""


def list_left_out(log: str) -> list[str]:
    """What a command lists as failed, left out or passed over, each with why; the last list of each kind."""
    return [f"{line} ({way})" if way else line for line, way in _failure_list(log)]


def _failure_list(log: str) -> list[tuple[str, str]]:
    """The same, with the way out beside each."""
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


def job_error(job: Job, state: State, log: str) -> OsteonError:
    """What a failed job ended with, in words."""
    message, hint = find_error(log)
    if message:
        return OsteonError(message, hint=hint)
    if lost := _failure_list(log):
        more = f"nothing came of {len(lost)} cases" if len(lost) > 1 else "nothing came of it"
        listed = "\n".join(list_left_out(log)) if len(lost) > 1 else ""
        return OsteonError(f"{more}: {lost[0][0]}\n{listed}".strip(), hint=lost[0][1])
    if state.code is not None and (name := _signal_name(state.code)):
        why = "not enough memory, most likely" if name == "SIGKILL" else "another program ended it"
        return OsteonError(f"{job.title}: was ended by {name}: {why}", hint="close other programs, and try it again")
    lines = [line.strip(" │") for line in log.splitlines() if line.strip(" │╭╰─╮╯")]
    if lines and _EXCEPTION.fullmatch(lines[-1]):
        return OsteonError(
            f"{job.title}: broke off, which is a fault of osteon's\n{lines[-1]}",
            hint="try it again; where it happens again, report it with what the command says",
        )
    if lines and any(_USAGE.search(line) for line in lines):
        return OsteonError(f"{job.title}: {lines[-1]}", hint="begin it anew from its page")
    said = state.why or _EXIT_CODES.get(state.code or 0, f"the command ended with exit code {state.code}")
    last = f"\n{lines[-1]}" if lines else ""
    return OsteonError(f"{job.title}: {said}{last}", hint="the log says more; try it again")
