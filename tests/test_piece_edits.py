"""Pieces merged, split and renumbered, in shapes whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import box
from osteon.core.errors import UsageError
from osteon.core.labels import Structure
from osteon.core.piece_edits import free_values, merge_pieces, split_piece, swap_pieces

BONE = Structure(name="bone", value=10, colour="#ff0000", instances=True, last_value=14)
METAL = Structure(name="metal", value=3, colour="#00ff00")
CUBE = (1.0, 1.0, 1.0)


def ball(shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float, spacing=CUBE) -> np.ndarray:
    places = np.stack(np.indices(shape), -1) * spacing
    return np.linalg.norm(places - np.array(centre), axis=-1) <= radius


def dumbbell(spacing: tuple[float, float, float] = CUBE) -> tuple[np.ndarray, np.ndarray]:
    """Two balls with a neck, which is 8 mm long, and the balls alone."""
    shape = tuple(int(size / edge) for size, edge in zip((48, 24, 24), spacing, strict=True))
    large, small = (ball(shape, (at, 12, 12), radius, spacing) for at, radius in ((13, 8), (35, 6)))  # type: ignore[arg-type]
    neck = ball(shape, (13, 12, 12), 2.5, spacing)  # type: ignore[arg-type]
    for at in np.arange(13, 36, 0.5):
        neck |= ball(shape, (at, 12, 12), 2.5, spacing)  # type: ignore[arg-type]
    labels = np.where(large | small | neck, 11, 0).astype(np.uint8)
    return labels, np.where(large, 1, np.where(small, 2, 0))


def test_merged_pieces_have_the_lowest_number() -> None:
    labels = box((9, 4, 4), (12, (slice(0, 2),)), (10, (slice(3, 5),)), (13, (slice(6, 8),)))
    merged = merge_pieces(labels, [13, 12])
    assert np.array_equal(merged, np.where(labels == 13, 12, labels))
    assert labels[7, 0, 0] == 13, "what was given stays"
    with pytest.raises(UsageError, match="alone"):
        merge_pieces(labels, [12, 12])


def test_a_piece_of_separate_parts_is_split_into_them() -> None:
    labels = box(
        (30, 8, 8), (11, (slice(0, 4),)), (11, (slice(6, 16),)), (12, (slice(16, 18),)), (11, (slice(19, 26),))
    )
    labels[28, 4, 4] = 11  # a crumb, which goes with the nearest part
    split = split_piece(labels, 11, free_values(labels, BONE, 9), CUBE)
    assert set(split[6:16].ravel()) == {11}, "the largest keeps its number"
    assert set(split[19:26].ravel()) == {10}
    assert split[28, 4, 4] == 10
    assert set(split[0:4].ravel()) == {13}
    assert np.array_equal(split == 12, labels == 12)
    assert np.array_equal(split > 0, labels > 0)


@pytest.mark.parametrize("spacing", [CUBE, (1.0, 1.0, 3.0), (0.7, 1.0, 0.7)])
def test_a_connected_piece_is_split_at_its_neck(spacing: tuple[float, float, float]) -> None:
    labels, balls = dumbbell(spacing)
    split = split_piece(labels, 11, [20], spacing)
    assert set(np.unique(split)) == {0, 11, 20}
    assert set(split[balls == 1]) == {11}
    assert set(split[balls == 2]) == {20}
    assert np.array_equal(split > 0, labels > 0)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_block_cannot_be_split(noise: float) -> None:
    labels = box((24, 14, 14), (11, (slice(2, 22), slice(2, 12), slice(2, 12))))
    skin = (labels > 0) & (np.roll(labels, 1, 1) == 0)
    labels[skin & (np.random.default_rng(0).random(labels.shape) < noise)] = 0
    with pytest.raises(UsageError, match="no neck"):
        split_piece(labels, 11, [12], CUBE)


def test_a_long_bent_piece_cannot_be_split() -> None:
    shape = (40, 40, 12)
    places = np.stack(np.indices(shape), -1)
    ring = np.hypot(places[..., 0], places[..., 1]) - 30
    labels = np.where(np.hypot(ring, places[..., 2] - 6) <= 4, 11, 0).astype(np.uint8)
    with pytest.raises(UsageError, match="no neck"):
        split_piece(labels, 11, [12], CUBE)


@pytest.mark.parametrize("shape", [(1, 1, 1), (6, 1, 1), (5, 5, 1)])
def test_tiny_and_flat_pieces_are_refused_and_nothing_else(shape: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="no neck"):
        split_piece(np.full(shape, 11, np.uint8), 11, [12], CUBE)


def test_a_flat_piece_is_split_in_its_plane() -> None:
    labels, balls = dumbbell()
    split = split_piece(labels[:, :, 12:13], 11, [12], CUBE)
    assert set(split[balls[:, :, 12:13] == 1]) == {11}
    assert set(split[balls[:, :, 12:13] == 2]) == {12}


def test_without_room_nothing_is_split() -> None:
    labels = box((9, 4, 4), (11, (slice(0, 2),)), (11, (slice(3, 5),)), (11, (slice(6, 8),)))
    with pytest.raises(UsageError, match="has 3 parts, and its structure has room for 1 more"):
        split_piece(labels, 11, [12], CUBE)
    with pytest.raises(UsageError, match="no piece 14"):
        split_piece(labels, 14, [12], CUBE)


def test_pieces_swap_numbers_and_take_free_ones() -> None:
    labels = box((6, 4, 4), (10, (slice(0, 2),)), (11, (slice(3, 5),)))
    assert set(swap_pieces(labels, 10, 11)[0:2].ravel()) == {11}
    assert set(swap_pieces(labels, 10, 11)[3:5].ravel()) == {10}
    far = swap_pieces(labels, 11, 300)
    assert (far.dtype, far[3, 0, 0], far[0, 0, 0], far[2, 0, 0]) == (np.uint16, 300, 10, 0)


def test_free_values_are_those_that_no_voxel_has() -> None:
    labels = box((6, 4, 4), (10, (slice(0, 2),)), (12, (slice(3, 5),)), (3, (slice(5, 6),)))
    assert free_values(labels, BONE, 9) == [11, 13, 14]
    assert free_values(labels, BONE, 1) == [11]
    assert free_values(labels, METAL, 1) == []
    assert free_values(np.zeros((2, 2, 2), np.uint8), METAL, 1) == [3]
