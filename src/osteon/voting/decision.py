"""From what each member says to a decision: each structure on its own, or one structure for each voxel.

A member's yes has a weight; the weights of all who say yes are summed. A count of votes is that with integers, and so
is STAPLE with logarithms of odds (see `staple`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.formats.labelmap import smallest_uint
from osteon.voting.run_length import RunLengthMask, bands, intervals

BAND_VOXELS = 1 << 21
"""Voxels of an index map that are decided together: some 50 MB."""


@dataclass(frozen=True, eq=False)
class VoteWeights:
    """How the votes for one structure are weighed, and from which sum on they suffice.

    Attributes:
        weights: `[member]`; 0 for a member that does not vote.
        threshold: The sum that suffices.
        prior: What is added to the sum before structures are compared with one another.
    """

    weights: npt.NDArray[np.float64]
    threshold: float
    prior: float = 0.0

    @property
    def reachable(self) -> bool:
        """Whether it suffices when all who vote say yes."""
        return float(np.maximum(self.weights, 0).sum()) >= self.threshold


MemberMasks = Sequence[RunLengthMask]
"""One structure: what each member says of it, in the members' order; nothing where one does not vote."""


def decide_binary(votes: MemberMasks, scale: VoteWeights, voxels: int) -> RunLengthMask:
    """The voxels at which one structure has enough votes; one at least, whatever the scale.

    Args:
        votes: For each member.
        scale: With a weight for each member.
        voxels: Of the whole array.
    """
    starts, stops = [], []
    for first, stop in bands(votes, voxels):
        edges, inside = intervals([runs.within(first, stop) for runs in votes])
        enough = inside.any(axis=0) & (scale.weights @ inside >= scale.threshold)
        starts.append(edges[:-1][enough])
        stops.append(edges[1:][enough])
    return RunLengthMask(np.concatenate(starts), np.concatenate(stops)).merge_touching()


def decide_exclusive(
    votes: Mapping[int, tuple[MemberMasks, VoteWeights]], voxels: int, *, band: int = BAND_VOXELS
) -> npt.NDArray[np.integer]:
    """An index map `[voxels]` of structures that exclude one another.

    Of the structures with enough votes the one with the largest sum (and prior) is taken. Where two are equal, the
    earliest member that says one of them decides.

    Args:
        votes: For each structure's value: what the members say, and the scale. A member says one structure at a voxel.
        voxels: Of the whole array.
        band: Voxels that are decided together.
    """
    labels = np.zeros(voxels, dtype=smallest_uint(max(votes, default=0)))
    for begin in range(0, voxels, band):
        end = min(voxels, begin + band)
        best = np.full(end - begin, -np.inf)
        earliest = np.zeros(end - begin, dtype=np.uint32)
        for value, (masks, scale) in votes.items():
            for first, stop in bands(masks, end - begin):
                here = [mask.within(begin + first, begin + stop) for mask in masks]
                edges, inside = intervals(here)
                enough = inside.any(axis=0) & ((sums := scale.weights @ inside) >= scale.threshold)
                if not enough.any():
                    continue
                lengths = np.diff(edges)
                where = slice(int(edges[0]) - begin, int(edges[-1]) - begin)
                score = np.repeat(np.where(enough, sums + scale.prior, -np.inf), lengths)
                member = np.repeat(np.argmax(inside, axis=0).astype(np.uint32), lengths)
                better = (score > best[where]) | (
                    (score == best[where]) & np.isfinite(score) & (member < earliest[where])
                )
                best[where][better] = score[better]
                earliest[where][better] = member[better]
                labels[begin:end][where][better] = value
    return labels
