"""Times that files bear, where the machine's clock may have been wrong."""

from __future__ import annotations

import time
from pathlib import Path

DAY_S = 86_400.0


def age_key(path: Path) -> float:
    """A key that sorts files by when they were written, the oldest first, for caches that keep the newest.

    A file from the future (by a day, since disks of a network have clocks of their own) was written by a clock that
    was wrong: it counts as the oldest, else it would outlast everything that is written from now on.
    """
    written = path.stat().st_mtime
    return written if written < time.time() + DAY_S else 0.0
