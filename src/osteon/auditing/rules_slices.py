"""Labels of every second slice or so."""

from __future__ import annotations

from collections.abc import Iterator

from osteon.auditing.cohort import Cohort
from osteon.auditing.finding import Finding
from osteon.core.text import shorten_list
from osteon.dataset.sparse_labels import describe_step

_LISTED = 8


def find_sparse_labels(cohort: Cohort) -> Iterator[Finding]:
    """Structures drawn on some slices only: the model would learn that bone comes and goes."""
    for case in cohort.labelled:
        found = {name: facts for name, facts in case.structures.items() if facts.step > 1}
        if found:
            step = min(facts.step for facts in found.values())
            yield Finding(
                severity="error",
                kind="between-slices",
                cases=[case.id],
                structures=list(found),
                what=f"drawn on {describe_step(step)}: {shorten_list([f.drawn for f in found.values()], _LISTED)}",
                against="what lies between counts as background",
                action="import it again in the form masks, which draws the slices between (--between-slices fill)",
                strength=0.9,
            )
