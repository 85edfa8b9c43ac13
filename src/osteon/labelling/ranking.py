"""The order in which scans are suggested: one after the other, each by its signals and by what was taken before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from osteon.core.file_names import natural_key
from osteon.labelling.diversity import Floats, distances, quantiles, similar_distance, standardise
from osteon.labelling.signals import DIFFERENCE, SIGNALS, Candidate

USUAL = 0.5
"""A signal that is not above the middle of all scans is no reason for one."""
DIGITS = 2
"""Of Dice and probabilities: scans are not put in order by less."""


class Suggestion(BaseModel):
    """A scan in its place.

    Attributes:
        case: Its id.
        rank: From 1.
        suggested: Whether it is among those that were asked for.
        score: 0 … 1: the weighted mean of its signals' quantiles.
        quantiles: Of each signal that is known, among all scans.
        values: What each signal was measured as; None: unknown.
        reasons: In words, the weightiest first.
        similar_to: A scan before it that is nearly the same, or of the same subject.
        subject: Whose scan it is.
    """

    model_config = ConfigDict(frozen=True)

    case: str
    rank: int
    suggested: bool
    score: float
    quantiles: dict[str, float]
    values: dict[str, float | None]
    reasons: list[str]
    similar_to: str | None = None
    subject: str | None = None


def rank_candidates(
    candidates: Sequence[Candidate], labelled: Mapping[str, Sequence[float]], count: int
) -> list[Suggestion]:
    """All candidates, the best to label first.

    Args:
        candidates: In any order.
        labelled: Features of the scans that are labelled, by case.
        count: How many are asked for. The rest follow by what they are worth beside these.
    """
    if not candidates:
        return []
    queue = _Queue(sorted(candidates, key=lambda candidate: natural_key(candidate.case)), labelled)
    taken: list[Suggestion] = []
    while len(taken) < min(count, len(candidates)):
        number = queue.order()[0]
        taken.append(queue.suggestion(number, len(taken) + 1, suggested=True))
        queue.take(number)
    return taken + [
        queue.suggestion(number, rank, suggested=False) for rank, number in enumerate(queue.order(), len(taken) + 1)
    ]


class _Queue:
    """Candidates by number, and what each is worth beside those that were taken."""

    def __init__(self, candidates: list[Candidate], labelled: Mapping[str, Sequence[float]]) -> None:
        count = len(candidates)
        self.candidates, self.labelled = candidates, labelled
        self.left = np.ones(count, dtype=bool)
        self.values = {signal.name: np.array([signal.measure(c) for c in candidates], float) for signal in SIGNALS}
        self.places = {name: quantiles(values.round(DIGITS)) for name, values in self.values.items()}
        self.weights = {s.name: s.weight for s in SIGNALS if s.name == DIFFERENCE or self.is_known(s.name)}
        features = standardise([*(candidate.features for candidate in candidates), *labelled.values()])
        self.features, known = features[:count], features[count:]
        self.threshold = similar_distance(features)
        self.similar = np.full(count, None, dtype=object)
        self.nearest = np.full(count, None, dtype=object)
        self.subjects = np.array([candidate.subject for candidate in candidates], dtype=object)
        self.distance = self.values[DIFFERENCE] = np.full(count, np.inf)
        own = {candidate.case: number for number, candidate in enumerate(candidates)}
        for case, row in zip(labelled, known, strict=True):
            far = distances(self.features, row[None])[:, 0]
            if case in own:
                far[own[case]] = np.inf
            self._come_near(far, case)
        self.scale = self.distance.copy()
        """How far candidates are from labelled scans: one that a suggestion comes near to falls on it."""
        self._score()

    def is_known(self, name: str) -> bool:
        """Whether a signal was measured of any candidate."""
        return not np.isnan(self.values[name]).all()

    def _score(self) -> None:
        if not np.isfinite(self.scale).any():
            self.scale = self.distance.copy()
        self.places[DIFFERENCE] = quantiles(self.distance, self.scale)
        names = list(self.weights)
        self.score = np.average([self.places[name] for name in names], 0, [self.weights[name] for name in names])

    def order(self) -> list[int]:
        """Those left, the best first; what is like one that was taken comes after all others."""
        repeats = self.similar != None  # noqa: E711 (of each)
        return [number for number in np.lexsort((-self.score, repeats)).tolist() if self.left[number]]

    def take(self, number: int) -> None:
        """Take a candidate, and look at the others beside it."""
        self.left[number] = False
        chosen = self.candidates[number]
        far = distances(self.features, self.features[number][None])[:, 0]
        same = far < self.threshold
        if chosen.subject is not None:
            same |= self.subjects == chosen.subject
        self.similar[same & self.left & (self.similar == None)] = chosen  # noqa: E711 (of each)
        self._come_near(np.where(self.left, far, np.inf), chosen.case)
        self._score()

    def _come_near(self, far: Floats, case: str) -> None:
        """Note a case to which the candidates are so far, where it is the nearest to them."""
        closer = far < self.distance
        self.distance[closer], self.nearest[closer] = far[closer], case

    def suggestion(self, number: int, rank: int, *, suggested: bool) -> Suggestion:
        """A candidate in its place."""
        candidate, similar = self.candidates[number], self.similar[number]
        values = {name: float(self.values[name][number]) for name in self.weights}
        return Suggestion(
            case=candidate.case,
            rank=rank,
            suggested=suggested,
            score=round(float(self.score[number]), 4),
            quantiles={name: round(float(self.places[name][number]), 3) for name in self.weights},
            values={name: round(value, 4) if np.isfinite(value) else None for name, value in values.items()},
            reasons=self._reasons(number, suggested=suggested),
            similar_to=None if similar is None else similar.case,
            subject=candidate.subject,
        )

    def _reasons(self, number: int, *, suggested: bool) -> list[str]:
        candidate, similar = self.candidates[number], self.similar[number]
        words = {signal.name: signal.describe(candidate) for signal in SIGNALS}
        words[DIFFERENCE] = self._describe_difference(number)
        places = {name: float(self.places[name][number]) for name in self.weights if words[name]}
        by_weight = sorted(places, key=lambda name: -self.weights[name] * places[name])
        strong = [name for name in by_weight if places[name] > USUAL] or by_weight[:1]
        reasons = [words[name] for name in strong]
        if similar is not None:
            same = " of the same subject" if _same_subject(candidate, similar) else ""
            reasons.insert(0, f"{'repeats' if suggested else 'left out for now: like'} {similar.case}{same}")
        return reasons

    def _describe_difference(self, number: int) -> str:
        nearest, unusual = self.nearest[number], self.candidates[number].unusual
        if nearest is None:
            return unusual
        known = "the labelled scans" + ("" if nearest in self.labelled else " and those suggested before")
        share = f"{self.places[DIFFERENCE][number]:.0%}"
        words = f"unlike {known}: farther from the nearest, {nearest}, than {share} of the candidates"
        return f"{words}; {unusual}" if unusual else words


def _same_subject(first: Candidate, second: Candidate) -> bool:
    return first.subject is not None and first.subject == second.subject
