"""Which scan is labelled next: a table, in which a new strategy is one row."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case


@dataclass(frozen=True)
class Strategy:
    """A way to choose the next scan.

    Attributes:
        name: As clients ask for it.
        description: For people.
        choose: One of the cases without a label, of which there is at least one.
    """

    name: str
    description: str
    choose: Callable[[Dataset, Sequence[Case]], Case]


STRATEGIES = {
    row.name: row
    for row in (
        Strategy("first", "The first scan without a label, in the dataset's order", lambda _, cases: cases[0]),
        Strategy("random", "Any scan without a label", lambda _, cases: secrets.choice(cases)),
    )
}
