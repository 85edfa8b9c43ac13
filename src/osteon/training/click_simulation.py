"""The simulated person of a training whose network answers clicks.

In each patch one of the structures there is meant. Either the person clicks into it, or draws a scribble or a box; or a
mask is there already, damaged, and is corrected by clicks on its largest errors, or by none; or the mask is what the
network itself answered to the first clicks. What is drawn follows from seed, iteration and patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from osteon.core.boxes import Index3, bounding_box
from osteon.core.clicks import Click, Mask, next_click
from osteon.core.random_streams import Stream, generator
from osteon.plan.schema import Plan
from osteon.predicting.click_maps import click_channels
from osteon.training import ranks

SCRIBBLE_POINTS = 12
BOX_MARGIN = 2
"""Voxels between a box and what it is drawn around, at most."""
MAX_DAMAGE = 3
"""Voxels by which a damaged mask is grown, shrunk or moved, at most."""


@dataclass(frozen=True)
class ClickedPatch:
    """What is asked of the network in one patch.

    Attributes:
        reference: `[i, j, k]`: the structure that is meant.
        clicks: So far.
        mask: `[i, j, k]`: the mask so far.
        rounds: How often the network answers before its answer counts, and is then corrected by a click.
    """

    reference: Mask
    clicks: tuple[Click, ...]
    mask: Mask
    rounds: int = 0


def simulate_clicks(
    network: nn.Module,
    image: torch.Tensor,
    labels: torch.Tensor,
    annotated: torch.Tensor,
    plan: Plan,
    seed: int,
    iteration: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the network sees, and what it is to answer.

    Args:
        network: Answers the first clicks, as it is now.
        image: `[batch, channel, i, j, k]`, augmented.
        labels: Index `[batch, i, j, k]` int64 (pieces as `plan.outputs.encode_pieces` has them) or multi-hot.
        annotated: `[batch, structure]` bool, on the host: what nobody looked for is never meant.
        plan: With its section `clicks`.
        seed: Of the training.
        iteration: Its number.

    Returns:
        `[batch, channel + 3, i, j, k]`, and `[batch, i, j, k]` int64: 1 in the structure that is meant.
    """
    rows = range(ranks.rank() * len(image), (ranks.rank() + 1) * len(image))
    randoms = [generator(seed, Stream.CLICKS, iteration, row) for row in rows]
    host = labels.cpu().numpy()
    patches = [
        _begin(_choose_structure(one, known.tolist(), plan, rng), plan, rng)
        for one, known, rng in zip(host, annotated, randoms, strict=True)
    ]
    for _ in range(max(patch.rounds for patch in patches)):
        patches = _answer(network, image, patches, plan)
    seen = torch.cat((image, _channels(patches, plan, image.device)), dim=1)
    target = torch.from_numpy(np.stack([patch.reference for patch in patches])).to(labels.device)
    return seen, target.long()


def _channels(patches: Sequence[ClickedPatch], plan: Plan, device: torch.device) -> torch.Tensor:
    return torch.stack(
        [click_channels(patch.clicks, torch.from_numpy(patch.mask).to(device), plan) for patch in patches]
    )


@torch.no_grad()
def _answer(network: nn.Module, image: torch.Tensor, patches: Sequence[ClickedPatch], plan: Plan) -> list[ClickedPatch]:
    """The patches after one more answer of the network's, and a click on its largest error."""
    learns = network.training
    network.eval()
    logits = network(torch.cat((image, _channels(patches, plan, image.device)), dim=1))[0]
    network.train(learns)
    answers = (logits[:, 1] > logits[:, 0]).cpu().numpy()
    return [
        patch if not patch.rounds else _corrected(replace(patch, mask=answer, rounds=patch.rounds - 1))
        for patch, answer in zip(patches, answers, strict=True)
    ]


def _corrected(patch: ClickedPatch) -> ClickedPatch:
    click = next_click(patch.mask, patch.reference)
    return patch if click is None else replace(patch, clicks=(*patch.clicks, click))


def _choose_structure(labels: np.ndarray, annotated: Sequence[bool], plan: Plan, rng: np.random.Generator) -> Mask:
    """One structure, or piece, that the patch shows; nothing where it shows none."""
    count = len(plan.structures)
    if plan.overlapping:
        shown = [number for number in range(count) if annotated[number] and labels[number].any()]
        empty = np.zeros(labels.shape[1:], bool)
        return np.asarray(labels[rng.choice(shown)] > 0.5) if shown else empty
    values = [value for value in np.unique(labels) if value % (count + 1) and annotated[value % (count + 1) - 1]]
    return np.asarray(labels == rng.choice(values)) if values else np.zeros(labels.shape, bool)


