"""Losses, against values computed by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from helpers import tiny_plan
from osteon.core.errors import PlanError
from osteon.plan.outputs import output_layout
from osteon.training.loss_terms import log_odds, tversky_loss
from osteon.training.losses import LOSSES, deep_supervision_loss, describe_loss, find_loss, stage_loss
from osteon.training.targets import Targets

ALL = torch.ones(1, 2, dtype=torch.bool)
FIRST = torch.tensor([[True, False]])
LN2, LN3 = math.log(2), math.log(3)


def voxels(*rows: list[float]) -> torch.Tensor:
    """`[1, channel, n, 1, 1]` from one row for each channel."""
    return torch.tensor(rows)[None, :, :, None, None]


def line(*labels: int) -> torch.Tensor:
    """Index labels `[1, n, 1, 1]`."""
    return torch.tensor(labels)[None, :, None, None]


def loss(
    name: str,
    logits: torch.Tensor,
    labels: torch.Tensor,
    annotated: torch.Tensor = ALL,
    *,
    overlapping: bool = False,
    **numbers: Any,
) -> torch.Tensor:
    """A loss by its name, `numbers` put into the plan's section training."""
    how = tiny_plan({"training.loss": name} | {f"training.{key}": value for key, value in numbers.items()}).training
    return stage_loss(logits, labels, annotated, how, overlapping=overlapping)


# Two voxels: probabilities (¼, ½, ¼) and (½, ¼, ¼); labels 1 and 0. Structure 2 has no voxel: it has no overlap.
INDEX = voxels([0, LN2], [LN2, 0], [0, 0])
INDEX_LABELS = line(1, 0)
FOUND, INVENTED, MISSED = 0.5, 0.25, 0.5
"""Of structure 1: its share where it is, its share elsewhere, what is missing where it is."""
DICE = 1 - 2 * FOUND / (0.5 + 0.25 + 1)
BCE = (LN2 + math.log(4 / 3)) / 2 / 2 + math.log(4 / 3) / 2  # structure 1: ½ and ¾ right; structure 2: ¾ and ¾
BY_HAND = {
    "dice_ce": LN2 + DICE,
    "dice_bce": BCE + DICE,
    "dice_focal": 0.25 * LN2 + DICE,
    "dice": DICE,
    "ce": LN2,
    "bce": BCE,
    "focal": 0.25 * LN2,
    "tversky": 1 - FOUND / (FOUND + 0.7 * MISSED + 0.3 * INVENTED),
}


@pytest.mark.parametrize("name", LOSSES)
def test_index_losses_by_hand(name: str) -> None:
    assert float(loss(name, INDEX, INDEX_LABELS)) == pytest.approx(BY_HAND[name], abs=1e-4)


# Sigmoids ½, ¾ and ½, ½; the first structure is in both voxels, the second in the first.
HOT = voxels([0.0, LN3], [0.0, 0.0])
HOT_LABELS = voxels([1.0, 1.0], [1.0, 0.0])
HOT_BCE = (LN2 + math.log(4 / 3) + 2 * LN2) / 4
HOT_FOCAL = (0.25 * LN2 + math.log(4 / 3) / 16 + 2 * 0.25 * LN2) / 4
HOT_DICE = 1 - (2 * 1.25 / (1.25 + 2) + 2 * 0.5 / (1 + 1)) / 2
HOT_BY_HAND = {
    "dice_ce": HOT_BCE + HOT_DICE,
    "dice_bce": HOT_BCE + HOT_DICE,
    "dice_focal": HOT_FOCAL + HOT_DICE,
    "dice": HOT_DICE,
    "ce": HOT_BCE,
    "bce": HOT_BCE,
    "focal": HOT_FOCAL,
    "tversky": 1 - (1.25 / (1.25 + 0.7 * 0.75) + 0.5 / (0.5 + 0.7 * 0.5 + 0.3 * 0.5)) / 2,
}


