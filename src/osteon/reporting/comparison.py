"""A comparison of several runs: who took part, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from osteon.core.errors import OsteonError
from osteon.core.instances import InstanceScores
from osteon.core.labels import Structure
from osteon.evaluating.comparison import RunComparison
from osteon.evaluating.instance_summary import InstanceSummary
from osteon.evaluating.ranking import Ranking
from osteon.evaluating.record import Failure
from osteon.evaluating.scores import Score
from osteon.evaluating.summary import Summary
from osteon.formats.label_meanings import LabelMeanings
from osteon.reporting.entries import Submission


@dataclass(frozen=True)
class Entry:
    """One submission with its scores.

    Attributes:
        submission: Who.
        scores: On the cases that all submissions have.
        summaries: Of each structure, over these.
        overall: Over the structures' means.
        failures: What could not be scored.
        missing: Cases that it lacks.
        legend: What numbers mean in predictions that name no structures.
        pieces: The scores of numbered pieces on the same cases; none of a table of RLE, which has classes alone.
        piece_summaries: Of each structure that has such, over these.
    """

    submission: Submission
    scores: list[Score]
    summaries: list[Summary]
    overall: Summary
    failures: list[Failure]
    missing: list[str]
    legend: LabelMeanings | None = None
    pieces: list[InstanceScores] = field(default_factory=list)
    piece_summaries: list[InstanceSummary] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name in tables and charts."""
        return self.submission.name


@dataclass(frozen=True)
class ComparisonResult:
    """The result of a comparison.

    Attributes:
        structures: What was scored.
        entries: By rank.
        cases: That all have.
        left_out: Cases that some lack.
        ranking: By Dice.
        against_best: For each other submission the tests against the first, structure by structure.
        trained_on: By submission the cases that it was trained on. They are in no metric, unless there are no others.
        pieces_against_best: As `against_best`, by the F1 of numbered pieces, of submissions that have such.
        page: The HTML page; None where nothing was written.
    """

    structures: tuple[Structure, ...]
    entries: list[Entry]
    cases: list[str]
    left_out: list[str]
    ranking: Ranking | None
    against_best: dict[str, RunComparison] = field(default_factory=dict)
    trained_on: dict[str, list[str]] = field(default_factory=dict)
    pieces_against_best: dict[str, RunComparison] = field(default_factory=dict)
    page: Path | None = None

    @property
    def tested(self) -> bool:
        """Whether no submission was trained on the cases."""
        return set(self.cases).isdisjoint(case for cases in self.trained_on.values() for case in cases)

    @property
    def failures(self) -> dict[str, OsteonError]:
        """What could not be scored, by submission and case."""
        found: dict[str, OsteonError] = {}
        for entry in self.entries:
            for failure in entry.failures:
                name = f"{entry.name}, {failure.case}"
                times = sum(known == name or known.startswith(f"{name} (") for known in found)
                found[f"{name} ({times + 1})" if times else name] = OsteonError(failure.message, hint=failure.hint)
        return found
