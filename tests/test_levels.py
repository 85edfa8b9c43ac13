"""Bodies of a sequence, found whatever their names, and named all together with a posterior."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import FLAT, tiny_plan, write_dataset
from osteon.cli.models import _parse_first_level
from osteon.core.errors import UsageError
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.exporting.model_files import export_model
from osteon.formats import read_segmentation, write_volume
from osteon.networks.registry import build_network, output_channels
from osteon.networks.transfer import transfer
from osteon.plan.outputs import output_layout
from osteon.plan.schema import Plan
from osteon.predicting.level_assignment import (
    DISTANCE_SD,
    MAX_MISSED,
    MISSED,
    Slot,
    log_posterior,
    make_slots,
    rank_assignments,
)
from osteon.predicting.level_trust import LevelTrust, measure_misfit
from osteon.predicting.model import Model
from osteon.predicting.model_folder import save_model
from osteon.predicting.predictor import predict
from osteon.predicting.records import read_predictions, read_validation
from osteon.predicting.review import reasons_to_review_levels
from osteon.predicting.scans import find_scans
from osteon.predicting.sequence import check_first_level, name_sequence
from osteon.predicting.stages import PredictOptions
from osteon.preparing.strategies import grid_strategy
from osteon.runs import fit
from osteon.runs.level_calibration import MIN_VIEWS, LevelView, fit_trust
from osteon.runs.options import TrainOptions
from osteon.training.augmenting import apply_augmentation, draw_parameters
from osteon.training.losses import deep_supervision_loss
from osteon.training.targets import make_targets

NAMES = ["L3", "L2", "L1"]
STRUCTURES = ["sacrum", *NAMES[::-1]]
SHAPE = (10, 10, 80)
STEP = 12
"""Voxels of 1 mm from one body to the next; each is a cube of 8."""


def plan(**changes: Any) -> Plan:
    structures = [{"name": n, "value": v, "colour": f"#0000{v:02d}"} for v, n in enumerate(STRUCTURES, 1)]
    series = {"axis": 2, "names": NAMES, "distance_mm": float(STEP), "volume_mm3": 512.0, "bodies": True}
    return tiny_plan({"structures": structures, "series": series, **changes})


def cube(start: int, length: int = 8) -> tuple[slice, slice, slice]:
    return slice(1, 9), slice(1, 9), slice(start, start + length)


def outputs(bodies: dict[int, float], *, length: int = 8, spread: float = 0.02) -> torch.Tensor:
    """What a network might say: bodies from heights on, whose first voxel's middle has a level; certain but for it."""
    layout = output_layout(plan())
    array = np.full((layout.total, *SHAPE), 1e-4, np.float32)
    array[0] = 1
    for start, level in bodies.items():
        where = cube(start, length)
        array[(0, *where)], array[(layout.body, *where)] = 0.1, 0.9
        array[(layout.core, slice(2, 8), slice(2, 8), slice(start + 1, start + length - 1))] = 0.9
        heights = np.arange(length) + 0.5
        for height, place in zip(range(start, start + length), heights, strict=True):
            coordinate = np.clip(level + (place - 4) / STEP, -1, 3) + 1
            below = min(int(coordinate), 3)
            chances = np.full(5, spread)
            chances[below] += 1 - (coordinate - below)
            chances[below + 1] += coordinate - below
            array[(slice(layout.first_level, None), slice(1, 9), slice(1, 9), height)] = (chances / chances.sum())[
                :, None, None
            ]
    return torch.from_numpy(array)


def found(values: torch.Tensor, *starts: int) -> list[str]:
    """The name of most of each body's voxels."""
    labels = values.argmax(0).numpy()
    names = ["", *STRUCTURES]
    return [names[np.bincount(labels[cube(start)].ravel(), minlength=5).argmax()] for start in starts]


