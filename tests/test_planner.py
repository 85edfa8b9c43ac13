"""Every decision of a plan, the plan as a file, and plans that make no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import FLAT, PLAN, SIDES, box, plan_data, spacing_affine, tiny_plan, two_boxes, write_dataset
from osteon.core.errors import DatasetError, FileError, PlanError, UsageError
from osteon.core.labels import Structure, make_structures
from osteon.dataset.dataset import Dataset
from osteon.plan.outputs import output_layout
from osteon.plan.overlay import overlay
from osteon.plan.schema import Grid, parse_plan, read_plan, write_plan
from osteon.planning.fingerprint import CaseFacts, Fingerprint, StructureFacts, measure_fingerprint
from osteon.planning.network_shape import choose_stages, fit_patch, round_to_multiples
from osteon.planning.options import PlanOptions
from osteon.planning.planner import make_plan
from osteon.planning.recipes import RECIPES, SizeLimits
from osteon.planning.spacing import label_fidelity, target_spacing

SMALL = SizeLimits(voxels=4096, features=8, max_features=32)


def facts(
    shape: tuple[int, int, int] = (40, 40, 40),
    spacing_mm: tuple[float, float, float] = (1, 1, 1),
    *,
    places: dict[str, tuple[float, float, float]] | None = None,
    intensities: list[float] | None = None,
    unit: str = "mm",
    name: str = "a",
) -> CaseFacts:
    places = places if places is not None else {"femur": (5, 5, 5), "tibia": (30, 30, 30)}
    return CaseFacts(
        id=name,
        shape=shape,
        spacing_mm=spacing_mm,
        unit=unit,
        structures={s: StructureFacts(voxels=9, centre_mm=centre, extent_mm=(3, 3, 3)) for s, centre in places.items()},
        intensities=[intensities or [0.0, 50.0, 100.0]],
    )


def prints(*cases: CaseFacts) -> Fingerprint:
    return Fingerprint(cases=list(cases))


@pytest.fixture
def tiny(tmp_path: Path) -> Dataset:
    return write_dataset(tmp_path, {name: two_boxes(seed=n) for n, name in enumerate("abc")})


# -- spacing ---------------------------------------------------------------------------------------------------------


def test_the_spacing_is_the_median() -> None:
    cases = [facts(spacing_mm=(s, 1, 2)) for s in (0.5, 0.75, 3.0)]
    spacing, why = target_spacing(prints(*cases))
    assert spacing.tolist() == [0.75, 1, 2]
    assert "3 cases" in why[0]
    assert "0.5–3 × 1 × 2" in why[0]


def test_an_axis_of_thick_slices_takes_its_tenth_percentile() -> None:
    cases = [facts((400, 400, 20), (1, 1, s)) for s in (2.0, 4, 5, 5, 5, 5, 5, 5, 5, 5, 5)]
    spacing, why = target_spacing(prints(*cases))
    assert spacing.tolist() == [1, 1, 4]
    assert "axis S" in why[1]
    many_slices = [c.model_copy(update={"shape": (400, 400, 200)}) for c in cases]
    assert target_spacing(prints(*many_slices))[0].tolist() == [1, 1, 5]
    not_so_thick = [facts((400, 400, 20), (2, 2, s)) for s in (2.0, 4, 5, 5, 5)]
    assert target_spacing(prints(*not_so_thick))[0].tolist() == [2, 2, 5]
    one_thin = [facts((400, 400, 20), (1, 1, s)) for s in (0.2, *[5.0] * 4)]
    one_thin += [facts((400, 400, 20), (1, 1, 0.2))]
    assert target_spacing(prints(*one_thin))[0].tolist() == [1, 1, 1]  # never finer than the other axes


def coarse(folder: Path, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch, voxels: int) -> Grid:
    row = RECIPES["osteon"]
    sizes = {key: SizeLimits(voxels, 8, 32) for key in row.sizes}
    monkeypatch.setitem(RECIPES, "osteon", row.__class__(**{**vars(row), "sizes": sizes}))
    dataset = write_dataset(folder, {name: two_boxes(shape, seed=n) for n, name in enumerate("ab")})
    return make_plan(dataset, measure_fingerprint(dataset)).grid


def test_the_grid_gets_coarser_until_a_patch_covers_the_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("osteon.planning.spacing.label_fidelity", lambda *_: 0.95)
    shape = (48, 40, 36)
    assert coarse(tmp_path, shape, monkeypatch, 48 * 40 * 36).spacing_mm == (1, 1, 1)
    # 48·40·36 = 69120 voxels to be seen; at 1.5 mm 20480, at 1.75 mm 12897
    grid = coarse(tmp_path, shape, monkeypatch, 13_000)
    assert grid.spacing_mm == (1.75, 1.75, 1.75)
    assert "1.75 times coarser" in grid.why[-1]
    assert "0.950" in grid.why[-1]


def test_slices_get_coarser_in_their_plane_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("osteon.planning.spacing.label_fidelity", lambda *_: 0.95)
    row = RECIPES["osteon"]
    # 48·40 = 1920 pixels to be seen, 16 slices at once: at 1.25 mm 1229, at 1.5 mm 853
    sizes = {key: SizeLimits(16 * 900, 8, 32) for key in row.sizes}
    monkeypatch.setitem(RECIPES, "osteon", row.__class__(**{**vars(row), "sizes": sizes}))
    dataset = write_dataset(tmp_path, {"a": two_boxes((48, 40, 36))})
    grid = make_plan(dataset, measure_fingerprint(dataset), PlanOptions(dimensions=2)).grid
    assert (grid.axes, grid.spacing_mm) == (("R", "A", "S"), (1.5, 1.5, 1))
    assert "of the median slice" in grid.why[-1]


def test_the_labels_decide_how_coarse_it_may_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("osteon.planning.spacing.label_fidelity", lambda *_: 0.919)
    grid = coarse(tmp_path, (24, 20, 16), monkeypatch, 100)
    assert grid.spacing_mm == (1, 1, 1)
    assert "not coarser" in grid.why[-1]


def test_only_fine_axes_are_made_coarser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("osteon.planning.spacing.label_fidelity", lambda *_: 0.95)
    row = RECIPES["osteon"]
    sizes = {key: SizeLimits(2600, 8, 32) for key in row.sizes}
    monkeypatch.setitem(RECIPES, "osteon", row.__class__(**{**vars(row), "sizes": sizes}))
    dataset = write_dataset(tmp_path, {"a": two_boxes((32, 32, 10), (1, 1, 3))})
    assert make_plan(dataset, measure_fingerprint(dataset)).grid.spacing_mm == (2, 2, 3)


def test_fidelity_is_one_on_the_labels_own_grid_and_falls(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, {"a": two_boxes((24, 20, 16), (1, 1, 2))})
    measured = measure_fingerprint(dataset)
    same, half, far = (label_fidelity(dataset, measured, np.array([1, 1, 2]) * f) for f in (1, 2, 9))
    assert same == 1
    assert 0.7 < half < 1
    assert far < half


# -- patch and network -----------------------------------------------------------------------------------------------


def test_a_patch_holds_the_median_scan_where_it_fits() -> None:
    grid = Grid(dimensions=3, spacing_mm=(1, 1, 1))
    assert fit_patch((10, 12, 14), grid, SMALL)[:2] == ((10, 12, 14), 2)
    assert fit_patch((16, 16, 16), grid, SMALL)[0] == (16, 16, 16)
    assert "as a whole" in fit_patch((16, 16, 16), grid, SMALL)[2][0]


def test_a_patch_that_does_not_hold_it_is_even_in_millimetres() -> None:
    grid = Grid(dimensions=3, spacing_mm=(1, 1, 4))
    patch, _, why = fit_patch((200, 200, 60), grid, SMALL)
    assert np.prod(patch) <= 4096
    extent = np.array(patch) * grid.spacing_mm
    assert extent.max() < 1.2 * extent.min()
    assert "4096" in why[0]


def test_slices_fill_a_batch() -> None:
    grid = Grid(dimensions=2, spacing_mm=(1, 1, 4))
    assert fit_patch((16, 16, 1), grid, SMALL)[:2] == ((16, 16, 1), 16)
    assert fit_patch((8, 8, 1), grid, SMALL)[1] == 32
    assert fit_patch((64, 64, 1), grid, SMALL)[1] == 2


@pytest.mark.parametrize(
    ("patch", "spacing", "strides", "kernels"),
    [
        ((40, 56, 40), (1, 1, 1), [(1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)], [(3, 3, 3)] * 4),
        ((7, 20, 20), (1, 1, 1), [(1, 1, 1), (1, 2, 2), (1, 2, 2)], [(3, 3, 3)] * 3),
        (
            (40, 40, 10),
            (1, 1, 5),
            [(1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 2)],
            [(3, 3, 1), (3, 3, 1), (3, 3, 3), (3, 3, 3)],
        ),
        ((20, 20, 20), (1, 1, 2), [(1, 1, 1), (2, 2, 1), (2, 2, 2), (1, 1, 2)], [(3, 3, 3)] * 4),
    ],
)
def test_stages_follow_size_and_spacing(
    patch: tuple[int, int, int], spacing: tuple[float, float, float], strides: list[Any], kernels: list[Any]
) -> None:
    grid = Grid(dimensions=3, spacing_mm=spacing)
    network = choose_stages(patch, grid, SMALL, RECIPES["osteon"])
    assert network.strides == strides
    assert network.kernels == kernels
    assert network.features == [min(32, 8 * 2**n) for n in range(len(strides))]
    assert network.deep_supervision == min(3, len(strides) - 1)


def test_in_2d_the_last_axis_is_neither_halved_nor_convolved() -> None:
    network = choose_stages((40, 40, 1), Grid(dimensions=2, spacing_mm=(1, 1, 0.1)), SMALL, RECIPES["osteon"])
    assert network.strides == [(1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 1)]
    assert network.kernels == [(3, 3, 1)] * 4


def test_a_tiny_scan_still_gets_two_stages_and_more_than_one_voxel() -> None:
    grid = Grid(dimensions=3, spacing_mm=(1, 1, 1))
    for patch in ((4, 3, 1), (1, 1, 1), (2, 2, 2)):
        network = choose_stages(patch, grid, SMALL, RECIPES["osteon"])
        assert len(network.strides) == 2
        whole = round_to_multiples(patch, network, grid, SMALL)
        assert np.prod(whole) > np.prod(network.strides[1])


def test_a_patch_is_rounded_up_but_stays_within_what_the_device_carries() -> None:
    grid = Grid(dimensions=3, spacing_mm=(1, 1, 1))
    network = choose_stages((40, 40, 40), grid, SMALL, RECIPES["osteon"])
    assert round_to_multiples((36, 50, 35), network, grid, SizeLimits(1 << 17, 8, 32)) == (40, 56, 40)
    assert round_to_multiples((41, 41, 41), network, grid, SizeLimits(41**3, 8, 32)) == (40, 40, 40)
    deep = network.model_copy(update={"strides": [(1, 1, 1), (32, 32, 32)]})
    assert (
        np.prod(round_to_multiples((90, 60, 40), deep, grid, SizeLimits(1000, 8, 32))) == 2 * 32**3
    )  # never one voxel alone


# -- the whole plan --------------------------------------------------------------------------------------------------


def test_a_patch_that_holds_the_scan_is_not_cut_by_rounding() -> None:
    grid = Grid(dimensions=3, spacing_mm=(1, 1, 1))
    size = SizeLimits(voxels=12 * 12 * 12, features=8, max_features=32)
    network = choose_stages((12, 12, 12), grid, size, RECIPES["osteon"])
    network = network.model_copy(update={"strides": [(1, 1, 1), (2, 2, 2), (7, 1, 1)]})
    assert round_to_multiples((12, 12, 12), network, grid, size, whole=True) == (14, 12, 12)
    assert round_to_multiples((12, 12, 12), network, grid, size) != (14, 12, 12)


def test_the_plan_of_a_small_ct(tiny: Dataset) -> None:
    plan = make_plan(tiny, measure_fingerprint(tiny))
    assert plan.grid.dimensions == 3
    assert plan.grid.axes == ("R", "A", "S")
    assert plan.grid.spacing_mm == (1, 1, 1)
    assert all(s % m == 0 for s, m in zip(plan.patch.size, plan.downsampling, strict=True))
    assert all(s >= n for s, n in zip(plan.patch.size, (12, 10, 8), strict=True))
    assert [s.name for s in plan.structures] == ["femur", "tibia"]
    assert plan.training.recipe == "osteon"
    for section in (plan.grid, plan.patch, plan.network, plan.training, plan.augmentation, *plan.intensities):
        assert section.why


def test_ct_is_clipped_to_percentiles_of_the_foreground(tiny: Dataset) -> None:
    values = list(np.random.default_rng(0).normal(300, 100, 5000).round(2)) + [9000.0] * 10
    how = make_plan(tiny, prints(facts(intensities=values))).intensities[0]
    assert how.clip is not None
    np.testing.assert_allclose(how.clip, np.percentile(values, [0.5, 99.5]), rtol=1e-4)
    inside = np.clip(values, *how.clip)
    assert (how.mean, how.std) == (pytest.approx(inside.mean(), rel=1e-4), pytest.approx(inside.std(), rel=1e-4))


def test_ct_in_another_unit_keeps_its_digits(tiny: Dataset) -> None:
    values = [n * 1e-6 for n in range(1000)]
    how = make_plan(tiny, prints(facts(intensities=values))).intensities[0]
    assert how.std == pytest.approx(np.std(np.clip(values, *np.percentile(values, [0.5, 99.5]))), rel=1e-4)


def test_ct_of_one_value_is_refused(tiny: Dataset) -> None:
    with pytest.raises(DatasetError, match="channel ct: all sampled voxels"):
        make_plan(tiny, prints(facts(intensities=[7.0] * 50)))


def test_a_fixed_range_replaces_what_was_measured(tiny: Dataset) -> None:
    for window in ({"": (-1000.0, 400.0)}, {"ct": (-1000.0, 400.0)}):
        [intensity] = make_plan(tiny, measure_fingerprint(tiny), PlanOptions(window=window)).intensities
        assert (intensity.clip, intensity.mean, intensity.std) == ((-1000, 400), -300, 700)
        assert intensity.why == ["a fixed range, as asked: -1000 becomes −1, 400 becomes 1"]
    with pytest.raises(UsageError, match="--window: there is no channel pet"):
        make_plan(tiny, measure_fingerprint(tiny), PlanOptions(window={"pet": (0.0, 1.0)}))


def test_slices_are_dropped_from_2d_plans_alone(tiny: Dataset) -> None:
    grid = make_plan(tiny, measure_fingerprint(tiny), PlanOptions(dimensions=2, drop_slices=(None, 3))).grid
    assert grid.drop_slices == (None, 3)
    assert grid.kept_slices(6) == [3, 4, 5]
    assert "not trained on, as asked: slices :3 along" in grid.why[-1]
    with pytest.raises(UsageError, match="a 3D plan has no slices"):
        make_plan(tiny, measure_fingerprint(tiny), PlanOptions(dimensions=3, drop_slices=(0, 3)))
    with pytest.raises(UsageError, match="30:2 is not a range"):
        make_plan(tiny, measure_fingerprint(tiny), PlanOptions(dimensions=2, drop_slices=(30, 2)))


@pytest.mark.parametrize(
    ("slices", "kept"),
    [((0, 4), [4, 5]), ((-2, None), [0, 1, 2, 3]), ((1, -1), [0, 5]), ((9, None), [0, 1, 2, 3, 4, 5])],
)
def test_slices_count_as_in_python(slices: tuple[int | None, int | None], kept: list[int]) -> None:
    grid = Grid(dimensions=2, spacing_mm=(1, 1, 1), resample_last=False, drop_slices=slices)
    assert grid.kept_slices(6) == kept
    from_the_head = grid.model_copy(update={"axes": ("L", "P", "I")})  # they still count from the feet
    assert from_the_head.kept_slices(6) == [5 - number for number in reversed(kept)]


def test_mr_is_normalised_by_each_image(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, {"a": two_boxes()}, modality="mr")
    how = make_plan(dataset, measure_fingerprint(dataset)).intensities[0]
    assert (how.clip, how.mean, how.std) == (None, None, None)


def test_slices_are_cut_across_the_thickest_axis(tiny: Dataset) -> None:
    plan = make_plan(tiny, prints(facts((20, 60, 60), (4, 1, 0.9))), PlanOptions(dimensions=2))
    assert plan.grid.axes == ("A", "S", "R")
    assert plan.grid.spacing_mm == (1, 0.9, 4)
    assert not plan.grid.resample_last
    assert (plan.patch.size[2], plan.downsampling[2]) == (1, 1)
    assert plan.patch.size[:2] == (64, 64)
    assert plan.augmentation.rotate_degrees == (0, 0, 20)


def test_slices_of_even_voxels_are_cut_across_the_shortest_extent(tiny: Dataset) -> None:
    assert make_plan(tiny, prints(facts((60, 20, 60))), PlanOptions(dimensions=2)).grid.axes == ("R", "S", "A")


def test_flat_images_are_planned_in_2d(tiny: Dataset) -> None:
    plan = make_plan(tiny, prints(facts((64, 1, 50), (1, 9, 1))))
    assert plan.grid.dimensions == 2
    assert plan.grid.axes == ("R", "S", "A")
    assert (plan.patch.size[0], plan.patch.size[2]) == (64, 1)
    assert 50 <= plan.patch.size[1] < 66


def test_pixels_and_millimetres_do_not_mix(tiny: Dataset) -> None:
    assert make_plan(tiny, prints(facts((64, 64, 1), unit="px"))).unit == "px"
    with pytest.raises(DatasetError, match="1 of 2 cases lack a pixel spacing, as b"):
        make_plan(tiny, prints(facts(), facts(unit="px", name="b")))


def test_a_structure_in_no_case_is_refused_by_name(tiny: Dataset) -> None:
    with pytest.raises(DatasetError, match="tibia"):
        make_plan(tiny, prints(facts(places={"femur": (1, 1, 1)})))


def test_an_unknown_recipe_is_refused_with_those_that_exist(tiny: Dataset) -> None:
    with pytest.raises(UsageError, match=r"(?s)no recipe soup.*nnunet"):
        make_plan(tiny, prints(facts()), PlanOptions(recipe="soup"))


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_recipe_gives_a_plan_that_holds(
    tiny: Dataset, tmp_path: Path, recipe: str, dimensions: Any, device: Any
) -> None:
    plan = make_plan(tiny, measure_fingerprint(tiny), PlanOptions(recipe=recipe, dimensions=dimensions), device=device)
    write_plan(tmp_path / "plan.yaml", plan)
    assert read_plan(tmp_path / "plan.yaml") == plan


# -- mirroring -------------------------------------------------------------------------------------------------------


def test_structures_in_a_fixed_order_forbid_a_mirror(tiny: Dataset) -> None:
    plan = make_plan(tiny, measure_fingerprint(tiny))
    assert plan.augmentation.mirror_axes == []
    assert plan.sequence is None  # two are no series
    assert any("femur and tibia keep their order in all 3" in reason for reason in plan.augmentation.why)
    assert make_plan(tiny, measure_fingerprint(tiny), PlanOptions(recipe="nnunet")).augmentation.mirror_axes == [
        0,
        1,
        2,
    ]


def test_without_an_order_left_and_right_are_mirrored(tiny: Dataset) -> None:
    ways = [facts(places={"femur": (x, 5, 5), "tibia": (20, 5, 5)}) for x in (5, 35, 5)]
    assert make_plan(tiny, prints(*ways)).augmentation.mirror_axes == [0]
    across = make_plan(
        tiny, prints(*[w.model_copy(update={"spacing_mm": (1, 4, 1)}) for w in ways]), PlanOptions(dimensions=2)
    )
    assert across.grid.axes == ("R", "S", "A")
    assert across.augmentation.mirror_axes == [0]
    sagittal = make_plan(
        tiny, prints(*[w.model_copy(update={"spacing_mm": (4, 1, 1)}) for w in ways]), PlanOptions(dimensions=2)
    )
    assert sagittal.grid.axes == ("A", "S", "R")
    assert sagittal.augmentation.mirror_axes == []


def test_along_a_series_patches_are_shifted_as_far_as_scans_leave_room(tmp_path: Path) -> None:
    spine = with_structures(tmp_path, list(make_structures(["L3", "L2", "L1"])))
    low, high = ({n: (8.0, 8.0, z + 12.0 * p) for p, n in enumerate(("L3", "L2", "L1"))} for z in (8.0, 16.0))
    scans = [facts((16, 16, 48), places=places) for places in (low, high, low)]  # 36 of 48 mm are vertebrae
    plan = make_plan(spine, prints(*scans))
    assert plan.patch.size == (16, 16, 48)
    assert plan.augmentation.shift == (0.08, 0.08, 0.125)  # 6 mm of 48
    assert any(
        "L3, L2, L1 look the same" in reason and "6 mm on either side" in reason for reason in plan.augmentation.why
    )
    assert plan.sequence is not None
    assert (plan.sequence.axis, plan.sequence.names) == (2, ["L3", "L2", "L1"])
    assert (plan.sequence.distance_mm, plan.sequence.volume_mm3) == (12, 9)
    roomy = [facts((16, 16, 96), places=low) for _ in range(3)]
    assert make_plan(spine, prints(*roomy)).augmentation.shift[2] == 0.25
    tight = [facts((16, 16, 36), places=low) for _ in range(3)]
    assert make_plan(spine, prints(*tight)).augmentation.shift[2] == 0.08


def test_of_two_series_the_plan_has_the_longest_and_names_the_other(tmp_path: Path) -> None:
    ribs = {f"rib_left_{n}": (4.0 + 3 * n, 2.0, 8.0) for n in (1, 2, 3)}  # along the first axis
    bodies = {f"L{n}": (8.0, 8.0, 44 - 9.0 * n) for n in (1, 2, 3, 4)}
    chest = with_structures(tmp_path, list(make_structures([*ribs, *bodies])))
    plan = make_plan(chest, prints(*[facts((16, 16, 48), places=ribs | bodies)] * 3))
    assert plan.sequence is not None
    assert (plan.sequence.axis, plan.sequence.names) == (2, ["L4", "L3", "L2", "L1"])
    assert any("rib_left_1 … rib_left_3 are a series along R, too" in reason for reason in plan.sequence.why)
    layout = output_layout(plan)
    assert (layout.class_of[:3], layout.members) == ((1, 2, 3), (6, 5, 4, 3))  # the ribs are classes


def with_structures(folder: Path, structures: list[Structure]) -> Dataset:
    labels = box((12, 8, 8), *[(s.value, (slice(2 * n, 2 * n + 2),)) for n, s in enumerate(structures)])
    image = np.random.default_rng(0).normal(0, 50, labels.shape).astype(np.int16)
    cases = {name: (image, labels, spacing_affine(1, 1, 1)) for name in "abc"}
    return write_dataset(folder, cases, structures)


def test_sides_that_swap_allow_a_mirror(tmp_path: Path) -> None:
    dataset = with_structures(tmp_path, [Structure(**s) for s in SIDES])
    assert make_plan(dataset, measure_fingerprint(dataset)).augmentation.mirror_axes == [0]
    one_side = with_structures(tmp_path / "one", list(make_structures(["femur_left", "skin"])))
    plan = make_plan(one_side, measure_fingerprint(one_side))
    assert plan.augmentation.mirror_axes == []
    assert any("femur_left has a side" in reason for reason in plan.augmentation.why)


def test_mirror_partners_are_positions() -> None:
    plan = tiny_plan({"structures": SIDES})
    assert plan.mirror_partners == [2, 1, 0]


# -- the file --------------------------------------------------------------------------------------------------------


def test_a_plan_comes_back_from_its_file(tmp_path: Path) -> None:
    plan = tiny_plan({"structures": SIDES, "grid.why": ["because"], "training.patience_epochs": 4})
    write_plan(tmp_path / "plan.yaml", plan)
    assert read_plan(tmp_path / "plan.yaml") == plan
    assert (tmp_path / "plan.yaml").read_text().startswith("# An osteon plan")


def test_numbers_as_people_write_them(tmp_path: Path) -> None:
    write_plan(tmp_path / "plan.yaml", tiny_plan())
    text = (tmp_path / "plan.yaml").read_text().replace("learning_rate: 0.003", "learning_rate: 1e-3")
    (tmp_path / "plan.yaml").write_text(text)
    assert read_plan(tmp_path / "plan.yaml").training.learning_rate == 1e-3


def test_a_missing_or_broken_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"plan\.yaml"):
        read_plan(tmp_path / "plan.yaml")
    (tmp_path / "plan.yaml").write_text("grid: [1,\n - 2")
    with pytest.raises(FileError, match="not valid YAML"):
        read_plan(tmp_path / "plan.yaml")
    for text in ("", "- a list\n", "just words"):
        (tmp_path / "plan.yaml").write_text(text)
        with pytest.raises(PlanError, match=r"plan\.yaml"):
            read_plan(tmp_path / "plan.yaml")


NAN, INF = float("nan"), float("inf")
ONE_LEFT = [SIDES[0], SIDES[1], {k: v for k, v in SIDES[2].items() if k != "counterpart"}]
NONSENSE: list[tuple[dict[str, Any], str]] = [
    ({"surprise": 1}, "surprise"),
    ({"unit": "inch"}, "unit"),
    ({"channels": []}, "channels"),
    ({"channels.0.modality": "photo"}, r"channels\.0\.modality"),
    ({"structures": []}, "structures"),
    ({"structures.0.value": 0}, r"structures\.0\.value"),
    ({"structures.0.value": 5}, "structure value given twice"),
    ({"structures.0.name": "tibia"}, "structure name given twice"),
    ({"structures.0.colour": "red"}, r"structures\.0\.colour"),
    ({"structures.0.counterpart": "arm"}, "structures: femur's counterpart arm"),
    ({"structures": ONE_LEFT}, "structures: femur_right's counterpart"),
    ({"overlapping": "perhaps"}, "overlapping"),
    ({"grid.dimensions": 4}, r"grid\.dimensions"),
    ({"grid.dimensions": 2}, r"patch\.size"),
    ({"grid.axes": ["R", "R", "S"]}, "grid: axes"),
    ({"grid.axes": ["R", "A", "X"]}, r"grid\.axes"),
    ({"grid.spacing_mm": [1, 0, 1]}, r"grid\.spacing_mm"),
    ({"grid.spacing_mm": [1, -1, 1]}, r"grid\.spacing_mm"),
    ({"grid.spacing_mm": [1, NAN, 1]}, r"grid\.spacing_mm"),
    ({"grid.spacing_mm": [1, INF, 1]}, r"grid\.spacing_mm"),
    ({"grid.spacing_mm": [1, 1]}, r"grid\.spacing_mm"),
    ({"grid.spacing_mm": "fine"}, r"grid\.spacing_mm"),
    ({"intensities": []}, "intensities"),
    ({"intensities.0.channel": "mr"}, r"intensities\.0\.channel"),
    ({"intensities.0.clip": [5, 5]}, r"intensities\.0: clip"),
    ({"intensities.0.clip": [5, NAN]}, r"intensities\.0\.clip"),
    ({"intensities.0.mean": None}, r"intensities\.0: mean"),
    ({"intensities.0.mean": NAN}, r"intensities\.0\.mean"),
    ({"intensities.0.std": 0}, r"intensities\.0\.std"),
    ({"patch.size": [9, 8, 8]}, r"patch\.size: axis 0"),
    ({"patch.size": [0, 8, 8]}, r"patch\.size"),
    ({"patch.size": [2, 2, 2]}, r"patch\.size"),
    ({"patch.size": [8.5, 8, 8]}, r"patch\.size"),
    ({"patch.batch": 0}, r"patch\.batch"),
    ({"network.features": [4]}, r"network\.features"),
    ({"network.features": [4, 6, 8]}, "network: strides"),
    ({"network.features": [4, 0]}, r"network\.features"),
    ({"network.strides": [[2, 2, 2], [2, 2, 2]]}, "network: strides"),
    ({"network.strides": [[1, 1, 1], [3, 2, 2]]}, r"patch\.size: axis 0"),
    ({"network.strides": [[1, 1, 1], [0, 2, 2]]}, r"network\.strides"),
    ({"network.kernels": [[3, 3, 3]]}, "network: kernels"),
    ({"network.kernels": [[3, 3, 3], [2, 3, 3]]}, "network: kernels"),
    ({"network.deep_supervision": 0}, r"network\.deep_supervision"),
    ({"network.residual": "very"}, r"network\.residual"),
    ({"network.depth": 5}, r"network\.depth"),
    ({"training.optimiser": "lion"}, r"training\.optimiser"),
    ({"training.learning_rate": 0}, r"training\.learning_rate"),
    ({"training.learning_rate": NAN}, r"training\.learning_rate"),
    ({"training.learning_rate": "fast"}, r"training\.learning_rate"),
    ({"training.weight_decay": -1}, r"training\.weight_decay"),
    ({"training.weight_decay": INF}, r"training\.weight_decay"),
    ({"training.momentum": 2}, r"training\.momentum"),
    ({"training.warm_up": 1.5}, r"training\.warm_up"),
    ({"training.clip_gradient": 0}, r"training\.clip_gradient"),
    ({"training.ema": 1}, r"training\.ema"),
    ({"training.foreground_share": -0.1}, r"training\.foreground_share"),
    ({"training.epoch_iterations": 0}, r"training\.epoch_iterations"),
    ({"training.epochs": 2.5}, r"training\.epochs"),
    ({"training.patience_epochs": 0}, r"training\.patience_epochs"),
    ({"training.precision": "fp8"}, r"training\.precision"),
    ({"training.schedule": "never"}, r"training\.schedule"),
    ({"augmentation.mirror_axes": [3]}, r"augmentation\.mirror_axes"),
    ({"augmentation.mirror_axes": [0, 0]}, "augmentation: mirror_axes"),
    ({"augmentation.affine_p": 1.2}, r"augmentation\.affine_p"),
    ({"augmentation.rotate_degrees": [0, 0, NAN]}, r"augmentation\.rotate_degrees"),
    ({"augmentation.scale": [0, 1]}, r"augmentation\.scale"),
    ({"augmentation.scale": [1.2, 0.8]}, r"augmentation\.scale"),
    ({"augmentation.shift": 0.6}, r"augmentation\.shift"),
    ({"grid.drop_slices": [0, 3]}, r"grid: drop_slices: only a 2D plan"),
    (
        {"series": {"axis": 2, "names": ["femur", "tibia", "ulna"], "distance_mm": 30, "volume_mm3": 9}},
        r"series\.names: ulna is not a structure",
    ),
    ({"augmentation.noise_std": INF}, r"augmentation\.noise_std"),
    ({"augmentation.blur_sigma": [0, 1]}, r"augmentation\.blur_sigma"),
    ({"augmentation.brightness": [1.3, 0.7]}, r"augmentation\.brightness"),
    ({"augmentation.offset": [0, NAN]}, r"augmentation\.offset"),
    ({"augmentation.offset": [1, -1]}, r"augmentation\.offset"),
    ({"augmentation.contrast": [-1, 1]}, r"augmentation\.contrast"),
    ({"augmentation.low_resolution": [0.5, 2]}, r"augmentation\.low_resolution"),
    ({"augmentation.gamma": [1.5, 0.7]}, r"augmentation\.gamma"),
    ({**FLAT, "augmentation.mirror_axes": [2]}, r"augmentation\.mirror_axes"),
    ({**FLAT, "augmentation.rotate_degrees": [9, 0, 0]}, r"augmentation\.rotate_degrees"),
    ({**FLAT, "network.strides": [[1, 1, 1], [2, 2, 2]]}, r"patch\.size"),
]


@pytest.mark.parametrize(("changes", "key"), NONSENSE, ids=[str(n) + " " + key for n, (_, key) in enumerate(NONSENSE)])
def test_nonsense_is_refused_by_the_name_of_its_key(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(PlanError, match=key) as caught:
        parse_plan(plan_data(changes), Path("plan.yaml"))
    assert "plan.yaml" in caught.value.message
    assert "osteon plan" in caught.value.hint


def test_fields_have_their_own_keys_in_files(tmp_path: Path) -> None:
    """`patch.scale` is `room` in plan.yaml, and `sequence` is `series`, as earlier versions wrote them."""
    structures = [*plan_data()["structures"], {"name": "third", "value": 7, "colour": "#0000ff"}]
    names = [structure["name"] for structure in structures]
    row = {"axis": 2, "names": names, "distance_mm": 12.0, "volume_mm3": 512.0}
    plan = parse_plan(plan_data({"structures": structures, "series": row, "patch.room": 2.0}), tmp_path)
    assert plan.sequence is not None
    assert (plan.patch.scale, plan.sequence.names) == (2.0, names)
    write_plan(tmp_path / "plan.yaml", plan)
    text = (tmp_path / "plan.yaml").read_text()
    assert ("room: 2.0" in text, "series:" in text, "scale: 2.0" in text, "sequence:" in text) == (1, 1, 0, 0)
    assert read_plan(tmp_path / "plan.yaml") == plan
    assert overlay(plan, {"patch.room": 1.0, "series": None}).sequence is None


@pytest.mark.parametrize("section", list(PLAN))
def test_a_missing_key_is_named(section: str) -> None:
    data = plan_data()
    del data[section]
    with pytest.raises(PlanError, match=section):
        parse_plan(data, Path("plan.yaml"))


# -- the cache's key -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"grid.why": ["of late"]},
        {"intensities.0.why": ["of late"]},
        {"structures.0.colour": "#123456"},
        {"training.learning_rate": 1.0},
        {"network.features": [8, 8]},
        {"patch.size": [16, 8, 8]},
        {"augmentation.affine_p": 0.5},
        {"dataset": "renamed"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_cache_survives_what_does_not_concern_it(changes: dict[str, Any]) -> None:
    assert tiny_plan(changes).cache_key == tiny_plan().cache_key


@pytest.mark.parametrize(
    "changes",
    [
        {"grid.spacing_mm": [1, 1, 1.01]},
        {"grid.axes": ["A", "R", "S"]},
        {"grid.resample_last": False},
        {"intensities.0.clip": [-100, 301]},
        {"intensities.0.mean": 99},
        {"structures": [PLAN["structures"][1], PLAN["structures"][0]]},
        {"overlapping": True},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_cache_is_made_anew_for_what_concerns_it(changes: dict[str, Any]) -> None:
    assert tiny_plan(changes).cache_key != tiny_plan().cache_key
