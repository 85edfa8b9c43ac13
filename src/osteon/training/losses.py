"""The losses that a plan may name; a new one is one row, here or in a package's entry points `osteon.losses`.

docs/losses.md has the formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

from osteon.core.errors import PlanError
from osteon.core.plugins import with_plugins
from osteon.plan.outputs import OutputLayout
from osteon.plan.overlay import closest_names
from osteon.plan.schema import Plan, Training
from osteon.training import ranks
from osteon.training.host_to_device import send_like
from osteon.training.loss_terms import (
    binary_cross_entropy,
    cross_entropy,
    log_odds,
    mean_where,
    merge_unannotated,
    tversky_loss,
)
from osteon.training.targets import CoreTargets, LevelTargets, Targets


@dataclass(frozen=True)
class Loss:
    """A sum of terms.

    Attributes:
        description: The loss in words.
        voxel_term: The term that is a mean over voxels.
        overlap_term: The term that is a share of volumes.
        function: A plugin's term: (probabilities `[batch, structure, i, j, k]`, target of 0 and 1 of that shape,
            annotated `[batch, structure]` bool) → a scalar; what is not annotated must not count. Over several ranks it
            sees each one's batch, and the mean of what it says of them counts.
    """

    description: str
    voxel_term: Literal["ce", "bce", "focal"] | None = None
    overlap_term: Literal["dice", "tversky"] | None = None
    function: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor] | None = None


LOSSES = {
    "dice_ce": Loss("Dice + cross-entropy", "ce", "dice"),
    "dice_bce": Loss("Dice + binary cross-entropy of each structure", "bce", "dice"),
    "dice_focal": Loss("Dice + focal loss", "focal", "dice"),
    "dice": Loss("Dice", None, "dice"),
    "ce": Loss("cross-entropy", "ce"),
    "bce": Loss("binary cross-entropy of each structure", "bce"),
    "focal": Loss("focal loss", "focal"),
    "tversky": Loss("Tversky", None, "tversky"),
}


def find_loss(name: str) -> Loss:
    """The loss of a name. Raises PlanError where there is none; the nearest are named."""
    rows = with_plugins("osteon.losses", LOSSES, Loss)
    if name not in rows:
        raise PlanError(f"there is no loss {name}", hint=f"near it: {closest_names(name, list(rows))}")
    return rows[name]


CERTAIN = 30.0
"""A logit beside which others have no probability."""
CORE_WEIGHT = 0.5
"""Of the loss of cores, beside that of the classes; the one of levels has 1."""


def deep_supervision_loss(
    logits: list[torch.Tensor], targets: Targets, layout: OutputLayout, training: Training, *, overlapping: bool
) -> torch.Tensor:
    """The losses of the decoder's stages, weighted 1, ½, ¼ … and divided by the weights' sum.

    Args:
        logits: `[batch, output, i, j, k]` of each supervised stage, the finest first.
        targets: At full resolution; what is annotated lies on the host: a GPU would have to be waited for.
        layout: Of the output's channels.
        training: Names the loss and its numbers.
        overlapping: Whether the labels are multi-hot.
    """
    complete, annotated = bool(targets.annotated.all()), send_like(targets.annotated, targets.labels)
    total = torch.zeros((), device=targets.labels.device)
    weights = 0.0
    for stage, output in enumerate(logits):
        here = targets.at(output.shape[2:])
        classes = output[:, : layout.classes]
        if here.levels is not None:
            classes = _certain_where_unknown(classes, here.labels, here.levels.known)
        part = stage_loss(classes, here.labels, annotated, training, overlapping=overlapping, complete=complete)
        if here.cores is not None:
            part = part + CORE_WEIGHT * _core_loss(output[:, layout.core, None].float(), here.cores)
        if here.levels is not None:
            part = part + _level_loss(output[:, layout.first_level :].float(), here.levels)
        total = total + part / 2**stage
        weights += 1 / 2**stage
    return total / weights


def _certain_where_unknown(logits: torch.Tensor, labels: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Logits that are right, and learn nothing, where the labels are unknown."""
    right = torch.zeros_like(logits).scatter_(1, labels[:, None], CERTAIN)
    return torch.where(known[:, None], logits, right)


