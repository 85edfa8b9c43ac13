"""Surface elements and distances: boxes, shifts and spheres whose figures follow from a pencil, and laws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from osteon.core.geometry import AxisPermutation, Geometry
from osteon.evaluating import distances
from osteon.evaluating.distances import SurfaceDistances, distance_metric_names, measure_distances, surface_distances
from osteon.evaluating.surface_elements import element_sizes, surface_elements, thin_axis, voxel_steps

SPACING = (0.5, 2.0, 3.0)
STEPS = np.diag(SPACING)
TOLERANCES = (0.5, 2.0)


def filled(shape: tuple[int, ...], *where: slice) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[where] = True
    return mask


def box_area(sizes: tuple[int, int, int], spacing: tuple[float, float, float]) -> float:
    """Faces, edges cut off at half a voxel, corners cut off likewise."""
    n, s = np.array(sizes) - 1, np.array(spacing)
    pairs = [(0, 1, 2), (0, 2, 1), (1, 2, 0)]
    faces = 2 * sum(n[a] * n[b] * s[a] * s[b] for a, b, _ in pairs)
    edges = 4 * sum(n[c] * s[c] * np.hypot(s[a], s[b]) / 2 for a, b, c in pairs)
    corners = np.sqrt(sum((s[a] * s[b]) ** 2 for a, b, _ in pairs))
    return float(faces + edges + corners)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (4, 5, 3), (2, 1, 7)])
def test_area_of_a_box(sizes: tuple[int, int, int]) -> None:
    mask = filled((9, 9, 9), *(slice(1, 1 + n) for n in sizes))
    assert surface_elements(mask, STEPS).sizes.sum() == pytest.approx(box_area(sizes, SPACING))


def test_outline_of_a_rectangle() -> None:
    mask = filled((9, 9), slice(2, 6), slice(0, 3))
    assert surface_elements(mask, np.diag([0.5, 2.0])).sizes.sum() == pytest.approx(
        2 * (3 * 0.5 + 2 * 2) + 2 * np.hypot(0.5, 2)
    )


def test_sizes_of_single_patterns() -> None:
    """Bit 4·di + 2·dj + dk; the triangles of the marching cubes by hand, on cubes with an edge of 1."""
    sizes = element_sizes(np.eye(3))
    corner = np.sqrt(3) / 8
    assert sizes[[0, 255]] == pytest.approx([0, 0])
    assert sizes[0b1] == pytest.approx(corner)
    assert sizes[0b11] == pytest.approx(np.sqrt(2) / 2)
    assert sizes[0b1111] == pytest.approx(1.0)
    assert sizes[0b1001] == pytest.approx(2 * corner)  # they meet at an edge alone: each is cut off
    assert sizes[0b10000001] == pytest.approx(2 * corner)
    assert sizes[0b111] == pytest.approx(0.5 + 3 * corner)
    assert sizes == pytest.approx(sizes[::-1])  # a mask and what is around it have one surface
    assert (sizes[1:-1] > 0).all()
    flat = element_sizes(np.eye(2))
    assert flat[[0, 1, 3, 5, 6, 7, 15]] == pytest.approx([0, np.sqrt(0.5), 1, 1, 2 * np.sqrt(0.5), np.sqrt(0.5), 0])


def test_slabs_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.random.default_rng(0).random((11, 6, 5)) < 0.4
    whole = surface_elements(mask, STEPS)
    monkeypatch.setattr("osteon.evaluating.surface_elements.SLAB_VOXELS", 100)
    parts = surface_elements(mask, STEPS)
    for name in ("corners", "points", "sizes"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))


def test_a_box_shifted_by_one_voxel() -> None:
    """Both ends of the box lie one step apart, its sides on each other."""
    shape, (a, b, c) = (12, 9, 9), (6, 5, 4)
    reference = filled(shape, slice(2, 2 + a), slice(2, 2 + b), slice(2, 2 + c))
    i, j, k = SPACING
    inner = (b - 1) * (c - 1) * j * k
    rim = (b - 1) * j * np.hypot(i, k) + (c - 1) * k * np.hypot(i, j)
    corners = np.sqrt((i * j) ** 2 + (j * k) ** 2 + (i * k) ** 2) / 2
    apart = (2 * inner + rim + corners) / box_area((a, b, c), SPACING)
    hd, hd95, assd, nsd, wide = measure_distances(np.roll(reference, 1, 0), reference, STEPS, (0.4, 0.5))
    assert (hd, hd95) == (0.5, 0.5)
    assert assd == pytest.approx(0.5 * apart)
    assert nsd == pytest.approx(1 - apart)
    assert wide == 1.0


def test_two_voxels() -> None:
    """Each corner of one voxel lies 3 or 2 steps from the other's: four by four of one size."""
    one, other = (
        filled((6, 3, 3), slice(0, 1), slice(1, 2), slice(1, 2)),
        filled((6, 3, 3), slice(3, 4), slice(1, 2), slice(1, 2)),
    )
    assert measure_distances(one, other, STEPS, (1.0, 1.2, 1.5)) == pytest.approx((1.5, 1.5, 1.25, 0.5, 0.5, 1.0))


