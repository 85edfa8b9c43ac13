"""Other scans of a subject, and by what they are linked: by place only where the files put both into one room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers import spacing_affine, two_boxes, write_dataset
from osteon.app.follow_ups import link_scans, other_scans
from osteon.core.geometry import Geometry
from osteon.dataset.manifest import write_manifest

VOLUME = {"kind": "volume", "oriented": True}


def test_scans_of_one_subject(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "d", {name: two_boxes() for name in "abcd"})
    subjects = {"a": "anna", "b": None, "c": "anna", "d": "bo"}
    cases = [case.model_copy(update={"subject": subjects[case.id]}) for case in dataset.manifest.cases]
    write_manifest(dataset.folder, dataset.manifest.model_copy(update={"cases": cases}))
    opened = type(dataset).open(dataset.folder)
    assert {name: other_scans(opened, name) for name in subjects} == {"a": ["c"], "b": [], "c": ["a"], "d": []}


@pytest.mark.parametrize(
    ("moved", "info", "by"),
    [
        (8, VOLUME, "place"),
        (12, VOLUME, "part"),
        (0, VOLUME | {"oriented": False}, "part"),
        (0, {"kind": "picture", "oriented": True}, "part"),
    ],
)
def test_what_links_two_scans(moved: float, info: dict[str, object], by: str) -> None:
    first, other = Geometry((21, 21, 21), np.eye(4)), spacing_affine(2, 2, 2)
    other[0, 3] = moved
    found = link_scans(first, Geometry((30, 30, 30), other), (VOLUME, info))
    assert found.by == by
    assert ("Linked by place" in found.text) == (by == "place")
