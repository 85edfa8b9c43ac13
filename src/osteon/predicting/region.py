"""Where the structures are, for models whose structures fill a small part of a scan.

A first look with patches side by side finds them, and the patches that overlap are looked at only there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch

from osteon.core.boxes import Box
from osteon.plan.schema import Plan
from osteon.predicting.reference_statistics import Looks

SMALL_PART = 0.15
"""Structures that fill at most this part of a scan are looked for first."""
SEEN = 0.1
"""A voxel belongs to something, perhaps, from this probability on."""
MARGIN = 0.25
"""What was seen is widened by this part of a patch, since a patch sees little of what lies at its edge."""
WORTH = 4
"""A first look must have so many times fewer patches than the whole scan."""


def fills_little(reference: Sequence[Looks]) -> bool:
    """Whether the structures of the training scans fill a small part of them; False where none is known."""
    shares = sorted(1000 * sum(looks.volumes.values()) / math.prod(looks.extent_mm) for looks in reference)
    return bool(shares) and shares[len(shares) // 2] <= SMALL_PART


def worthwhile(fine: Sequence[Sequence[int]], first: Sequence[Sequence[int]]) -> bool:
    """Whether a first look costs little beside a whole one, given where patches start along each axis."""
    return math.prod(map(len, first)) * WORTH <= math.prod(map(len, fine))


def seen_by(
    look: Callable[[torch.Tensor], torch.Tensor],
    image: torch.Tensor,
    size: Sequence[int],
    starts: Sequence[Sequence[int]],
    plan: Plan,
) -> list[Box]:
    """Boxes that hold all that a first look saw, widened; empty where it saw nothing.

    Args:
        look: From a patch `[1, channel, i, j, k]` to probabilities `[1, output, i, j, k]`.
        image: `[1, channel, i, j, k]`.
        size: Of a patch.
        starts: Where patches begin along each axis.
        plan: Whether structures overlap.
    """
    margin = [math.ceil(MARGIN * n) for n in size]
    boxes = []
    for corner in itertools.product(*starts):
        i, j, k = (slice(c, c + n) for c, n in zip(corner, size, strict=True))
        shares = look(image[..., i, j, k])
        seen = shares[0].amax(0) > SEEN if plan.overlapping else shares[0, 0] < 1 - SEEN
        ends = []
        for axis, first in enumerate(corner):
            along = torch.nonzero(seen.amax(tuple(a for a in range(3) if a != axis))).flatten()
            if not len(along):
                break
            ends.append((first + int(along[0]), first + int(along[-1]) + 1))
        if len(ends) == 3:
            low, high = zip(*ends, strict=True)
            boxes.append(Box(low, high).expand(margin, image.shape[2:]))
    return boxes