def test_the_sequence_is_one_class_and_levels_follow() -> None:
    layout = output_layout(plan())
    assert layout.class_of == (1, 2, 2, 2)  # the sacrum, and bodies
    assert (layout.classes, layout.core, layout.first_level, layout.levels, layout.total) == (3, 3, 4, 5, 9)
    assert [STRUCTURES[n] for n in layout.members] == NAMES
    assert output_channels(plan()) == 9
    usual = output_layout(tiny_plan())
    assert (usual.class_of, usual.total, usual.levels) == ((1, 2), 3, 0)
    logits = torch.randn(2, 9, 4, 4, 4)
    made = grid_strategy(plan()).activate(logits.clone())
    torch.testing.assert_close(made[:, :3], logits[:, :3].softmax(1))
    torch.testing.assert_close(made[:, 3], logits[:, 3].sigmoid())
    torch.testing.assert_close(made[:, 4:], logits[:, 4:].softmax(1))


def test_levels_go_on_beyond_what_is_labelled() -> None:
    labels = torch.zeros((1, *SHAPE), dtype=torch.long)
    for start, number in ((20, 4), (32, 3), (44, 2)):  # L3, L2, L1: the sacrum is 1
        labels[(0, *cube(start))] = number
    labels[(0, *cube(2))] = 1
    targets = make_targets(labels, torch.ones(1, 4, dtype=torch.bool), plan())
    levels, cores = targets.levels, targets.cores
    assert levels is not None
    assert cores is not None
    assert torch.equal(targets.labels.unique(), torch.tensor([0, 1, 2]))
    middle = levels.level[0, 5, 5]
    assert middle[24].item() == pytest.approx(1 + 0.5 / STEP)
    assert middle[30].item() == pytest.approx(1.5 + 0.5 / STEP)
    assert middle[48].item() == pytest.approx(3 + 0.5 / STEP)
    assert middle[60].item() == pytest.approx(4)
    assert middle[79].item() == 4  # no further
    assert middle[8].item() == 0
    known = levels.known[0, 5, 5]
    assert not known[62:].any()
    assert known[29:44].all()  # between them is background
    assert known[2:10].all()  # the sacrum is labelled
    assert not known[11:14].any()
    core = cores.core[0, 5, 5]
    assert core[20:52].sum() == 24  # STEP − 8 = 4 voxels are farther than .35 of 8


def test_the_core_keeps_away_from_other_bodies() -> None:
    labels = torch.zeros((1, *SHAPE), dtype=torch.long)
    labels[(0, *cube(20))], labels[(0, *cube(28))] = 4, 3
    cores = make_targets(labels, torch.ones(1, 4, dtype=torch.bool), plan()).cores
    assert cores is not None
    assert cores.core[0, 5, 5, 20:36].tolist() == [1] * 5 + [0] * 6 + [1] * 5


def test_where_nobody_named_all_of_a_sequence_nothing_around_it_is_background() -> None:
    labels = torch.zeros((1, *SHAPE), dtype=torch.long)
    labels[(0, *cube(20))], labels[(0, *cube(32))] = 4, 3
    annotated = torch.tensor([[True, False, True, True]])
    levels = make_targets(labels, annotated, plan()).levels
    assert levels is not None
    assert not levels.known[0, 5, 5, 28:32].any()
    assert levels.known[0, 5, 5, 20:28].all()


def test_one_body_tells_where_the_others_lie() -> None:
    labels = torch.zeros((1, *SHAPE), dtype=torch.long)
    labels[(0, *cube(32))] = 3
    levels = make_targets(labels, torch.ones(1, 4, dtype=torch.bool), plan()).levels
    assert levels is not None
    assert levels.level[0, 5, 5, 48].item() == pytest.approx(3 + 0.5 / STEP)
    assert levels.near[0, 5, 5].all()
    nothing = make_targets(torch.zeros_like(labels), torch.ones(1, 4, dtype=torch.bool), plan()).levels
    assert nothing is not None
    assert not nothing.near.any()
    assert nothing.known.all()


