"""What is odd about a file that can be read: its header contradicts itself, or leaves open what is then guessed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

_SINGLY = 3
"""Files with the same oddity that are told singly; more become one line."""


class Oddity(NamedTuple):
    """One of them.

    Attributes:
        kind: A word for programs; files with the same one are told together.
        what: What the header says, and what was taken.
        grave: Whether other programs may see the file elsewhere, in another size or with other values.
    """

    kind: str
    what: str
    grave: bool = False


def told(found: Iterable[tuple[str, Oddity]]) -> list[str]:
    """The oddities of files, by the files' names, as lines for people; alike ones become one with their count."""
    alike: dict[str, list[tuple[str, str]]] = {}
    for name, oddity in found:
        alike.setdefault(oddity.kind, []).append((name, oddity.what))
    lines = []
    for files in alike.values():
        if len(files) <= _SINGLY:
            lines += [f"{name}: {what}" for name, what in files]
            continue
        others = ", ".join(name for name, _ in files[1:_SINGLY])
        lines.append(f"{files[0][0]}: {files[0][1]}; likewise in {len(files) - 1} more files ({others}, …)")
    return lines
