"""LabelMe's JSON: `shapes`, each with a label, a kind and points.

Reference: https://github.com/wkentaro/labelme, `labelme/_label_file.py` and `labelme/utils/shape.py`. The picture that
is packed into the file (`imageData`) is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from osteon.core.errors import LabelError
from osteon.formats.annotation_fields import Points, check_label, check_points

_CORNERS = 180
"""A circle is drawn as a polygon of so many corners: at a radius of 1000 pixels it is 0.15 pixels off."""


def is_labelme(data: Any) -> bool:
    """Whether parsed JSON is LabelMe's."""
    shapes = data.get("shapes") if isinstance(data, dict) else None
    return isinstance(shapes, list) and all(isinstance(s, dict) and "label" in s and "points" in s for s in shapes)


def labelme_shapes(data: Mapping[str, Any], path: Path) -> Iterator[tuple[str, Points]]:
    """Label and polygon of each shape. Raises LabelError for a kind without an inside, and as `read_outlines`."""
    for number, shape in enumerate(data["shapes"], start=1):
        label = check_label(shape["label"], f"{path}: shape {number}")
        yield label, _polygon(shape, f"{path}: {label} (shape {number})")


def _polygon(shape: Mapping[str, Any], name: str) -> Points:
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
