"""Which body of a row has which name: a posterior over whole assignments, by dynamic programming.

A spine is a row of slots, from one end to the other: T11, T12, T13, L1 … A slot that is not in everybody is optional,
with a prior of being there. Bodies that were found follow each other in the slots' order; between two of them lie slots
that are absent in this person, or bodies that were not found, which the distance of the two must bear out. Beyond the
row that a model knows there are further slots without a name. Probabilities of assignments follow from these priors and
from what speaks for each body in each slot.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.dataset.name_rows import split_vertebra
from osteon.predicting.bodies import Bodies

MISSED = 0.02
"""Prior of a body that is there and was not found."""
DISTANCE_SD = 0.2
"""Standard deviation of the distance of neighbours, as a part of the usual one."""
MAX_MISSED = 3
"""More bodies that were not found in a row are not considered."""
EXCEPTIONS = {"T12": 0.96, "T13": 0.03, "L5": 0.97, "L6": 0.04}
"""Priors of vertebrae that not everybody has, or that not everybody lacks: eleven or thirteen thoracic, four or six
lumbar ones (Tins and Balain, Insights into Imaging 7, 2016: numeric variants in some 8 % of people)."""

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Slot:
    """A place in a row.

    Attributes:
        name: Of its body; where the model has none of that name, what people call it, or "".
        number: Its position among the model's names, from 0; None: the model does not know the name.
        level: The coordinate that the network gives it: `number`, or what lies between or beyond.
        presence: Prior of its body being there.
        distance: Usual distance from its centre to the next slot's, in the unit of the steps.
    """

    name: str
    number: int | None
    level: float
    presence: float = 1.0
    distance: float = 1.0


@dataclass(frozen=True)
class Assignment:
    """One way to name all bodies.

    Attributes:
        slots: Of each body.
        probability: Of the posterior.
    """

    slots: tuple[Slot, ...]
    probability: float

    @property
    def names(self) -> tuple[str, ...]:
        """Of each body; "" where it has none."""
        return tuple(slot.name for slot in self.slots)

    def describe(self, *, from_last: bool = False) -> str:
        """`L1…L5`: the first named body and the last; the other way round where people count from the last."""
        named = [name for name in self.names if name][:: -1 if from_last else 1] or ["?"]
        return named[0] if len(named) == 1 else f"{named[0]}…{named[-1]}"


@dataclass(frozen=True)
class Levels:
    """How the bodies of a scan were named.

    Attributes:
        assignments: The likeliest first, three at most.
        bodies: In their order along the sequence's axis.
        evidence: `[body, slot]` what speaks for each slot, before it is made as sharp as validation has it.
        steps: From each body to the next, in mm.
        rows: How many rows of bodies lie side by side, each with names of its own; this is the least sure of them.
        first_is_last: Whether the first body, as people count, is the last of them: of vertebrae the uppermost.
        picked: The name of the first body that a person has given; the assignment that follows from it is in front.
    """

    assignments: tuple[Assignment, ...]
    bodies: Bodies
    evidence: Floats
    steps: tuple[float, ...]
    rows: int = 1
    first_is_last: bool = False
    picked: str | None = None

    @property
    def margin(self) -> float:
        """Probability of the likeliest assignment less that of the next, 0 … 1, whatever a person has picked."""
        chances = sorted((assignment.probability for assignment in self.assignments), reverse=True)
        return chances[0] - (chances[1] if len(chances) > 1 else 0.0)

    def describe(self) -> str:
        """`L1…L5 or T12…L4: 62 % against 35 %`, as people count."""
        shown = self.assignments[:2]
        names = " or ".join(assignment.describe(from_last=self.first_is_last) for assignment in shown)
        return f"{names}: {' against '.join(f'{assignment.probability:.0%}' for assignment in shown)}"

    def to_dict(self) -> dict[str, Any]:
        """For the record of a prediction: the ways to name the bodies, each with the first body's name."""
        end = -1 if self.first_is_last else 0
        return {
            "margin": round(self.margin, 4),
            "assignments": [
                {"names": list(each.names), "first": each.names[end], "probability": round(each.probability, 4)}
                for each in self.assignments
            ],
            **({} if self.picked is None else {"picked": self.picked}),
        }


def make_slots(names: Sequence[str], beyond: int, distances: Sequence[float] | None = None) -> list[Slot]:
    """The slots of a row.

    Args:
        names: In their order; of vertebrae either way round, with priors as in `EXCEPTIONS`.
        beyond: How many slots without a name follow at either end.
        distances: From each name to the next; None: 1 everywhere.
    """
    known = list(distances or [1.0] * (len(names) - 1))
    after = [*known, known[-1]]
    vertebrae = [split_vertebra(name) for name in names]
    labels = ["" if parts is None else f"{parts[1]}{parts[2]}" for parts in vertebrae]
    slots = [
        Slot(name, n, float(n), EXCEPTIONS.get(label, 1.0), after[n])
        for n, (name, label) in enumerate(zip(names, labels, strict=True))
    ]
    first_parts = vertebrae[0]
    prefix = first_parts[0] if first_parts is not None and all(vertebrae) else ""
    for extra, neighbours in (("T13", {"T12", "L1"}), ("L6", {"L5", "S1"})):
        for place in range(len(labels) - 1):
            if {labels[place], labels[place + 1]} == neighbours and extra not in labels:
                slots.append(Slot(prefix + extra, None, place + 0.5, EXCEPTIONS[extra], after[place]))
    slots.sort(key=lambda slot: slot.level)
    before, following = _names_beyond(labels, beyond)
    first = [Slot(prefix + name if name else "", None, float(-n), 1.0, after[0]) for n, name in enumerate(before, 1)]
    end = len(names) - 1.0
    last = [Slot(prefix + name if name else "", None, end + n, 1.0, after[-1]) for n, name in enumerate(following, 1)]
    return [*first[::-1], *slots, *last]


