"""Structures and their sides."""

from __future__ import annotations

import re

import numpy as np
import pytest

from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures, palette, side_of


@pytest.mark.parametrize(
    ("name", "side", "counterpart"),
    [
        ("femur_left", "left", "femur_right"),
        ("Left Femur", "left", "right Femur"),
        ("tibia-R", "right", "tibia-l"),
        ("hip.l.acetabulum", "left", "hip.r.acetabulum"),
        ("lobe_L_right", "right", "lobe_L_left"),  # a full word goes before a letter
        *((f"L{n}", None, None) for n in range(1, 6)),
        ("vertebra_L1", None, None),
        ("L", None, None),
        ("leftover", None, None),
        ("radius", None, None),
        ("", None, None),
    ],
)
def test_sides_are_read_from_names(name: str, side: str | None, counterpart: str | None) -> None:
    assert side_of(name) == (side, counterpart)


def sides(*names: str) -> list[tuple[str | None, str | None]]:
    return [(s.side, s.counterpart) for s in make_structures(names)]


def test_pairs_find_each_other_in_any_case() -> None:
    assert sides("Left Femur", "Right Femur") == [("left", "Right Femur"), ("right", "Left Femur")]
    assert sides("tibia-R", "tibia-L") == [("right", "tibia-L"), ("left", "tibia-R")]
    assert sides("femur_left", "femur_right", "sacrum") == [
        ("left", "femur_right"),
        ("right", "femur_left"),
        (None, None),
    ]


def test_a_single_letter_is_a_side_only_beside_its_counterpart() -> None:
    assert sides("disc_L", "disc_S") == [(None, None), (None, None)]  # lumbar and sacral
    assert sides("tibia-R") == [(None, None)]
    assert sides("L1", "L2", "R1") == [(None, None)] * 3
    assert sides("femur_left", "Left Hip") == [("left", None), ("left", None)]  # a word tells it alone
    assert sides("femur_left", "femur-right") == [("left", None), ("right", None)]  # not the same name


def test_values_and_colours() -> None:
    assert [s.value for s in make_structures(["a", "b"])] == [1, 2]
    assert [s.value for s in make_structures(["a", "b"], [7, 3])] == [7, 3]
    with pytest.raises(ValueError, match="argument"):
        make_structures(["a"], [1, 2])
    colours = palette(40)
    assert len(set(colours)) == 40
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in colours)
    assert palette(5) == colours[:5]  # a structure keeps its colour when others join


def test_masks_of_both_layouts() -> None:
    grid, (a, b) = Geometry((2, 1, 1), np.eye(4)), make_structures(["a", "b"], [2, 5])
    index = Segmentation(np.array([[[2]], [[5]]]), grid, (a, b))
    hot = Segmentation(np.array([[[[1]], [[0]]], [[[1]], [[1]]]]), grid, (a, b))
    assert [index.mask(s).ravel().tolist() for s in (a, b)] == [[True, False], [False, True]]
    assert [hot.mask(s).ravel().tolist() for s in (a, b)] == [[True, False], [True, True]]
    assert (index.overlapping, hot.overlapping) == (False, True)
    with pytest.raises(ValueError, match="does not fit the grid"):
        Segmentation(np.zeros((3, 2, 1, 1), np.uint8), grid, (a, b))
