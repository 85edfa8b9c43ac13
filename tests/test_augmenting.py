"""Augmentation: each change by itself, with answers that are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields, replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers import FLAT, SIDES, tiny_plan
from osteon.core.errors import PlanError
from osteon.plan.augmentation_section import MAX_ELASTIC_SHARE
from osteon.plan.schema import Plan
from osteon.planning.recipes import RECIPES
from osteon.training.augmenting import AugmentationParameters, apply_augmentation, draw_parameters
from osteon.training.augmenting.parameters import rotation
from osteon.training.augmenting.smooth import count_control_points, expand_field, spline_basis
from osteon.training.augmenting.spatial import sample

NOT_DRAWN = np.full(2, np.nan)
STILL = np.tile(np.eye(3, 4), (2, 1, 1))


def changes(**some: Any) -> AugmentationParameters:
    arrays = {
        "mirror": np.zeros((2, 3), dtype=bool),
        "affine": STILL,
        "elastic": np.zeros((2, 3, 1, 1, 1)),
        "bias_terms": np.zeros((2, 4, 4, 4)),
    }
    names = {field.name for field in fields(AugmentationParameters) if field.default is MISSING} - {*arrays, "seed"}
    return replace(AugmentationParameters(seed=5, **arrays, **dict.fromkeys(names, NOT_DRAWN)), **some)


def only(first: float) -> np.ndarray:
    """A change of the first patch alone."""
    return np.array([first, np.nan])


def batch(shape: tuple[int, int, int] = (8, 8, 8), structures: int = 2) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 1, *shape, generator=generator)
    labels = torch.randint(0, structures + 1, (2, *shape), generator=generator)
    return image, labels, torch.ones(2, structures, dtype=torch.bool)


def apply(
    what: AugmentationParameters, plan: Any = None, parts: tuple[torch.Tensor, ...] | None = None
) -> tuple[torch.Tensor, ...]:
    image, labels, annotated = parts or batch()
    return apply_augmentation(image.clone(), labels.clone(), annotated.clone(), what, plan or tiny_plan())


def everything() -> dict[str, Any]:
    section: dict[str, Any] = {f"augmentation.{k}": v for k, v in RECIPES["nnunet"].augmentation.items()}
    section |= {"augmentation.rotate_degrees": [30.0] * 3, "augmentation.mirror_axes": [0, 1, 2], "patch.batch": 16}
    section |= {"augmentation.shift": 0.1, "augmentation.offset_p": 0.5, "augmentation.offset": [-1, 1]}
    section |= {"augmentation.elastic_p": 0.4, "augmentation.bias_p": 0.4, "channels.0.modality": "mr"}
    return section


# -- drawing ---------------------------------------------------------------------------------------------------------


def test_the_same_seed_and_iteration_draw_the_same() -> None:
    plan = tiny_plan(everything())

    def values(seed: int, iteration: int) -> list[Any]:
        drawn = {**vars(draw_parameters(plan, seed, iteration)), "crop": 0}
        return [np.nan_to_num(part, nan=-9).tolist() for part in drawn.values()]

    assert values(3, 4) == values(3, 4)
    assert values(3, 4) != values(3, 5)
    assert values(3, 4) != values(4, 4)


def test_drawn_changes_keep_to_their_ranges_and_chances() -> None:
    plan = tiny_plan(everything())
    drawn = [draw_parameters(plan, 0, n) for n in range(60)]
    how = plan.augmentation
    for name, chance, (low, high) in [
        ("noise", how.noise_p, (0, how.noise_std)),
        ("blur", how.blur_p, how.blur_sigma),
        ("brightness", how.brightness_p, how.brightness),
        ("offset", how.offset_p, how.offset),
        ("contrast", how.contrast_p, how.contrast),
        ("low_resolution", how.low_resolution_p, how.low_resolution),
        ("gamma", how.gamma_p, how.gamma),
        ("gamma_inverted", how.gamma_inverted_p, how.gamma),
        ("elastic_mm", how.elastic_p, how.elastic_mm),
        ("bias", how.bias_p, how.bias),
    ]:
        values = np.concatenate([getattr(d, name) for d in drawn])
        happened = values[~np.isnan(values)]
        assert len(happened) / len(values) == pytest.approx(chance, abs=0.06), name
        assert low <= happened.min() < low + 0.2 * (high - low), name
        assert high >= happened.max() > high - 0.2 * (high - low), name
    moved = [not np.allclose(one, np.eye(3, 4)) for d in drawn for one in d.affine]
    assert np.mean(moved) == pytest.approx(how.affine_p, abs=0.06)
    assert np.mean([d.mirror for d in drawn]) == pytest.approx(0.5, abs=0.05)
    assert not np.array([d.mirror for d in [draw_parameters(tiny_plan(), 0, n) for n in range(20)]]).any()


def test_only_the_plans_axes_are_mirrored() -> None:
    plan = tiny_plan({"augmentation.mirror_axes": [1]})
    drawn = np.array([draw_parameters(plan, 0, n).mirror for n in range(40)])
    assert drawn.any((0, 1)).tolist() == [False, True, False]


def affine_of(extra: dict[str, Any], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A drawn affine, and the same in millimetres."""
    plan = tiny_plan({"augmentation.affine_p": 1.0, **extra})
    drawn = draw_parameters(plan, seed, 0).affine[0]
    half = np.array(plan.patch.size) * plan.grid.spacing_mm / 2
    return drawn, drawn[:, :3] * half[:, None] / half[None, :]


