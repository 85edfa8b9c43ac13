"""One structure of one case: who votes, by which scale, and what comes out where too few do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from osteon.voting.decision import Scale
from osteon.voting.rules import UNIT, Rules
from osteon.voting.run_length import NOTHING, Runs
from osteon.voting.staple import estimate, patterns_of

DIGITS = 6

Answers = Sequence[Runs | None]
"""What each member says of a structure, in their order; None where it does not vote."""


def scale_for(rules: Rules, structure: str, said: Answers, voxels: int) -> tuple[Scale, dict[str, Any] | None]:
    """How the answers are weighed, and with STAPLE what it says of the members (None for one that does not vote).

    Args:
        rules: `hard` or `staple`.
        structure: Its name.
        said: One member at least votes.
        voxels: Of the whole image.
    """
    voting = np.array([answer is not None for answer in said])
    if rules.method != "staple":
        return rules.scale(structure, voting.tolist()), None
    found = estimate(patterns_of([answer for answer in said if answer is not None], voxels))
    own = found.scale()
    weights = np.zeros(len(said))
    weights[voting] = own.weights
    told: dict[str, Any] = {"prior": _rounded(found.prior), "rounds": found.rounds}
    for name, values in (("sensitivity", found.sensitivity), ("specificity", found.specificity)):
        given = iter(values.tolist())
        told[name] = [_rounded(next(given)) if votes else None for votes in voting]
    return Scale(weights, own.least, own.bias), told


def too_few(rules: Rules, scale: Scale, said: Answers) -> str | None:
    """Why a structure cannot be voted on although some do; None where it can."""
    if rules.method != "hard" or scale.reachable:
        return None
    votes = sum(answer is not None for answer in said)
    have, need = scale.weights.sum() / UNIT, scale.least / UNIT
    return f"{votes} of {len(said)} members vote, with {have:g} votes; {need:g} are needed"


def voices(said: Answers) -> list[Runs]:
    """What is counted: a member that does not vote says nothing."""
    return [NOTHING if answer is None else answer for answer in said]


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
