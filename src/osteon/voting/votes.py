"""One structure of one case: who votes, by which scale, and what comes out where too few do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from osteon.core.text import significant
from osteon.voting.decision import VoteWeights
from osteon.voting.rules import UNIT, VoteRules
from osteon.voting.run_length import EMPTY, RunLengthMask
from osteon.voting.staple import estimate, find_patterns

MemberVotes = Sequence[RunLengthMask | None]
"""What each member says of a structure, in their order; None where it does not vote."""


def weights_for(
    rules: VoteRules, structure: str, votes: MemberVotes, voxels: int
) -> tuple[VoteWeights, dict[str, Any] | None]:
    """How the answers are weighed, and with STAPLE what it says of the members (None for one that does not vote).

    Args:
        rules: `hard` or `staple`.
        structure: Its name.
        votes: One member at least votes.
        voxels: Of the whole image.
    """
    voting = np.array([vote is not None for vote in votes])
    if rules.method != "staple":
        return rules.scale(structure, voting.tolist()), None
    found = estimate(find_patterns([vote for vote in votes if vote is not None], voxels))
    own = found.scale()
    weights = np.zeros(len(votes))
    weights[voting] = own.weights
    estimated: dict[str, Any] = {"prior": significant(found.prior), "rounds": found.rounds}
    for name, values in (("sensitivity", found.sensitivity), ("specificity", found.specificity)):
        given = iter(values.tolist())
        estimated[name] = [significant(next(given)) if member_votes else None for member_votes in voting]
    return VoteWeights(weights, own.threshold, own.prior), estimated


def too_few(rules: VoteRules, scale: VoteWeights, votes: MemberVotes) -> str | None:
    """Why a structure cannot be voted on although some do; None where it can."""
    if rules.method != "hard" or scale.reachable:
        return None
    count = sum(vote is not None for vote in votes)
    have, need = scale.weights.sum() / UNIT, scale.threshold / UNIT
    return f"{count} of {len(votes)} members vote, with {have:g} votes; {need:g} are needed"


def voting_masks(votes: MemberVotes) -> list[RunLengthMask]:
    """What is counted: a member that does not vote says nothing."""
    return [EMPTY if vote is None else vote for vote in votes]
