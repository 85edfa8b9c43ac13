"""Python's garbage collector, kept away from libraries: Lightning and what it imports are 800,000 objects in use.

The collector goes through them seven times while they are imported, which takes a second of a CPU, and Python takes
them apart when it ends, which takes another.
"""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pause_collector() -> Iterator[None]:
    """Let nothing look for garbage inside the block: around imports, which make none."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def skip_last_collection() -> None:
    """Leave what there is when Python ends to the system: for a process that is osteon's alone.

    Cycles of objects are not taken apart then, and nothing that they would do at their end is done.
    """
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
