"""The click tools of the drawing page: points in, a structure's mask out. In the reader's process.

A request is JSON: `tool` (`points`, or the id of a run whose model answers clicks), `points` ([{at, positive}], all of
this structure so far), `reach` (mm or pixels; of `points` alone), `session` (the same for all requests about one
structure) and `mask`: what is drawn by now in a box ({box, data}), 1 where the structure is, 2 where others are, which
keep what they have. The answer is such a box, too, with 1 where the structure is from now on, and `voxels`.

Places are those of a drawing (`transfer`): i, j, k of a volume, row and column of a picture. Data are bytes, one for
each voxel of the box in the order of a drawing, as one gzip stream in base64.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from osteon.app.orientation import PictureOrientation
from osteon.core.boxes import Box, Index3
from osteon.core.clicks import Click, ClickAnswer, Mask
from osteon.core.geometry import AxisPermutation, Geometry, reorient_to_ras
from osteon.core.gzip_files import GZIP_ERRORS, open_gzip, pack
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.labelling.growth import grow_structure, usual_reach
from osteon.web.http_errors import RejectedError

if TYPE_CHECKING:
    from osteon.predicting.click_session import ClickSession

POINTS = "points"
"""The tool that needs no model."""
MAX_POINTS = 2000
MAX_MASK_VOXELS = 64_000_000
MAX_OPEN = 2
"""Scans, and on each of them sessions, that are kept: a click on one of them reads no file."""
_DAMAGED: tuple[type[Exception], ...] = (TypeError, binascii.Error, *GZIP_ERRORS)


@dataclass
class _OpenScan:
    """A scan that clicks are answered on.

    Attributes:
        volume: Its axes are those of a drawing; the third of a picture has one pixel.
        is_picture: Whether it is one.
        begun: For each session the mask before its first point.
        models: For each model's folder what answers clicks with it.
    """

    volume: Volume
    is_picture: bool
    begun: OrderedDict[str, Mask] = field(default_factory=OrderedDict)
    models: OrderedDict[Path, ClickSession] = field(default_factory=OrderedDict)


_OPEN: OrderedDict[tuple[Path, str, tuple[int, ...]], _OpenScan] = OrderedDict()


def answer_points(folder: Path, case_id: str, asked: Mapping[str, Any], models: Mapping[str, Path]) -> dict[str, Any]:
    """The answer to a request.

    Args:
        folder: Of the dataset.
        case_id: Of the case.
        asked: As the browser sent it.
        models: The folders of models that answer clicks, by the ids of their runs.

    Raises:
        RejectedError: 422 where it makes no sense.
        OsteonError: As `grow_structure` and `ClickSession`; the scan or the model cannot be read.
    """
    scan = _open_scan(folder, case_id)
    grid = scan.volume.geometry
    clicks = _read_points(asked.get("points"), scan)
    drawn = _read_mask(asked.get("mask"), scan)
    previous, protected = _mask_at_beginning(scan, asked.get("session"), drawn == 1), drawn == 2
    tool = asked.get("tool", POINTS)
    if tool == POINTS:
        reach = usual_reach(grid) if asked.get("reach") is None else _number(asked["reach"])
        answer = grow_structure(
            scan.volume.array[0], clicks, grid.spacing_mm, reach=reach, previous=previous, protected=protected
        )
    elif isinstance(tool, str) and tool in models:
        answer = _session(scan, models[tool]).answer(clicks, previous=previous, protected=protected)
    else:
        raise _rejected("this click tool is no longer here")
    return _describe(answer, is_picture=scan.is_picture)


def _describe(answer: ClickAnswer, *, is_picture: bool) -> dict[str, Any]:
    ends = [list(end[:2] if is_picture else end) for end in (answer.box.first, answer.box.stop)]
    data = answer.mask.astype(np.uint8).tobytes(order="C" if is_picture else "F")
    return {"box": ends, "data": base64.b64encode(pack(data)).decode(), "voxels": int(answer.mask.sum())}


def _open_scan(folder: Path, case_id: str) -> _OpenScan:
    dataset = Dataset.open(folder)
    case = dataset.case(case_id)
    paths = [dataset.resolve(image) for image in case.images]
    key = folder, case_id, tuple(path.stat().st_mtime_ns for path in paths if path.exists())
    if key not in _OPEN:
        volume = dataset.load_image(case)
        turn = _turn(volume.geometry)
        turned = Volume(np.ascontiguousarray(turn.apply(volume.array)), turn.geometry(volume.geometry))
        _OPEN[key] = _OpenScan(turned, 1 in volume.geometry.shape)
    return _keep(_OPEN, key)


def _turn(geometry: Geometry) -> AxisPermutation:
    """From the file's axes to those of a drawing."""
    if 1 not in geometry.shape:
        return reorient_to_ras(geometry)
    picture = PictureOrientation.from_geometry(geometry)
    along = 3 - picture.x_axis - picture.y_axis
    flips = {picture.x_axis: picture.flipped[0], picture.y_axis: picture.flipped[1], along: False}
    return AxisPermutation((picture.y_axis, picture.x_axis, along), (flips[0], flips[1], flips[2]))


