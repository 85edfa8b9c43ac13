"""Lists in messages: the first few of many names."""

from __future__ import annotations

from collections.abc import Sequence


def shortly(names: Sequence[str], most: int = 8, *, mark: str = ", ") -> str:
    """The first names, and how many more there are: `a, b and 7 more`; empty where there is none.

    Args:
        names: For people.
        most: That are shown.
        mark: What stands between them.
    """
    return mark.join(names[:most]) + f" and {len(names) - most} more" * (len(names) > most)
