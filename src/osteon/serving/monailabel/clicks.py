"""What viewers send who point at structures (models of the type `deepgrow`), and the models that answer it.

3D Slicer and OHIF send all points that a structure has by now, as the scan's own voxels i, j, k: `foreground` and
`background`, and 3D Slicer which structure they are of (`label`). As for models of the type `deepedit` a list for each
structure, under its name, is understood, too: then the points of one lie outside the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from osteon.core.boxes import Index3
from osteon.core.labels import Structure, make_structures
from osteon.core.text import shorten_list
from osteon.serving.click_tasks import MAX_POINTS, ClickTask
from osteon.web.http_errors import RejectedError

POINTS = "points"
"""The model that is none: points alone."""


@dataclass(frozen=True)
class ClickModel:
    """A way of answering points, as viewers list it.

    Attributes:
        name: As clients call it.
        tool: What answers.
        correcting: Whether it begins with what the served model finds.
        dimensions: 2 where it looks at single slices.
        description: For people.
    """

    name: str
    tool: Literal["points", "model"]
    correcting: bool
    dimensions: int
    description: str

    def info(self) -> dict[str, Any]:
        """As `/info/` lists it. It has no labels of its own: 3D Slicer would have it segment new scans by itself."""
        facts = {"type": "deepgrow", "labels": [], "dimension": self.dimensions, "description": self.description}
        return facts | {"config": {"reach": 0.0} if self.tool == "points" else {}}


def click_models(served: str, clicks: str, facts: Mapping[str, Any]) -> dict[str, ClickModel]:
    """The ways of answering points that a server has.

    Args:
        served: The name of the served model.
        clicks: That of the model that answers clicks; empty where there is none.
        facts: Of the predicting process.
    """
    answering: list[tuple[str, Literal["points", "model"], int, str]] = [(POINTS, "points", 3, "points alone")]
    if clicks:
        dice = facts["clicks"]["dice"]
        after = "" if dice is None else f", Dice {dice:.3f} after three"
        answering.insert(0, (clicks, "model", facts["clicks"]["dimensions"], f"a model for clicks{after}"))
    beginnings = [("", False, "from nothing")]
    if not facts["interactive"]:
        beginnings.append((f"{served}+", True, f"corrects what {served} finds"))
    rows = [
        ClickModel(f"{before}{name}", tool, correcting, dimensions, f"osteon: {what}; {how}")
        for before, correcting, how in beginnings
        for name, tool, dimensions, what in answering
    ]
    return {row.name: row for row in rows}


def click_task(
    params: Mapping[str, Any], model: ClickModel, structures: Sequence[Structure], found: Sequence[Structure]
) -> ClickTask:
    """What a viewer asks.

    Args:
        params: As it sends them.
        model: That is to answer.
        structures: The dataset's.
        found: Those that the served model finds.

    Raises:
        RejectedError: 422, which says what makes no sense.
    """
    reach = params.get("reach") or None
    if isinstance(reach, bool) or not isinstance(reach, int | float | None) or not math.isfinite(reach or 0):
        raise RejectedError(422, "reach: not a number", hint="send the structure's radius in the scan's unit, or 0")
    named = {s.name: _points(params, s.name) for s in structures if params.get(s.name) and s.name not in _OWN}
    if params.get("foreground") is None and named:
        inside = named
        wanted = {s.name for s in found} if model.correcting else named.keys()
        chosen = [s for s in structures if s.name in wanted]
    else:
        structure = _named_structure(params.get("label"), structures, needed=model.correcting)
        inside, chosen = {structure.name: _points(params, "foreground")}, [structure]
    if model.correcting and (unknown := inside.keys() - {s.name for s in found}):
        hint = f"it finds {shorten_list([s.name for s in found])}; ask {POINTS} for others"
        raise RejectedError(422, f"the model does not find {shorten_list(sorted(unknown))}", hint=hint)
    outside = _points(params, "background")
    if len(outside) + sum(map(len, inside.values())) > MAX_POINTS:
        raise RejectedError(422, f"more than {MAX_POINTS:,} points", hint="remove some")
    return ClickTask(
        tool=model.tool,
        correcting=model.correcting,
        structures=tuple(chosen),
        inside=inside,
        outside=outside,
        reach=reach,
    )


_OWN = ("label", "foreground", "background", "reach", "client_id", "result_extension")
"""Keys that are no structure's."""


def _named_structure(label: Any, structures: Sequence[Structure], *, needed: bool) -> Structure:
    if label is None:  # OHIF keeps to itself which one it is
        if needed:
            raise RejectedError(422, "label: missing", hint="name the structure that the points are of")
        return make_structures(["structure"])[0]
    for structure in structures:
        if structure.name == label:
            return structure
    known = shorten_list([s.name for s in structures]) if structures else "none yet: add them in the app"
    raise RejectedError(422, f"there is no structure {str(label)[:60]!r}", hint=f"the dataset has {known}")


def _points(params: Mapping[str, Any], key: str) -> tuple[Index3, ...]:
    points = params.get(key) or []
    if not isinstance(points, list) or len(points) > MAX_POINTS:
        raise RejectedError(422, f"{key}: not a list of {MAX_POINTS:,} points at most", hint="send [[i, j, k], …]")
    return tuple(_point(point, key) for point in points)


def _point(point: Any, key: str) -> Index3:
    whole = isinstance(point, list) and len(point) == 3 and all(isinstance(p, int | float) for p in point)
    if not whole or any(p != p or abs(p) > 1 << 20 for p in point):
        raise RejectedError(422, f"{key}: a point is three numbers, the voxel i, j, k", hint="send [[i, j, k], …]")
    i, j, k = (round(p) for p in point)
    return i, j, k