def _names_beyond(labels: Sequence[str], count: int) -> tuple[list[str], list[str]]:
    """What people call the vertebrae before the first label and after the last, the nearest first; "" otherwise."""
    column = [f"{region}{n}" for region, many in (("C", 7), ("T", 12), ("L", 5)) for n in range(1, many + 1)]
    column.append("S1")
    known = [column.index(label) if label in column else None for label in (labels[0], labels[-1])]
    if known[0] is None or known[1] is None:
        return [""] * count, [""] * count
    step = 1 if known[1] > known[0] else -1

    def outwards(start: int, step: int) -> list[str]:
        places = [start + step * n for n in range(1, count + 1)]
        return [column[place] if 0 <= place < len(column) else "" for place in places]

    return outwards(known[0], -step), outwards(known[1], step)


def rank_assignments(
    evidence: Floats, steps: Sequence[float], slots: Sequence[Slot], *, fixed: tuple[int, str] | None = None
) -> list[Assignment]:
    """The likeliest assignments, the best first, with their posterior probabilities.

    Args:
        evidence: `[body, slot]` log-likelihood of each body in each slot.
        steps: From each body to the next, in the unit of the slots' distances.
        slots: As `make_slots` gives them.
        fixed: The name of one body (its number) that a person has given; other assignments are left out, and the
            probabilities are those that the rest have without it.

    Returns:
        At most three; none where no assignment has the name that was given.
    """
    allowed = _with_priors(evidence, slots)
    everything = _log_total(allowed, steps, slots)
    if fixed is not None:
        allowed[fixed[0], [slot.name != fixed[1] for slot in slots]] = -np.inf
    best: list[list[tuple[float, tuple[int, ...]]]] = [[(float(value), (n,))] for n, value in enumerate(allowed[0])]
    for step, here in zip(steps, allowed[1:], strict=True):
        between = _transitions(step, tuple(slots))
        best = [
            heapq.nlargest(
                3,
                (
                    (value + float(between[before, slot] + here[slot]), (*way, slot))
                    for before in range(slot)
                    if np.isfinite(between[before, slot])
                    for value, way in best[before]
                ),
            )
            for slot in range(len(slots))
        ]
    ranked = heapq.nlargest(3, itertools.chain.from_iterable(best))
    return [
        Assignment(tuple(slots[slot] for slot in way), math.exp(value - everything))
        for value, way in ranked
        if np.isfinite(value)
    ]


def log_posterior(
    evidence: Floats, steps: Sequence[float], slots: Sequence[Slot], names: Sequence[str | None]
) -> float:
    """Logarithm of the probability that the bodies have these names; None: any that the model does not know."""
    allowed = _with_priors(evidence, slots)
    known = [[(slot.name if slot.number is not None else None) == name for slot in slots] for name in names]
    given = np.where(known, allowed, -np.inf)
    return _log_total(given, steps, slots) - _log_total(allowed, steps, slots)


def _with_priors(evidence: Floats, slots: Sequence[Slot]) -> Floats:
    return np.asarray(evidence + np.log([slot.presence for slot in slots]))


def _log_total(allowed: Floats, steps: Sequence[float], slots: Sequence[Slot]) -> float:
    """Logarithm of the sum over all assignments."""
    total = allowed[0]
    for step, here in zip(steps, allowed[1:], strict=True):
        total = here + _logsumexp(total[:, None] + _transitions(step, tuple(slots)))
    return float(_logsumexp(total))


@lru_cache(maxsize=1024)
def _transitions(step: float, slots: tuple[Slot, ...]) -> Floats:
    """`[slot, slot]` log-probability of the next body's slot, whatever speaks for it, at a distance of `step`."""
    count = len(slots)
    result = np.full((count, count), -np.inf)
    for first in range(count):
        ways = {0: 0.0}  # bodies that were not found between → log-probability
        far = step / slots[first].distance
        for second in range(first + 1, count):
            result[first, second] = _logsumexp(
                np.array([chance - 0.5 * ((far - 1 - missed) / DISTANCE_SD) ** 2 for missed, chance in ways.items()])
            )
            slot, longer = slots[second], dict[int, float]()
            for missed, chance in ways.items():
                if slot.presence < 1:
                    longer[missed] = np.logaddexp(longer.get(missed, -np.inf), chance + math.log(1 - slot.presence))
                if missed < MAX_MISSED:
                    found = chance + math.log(slot.presence * MISSED)
                    longer[missed + 1] = np.logaddexp(longer.get(missed + 1, -np.inf), found)
            ways = longer
            if not ways:
                break
    return result


def _logsumexp(values: Floats) -> Floats:
    """Over the first axis; −inf where all are."""
    most = values.max(0)
    safe = np.where(np.isfinite(most), most, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(safe + np.log(np.exp(values - safe).sum(0)))
