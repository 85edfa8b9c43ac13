"""Previews and layers: smaller, but in the right place; overlapping structures parted; differences named."""

from __future__ import annotations

import numpy as np
import pytest

from osteon.app.layers import bits_of, difference, layers_of
from osteon.app.shrinking import MOST_VOXELS, factors_for, shrink_geometry, shrink_image, shrink_labels
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures

GRID = Geometry((4, 4, 1), np.eye(4))


@pytest.mark.parametrize(
    ("shape", "factors"),
    [
        ((100, 100, 100), (1, 1, 1)),
        ((512, 512, 400), (3, 3, 3)),
        ((256, 256, 256), (2, 2, 1)),
        ((2000, 64, 64), (2, 1, 1)),
    ],
)
def test_a_preview_has_few_enough_voxels(shape: tuple[int, ...], factors: tuple[int, ...]) -> None:
    assert factors_for(shape) == factors
    assert np.prod([-(-n // f) for n, f in zip(shape, factors, strict=True)]) <= MOST_VOXELS


def test_a_preview_lies_where_the_scan_lies() -> None:
    affine = np.array([[0.0, -2.0, 0.0, 5.0], [1.0, 0.0, 0.0, 7.0], [0.0, 0.0, 3.0, 9.0], [0.0, 0.0, 0.0, 1.0]])
    small = shrink_geometry(Geometry((4, 6, 5), affine), (2, 3, 1))
    assert small.shape == (2, 2, 5)
    first_block = affine @ [0.5, 1.0, 0.0, 1.0]  # the middle of voxels 0 … 1, 0 … 2, 0
    np.testing.assert_allclose(small.affine_ras @ [0, 0, 0, 1], first_block)


def test_blocks_are_averaged_and_labels_taken_from_their_middle() -> None:
    image = np.arange(5, dtype=np.int16)[:, None, None] * np.ones((1, 2, 1), dtype=np.int16)
    np.testing.assert_array_equal(shrink_image(image, (2, 2, 1))[:, 0, 0], [0, 2, 4])  # 0.5 → 0, 2.5 → 2: half to even
    np.testing.assert_array_equal(shrink_labels(image, (2, 2, 1))[:, 0, 0], [1, 3, 4])


def test_overlapping_structures_go_into_layers_that_do_not() -> None:
    array = np.zeros((3, *GRID.shape), dtype=np.uint8)
    array[0, :2], array[1, 1:3], array[2, 3:] = 1, 1, 1
    segmentation = Segmentation(array, GRID, make_structures(["a", "b", "c"]))
    layers = layers_of(segmentation)
    assert [[s.name for s in layer.structures] for layer in layers] == [["a", "c"], ["b"]]
    np.testing.assert_array_equal(layers[0].array[:, 0, 0], [1, 1, 0, 2])
    np.testing.assert_array_equal(bits_of(segmentation)[0, :, 0, 0], [1, 3, 2, 4])


def test_differences_are_missed_invented_or_in_both() -> None:
    structures = make_structures(["a", "b"])
    first, second = np.zeros(GRID.shape, dtype=np.uint8), np.zeros(GRID.shape, dtype=np.uint8)
    first[:3, 0, 0], second[1:, 0, 0] = [1, 1, 2], [1, 1, 1]
    found = difference(Segmentation(first, GRID, structures), Segmentation(second, GRID, structures), ["a", "b"])
    np.testing.assert_array_equal(found.array[:, 0, 0], [2, 1, 2, 3])