def _core_loss(logits: torch.Tensor, targets: CoreTargets) -> torch.Tensor:
    """Binary cross-entropy, and the Dice of cores or of what parts them, whichever is rarer: `[batch, 1, i, j, k]`."""
    known, core = targets.known.float()[:, None], targets.core[:, None]
    voxels = F.binary_cross_entropy_with_logits(logits, core, reduction="none")
    everywhere = torch.ones((len(core), 1), dtype=torch.bool, device=core.device)
    sums = ranks.total(torch.stack([(core * known).sum(), known.sum()]))
    turned = (2 * sums[0] > sums[1]).float()
    chances = torch.lerp(logits.sigmoid(), 1 - logits.sigmoid(), turned)
    overlap = tversky_loss(chances * known, torch.lerp(core, 1 - core, turned) * known, everywhere, 0.5)
    return mean_where(voxels, known) + overlap


def _level_loss(logits: torch.Tensor, targets: LevelTargets) -> torch.Tensor:
    """Cross-entropy of logits `[batch, level, i, j, k]`, whose targets lie between two levels."""
    chances = logits.log_softmax(1)
    below = targets.level.floor().clamp(0, logits.shape[1] - 2)
    part = targets.level - below
    number = below.long()[:, None]
    right = (1 - part) * chances.gather(1, number)[:, 0] + part * chances.gather(1, number + 1)[:, 0]
    return -mean_where(right, targets.near.float())


def stage_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    annotated: torch.Tensor,
    training: Training,
    *,
    overlapping: bool,
    complete: bool = False,
) -> torch.Tensor:
    """The loss that a plan names, of one stage.

    Args:
        logits: `[batch, class, i, j, k]`, or `[batch, structure, i, j, k]`.
        labels: Index `[batch, i, j, k]` or multi-hot `[batch, structure, i, j, k]`.
        annotated: `[batch, class]` bool without the background, where the labels lie.
        training: Names the loss and its numbers.
        overlapping: Whether the labels are multi-hot.
        complete: All is known to be annotated.
    """
    row = find_loss(training.loss)
    logits = logits.float()
    if overlapping:
        target = labels.float()
    else:
        if not complete:
            logits, labels = merge_unannotated(logits, labels, annotated)
        target = torch.zeros_like(logits).scatter_(1, labels[:, None], 1.0)[:, 1:]
    loss = torch.zeros((), device=logits.device)
    gamma = training.focal_gamma if row.voxel_term == "focal" else 0.0
    if row.voxel_term is not None and overlapping:
        loss = loss + binary_cross_entropy(logits, target, annotated, gamma)
    elif row.voxel_term == "bce":
        loss = loss + binary_cross_entropy(log_odds(logits)[:, 1:], target, annotated)
    elif row.voxel_term is not None:
        loss = loss + cross_entropy(logits, labels, gamma)
    probabilities = logits.sigmoid() if overlapping else logits.softmax(1)[:, 1:]
    if row.function is not None:
        loss = loss + ranks.mean(row.function(probabilities, target, annotated))
    if row.overlap_term is not None:
        loss = loss + tversky_loss(
            probabilities, target, annotated, training.tversky_beta if row.overlap_term == "tversky" else 0.5
        )
    return loss


def describe_loss(plan: Plan) -> str | None:
    """What becomes of a loss that lets one class win, where structures overlap; nothing where it stays what it is."""
    row = find_loss(plan.training.loss)
    if not plan.overlapping or row.voxel_term not in ("ce", "focal"):
        return None
    instead = "binary cross-entropy" if row.voxel_term == "ce" else "the binary focal loss"
    return (
        f"loss {plan.training.loss}: structures overlap, so each has a sigmoid of its own in place of one softmax, "
        f"and {instead} is taken"
    )
