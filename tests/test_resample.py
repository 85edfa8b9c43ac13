"""Resampling: values, places and labels whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers import resampled_geometry
from osteon.core.geometry import Geometry
from osteon.preparing.resample import (
    axis_weights,
    resample,
    resample_image,
    resample_index_map,
    resample_multi_hot,
    resampled_shape,
)

SHAPE = (9, 8, 7)


def naive(array: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Triangle interpolation, written from its definition, one new voxel at a time along each axis."""
    for axis, wanted in enumerate(shape):
        count = array.shape[axis]
        ratio = count / wanted
        rows = []
        for n in range(wanted):
            place = (n + 0.5) * ratio - 0.5
            if ratio <= 1:
                place = min(max(place, 0), count - 1)
            weights = [max(0.0, 1 - abs(m - place) / max(1.0, ratio)) for m in range(count)]
            rows.append(np.tensordot(weights, array, (0, axis)) / sum(weights))
        array = np.stack(rows, axis)
    return array


def blobs(shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> np.ndarray:
    """Four values (0, 2, 3, 7) in large patches, all of them meeting."""
    rng = np.random.default_rng(seed)
    seeds = rng.uniform(0, shape, (9, 3))
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    nearest = np.linalg.norm(grid[..., None, :] - seeds, axis=-1).argmin(-1)
    return np.array([0, 2, 3, 7, 0, 2, 0, 3, 7], dtype=np.uint8)[nearest]


@pytest.mark.parametrize("shape", [(18, 16, 14), (13, 9, 7), (5, 8, 14), (3, 2, 1), SHAPE])
def test_images_are_what_the_definition_says(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(1).normal(size=(2, *SHAPE))
    made = resample_image(image, shape)
    assert made.dtype == np.float32
    for channel, given in zip(made, image, strict=True):
        np.testing.assert_allclose(channel, naive(given, shape), atol=1e-5)


def test_the_same_shape_changes_nothing() -> None:
    image = np.random.default_rng(1).normal(size=(1, *SHAPE)).astype(np.float32)
    assert np.array_equal(resample_image(image[:, ::-1], SHAPE), image[:, ::-1])
    assert resample_index_map(blobs(), SHAPE) is not None
    assert np.array_equal(resample_index_map(blobs(), SHAPE), blobs())


@pytest.mark.parametrize("shape", [(20, 20, 20), (3, 5, 2), (1, 1, 1)])
def test_a_constant_stays_constant(shape: tuple[int, int, int]) -> None:
    made = resample_image(np.full((1, *SHAPE), 70.0), shape)
    np.testing.assert_allclose(made, 70, rtol=1e-6)
    np.testing.assert_allclose(axis_weights(9, 4).sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize("shape", [(18, 16, 21), (23, 8, 10), (3, 4, 7)])
def test_a_ramp_in_the_world_stays_that_ramp(shape: tuple[int, int, int]) -> None:
    affine = np.array([[0.8, 0.1, 0, -30], [-0.1, 1.1, 0.3, 4], [0, 0, 2.5, 100], [0, 0, 0, 1.0]])
    old = Geometry(SHAPE, affine)
    new = resampled_geometry(old, shape)

    def ramp(geometry: Geometry) -> np.ndarray:
        index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), -1).reshape(-1, 3)
        return (geometry.to_world(index) @ [2.0, -3.0, 0.5]).reshape(geometry.shape)

    made = resample_image(ramp(old)[None], shape)[0]
    # Beyond the outermost old centres the edge repeats: look where the old grid has voxels on both sides.
    inner = tuple(slice(n // 3, n - n // 3) for n in shape)
    np.testing.assert_allclose(made[inner], ramp(new)[inner], atol=1e-3)


def test_the_resampled_grid_covers_the_same_extent() -> None:
    affine = np.array([[0.8, 0.1, 0, -30], [-0.1, 1.1, 0.3, 4], [0, 0, 2.5, 100], [0, 0, 0, 1.0]])
    old = Geometry(SHAPE, affine)
    new = resampled_geometry(old, (3, 16, 10))
    for corner in ((0, 0, 0), (1, 1, 1), (1, 0, 1)):
        edges = [np.array(corner) * g.shape - 0.5 for g in (old, new)]
        np.testing.assert_allclose(old.to_world(edges[0][None]), new.to_world(edges[1][None]), atol=1e-9)


def test_shapes_follow_the_spacing_and_never_vanish() -> None:
    assert resampled_shape((10, 10, 3), (1, 0.5, 5), (2, 1, 1)) == (5, 5, 15)
    assert resampled_shape((10, 1, 1), (1, 1, 1), (3, 9, 9)) == (3, 1, 1)


@pytest.mark.parametrize("shape", [(18, 16, 14), (11, 13, 7), (5, 5, 5), (9, 4, 14), (1, 1, 1)])
@pytest.mark.parametrize("seed", range(4))
def test_an_index_map_takes_the_value_with_the_largest_share(shape: tuple[int, int, int], seed: int) -> None:
    labels = blobs(seed=seed)
    values = np.array([0, 2, 3, 7])
    fractions = np.stack([naive((labels == v).astype(float), shape) for v in values])
    made = resample_index_map(labels, shape)
    assert made.dtype == labels.dtype
    ranked = np.sort(fractions, axis=0)
    clear = ranked[-1] - ranked[-2] > 1e-5
    assert clear.mean() > 0.5
    assert np.array_equal(made[clear], values[fractions.argmax(0)][clear])
    made_of = np.take_along_axis(fractions, np.searchsorted(values, made)[None], 0)[0]
    assert (made_of >= ranked[-1] - 1e-5).all()  # where it is a tie, one of those that tie


def test_a_turned_view_is_resampled_as_its_copy_is() -> None:
    view = blobs()[::-1, :, ::-1].transpose(2, 0, 1)
    assert np.array_equal(resample_index_map(view, (5, 6, 7)), resample_index_map(view.copy(), (5, 6, 7)))
    both = np.stack([view == 2, view > 0]).astype(np.uint8)[:, ::-1]
    assert np.array_equal(resample_multi_hot(both, (5, 6, 7)), resample_multi_hot(both.copy(), (5, 6, 7)))


def test_ties_go_to_the_lower_value() -> None:
    pair = np.array([4, 9], dtype=np.uint8).reshape(2, 1, 1)
    assert resample_index_map(pair, (1, 1, 1)).item() == 4
    assert resample_index_map(pair[::-1], (1, 1, 1)).item() == 4
    half = np.array([0, 9], dtype=np.uint8).reshape(2, 1, 1)
    assert resample_index_map(half, (1, 1, 1)).item() == 0
    assert resample_multi_hot(half[None] > 0, (1, 1, 1)).item() == 0  # exactly a half is not above it


def test_multi_hot_is_a_threshold_on_each_share() -> None:
    labels = blobs()
    both = np.stack([labels == 2, labels > 0, np.zeros(SHAPE)]).astype(np.uint8)
    shape = (12, 5, 10)
    made = resample_multi_hot(both, shape)
    assert made.dtype == np.uint8
    for mask, given in zip(made, both, strict=True):
        share = naive(given.astype(float), shape)
        clear = abs(share - 0.5) > 1e-5
        assert np.array_equal(mask[clear] > 0, share[clear] > 0.5)
    assert not made[2].any()
    assert (made[1] >= made[0]).all()


@pytest.mark.parametrize(("factor", "within"), [(0.5, 0.05), (0.7, 0.02), (1.6, 0.02), (2.3, 0.02)])
def test_a_mask_keeps_its_volume(factor: float, within: float) -> None:
    index = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij"), -1)
    ball = (np.linalg.norm(index - 19.5, axis=-1) < 14).astype(np.uint8) * 6
    shape = resampled_shape(ball.shape, (1, 1, 1), [1 / factor] * 3)
    voxel = float(np.prod(np.array(ball.shape) / shape))
    volume = np.count_nonzero(resample_index_map(ball, shape)) * voxel
    assert volume == pytest.approx(4 / 3 * np.pi * 14**3, rel=within)


def test_shrinking_does_not_alias() -> None:
    stripes = np.zeros((1, 64, 4, 4))
    stripes[:, ::2] = 1
    made = resample_image(stripes, (16, 4, 4))
    np.testing.assert_allclose(made[0, 1:-1], 0.5, atol=1e-6)


def test_leading_axes_are_kept() -> None:
    x = torch.rand(2, 3, *SHAPE)
    made = resample(x, (4, 8, 11))
    assert made.shape == (2, 3, 4, 8, 11)
    np.testing.assert_allclose(made[1, 2], naive(x[1, 2].numpy(), (4, 8, 11)), atol=1e-5)
