"""Results by site, or by any other field of the manifest: does a model carry over to others than it was made with?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from osteon.core.errors import UsageError
from osteon.core.instances import InstanceScores
from osteon.dataset.manifest import Case
from osteon.evaluating.instance_summary import InstanceSummary, summarise_instances
from osteon.evaluating.scores import Score
from osteon.evaluating.summary import Summary, overall, summarise

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Group:
    """The cases that have one value of a field.

    Attributes:
        name: The value.
        cases: How many of them were scored.
        summaries: One for each structure.
        overall: Over the structures' means.
        pieces: One for each structure whose pieces are numbered.
    """

    name: str
    cases: int
    summaries: tuple[Summary, ...]
    overall: Summary
    pieces: tuple[InstanceSummary, ...] = ()


def group_scores(
    scores: Sequence[Score], groups: Mapping[str, str], pieces: Sequence[InstanceScores] = ()
) -> tuple[Group, ...]:
    """Summarise each group of cases, in the order of their names; cases of no known group come last.

    Args:
        scores: Of all cases.
        groups: The group's name by case id.
        pieces: Of the cases among them whose pieces are numbered.
    """
    members: dict[str, list[Score]] = {}
    for score in scores:
        members.setdefault(groups.get(score.case, UNKNOWN), []).append(score)
    made = []
    for name in sorted(members, key=lambda name: (name == UNKNOWN, name)):
        summaries = tuple(summarise(members[name]))
        cases = {score.case for score in members[name]}
        own = tuple(summarise_instances([score for score in pieces if score.case in cases]))
        made.append(Group(name, len(cases), summaries, overall(summaries, members[name]), own))
    return tuple(made)


def field_of(case: Case | None, field: str) -> str:
    """A field of a case as the name of its group: lists are joined, what is not known is `unknown`.

    Raises:
        UsageError: The case stands in no manifest, or a manifest's cases have no such field.
    """
    if case is None:
        raise UsageError(
            f"cannot group by {field}: the reference is not a dataset",
            hint="give the dataset as REFERENCE, or leave out --by",
        )
    if field not in Case.model_fields:
        raise UsageError(
            f"cannot group by {field}: cases have no such field", hint=f"it is one of {', '.join(Case.model_fields)}"
        )
    value: Any = getattr(case, field)
    if value is None or value == []:
        return UNKNOWN
    return ", ".join(value) if isinstance(value, list) else str(value)
