"""Subject and site, found in a case's id or path by a pattern that the user gives."""

from __future__ import annotations

import re
from collections.abc import Callable

from osteon.core.errors import UsageError
from osteon.importing.source_forms import SourceCase

COMMON_PATTERNS = (
    r"^([^/]+)/",
    r"(?:^|/)([A-Za-z]*[-_ ]?\d+)[^/]*$",
    r"(?:^|/)([^/_]+)_[^/]*$",
    r"(?:^|/)([^/_\-. ]+)[^/]*$",
    r"([A-Za-z]+[-_ ]?\d+)",
    r"(\d+)",
)
"""Patterns for `--case-pattern` that people can read; the first is proposed that sorts their files."""


def compile_pattern(pattern: str | None, option: str) -> Callable[[SourceCase], str | None]:
    """What finds the first group of `pattern` in a case's id, or else in its image's path; None where it is in neither.

    Raises:
        UsageError: `pattern` is no regular expression, or has no group.
    """
    if pattern is None:
        return lambda _: None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"{option} {pattern}: not a regular expression ({error})", hint="such as `^(\\d+)_`") from None
    if compiled.groups < 1:
        raise UsageError(f"{option} {pattern}: has no group", hint="put brackets around the part wanted: `^(\\d+)_`")

    def find(case: SourceCase) -> str | None:
        texts = [case.id, *(image.as_posix() for image in case.images[:1])]
        return next((m[1] for text in texts if (m := compiled.search(text)) and m[1]), None)

    return find


def compile_path_pattern(pattern: str | None, option: str) -> Callable[[str], str | None] | None:
    """Likewise for a path, None without a pattern. Raises as `compile_pattern`."""
    if pattern is None:
        return None
    find = compile_pattern(pattern, option)
    return lambda path: find(SourceCase(path, ()))
