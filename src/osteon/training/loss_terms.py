"""The parts that losses are made of, for index and multi-hot targets; what nobody annotated counts nowhere.

A batch is that of all ranks: each asks for the same sums, whatever its own patches show.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from osteon.training import ranks

SMOOTH = 1e-5
EXCLUDED = -1e30
"""A logit that no class wins with, finite so that gradients stay so."""
MIN_ERROR = 1e-7
"""Focal losses: a smaller part that is missing has no slope, so that a power below 1 has no infinite one."""


def merge_unannotated(
    logits: torch.Tensor, labels: torch.Tensor, annotated: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Let a class that was not annotated in a case and the background there be one answer.

    Either is right then (marginal loss: Fang and Yan, IEEE TMI 39, 2020; Shi et al., Med. Image Anal. 70, 2021).

    Args:
        logits: `[batch, 1 + structure, i, j, k]`, the background first.
        labels: `[batch, i, j, k]` int64: 0 background, n the n-th structure.
        annotated: `[batch, structure]` bool.

    Returns:
        Logits and labels of the same shapes: the background's logit is that of the sum, no unknown class ever wins.
    """
    is_annotated = torch.cat((torch.ones_like(annotated[:, :1]), annotated), dim=1)
    labels = labels * is_annotated.gather(1, labels.flatten(1)).view_as(labels)  # what is drawn of it is unknown too
    is_unannotated = ~is_annotated[:, :, None, None, None]
    merged = logits.masked_fill(~is_unannotated, EXCLUDED)
    background = torch.logsumexp(torch.cat((logits[:, :1], merged), dim=1), dim=1, keepdim=True)
    return torch.cat((background, logits[:, 1:].masked_fill(is_unannotated[:, 1:], EXCLUDED)), dim=1), labels


def log_odds(logits: torch.Tensor) -> torch.Tensor:
    """Each class's log-odds against all others together, `ln(p / (1 − p))` of its softmax p, exact at any logit.

    A sigmoid of these is the softmax of the logits.

    Args:
        logits: `[batch, class, …]`, at least two classes.
    """
    largest, number = logits.max(1, keepdim=True)
    top = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, number, True)
    parts = (logits - largest).exp()
    without = (parts.sum(1, keepdim=True) - parts).masked_fill(top, 1.0)  # ≥ 1: the largest is among the others
    rest = torch.logsumexp(logits.masked_fill(top, EXCLUDED), dim=1, keepdim=True)
    return logits - torch.where(top, rest, largest + without.log())


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, gamma: float = 0.0) -> torch.Tensor:
    """Mean of −(1 − p)^γ · ln p over all voxels, p the softmax of the right class; γ = 0: cross-entropy.

    Args:
        logits: `[batch, class, i, j, k]`.
        labels: `[batch, i, j, k]` int64.
        gamma: Lin et al., ICCV 2017.
    """
    each = _focal(F.cross_entropy(logits, labels, reduction="none"), gamma)
    return ranks.mean(each.mean())  # torch's own mean varies on a GPU


def binary_cross_entropy(
    logits: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor, gamma: float = 0.0
) -> torch.Tensor:
    """Mean of −(1 − p)^γ · ln p over voxels and annotated structures, p the sigmoid's share of what is right.

    Args:
        logits: `[batch, structure, i, j, k]`.
        target: The same shape, float 0/1.
        annotated: `[batch, structure]` bool.
        gamma: As in `cross_entropy`.
    """
    cost = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    each = _focal(cost, gamma).mean((2, 3, 4))
    return mean_where(each, annotated)


def mean_where(values: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """The mean of the batch's values where they are known; 0 where none is."""
    sums = ranks.total(torch.stack([(values * known).sum(), known.sum().to(values)]))
    return sums[0] / sums[1].clamp_min(1)


def tversky_loss(
    probabilities: torch.Tensor, target: torch.Tensor, annotated: torch.Tensor, beta: float = 0.5
) -> torch.Tensor:
    """1 − soft Tversky index, its sums taken over the batch, its mean over the structures that the batch shows.

    The index is TP / (TP + β · FN + (1 − β) · FP) (Salehi et al., MLMI 2017); β = ½: Dice.
    A structure without a voxel in the batch has no index to rise; cross-entropy teaches its absence.

    Args:
        probabilities: `[batch, structure, i, j, k]`.
        target: The same shape, 0/1.
        annotated: `[batch, structure]` bool.
        beta: β, the weight of false negatives.
    """
    mask = annotated[:, :, None, None, None].to(probabilities)
    probabilities, target = probabilities * mask, target * mask
    sums = torch.stack([part.sum((0, 2, 3, 4)) for part in (probabilities * target, target, probabilities)])
    true_positives, positives, found = ranks.total(sums)
    false_negatives, false_positives = positives - true_positives, found - true_positives
    errors = beta * false_negatives + (1 - beta) * false_positives
    losses = 1 - (true_positives + SMOOTH / 2) / (true_positives + errors + SMOOTH / 2)
    is_shown = positives > 0
    return (losses * is_shown).sum() / is_shown.sum().clamp_min(1)


def _focal(cost: torch.Tensor, gamma: float) -> torch.Tensor:
    """(1 − p)^γ · cost, where the cost is −ln p."""
    return cost if gamma == 0 else (-torch.expm1(-cost)).clamp_min(MIN_ERROR) ** gamma * cost