@pytest.mark.parametrize("seed", range(5))
def test_a_rotation_is_rigid_in_millimetres(seed: int) -> None:
    extra = {"patch.size": [16, 8, 4], "grid.spacing_mm": [0.5, 1, 3.0], "augmentation.rotate_degrees": [40, 40, 40]}
    drawn, turn = affine_of(extra, seed)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)
    assert not np.allclose(drawn[:, :3] @ drawn[:, :3].T, np.eye(3))  # in voxels it is not
    assert not drawn[:, 3].any()


def test_zoom_and_shift_keep_to_their_ranges() -> None:
    for seed in range(20):
        _, zoom = affine_of({"augmentation.scale": [0.8, 1.2]}, seed)
        assert np.allclose(zoom, np.diag(np.diag(zoom)))
        assert ((np.diag(zoom) >= 0.8) & (np.diag(zoom) <= 1.2)).all()
    shifts = np.array([affine_of({"augmentation.shift": 0.25}, seed)[0][:, 3] for seed in range(60)])
    assert 0.4 < abs(shifts).max() <= 0.5  # a quarter of a patch is half of half a patch


def test_slices_turn_in_their_plane_and_stay_in_it() -> None:
    extra = {
        **FLAT,
        "augmentation.rotate_degrees": [0, 0, 90],
        "augmentation.shift": 0.2,
        "augmentation.scale": [0.5, 2],
    }
    drawn, _ = affine_of(extra)
    assert drawn[2].tolist() == [0, 0, 1, 0]
    assert not drawn[:2, 2].any()
    assert abs(drawn[0, 1]) > 0.01


def test_rotations_are_about_each_axis() -> None:
    for axis in range(3):
        angles = np.zeros(3)
        angles[axis] = np.pi / 2
        turn = rotation(angles)
        assert turn[:, axis].round(12).tolist() == np.eye(3)[axis].tolist()
        assert np.linalg.det(turn) == pytest.approx(1)
    np.testing.assert_allclose(rotation(np.array([0, 0, np.pi / 2])) @ [1, 0, 0], [0, 1, 0], atol=1e-12)


# -- moving ----------------------------------------------------------------------------------------------------------


def test_nothing_drawn_changes_nothing() -> None:
    for given, made in zip(batch(), apply(changes()), strict=True):
        assert torch.equal(given, made)


def test_a_mirror_flips_image_and_labels_of_one_patch() -> None:
    image, labels, _ = batch()
    mirror = np.array([[False, True, True], [False, False, False]])
    flipped, moved, _ = apply(changes(mirror=mirror))
    assert torch.equal(flipped[0], image[0].flip(2, 3))
    assert torch.equal(moved[0], labels[0].flip(1, 2))
    assert torch.equal(flipped[1], image[1])
    assert torch.equal(moved[1], labels[1])