def _session(scan: _OpenScan, folder: Path) -> ClickSession:
    from osteon.predicting.click_session import ClickSession  # torch: for who clicks with a model alone
    from osteon.predicting.model_folder import load_model

    if folder not in scan.models:
        scan.models[folder] = ClickSession(load_model(folder), scan.volume)
    return _keep(scan.models, folder)


def _mask_at_beginning(scan: _OpenScan, session: Any, now: Mask) -> Mask | None:
    """The structure's mask before a session's first point, the same array each time; None where there was none."""
    if isinstance(session, str) and 0 < len(session) <= 64:
        scan.begun.setdefault(session, now)
        now = _keep(scan.begun, session)
    return now if now.any() else None


def _keep(kept: OrderedDict[Any, Any], key: Any) -> Any:
    """What is kept under a key, which is the newest now; the oldest are forgotten."""
    kept.move_to_end(key)
    while len(kept) > MAX_OPEN:
        kept.popitem(last=False)
    return kept[key]


# What comes from a browser


def _read_points(points: Any, scan: _OpenScan) -> list[Click]:
    if not isinstance(points, list) or not 0 < len(points) <= MAX_POINTS:
        raise _rejected(f"there are no points, or more than {MAX_POINTS}")
    clicks = []
    for point in points:
        if not isinstance(point, dict) or not isinstance(point.get("positive"), bool):
            raise _rejected("a point does not say whether it lies inside")
        at = _read_place(point.get("at"), scan)
        if any(not 0 <= p < n for p, n in zip(at, scan.volume.geometry.shape, strict=True)):
            raise _rejected("a point lies outside the scan")
        clicks.append(Click(at, point["positive"]))
    return clicks


def _read_place(place: Any, scan: _OpenScan, last: int = 0) -> Index3:
    """Three whole numbers, of a picture two; the third is then `last`."""
    count = 2 if scan.is_picture else 3
    if not isinstance(place, list) or len(place) != count or any(type(p) is not int or abs(p) > 1 << 20 for p in place):
        raise _rejected(f"a place is {count} whole numbers")
    i, j, k = (*place, last)[:3]
    return i, j, k


def _read_mask(mask: Any, scan: _OpenScan) -> npt.NDArray[np.uint8]:
    """`[i, j, k]` of the whole scan: 1 the structure, 2 others."""
    shape = scan.volume.geometry.shape
    whole = np.zeros(shape, np.uint8)
    if mask is None:
        return whole
    ends = mask.get("box") if isinstance(mask, dict) else None
    if not isinstance(ends, list) or len(ends) != 2:
        raise _rejected("the mask has no box")
    box = Box(_read_place(ends[0], scan), _read_place(ends[1], scan, last=1))
    if any(not 0 <= a < b <= n for a, b, n in zip(box.first, box.stop, shape, strict=True)):
        raise _rejected("the mask's box does not lie in the scan")
    size = math.prod(box.shape)
    if size > MAX_MASK_VOXELS:
        raise _rejected(f"the mask has more than {MAX_MASK_VOXELS:,} voxels")
    data = np.frombuffer(_unpack(mask.get("data"), size), np.uint8)
    whole[box.slices] = data.reshape(box.shape, order="C" if scan.is_picture else "F")
    return whole


def _unpack(text: Any, size: int) -> bytes:
    """So many bytes of a gzip stream in base64, no more and no less."""
    try:
        with open_gzip(io.BytesIO(base64.b64decode(text, validate=True))) as stream:
            data = stream.read(size + 1)
    except _DAMAGED as error:
        raise _rejected("the mask came damaged") from error
    if len(data) != size:
        raise _rejected(f"the mask is of another size: {size} bytes were expected")
    return data


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _rejected("the reach is not a number")
    return float(value)


def _rejected(message: str) -> RejectedError:
    return RejectedError(422, message, hint="reload the page: what you drew is kept as a draft")


def click_tools(runs: Sequence[tuple[str, str, Path]]) -> list[dict[str, str]]:
    """The click tools that there are, the one without a model first.

    Args:
        runs: Id, title and folder of each run that has a model.
    """
    answering = click_models(runs)
    return [{"name": POINTS, "label": "Points alone"}] + [
        {"name": run, "label": title} for run, title, _ in runs if run in answering
    ]


def click_models(runs: Sequence[tuple[str, str, Path]]) -> dict[str, Path]:
    """The folders of the models that answer clicks, by the ids of their runs."""
    return {run: folder / "model" for run, _, folder in runs if _answers_clicks(folder / "model" / "plan.yaml")}


def _answers_clicks(plan: Path) -> bool:
    """Whether a plan has a section `interactive`; it is checked where the model is loaded."""
    try:
        return "\ninteractive:" in plan.read_text("utf-8", errors="replace")
    except OSError:
        return False