@pytest.mark.parametrize("name", LOSSES)
def test_multi_hot_losses_by_hand(name: str) -> None:
    assert float(loss(name, HOT, HOT_LABELS, overlapping=True)) == pytest.approx(HOT_BY_HAND[name], abs=1e-4)


def test_names_that_do_not_exist() -> None:
    assert find_loss(tiny_plan().training.loss) is LOSSES["dice_ce"]
    with pytest.raises(PlanError, match="there is no loss dise_ce") as caught:
        find_loss("dise_ce")
    assert caught.value.hint.startswith("near it: dice_ce")
    with pytest.raises(PlanError, match=r"training\.optimiser: there is no optimiser adamv; near it: adam, adamw"):
        tiny_plan({"training.optimiser": "adamv"})
    with pytest.raises(PlanError, match=r"training\.schedule: there is no schedule 3; near it: cosine, polynomial, on"):
        tiny_plan({"training.schedule": 3})


def test_gamma_and_beta_are_the_plans() -> None:
    assert float(loss("focal", INDEX, INDEX_LABELS, focal_gamma=1)) == pytest.approx(0.5 * LN2)
    assert float(loss("focal", INDEX, INDEX_LABELS, focal_gamma=0)) == pytest.approx(LN2)
    for name, logits, labels, overlapping in (("t", INDEX, INDEX_LABELS, False), ("h", HOT, HOT_LABELS, True)):
        even = loss("tversky", logits, labels, overlapping=overlapping, tversky_beta=0.5)
        assert float(even) == pytest.approx(float(loss("dice", logits, labels, overlapping=overlapping))), name
    only_missed = loss("tversky", INDEX, INDEX_LABELS, tversky_beta=1)
    assert float(only_missed) == pytest.approx(1 - FOUND / (FOUND + MISSED), abs=1e-4)


def test_log_odds_are_those_of_the_softmax() -> None:
    logits = torch.randn(2, 4, 5, 1, 1, generator=torch.Generator().manual_seed(0)) * 3
    torch.testing.assert_close(log_odds(logits).sigmoid(), logits.softmax(1))
    # Where a share is 1 to the last digit its odds are still known: −ln(e^-40 + e^-50).
    sure = log_odds(voxels([0.0], [-40.0], [-50.0])).flatten()
    assert sure.tolist() == pytest.approx([40 - math.log1p(math.exp(-10)), -40, -50])
    two = voxels([1.0], [3.0])
    assert log_odds(two).flatten().tolist() == pytest.approx([-2, 2])
    assert log_odds(voxels([1.0], [1.0], [1.0])).flatten().tolist() == pytest.approx([-LN2] * 3)


def test_one_structure_has_one_binary_cross_entropy() -> None:
    logits, labels = voxels([0.0, LN2], [LN3, 0.0]), line(1, 0)
    expected = (math.log(4 / 3) + math.log(3 / 2)) / 2
    one = torch.ones(1, 1, dtype=torch.bool)
    assert float(loss("bce", logits, labels, one)) == pytest.approx(expected)
    assert float(loss("ce", logits, labels, one)) == pytest.approx(expected)


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_answer_costs_nothing(name: str) -> None:
    labels = torch.tensor([[0, 1, 2, 1]])[:, :, None, None]
    logits = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float() * 60
    assert float(loss(name, logits, labels)) == pytest.approx(0, abs=1e-4)
    hot = voxels([1.0, 0, 1], [1.0, 0, 0])
    assert float(loss(name, (hot - 0.5) * 120, hot, overlapping=True)) == pytest.approx(0, abs=1e-4)


