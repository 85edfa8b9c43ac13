"""Surfaces of masks: closed in any mask, with the voxels' volume, on the right side of every voxel, and smooth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh_checks import assert_watertight, volume_inside, weld
from osteon.core.geometry import Geometry
from osteon.exporting import surface_smoothing
from osteon.exporting.mesh_files import join_meshes, make_surfaces
from osteon.exporting.surface import make_surface_net, triangulate
from osteon.exporting.surface_smoothing import enclosed_volume, smooth_surface
from osteon.exporting.surface_table import sheets
from osteon.importing.meshes.voxelisation import voxelise

TILTED = np.array([[0.8, 0.3, 0.1, -50], [-0.3, 0.7, 0.4, 20], [0.2, -0.1, 2.5, 300], [0, 0, 0, 1]])
"""Oblique, sheared and anisotropic."""


def refilled(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The voxels inside the surfaces of a mask."""
    geometry = Geometry(mask.shape, affine)
    filled = voxelise(join_meshes(make_surfaces(mask, geometry)).triangles, geometry)
    assert filled.closed
    found = np.zeros_like(mask)
    found[filled.box] = filled.mask
    return found


def ball(radius: float, centre: tuple[float, float, float], shape: tuple[int, int, int]) -> np.ndarray:
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return np.asarray(np.linalg.norm(places - np.array(centre), axis=-1) < radius)


@pytest.mark.parametrize("affine", [np.eye(4), TILTED, np.diag([-1.0, 1, 4, 1])], ids=["unit", "tilted", "mirrored"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0.02, 0.98))
def test_any_mask_gets_a_closed_surface_that_gives_it_again(affine: np.ndarray, seed: int, share: float) -> None:
    """Noise: every way in which voxels can touch occurs in it."""
    mask = np.random.default_rng(seed).random((7, 6, 5)) < share
    if not mask.any():
        return
    geometry = Geometry(mask.shape, affine)
    found = make_surfaces(mask, geometry)
    for mesh in found:
        assert_watertight(mesh.faces)
    mesh = join_meshes(found)
    vertices, faces = weld(mesh.vertices.astype(np.float32)[mesh.faces])  # as an STL has it
    assert_watertight(faces)
    expected = mask.sum() * geometry.voxel_volume_mm3
    assert volume_inside(mesh.vertices, mesh.faces) == pytest.approx(expected, rel=2e-4)
    assert volume_inside(vertices, faces) == pytest.approx(expected, rel=1e-3)
    assert np.array_equal(refilled(mask, affine), mask)  # up to the border, where the surface is closed as well


def test_with_corners_in_the_middle_the_surface_is_that_of_the_voxels() -> None:
    net = make_surface_net(np.ones((3, 2, 4), bool))
    faces = triangulate(net, net.points)
    assert enclosed_volume(net.points, faces) == pytest.approx(24, rel=1e-12)
    assert (net.points.min(axis=0).tolist(), net.points.max(axis=0).tolist()) == ([-0.5] * 3, [2.5, 1.5, 3.5])
    assert len(faces) == 2 * 2 * (3 * 2 + 3 * 4 + 2 * 4)


def test_nothing_has_no_surface() -> None:
    assert make_surfaces(np.zeros((3, 4, 5), bool), Geometry((3, 4, 5), np.eye(4))) == []
    assert len(make_surface_net(np.zeros((3, 4, 5), bool)).points) == 0


def test_every_cell_has_whole_sheets() -> None:
    """Each crossed edge is on one sheet, and a sheet is a loop: it crosses three edges at least."""
    table = sheets()
    for bits in range(256):
        inside = [bits >> n & 1 for n in range(8)]
        crossed = int((table.of_edge[bits] >= 0).sum())
        ends = sum(inside[n] != inside[n ^ (1 << axis)] for n in range(8) for axis in range(3)) // 2
        assert crossed == ends
        counts = np.bincount(table.of_edge[bits][table.of_edge[bits] >= 0], minlength=table.count[bits])
        assert len(counts) == table.count[bits]
        assert (counts >= 3).all()
    assert table.count[0b10000001] == 2  # across a corner: apart
    assert table.count[0b00001001] == 1  # across an edge: joined