def test_right_answers_cost_nothing_and_unknown_ones_teach_nothing() -> None:
    labels = torch.zeros((1, *SHAPE), dtype=torch.long)
    for start, number in ((20, 4), (32, 3), (44, 2)):
        labels[(0, *cube(start))] = number
    layout, how = output_layout(plan()), plan()
    targets = make_targets(labels, torch.ones(1, 4, dtype=torch.bool), how)
    levels, cores = targets.levels, targets.cores
    assert levels is not None
    assert cores is not None
    logits = torch.zeros((1, layout.total, *SHAPE))
    logits[:, :3] = 40 * torch.nn.functional.one_hot(targets.labels, 3).movedim(-1, 1)
    logits[:, 3] = 80 * cores.core - 40
    below = levels.level.floor().clamp(0, 3)
    for number in range(5):
        part = torch.where(below == number, 1 - levels.level + below, 0) + torch.where(
            below == number - 1, levels.level - below, 0
        )
        logits[:, 4 + number] = part.clamp_min(1e-9).log()
    logits.requires_grad_()
    loss = deep_supervision_loss([logits], targets, layout, how.training, overlapping=False)
    part = levels.level - below
    entropy = torch.special.entr(part) + torch.special.entr(1 - part)
    assert loss.item() == pytest.approx(float(entropy[levels.near].mean()), abs=1e-3)  # targets lie between two
    wrong = (logits.detach() * 0 + torch.randn(logits.shape)).requires_grad_()
    deep_supervision_loss([wrong], targets, layout, how.training, overlapping=False).backward()
    assert wrong.grad is not None
    assert not wrong.grad[:, :4].movedim(1, -1)[~levels.known].any()
    assert wrong.grad[:, :4].movedim(1, -1)[levels.known].any()
    assert not wrong.grad[:, 4:].movedim(1, -1)[~levels.near].any()


def test_bodies_get_names_by_their_levels() -> None:
    values, levels = name_sequence(outputs({20: 0, 32: 1, 44: 2}), plan())
    assert found(values, 20, 32, 44) == NAMES
    assert levels is not None
    assert levels.assignments[0].names == ("L3", "L2", "L1")
    assert levels.margin > 0.9
    torch.testing.assert_close(values.sum(0), torch.ones(SHAPE), atol=2e-3, rtol=0)
    assert len(values) == 5


def test_a_body_before_the_first_is_background() -> None:
    values, levels = name_sequence(outputs({8: -1, 20: 0, 32: 1, 44: 2, 56: 3}), plan())
    assert found(values, 8, 20, 32, 44, 56) == ["", *NAMES, ""]
    assert levels is not None
    assert levels.assignments[0].names == ("L4", "L3", "L2", "L1", "T12")


def test_touching_bodies_are_parted_by_their_cores() -> None:
    values, _ = name_sequence(outputs({20: 0, 28: 1, 36: 2}), plan())
    assert found(values, 20, 28, 36) == NAMES


def test_one_body_alone_gets_a_name() -> None:
    values, _ = name_sequence(outputs({32: 1}), plan())
    assert found(values, 32) == ["L2"]


def test_where_levels_leave_it_open_the_alternative_is_shown() -> None:
    values, levels = name_sequence(
        outputs({20: 0.47, 32: 1.47, 44: 2.47}, spread=0.3), plan(), trust=LevelTrust(sharpness=1, misfit=9)
    )
    assert levels is not None
    assert 0.3 < levels.assignments[0].probability < 0.7
    best, other = (assignment.describe() for assignment in levels.assignments[:2])
    assert {best, other} == {"L3…L1", "L2…T12"}
    assert reasons_to_review_levels(levels) == [f"names: {levels.describe()}"]
    best, other = (assignment.describe(from_last=True) for assignment in levels.assignments[:2])
    assert f"{best} or {other}: " in levels.describe()  # as people count
    assert {best, other} == {"L1…L3", "T12…L2"}
    assert found(values, 20, 32, 44) == NAMES


def test_a_person_names_the_uppermost() -> None:
    values, levels = name_sequence(outputs({20: 0, 32: 1, 44: 2}), plan(), first="T12")
    assert found(values, 20, 32, 44) == ["L2", "L1", ""]
    assert levels is not None
    assert reasons_to_review_levels(levels) == []
    check_first_level(plan(), "T12")
    with pytest.raises(UsageError, match="no Q7 in the model's series") as refused:
        check_first_level(plan(), "Q7")
    assert "L1, L2, L3" in (refused.value.hint or "")
    with pytest.raises(UsageError, match="no series"):
        check_first_level(tiny_plan(), "L1")


