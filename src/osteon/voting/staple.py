"""STAPLE: how sensitive and specific each member is, estimated from the members' answers alone.

Warfield, Zou, Wells: Simultaneous truth and performance level estimation (STAPLE), IEEE Transactions on Medical
Imaging 23(7), 2004, 903-921: expectation maximisation for one structure, with the members' mean as its share of the
image and as the first guess, as in ITK. All voxels of the image count, the background too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.voting.decision import MemberMasks, VoteWeights
from osteon.voting.run_length import Bits, bands, intervals

Floats = npt.NDArray[np.float64]

MOST_ROUNDS = 2000
SETTLED = 1e-9
"""No estimate changes by more in a round: then it has converged."""
SURE = 1e-10
"""Sensitivity and specificity are taken to lie this far from 0 and 1: nobody is never wrong."""
EVEN = 1e-9
"""Odds this near to even count as even, whatever rounding made of them: the voxel is inside."""


@dataclass(frozen=True, eq=False)
class Patterns:
    """Who says yes, and at how many voxels.

    Attributes:
        inside: `[member, n]`, each column another one.
        counts: `[n]` voxels.
    """

    inside: Bits
    counts: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class StapleEstimate:
    """What STAPLE says of the members that voted.

    Attributes:
        prior: The structure's share of the image.
        sensitivity: `[member]`: probability of a yes inside.
        specificity: `[member]`: probability of a no outside.
        rounds: Of expectation maximisation.
    """

    prior: float
    sensitivity: Floats
    specificity: Floats
    rounds: int

    def scale(self) -> VoteWeights:
        """The same as weights: the sum and prior are the logarithm of the odds that a voxel is inside.

        A voxel is inside at a probability of at least a half, which is at logarithmic odds of at least 0.
        """
        p, q = (np.clip(part, SURE, 1 - SURE) for part in (self.sensitivity, self.specificity))
        prior = float(np.clip(self.prior, SURE, 1 - SURE))
        yes, no = np.log(p / (1 - q)), np.log((1 - p) / q)
        offset = float(np.log(prior / (1 - prior)) + no.sum())
        return VoteWeights(yes - no, -offset - EVEN, offset)


def find_patterns(votes: MemberMasks, voxels: int) -> Patterns:
    """The patterns of a structure's answers and their voxels, those at which nobody says yes among them."""
    found: dict[bytes, int] = {}
    seen = 0
    for first, stop in bands(votes, voxels):
        edges, inside = intervals([runs.within(first, stop) for runs in votes])
        packed = np.ascontiguousarray(np.packbits(inside, axis=0).T)
        kinds, places = np.unique(packed, axis=0, return_inverse=True)
        counts = np.bincount(places.ravel(), weights=np.diff(edges), minlength=len(kinds))
        for kind, count in zip(kinds, counts, strict=True):
            found[kind.tobytes()] = found.get(kind.tobytes(), 0) + int(count)
        seen += int(edges[-1] - edges[0]) if len(edges) else 0
    nobody = bytes(-(-len(votes) // 8))
    found[nobody] = found.get(nobody, 0) + voxels - seen
    columns = np.array([np.frombuffer(kind, np.uint8) for kind in found]).T
    inside = np.unpackbits(columns, axis=0, count=len(votes)).astype(bool)
    return Patterns(inside, np.array(list(found.values()), dtype=np.int64))


def estimate(patterns: Patterns) -> StapleEstimate:
    """Expectation maximisation until nothing changes, in float64.

    Args:
        patterns: Of the members that vote; one at least.
    """
    inside = patterns.inside.astype(np.float64)
    counts = patterns.counts.astype(np.float64)
    share = inside.mean(axis=0)
    prior = float(counts @ share / counts.sum())
    p = q = np.full(len(inside), 1 - 1e-5)
    rounds = 0
    while rounds < MOST_ROUNDS:
        rounds += 1
        within, without = counts * share, counts * (1 - share)
        before = p, q
        p = _ratio(inside @ within, within.sum())
        q = _ratio((1 - inside) @ without, without.sum())
        share = _shares(inside, p, q, prior)
        if max(np.abs(p - before[0]).max(), np.abs(q - before[1]).max()) < SETTLED:
            break
    return StapleEstimate(prior, p, q, rounds)


def _shares(inside: Floats, p: Floats, q: Floats, prior: float) -> Floats:
    """`[n]` the probability that a voxel is inside (the paper's equations 16 to 18)."""
    scale = StapleEstimate(prior, p, q, 0).scale()
    odds = scale.weights @ inside + scale.prior
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -700, 700))))


def _ratio(part: Floats, whole: float) -> Floats:
    return part / whole if whole > 0 else np.ones_like(part)