def test_dice_sums_over_the_batch() -> None:
    probabilities = torch.tensor([[1.0, 0], [0.5, 0.5]])[:, None, :, None, None]
    target = torch.tensor([[1.0, 0], [0, 0]])[:, None, :, None, None]
    known = torch.ones(2, 1, dtype=torch.bool)
    assert float(tversky_loss(probabilities, target, known)) == pytest.approx(1 - 2 / (2 + 1), abs=1e-4)
    assert float(tversky_loss(probabilities, torch.zeros_like(target), known)) == 0


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("overlapping", [False, True])
def test_absence_is_taught_by_the_voxels_terms(name: str, overlapping: bool) -> None:
    """Structures 1 and 2 are nowhere: overlap has nothing to say of them, the other terms press them down."""
    logits = torch.zeros(1, 2 if overlapping else 3, 2, 1, 1, requires_grad=True)
    labels = torch.zeros(1, 2, 2, 1, 1) if overlapping else line(0, 0)
    loss(name, logits, labels, overlapping=overlapping).backward()
    assert logits.grad is not None
    pressed = bool((logits.grad[:, -2:] > 0).all())
    assert pressed == (LOSSES[name].voxel_term is not None)
    assert pressed or not logits.grad.any()


@pytest.mark.parametrize("name", LOSSES)
def test_an_unknown_structure_and_the_background_are_one_answer(name: str) -> None:
    labels = line(1, 0)
    one = voxels([0.0, 2.0], [1.0, 0.5], [3.0, -1.0])
    # Moving weight from the background to the unknown structure, their sum the same, costs nothing.
    total = torch.logsumexp(one[:, [0, 2]], 1)
    two = one.clone()
    two[:, 0], two[:, 2] = total - math.log(4), total + math.log(3 / 4)
    expected = float(loss(name, one, labels, FIRST))
    assert float(loss(name, two, labels, FIRST)) == pytest.approx(expected, abs=1e-5)
    # By hand: a problem of two classes, against the sum.
    merged = torch.stack([total, one[:, 1]], 1)
    assert expected == pytest.approx(float(loss(name, merged, labels, FIRST[:, :1])), abs=1e-5)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"dice", "tversky"}))
