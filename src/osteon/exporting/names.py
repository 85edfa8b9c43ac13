"""Names of files that are made of structures' names."""

from __future__ import annotations

from collections.abc import Sequence

from osteon.importing.forms import safe_id


def file_names(names: Sequence[str]) -> list[str]:
    """A file's stem for each name; no two are the same, also where the file system takes no account of capitals."""
    taken: set[str] = set()
    found = []
    for name in names:
        plain = safe_id(name)
        others = (f"{plain}-{n}" for n in range(2, len(names) + 2))
        stem = plain if plain.lower() not in taken else next(o for o in others if o.lower() not in taken)
        taken.add(stem.lower())
        found.append(stem)
    return found
