"""What came of a vote: what was decided by whom, who said nothing, and what could not be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from osteon.core.errors import CaseError, OsteonError


@dataclass(frozen=True)
class Problem:
    """Something that a member says and that could not be used: its row or file does not vote, all else does.

    Attributes:
        kind: Which problems are alike: `broken`, `twice`, `unknown`, `unreadable`, `counted`.
        member: The member's path.
        what: A sentence that names file, line, case and structure.
        hint: The way out.
        case: The case, where it is known.
        structure: The structure, likewise.
        line: In a table, from 1.
    """

    kind: str
    member: str
    what: str
    hint: str = ""
    case: str | None = None
    structure: str | None = None
    line: int | None = None


@dataclass(frozen=True)
class Absence:
    """A member says nothing of a case, or of a structure in it: it does not vote there, neither yes nor no."""

    member: str
    case: str
    structure: str | None = None


@dataclass(frozen=True)
class Undecided:
    """A structure of a case that could not be voted on, since too few members voted to reach its threshold."""

    case: str
    structure: str
    why: str


@dataclass(frozen=True)
class CaseVote:
    """What came of one case.

    Attributes:
        voters: How many members voted on each structure.
        absences: Who said nothing.
        problems: What could not be used.
        undecided: Structures with too few voters.
        estimates: With STAPLE: for each structure, what is said of the members that voted.
    """

    voters: Mapping[str, int]
    absences: tuple[Absence, ...] = ()
    problems: tuple[Problem, ...] = ()
    undecided: tuple[Undecided, ...] = ()
    estimates: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it; what is empty is left out."""
        return {name: part for name, part in asdict(self).items() if part or name == "voters"}

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> CaseVote:
        """The inverse of `to_dict`."""
        return cls(
            dict(data["voters"]),
            tuple(Absence(**one) for one in data.get("absences", ())),
            tuple(Problem(**one) for one in data.get("problems", ())),
            tuple(Undecided(**one) for one in data.get("undecided", ())),
            dict(data.get("estimates", {})),
        )


@dataclass(frozen=True)
class VoteReport:
    """What came of all cases.

    Attributes:
        out: The folder or table that was written.
        record: The file that says all of this.
        members: Paths, in their order.
        structures: Names of what was voted on.
        cases: What came of each.
        skipped: Cases that were done already.
        failed: Cases that could not be voted on.
        problems: Of rows and files that belong to no case that was voted on.
        notes: How members were understood, where that is not as usual.
    """

    out: Path
    record: Path
    members: tuple[str, ...]
    structures: tuple[str, ...]
    cases: dict[str, CaseVote] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, OsteonError] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def all_problems(self) -> list[Problem]:
        """Everything that could not be used, table by table and line by line."""
        found = [*self.problems, *(one for vote in self.cases.values() for one in vote.problems)]
        places = {member: number for number, member in enumerate(self.members)}
        return sorted(found, key=lambda one: (places.get(one.member, -1), one.line or 0))

    @property
    def absences(self) -> list[Absence]:
        """Who said nothing of what."""
        return [one for vote in self.cases.values() for one in vote.absences]

    @property
    def undecided(self) -> list[Undecided]:
        """What had too few voters."""
        return [one for vote in self.cases.values() for one in vote.undecided]


def no_voter_error(case: str, problems: Sequence[Problem]) -> CaseError:
    """The error for a case of which no member's file can be used."""
    return CaseError(f"{case}: no member's file can be used", hint="; ".join(one.what for one in problems[:2]))


def failures_to_dict(failed: Mapping[str, OsteonError]) -> dict[str, dict[str, str]]:
    """Failed cases as JSON has them."""
    return {case: {"message": error.message, "hint": error.hint} for case, error in failed.items()}


def failures_from_dict(data: Mapping[str, Mapping[str, str]]) -> dict[str, OsteonError]:
    """The inverse of `failures_to_dict`."""
    return {case: CaseError(one["message"], hint=one["hint"]) for case, one in data.items()}


def group_problems(problems: Iterable[Problem]) -> list[tuple[Problem, int]]:
    """The first of each kind of problem by member and structure, and how many of its kind there are."""
    groups: dict[tuple[str, str, str | None], list[Problem]] = {}
    for one in problems:
        part = one.structure if one.kind == "unknown" else f"{one.line} {one.case} {one.structure}"
        groups.setdefault((one.kind, one.member, part), []).append(one)
    return [(found[0], len(found)) for found in groups.values()]
