"""Patches: which are drawn, and that they hold what the scan holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import FLAT, box, tiny_plan, two_boxes, write_dataset
from osteon.preparing.cache import CachedCase, prepare_cases
from osteon.training.sampling import PatchDraw, PatchSampler, copy_patch


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[CachedCase]:
    shapes = {"a": (20, 18, 16), "b": (14, 6, 9), "c": (30, 10, 8)}
    dataset = write_dataset(
        tmp_path_factory.mktemp("cohort"),
        {name: two_boxes(shape, seed=n) for n, (name, shape) in enumerate(shapes.items())},
        annotated={"b": ["femur"]},
    )
    return list(prepare_cases(dataset, tiny_plan(), dataset.manifest.trainable)[0].values())


def test_the_same_seed_and_iteration_give_the_same_patches(cases: list[CachedCase]) -> None:
    one, two = (PatchSampler(cases, tiny_plan(), 7) for _ in range(2))
    for iteration in (0, 5, 3):
        first, second = one.read(iteration), two.read(iteration)
        assert torch.equal(first.image, second.image)
        assert torch.equal(first.labels, second.labels)
        assert one.draw(iteration) == two.draw(iteration)
    assert [one.draw(n) for n in range(8)] != [PatchSampler(cases, tiny_plan(), 8).draw(n) for n in range(8)]
    assert one.draw(0) != one.draw(3)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_every_case_is_seen_equally_often(cases: list[CachedCase], batch: int) -> None:
    sampler = PatchSampler(cases, tiny_plan({"patch.batch": batch}), 0)
    seen = [draw.case for n in range(30 // batch) for draw in sampler.draw(n)]
    assert set(Counter(seen).values()) == {10}
    rounds = [tuple(seen[n : n + 3]) for n in range(0, 30, 3)]
    assert all(sorted(round_) == [0, 1, 2] for round_ in rounds)
    assert len(set(rounds)) > 2


def origins(cases: list[CachedCase], share: float, count: int = 300, batch: int = 2) -> list[tuple[int, np.ndarray]]:
    sampler = PatchSampler(cases, tiny_plan({"training.foreground_share": share, "patch.batch": batch}), 1)
    return [(draw.case, np.array(draw.origin)) for n in range(count) for draw in sampler.draw(n)]


def centred(case: CachedCase, origin: np.ndarray, structure: int) -> bool:
    """Whether the patch's centre, moved back into the scan where it was pushed in, may lie in the structure."""
    rows = case.foreground[case.foreground[:, 0] == structure][:, 1:]
    ends = np.array(case.image.shape[1:]) - 8
    wanted = np.where(ends > 0, (rows - 4).clip(0, ends.clip(0)), -((-ends) // 2))
    return bool((wanted == origin).all(1).any())


def test_the_foreground_share_is_kept_and_structures_take_turns(cases: list[CachedCase]) -> None:
    small = [cases[2]]  # 30 voxels along i: a patch shows one structure or the other
    assert all(centred(small[0], o, 0) or centred(small[0], o, 1) for _, o in origins(small, 1.0))
    ways = Counter(bool(o[0] < 10) for _, o in origins(small, 1.0))
    assert 0.4 < ways[True] / 600 < 0.6
    spread = Counter(int(o[0]) for _, o in origins(small, 0.0))
    assert set(spread) == set(range(23))  # every place along i that a patch of 8 fits at
    assert max(spread.values()) < 3 * 600 / 23


@pytest.mark.parametrize("share", [0.0, 1 / 3, 1.0])
def test_so_many_patches_lie_around_a_structure(tmp_path: Path, share: float) -> None:
    labels = box((24, 24, 24), (3, [slice(12, 13)] * 3), (5, [slice(20, 21)] * 3))
    image = np.random.default_rng(0).normal(0, 50, labels.shape).astype(np.int16)
    dataset = write_dataset(tmp_path, {"a": (image, labels, np.eye(4))})
    ready = list(prepare_cases(dataset, tiny_plan(), dataset.manifest.trainable)[0].values())
    places = Counter(tuple(origin.tolist()) for _, origin in origins(ready, share))
    femur, tibia = places[8, 8, 8] / 600, places[16, 16, 16] / 600
    assert femur + tibia == pytest.approx(share, abs=0.06)
    assert femur == pytest.approx(tibia, abs=0.08)


def test_a_patch_holds_what_the_scan_holds(cases: list[CachedCase]) -> None:
    sampler = PatchSampler(cases, tiny_plan(), 2)
    for iteration in range(20):
        batch = sampler.read(iteration)
        assert batch.iteration == iteration
        assert (batch.image.dtype, batch.labels.dtype) == (torch.float32, torch.int64)
        for number, draw in enumerate(sampler.draw(iteration)):
            case = cases[draw.case]
            wide_image = np.pad(np.asarray(case.image, dtype=np.float32), [(0, 0), *[(9, 9)] * 3], mode="edge")
            wide_labels = np.pad(np.asarray(case.labels), 9, mode="edge")
            at = tuple(slice(9 + o, 17 + o) for o in draw.origin)
            assert np.array_equal(batch.image[number], wide_image[(slice(None), *at)])
            assert np.array_equal(batch.labels[number], wide_labels[at])
            assert batch.annotated[number].tolist() == [True, draw.case != 1]
            inside = [min(o + 8, n) - max(o, 0) for o, n in zip(draw.origin, case.labels.shape, strict=True)]
            assert inside == [min(8, n) for n in case.labels.shape]  # never further out than needed


def test_a_scan_smaller_than_the_patch_lies_in_its_middle(cases: list[CachedCase]) -> None:
    sampler = PatchSampler([cases[1]], tiny_plan({"patch.size": [16, 16, 16]}), 0)
    assert {draw.origin for n in range(9) for draw in sampler.draw(n)} == {(-1, -5, -3)}
    image = sampler.read(0).image[0, 0]
    inside = np.asarray(cases[1].image, dtype=np.float32)[0]
    before, after = (1, 5, 3), [16 - n - b for n, b in zip(inside.shape, (1, 5, 3), strict=True)]
    assert np.array_equal(image, np.pad(inside, list(zip(before, after, strict=True)), mode="edge"))


def test_slices_are_drawn_from_all_of_a_volume(cases: list[CachedCase]) -> None:
    sampler = PatchSampler([cases[0]], tiny_plan({**FLAT, "training.foreground_share": 0.0}), 0)
    assert {draw.origin[2] for n in range(100) for draw in sampler.draw(n)} == set(range(16))
    assert sampler.read(0).image.shape == (2, 1, 8, 8, 1)


def test_multi_hot_labels_are_floats(tmp_path: Path) -> None:
    image, labels, affine = two_boxes()
    both = np.stack([labels > 0, labels == 5]).astype(np.uint8)
    dataset = write_dataset(tmp_path, {"a": (image, both, affine)}, overlapping=True)
    plan = tiny_plan({"overlapping": True})
    ready = prepare_cases(dataset, plan, dataset.manifest.trainable)[0]
    sampler = PatchSampler(list(ready.values()), plan, 0)
    batch, draw = sampler.read(0), sampler.draw(0)[0]
    assert (batch.labels.dtype, tuple(batch.labels.shape)) == (torch.float32, (2, 2, 8, 8, 8))
    at = tuple(slice(o, o + 8) for o in draw.origin)
    assert np.array_equal(batch.labels[0], both[(slice(None), *at)])


def test_beyond_the_edge_the_outermost_voxels_repeat() -> None:
    source = np.arange(27).reshape(3, 3, 3)
    target = np.full((2, 2, 5), -1)
    copy_patch(source, (2, -1, -1), target)
    assert (target == [18, 18, 19, 20, 20]).all()
    target[:] = 0
    copy_patch(source, (2, -1, -1), target, repeat=False)
    assert target.tolist() == [[[0] * 5, [0, 18, 19, 20, 0]], [[0] * 5, [0] * 5]]


def test_in_nnunets_way_nothing_is_beyond_the_edge(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, {"a": two_boxes((4, 4, 4))})
    plan = tiny_plan({"grid.nnunet": {}})
    batch = PatchSampler(list(prepare_cases(dataset, plan, dataset.manifest.trainable)[0].values()), plan, 0).read(0)
    assert not batch.image[..., 0].any()
    assert not batch.labels[..., 0].any()
    assert batch.image[0, 0, 2:6, 2:6, 2:6].all()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_dropped_slices_are_never_drawn(tmp_path: Path, share: float) -> None:
    dataset = write_dataset(tmp_path, {"a": two_boxes((12, 10, 14))})
    plan = tiny_plan({**FLAT, "grid.drop_slices": [None, 3], "training.foreground_share": share})
    sampler = PatchSampler(list(prepare_cases(dataset, plan, dataset.manifest.trainable)[0].values()), plan, 0)
    drawn = Counter(draw.origin[2] for n in range(200) for draw in sampler.draw(n))
    assert min(drawn) >= 3
    if share == 0:
        assert set(drawn) == set(range(3, 14))


def near(count: int, draws: int, share: float) -> bool:
    """Within four standard deviations of what `share` of the draws gives."""
    return abs(count - draws * share) <= 4 * (draws * share * (1 - share)) ** 0.5


def dots(*where: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A scan of 10 × 10 × 10 voxels with single voxels: (value, slice)."""
    labels = box((10, 10, 10), *((value, [slice(5, 6), slice(5, 6), slice(k, k + 1)]) for value, k in where))
    return np.random.default_rng(0).normal(0, 50, labels.shape).astype(np.int16), labels, np.eye(4)


def drawn(folder: Path, changes: dict, where: dict[str, list[tuple[int, int]]], draws: int = 2000) -> list[PatchDraw]:
    dataset = write_dataset(folder, {name: dots(*places) for name, places in where.items()})
    plan = tiny_plan({**FLAT, "patch.batch": 20, "sampling": {}, **changes})
    sampler = PatchSampler(list(prepare_cases(dataset, plan, dataset.manifest.trainable)[0].values()), plan, 5)
    return [draw for n in range(draws // 20) for draw in sampler.draw(n)]


@pytest.mark.parametrize("weights", ["case", "rare"])
def test_the_foreground_share_holds_over_cases_that_show_nothing(tmp_path: Path, weights: str) -> None:
    where = {"a": [(3, 4)], "b": [], "c": [], "d": []}
    found = drawn(tmp_path, {"training.foreground_share": 0.5, "sampling.weights": weights}, where)
    shown = sum(draw.case == 0 and draw.origin[2] == 4 for draw in found)
    assert near(shown, 2000, 0.5 + 0.5 / 4 / 10)  # and the share that plain drawing gives
    plain = drawn(tmp_path, {"training.foreground_share": 0.0, "sampling.weights": weights}, where)
    assert near(sum(draw.case == 0 and draw.origin[2] == 4 for draw in plain), 2000, 1 / 40)
    assert all(near(count, 2000, 1 / 4) for count in Counter(draw.case for draw in plain).values())


def test_rare_structures_are_drawn_more_often_and_slices_alike(tmp_path: Path) -> None:
    # Three slices show the femur, two of them in case a; one shows the tibia: 1/3 against 1.
    where = {"a": [(3, 1), (3, 7)], "b": [(3, 4)], "c": [(5, 6)]}
    found = drawn(tmp_path, {"training.foreground_share": 1.0, "sampling.weights": "rare"}, where)
    seen = Counter((draw.case, draw.origin[2]) for draw in found)
    assert set(seen) == {(0, 1), (0, 7), (1, 4), (2, 6)}
    assert near(seen[2, 6], 2000, 3 / 4)
    assert all(near(seen[view], 2000, 1 / 12) for view in ((0, 1), (0, 7), (1, 4)))


def test_in_3d_cases_are_counted_not_slices(tmp_path: Path) -> None:
    flat = {key: tiny_plan().model_dump(mode="json")["network"][key.split(".")[1]] for key in FLAT if "network" in key}
    volume = {"grid.dimensions": 3, "grid.resample_last": True, "patch.size": [8, 8, 2], **flat}
    volume["network.strides"] = [[1, 1, 1], [2, 2, 2]]
    where = {"a": [(3, 1), (3, 7)], "b": [(3, 4)], "c": [(5, 6)]}
    changes = {**volume, "training.foreground_share": 1.0, "sampling.weights": "rare"}
    seen = Counter(draw.case for draw in drawn(tmp_path, changes, where))
    assert near(seen[2], 2000, 2 / 3)  # two cases show the femur, one the tibia
    assert near(seen[0], 2000, 1 / 6)


@pytest.mark.parametrize(
    ("weights", "tibia"), [({"tibia": 3.0}, 3 / 4), ({"femur": 0.0}, 1.0), ({"femur": 3.0}, 1 / 4)]
)
def test_structures_are_drawn_by_their_own_weights(tmp_path: Path, weights: dict[str, float], tibia: float) -> None:
    where = {"a": [(3, 1), (3, 7)], "b": [(3, 4)], "c": [(5, 6)]}
    found = drawn(tmp_path, {"training.foreground_share": 1.0, "sampling.weights": weights}, where)
    assert near(sum(draw.case == 2 for draw in found), 2000, tibia)


def test_no_structure_at_all_gives_patches_anywhere(tmp_path: Path) -> None:
    for weights in ("case", "rare"):
        found = drawn(
            tmp_path, {"training.foreground_share": 1.0, "sampling.weights": weights}, {"a": [], "b": []}, 200
        )
        assert {draw.origin[2] for draw in found} == set(range(10))


def test_drawing_goes_on_where_it_stopped(tmp_path: Path) -> None:
    where = {"a": [(3, 1), (5, 7)], "b": [], "c": [(5, 6)]}
    dataset = write_dataset(tmp_path, {name: dots(*places) for name, places in where.items()})
    for weights in ("case", "rare", {"femur": 2.0}):
        plan = tiny_plan({**FLAT, "sampling": {"weights": weights}, "zoom": {"structures": ["tibia"], "share": 0.5}})
        ready = list(prepare_cases(dataset, plan, dataset.manifest.trainable)[0].values())
        whole = PatchSampler(ready, plan, 3)
        before = [whole.draw(n) for n in range(30)]
        again = PatchSampler(ready, plan, 3)
        assert [again.draw(n) for n in range(20, 30)] == before[20:]
        assert torch.equal(again.read(25).image, whole.read(25).image)


@pytest.mark.parametrize("weights", ["case", "rare"])
def test_some_cases_have_their_turn_more_often(cases: list[CachedCase], weights: str) -> None:
    plan = tiny_plan({"sampling": {"weights": weights}, "training.foreground_share": 1.0})
    plain, often = PatchSampler(cases, plan, 0), PatchSampler(cases, plan, 0, {"b": 4})
    assert PatchSampler(cases, plan, 0, {}).draw(3) == plain.draw(3)
    seen = Counter(draw.case for n in range(300) for draw in often.draw(n))
    if weights == "case":
        assert seen == {0: 100, 1: 400, 2: 100}
    else:  # four of six views of either structure
        assert 0.6 < seen[1] / 600 < 0.73
