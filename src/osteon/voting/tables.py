"""A vote over tables of RLE: picture by picture, structure by structure, without drawing a mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from osteon.core.errors import CaseError, OsteonError
from osteon.core.labels import Structure
from osteon.core.progress import track
from osteon.formats.rle import runs_to_text
from osteon.voting.decision import decide_binary
from osteon.voting.picture_sizes import PictureSizes, Size
from osteon.voting.report import Absence, CaseVote, Problem, Undecided
from osteon.voting.rle_rows import NameTable, RowIndex
from osteon.voting.rules import VoteRules
from osteon.voting.run_length import RunLengthMask
from osteon.voting.structures import known_names
from osteon.voting.votes import MemberVotes, too_few, voting_masks, weights_for

Row = tuple[str, str, str]
"""Picture, structure, runs."""


@dataclass(frozen=True)
class RleTables:
    """Members that are tables, and what they are about.

    Attributes:
        members: Their rows' places.
        pictures: All pictures, in the order in which they are met.
        structures: All structures.
        known: The numbers of those that are voted on, in the order in which they are written.
        problems: Rows that cannot be read, stand there twice, or mark what is not voted on.
    """

    members: tuple[RowIndex, ...]
    pictures: NameTable
    structures: NameTable
    known: tuple[int, ...]
    problems: tuple[Problem, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the structures that are voted on."""
        return tuple(self.structures.written[number] for number in self.known)


def open_tables(paths: Sequence[Path], rules: VoteRules, dataset: Sequence[Structure] | None = None) -> RleTables:
    """Find every row of every table; nothing is decoded.

    Args:
        paths: The members.
        rules: Whose thresholds make structures known.
        dataset: The structures that count; None: those that two tables have.

    Raises:
        FileError: A table is missing, or its heading lacks a column.
        UsageError, LabelError: As `known_names`.
    """
    pictures, structures = NameTable(), NameTable()
    members = tuple(RowIndex(path, pictures, structures) for path in track(paths, "reading tables"))
    named = [[structures.written[number] for number in sorted(member.structures)] for member in members]
    known = tuple(structures.number(name, name) for name in known_names(named, dataset, rules))
    problems = [one for member in members for one in member.problems]
    problems += [one for member in members for one in member.unknown(frozenset(known), pictures)]
    return RleTables(members, pictures, structures, known, tuple(problems))


@dataclass
class TableVote:
    """A vote that is going on: `rows` gives its result, the rest fills while it does.

    Attributes:
        tables: The members.
        rules: How is voted.
        sizes: Of the pictures.
        cases: What came of each picture.
        failed: Pictures that could not be voted on.
    """

    tables: RleTables
    rules: VoteRules
    sizes: PictureSizes
    cases: dict[str, CaseVote] = field(default_factory=dict)
    failed: dict[str, OsteonError] = field(default_factory=dict)

    def rows(self) -> Iterator[Row]:
        """The rows of the result, as they are decided.

        Raises:
            FileError: A table has changed meanwhile.
        """
        for number, image in enumerate(track(self.tables.pictures.written, "voting")):
            try:
                size = self.sizes.of(image)
            except CaseError as error:
                self.failed[image] = error
                continue
            yield from self._picture(number, image, size)
        for member in self.tables.members:
            member.check_unchanged()

    def _picture(self, number: int, image: str, size: Size) -> Iterator[Row]:
        members = self.tables.members
        absences = [Absence(member.member, image) for member in members if number not in member.pictures]
        problems: list[Problem] = []
        undecided: list[Undecided] = []
        voters, estimates = {}, {}
        for structure, votes, broken in self.member_votes(number, image, size):
            problems += broken
            voters[structure] = sum(vote is not None for vote in votes)
            if voters[structure] or broken:
                silent = {member.member for member, vote in zip(members, votes, strict=True) if vote is None}
                silent -= {one.member for one in broken} | {one.member for one in absences if one.structure is None}
                absences += [Absence(member.member, image, structure) for member in members if member.member in silent]
            if not voters[structure]:
                continue
            scale, estimate = weights_for(self.rules, structure, votes, size[0] * size[1])
            if estimate is not None:
                estimates[structure] = estimate
            if (why := too_few(self.rules, scale, votes)) is not None:
                undecided.append(Undecided(image, structure, why))
                continue
            made = decide_binary(voting_masks(votes), scale, size[0] * size[1])
            yield image, structure, runs_to_text(np.stack([made.starts + 1, made.stops - made.starts], axis=1))
        self.cases[image] = CaseVote(voters, tuple(absences), tuple(problems), tuple(undecided), estimates)

    def member_votes(self, number: int, image: str, size: Size) -> Iterator[tuple[str, MemberVotes, list[Problem]]]:
        """Structure after structure of a picture: what each member says, and the rows that cannot be used.

        Args:
            number: The picture's.
            image: Its name.
            size: Its rows and columns.
        """
        places = [member.of_picture(number) for member in self.tables.members]
        for structure, name in zip(self.tables.known, self.tables.names, strict=True):
            votes: list[RunLengthMask | None] = []
            broken: list[Problem] = []
            for member, rows in zip(self.tables.members, places, strict=True):
                vote = member.read_mask(rows[structure], size, image, name) if structure in rows else None
                if isinstance(vote, Problem):
                    broken.append(vote)
                votes.append(None if isinstance(vote, Problem) else vote)
            yield name, votes, broken
