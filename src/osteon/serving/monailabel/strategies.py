"""Which scan is labelled next: a table, in which a new strategy is one row."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from osteon.core.errors import OsteonError
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case
from osteon.labelling.suggestion_files import FOLDER, read_suggestions

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Strategy:
    """A way to choose the next scan.

    Attributes:
        name: As clients ask for it.
        description: For people.
        choose: One of the cases without a label, of which there is at least one, and why it is that one.
    """

    name: str
    description: str
    choose: Callable[[Dataset, Sequence[Case]], tuple[Case, str]]


def _suggested(dataset: Dataset, cases: Sequence[Case]) -> tuple[Case, str]:
    """The first in the order of the last `osteon suggest`; else the dataset's first, and why."""
    waiting = {case.id: case for case in cases}
    why = "nothing was suggested yet: `osteon suggest DATASET RUN` ranks the scans"
    try:
        suggestions = read_suggestions(dataset.folder / FOLDER)
        for each in suggestions:
            if each.case in waiting:
                return waiting[each.case], "; ".join(each.reasons)
        if suggestions:
            why = "everything that was suggested has a label: `osteon suggest DATASET RUN` ranks what came since"
    except OsteonError as error:
        why = f"the suggestions cannot be read: suggest again ({error.message.partition(': ')[2]})"
    logger.warning(f"the first scan without a label instead of a suggested one: {why}")
    return cases[0], f"the first scan without a label: {why}"


STRATEGIES = {
    row.name: row
    for row in (
        Strategy("first", "The first scan without a label, in the dataset's order", lambda _, cases: (cases[0], "")),
        Strategy("random", "Any scan without a label", lambda _, cases: (secrets.choice(cases), "")),
        Strategy("suggest", "What labelling is expected to gain most, as `osteon suggest` has ranked it", _suggested),
    )
}