@pytest.mark.parametrize(("axes", "sideways"), [(["R", "A", "S"], 0), (["S", "R", "A"], 1), (["A", "S", "R"], 2)])
def test_a_mirror_from_left_to_right_swaps_the_sides(axes: list[str], sideways: int) -> None:
    plan = tiny_plan({"structures": SIDES, "grid.axes": axes})
    image, labels, annotated = batch(structures=3)
    annotated[0, 0] = False
    mirror = np.zeros((2, 3), dtype=bool)
    mirror[:, sideways] = [True, False]
    _, moved, known = apply(changes(mirror=mirror), plan, (image, labels, annotated))
    flipped = labels[0].flip(sideways)
    assert torch.equal(moved[0], torch.tensor([0, 3, 2, 1])[flipped])
    assert known.tolist() == [[True, True, False], [True, True, True]]
    assert torch.equal(moved[1], labels[1])

    other = np.zeros((2, 3), dtype=bool)
    other[0, (sideways + 1) % 3] = True
    _, moved, known = apply(changes(mirror=other), plan, (image, labels, annotated))
    assert torch.equal(moved[0], labels[0].flip((sideways + 1) % 3))
    assert torch.equal(known, annotated)

    hot = F.one_hot(labels, 4).movedim(-1, 1)[:, 1:].float()
    many = tiny_plan({"structures": SIDES, "grid.axes": axes, "overlapping": True})
    _, moved, known = apply(changes(mirror=mirror), many, (image, hot, annotated))
    assert torch.equal(moved[0], hot[0].flip(sideways + 1)[[2, 1, 0]])
    assert known[0].tolist() == [True, True, False]


@pytest.mark.parametrize("axis", range(3))
def test_a_right_angle_is_known_exactly(axis: int) -> None:
    angles = np.zeros(3)
    angles[axis] = np.pi / 2
    affine = STILL.copy()
    affine[0, :, :3] = rotation(angles)
    image, labels, _ = batch()
    turned, moved, _ = apply(changes(affine=affine))
    # Each changed voxel takes its value from where the rotation sends its place.
    centre = np.stack(np.meshgrid(*[np.arange(8) - 3.5] * 3, indexing="ij"), -1)
    i, j, k = np.moveaxis((centre @ rotation(angles).T + 3.5).round().astype(int), -1, 0)
    torch.testing.assert_close(turned[0, 0], image[0, 0][i, j, k], atol=1e-4, rtol=0)
    assert torch.equal(moved[0], labels[0][i, j, k])
    torch.testing.assert_close(turned[1], image[1], atol=1e-5, rtol=0)
    assert torch.equal(moved[1], labels[1])


def test_a_right_angle_in_uneven_voxels() -> None:
    """Voxels of 1 × 2 mm, 8 × 4 of them: a square in mm, so a quarter turn about k is known where centres meet."""
    plan = tiny_plan({"patch.size": [8, 4, 2], "grid.spacing_mm": [1, 2, 1]})
    half = np.array([4, 4, 1])
    affine = STILL.copy()
    affine[0, :, :3] = rotation(np.array([0, 0, np.pi / 2])) * half[None, :] / half[:, None]
    ramp = (torch.arange(8) - 3.5)[:, None, None].expand(8, 4, 2)  # millimetres along i
    image = torch.stack([ramp, ramp])[:, None].clone()
    labels = (image[:, 0] > 0).long()
    turned, moved, _ = apply(changes(affine=affine), plan, (image, labels, torch.ones(2, 2, dtype=torch.bool)))
    along_j = -((torch.arange(4) - 1.5) * 2)  # i takes its place from −j, in millimetres
    torch.testing.assert_close(turned[0, 0], along_j[None, :, None].expand(8, 4, 2), atol=1e-4, rtol=0)
    assert torch.equal(moved[0], (along_j > 0).long()[None, :, None].expand(8, 4, 2))


