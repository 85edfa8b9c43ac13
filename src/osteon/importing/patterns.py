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


def compile_path_pattern(pattern: str | None, option: str = "--case-pattern") -> Callable[[str], str | None] | None:
    """What finds the first group of `pattern` in a path, or None there; None without a pattern.

    Raises:
        UsageError: `pattern` is no regular expression, or has no group.
    """
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"{option} {pattern}: not a regular expression ({error})", hint="such as `^(\\d+)_`") from None
    if compiled.groups < 1:
        raise UsageError(f"{option} {pattern}: has no group", hint="put brackets around the part wanted: `^(\\d+)_`")
    return lambda path: ((found := compiled.search(path)) and found[1]) or None


def compile_pattern(pattern: str | None, option: str) -> Callable[[SourceCase], str | None]:
    """The same for a case: in its id, or else in its image's path."""
    find = compile_path_pattern(pattern, option) or (lambda _: None)
    return lambda case: find(case.id) or next((find(image.as_posix()) for image in case.images[:1]), None)