def _begin(reference: Mask, plan: Plan, rng: np.random.Generator) -> ClickedPatch:
    if plan.clicks is None:
        raise ValueError("the plan has no section `clicks`")
    empty = np.zeros_like(reference)
    if not reference.any():  # a click on nothing that anybody meant
        return ClickedPatch(reference, (Click(_any_voxel(~reference, rng), positive=False),), empty)
    section, chance = plan.clicks, rng.random()
    rounds = int(rng.integers(1, section.most + 1))
    if chance < section.correcting:
        patch = ClickedPatch(reference, (), damage(reference, rng))
        for _ in range(int(rng.integers(0, min(rounds, 3) + 1))):
            patch = replace(_corrected(patch), mask=patch.mask)
            if len(patch.clicks) and rng.random() < 0.5:
                break
        return patch
    if rng.random() < section.drawing:
        clicks = _scribble(reference, rng) if rng.random() < 0.5 else _box(reference, rng)
    else:
        clicks = (Click(_inner_voxel(reference, rng)),)
    is_answered = chance < section.correcting + section.answering
    return ClickedPatch(reference, clicks, empty, min(rounds, 3) if is_answered else 0)


def damage(mask: Mask, rng: np.random.Generator) -> Mask:
    """A mask with errors as people and networks make them: grown, shrunk, moved, a piece missing or too much."""
    changed = mask
    kind = rng.integers(0, 3)
    steps = int(rng.integers(1, MAX_DAMAGE + 1))
    if kind == 0:
        changed = ndimage.binary_dilation(mask, iterations=steps)
    elif kind == 1:
        changed = ndimage.binary_erosion(mask, iterations=steps)
    else:
        shift = [
            int(s) if n > 2 * MAX_DAMAGE else 0
            for s, n in zip(rng.integers(-steps, steps + 1, 3), mask.shape, strict=True)
        ]
        changed = np.roll(mask, shift, (0, 1, 2))
    box = bounding_box(mask)
    if box is None:
        return mask
    for _ in range(int(rng.integers(1, 3))):
        centre = _any_voxel(ndimage.binary_dilation(mask, iterations=2), rng)
        axes = [
            (np.arange(n) - c) / max(2.0, rng.uniform(0.15, 0.5) * size)
            for n, c, size in zip(mask.shape, centre, box.shape, strict=True)
        ]
        ball = axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2 < 1
        changed = changed & ~ball if rng.random() < 0.5 else changed | ball
    return np.asarray(changed)


def _any_voxel(mask: Mask, rng: np.random.Generator) -> Index3:
    i, j, k = np.unravel_index(int(rng.choice(np.flatnonzero(mask))), mask.shape)
    return int(i), int(j), int(k)


def _inner_voxel(mask: Mask, rng: np.random.Generator) -> Index3:
    """Where people click first: further inside than half of the greatest depth."""
    box = bounding_box(mask)
    if box is None:
        raise ValueError("nothing to click into")
    depth = np.zeros(mask.shape, np.float32)
    depth[box.slices] = ndimage.distance_transform_edt(np.pad(mask[box.slices], 1))[1:-1, 1:-1, 1:-1]
    return _any_voxel(depth >= rng.uniform(0.3, 1.0) * depth.max(), rng)


def _scribble(mask: Mask, rng: np.random.Generator) -> tuple[Click, ...]:
    """Points on a line from one voxel inside to another, as far as they lie inside."""
    ends = np.array([_inner_voxel(mask, rng), _any_voxel(mask, rng)])
    line = np.rint(np.linspace(ends[0], ends[1], SCRIBBLE_POINTS)).astype(int)
    return tuple(Click((int(i), int(j), int(k))) for i, j, k in np.unique(line, axis=0) if mask[i, j, k])


def _box(mask: Mask, rng: np.random.Generator) -> tuple[Click, ...]:
    """The middles of a box's sides, outside, and that of the box, inside where the structure is there."""
    box = bounding_box(mask)
    if box is None:
        raise ValueError("nothing to draw a box around")
    margin = int(rng.integers(1, BOX_MARGIN + 1))
    middle = [(a + b - 1) // 2 for a, b in zip(box.first, box.stop, strict=True)]
    points = []
    for axis in range(3):
        for end in (box.first[axis] - margin, box.stop[axis] - 1 + margin):
            if 0 <= end < mask.shape[axis]:
                points.append([end if a == axis else m for a, m in enumerate(middle)])
    clicks = [Click((i, j, k), bool(mask[i, j, k])) for i, j, k in [middle, *points]]
    return tuple(click for click in clicks if click.positive == (click.at == tuple(middle))) or (
        Click(_inner_voxel(mask, rng)),
    )
