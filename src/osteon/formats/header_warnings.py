"""Warnings about files that can be read: a header contradicts itself, or leaves open what is then guessed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

_MAX_FILES_NAMED = 3
"""Files with the same warning that get a line each; more become one line."""


class HeaderWarning(NamedTuple):
    """A contradiction or a gap in a file's header.

    Attributes:
        kind: A word for programs; files with the same one are described together.
        what: What the header says, and what was taken.
        severe: Whether other programs may see the file elsewhere, in another size or with other values.
    """

    kind: str
    what: str
    severe: bool = False


def describe_warnings(found: Iterable[tuple[str, HeaderWarning]]) -> list[str]:
    """Pairs of file name and warning as lines for people; many files with one kind of warning become one line."""
    by_kind: dict[str, list[tuple[str, str]]] = {}
    for name, warning in found:
        by_kind.setdefault(warning.kind, []).append((name, warning.what))
    lines = []
    for files in by_kind.values():
        if len(files) <= _MAX_FILES_NAMED:
            lines += [f"{name}: {what}" for name, what in files]
            continue
        others = ", ".join(name for name, _ in files[1:_MAX_FILES_NAMED])
        lines.append(f"{files[0][0]}: {files[0][1]}; also in {len(files) - 1} more files ({others}, …)")
    return lines