def ball(radius: float, spacing: tuple[float, float, float], centre: float = 0.0) -> np.ndarray:
    """In a cube of 44 mm, its centre moved along the first axis."""
    axes = [(np.arange(round(44 / s)) - (round(44 / s) - 1) / 2) * s for s in spacing]
    i, j, k = np.meshgrid(*axes, indexing="ij")
    return (i - centre) ** 2 + j**2 + k**2 < radius**2


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.7, 2.0), (0.5, 0.5, 0.5)])
def test_spheres_one_in_the_other(spacing: tuple[float, float, float]) -> None:
    """They lie r₂ − r₁ apart everywhere, as well as voxels show it; NSD jumps from 0 to 1 there.

    ASSD comes out short by up to six tenths of a voxel: elements lie on both sides of a smooth surface, and the nearest
    one is sought. So it is by definition, and with smaller voxels it vanishes.
    """
    inner, outer = ball(12, spacing), ball(18, spacing)
    edge = max(spacing)
    hd, hd95, assd, below, above = measure_distances(inner, outer, np.diag(spacing), (6 - 2 * edge, 6 + edge))
    assert hd == pytest.approx(6, abs=edge)
    assert hd95 == pytest.approx(6, abs=edge / 2)
    assert 6 - 0.6 * edge < assd < 6
    assert (below, above) == (0.0, 1.0)
    # Stairs of voxels, their edges cut off, are larger than the sphere by a tenth, with flat voxels by a sixth.
    assert surface_elements(outer, np.diag(spacing)).sizes.sum() == pytest.approx(4 * np.pi * 18**2, rel=0.17)


def test_a_shifted_sphere() -> None:
    """Moved by 3 mm, its poles lie 3 mm apart, its equator not at all."""
    spacing = (0.5, 0.5, 0.5)
    hd, hd95, assd, _, all_of_it = measure_distances(
        ball(15, spacing, 3.0), ball(15, spacing), np.diag(spacing), (2.0, 3.0)
    )
    assert hd == 3.0
    # |cos θ| is spread evenly over a sphere: 95% of it lies below 0.95, half of it below 0.5.
    assert hd95 == pytest.approx(0.95 * 3.0, abs=0.3)
    assert assd == pytest.approx(0.5 * 3.0, abs=0.25)
    assert all_of_it == 1.0


def test_a_picture_is_measured_in_its_plane() -> None:
    affine = np.diag([0.5, 7.0, 2.0, 1.0])
    shape = (20, 1, 12)
    assert (thin_axis(shape), thin_axis((4, 5, 6)), thin_axis((1, 5, 1))) == (1, None, 2)
    steps = voxel_steps(affine, 1)
    assert np.abs(steps) == pytest.approx(np.diag([0.5, 2.0]))
    reference = filled((20, 12), slice(4, 12), slice(3, 8))
    shifted = np.roll(reference, 2, 1)
    contour = 2 * (7 * 0.5 + 4 * 2) + 2 * np.hypot(0.5, 2)
    hd, hd95, assd, nsd = measure_distances(shifted, reference, steps, (3.9,))
    assert (hd, hd95) == (4.0, 4.0)
    assert 0 < assd < 4.0
    far = 7 * 0.5 + np.hypot(0.5, 2)  # the end that sticks out: its edge and two cut corners
    assert nsd == pytest.approx(1 - far / contour)


