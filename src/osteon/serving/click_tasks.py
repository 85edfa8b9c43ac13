"""What is asked of the predicting process where somebody points at structures; `clicks.json` in a job's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from osteon.core.boxes import Index3
from osteon.core.clicks import Click
from osteon.core.files import read_json, write_json
from osteon.core.labels import Structure

CLICKS_JSON = "clicks.json"
MAX_POINTS = 2000
"""Of a request, together."""


class ClickTask(BaseModel):
    """Points in a scan, and what they point at.

    Attributes:
        tool: `points` needs no model; `model` is the one that answers clicks.
        correcting: Begin with what the served model finds, and have the points correct that.
        structures: Those that the answer shows.
        inside: By structure the voxels i, j, k in it, in the scan's own order. Those of one lie outside all others.
        outside: Voxels that lie in none of them.
        reach: About a structure's radius, in the scan's unit; None: the usual one. Of `points` alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: Literal["points", "model"]
    correcting: bool
    structures: tuple[Structure, ...]
    inside: dict[str, tuple[Index3, ...]]
    outside: tuple[Index3, ...] = ()
    reach: float | None = None

    def clicks(self, structure: Structure) -> list[Click]:
        """The points that say something of a structure: its own, then those outside it."""
        others = [at for name, points in self.inside.items() if name != structure.name for at in points]
        own = [Click(at) for at in self.inside.get(structure.name, ())]
        return own + [Click(at, positive=False) for at in (*self.outside, *others)]


def write_click_task(folder: Path, task: ClickTask) -> None:
    """Put it into a job's folder. Raises FileError where it cannot be written."""
    write_json(folder / CLICKS_JSON, task.model_dump(exclude_none=True))


def read_click_task(folder: Path) -> ClickTask | None:
    """That of a job's folder; None where the job has none."""
    path = folder / CLICKS_JSON
    return ClickTask.model_validate(read_json(path, "the points")) if path.is_file() else None