def test_a_known_structure_and_the_background_are_two(name: str) -> None:
    one = voxels([0.0, 2.0], [1.0, 0.5], [3.0, -1.0])
    two = one[:, [2, 1, 0]]
    assert float(loss(name, two, line(1, 0))) != pytest.approx(float(loss(name, one, line(1, 0))), abs=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_drawn_of_an_unknown_structure_counts_as_unknown(name: str) -> None:
    logits = voxels([0.0, 2.0], [1.0, 0.5], [3.0, -1.0])
    drawn = line(1, 2)
    made = loss(name, logits, drawn, FIRST)
    assert torch.equal(made, loss(name, logits, line(1, 0), FIRST))
    assert made < 10
    assert drawn.flatten().tolist() == [1, 2]


@pytest.mark.parametrize("name", LOSSES)
def test_only_the_case_that_lacks_a_structure_is_merged(name: str) -> None:
    logits = torch.randn(2, 3, 4, 1, 1, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.tensor([[0, 1, 2, 0], [0, 1, 0, 0]])[:, :, None, None]
    known = torch.tensor([[True, True], [True, False]])
    loss(name, logits, labels, known).backward()
    merged = logits.grad
    assert merged is not None
    # In the second case background and unknown structure share the gradient in proportion to their probabilities.
    probabilities = logits.detach()[1].softmax(0)
    torch.testing.assert_close(merged[1, 0] * probabilities[2], merged[1, 2] * probabilities[0], atol=1e-6, rtol=1e-4)
    assert merged[0, 2].abs().sum() > 0
    assert torch.isfinite(merged).all()


@pytest.mark.parametrize("name", LOSSES)
def test_multi_hot_gives_an_unknown_structure_no_gradient(name: str) -> None:
    logits = torch.zeros(2, 2, 3, 1, 1, requires_grad=True)
    labels = torch.ones(2, 2, 3, 1, 1)
    known = torch.tensor([[True, False], [True, True]])
    loss(name, logits, labels, known, overlapping=True).backward()
    assert logits.grad is not None
    assert not logits.grad[0, 1].any()
    assert logits.grad[0, 0].all()
    assert logits.grad[1, 1].all()
    nothing = torch.zeros(1, 2, dtype=torch.bool)
    assert float(loss(name, torch.randn(1, 2, 3, 1, 1), labels[:1], nothing, overlapping=True)) == 0
    index = loss(name, torch.randn(1, 3, 3, 1, 1), line(0, 1, 2), nothing)
    assert float(index) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("overlapping", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_stages_weigh_one_half_and_a_quarter(name: str, overlapping: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = [(8, 8, 4), (4, 4, 4), (2, 4, 2)]
    logits = [torch.randn(2, 2 if overlapping else 3, *size, generator=generator) for size in sizes]
    labels = torch.randint(0, 3, (2, 8, 8, 4), generator=generator)
    if overlapping:
        labels = torch.stack([labels == 1, labels > 0], 1).float()
    known = torch.tensor([[True, True], [False, True]])
    parts = [
        loss(name, logits[0], labels, known, overlapping=overlapping),
        loss(name, logits[1], labels[..., ::2, ::2, :], known, overlapping=overlapping),
        loss(name, logits[2], labels[..., ::4, ::2, ::2], known, overlapping=overlapping),
    ]
    expected = (parts[0] + parts[1] / 2 + parts[2] / 4) / 1.75
    plan = tiny_plan({"training.loss": name}).model_copy(update={"overlapping": overlapping})
    made = deep_supervision_loss(
        logits, Targets(labels, known), output_layout(plan), plan.training, overlapping=overlapping
    )
    torch.testing.assert_close(made, expected)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("overlapping", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_extreme_logits_stay_finite(name: str, overlapping: bool, gamma: float) -> None:
    signs = torch.tensor([[1, 1, 1], [-1, -1, -1], [1, -1, 1], [-1, 1, -1], [-1, -1, 1], [0, 0, 0]]).float().T
    labels = line(*(n % 3 for n in range(6)))
    hot = torch.stack([labels == 1, labels > 0], 1).float()
    for known in (ALL, FIRST, ~ALL):
        for extreme in (1e4, 60.0):
            logits = (signs[None, : 2 if overlapping else 3, :, None, None] * extreme).requires_grad_()
            made = loss(name, logits, hot if overlapping else labels, known, overlapping=overlapping, focal_gamma=gamma)
            made.backward()
            assert torch.isfinite(made)
            assert logits.grad is not None
            assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", ["ce", "bce", "focal"])
def test_an_extreme_mistake_costs_what_it_is_worth(name: str) -> None:
    """All classes near −10⁴, and one of them unknown: no stand-in for "never" may win against them."""
    logits = voxels([-1e4], [-1e4 - 3], [-1e4 + 1])
    moved = voxels([0.0], [-3.0], [1.0])
    for known in (ALL, FIRST):
        made = float(loss(name, logits, line(1), known))
        assert made == pytest.approx(float(loss(name, moved, line(1), known)), rel=1e-3)
        assert made > 1


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("overlapping", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_widened_first(name: str, overlapping: bool, kind: torch.dtype) -> None:
    logits = torch.randn(1, 2 if overlapping else 3, 6, 1, 1, generator=torch.Generator().manual_seed(0)).to(kind)
    labels = line(0, 1, 2, 0, 1, 2)
    target = torch.stack([labels == 1, labels > 0], 1).to(kind) if overlapping else labels
    made = loss(name, logits, target, FIRST, overlapping=overlapping)
    assert made.dtype == torch.float32
    whole = target.float() if overlapping else target
    assert torch.equal(made, loss(name, logits.float(), whole, FIRST, overlapping=overlapping))


def test_a_change_to_sigmoids_is_said() -> None:
    descriptions = {name: describe_loss(tiny_plan({"overlapping": True, "training.loss": name})) for name in LOSSES}
    assert {name for name, words in descriptions.items() if words} == {"dice_ce", "ce", "dice_focal", "focal"}
    assert "binary cross-entropy is taken" in str(descriptions["dice_ce"])
    assert "the binary focal loss is taken" in str(descriptions["focal"])
    assert not any(describe_loss(tiny_plan({"training.loss": name})) for name in LOSSES)
