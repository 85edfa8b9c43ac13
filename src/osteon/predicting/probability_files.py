"""Probabilities beside a result, for a soft vote: `<case>.probabilities.npz`, on the scan's own grid.

The scan's grid and not the plan's: a 2D and a 3D model have the scan in common and no other grid, and refined crops are
on it alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from osteon.core.geometry import Geometry
from osteon.formats.probabilities import SUFFIX, make_header, write_probabilities
from osteon.predicting.model import Model
from osteon.predicting.restore import OutputSink


def probabilities_path(out: Path, case_id: str) -> Path:
    """The file of a case's probabilities."""
    return out / f"{case_id}{SUFFIX}"


@contextmanager
def probability_sink(path: Path | None, model: Model, geometry: Geometry) -> Iterator[OutputSink | None]:
    """Write a scan's probabilities. The file is there once the block has ended with every output, and else is not.

    Args:
        path: Of the file; None: nothing is written, and there is no sink.
        model: Whose probabilities they are.
        geometry: The scan's own grid.

    Raises:
        FileError: The disk is full, or the folder cannot be written.
    """
    if path is None:
        yield None
        return
    plan = model.plan
    with write_probabilities(path) as writer:
        writer.begin(make_header(tuple(plan.structures), geometry, overlapping=plan.overlapping, model=model.sha256))
        yield writer.add
