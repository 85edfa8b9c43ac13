"""From the plan's grid back to the scan's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from helpers import FLAT, tiny_plan
from osteon.core.geometry import AxisPermutation, Geometry
from osteon.core.volume import Volume
from osteon.networks.registry import build_network
from osteon.plan.schema import Plan
from osteon.predicting.model import Model
from osteon.predicting.probabilities import Probabilities
from osteon.predicting.restore import restore
from osteon.preparing.case import prepare_labels
from osteon.preparing.resample import resample
from osteon.preparing.strategies import grid_strategy

AFFINE = np.array([[0.9, 0, 0, -12], [0, 1.3, 0, 40], [0, 0, 2.1, 7], [0, 0, 0, 1.0]])


def probabilities(plan: Plan, geometry: Geometry, seed: int = 0) -> torch.Tensor:
    """Smooth random probabilities on the plan's grid."""
    count = len(plan.structures) + (not plan.overlapping)
    coarse = torch.randn(count, 4, 4, 4, generator=torch.Generator().manual_seed(seed)) * 4
    logits = resample(coarse, grid_strategy(plan).transform(geometry).shape)
    return logits.sigmoid() if plan.overlapping else logits.softmax(0)


@pytest.mark.parametrize("seed", range(3))
def test_the_running_best_is_the_argmax_of_all(seed: int) -> None:
    geometry = Geometry((14, 11, 9), AFFINE)
    plan = tiny_plan({"grid.spacing_mm": [1.5, 1.5, 1.5]})
    given = probabilities(plan, geometry, seed)
    made = restore(Probabilities.from_tensor(given, plan), geometry, plan)
    expected = np.array([0, 3, 5])[resample(given, geometry.shape).argmax(0).numpy()]
    assert np.array_equal(made.array, expected)
    assert set(np.unique(made.array)) == {0, 3, 5}
    assert made.array.dtype == np.uint8
    assert made.geometry is geometry
    assert [s.name for s in made.structures] == ["femur", "tibia"]


def test_ties_go_to_the_background_then_to_the_first() -> None:
    geometry = Geometry((1, 1, 3), np.eye(4))
    given = torch.tensor([[0.4, 0.2, 0.3], [0.4, 0.4, 0.3], [0.2, 0.4, 0.4]]).reshape(3, 1, 1, 3)
    assert restore(Probabilities.from_tensor(given, tiny_plan()), geometry, tiny_plan()).array.ravel().tolist() == [
        0,
        3,
        5,
    ]


def test_overlapping_structures_are_decided_each_by_itself() -> None:
    geometry = Geometry((14, 11, 9), AFFINE)
    plan = tiny_plan({"overlapping": True, "grid.spacing_mm": [1.5, 1.5, 1.5]})
    given = probabilities(plan, geometry)
    made = restore(Probabilities.from_tensor(given, plan), geometry, plan)
    assert np.array_equal(made.array, (resample(given, geometry.shape) > 0.5).numpy())
    assert made.overlapping
    assert (made.array.sum(0) == 2).any()


def test_large_values_fit() -> None:
    plan = tiny_plan({"structures.1.value": 700})
    geometry = Geometry((14, 11, 9), AFFINE)
    made = restore(Probabilities.from_tensor(probabilities(plan, geometry), plan), geometry, plan)
    assert 700 in made.array
    assert made.array.dtype == np.uint16


TURNS = [
    AxisPermutation(order, flipped)
    for order, flipped in itertools.product(
        itertools.permutations(range(3)), [(False, False, False), (True, False, False), (True, True, True)]
    )
]


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("overlapping", [False, True])
def test_the_files_orientation_makes_no_difference(flat: bool, overlapping: bool) -> None:
    section = {"overlapping": overlapping, "grid.spacing_mm": [1.5, 1.0, 2.0]}
    if flat:
        section |= {**FLAT, "grid.axes": ["A", "S", "R"], "grid.spacing_mm": [1.0, 2.0, 0.9]}
    plan = tiny_plan(section)
    torch.manual_seed(0)
    model = Model(build_network(plan).eval(), plan, {}, "")
    with torch.no_grad():  # so that every structure wins somewhere
        model.network.heads[-1].weight *= 50  # type: ignore[operator,union-attr,index]
    generator = np.random.default_rng(0)
    image = resample(torch.from_numpy(generator.normal(100, 200, (1, 4, 4, 4)).astype(np.float32)), (12, 10, 7)).numpy()
    geometry = Geometry((12, 10, 7), AFFINE)
    expected = model.predict(Volume(image, geometry))
    assert len(np.unique(expected.array)) > 1
    for turn in TURNS:
        turned = Volume(turn.apply(image), turn.geometry(geometry))
        made = model.predict(turned)
        assert np.array_equal(made.array, turn.apply(expected.array))
        assert made.geometry.is_close(turned.geometry)


def test_labels_survive_the_way_there_and_back() -> None:
    geometry = Geometry((24, 20, 18), np.diag([-1.0, 1.2, 2, 1])[[1, 2, 0, 3]])
    plan = tiny_plan({"grid.spacing_mm": [1, 1, 1]})
    truth = restore(Probabilities.from_tensor(probabilities(plan, geometry), plan), geometry, plan)
    there = prepare_labels(truth, plan)
    hot = torch.nn.functional.one_hot(torch.from_numpy(there.astype(np.int64)), 3).movedim(-1, 0).float()
    back = restore(Probabilities.from_tensor(hot, plan), geometry, plan)
    assert (back.array == truth.array).mean() > 0.95
