"""Where the structures are, for models whose structures fill a small part of a scan.

A first pass with patches side by side finds them, and the overlapping patches are predicted only there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch

from osteon.core.boxes import Box, bounding_box
from osteon.plan.schema import Plan
from osteon.predicting.reference_statistics import ReferenceStatistics

MAX_STRUCTURE_SHARE = 0.15
"""Structures that fill at most this part of a scan are looked for first."""
MIN_PROBABILITY = 0.1
"""A voxel may belong to a structure from this probability on."""
MARGIN = 0.25
"""Regions are widened by this part of a patch, since a patch sees little of what lies at its edge."""
MIN_SPEEDUP = 4
"""A first pass must have so many times fewer patches than the whole scan."""


def has_small_structures(reference: Sequence[ReferenceStatistics]) -> bool:
    """Whether the structures of the training scans fill a small part of them; False where none is known."""
    fractions = sorted(1000 * sum(scan.volumes.values()) / math.prod(scan.extent_mm) for scan in reference)
    return bool(fractions) and fractions[len(fractions) // 2] <= MAX_STRUCTURE_SHARE


def is_region_pass_cheaper(starts: Sequence[Sequence[int]], first_starts: Sequence[Sequence[int]]) -> bool:
    """Whether a first pass costs little beside a whole one, given where their patches start along each axis."""
    return math.prod(map(len, first_starts)) * MIN_SPEEDUP <= math.prod(map(len, starts))


def regions_of_interest(
    predict: Callable[[torch.Tensor], torch.Tensor],
    image: torch.Tensor,
    size: Sequence[int],
    starts: Sequence[Sequence[int]],
    plan: Plan,
) -> list[Box]:
    """Boxes around all that a first pass finds, widened; empty where it finds nothing.

    Args:
        predict: From a patch `[1, channel, i, j, k]` to probabilities `[1, output, i, j, k]`.
        image: `[1, channel, i, j, k]`.
        size: Of a patch.
        starts: Where patches begin along each axis.
        plan: Whether structures overlap.
    """
    margin = [math.ceil(MARGIN * n) for n in size]
    boxes = []
    for corner in itertools.product(*starts):
        i, j, k = (slice(c, c + n) for c, n in zip(corner, size, strict=True))
        values = predict(image[..., i, j, k])[0]
        mask = values.amax(0) > MIN_PROBABILITY if plan.overlapping else values[0] < 1 - MIN_PROBABILITY
        if (found := bounding_box(mask.numpy())) is not None:
            boxes.append(found.move(corner).expand(margin, image.shape[2:]))
    return boxes
