"""Grids in the world: turns lose nothing, and what `same` means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import to_index
from osteon.core.geometry import (
    POSITION_TOLERANCE,
    AxisPermutation,
    Geometry,
    closest_axes,
    reorient_like,
    reorient_to_ras,
)

TURNS = st.builds(
    AxisPermutation, st.permutations(range(3)).map(tuple), st.tuples(st.booleans(), st.booleans(), st.booleans())
)


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Any grid: oblique, sheared up to a third, mirrored, with edges of 0.1 to 8 mm."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    affine = np.eye(4)
    matrix = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    matrix[:, 2] += draw(st.sampled_from([0.0, 0.33])) * matrix[:, 0]
    affine[:3, :3] = matrix * rng.uniform(0.1, 8, 3)
    affine[:3, 3] = rng.uniform(-1000, 1000, 3)
    i, j, k = (draw(st.integers(1, 6)) for _ in range(3))
    return Geometry((i, j, k), affine)


def indices(geometry: Geometry) -> np.ndarray:
    """`[3, i, j, k]` the index of every voxel."""
    return np.stack(np.meshgrid(*(np.arange(n) for n in geometry.shape), indexing="ij"))


@settings(max_examples=100, deadline=None)
@given(geometry=geometries(), turn=TURNS)
def test_a_reorientation_undoes_itself(geometry: Geometry, turn: AxisPermutation) -> None:
    array = indices(geometry)
    turned = turn.apply(array)
    assert turned.shape[1:] == turn.geometry(geometry).shape
    assert np.array_equal(turn.undo(turned), array)
    assert np.array_equal(turn.apply(turn.undo(turned)), turned)


@settings(max_examples=100, deadline=None)
@given(geometry=geometries(), turn=TURNS)
def test_a_reorientation_leaves_every_voxel_where_it_is(geometry: Geometry, turn: AxisPermutation) -> None:
    after = turn.geometry(geometry)
    old = turn.apply(indices(geometry)).reshape(3, -1).T  # the index that each voxel had
    new = indices(after).reshape(3, -1).T
    assert np.allclose(after.to_world(new), geometry.to_world(old), atol=1e-9)
    assert after.voxel_volume_mm3 == pytest.approx(geometry.voxel_volume_mm3)


@settings(max_examples=100, deadline=None)
@given(geometry=geometries(), turn=TURNS)
def test_a_reoriented_grid_is_reoriented_back_onto_itself(geometry: Geometry, turn: AxisPermutation) -> None:
    after = turn.geometry(geometry)
    back = reorient_like(after, geometry).geometry(after)
    assert back.shape == geometry.shape
    assert np.allclose(back.affine_ras, geometry.affine_ras, atol=1e-9)
    assert geometry.is_close(back)


@settings(max_examples=100, deadline=None)
@given(geometry=geometries())
def test_after_the_turn_to_ras_axes_run_along_r_a_s(geometry: Geometry) -> None:
    turned = reorient_to_ras(geometry).geometry(geometry)
    assert closest_axes(turned.affine_ras) == ((0, 1, 2), (1, 1, 1))
    assert turned.axis_codes.removeprefix("~") == "RAS"


@settings(max_examples=100, deadline=None)
@given(geometry=geometries(), index=st.lists(st.floats(-50, 50), min_size=3, max_size=3))
def test_world_and_index_are_inverse(geometry: Geometry, index: list[float]) -> None:
    assert np.allclose(to_index(geometry, geometry.to_world([index])), [index], atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(geometry=geometries(), direction=st.integers(0, 100))
def test_the_tolerance_is_a_tenth_of_the_smallest_edge(geometry: Geometry, direction: int) -> None:
    assert POSITION_TOLERANCE == 0.1
    step = np.random.default_rng(direction).normal(size=3)
    step *= min(geometry.spacing_mm) / np.linalg.norm(step)
    for part, same in ((0.099, True), (0.101, False)):
        moved = geometry.affine_ras.copy()
        moved[:3, 3] += part * step
        other = Geometry(geometry.shape, moved)
        assert geometry.is_close(other) is same
        assert other.is_close(geometry) is same
        assert geometry.is_close(other, tolerance=1.0)
        assert bool(geometry.explain_mismatch(other)) is not same


def test_the_tolerance_holds_at_the_far_corner() -> None:
    grid = Geometry((101, 1, 1), np.eye(4))
    for spacing, same in ((1.0009, True), (1.0011, False)):  # 100 steps of it
        assert grid.is_close(Geometry((101, 1, 1), np.diag([spacing, 1, 1, 1]))) is same


def test_what_differs_is_said() -> None:
    grid = Geometry((4, 5, 6), np.diag([1.0, 1, 2, 1]))
    assert grid.explain_mismatch(grid) == []
    assert grid.explain_mismatch(Geometry((4, 5, 7), grid.affine_ras)) == ["shape 4×5×6 against 4×5×7"]
    assert grid.explain_mismatch(Geometry((4, 5, 6), grid.affine_ras, "px")) == ["unit mm against px"]
    assert grid.explain_mismatch(Geometry((4, 5, 6), np.diag([1.0, 1, 3, 1]))) == ["spacing 1×1×2 against 1×1×3 mm"]
    assert grid.explain_mismatch(Geometry((4, 5, 6), np.diag([-1.0, 1, 2, 1]))) == ["orientation RAS against LAS"]
    assert grid.describe() == "4×5×6 voxels of 1×1×2 mm, RAS, at (0.0, 0.0, 0.0)"


@pytest.mark.parametrize("affine", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.eye(3), np.diag([1.0, 1, 0, 1])])
def test_grids_without_a_volume_are_refused(affine: np.ndarray) -> None:
    with pytest.raises(ValueError, match="affine"):
        Geometry((1, 1, 1), affine)