def test_without_a_body_nothing_is_named() -> None:
    values, levels = name_sequence(outputs({}), plan())
    assert levels is None
    assert not values.argmax(0).any()


def test_crumbs_are_no_bodies() -> None:
    raw = outputs({20: 0, 32: 1, 44: 2})
    raw[(0, slice(3, 5), slice(3, 5), slice(70, 72))] = 0
    raw[(2, slice(3, 5), slice(3, 5), slice(70, 72))] = 1
    values, levels = name_sequence(raw, plan())
    assert levels is not None
    assert len(levels.bodies.row) == 3
    assert not values.argmax(0)[3, 3, 70]


def beside(first: dict[int, float], second: dict[int, float]) -> torch.Tensor:
    """Two rows in one scan, 30 mm apart."""
    left, right = outputs(first), outputs(second)
    between = torch.full((len(left), 20, *SHAPE[1:]), 1e-4)
    between[0] = 1
    return torch.cat((left, between, right), 1)


def test_two_people_in_one_scan_are_named_one_by_one() -> None:
    values, levels = name_sequence(beside({20: 0, 32: 1, 44: 2}, {26: 0, 38: 1, 50: 2}), plan())
    assert found(values[:, :10], 20, 32, 44) == NAMES
    assert found(values[:, 30:], 26, 38, 50) == NAMES
    assert levels is not None
    assert reasons_to_review_levels(levels)[0].startswith("2 rows of bodies side by side")


def test_a_body_beside_the_row_is_none() -> None:
    values, levels = name_sequence(beside({20: 0, 32: 1, 44: 2}, {26: 1}), plan())
    assert found(values[:, :10], 20, 32, 44) == NAMES
    assert found(values[:, 30:], 26) == [""]
    assert levels is not None
    assert levels.rows == 1


def test_other_structures_stay() -> None:
    raw = outputs({20: 0, 32: 1, 44: 2})
    raw[(0, *cube(2))], raw[(1, *cube(2))] = 0.2, 0.8
    values, _ = name_sequence(raw, plan())
    assert found(values, 2, 20) == ["sacrum", "L3"]
    assert values[1, 5, 5, 5].item() == pytest.approx(0.8)


def brute_force(evidence: np.ndarray, steps: Sequence[float], slots: list[Slot]) -> dict[tuple[int, ...], float]:
    """The probability of every assignment, from the definition."""
    weights = {}
    for way in itertools.combinations(range(len(slots)), len(evidence)):
        weight = 1.0
        for body, slot in enumerate(way):
            weight *= np.exp(evidence[body, slot]) * slots[slot].presence
        for (first, second), step in zip(itertools.pairwise(way), steps, strict=True):
            total = 0.0
            between = slots[first + 1 : second]
            for absent in itertools.product([False, True], repeat=len(between)):
                missed = absent.count(False)
                if missed > MAX_MISSED:
                    continue
                chance = np.exp(-0.5 * ((step / slots[first].distance - 1 - missed) / DISTANCE_SD) ** 2)
                for slot, gone in zip(between, absent, strict=True):
                    chance *= 1 - slot.presence if gone else slot.presence * MISSED
                total += chance
            weight *= total
        weights[way] = weight
    everything = sum(weights.values())
    return {way: weight / everything for way, weight in weights.items()}


@pytest.mark.parametrize("seed", range(6))
def test_the_posterior_is_that_of_all_assignments(seed: int) -> None:
    draw = np.random.default_rng(seed)
    slots = make_slots(["T11", "T12", "L1", "L2", "L3"], 2, [0.8, 0.9, 1.0, 1.2])
    count = int(draw.integers(1, 5))
    evidence = draw.normal(0, 3, (count, len(slots)))
    steps = draw.choice([0.9, 1.1, 2.0, 2.9], count - 1)
    expected = brute_force(evidence, steps.tolist(), slots)
    made = rank_assignments(evidence, steps.tolist(), slots)
    ranked = sorted(expected.items(), key=lambda pair: -pair[1])[:3]
    for assignment, (way, chance) in zip(made, ranked, strict=True):
        assert assignment.slots == tuple(slots[slot] for slot in way)
        assert assignment.probability == pytest.approx(chance, rel=1e-6)
    names = ["L1"] + [None] * (count - 1)
    consistent = sum(
        chance
        for way, chance in expected.items()
        if slots[way[0]].name == "L1" and all(slots[slot].number is None for slot in way[1:])
    )
    got = log_posterior(evidence, steps.tolist(), slots, names)
    assert np.exp(got) == pytest.approx(consistent, rel=1e-6, abs=1e-12)