def test_a_shift_moves_image_and_labels_together_and_repeats_the_edge() -> None:
    affine = STILL.copy()
    affine[0, 1, 3] = 0.5  # a quarter of 8 voxels
    image, labels, _ = batch()
    turned, moved, _ = apply(changes(affine=affine))
    torch.testing.assert_close(turned[0, 0, :, :6], image[0, 0, :, 2:], atol=1e-4, rtol=0)
    assert torch.equal(moved[0, :, :6], labels[0, :, 2:])
    assert torch.equal(moved[0, :, 7], labels[0, :, 7])


def test_image_and_labels_move_together() -> None:
    plan = tiny_plan(everything() | {"patch.batch": 2, "patch.size": [16, 16, 16], "augmentation.affine_p": 1.0})
    smooth = F.interpolate(torch.rand(2, 1, 4, 4, 4), 16, mode="trilinear")
    labels = (smooth[:, 0] > 0.5).long()
    for iteration in range(5):
        drawn = draw_parameters(plan, 0, iteration)
        what = changes(affine=drawn.affine, mirror=drawn.mirror)
        image, moved, _ = apply(what, plan, (smooth, labels, torch.ones(2, 2, dtype=torch.bool)))
        assert ((image[:, 0] > 0.5).long() == moved).float().mean() > 0.93
        hot = torch.stack([labels == 1, labels == 0], 1).float()
        many = plan.model_copy(update={"overlapping": True})
        both = apply(what, many, (smooth, hot, torch.ones(2, 2, dtype=torch.bool)))[1]
        assert torch.equal(both[:, 0], (moved == 1).float())
        assert set(both.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("threads", [1, 3, 4, 16])
@pytest.mark.parametrize(("size", "count"), [((12, 5, 4), 2), ((7, 5, 4), 2), ((2, 2, 2), 70)])
def test_cut_sampling_equals_plain(
    monkeypatch: pytest.MonkeyPatch, threads: int, size: tuple[int, int, int], count: int
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    x = torch.randn(count, 3, *size)
    theta = torch.randn(count, 3, 4) * 0.2 + torch.eye(3, 4)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    plain = F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
    torch.testing.assert_close(sample(x, grid, "bilinear"), plain)


def test_slices_are_moved_as_volumes_of_one_slice_are() -> None:
    extra = {"augmentation.affine_p": 1.0, "augmentation.elastic_p": 1.0, "augmentation.scale": [0.8, 1.2]}
    extra |= {"augmentation.rotate_degrees": [0, 0, 90], "augmentation.shift": 0.2}
    flat = tiny_plan(FLAT | extra)
    drawn = draw_parameters(flat, 0, 0)
    what = changes(affine=drawn.affine, elastic=drawn.elastic, elastic_mm=drawn.elastic_mm)
    solid = flat.model_copy(update={"grid": flat.grid.model_copy(update={"dimensions": 3})})
    parts = batch((8, 8, 1))
    for one, other in zip(apply(what, flat, parts), apply(what, solid, parts), strict=True):
        torch.testing.assert_close(one, other)
    hot = torch.stack([parts[1] == 1, parts[1] == 2], 1).float()
    assert apply(what, flat, (parts[0], hot, parts[2]))[1].shape == (2, 2, 8, 8, 1)
    one = changes(affine=np.stack([STILL[0], drawn.affine[1]]))
    moved, followed, _ = apply(one, flat, parts)
    assert torch.equal(moved[0], parts[0][0])
    assert torch.equal(followed[0], parts[1][0])
    assert not torch.equal(moved[1], parts[0][1])


# -- deforming -------------------------------------------------------------------------------------------------------

UNEVEN: dict[str, Any] = {
    "patch.size": [16, 8, 4],
    "grid.spacing_mm": [1, 2, 4.0],
    "augmentation.elastic_grain_mm": 8,
    "augmentation.elastic_mm": [0, 3],
    "augmentation.elastic_p": 1.0,
}


def everywhere(plan: Plan, direction: Sequence[float]) -> np.ndarray:
    """Points that displace the whole first patch alike."""
    points = np.zeros(
        (2, 3, *count_control_points(plan.patch.size, plan.grid.spacing_mm, plan.augmentation.elastic_grain_mm))
    )
    points[0] = np.array(direction)[:, None, None, None]
    return points


@pytest.mark.parametrize(("axis", "shift_mm", "voxels"), [(0, 3.0, 3), (1, 2.0, 1), (2, 4.0, 1), (0, -2.0, -2)])
def test_a_displacement_is_in_millimetres(axis: int, shift_mm: float, voxels: int) -> None:
    plan = tiny_plan(UNEVEN)
    points = everywhere(plan, np.sign(shift_mm) * np.eye(3)[axis])
    image, labels, annotated = batch((16, 8, 4))
    what = changes(elastic=points, elastic_mm=only(abs(shift_mm)))
    moved, followed, _ = apply(what, plan, (image, labels, annotated))
    there = np.clip(np.arange(image.shape[axis + 2]) + voxels, 0, image.shape[axis + 2] - 1)  # x comes from x + d
    torch.testing.assert_close(moved[0], image[0].index_select(axis + 1, torch.from_numpy(there)), atol=1e-4, rtol=0)
    assert torch.equal(followed[0], labels[0].index_select(axis, torch.from_numpy(there)))
    assert torch.equal(moved[1], image[1])
    assert torch.equal(followed[1], labels[1])


def test_a_deformation_comes_before_the_rotation_in_one_resampling() -> None:
    plan = tiny_plan()
    affine = STILL.copy()
    affine[0, :, :3] = rotation(np.array([0, 0, np.pi / 2]))
    image, labels, annotated = batch()
    what = changes(affine=affine, elastic=everywhere(plan, [1, 0, 0]), elastic_mm=only(2.0))
    moved, followed, _ = apply(what, plan, (image, labels, annotated))
    centre = np.stack(np.meshgrid(*[np.arange(8) - 3.5] * 3, indexing="ij"), -1)
    source = (centre + np.array([2, 0, 0])) @ affine[0, :, :3].T + 3.5
    i, j, k = np.moveaxis(source.round().astype(int).clip(0, 7), -1, 0)
    torch.testing.assert_close(moved[0, 0], image[0, 0][i, j, k], atol=1e-4, rtol=0)
    assert torch.equal(followed[0], labels[0][i, j, k])


def test_a_spline_weighs_its_points_by_distance() -> None:
    basis = spline_basis(5, 4.0, 8.0)  # voxels 4 mm apart, the middle one on a point; a point every 8 mm
    assert basis.shape == (5, 5 + 1)
    np.testing.assert_allclose(basis[2], [0, 1 / 6, 4 / 6, 1 / 6, 0, 0], atol=1e-12)
    np.testing.assert_allclose(basis[3], [0, 1 / 48, 23 / 48, 23 / 48, 1 / 48, 0], atol=1e-12)
    np.testing.assert_allclose(spline_basis(61, 0.7, 9.1).sum(1), 1)
    assert spline_basis(1, 3.0, 9.0).tolist() == [[1.0]]


@pytest.mark.parametrize(("strength", "folds"), [(MAX_ELASTIC_SHARE, False), (2 * MAX_ELASTIC_SHARE, True)])
def test_space_never_folds(strength: float, folds: bool) -> None:
    """The deformation's Jacobian stays positive at the limit that a plan keeps to, whatever is drawn."""
    bases = [spline_basis(25, 1.0, 8.0)] * 3
    rng = np.random.default_rng(0)
    points = rng.choice([-1.0, 1.0], (24, 3, *(basis.shape[1] for basis in bases))) * strength * 8
    field = expand_field(torch.from_numpy(points), bases).numpy()
    gradient = np.stack(np.gradient(field, axis=(2, 3, 4)), -1)  # [draw, component, i, j, k, along]
    determinant = np.linalg.det(gradient.transpose(0, 2, 3, 4, 1, 5) + np.eye(3))
    assert (determinant.min() < 0) == folds


def test_a_plan_that_folds_space_is_refused() -> None:
    with pytest.raises(PlanError, match=r"elastic_mm: 8 is more than 0\.4 of elastic_grain_mm"):
        tiny_plan({"augmentation.elastic_grain_mm": 16})
    with pytest.raises(PlanError, match="elastic_mm"):
        tiny_plan({"augmentation.elastic_mm": [-1, 2]})


def test_no_point_is_moved_further_than_drawn_and_slices_stay_in_their_plane() -> None:
    plan = tiny_plan(UNEVEN)
    drawn = draw_parameters(plan, 0, 0)
    assert drawn.elastic.shape == (2, 3, *count_control_points((16, 8, 4), (1, 2, 4), 8))
    assert 0.9 < abs(drawn.elastic).max() <= 1
    flat = tiny_plan(FLAT | {"augmentation.elastic_p": 1.0})
    drawn = draw_parameters(flat, 0, 0)
    assert drawn.elastic.shape[-1] == 1
    assert not drawn.elastic[:, 2].any()
    assert drawn.elastic[:, :2].all()
    parts = batch((8, 8, 1))
    assert apply(changes(elastic=drawn.elastic, elastic_mm=np.array([8.0, 2.0])), flat, parts)[0].shape == (
        2,
        1,
        8,
        8,
        1,
    )


@pytest.mark.parametrize("affine_p", [0.0, 1.0])
def test_labels_follow_a_deformed_image(affine_p: float) -> None:
    plan = tiny_plan(
        everything()
        | {"patch.batch": 2, "patch.size": [24, 24, 24], "augmentation.affine_p": affine_p}
        | {"augmentation.elastic_p": 1.0, "augmentation.elastic_grain_mm": 10, "augmentation.elastic_mm": [4, 4]}
    )
    smooth = F.interpolate(torch.rand(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(1)), 24, mode="trilinear")
    labels = (smooth[:, 0] > 0.5).long()
    annotated = torch.ones(2, 2, dtype=torch.bool)
    drawn = draw_parameters(plan, 0, 1)
    what = changes(affine=drawn.affine, elastic=drawn.elastic, elastic_mm=drawn.elastic_mm)
    image, moved, _ = apply(what, plan, (smooth, labels, annotated))
    assert (labels == moved).float().mean() < 0.92
    assert ((image[:, 0] > 0.5).long() == moved).float().mean() > 0.95
    hot = torch.stack([labels == 1, labels == 0], 1).float()
    both = apply(what, plan.model_copy(update={"overlapping": True}), (smooth, hot, annotated))[1]
    assert torch.equal(both[:, 0], (moved == 1).float())


# -- bias ------------------------------------------------------------------------------------------------------------


def bright(shape: tuple[int, int, int]) -> tuple[torch.Tensor, ...]:
    """Signal 1 everywhere but in one voxel without any; the normalised image lies two below it."""
    image = torch.full((2, 1, *shape), -1.0)
    image[:, :, 0, 0, 0] = -2.0
    return image, torch.zeros(2, *shape, dtype=torch.long), torch.ones(2, 2, dtype=torch.bool)


@pytest.mark.parametrize("flat", [False, True])
def test_a_bias_field_is_smooth_and_keeps_to_its_range(flat: bool) -> None:
    mr: dict[str, Any] = {"channels.0.modality": "mr", "augmentation.bias_p": 1.0, "augmentation.bias": [0.3, 0.3]}
    plan = tiny_plan(mr | ({**FLAT, "patch.size": [16, 16, 1]} if flat else {"patch.size": [16, 16, 16]}))
    parts = bright(plan.patch.size)
    for iteration in range(5):
        drawn = draw_parameters(plan, 0, iteration)
        made = apply(changes(bias=drawn.bias, bias_terms=drawn.bias_terms), plan, parts)[0]
        assert made[:, :, 0, 0, 0].tolist() == [[-2.0], [-2.0]]
        field = (made[:, :, 1:] + 2).log().double()
        for one in field:
            assert 0.2 < one.abs().max() <= 0.3 + 1e-5
            assert one.std() > 0.01
        for dim in (2, 3):  # polynomials of the third degree have no fourth difference
            torch.testing.assert_close(field.diff(4, dim), torch.zeros_like(field.diff(4, dim)), atol=1e-5, rtol=0)


def test_the_terms_of_a_bias_field_are_legendre_polynomials() -> None:
    plan = tiny_plan({"channels.0.modality": "mr", "patch.size": [8, 4, 4], "grid.spacing_mm": [1, 2, 1.0]})
    terms = np.zeros((2, 4, 4, 4))
    terms[0, 1, 0, 0] = -7.0  # −7 x, whatever its size: the greatest value is what was drawn
    made = apply(changes(bias=only(0.5), bias_terms=terms), plan, bright((8, 4, 4)))[0]
    np.testing.assert_allclose((made[0, 0, :, 2, 2] + 2).log(), -0.5 * np.linspace(-1, 1, 8), atol=1e-5)
    terms[0, 1, 0, 0], terms[0, 0, 2, 0] = 0, 1.0  # (3 y² − 1) / 2, y = ±6/7 and ±2/7: the longest axis has 7 mm
    made = apply(changes(bias=only(0.5), bias_terms=terms), plan, bright((8, 4, 4)))[0]
    value = (3 * (np.array([-6, -2, 2, 6]) / 7) ** 2 - 1) / 2
    np.testing.assert_allclose((made[0, 0, 4, :, 2] + 2).log(), 0.5 * value / abs(value).max(), atol=1e-5)


def test_a_bias_field_is_for_mr_channels_alone() -> None:
    two = tiny_plan(
        {
            "channels": [{"name": "ct", "modality": "ct"}, {"name": "t1", "modality": "mr"}],
            "intensities": [{"channel": "ct"}, {"channel": "t1"}],
        }
    )
    image, labels, annotated = batch()
    image = torch.cat([image, image], 1)
    terms = np.random.default_rng(0).normal(size=(2, 4, 4, 4))
    made = apply(changes(bias=only(0.3), bias_terms=terms), two, (image, labels, annotated))[0]
    assert torch.equal(made[:, 0], image[:, 0])
    assert not torch.allclose(made[0, 1], image[0, 1])
    assert torch.equal(made[1], image[1])
    assert torch.equal(apply(changes(bias=only(0.3), bias_terms=terms))[0], batch()[0])


def test_constant_and_thin_terms_are_never_drawn() -> None:
    flat = draw_parameters(tiny_plan(FLAT), 0, 0).bias_terms
    assert not flat[..., 1:].any()
    assert not flat[:, 0, 0, 0].any()
    assert np.count_nonzero(flat[0]) == 9
    assert np.count_nonzero(draw_parameters(tiny_plan(), 0, 0).bias_terms[0]) == 19


# -- intensities -----------------------------------------------------------------------------------------------------


def test_noise_has_its_standard_deviation_and_its_seed() -> None:
    parts = batch((24, 24, 24))
    made = apply(changes(noise=only(0.3)), None, parts)[0]
    added = made[0] - parts[0][0]
    assert added.std() == pytest.approx(0.3, rel=0.03)
    assert added.mean() == pytest.approx(0, abs=0.01)
    assert torch.equal(made[1], parts[0][1])
    assert torch.equal(apply(changes(noise=only(0.3)), None, parts)[0], made)
    assert not torch.equal(apply(changes(noise=only(0.3), seed=6), None, parts)[0], made)


def test_blur_is_a_gaussian_that_keeps_the_mean() -> None:
    image = torch.zeros(2, 1, 15, 15, 15)
    image[:, :, 7, 7, 7] = 1
    labels, annotated = torch.zeros(2, 15, 15, 15, dtype=torch.long), torch.ones(2, 2, dtype=torch.bool)
    made = apply(changes(blur=np.array([0.8, 0.5])), None, (image, labels, annotated))[0]
    for patch, sigma in zip(made, (0.8, 0.5), strict=True):
        assert patch.sum() == pytest.approx(1, abs=1e-5)
        kernel = np.exp(-0.5 * (np.arange(-3, 4) / sigma) ** 2)
        kernel /= kernel.sum()
        np.testing.assert_allclose(patch[0, 4:11, 7, 7], kernel * kernel[3] ** 2, atol=1e-6)
        np.testing.assert_allclose(patch[0, 7, 4:11, 6], kernel * kernel[3] * kernel[2], atol=1e-6)
    wide = apply(changes(blur=only(2.5)), None, (F.pad(image, [8] * 6), labels, annotated))[0][0, 0]
    where = torch.arange(31.0) - 15
    assert (wide.sum((1, 2)) * where**2).sum() == pytest.approx(2.5**2, rel=0.03)
    flat = (torch.full((2, 1, 8, 8, 1), 3.0), torch.zeros(2, 8, 8, 1, dtype=torch.long), annotated)
    torch.testing.assert_close(apply(changes(blur=only(1.0)), tiny_plan(FLAT), flat)[0], flat[0])


def test_brightness_and_offset() -> None:
    image = batch()[0]
    made = apply(changes(brightness=only(1.3), offset=only(-0.2)))[0]
    torch.testing.assert_close(made[0], image[0] * 1.3 - 0.2)
    assert torch.equal(made[1], image[1])


def test_contrast_keeps_mean_and_range() -> None:
    image = batch()[0]
    less = apply(changes(contrast=only(0.7)))[0][0]
    torch.testing.assert_close(less, (image[0] - image[0].mean()) * 0.7 + image[0].mean())
    more = apply(changes(contrast=only(1.4)))[0][0]
    assert (more.min(), more.max()) == (image[0].min(), image[0].max())


def test_low_resolution_loses_detail_and_keeps_shape() -> None:
    image = batch()[0]
    made = apply(changes(low_resolution=np.array([0.5, 1.0])))[0]
    assert made.shape == image.shape
    assert made[0].std() < 0.8 * image[0].std()
    torch.testing.assert_close(made[1], image[1])
    flat = batch((8, 8, 1))
    assert apply(changes(low_resolution=only(0.5)), tiny_plan(FLAT), flat)[0].shape == (2, 1, 8, 8, 1)


def test_low_resolution_leaves_the_image_on_its_labels() -> None:
    image = torch.arange(64.0)[:, None, None].expand(64, 8, 8).repeat(2, 1, 1, 1, 1)
    for kept in (0.55, 0.65, 0.9):
        made = apply(changes(low_resolution=only(kept)), None, (image, *batch()[1:]))[0]
        shift = (made - image)[0, 0, 8:-8].mean()
        assert abs(shift) < 0.1, kept  # voxels


@pytest.mark.parametrize("which", ["gamma", "gamma_inverted"])
@pytest.mark.parametrize("power", [0.7, 1.5])
def test_gamma_is_monotone_and_keeps_the_ends(which: str, power: float) -> None:
    image = torch.linspace(-2, 3, 512).reshape(1, 1, 8, 8, 8).repeat(2, 1, 1, 1, 1)
    parts = (image, *batch()[1:])
    made = apply(changes(**{which: only(power)}), None, parts)[0][0].flatten()
    assert (made.diff() > 0).all()
    assert made[0] == pytest.approx(-2, abs=1e-5)
    assert made[-1] == pytest.approx(3, abs=1e-5)
    darker = (power > 1) == (which == "gamma")
    assert (made[256] < image[0].flatten()[256]) == darker
    if which == "gamma":
        assert made[256] == pytest.approx(-2 + 5 * (256 / 511) ** power, abs=1e-4)


def test_all_at_once_stays_finite_and_is_repeatable() -> None:
    plan = tiny_plan(everything() | {"patch.batch": 2})
    for iteration in range(10):
        drawn = draw_parameters(plan, 1, iteration)
        one, two = apply(drawn, plan), apply(drawn, plan)
        assert torch.isfinite(one[0]).all()
        assert set(one[1].unique().tolist()) <= {0, 1, 2}
        for a, b in zip(one, two, strict=True):
            assert torch.equal(a, b)