def test_a_ball_is_found_between_the_voxels() -> None:
    """To 0.1 voxels of the true sphere, where its voxels' own faces are 0.38 away."""
    centre = (15.2, 16.1, 15.6)
    mask = ball(12.3, centre, (32, 32, 32))
    (mesh,) = make_surfaces(mask, Geometry(mask.shape, np.eye(4)))
    away = np.linalg.norm(mesh.vertices - centre, axis=1) - 12.3
    assert abs(away).mean() < 0.06
    assert abs(away).max() < 0.4
    assert abs(away.mean()) < 0.02
    corners = mesh.vertices[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outward = corners.mean(axis=1) - centre
    cosines = (normals * outward).sum(axis=1) / np.linalg.norm(normals, axis=1) / np.linalg.norm(outward, axis=1)
    assert np.degrees(np.arccos(cosines)).mean() < 5  # 35° for voxels' faces


def test_thick_slices_leave_no_steps() -> None:
    """An ellipsoid in slices of 4 mm, whose voxels' own faces are 0.7 mm away from it."""
    spacing, radii, centre = np.array([1.0, 1, 4]), np.array([18.0, 14, 25]), np.array([23.2, 19.3, 30.7])
    places = np.stack(np.meshgrid(*map(np.arange, (46, 38, 16)), indexing="ij"), axis=-1) * spacing
    mask = np.asarray(np.linalg.norm((places - centre) / radii, axis=-1) < 1)
    (mesh,) = make_surfaces(mask, Geometry(mask.shape, np.diag([*spacing, 1])))
    scaled = (mesh.vertices - centre) / radii
    length = np.linalg.norm(scaled, axis=1)
    away = (length - 1) * length / np.linalg.norm(scaled / radii, axis=1)  # to first order
    assert abs(away).mean() < 0.2
    assert abs(away.mean()) < 0.05


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 9), (7, 6, 1), (2, 2, 2)])
def test_what_is_thin_keeps_its_volume(shape: tuple[int, int, int]) -> None:
    mask = np.pad(np.ones(shape, bool), 1)
    (mesh,) = make_surfaces(mask, Geometry(mask.shape, TILTED))
    expected = mask.sum() * abs(np.linalg.det(TILTED[:3, :3]))
    assert volume_inside(mesh.vertices, mesh.faces) == pytest.approx(expected, rel=2e-4)


def test_where_boxes_hold_it_back_the_volume_is_right_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surface_smoothing, "_MAX_MOVES", 0)
    mask = ball(4.2, (5.1, 5.2, 5.3), (11, 11, 11))
    points, faces = smooth_surface(make_surface_net(mask), int(mask.sum()))
    assert enclosed_volume(points, faces) == pytest.approx(mask.sum(), rel=2e-4)
    assert_watertight(faces)


def test_pieces_come_apart_and_small_ones_can_stay_out() -> None:
    mask = np.zeros((12, 6, 6), bool)
    mask[1:4, 1:4, 1:4] = True  # 27
    mask[6:11, 1:4, 1:4] = True  # 45
    mask[4, 4, 4] = True  # touches the first across a corner: a piece of its own
    geometry = Geometry(mask.shape, np.diag([2.0, 1, 1, 1]))
    volumes = [volume_inside(mesh.vertices, mesh.faces) for mesh in make_surfaces(mask, geometry)]
    assert volumes == pytest.approx([90, 54, 2], rel=2e-4)
    assert len(make_surfaces(mask, geometry, smallest_mm3=3)) == 2
    mask[4, 3, 3] = True  # now across an edge
    assert len(make_surfaces(mask, geometry)) == 2


def test_a_hollow_keeps_its_hollow() -> None:
    mask = ball(8, (10, 10, 10), (21, 21, 21)) & ~ball(5, (10, 10, 10), (21, 21, 21))
    (mesh,) = make_surfaces(mask, Geometry(mask.shape, np.eye(4)))
    assert_watertight(mesh.faces)
    assert volume_inside(mesh.vertices, mesh.faces) == pytest.approx(mask.sum(), rel=2e-4)
    assert np.array_equal(refilled(mask, np.eye(4)), mask)
