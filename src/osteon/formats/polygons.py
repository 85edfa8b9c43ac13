"""Outlines drawn on one picture: a JSON file for each picture, and the filling of polygons.

The JSON is `{"annotations": [{"label": "Ulna", "points": [[x, y], …]}, …]}`, or LabelMe's `shapes`
(https://github.com/wkentaro/labelme, `labelme/_label_file.py` and `labelme/utils/shape.py`), whose packed picture
(`imageData`) is not looked at. It may name its picture (`filename`) and the size that it was drawn on (`metadata`:
`width`, `height`). x runs along a row, y down a column, both from 0 at the first pixel. A polygon has no holes.

LabelMe's shapes of one label and one `group_id` are parts of one piece; one without `group_id` is a piece of its own:
`examples/instance_segmentation/labelme2coco.py` there, and its issues 633 and 714.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.core.errors import FileError, LabelError
from osteon.core.files import read_json
from osteon.formats.annotation_fields import Points, check_label, check_points

_CORNERS = 180
"""A circle is drawn as a polygon of so many corners: at a radius of 1000 pixels it is 0.15 pixels off."""


def is_labelme(data: Any) -> bool:
    """Whether parsed JSON is LabelMe's."""
    shapes = data.get("shapes") if isinstance(data, dict) else None
    return isinstance(shapes, list) and all(isinstance(s, dict) and "label" in s and "points" in s for s in shapes)


def _polygon(shape: Mapping[str, Any], name: str) -> Points:
    """The corners of one of LabelMe's shapes. Raises LabelError for a kind without an inside."""
    kind, points = shape.get("shape_type") or "polygon", shape["points"]
    if kind == "polygon":
        return check_points(points, name)
    if kind not in ("rectangle", "circle"):
        raise LabelError(f"{name}: a shape of the kind `{str(kind)[:40]}` is no outline", hint="draw it as a polygon")
    if not isinstance(points, list) or len(points) != 2:
        raise LabelError(f"{name}: a {kind} is given by two points", hint="draw it as a polygon")
    (x0, y0), (x1, y1), _ = check_points([*points, points[0]], name)
    if kind == "rectangle":
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    angle = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)  # centre, and a point on the circle
    radius = np.hypot(x1 - x0, y1 - y0)
    return np.stack([x0 + radius * np.cos(angle), y0 + radius * np.sin(angle)], axis=1)


_FAR = 0.05
"""A corner further outside than this part of the picture's longer side was not drawn on this picture."""
_MARGIN = 512
"""Pixels around the picture in which polygons keep their true corners; further outside they are cut."""


@dataclass(frozen=True)
class PictureOutlines:
    """What one file says of one picture.

    Attributes:
        size: Width and height of the picture that was drawn on, where the file says it.
        pieces: Label → its pieces, each of one or more polygons, in the file's order.
    """

    size: tuple[int, int] | None
    pieces: Mapping[str, Sequence[Sequence[Points]]]

    @property
    def polygons(self) -> dict[str, list[Points]]:
        """Label → the polygons of all its pieces."""
        return {label: [points for piece in pieces for points in piece] for label, pieces in self.pieces.items()}


def read_outlines(path: Path) -> PictureOutlines:
    """Read the JSON of one picture.

    Raises:
        FileError: The file is missing, is no JSON, or holds no annotations.
        LabelError: An annotation has no usable label, fewer than 3 points, or points that are no numbers; the message
            names file and label.
    """
    return parse_outlines(read_json(path, "the outlines"), Path(path))


def parse_outlines(data: Any, path: Path) -> PictureOutlines:
    """What the JSON of one picture says, parsed already. Raises as `read_outlines`."""
    if is_labelme(data):
        entries, what = data["shapes"], "shape"
    elif is_outlines(data):
        entries, what = data["annotations"], "annotation"
    else:
        raise FileError(
            f"{path}: holds no outlines", hint='write {"annotations": [{"label": "…", "points": [[x, y], …]}]}'
        )
    pieces: dict[str, dict[str, list[Points]]] = {}
    for number, entry in enumerate(entries, start=1):
        label = check_label(entry["label"], f"{path}: {what} {number}")
        name = f"{path}: {label} ({what} {number})"
        points = _polygon(entry, name) if what == "shape" else check_points(entry["points"], name)
        group = entry.get("group_id") if what == "shape" else None
        piece = f"{what} {number}" if group is None else repr(group)
        pieces.setdefault(label, {}).setdefault(piece, []).append(points)
    return PictureOutlines(
        _size([data.get("metadata"), data]), {label: list(own.values()) for label, own in pieces.items()}
    )


