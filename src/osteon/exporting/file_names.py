"""Names of files that are made of structures' names."""

from __future__ import annotations

from collections.abc import Sequence

from osteon.core.file_names import free_name, name_key
from osteon.dataset.case_ids import safe_id


def unique_stems(names: Sequence[str]) -> list[str]:
    """A file's stem for each name; no two are one file on any system."""
    taken: set[str] = set()
    tried: dict[str, int] = {}
    found = []
    for name in names:
        found.append(free_name(safe_id(name), taken, tried))
        taken.add(name_key(found[-1]))
    return found
