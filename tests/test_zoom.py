"""Enlarged crops around small structures: kept finely, drawn as patches, and looked at again in predicting."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from helpers import FLAT, box, tiny_plan, write_dataset
from osteon.core.boxes import Box, component_boxes, crops_around
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.plan.schema import Plan
from osteon.predicting.model import Model
from osteon.predicting.zoom import MAX_PIECES, rim_weights
from osteon.preparing.cache import CachedCase, prepare_cases
from osteon.training.sampling import PatchSampler
from osteon.training.validation import validate
from runs import CPU, cohort, learning_plan

ZOOM: dict[str, Any] = {"structures": ["tibia"], "factor": 2.0, "share": 0.5, "margin_mm": 2.0}
SHAPE = (48, 40, 40)
TURNS = {
    "RAS": np.diag([0.5, 0.5, 0.5, 1.0]),
    "PSL": np.array([[0, 0, -0.5, 9], [-0.5, 0, 0, 5], [0, 0.5, 0, -3], [0, 0, 0, 1]]),
}
BRIGHT = {0: 0, 3: -100, 5: 100}


def scan(*boxes: tuple[int, list[slice]], shape: tuple[int, ...] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """An image of 0, the femur (3) at −100 and the tibia (5) at 100; its labels."""
    labels = box(shape, *boxes)
    return np.vectorize(BRIGHT.get)(labels).astype(np.int16), labels


def plate() -> tuple[np.ndarray, np.ndarray]:
    """A femur, and a tibia of a block with a plate that is one voxel of the scan thick: half of one of the plan."""
    femur = (3, [slice(4, 12), slice(6, 30), slice(8, 30)])
    block = (5, [slice(24, 32), slice(18, 26), slice(16, 24)])
    thin = (5, [slice(32, 38), slice(18, 26), slice(19, 20)])
    return scan(femur, block, thin)


def zoom_plan(changes: dict[str, Any] | None = None, **zoom: Any) -> Plan:
    return tiny_plan({**(changes or {}), "zoom": {**ZOOM, **zoom}})


def flat_scan() -> tuple[np.ndarray, np.ndarray]:
    """Four slices; the third shows a tibia of 6 × 6 pixels, and a line of one pixel beside it."""
    boxes = [
        (3, [slice(4, 12), slice(6, 30), slice(1, 4)]),
        (5, [slice(24, 30), slice(18, 24), slice(2, 3)]),
        (5, [slice(30, 36), slice(20, 21), slice(2, 3)]),
    ]
    return scan(*boxes, shape=(48, 40, 4))


FLAT_GRID = {**FLAT, "grid.spacing_mm": [1.0, 1.0, 3.0]}
FLAT_AFFINE = np.diag([0.5, 0.5, 3.0, 1.0])


def test_boxes_by_hand() -> None:
    mask = box((10, 10, 10), (1, [slice(1, 3)] * 3), (1, [slice(3, 4)] * 3), (1, [slice(7, 8)] * 3)) > 0
    assert component_boxes(mask) == [Box((1, 1, 1), (4, 4, 4)), Box((7, 7, 7), (8, 8, 8))]  # the corner connects
    assert Box((1, 4, 8), (2, 6, 10)).expand((2, 1, 3), (10, 10, 10)) == Box((0, 3, 5), (4, 7, 10))
    assert Box((1, 4, 8), (2, 6, 10)).grow_to((5, 5, 5), (10, 10, 4)).shape == (5, 5, 4)
    assert Box((0, 4, 9), (1, 5, 10)).grow_to((5, 5, 5), (10, 10, 10)) == Box((0, 2, 5), (5, 7, 10))


def test_two_crops_become_one_where_that_costs_no_more() -> None:
    near, far = [Box((n, 0, 0), (n + 2, 4, 4)) for n in (0, 3)], [Box((n, 0, 0), (n + 2, 4, 4)) for n in (0, 20)]
    one = crops_around(near, (1, 1, 1), (1, 1, 1), (30, 4, 4))
    assert [(crop.tight, crop.wide) for crop in one] == [(Box((0, 0, 0), (5, 4, 4)), Box((0, 0, 0), (6, 4, 4)))]
    assert [crop.wide.first[0] for crop in crops_around(far, (1, 1, 1), (1, 1, 1), (30, 4, 4))] == [0, 19]


@pytest.mark.parametrize("turn", list(TURNS))
@pytest.mark.parametrize("overlapping", [False, True])
def test_a_crop_shows_the_structure_twice_as_large_and_its_labels_fit(
    tmp_path: Path, turn: str, overlapping: bool
) -> None:
    image, labels = scan((3, [slice(4, 12)] * 3), (5, [slice(24, 32)] * 3))
    if overlapping:
        labels = np.stack([labels == 3, labels == 5]).astype(np.uint8)
    dataset = write_dataset(tmp_path, {"a": (image, labels, TURNS[turn])}, overlapping=overlapping)
    plan = zoom_plan({"overlapping": overlapping})
    case = prepare_cases(dataset, plan, dataset.manifest.trainable)[0]["a"]
    tibia = case.labels[1] if overlapping else case.labels == 2
    assert tibia.sum() == 4**3
    (crop,) = case.zoomed
    fine = crop.labels[1] if overlapping else crop.labels == 2
    assert fine.sum() == 8**3
    assert crop.labels.shape[-3:] == (16, 16, 16)  # 8 voxels of the scan and 4 on either side: more than a patch
    where = np.argwhere(fine)
    assert (where.min(0) == 4).all()
    assert (where.max(0) == 11).all()
    expected = (100.0 * fine - 100.0 * ((crop.labels[0] if overlapping else crop.labels == 1) > 0) - 100) / 50
    np.testing.assert_array_equal(crop.image[0], expected)
    assert set(crop.foreground[:, 0]) == {1}  # none around the femur
    assert crop.present == (1,)
    assert (crop.labels[1] > 0 if overlapping else crop.labels == 2)[tuple(crop.foreground[:, 1:].T)].all()


def test_slices_are_enlarged_within_themselves(tmp_path: Path) -> None:
    image, labels = flat_scan()
    dataset = write_dataset(tmp_path, {"a": (image, labels, FLAT_AFFINE)})
    plan = zoom_plan({**FLAT_GRID, "grid.drop_slices": [0, 1]}, margin_mm=3.0)
    case = prepare_cases(dataset, plan, dataset.manifest.trainable)[0]["a"]
    (crop,) = case.zoomed
    assert crop.labels.shape == (24, 18, 3)  # 12 and 6 on either side, 6 and 6; 1 slice and its neighbours
    assert (crop.labels == 2).sum() == 42
    assert set(crop.foreground[:, 3]) == {1}
    gone = zoom_plan({**FLAT_GRID, "grid.drop_slices": [2, 3]})
    assert [c.present for c in prepare_cases(dataset, gone, dataset.manifest.trainable)[0]["a"].zoomed] == [()]


def test_a_crop_is_normalised_as_the_whole_scan(tmp_path: Path) -> None:
    image, labels = plate()
    dataset = write_dataset(tmp_path, {"a": (image, labels, TURNS["RAS"])})
    own = {"intensities": [{"channel": "ct"}]}
    case = prepare_cases(dataset, zoom_plan(own), dataset.manifest.trainable)[0]["a"]
    coarse = np.asarray(case.image, dtype=np.float32)
    assert coarse.mean() == pytest.approx(0, abs=1e-3)
    (crop,) = case.zoomed
    assert crop.image.max() == pytest.approx(coarse[0, 13, 11, 9], abs=2e-3)  # inside the block, both times
    assert crop.image.min() == pytest.approx(coarse[0, 0, 0, 0], abs=2e-3)  # the background
    assert abs(float(np.asarray(crop.image, dtype=np.float32).mean())) > 0.1


def test_other_zooms_are_other_caches_and_none_is_the_old_one() -> None:
    assert tiny_plan().cache_key == "24743055da9d"
    keys = [zoom_plan(**change).cache_key for change in ({}, {"factor": 3.0}, {"margin_mm": 1.0})]
    assert len({*keys, tiny_plan().cache_key}) == 4
    assert zoom_plan(share=0.1, predict=False).cache_key == keys[0]
    assert zoom_plan({"patch.size": [16, 8, 8]}).cache_key != keys[0]


def test_a_lost_crop_is_made_again(tmp_path: Path) -> None:
    dataset, plan = cohort(tmp_path, 1), zoom_plan()
    (crop,) = prepare_cases(dataset, plan, dataset.manifest.trainable)[0]["c0"].zoomed
    image = np.array(crop.image)
    (crop.folder / f"{crop.id}.image.npy").unlink()
    assert np.array_equal(prepare_cases(dataset, plan, dataset.manifest.trainable)[0]["c0"].zoomed[0].image, image)


def cases_with_crops(folder: Path) -> tuple[list[CachedCase], Plan]:
    """Two scans with a tibia, two without."""
    some = {name: plate() for name in "ac"} | {name: scan((3, [slice(4, 12)] * 3)) for name in "bd"}
    dataset = write_dataset(folder, {name: (*pair, TURNS["RAS"]) for name, pair in sorted(some.items())})
    plan = zoom_plan({"patch.batch": 20, "training.foreground_share": 1.0})
    return list(prepare_cases(dataset, plan, dataset.manifest.trainable)[0].values()), plan


def test_so_many_patches_are_enlarged(tmp_path: Path) -> None:
    cases, plan = cases_with_crops(tmp_path)
    sampler = PatchSampler(cases, plan, 1)
    drawn = [draw for n in range(100) for draw in sampler.draw(n)]
    zoomed = Counter(draw.case for draw in drawn if draw.crop is not None)
    assert set(zoomed) == {0, 2}
    assert abs(sum(zoomed.values()) - 1000) <= 4 * 500**0.5
    assert abs(zoomed[0] - zoomed[2]) <= 4 * 1000**0.5
    iteration = next(n for n in range(9) if sampler.draw(n)[0].crop is not None)
    draw, batch = sampler.draw(iteration)[0], sampler.read(iteration)
    at = tuple(slice(o, o + 8) for o in draw.origin)
    crop = cases[draw.case].zoomed[0]
    assert np.array_equal(batch.labels[0], crop.labels[at])
    assert np.array_equal(batch.image[0], np.asarray(crop.image, dtype=np.float32)[(slice(None), *at)])
    for draw in drawn:
        if draw.crop is not None:
            labels = cases[draw.case].zoomed[0].labels
            ends = [o + 8 <= n and o >= 0 for o, n in zip(draw.origin, labels.shape, strict=True)]
            assert all(ends)
            assert (labels[tuple(slice(o, o + 8) for o in draw.origin)] == 2).any()


class Threshold(nn.Module):
    """A network that takes what is brighter than 50 for tibia, and darker than −50 for femur.

    Where structures overlap the femur holds the tibia.
    """

    def __init__(self, *, overlapping: bool) -> None:
        super().__init__()
        self.overlapping = overlapping
        self.weight = nn.Parameter(torch.tensor(50.0))
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        self.seen.append(tuple(image.shape[2:]))
        tibia, femur = self.weight * (image + 1), -self.weight * (image + 3)
        if self.overlapping:
            return [torch.cat([torch.maximum(femur, tibia), tibia], 1)]
        return [torch.cat([torch.zeros_like(tibia), femur, tibia], 1)]


def segmented(image: np.ndarray, affine: np.ndarray, plan: Plan, seen: list[Any] | None = None) -> np.ndarray:
    network = Threshold(overlapping=plan.overlapping)
    found = Model(network, plan, {}, "").segment(Volume(image[None], Geometry(image.shape, affine)))  # type: ignore[arg-type]
    if seen is not None:
        seen += network.seen
    return found.segmentation.array


@pytest.mark.parametrize("turn", list(TURNS))
@pytest.mark.parametrize("overlapping", [False, True])
def test_a_plate_thinner_than_the_plans_voxel_is_found_by_a_closer_look(turn: str, overlapping: bool) -> None:
    image, labels = plate()
    truth = np.stack([labels > 0, labels == 5]) if overlapping else labels
    kind = {"overlapping": overlapping}
    thin = np.zeros(labels.shape, dtype=bool)
    thin[33:38] = labels[33:38] == 5  # what touches the block lights up with it

    def tibia(plan: Plan) -> np.ndarray:
        found = segmented(image, TURNS[turn], plan)
        return found[1] > 0 if overlapping else found == 5

    assert not tibia(tiny_plan(kind))[thin].any()
    assert not tibia(zoom_plan(kind, predict=False))[thin].any()
    found = segmented(image, TURNS[turn], zoom_plan(kind, margin_mm=8.0))
    inside = (..., slice(18, 42), slice(10, 34), slice(8, 32))  # the crop without its rim
    assert np.array_equal(found[inside], truth[inside])


def test_a_line_in_a_slice_is_found_by_a_closer_look() -> None:
    image, labels = flat_scan()
    line = (slice(31, 36), 20, 2)
    assert not (segmented(image, FLAT_AFFINE, tiny_plan(FLAT_GRID))[line] == 5).any()
    found = segmented(image, FLAT_AFFINE, zoom_plan(FLAT_GRID, margin_mm=8.0))
    assert (found[line] == 5).all()
    assert np.array_equal(found[18:, :, 2], labels[18:, :, 2])


def test_away_from_the_crop_nothing_changes() -> None:
    image, _ = plate()
    without, with_ = (segmented(image, TURNS["RAS"], plan) for plan in (tiny_plan(), zoom_plan(margin_mm=2.0)))
    assert np.array_equal(without[:16], with_[:16])
    assert (without != with_).any()


def test_what_is_not_found_first_is_not_looked_for() -> None:
    image, _ = scan((3, [slice(4, 12)] * 3), (5, [slice(30, 38), slice(8, 16), slice(19, 20)]))
    assert patches_of(image, zoom_plan()) == patches_of(image, tiny_plan())
    assert not (segmented(image, TURNS["RAS"], zoom_plan()) == 5).any()


def patches_of(image: np.ndarray, plan: Plan) -> list[Any]:
    seen: list[Any] = []
    segmented(image, TURNS["RAS"], plan, seen)
    return seen


def test_what_fills_the_scan_is_no_small_structure() -> None:
    image, _ = scan((5, [slice(0, 48), slice(0, 40), slice(0, 40)]))
    assert patches_of(image, zoom_plan()) == patches_of(image, tiny_plan())


def test_specks_all_over_a_scan_do_not_take_hours() -> None:
    boxes = [(5, [slice(i, i + 4), slice(j, j + 4), slice(16, 20)]) for i in range(0, 48, 8) for j in range(0, 40, 8)]
    small = {"patch.size": [4, 4, 4]}
    image, _ = scan(*boxes)
    passes = len(patches_of(image, zoom_plan(small, margin_mm=0.0))) - len(patches_of(image, tiny_plan(small)))
    assert passes == MAX_PIECES < len(boxes)


def test_the_rim_falls_where_the_scan_goes_on() -> None:
    weights = rim_weights(Box((0, 2, 0), (4, 6, 2)), (4, 10, 3), (1.0, 0.5, 1.0), 1.0)
    assert weights[0, :, 0].tolist() == [0.25, 0.75, 0.75, 0.25]
    assert weights[3, 1].tolist() == [0.75, 0.375]
    assert (rim_weights(Box((1, 1, 1), (3, 3, 3)), (9, 9, 9), (1.0, 1.0, 1.0), 0.0) == 1).all()


def test_validation_during_training_takes_the_first_look_alone(tmp_path: Path) -> None:
    dataset = cohort(tmp_path, 1)
    network = Threshold(overlapping=False)
    cases = list(prepare_cases(dataset, zoom_plan(), dataset.manifest.trainable)[0].values())
    validate(network, cases, tiny_plan())
    first = len(network.seen)
    validate(network, cases, zoom_plan())
    assert len(network.seen) == 2 * first


def test_a_run_with_zoom_trains_and_validates(tmp_path: Path) -> None:
    from dataclasses import replace

    from osteon.runs.fit import train

    dataset = cohort(tmp_path / "data", 2)
    plan = learning_plan({"zoom": ZOOM, "training.epoch_iterations": 2})
    train(dataset, plan, tmp_path / "run", replace(CPU, epochs=1, fold=0, folds=2))
    assert (tmp_path / "run/model/weights.safetensors").is_file()


def test_a_structure_of_a_row_is_not_looked_at_alone() -> None:
    from osteon.core.errors import PlanError

    names = ["L1", "L2", "L3"]
    structures = [{"name": name, "value": n + 1, "colour": "#ff0000"} for n, name in enumerate(names)]
    series = {"axis": 2, "names": names, "distance_mm": 30.0, "volume_mm3": 40.0}
    row = {"structures": structures, "series": series}
    with pytest.raises(PlanError, match="whole row"):
        tiny_plan({**row, "zoom": {**ZOOM, "structures": ["L2"]}})
    assert tiny_plan({**row, "zoom": {**ZOOM, "structures": ["L2"], "predict": False}}).zoom is not None
