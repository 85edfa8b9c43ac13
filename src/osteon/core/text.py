"""Lists and counts in messages: the first few of many names, `1 case` and `2 cases`."""

from __future__ import annotations

from collections.abc import Sequence


def shorten_list(names: Sequence[str], max_shown: int = 8, *, separator: str = ", ") -> str:
    """The first names, and how many more there are: `a, b and 7 more`; empty where there is none.

    Args:
        names: For people.
        max_shown: Names that are shown.
        separator: Between two names.
    """
    return separator.join(names[:max_shown]) + f" and {len(names) - max_shown} more" * (len(names) > max_shown)


def pluralise(count: int, noun: str, plural: str | None = None) -> str:
    """`1 case`, `2 cases`.

    Args:
        count: How many.
        noun: Of one.
        plural: Of several, where no s makes it.
    """
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"
