"""`smallest:8` as a choice of structures to zoom at: a recipe knows no names."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from osteon.core.errors import UsageError
from osteon.planning.fingerprint import Fingerprint

SMALLEST = re.compile(r"smallest(?::(\d+))?")
DEFAULT_COUNT = 5


def expand_smallest(fingerprint: Fingerprint, names: Sequence[str]) -> list[str]:
    """The structures' names, with `smallest` (five) or `smallest:N` put in words.

    Args:
        fingerprint: Their median volumes (areas in radiographs) over the cases are compared.
        names: Names, or `smallest:N`.

    Raises:
        UsageError: The N smallest would be none.
    """
    volumes: dict[str, list[float]] = {}
    for case in fingerprint.cases:
        for name, facts in case.structures.items():
            volumes.setdefault(name, []).append(facts.voxels * float(np.prod(case.spacing_mm)))
    expanded: list[str] = []
    for word in names:
        match = None if word in volumes else SMALLEST.fullmatch(word)
        if match is None:
            expanded.append(word)
            continue
        count = int(match[1] or DEFAULT_COUNT)
        if not count:
            raise UsageError(f"--zoom {word}: are no structures", hint=f"--zoom smallest:{DEFAULT_COUNT}, for example")
        expanded += sorted(volumes, key=lambda name: (float(np.median(volumes[name])), name))[:count]
    return list(dict.fromkeys(expanded))
