"""Fields of annotations in JSON that people and programs write: labels and corners, checked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from osteon.core.errors import LabelError

Points = npt.NDArray[np.float64]
"""Corners `[n, 2]` of a polygon: x and y in pixels."""
MAX_NAME_LENGTH = 150
"""Characters of a structure's name; a longer one is no name but a damaged field."""
_MAX_COORDINATE = 1e6
"""Pixels. Beyond this a coordinate is damaged."""
_HINT = "correct the file, or draw the outline again"


def check_label(label: object, name: str) -> str:
    """A label that can name a structure. Raises LabelError, with `name` for the place."""
    text = label.strip() if isinstance(label, str) else ""
    if not text or not text.isprintable() or len(text) > MAX_NAME_LENGTH:
        shown = repr(label if len(str(label)) < 50 else f"{str(label)[:50]}…")
        raise LabelError(
            f"{name}: {shown} is no label",
            hint=f"give the structure's name: printable, {MAX_NAME_LENGTH} characters at most",
        )
    return text


def check_points(points: object, name: str) -> Points:
    """Corners `[n, 2]` of a polygon. Raises LabelError, with `name` for the place."""
    try:
        array = np.array(points, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.zeros(0)
    if array.ndim != 2 or array.shape[1] != 2:
        raise LabelError(f"{name}: its points are not pairs of x and y", hint=_HINT)
    if len(array) < 3:
        raise LabelError(f"{name}: {len(array)} points make no polygon", hint=_HINT)
    if not np.isfinite(array).all():
        raise LabelError(f"{name}: a point is not a number", hint=_HINT)
    if np.abs(array).max() > _MAX_COORDINATE:
        raise LabelError(f"{name}: a point lies at {np.abs(array).max():g} pixels", hint=_HINT)
    return array
