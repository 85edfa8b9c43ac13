"""Names: which are one file on some system and two on others, and in which order people read them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from itertools import chain, count


def name_key(name: str) -> str:
    """The same for names that are one file on some system: Windows and macOS do not tell capitals apart, and macOS does
    not tell a letter with its accent (NFC) from a letter and an accent (NFD).
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def free_name(name: str, taken: Collection[str]) -> str:
    """The name, or the first of name-2, name-3 … whose key (`name_key`) is not among those taken."""
    others = (f"{name}-{number}" for number in count(2))
    return next(own for own in chain([name], others) if name_key(own) not in taken)


def natural_key(name: str) -> tuple[tuple[bool, int, str], ...]:
    """A key that sorts numbers in names by their value: c2 before c10."""
    return tuple(
        (not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name)
    )