def levels_of(slots: list[Slot], places: Sequence[float], noise: float = 0.35) -> np.ndarray:
    return np.array([[-0.5 * ((slot.level - place) / noise) ** 2 for slot in slots] for place in places])


@pytest.mark.parametrize(
    ("places", "steps", "expected"),
    [
        ([1, 2, 2.5, 3, 4], [1, 1, 1, 1], ["T11", "T12", "T13", "L1", "L2"]),  # thirteen thoracic
        ([0, 1, 3, 4], [1, 1, 1], ["T10", "T11", "L1", "L2"]),  # eleven
        ([0, 1, 3, 4], [1, 2, 1], ["T10", "T11", "L1", "L2"]),  # T12 was not found
        ([5, 6, 7, 8], [1, 1, 1], ["L3", "L4", "L5", "S1"]),
        ([1, 2, 3], [1, 1], ["T11", "T12", "L1"]),
    ],
)
def test_exceptions_of_the_spine(places: list[float], steps: list[float], expected: list[str]) -> None:
    slots = make_slots(["T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5"], 3)
    best = rank_assignments(levels_of(slots, places), steps, slots)[0]
    assert list(best.names) == expected


def test_a_gap_speaks_against_neighbours() -> None:
    slots = make_slots(["T10", "T11", "T12", "L1", "L2"], 2)
    evidence = levels_of(slots, [1, 3], noise=2)
    near, far = (rank_assignments(evidence, [step], slots)[0] for step in (1.0, 2.0))
    assert near.slots[1].level - near.slots[0].level == 1
    assert far.slots[1].level - far.slots[0].level == 2


def test_names_beyond_a_sequence_are_those_of_vertebrae() -> None:
    assert [slot.name for slot in make_slots(["L5", "L4", "L3", "L2", "L1"], 2)] == (
        ["", "S1", "L5", "L4", "L3", "L2", "L1", "T12", "T11"]
    )
    assert [slot.name for slot in make_slots(["spine_T12", "spine_L1", "spine_L2"], 1)] == (
        ["spine_T11", "spine_T12", "spine_T13", "spine_L1", "spine_L2", "spine_L3"]
    )
    assert [slot.name for slot in make_slots(["rib_1", "rib_2", "rib_3"], 1)] == ["", "rib_1", "rib_2", "rib_3", ""]


@pytest.mark.parametrize("true", [0.5, 2.0, 8.0])
def test_sharpness_is_what_makes_probabilities_true(true: float) -> None:
    """Names drawn from the posterior of a sharpness, which is then found again."""
    sequence = plan().sequence
    assert sequence is not None
    draw = np.random.default_rng(0)
    views = []
    for _ in range(150):
        slots = make_slots(NAMES, 3, [float(STEP)] * 2)
        evidence = np.repeat(draw.normal(0, 0.7, (1, len(slots))), 3, 0)  # all bodies are wrong together
        evidence = np.stack([np.roll(row - row.max(), n) for n, row in enumerate(evidence)])
        ranked = rank_assignments(true * evidence, [float(STEP)] * 2, slots)
        chances = np.array([assignment.probability for assignment in ranked])
        chosen = ranked[draw.choice(len(ranked), p=chances / chances.sum())]
        names = [slot.name if slot.number is not None else None for slot in chosen.slots]
        views.append(LevelView(evidence=evidence.tolist(), steps=[float(STEP)] * 2, names=names))
    fitted = fit_trust(views, sequence)
    assert fitted is not None
    assert true / 2 <= fitted.sharpness <= true * 2
    assert fit_trust(views[: MIN_VIEWS - 1], sequence) is None


