"""What was measured of the cases of a result, as pages show it, and the job that measures them.

RESULT/measured/…                           what `osteon measure` writes
RESULT/annotations/<case>/landmarks.json    landmarks that people moved
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.app.jobs import FINISHED, Job
from osteon.app.orientation import PictureOrientation
from osteon.app.results import find_dataset, find_modality
from osteon.app.state import AppState
from osteon.app.workspace import Item
from osteon.core.errors import OsteonError, UsageError
from osteon.core.geometry import Geometry
from osteon.formats.io import read_geometry
from osteon.measuring.figure import Drawing, Figure
from osteon.measuring.landmarks import Landmark, LandmarkMove, find_landmarks, move_landmarks
from osteon.measuring.run import read_figures
from osteon.measuring.saved_landmarks import read_moves
from osteon.measuring.tables import FILE
from osteon.reporting.measure_page import describe_interval, describe_measure, describe_value

FOLDER = "measured"


@dataclass(frozen=True)
class CaseMeasures:
    """The measures of one case.

    Attributes:
        found: Its figures as they were measured.
        figures: The same with landmarks where people have moved them.
        landmarks: Of long bones, as they were found.
        moves: Those that were moved.
    """

    found: list[Figure]
    figures: list[Figure]
    landmarks: list[Landmark]
    moves: list[LandmarkMove]

    def rows(self) -> list[dict[str, Any]]:
        """Of the table: what has a value first, in order."""
        order = sorted(range(len(self.figures)), key=lambda n: self.figures[n].value is None)
        return [_row(n, self.figures[n]) for n in order]

    def move_of(self, landmark: Landmark) -> LandmarkMove | None:
        """Where it was moved to, and by whom."""
        moves = (one for one in self.moves if (one.structure, one.name) == (landmark.structure, landmark.name))
        return next(moves, None)


def read_measures(item: Item, case: str) -> CaseMeasures | None:
    """What was measured of a case; None where it was not. Raises FileError: the moved landmarks are damaged."""
    found = read_figures(item.path / FOLDER, case)
    if found is None:
        return None
    moves = read_moves(item.path, case)
    return CaseMeasures(found, move_landmarks(found, moves), find_landmarks(found), moves)


def is_outdated(item: Item, label: Path) -> bool:
    """Whether a label has changed since its result was measured."""
    made = item.path / FOLDER / FILE
    return made.is_file() and label.stat().st_mtime > made.stat().st_mtime


def measures_job(app: AppState, result: Item) -> Job | None:
    """The job that measures a result, as long as it is going on."""
    jobs = (job for job in app.jobs.about("result", result.name) if job.command == "measure")
    return next((job for job in jobs if app.jobs.state(job).phase not in FINISHED), None)


def start_measures(app: AppState, result: Item) -> Job:
    """Measure every case of a result; what is measured and has not changed is skipped.

    Raises:
        UsageError: It is being measured.
    """
    if measures_job(app, result) is not None:
        raise UsageError(f"{result.title}: is being measured", hint="wait until it is done, or cancel it on Jobs")
    found, target = find_dataset(app, result), result.relative_path
    known = ["--modality", find_modality(app, result)] if found is None else ["--dataset", found[0].relative_path]
    return app.jobs.submit(
        "measure",
        [target, f"{target}/{FOLDER}", *known],
        f"Measure {result.title}",
        about={"result": result.name},
        product=f"{target}/{FOLDER}/{FILE}",
    )


def viewer_drawings(drawings: Sequence[Drawing], images: Sequence[Path], *, picture: bool) -> list[dict[str, Any]]:
    """What a viewer's `figure` takes: points in RAS mm, or columns and rows of a picture; none where it is not known.

    Args:
        drawings: Of a figure.
        images: The scan's files.
        picture: Whether it is shown as a picture.
    """
    try:
        geometry = read_geometry(images[0]) if picture and images else None
    except OsteonError:
        return []
    rows = []
    for drawing in drawings:
        points = np.asarray(drawing.points, dtype=np.float64)
        shown = points if geometry is None else _pixels(points, geometry)
        rows.append({"kind": drawing.kind, "name": drawing.name, "points": shown.tolist()})
    return rows


def _pixels(points: npt.NDArray[np.float64], geometry: Geometry) -> npt.NDArray[np.float64]:
    """Columns and rows as the viewer counts them: a pixel's centre is half a pixel from its edge."""
    orientation = PictureOrientation.from_geometry(geometry)
    index = (points - geometry.affine_ras[:3, 3]) @ np.linalg.inv(geometry.affine_ras[:3, :3]).T
    found = []
    for axis, flipped, size in (
        (orientation.x_axis, orientation.flipped[0], orientation.columns),
        (orientation.y_axis, orientation.flipped[1], orientation.rows),
    ):
        at = index[:, axis]
        found.append((size - 1 - at if flipped else at) + 0.5)
    return np.stack(found, axis=1)


def _row(number: int, figure: Figure) -> dict[str, Any]:
    known = figure.value is not None
    return {
        "n": number,
        "measure": describe_measure(figure.measure),
        "structure": figure.about,
        "value": describe_value(figure) if known else "–",
        "interval": describe_interval(figure.low, figure.high),
        "against": "; ".join(figure.flags) if known else f"not measured: {figure.not_measured}",
        "drawn": bool(figure.drawings) and known,
    }
