"""Surfaces to voxels: known answers, grids of any kind, ties, and surfaces with holes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from osteon.core.geometry import Geometry
from osteon.formats.stl import read_stl
from osteon.importing.meshes.voxelisation import VoxelisedMesh, is_closed, voxelise

UNIT = Geometry((20, 18, 16), np.eye(4))
SIDES = np.array(  # two triangles for each side of the unit cube, by corner number 4 x + 2 y + z
    [
        *([0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]),
        *([2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]),
    ]
)
CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)[SIDES]


def box(low: npt.ArrayLike, high: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """`[12, 3, 3]` triangles of a box."""
    return np.asarray(low) + CUBE * (np.asarray(high, float) - np.asarray(low, float))


def ellipsoid(centre: npt.ArrayLike, radii: npt.ArrayLike, rings: int = 40) -> npt.NDArray[np.float64]:
    theta, phi = np.linspace(0, np.pi, rings + 1), np.linspace(0, 2 * np.pi, 2 * rings, endpoint=False)
    t, p = np.meshgrid(theta, phi, indexing="ij")
    points = np.stack([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)], axis=-1)
    points[0], points[-1] = [0, 0, 1], [0, 0, -1]
    points = points * radii + centre
    after = np.roll(points, -1, axis=1)
    lower = np.stack([points[:-1], points[1:], after[1:]], axis=2)
    upper = np.stack([points[:-1], after[1:], after[:-1]], axis=2)
    return np.concatenate([lower.reshape(-1, 3, 3), upper.reshape(-1, 3, 3)])


def whole(filled: VoxelisedMesh, geometry: Geometry) -> npt.NDArray[np.bool_]:
    mask = np.zeros(geometry.shape, bool)
    mask[filled.box] = filled.mask
    return mask


def centres(geometry: Geometry) -> npt.NDArray[np.float64]:
    return geometry.to_world(np.indices(geometry.shape).reshape(3, -1).T).reshape(*geometry.shape, 3)


def dice(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_a_box_is_exact() -> None:
    filled = voxelise(box([2.5, 3.2, 4.9], [7.5, 9.1, 11.4]), UNIT)
    expected = np.zeros(UNIT.shape, bool)
    expected[3:8, 4:10, 5:12] = True
    assert_array_equal(whole(filled, UNIT), expected)
    assert (filled.closed, filled.leaks, filled.undecided) == (True, (0,), 0)
    assert filled.mask.shape == (5, 6, 7)  # no more memory than the surface needs


def test_a_box_whose_sides_lie_on_voxel_centres_has_each_voxel_once() -> None:
    """Boxes that touch share no voxel and leave none out, also where faces, edges and corners hit voxel centres."""
    halves = [voxelise(box([2, 3, 4], [x, 9, 11]), UNIT) for x in (7, 12)]
    other = voxelise(box([7, 3, 4], [12, 9, 11]), UNIT)
    near, all_, far = (whole(f, UNIT) for f in (*halves, other))
    assert near.sum() == 5 * 6 * 7
    assert_array_equal(near ^ far, all_)
    assert not (near & far).any()
    assert not any(f.leaks[0] for f in (*halves, other))


def test_an_ellipsoid_has_its_volume_on_any_grid() -> None:
    rng = np.random.default_rng(3)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    sheared = np.eye(3) + np.array([[0, 0.3, 0], [0, 0, -0.2], [0.1, 0, 0]])
    for linear in (np.diag([-1.0, -1, 1.5]), turn * [0.9, 1.1, 1.3], turn @ sheared @ np.diag([1, 0.8, 2])):
        affine = np.eye(4)
        affine[:3, :3] = linear
        affine[:3, 3] = [100, -50, -800] - linear @ [30, 30, 30]
        grid = Geometry((60, 60, 60), affine)
        radii = [14.0, 11.0, 9.0]
        filled = voxelise(ellipsoid([100, -50, -800], radii, rings=80), grid)
        truth = (((centres(grid) - [100, -50, -800]) / radii) ** 2).sum(axis=-1) <= 1
        assert dice(whole(filled, grid), truth) > 0.998
        volume = filled.mask.sum() * grid.voxel_volume_mm3
        assert volume == pytest.approx(4 / 3 * np.pi * np.prod(radii), rel=0.01)
        assert filled.leaks == (0,)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(-3, 12)] * 3), min_size=4, max_size=12, unique=True),
    st.sampled_from([1.0, 0.5, 1 / 3]),
)
def test_shared_corners_and_edges_never_leak(points: list[tuple[int, int, int]], step: float) -> None:
    """A closed surface through any lattice points, many of which are voxel centres, degenerate triangles included."""
    corners = np.array(points) * step
    first, fan = corners[0], corners[1:]
    ring = np.stack([fan, np.roll(fan, -1, axis=0)], axis=1)
    apex = corners.mean(axis=0).round()
    cap = np.concatenate([np.broadcast_to(first, (len(ring), 1, 3)), ring], axis=1)
    base = np.concatenate([np.broadcast_to(apex, (len(ring), 1, 3)), ring], axis=1)
    surface = np.concatenate([cap, base])
    grid = Geometry((9, 10, 11), np.diag([step, 1, 0.7, 1]))
    filled = voxelise(surface, grid)
    assert filled.closed
    assert not any(filled.leaks)
    along = np.concatenate([surface, np.broadcast_to(first, (1, 3, 3))])  # a triangle of no area changes nothing
    assert_array_equal(whole(voxelise(along, grid), grid), whole(filled, grid))


def test_the_part_outside_the_grid_is_left_out() -> None:
    filled = whole(voxelise(box([-50, 3.5, 4.5], [5.5, 500, 11.5]), UNIT), UNIT)
    expected = np.zeros(UNIT.shape, bool)
    expected[:6, 4:, 5:12] = True
    assert_array_equal(filled, expected)
    around = voxelise(box([-9e30] * 3, [9e30] * 3), UNIT)
    assert whole(around, UNIT).all()
    assert not voxelise(box([100, 0, 0], [120, 5, 5]), UNIT).mask.size


def test_a_nested_surface_is_a_hollow() -> None:
    both = np.concatenate([box([1.5] * 3, [12.5] * 3), box([4.5] * 3, [8.5] * 3)[:, ::-1]])
    assert voxelise(both, UNIT).mask.sum() == 11**3 - 4**3


@pytest.mark.parametrize("gone", [[0, 1], [2, 3], [4], [8, 9], [0, 1, 2, 3], [8, 9, 10, 11], [0, 5]])
def test_a_box_with_missing_sides_is_filled_by_vote(gone: list[int]) -> None:
    """One side, half a side, two opposite ones (a tube), two neighbouring triangles."""
    surface = np.delete(box([2.5, 3.5, 4.5], [7.5, 9.5, 11.5]), gone, axis=0)
    filled = voxelise(surface, UNIT)
    assert not filled.closed
    assert len(filled.leaks) == 3
    assert filled.mask.sum() == 5 * 6 * 7
    if gone == [0, 1]:
        assert sorted(filled.leaks) == [0, 0, 6 * 7]


def test_a_sheet_encloses_nothing() -> None:
    sheet = voxelise(box([2.5, 3.5, 4.5], [7.5, 9.5, 11.5])[:2], UNIT)
    assert not sheet.mask.any()
    assert not sheet.closed


def test_closed_means_that_every_edge_occurs_twice() -> None:
    cube = box([0, 0, 0], [1, 2, 3])
    assert is_closed(cube)
    assert is_closed(np.where(cube == 0, -0.0, cube[:, [1, 0, 2]]))  # other windings, and minus zero
    assert not is_closed(cube[1:])
    cube[0, 0, 0] += 1e-9
    assert not is_closed(cube)


def test_real_bones_are_filled_to_the_volume_of_their_surfaces(shared_data: Path) -> None:
    closed = {}
    for name in ("ct-humerus/humerus_left", "femur-morph/femur", "visible-human/VHF_Left_Bone_Talus_smooth"):
        triangles = read_stl(shared_data / "bone-stl" / f"{name}.stl").triangles
        low = triangles.min(axis=(0, 1)) - 2
        shape = tuple(int(n) for n in np.ceil(np.ptp(triangles, axis=(0, 1)) + 4))
        affine = np.eye(4)
        affine[:3, 3] = low
        filled = voxelise(triangles, Geometry(shape, affine))
        a, b, c = (triangles[:, n] - low for n in range(3))
        volume = abs(np.einsum("ij,ij->i", np.cross(a, b), c).sum()) / 6
        assert filled.mask.sum() == pytest.approx(volume, rel=0.005)
        assert not any(filled.leaks)
        closed[name] = filled.closed
    assert all(closed.values())