@pytest.mark.parametrize("true", [0.1, 0.8])
def test_misfit_is_what_names_are_off_by_in_all_bodies_alike(true: float) -> None:
    """The worse the best names explain what is shown, the more often are they those of the next level."""
    sequence, steps = plan().sequence, [float(STEP)]
    assert sequence is not None
    draw = np.random.default_rng(0)
    slots = make_slots(NAMES, 2, [float(STEP)] * 2)
    first = [slot.name for slot in slots].index(NAMES[0])
    views = []
    for misfit in draw.uniform(0, 3 * true, 200):
        evidence = np.full((2, len(slots)), -12.0)
        evidence[[0, 1], [first, first + 1]] = -misfit
        assert measure_misfit(evidence, steps, slots) == pytest.approx(misfit)
        right = draw.random() < 1 / (1 + (misfit / true) ** 2)
        views.append(LevelView(evidence=evidence.tolist(), steps=steps, names=NAMES[:2] if right else NAMES[1:]))
    fitted = fit_trust(views, sequence)
    assert fitted is not None
    assert true / 2 <= fitted.misfit <= true * 2


def test_levels_that_fit_badly_are_not_believed() -> None:
    """All bodies half a level off, so sharply that the names seem sure."""
    shown = outputs({20: 0.3, 32: 1.3, 44: 2.3}, spread=0.01)
    probabilities = []
    for misfit in (9.0, 0.05):
        _, levels = name_sequence(shown.clone(), plan(), trust=LevelTrust(sharpness=16, misfit=misfit))
        assert levels is not None
        assert levels.assignments[0].names == tuple(NAMES)
        probabilities.append(levels.assignments[0].probability)
    believed, doubted = probabilities
    assert believed > 0.9 > 0.5 > doubted > 0.25


def test_batches_are_cropped_along_the_sequence() -> None:
    how = plan(**{"augmentation.crop_p": 1.0, "patch.size": [8, 8, 40]})
    lengths, firsts = set(), set()
    for iteration in range(40):
        parameters = draw_parameters(how, 0, iteration)
        image = torch.arange(40.0).expand(2, 1, 8, 8, 40).clone()
        labels = torch.arange(40).expand(2, 8, 8, 40).clone() % 5
        made, cut, _ = apply_augmentation(image, labels, torch.ones(2, 4, dtype=torch.bool), parameters, how)
        assert made.shape[2:] == cut.shape[1:] == (8, 8, made.shape[-1])
        assert torch.equal(made[0, 0, 0, 0] % 5, cut[0, 0, 0].float())
        lengths.add(made.shape[-1])
        firsts.add(int(made[0, 0, 0, 0, 0]))
    assert min(lengths) >= 0.55 * 40
    assert max(lengths) == 40
    assert {length % 2 for length in lengths} == {0}
    assert len(firsts) > 3
    network = build_network(how).eval()
    assert network(torch.zeros(1, 1, 8, 8, min(lengths)))[0].shape[1] == 9


def test_a_sequence_goes_on_with_another_models_levels() -> None:
    source, network = build_network(plan()), build_network(plan())
    report = transfer(network, plan(), source, plan())
    assert set(report.structures) == set(STRUCTURES)
    assert torch.equal(network.heads[-1].weight, source.heads[-1].weight)
    usual = plan(**{"series.bodies": False})
    before = build_network(plan())
    rest = before.heads[-1].weight[2:].clone()
    report = transfer(before, plan(), build_network(usual), usual)
    assert report.structures == ["sacrum"]
    assert torch.equal(before.heads[-1].weight[2:], rest)


def test_an_exported_network_of_bodies_has_no_client(tmp_path: Path) -> None:
    save_model(tmp_path / "model", Model(build_network(plan()).eval(), plan(), {"dice": 0.5}, ""), "# A card\n")
    files, notes = export_model("onnx", tmp_path / "model", tmp_path / "out")
    assert {path.name for path in files} == {"network.onnx", "plan.yaml"}
    assert "3 classes, cores, 5 levels" in notes[0]


