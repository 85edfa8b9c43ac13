"""Boxes of structures, connected pieces, and levels: figures counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from osteon.core.boxes import Box, bounding_box
from osteon.core.geometry import Geometry
from osteon.core.labels import make_structures
from osteon.core.structure_boxes import crop_mask, find_boxes
from osteon.dataset.name_rows import find_name_rows
from osteon.evaluating.components import ComponentMatch, match_components
from osteon.evaluating.scores import score_case
from osteon.formats.labelmap import value_counts

HUGE = 1 << 40


@settings(deadline=None, max_examples=60)
@given(arrays(np.uint8, (4, 3, 5), elements=st.integers(0, 4)), st.sampled_from([np.uint8, np.int64, np.uint32]))
def test_boxes_hold_all_and_no_more(labels: np.ndarray, kind: type) -> None:
    structures = make_structures(["a", "b", "c"], [1, 4, 2])
    expected = []
    for structure in structures:
        where = np.argwhere(labels == structure.value)
        expected.append(Box(tuple(where.min(0)), tuple(where.max(0) + 1)) if len(where) else None)
    assert find_boxes(labels.astype(kind), structures) == expected
    layers = np.stack([labels == s.value for s in structures])
    assert find_boxes(layers, structures) == expected
    assert find_boxes(np.asfortranarray(labels.T).T, structures) == expected


@given(arrays(np.int8, (3, 4, 5), elements=st.integers(-1, 1)), st.permutations([0, 1, 2]))
def test_the_box_of_what_is_not_0(array: np.ndarray, order: list[int]) -> None:
    turned = array.transpose(order)
    where = np.argwhere(turned)
    expected = Box(tuple(where.min(0)), tuple(where.max(0) + 1)) if len(where) else None
    assert bounding_box(turned) == expected
    assert bounding_box(np.ascontiguousarray(turned)) == expected


@given(arrays(np.int16, (3, 2, 4), elements=st.integers(0, 5)), st.sampled_from([0, HUGE, -9]))
def test_values_are_counted_without_the_background(labels: np.ndarray, one: int) -> None:
    wide = labels.astype(np.int64)
    wide[0, 0, 0] = one
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("osteon.formats.labelmap._SLAB", 10)
        counts = value_counts(wide)
    assert counts == {value: int((wide == value).sum()) for value in sorted(set(wide.ravel().tolist()) - {0})}
    assert value_counts(wide[:, 0]) == {
        value: int((wide[:, 0] == value).sum()) for value in set(wide[:, 0].ravel().tolist()) - {0}
    }


def test_boxes_of_huge_values() -> None:
    labels = np.zeros((3, 3, 3), dtype=np.int64)
    labels[1, 1, 1], labels[2, 0, 0], labels[0, 2, 2] = HUGE, 7, HUGE + 1
    structures = make_structures(["a", "b", "c"], [HUGE, 7, 9])
    assert find_boxes(labels, structures) == [Box((1, 1, 1), (2, 2, 2)), Box((2, 0, 0), (3, 1, 1)), None]
    assert find_boxes(labels * 0, structures) == [None, None, None]
    assert find_boxes(labels, ()) == []


def test_masks_inside_a_box() -> None:
    structures = make_structures(["a", "b"], [3, 5])
    labels = np.zeros((4, 4, 4), dtype=np.uint8)
    labels[1:3, 1, 1] = 5
    box = Box((1, 0, 0), (3, 2, 2))
    index, hot = crop_mask(labels, structures, 1, box), crop_mask(np.stack([labels == 3, labels]), structures, 1, box)
    assert index.shape == (2, 2, 2)
    assert index.sum() == 2
    assert np.array_equal(index, hot)


def line(*lengths: int, gap: int = 1) -> np.ndarray:
    """Rows of voxels one after the other."""
    cells: list[bool] = []
    for length in lengths:
        cells += [True] * length + [False] * gap
    return np.array(cells).reshape(-1, 1, 1)


def test_pieces_by_hand() -> None:
    reference = line(4, 4, 4)
    whole = np.array(reference)
    assert match_components(whole, reference) == ComponentMatch(3, 3, 3)
    joined = np.ones_like(reference)  # one piece over three: IoU 4/15 with each
    assert match_components(joined, reference) == ComponentMatch(3, 1, 0)
    half = line(4, 2, 3)[: len(reference)]
    half = np.pad(half, ((0, len(reference) - len(half)), (0, 0), (0, 0)))
    # |4|, IoU 1; |2| inside |4|: 2/4, not above one half; the third is shifted by two: voxels 8-10 against 10-13
    assert match_components(half, reference) == ComponentMatch(3, 3, 1)
    assert match_components(half, reference, least_iou=0.1) == ComponentMatch(3, 3, 3)
    assert match_components(half, reference).f1 == pytest.approx(2 / 6)
    empty = np.zeros_like(reference)
    assert match_components(empty, reference) == ComponentMatch(3, 0, 0)
    assert match_components(empty, reference).f1 == 0.0
    assert match_components(empty, empty).f1 is None


def test_a_piece_is_matched_once() -> None:
    """Below one half two pieces may claim one: the one that fits better gets it."""
    reference = np.ones((10, 1, 1), dtype=bool)
    prediction = reference.copy()
    prediction[3] = False  # 3 and 6 voxels, IoU 0.3 and 0.6
    assert match_components(prediction, reference, least_iou=0.2) == ComponentMatch(1, 2, 1)


def test_corners_connect() -> None:
    diagonal = np.zeros((3, 3, 3), dtype=bool)
    diagonal[[0, 1, 2], [0, 1, 2], [0, 1, 2]] = True
    assert match_components(diagonal, diagonal) == ComponentMatch(1, 1, 1)
    assert match_components(diagonal[0, :2] | diagonal[1, :2], diagonal[2, :2]).predicted == 1


MASKS = arrays(np.bool_, (6, 4))


@settings(deadline=None, max_examples=60)
@given(MASKS, MASKS, st.floats(0, 1))
def test_laws_of_matching(one: np.ndarray, other: np.ndarray, least: float) -> None:
    found = match_components(one, other, least)
    turned = match_components(other, one, least)
    assert (turned.reference, turned.predicted) == (found.predicted, found.reference)
    assert found.matched <= min(found.reference, found.predicted)
    if least >= 0.5:  # then nothing need be chosen
        assert turned.matched == found.matched
    perfect = match_components(one, one, 0.99)
    assert perfect.matched == perfect.reference == perfect.predicted


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (["L1", "L2", "L3", "sacrum"], [[0, 1, 2]]),
        (["vertebrae_C7", "vertebrae_T1", "vertebrae_L5", "vertebrae_S1"], [[0, 1, 2, 3]]),
        (["rib_left_1", "rib_right_1", "rib_left_2", "rib_left_12"], [[0, 2, 3]]),
        (["MC1", "MC2", "MC3", "PP1", "PP2", "PP3", "radius"], [[0, 1, 2], [3, 4, 5]]),
        (["label_1", "label_2", "label_3"], []),
        (["femur_left", "femur_right", "tibia"], []),
        (["L1", "L2"], []),
    ],
)
def test_rows_are_known_by_their_names(names: list[str], rows: list[list[int]]) -> None:
    assert find_name_rows(names) == rows


SPINE = make_structures(["L1", "L2", "L3", "sacrum"])
GRID = Geometry((20, 4, 4), np.eye(4))


def spine(*values: int) -> np.ndarray:
    """Bodies of 4×4×4 voxels, one after the other, with a gap."""
    labels = np.zeros(GRID.shape, dtype=np.uint8)
    for number, value in enumerate(values):
        labels[5 * number : 5 * number + 4] = value
    return labels


@pytest.mark.parametrize("hot", [(False, False), (True, True), (True, False), (False, True)])
@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        (spine(1, 2, 3, 4), [0, 0, 0, None]),
        (spine(2, 3, 3, 4), [0, 1, 1, None]),  # L1 is called L2, and L2 is L3; the third is right
        (spine(0, 1, 2, 3), [1, 1, 0, None]),  # the sacrum is in no row
        (spine(1, 0, 3, 2), [0, 0, 0, None]),
    ],
)
def test_bodies_on_the_wrong_level(found: np.ndarray, wrong: list[int | None], hot: tuple[bool, bool]) -> None:
    arrays_ = [
        np.stack([a == s.value for s in SPINE]) if as_hot else a
        for a, as_hot in zip((found, spine(1, 2, 3, 4)), hot, strict=True)
    ]
    scores = score_case("a", *arrays_, GRID, SPINE)
    assert [score.wrong_level for score in scores] == wrong


def test_a_rim_on_the_neighbour_is_no_wrong_level() -> None:
    reference = spine(1, 2, 3)
    reference[4] = 2  # the bodies touch: L2 has 80 voxels
    thin = reference.copy()
    thin[4] = 1  # 16 of 80
    thick = reference.copy()
    thick[4:6] = 1  # 32 of 80, but one piece with L1's 64
    apart = reference.copy()
    apart[7:9] = 1  # 32 of 80, a piece of its own
    speck = reference.copy()
    speck[8] = 1  # likewise, 16 of 80
    found = (thin, thick, apart, speck)
    assert [score_case("a", p, reference, GRID, SPINE)[0].wrong_level for p in found] == [0, 0, 1, 0]


def test_levels_that_nobody_looked_for_are_unknown() -> None:
    scores = score_case("a", spine(2, 3, 0), spine(1, 2, 3), GRID, SPINE, annotated=["L2", "L3"])
    assert [score.wrong_level for score in scores] == [None, 0, 1, None]
