"""Which threshold, or which weights, give one structure the best mean Dice over labelled cases.

What is chosen must also do better than the usual rule on cases that it was not chosen on; else the usual rule stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from osteon.formats.probabilities import LEVELS
from osteon.voting.vote_counts import VoteSample

PARTS = 10
"""Parts of the cases that take turns in being left out; with fewer cases each is left out once."""
ROUNDS = 4
"""So many further votes for each member are given away at the most."""
GAIN = 1e-4
"""Mean Dice that one more vote must add, and by which the choice must beat the usual rule on cases left out."""

Choice = TypeVar("Choice")
Weights = tuple[float, ...]
Score = Callable[[VoteSample, Choice], float | None]


@dataclass(frozen=True)
class FittedVote:
    """What was chosen for one structure.

    Attributes:
        threshold: Votes that suffice; None where weights were chosen or the usual rule stays.
        weights: For each member, 1 on average; None likewise.
        cases: How many the figures are means of.
        usual: Mean Dice by the usual rule.
        fitted: By the best threshold or weights, on the cases that they were chosen on.
        left_out: By those chosen without the case, on each case; None where there are too few cases.
    """

    threshold: int | None
    weights: Weights | None
    cases: int
    usual: float | None
    fitted: float | None
    left_out: float | None

    @property
    def figures(self) -> dict[str, float | None]:
        """The mean Dice of each kind, by its name in files."""
        return {"usual": self.usual, "fitted": self.fitted, "left_out": self.left_out}

    @property
    def replaces_default(self) -> bool:
        """Whether it takes the place of the usual rule."""
        return self.threshold is not None or self.weights is not None


def choose_threshold(samples: Sequence[VoteSample], members: int) -> FittedVote:
    """The number of votes. Ties go to the usual rule, then to the smaller number.

    Args:
        samples: Of one structure, from yes and no.
        members: How many there are.
    """

    def score(sample: VoteSample, threshold: int) -> float | None:
        if not threshold:
            return _by_weights(sample, (1.0,) * members)
        return sample.dice((sample.levels > 0).sum(axis=0) >= threshold)

    def choose(part: Sequence[VoteSample]) -> int:
        return max(range(members + 1), key=lambda threshold: (_mean(part, score, threshold), -threshold))

    best, figures = _fit(samples, score, choose, usual=0)
    return FittedVote(best if _is_better(figures) and best else None, None, *figures)


def choose_weights(samples: Sequence[VoteSample], members: int) -> FittedVote:
    """Weights: every member has one vote, and the member whose further vote helps most gets it, while one helps.

    As Caruana, Niculescu-Mizil, Crew, Ksikes: Ensemble selection from libraries of models, ICML 2004; beginning with
    all members keeps it from following a few cases.

    Args:
        samples: Of one structure.
        members: How many there are.
    """

    def choose(part: Sequence[VoteSample]) -> Weights:
        votes: Weights = (1.0,) * members
        best = _mean(part, _by_weights, votes)
        for _ in range(ROUNDS * members):
            more = [tuple(v + (n == m) for n, v in enumerate(votes)) for m in range(members)]
            figures = [_mean(part, _by_weights, one) for one in more]
            if max(figures) < best + GAIN:
                break
            best, votes = max(figures), more[int(np.argmax(figures))]
        return votes

    best, figures = _fit(samples, _by_weights, choose, usual=(1.0,) * members)
    mean = sum(best) / members
    evened = tuple(round(weight / mean, 6) for weight in best)
    return FittedVote(None, evened if _is_better(figures) and len(set(best)) > 1 else None, *figures)


def _by_weights(sample: VoteSample, weights: Weights) -> float | None:
    """The Dice of what lies where the weighted mean of those who vote is above a half."""
    own = np.asarray(weights, dtype=np.float64) * sample.voting
    return sample.dice(own @ sample.levels > (0.5 + 1e-9) * LEVELS * own.sum())


Figures = tuple[int, float | None, float | None, float | None]


def _fit(
    samples: Sequence[VoteSample],
    score: Score[Choice],
    choose: Callable[[Sequence[VoteSample]], Choice],
    *,
    usual: Choice,
) -> tuple[Choice, Figures]:
    """The choice on all cases, and the figures of `FittedVote`."""
    known = [sample for sample in samples if sample.dice(sample.levels.max(axis=0) > 0) is not None]
    if not known:
        return usual, (0, None, None, None)
    best = choose(known)
    left = None
    if len(known) > 1:
        parts = min(PARTS, len(known))
        scores: list[float | None] = []
        for part in range(parts):
            chosen = choose([sample for n, sample in enumerate(known) if n % parts != part])
            scores += [score(sample, chosen) for sample in known[part::parts]]
        left = _average(scores)
    return best, (len(known), _mean(known, score, usual), _mean(known, score, best), left)


def _is_better(figures: Figures) -> bool:
    """Whether the choice did better on cases left out."""
    _, usual, _, left = figures
    return usual is not None and left is not None and left >= usual + GAIN


def _mean(samples: Sequence[VoteSample], score: Score[Choice], choice: Choice) -> float:
    return _average([score(sample, choice) for sample in samples]) or 0.0


def _average(scores: Sequence[float | None]) -> float | None:
    given = [score for score in scores if score is not None]
    return sum(given) / len(given) if given else None
