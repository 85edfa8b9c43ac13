"""nnU-Net's resampling against SciPy and scikit-image, which nnU-Net calls."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from skimage.transform import resize

from helpers import tiny_plan
from osteon.core.geometry import Geometry
from osteon.preparing import spline_resampling
from osteon.preparing.spline_resampling import SplineResampling, find_separate_axis
from osteon.preparing.strategies import grid_strategy

SHAPE = (30, 41, 25)
ARRAY = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


@pytest.mark.parametrize("wanted", [(45, 41, 17), (13, 60, 50), (30, 41, 26)])
@pytest.mark.parametrize("order", [1, 3])
def test_alike_along_all_axes(wanted: tuple[int, int, int], order: int) -> None:
    expected = resize(ARRAY.astype(float), wanted, order, mode="edge", anti_aliasing=False)
    found = SplineResampling(wanted, (order, order, order), None).resample(ARRAY.shape, ARRAY.__getitem__)
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("apart", [None, 0, 1, 2])
@pytest.mark.parametrize("first", [SHAPE[0], 23])
def test_a_slab_at_a_time_is_the_same(monkeypatch: pytest.MonkeyPatch, apart: int | None, first: int) -> None:
    splines = SplineResampling((first, 26, 19), (3, 3, 3), apart)
    whole = splines.resample(ARRAY.shape, ARRAY.__getitem__)
    asked = []
    monkeypatch.setattr(spline_resampling, "CHUNK_VOXELS", 4 * SHAPE[1] * SHAPE[2])
    parts = splines.resample(ARRAY.shape, lambda planes: asked.append(planes) or ARRAY[planes])
    assert len(asked) == -(-SHAPE[0] // 4)
    np.testing.assert_allclose(parts, whole, atol=2e-6)


@pytest.mark.parametrize("across", [0, 1, 3])
def test_slices_apart_from_one_another(across: int) -> None:
    wanted = (45, 52, 17)
    slices = [resize(ARRAY[..., k].astype(float), wanted[:2], 3, mode="edge", anti_aliasing=False) for k in range(25)]
    places = np.mgrid[:45, :52, :17].astype(float)
    places[2] = 25 / 17 * (places[2] + 0.5) - 0.5
    expected = map_coordinates(np.stack(slices, -1), places, order=across, mode="nearest")
    found = SplineResampling(wanted, (3, 3, across), 2).resample(ARRAY.shape, ARRAY.__getitem__)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_when_slices_are_apart() -> None:
    assert find_separate_axis((1, 1, 3.1), (1, 1, 1), None) == 2
    assert find_separate_axis((1, 1, 1), (4, 1, 1), None) == 0
    assert find_separate_axis((1, 1, 3), (1, 1, 1), None) is None
    assert find_separate_axis((1, 4, 4), (1, 1, 1), None) is None  # two long axes
    assert find_separate_axis((1, 1, 9), (1, 1, 1), False) is None
    assert find_separate_axis((1, 1, 2), (1, 1, 1), True) == 2


def test_shapes_are_rounded_to_even_halves() -> None:
    plan = tiny_plan({"grid.spacing_mm": [1, 1, 2], "grid.nnunet": {}})
    scan = Geometry((5, 10, 7), np.diag([0.5, 1.5, 1, 1]))
    assert grid_strategy(plan).transform(scan).shape == (2, 15, 4)
