"""Other scans of a case's subject, to be shown beside it: which there are, and by what their slices are linked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from osteon.core.geometry import Geometry
from osteon.dataset.dataset import Dataset

MIN_OVERLAP = 0.5
"""Part of the smaller scan that lies within the other, from which on both are taken to lie in one room."""


@dataclass(frozen=True)
class ScanLink:
    """By what two scans are linked.

    Attributes:
        by: `place`: the same millimetres; `part`: the same parts of their lengths.
        text: That, and why, for people.
    """

    by: Literal["place", "part"]
    text: str


def other_scans(dataset: Dataset, case_id: str) -> list[str]:
    """The other cases of a case's subject, in the manifest's order; none where no subject is known."""
    subject = dataset.case(case_id).subject
    cases = dataset.manifest.cases
    return [case.id for case in cases if subject and case.subject == subject and case.id != case_id]


def link_scans(first: Geometry, other: Geometry, infos: tuple[Mapping[str, Any], Mapping[str, Any]]) -> ScanLink:
    """By what two scans are linked: by place where their files put them into one room, else by part.

    Args:
        first: The grid of one.
        other: That of the other.
        infos: Of the scenes that show them.
    """
    never = "Nobody has registered them."
    if any(info["kind"] == "picture" for info in infos):
        return ScanLink("part", "Linked by the part of width and height: two X-rays have no millimetres in common.")
    if not all(info["oriented"] for info in infos):
        why = "not every file says where the patient's right, front and top are"
        return ScanLink("part", f"Linked by the part of each axis, not by place: {why}.")
    overlap = _overlap(first, other)
    if overlap < MIN_OVERLAP:
        why = f"in the millimetres of their files {overlap:.0%} of the smaller scan lies within the other"
        return ScanLink("part", f"Linked by the part of each axis, not by place: {why}. {never}")
    why = f"{overlap:.0%} of the smaller scan lies within the other"
    text = f"Linked by place, by the millimetres of their files ({why}). {never} The patient may have lain elsewhere."
    return ScanLink("place", text)


def _overlap(first: Geometry, other: Geometry) -> float:
    """Part of the smaller one's box, along the patient's axes, within the box of the other."""
    boxes = [(corners.min(axis=0), corners.max(axis=0)) for corners in (first.corners_world, other.corners_world)]
    common = np.minimum(*(high for _, high in boxes)) - np.maximum(*(low for low, _ in boxes))
    smaller = min(float(np.prod(high - low)) for low, high in boxes)
    return float(np.prod(np.maximum(common, 0))) / smaller if smaller > 0 else 0.0
