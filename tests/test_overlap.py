"""Counting by hand: boxes whose overlap is known."""

import numpy as np
import pytest

from osteon.core.dice import SLAB_VOXELS, OverlapCounts, count_overlap, dice
from osteon.core.labels import Structure, make_structures

RED = Structure(name="red", value=3, colour="#ff0000")
BLUE = Structure(name="blue", value=1, colour="#0000ff")
FAR = Structure(name="far", value=70000, colour="#00ff00")


def boxes() -> tuple[np.ndarray, np.ndarray]:
    prediction = np.zeros((6, 5, 4), dtype=np.int32)
    reference = np.zeros((6, 5, 4), dtype=np.int32)
    prediction[0:3] = 3  # 60 voxels
    reference[1:5] = 3  # 80 voxels, 40 of them shared
    prediction[4, 0] = 1  # 4 voxels inside the reference's red
    reference[5, 0] = 1
    return prediction, reference


def test_boxes_are_counted_as_by_hand() -> None:
    counts = count_overlap(*boxes(), (RED, BLUE, FAR))
    assert counts == {"red": OverlapCounts(60, 80, 40), "blue": OverlapCounts(4, 4, 0), "far": OverlapCounts(0, 0, 0)}
    assert list(counts) == ["red", "blue", "far"]
    assert dice(counts["red"]) == pytest.approx(80 / 140)
    assert dice(counts["blue"]) == 0.0
    assert dice(counts["far"]) is None


@pytest.mark.parametrize("counts", [OverlapCounts(5, 0, 0), OverlapCounts(0, 5, 0)])
def test_exactly_one_empty_is_zero(counts: OverlapCounts) -> None:
    assert dice(counts) == 0.0


def test_values_that_no_structure_names_are_background() -> None:
    prediction, reference = boxes()
    prediction[5, 4], reference[5, 4] = 200, 2
    reference[5, 3] = -1
    assert count_overlap(prediction, reference, (RED,)) == {"red": OverlapCounts(60, 80, 40)}


def test_large_values_and_unlike_types() -> None:
    prediction, reference = boxes()
    prediction[5, 1] = 70000
    reference[5, 1:3] = 70000
    assert count_overlap(prediction, reference.astype(np.uint32), (FAR, RED))["far"] == OverlapCounts(4, 8, 4)
    counts = count_overlap(boxes()[0].astype(np.uint8), boxes()[1].astype(np.int64), (FAR, RED))
    assert counts == {"far": OverlapCounts(0, 0, 0), "red": OverlapCounts(60, 80, 40)}


@pytest.mark.parametrize("turn", [lambda a: a, np.asfortranarray, lambda a: np.ascontiguousarray(a.T).T[::1]])
def test_memory_order_does_not_matter(turn) -> None:
    prediction, reference = boxes()
    assert count_overlap(prediction, turn(reference), (RED, BLUE)) == count_overlap(prediction, reference, (RED, BLUE))


def test_more_voxels_than_one_slab() -> None:
    reference = np.zeros((40, 400, 400), dtype=np.uint8)
    assert reference.size > 2 * SLAB_VOXELS
    reference[2:39] = 3
    prediction = np.zeros_like(reference)
    prediction[:, :200] = 3
    plane = 400 * 400
    assert count_overlap(prediction, reference, (RED,))["red"] == OverlapCounts(20 * plane, 37 * plane, 37 * plane // 2)


def test_multi_hot_structures_may_share_voxels() -> None:
    prediction = np.zeros((2, 4, 4, 4), dtype=np.uint8)
    reference = np.zeros((2, 4, 4, 4), dtype=np.uint8)
    prediction[0, :2], prediction[1, :3] = 1, 255
    reference[0, 1:], reference[1, 1:] = 1, 1
    counts = count_overlap(prediction, reference, (RED, BLUE))
    assert counts == {"red": OverlapCounts(32, 48, 16), "blue": OverlapCounts(48, 48, 32)}


@pytest.mark.parametrize("shape", [(3, 4, 4, 4), (4, 4)])
def test_neither_kind_of_array_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="2 structures"):
        count_overlap(np.zeros(shape, dtype=np.uint8), np.zeros(shape, dtype=np.uint8), (RED, BLUE))


def test_unlike_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        count_overlap(np.zeros((2, 2, 2), dtype=np.uint8), np.zeros((2, 2, 3), dtype=np.uint8), (RED,))


@pytest.mark.parametrize("order", ["C", "F"])
def test_bytes_are_counted_as_wider_numbers_are(order: str) -> None:
    rng = np.random.default_rng(3)
    names, values = ["low", "high", "absent", "no byte"], [1, 255, 7, 300]
    structures = make_structures(names, values)
    pair = [np.array(rng.choice(np.array([0, 1, 9, 255], np.uint8), (9, 8, 7)), order=order) for _ in range(2)]
    pair[0][:3] = pair[1][:2] = 0
    counts = count_overlap(*pair, structures)
    assert counts == count_overlap(*(array.astype(np.int32) for array in pair), structures)
    for name, value in zip(names, values, strict=True):
        found, truth = (array == value for array in pair)
        assert counts[name] == OverlapCounts(int(found.sum()), int(truth.sum()), int((found & truth).sum()))