def is_outlines(data: Any) -> bool:
    """Whether parsed JSON is a list of labelled points, as the module describes it."""
    entries = data.get("annotations") if isinstance(data, dict) else None
    return isinstance(entries, list) and all(isinstance(e, dict) and "points" in e and "label" in e for e in entries)


def fill_polygons(polygons: Sequence[Points], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The union of polygons as a mask `[rows, columns]`; what lies outside the picture is cut off.

    Corners are rounded to whole pixels, and the pixels on an edge belong to the polygon: truncated corners move every
    outline by half a pixel. Where a polygon crosses itself, the even-odd rule tells inside from outside.

    Args:
        polygons: Corners as `check_points` gives them.
        shape: Rows and columns of the picture.
    """
    import cv2

    mask = np.zeros(shape, dtype=np.uint8)
    last = np.array(shape[::-1]) - 1
    for points in polygons:  # one by one: cv2 would take the overlap of two for a hole
        corners = np.floor(points + 0.5)
        if (corners >= 0).all() and (corners <= last).all():
            cv2.fillPoly(mask, [corners.astype(np.int32)], 1)
            continue
        # cv2 paints what lies outside onto the picture's edge. A margin keeps that away from the picture.
        corners = np.floor(_clip(corners, -_MARGIN, last + _MARGIN) + 0.5)
        if len(corners) == 0:
            continue
        first, end = corners.min(axis=0), corners.max(axis=0)
        canvas = np.zeros((end - first).astype(int)[::-1] + 1, dtype=np.uint8)
        cv2.fillPoly(canvas, [(corners - first).astype(np.int32)], 1)
        column, row = np.maximum(-first, 0).astype(int)  # the picture's first pixel that the canvas holds, there
        at = np.maximum(first, 0).astype(int)  # and in the picture
        part = mask[at[1] :, at[0] :]
        seen = canvas[row:, column:][: part.shape[0], : part.shape[1]]
        part[: seen.shape[0], : seen.shape[1]] |= seen
    return mask.view(np.bool_)


def _clip(corners: Points, lowest: int, highest: npt.NDArray[np.signedinteger]) -> Points:
    """The part of a polygon inside a rectangle (Sutherland and Hodgman, CACM 17, 1974)."""
    for axis, limit, sign in ((0, lowest, 1), (0, highest[0], -1), (1, lowest, 1), (1, highest[1], -1)):
        depth = sign * (corners[:, axis] - limit)
        if not (depth < 0).any():
            continue
        kept = []
        for here, there, inner, outer in zip(
            corners, np.roll(corners, -1, axis=0), depth, np.roll(depth, -1), strict=True
        ):
            if inner >= 0:
                kept.append(here)
            if (inner >= 0) != (outer >= 0):
                kept.append(here + (there - here) * (inner / (inner - outer)))
        corners = np.array(kept).reshape(-1, 2)
    return corners


def distance_outside(polygons: Sequence[Points], shape: tuple[int, int]) -> float:
    """How far the furthest corner lies outside the picture, in pixels; 0 where that is within what a hand misses.

    Args:
        polygons: Corners `[n, 2]` as `check_points` gives them.
        shape: Rows and columns of the picture.
    """
    rows, columns = shape
    last = np.array([columns - 1, rows - 1])
    furthest = max((float(np.maximum(-points, points - last).max()) for points in polygons), default=0.0)
    return furthest if furthest > max(1.0, _FAR * max(rows, columns)) else 0.0


def _size(places: Sequence[object]) -> tuple[int, int] | None:
    """Width and height, from the first place that tells them."""
    for place in places:
        if not isinstance(place, dict):
            continue
        for names in (("width", "height"), ("imageWidth", "imageHeight")):
            width, height = (place.get(name) for name in names)
            if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
                return width, height
    return None
