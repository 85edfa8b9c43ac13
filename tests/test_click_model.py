"""A network that answers clicks: what it sees, where it looks, how it is trained, and how a session goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import osteon
from helpers import tiny_plan, two_boxes, write_dataset
from osteon.core.clicks import Click
from osteon.core.errors import PlanError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.networks.registry import build_network
from osteon.plan.outputs import encode_pieces
from osteon.plan.schema import Plan
from osteon.predicting.click_maps import click_channels
from osteon.predicting.click_session import ClickSession
from osteon.predicting.click_windows import answer_click
from osteon.predicting.model import Model
from osteon.runs.fit import TrainReport
from osteon.training.click_simulation import damage, simulate_clicks

RADIUS = 2.0


def click_plan(**more: object) -> Plan:
    return tiny_plan({"interactive": {"radius": RADIUS}, "patch.size": [16, 16, 16], **more})


class Spots(nn.Module):
    """Answers with the spots of the clicks inside, the mask so far, and without the spots of those outside."""

    def __init__(self, height: float = 0.5) -> None:
        super().__init__()
        self.height = nn.Parameter(torch.tensor(height))
        self.windows: list[tuple[int, ...]] = []

    def forward(self, seen: torch.Tensor) -> list[torch.Tensor]:
        self.windows.append(tuple(seen.shape[2:]))
        inside, outside, before = seen[:, -3], seen[:, -2], seen[:, -1]
        score = torch.maximum(inside, before) - 2 * (outside > self.height) - self.height
        return [torch.stack([-score, score], dim=1)]


def test_a_click_is_a_spot_in_its_channel_and_the_mask_a_third_one() -> None:
    mask = torch.zeros((5, 6, 7), dtype=torch.bool)
    mask[0] = True
    channels = click_channels(
        [Click((12, 3, 4)), Click((11, 1, 1), positive=False)], mask, click_plan(), first=(10, 0, 0)
    )
    assert channels[0].argmax() == np.ravel_multi_index((2, 3, 4), mask.shape)
    assert channels[1].argmax() == np.ravel_multi_index((1, 1, 1), mask.shape)
    assert channels[0, 2, 3, 6] == pytest.approx(np.exp(-0.5 * (2 * click_plan().grid.spacing_mm[2] / RADIUS) ** 2))
    assert torch.equal(channels[2], mask.float())


def test_the_network_has_three_channels_more_and_two_classes() -> None:
    plan = click_plan()
    out = build_network(plan)(torch.zeros(1, len(plan.channels) + 3, *plan.patch.size))
    assert out[0].shape[:2] == (1, 2)


def test_a_plan_with_clicks_has_no_part_that_needs_all_structures() -> None:
    with pytest.raises(PlanError, match="interactive"):
        click_plan(zoom={"structures": [click_plan().structures[0].name]})


def test_only_a_window_is_looked_at_and_it_grows_with_the_structure() -> None:
    plan, network = click_plan(), Spots().eval()
    image = torch.zeros(len(plan.channels), 60, 60, 60)
    probability = torch.zeros(60, 60, 60)
    box = answer_click(network, image, plan, [Click((30, 30, 30))], probability)
    assert network.windows == [plan.patch.size]
    assert box.shape == plan.patch.size
    assert probability[30, 30, 30] > 0.5
    outside = probability.clone()
    outside[box.slices] = 0
    assert not outside.any()

    probability[20:40, 25:36, 25:36] = 1  # a mask that is longer than a patch
    box = answer_click(network, image, plan, [Click((38, 30, 30))], probability)
    assert box.first[0] <= 20
    assert box.stop[0] >= 40


@pytest.mark.parametrize("flip", [(1, 1, 1), (-1, 1, -1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_session_answers_where_was_clicked_whatever_the_grid(
    flip: tuple[int, int, int], order: tuple[int, int, int]
) -> None:
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for index, (world, sign) in enumerate(zip(order, flip, strict=True)):
        affine[world, index] = sign * (0.7, 1.0, 1.3)[index]
    shape = (40, 30, 25)
    scan = Volume(np.random.default_rng(0).normal(0, 1, (1, *shape)).astype(np.float32), Geometry(shape, affine))
    session = ClickSession(Model(Spots().eval(), click_plan(), {}, ""), scan)

    answer = session.answer([Click((9, 20, 5))])

    found = np.zeros(shape, bool)
    found[answer.box.slices] = answer.mask
    assert found[9, 20, 5]
    centre = np.argwhere(found).mean(axis=0)
    assert np.abs((centre - (9, 20, 5)) * scan.geometry.spacing_mm).max() < 1.5

    answer = session.answer([Click((9, 20, 5)), Click((9, 20, 5), positive=False)])
    found[answer.box.slices] = answer.mask
    assert not found[9, 20, 5]


def test_a_session_goes_on_from_a_mask_and_keeps_what_belongs_to_others() -> None:
    shape = (30, 30, 30)
    scan = Volume(np.random.default_rng(0).normal(0, 1, (1, *shape)).astype(np.float32), Geometry(shape, np.eye(4)))
    session = ClickSession(Model(Spots().eval(), click_plan(), {}, ""), scan)
    drawn, others = np.zeros(shape, bool), np.zeros(shape, bool)
    drawn[5:12, 5:12, 5:12] = True
    others[:, :8] = True
    first = session.answer([], previous=drawn)
    np.testing.assert_array_equal(first.mask, drawn[first.box.slices])
    answer = session.answer([Click((14, 8, 8))], previous=drawn, protected=others)
    found = np.zeros(shape, bool)
    found[answer.box.slices] = answer.mask
    assert found[14, 8, 8]
    assert found[6, 10, 6]
    assert not (found & others).any()


def test_what_a_session_cannot_answer_is_refused() -> None:
    scan = Volume(
        np.random.default_rng(0).normal(0, 1, (1, 20, 20, 20)).astype(np.float32), Geometry((20, 20, 20), np.eye(4))
    )
    session = ClickSession(Model(Spots().eval(), click_plan(), {}, ""), scan)
    with pytest.raises(UsageError, match="no point inside"):
        session.answer([Click((3, 3, 3), positive=False)])
    with pytest.raises(UsageError, match="outside the image"):
        session.answer([Click((3, 20, 3))])
    with pytest.raises(UsageError, match="answers no clicks"):
        ClickSession(Model(Spots().eval(), tiny_plan(), {}, ""), scan)
    with pytest.raises(UsageError, match="answers clicks"):
        session.model.examine(scan)


def batch(plan: Plan, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    image = torch.zeros((len(labels), len(plan.channels), *plan.patch.size))
    return image, torch.from_numpy(labels), torch.ones(len(labels), len(plan.structures), dtype=torch.bool)


def test_each_patch_asks_for_one_structure_by_clicks_that_are_right() -> None:
    plan = click_plan()
    labels = np.zeros((40, *plan.patch.size), np.int64)
    labels[:, 2:8, 3:12, 3:12] = 1
    labels[:, 9:14, 3:12, 3:12] = 2
    image, there, annotated = batch(plan, labels)
    annotated[:20, 1] = False  # nobody looked for the second one
    seen, target = simulate_clicks(Spots(), image, there, annotated, plan, 0, 7)
    again, same = simulate_clicks(Spots(), image, there, annotated, plan, 0, 7)
    assert torch.equal(seen, again)
    assert torch.equal(target, same)
    assert seen.shape[1] == len(plan.channels) + 3
    meant = [{int(v) for v in there[n][target[n] == 1].unique()} for n in range(40)]
    assert all(values in ({1}, {2}) for values in meant)
    assert all(values == {1} for values in meant[:20])
    assert {2} in meant[20:]
    inside, outside = seen[:, -3] == 1, seen[:, -2] == 1  # where exactly was clicked
    assert not (inside & (target == 0)).any()
    assert not (outside & (target == 1)).any()
    assert (inside.flatten(1).any(1) | seen[:, -1].flatten(1).any(1)).all()
    kinds = {(bool(one[-3].any()), bool(one[-1].any())) for one in seen}
    assert kinds == {(True, False), (True, True), (False, True)}  # the first click, corrections, a mask alone


def test_pieces_are_meant_one_by_one_and_overlaps_by_layer() -> None:
    plan = click_plan()
    count = len(plan.structures)
    index, pieces = np.zeros((2, 12, *plan.patch.size), np.int64)
    index[:, 2:14] = 1
    pieces[:, 8:14] = 1
    image, there, annotated = batch(plan, encode_pieces(index, pieces, count))
    _, target = simulate_clicks(Spots(), image, there, annotated, plan, 0, 1)
    assert {int(one.sum()) for one in target} == {6 * 16 * 16}

    plan = click_plan(overlapping=True)
    layers = np.zeros((12, count, *plan.patch.size), np.float32)
    layers[:, 0, 2:8], layers[:, 1, 4:14] = 1, 1
    _, target = simulate_clicks(Spots(), *batch(plan, layers), plan, 0, 1)
    assert {int(one.sum()) for one in target} == {6 * 16 * 16, 10 * 16 * 16}


def test_damage_leaves_a_mask_that_is_neither_right_nor_something_else() -> None:
    mask = np.zeros((24, 24, 24), bool)
    mask[6:18, 6:18, 6:18] = True
    for seed in range(12):
        damaged = damage(mask, np.random.default_rng(seed))
        dice = 2 * (damaged & mask).sum() / (damaged.sum() + mask.sum())
        assert 0.2 < dice < 1


def test_training_makes_a_model_that_answers_clicks(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", {f"c{n}": two_boxes(seed=n) for n in range(4)})
    few: dict[str, object] = {"training.epoch_iterations": 4, "interactive.most": 3}

    def train() -> TrainReport:
        run = tmp_path / "run"
        return osteon.train(
            dataset.folder, run, interactive=True, measure_cost=False, epochs=1, device="cpu", settings=few, folds=2
        )

    report = train()
    plan = osteon.load_model(tmp_path / "run").plan
    assert plan.clicks is not None
    assert plan.clicks.most == 3
    assert plan.training.foreground_share == 1
    assert list(report.validation["clicks"]) == ["1", "2", "3"]
    assert report.validation["structures"]
    session = osteon.ClickSession(osteon.load_model(tmp_path / "run"), dataset.load_image(dataset.manifest.cases[0]))
    assert session.answer([Click((3, 3, 3))]).mask.dtype == bool
    assert train().iterations == report.iterations
