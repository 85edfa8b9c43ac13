"""Losses, against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from osteon.training.losses import deep_supervision_loss, dice_and_bce, dice_and_cross_entropy, soft_dice_loss

ALL = torch.ones(1, 2, dtype=torch.bool)


def voxels(*rows: list[float]) -> torch.Tensor:
    """`[1, channel, n, 1, 1]` from one row for each channel."""
    return torch.tensor(rows)[None, :, :, None, None]


def test_index_loss_by_hand() -> None:
    # Two voxels: probabilities (¼, ½, ¼) and (½, ¼, ¼); labels 1 and 0.
    logits = voxels([0, math.log(2)], [math.log(2), 0], [0, 0])
    labels = torch.tensor([1, 0])[None, :, None, None]
    cross_entropy = math.log(2)
    dice = 2 * 0.5 / (0.5 + 0.25 + 1)  # of structure 1; structure 2 has no voxel and does not count
    assert float(dice_and_cross_entropy(logits, labels, ALL)) == pytest.approx(cross_entropy + 1 - dice, abs=1e-4)


def test_multi_hot_loss_by_hand() -> None:
    logits = voxels([0.0, math.log(3)], [0.0, 0.0])  # ½, ¾ and ½, ½
    labels = voxels([1.0, 1.0], [1.0, 0.0])
    bce = (math.log(2) + math.log(4 / 3) + 2 * math.log(2)) / 4
    dice = (2 * 1.25 / (1.25 + 2) + 2 * 0.5 / (1 + 1)) / 2
    assert float(dice_and_bce(logits, labels, ALL)) == pytest.approx(bce + 1 - dice, abs=1e-4)


def test_a_perfect_answer_costs_nothing() -> None:
    labels = torch.tensor([[0, 1, 2, 1]])[:, :, None, None]
    logits = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float() * 60
    assert float(dice_and_cross_entropy(logits, labels, ALL)) == pytest.approx(0, abs=1e-4)
    hot = voxels([1.0, 0, 1], [1.0, 0, 0])
    assert float(dice_and_bce((hot - 0.5) * 120, hot, ALL)) == pytest.approx(0, abs=1e-4)


def test_dice_sums_over_the_batch() -> None:
    shares = torch.tensor([[1.0, 0], [0.5, 0.5]])[:, None, :, None, None]
    target = torch.tensor([[1.0, 0], [0, 0]])[:, None, :, None, None]
    known = torch.ones(2, 1, dtype=torch.bool)
    assert float(soft_dice_loss(shares, target, known)) == pytest.approx(1 - 2 / (2 + 1), abs=1e-4)
    assert float(soft_dice_loss(shares, torch.zeros_like(target), known)) == 0


def test_an_unknown_structure_and_the_background_are_one_answer() -> None:
    known = torch.tensor([[True, False]])
    labels = torch.tensor([1, 0])[None, :, None, None]
    one = voxels([0.0, 2.0], [1.0, 0.5], [3.0, -1.0])
    # Moving weight from the background to the unknown structure, their sum the same, costs nothing.
    total = torch.logsumexp(one[:, [0, 2]], 1)
    two = one.clone()
    two[:, 0], two[:, 2] = total - math.log(4), total + math.log(3 / 4)
    expected = float(dice_and_cross_entropy(one, labels, known))
    assert float(dice_and_cross_entropy(two, labels, known)) == pytest.approx(expected, abs=1e-5)
    assert float(dice_and_cross_entropy(two, labels, ALL)) != pytest.approx(
        float(dice_and_cross_entropy(one, labels, ALL))
    )
    # By hand: a two-class problem against the sum.
    shares = torch.stack([total, one[:, 1]], 1).softmax(1)
    cross_entropy = -(shares[0, 1, 0].log() + shares[0, 0, 1].log()).item() / 2
    dice = (2 * shares[0, 1, 0] / (shares[0, 1].sum() + 1)).item()
    assert expected == pytest.approx(cross_entropy + 1 - dice, abs=1e-4)


def test_what_is_drawn_of_an_unknown_structure_counts_as_unknown() -> None:
    known = torch.tensor([[True, False]])
    logits = voxels([0.0, 2.0], [1.0, 0.5], [3.0, -1.0])
    drawn = torch.tensor([1, 2])[None, :, None, None]
    plain = torch.tensor([1, 0])[None, :, None, None]
    loss = dice_and_cross_entropy(logits, drawn, known)
    assert torch.equal(loss, dice_and_cross_entropy(logits, plain, known))
    assert loss < 10
    assert drawn.flatten().tolist() == [1, 2]


def test_only_the_case_that_lacks_a_structure_is_merged() -> None:
    logits = torch.randn(2, 3, 4, 1, 1, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.tensor([[0, 1, 2, 0], [0, 1, 0, 0]])[:, :, None, None]
    known = torch.tensor([[True, True], [True, False]])
    dice_and_cross_entropy(logits, labels, known).backward()
    merged = logits.grad
    assert merged is not None
    # In the second case background and unknown structure share the gradient in proportion to their probabilities.
    shares = logits.detach()[1].softmax(0)
    torch.testing.assert_close(merged[1, 0] * shares[2], merged[1, 2] * shares[0], atol=1e-6, rtol=1e-4)
    assert merged[0, 2].abs().sum() > 0
    assert torch.isfinite(merged).all()


def test_multi_hot_gives_an_unknown_structure_no_gradient() -> None:
    logits = torch.zeros(2, 2, 3, 1, 1, requires_grad=True)
    labels = torch.ones(2, 2, 3, 1, 1)
    known = torch.tensor([[True, False], [True, True]])
    dice_and_bce(logits, labels, known).backward()
    assert logits.grad is not None
    assert not logits.grad[0, 1].any()
    assert logits.grad[0, 0].all()
    assert logits.grad[1, 1].all()
    nothing = dice_and_bce(torch.randn(1, 2, 3, 1, 1), labels[:1], torch.zeros(1, 2, dtype=torch.bool))
    assert float(nothing) == 0


@pytest.mark.parametrize("overlapping", [False, True])
def test_stages_weigh_one_half_and_a_quarter(overlapping: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = [(8, 8, 4), (4, 4, 4), (2, 4, 2)]
    logits = [torch.randn(2, 2 if overlapping else 3, *size, generator=generator) for size in sizes]
    labels = torch.randint(0, 3, (2, 8, 8, 4), generator=generator)
    if overlapping:
        labels = torch.stack([labels == 1, labels > 0], 1).float()
    known = torch.tensor([[True, True], [False, True]])
    loss = dice_and_bce if overlapping else dice_and_cross_entropy
    parts = [
        loss(logits[0], labels, known),
        loss(logits[1], labels[..., ::2, ::2, :], known),
        loss(logits[2], labels[..., ::4, ::2, ::2], known),
    ]
    expected = (parts[0] + parts[1] / 2 + parts[2] / 4) / 1.75
    made = deep_supervision_loss(logits, labels, known, overlapping=overlapping)
    torch.testing.assert_close(made, expected)


def test_extreme_logits_stay_finite() -> None:
    labels = torch.tensor([[0, 1, 2, 1]])[:, :, None, None]
    for known in (ALL, torch.tensor([[True, False]])):
        logits = (torch.randn(1, 3, 4, 1, 1) * 1e4).requires_grad_()
        loss = dice_and_cross_entropy(logits, labels, known)
        loss.backward()
        assert torch.isfinite(loss)
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()