def test_sheared_axes_are_measured_in_the_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elements and distances by brute force, from positions that the affine gives."""
    affine = np.array([[1.0, 0, 0.8, 0], [0, 2.0, 0, 0], [0, 0.3, 3.0, 0], [0, 0, 0, 1]])
    draw = np.random.default_rng(1)
    one, other = (draw.random((9, 8, 7)) < 0.02 for _ in range(2))
    steps = voxel_steps(affine)
    found, truth = surface_elements(one, steps), surface_elements(other, steps)
    places = [np.stack(np.unravel_index(s.corners, s.grid), 1) @ affine[:3, :3].T for s in (found, truth)]
    brute = np.linalg.norm(places[0][:, None] - places[1][None], axis=-1).min(1)
    monkeypatch.setattr(distances, "DENSE", 1e9)  # no map of distances has sheared axes
    assert surface_distances(found, truth) == pytest.approx(brute)
    # A box's face keeps the area of the parallelogram that its edges span.
    whole = surface_elements(np.ones((30, 40, 1), dtype=bool), steps).sizes.sum()
    face = np.linalg.norm(np.cross(affine[:3, 0], affine[:3, 1]))
    inner = surface_elements(np.ones((29, 39, 1), dtype=bool), steps).sizes.sum()
    rows = surface_elements(np.ones((30, 39, 1), dtype=bool), steps).sizes.sum()
    columns = surface_elements(np.ones((29, 40, 1), dtype=bool), steps).sizes.sum()
    assert whole - rows - columns + inner == pytest.approx(2 * face)


MASKS = arrays(np.bool_, (5, 4, 3)).filter(lambda mask: mask.any())


@settings(deadline=None, max_examples=60)
@given(MASKS, MASKS)
def test_laws_of_distances(one: np.ndarray, other: np.ndarray) -> None:
    own = measure_distances(one, other, STEPS, TOLERANCES)
    hd, hd95, assd, tight, wide = own
    assert measure_distances(other, one, STEPS, TOLERANCES) == pytest.approx(own)
    assert hd >= hd95 >= 0
    assert hd >= assd >= 0
    assert 0 <= tight <= wide <= 1
    assert measure_distances(one, one, STEPS, TOLERANCES) == (0, 0, 0, 1, 1)
    moved = [np.pad(mask, ((2, 1), (0, 3), (1, 0))) for mask in (one, other)]
    assert measure_distances(*moved, STEPS, TOLERANCES) == pytest.approx(own)
    doubled = measure_distances(one, other, 2 * STEPS, [2 * t for t in TOLERANCES])
    assert doubled == pytest.approx((2 * hd, 2 * hd95, 2 * assd, tight, wide))


@settings(deadline=None, max_examples=30)
@given(MASKS, MASKS, st.permutations([0, 1, 2]), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_turning_the_file_changes_nothing(
    one: np.ndarray, other: np.ndarray, order: list[int], flipped: tuple[bool, ...]
) -> None:
    geometry = Geometry((5, 4, 3), np.diag([*SPACING, 1.0]))
    turn = AxisPermutation(tuple(order), flipped)
    turned = turn.geometry(geometry)
    own = measure_distances(one, other, voxel_steps(geometry.affine_ras), TOLERANCES)
    same = measure_distances(turn.apply(one), turn.apply(other), voxel_steps(turned.affine_ras), TOLERANCES)
    assert same == pytest.approx(own)


@settings(deadline=None, max_examples=40)
@given(MASKS, MASKS)
def test_map_and_search_find_the_same(one: np.ndarray, other: np.ndarray) -> None:
    found, truth = surface_elements(one, STEPS), surface_elements(other, STEPS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distances, "DENSE", 1e9)
        by_map = surface_distances(found, truth)
        patch.setattr(distances, "DENSE", 0)
        by_search = surface_distances(found, truth)
    assert by_map == pytest.approx(by_search)
    pairs = itertools.product(found.points, truth.points)
    brute = np.array([np.linalg.norm(a - b) for a, b in pairs]).reshape(len(found.points), -1).min(1)
    assert by_search == pytest.approx(brute)


def test_hd95_takes_the_worse_way() -> None:
    """A second box that the reference lacks lies far from it; from the reference everything is near."""
    reference = filled((20, 6, 6), slice(1, 5), slice(1, 5), slice(1, 5))
    both = reference | filled((20, 6, 6), slice(14, 18), slice(1, 5), slice(1, 5))
    for pair in ((both, reference), (reference, both)):
        hd, hd95, _, nsd = measure_distances(*pair, STEPS, (1.0,))
        assert hd == hd95 == 13 * 0.5
        assert nsd == pytest.approx(2 / 3)


def test_percentiles_count_area_not_elements() -> None:
    """Nine small elements far away are 9 of 10, but little of the surface."""
    many = SurfaceDistances(np.array([1.0, *[5.0] * 9]), np.array([96.0, *[4 / 9] * 9]))
    assert many.percentile(95) == 1.0
    assert many.percentile(97) == 5.0
    assert many.percentile(100) == 5.0
    assert many.within(1.0) == 96.0


def test_a_tolerance_takes_what_rounding_adds() -> None:
    step = float(np.float32(0.7))  # 0.699999988, as a header keeps it
    one = filled((9, 9, 9), slice(1, 6), slice(1, 8), slice(1, 8))
    far = measure_distances(np.roll(one, 3, 0), one, np.diag([3 * step / 3, 9.0, 9.0]), (2.1 - 1e-7, 2.0))
    assert far[3] == 1.0
    assert far[4] < 1.0


def test_names_carry_units() -> None:
    assert distance_metric_names("px", (2.0, 0.5)) == ("hd_px", "hd95_px", "assd_px", "nsd_2px", "nsd_0.5px")
