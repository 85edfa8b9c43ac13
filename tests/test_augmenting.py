"""Augmentation: each change by itself, with answers that are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers import FLAT, SIDES, tiny_plan
from osteon.planning.recipes import RECIPES
from osteon.training.augmenting import (
    Changes,
    _grid_sample,
    apply_changes,
    draw_changes,
    rotation,
)

NOTHING = np.full(2, np.nan)
STILL = np.tile(np.eye(3, 4), (2, 1, 1))


def changes(**some: Any) -> Changes:
    names = ("noise", "blur", "brightness", "offset", "contrast", "low_resolution", "gamma", "gamma_inverted")
    still = Changes(mirror=np.zeros((2, 3), dtype=bool), affine=STILL, seed=5, **dict.fromkeys(names, NOTHING))
    return replace(still, **some)


def only(first: float) -> np.ndarray:
    """A change of the first patch alone."""
    return np.array([first, np.nan])


def batch(shape: tuple[int, int, int] = (8, 8, 8), structures: int = 2) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 1, *shape, generator=generator)
    labels = torch.randint(0, structures + 1, (2, *shape), generator=generator)
    return image, labels, torch.ones(2, structures, dtype=torch.bool)


def apply(what: Changes, plan: Any = None, parts: tuple[torch.Tensor, ...] | None = None) -> tuple[torch.Tensor, ...]:
    image, labels, annotated = parts or batch()
    return apply_changes(image.clone(), labels.clone(), annotated.clone(), what, plan or tiny_plan())


def everything() -> dict[str, Any]:
    section: dict[str, Any] = {f"augmentation.{k}": v for k, v in RECIPES["nnunet"].augmentation.items()}
    section |= {"augmentation.rotate_degrees": [30.0] * 3, "augmentation.mirror_axes": [0, 1, 2], "patch.batch": 16}
    section |= {"augmentation.shift": 0.1, "augmentation.offset_p": 0.5, "augmentation.offset": [-1, 1]}
    return section


# -- drawing ---------------------------------------------------------------------------------------------------------


def test_the_same_seed_and_iteration_draw_the_same() -> None:
    plan = tiny_plan(everything())

    def values(seed: int, iteration: int) -> list[Any]:
        return [np.nan_to_num(part, nan=-9).tolist() for part in vars(draw_changes(plan, seed, iteration)).values()]

    assert values(3, 4) == values(3, 4)
    assert values(3, 4) != values(3, 5)
    assert values(3, 4) != values(4, 4)


def test_drawn_changes_keep_to_their_ranges_and_chances() -> None:
    plan = tiny_plan(everything())
    drawn = [draw_changes(plan, 0, n) for n in range(60)]
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
    ]:
        values = np.concatenate([getattr(d, name) for d in drawn])
        happened = values[~np.isnan(values)]
        assert len(happened) / len(values) == pytest.approx(chance, abs=0.06), name
        assert low <= happened.min() < low + 0.2 * (high - low), name
        assert high >= happened.max() > high - 0.2 * (high - low), name
    moved = [not np.allclose(one, np.eye(3, 4)) for d in drawn for one in d.affine]
    assert np.mean(moved) == pytest.approx(how.affine_p, abs=0.06)
    assert np.mean([d.mirror for d in drawn]) == pytest.approx(0.5, abs=0.05)
    assert not np.array([d.mirror for d in [draw_changes(tiny_plan(), 0, n) for n in range(20)]]).any()


def test_only_the_plans_axes_are_mirrored() -> None:
    plan = tiny_plan({"augmentation.mirror_axes": [1]})
    drawn = np.array([draw_changes(plan, 0, n).mirror for n in range(40)])
    assert drawn.any((0, 1)).tolist() == [False, True, False]


def affine_of(extra: dict[str, Any], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A drawn affine, and the same in millimetres."""
    plan = tiny_plan({"augmentation.affine_p": 1.0, **extra})
    drawn = draw_changes(plan, seed, 0).affine[0]
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
        drawn = draw_changes(plan, 0, iteration)
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
    torch.testing.assert_close(_grid_sample(x, grid, "bilinear"), plain)


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
        drawn = draw_changes(plan, 1, iteration)
        one, two = apply(drawn, plan), apply(drawn, plan)
        assert torch.isfinite(one[0]).all()
        assert set(one[1].unique().tolist()) <= {0, 1, 2}
        for a, b in zip(one, two, strict=True):
            assert torch.equal(a, b)
