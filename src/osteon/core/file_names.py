"""Names: which are one file on some system and two on others, and in which order people read them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from itertools import count


def name_key(name: str) -> str:
    """The same for names that are one file on some system: Windows and macOS do not tell capitals apart, and macOS does
    not tell a letter with its accent (NFC) from a letter and an accent (NFD).
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def free_name(name: str, taken: Collection[str], tried: dict[str, int] | None = None) -> str:
    """The name, or the first of name-2, name-3 … whose key (`name_key`) is not among those taken.

    Args:
        name: As wanted.
        taken: Keys; more every time, and never fewer.
        tried: Name → the number up to which all were taken before; kept here, for many that want the same name.
    """
    tried = {} if tried is None else tried
    numbers = count(tried.get(name, 1))
    tried[name] = next(number for number in numbers if name_key(_add_number(name, number)) not in taken)
    return _add_number(name, tried[name])


def _add_number(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def natural_key(name: str) -> tuple[tuple[bool, int, str], ...]:
    """A key that sorts numbers in names by their value: c2 before c10."""
    return tuple(
        (not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name)
    )