class Network(torch.nn.Module):
    """Says of every scan what `outputs` does."""

    def __init__(self, values: torch.Tensor) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(values.clamp(1e-6, 1 - 1e-6).log()[None])
        core = values[output_layout(plan()).core].clamp(1e-6, 1 - 1e-6)
        self.logits.data[:, output_layout(plan()).core] = (core / (1 - core)).log()

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [self.logits + 0 * image.mean()]


@pytest.mark.parametrize("first_level", [None, "L2"])
def test_a_prediction_records_its_levels(tmp_path: Path, first_level: str | None) -> None:
    how = plan(**{"patch.size": list(SHAPE)})
    scan = np.random.default_rng(0).normal(100, 50, SHAPE).astype(np.float32)
    write_volume(tmp_path / "scan.nii.gz", Volume(scan[None], Geometry(SHAPE, np.eye(4))))
    model = Model(Network(outputs({20: 0.47, 32: 1.47, 44: 2.47}, spread=0.3)).eval(), how, {}, "")
    scans = find_scans([tmp_path / "scan.nii.gz"], how)
    out = tmp_path / "out"
    report = predict(model, scans, out, PredictOptions(first_level=first_level))
    record = read_predictions(out)["scan"]
    best, other, *_ = record["levels"]["assignments"]
    doubts = [reason for reason in report.review.get("scan", []) if reason.startswith("names: ")]
    if first_level is None:
        assert best["names"] == NAMES
        assert doubts == [f"names: L1…L3 or T12…L2: {best['probability']:.0%} against {other['probability']:.0%}"]
        assert (best["first"], other["first"]) == ("L1", "T12")
        assert "picked" not in record["levels"]
    else:
        assert best["names"] == ["L4", "L3", "L2"]
        assert not doubts
        assert (record["levels"]["picked"], best["first"], other["first"]) == ("L2", "L2", "L1")
        assert best["probability"] < other["probability"]  # by the network alone
    labels = read_segmentation(out / "scan.nii.gz")
    at = labels.array[5, 5, 36]
    assert at == next(s.value for s in how.structures if s.name == ("L2" if first_level is None else "L3"))
    assert predict(model, scans, out, PredictOptions(first_level=first_level)).skipped == ["scan"]
    assert predict(model, scans, out, PredictOptions(first_level="L1")).done == ["scan"]


def test_levels_are_given_on_the_command_line() -> None:
    assert _parse_first_level("FIRST=L1") == _parse_first_level("first = L1") == "L1"
    assert _parse_first_level(None) is None
    for text in ("L1", "FIRST=", "LAST=L5"):
        with pytest.raises(UsageError, match="is not FIRST=NAME"):
            _parse_first_level(text)


@pytest.mark.parametrize("dimensions", [3, 2])
def test_a_training_of_bodies_calibrates_its_levels(tmp_path: Path, dimensions: int) -> None:
    cases = {}
    for number in range(6):
        shift = number % 3
        labels = np.zeros((12, 12, 64), np.uint8)
        for value, start in ((1, 4), (4, 20), (3, 32), (2, 44)):
            labels[2:10, 2:10, start + shift : start + shift + 8] = value
        image = np.random.default_rng(number).normal(0, 20, labels.shape) + 200.0 * (labels > 0)
        cases[f"case{number}"] = (image.astype(np.float32), labels, np.eye(4))
    turned = {"series.axis": 1, "grid.axes": ["A", "S", "R"], **FLAT} if dimensions == 2 else {}
    size = [12, 64, 1] if dimensions == 2 else [12, 12, 64]
    how = plan(**{**turned, "patch.size": size, "training.epochs": 2, "augmentation.crop_p": 0.5})
    dataset = write_dataset(tmp_path / "data", cases, how.structures)
    fit.train(dataset, how, tmp_path / "run", TrainOptions(device="cpu", folds=3, fold=0))
    validation = read_validation(tmp_path / "run/model")
    assert validation["levels"]["views"] == sum(len(views) for views in validation["levels"]["cases"].values())
    assert (tmp_path / "run/predictions").is_dir()
    assert "series" not in validation
