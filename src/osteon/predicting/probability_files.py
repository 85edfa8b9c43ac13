"""Probabilities kept beside a result, for a soft vote: `<case>.probabilities.npz`, on the scan's own grid.

The scan's grid and not the plan's: a 2D and a 3D model have the scan in common and no other grid, and what a closer
look has found is on it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from osteon.core.geometry import Geometry
from osteon.formats.probabilities import SUFFIX, make_header, write_probabilities
from osteon.predicting.model import Model
from osteon.predicting.restore import Keep

Keeper = Callable[[Geometry], Keep | None]
"""For a scan's grid, what `Model.predict` gives its outputs to; None where nothing is kept."""


def probabilities_path(out: Path, case_id: str) -> Path:
    """Where a case's probabilities are kept."""
    return out / f"{case_id}{SUFFIX}"


@contextmanager
def kept(path: Path, model: Model, *, wanted: bool) -> Iterator[Keeper]:
    """Keep a scan's probabilities. The file is there when the block ends and every output has come, and else is not.

    Raises:
        FileError: The disk is full, or the folder cannot be written.
    """
    if not wanted:
        yield lambda _: None
        return
    plan = model.plan
    with write_probabilities(path) as writer:

        def keeper(geometry: Geometry) -> Keep:
            writer.begin(
                make_header(tuple(plan.structures), geometry, overlapping=plan.overlapping, model=model.sha256)
            )
            return writer.add

        yield keeper
