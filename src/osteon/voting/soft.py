"""A soft vote: the members' probabilities are averaged with weights, one structure at a time, then decided.

It decides as predicting does: the structure with the largest probability, the background among them and before the
others where two are equal; where structures overlap, each whose probability is above a half. Only the running best, its
label and one structure's average are held, whatever the number of members and structures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from osteon.core.errors import FileError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.dataset.dataset import Dataset
from osteon.formats.labelmap import smallest_uint
from osteon.formats.probabilities import LEVELS, Probabilities, read_probabilities
from osteon.voting.grids import CaseGrid, reorient_labels
from osteon.voting.label_map_members import VoteMembers, describe_members
from osteon.voting.members import MemberFolder, absences_of
from osteon.voting.report import Absence, CaseVote, Problem, no_voter_error
from osteon.voting.rules import VoteRules
from osteon.voting.structures import UNKNOWN_NAME

Floats = npt.NDArray[np.float32]


class ProbabilityMembers(VoteMembers):
    """Members that are folders of probabilities."""

    def vote(self, case: str) -> tuple[Segmentation, CaseVote]:
        """One case. Raises as `VoteMembers.vote`."""
        members, geometry, problems = self.read_members(case)
        absences = list(absences_of(self.folders, case))
        knows = {s.name: [_knows(member, s.name) for member in members] for s in self.structures}
        for name, known in knows.items():
            absences += [
                Absence(str(folder.path), case, name)
                for folder, member, knowing in zip(self.folders, members, known, strict=True)
                if any(known) and member is not None and not knowing
            ]
        made = self._decide(members, geometry)
        return made, CaseVote({name: sum(known) for name, known in knows.items()}, tuple(absences), tuple(problems))

    def read_members(self, case: str) -> tuple[list[Probabilities | None], Geometry, list[Problem]]:
        """What the members have of a case, None for one that does not vote; their grid; what cannot be used.

        Raises:
            GeometryError, CaseError: As `vote`.
        """
        grid = CaseGrid.of(case, self.dataset)
        problems: list[Problem] = []
        members = [self._open(folder, case, grid, problems) for folder in self.folders]
        if grid.geometry is None or not any(members):
            raise no_voter_error(case, problems)
        return members, grid.geometry, problems

    def _decide(self, members: Sequence[Probabilities | None], grid: Geometry) -> Segmentation:
        if self.overlapping:
            masks = np.zeros((len(self.structures), *grid.shape), dtype=np.uint8)
            for layer, structure in zip(masks, self.structures, strict=True):
                share = self.average(members, structure.name, grid)
                if share is not None:
                    layer[:] = share > 0.5
            return Segmentation(masks, grid, self.structures)
        labels = np.zeros(grid.shape, dtype=smallest_uint(max(s.value for s in self.structures)))
        best = self.average(members, None, grid)
        if best is None:
            best = np.full(grid.shape, 0.5, dtype=np.float32)
        for structure in self.structures:
            share = self.average(members, structure.name, grid)
            if share is not None:
                labels[share > best] = structure.value
                np.maximum(best, share, out=best)
        return Segmentation(labels, grid, self.structures)

    def average(self, members: Sequence[Probabilities | None], name: str | None, grid: Geometry) -> Floats | None:
        """The weighted mean `[i, j, k]` of a structure, or the background, over members that know it; None without any.

        Raises:
            FileError: A file is damaged.
        """
        every = self.rules.weights or (1.0,) * len(members)
        weights = every if name is None else self.rules.weight(name, len(members))
        total: Floats | None = None
        sum_of_weights = 0.0
        for member, weight in zip(members, weights, strict=True):
            if member is None or not weight:
                continue
            output = (None if member.about.overlapping else member.output(0)) if name is None else member.of(name)
            if output is None:
                continue
            if total is None:
                total = np.zeros(grid.shape, dtype=np.float32)
            total += reorient_labels(output, member.geometry, grid) * np.float32(weight)
            sum_of_weights += weight
        return None if total is None else np.divide(total, np.float32(sum_of_weights * LEVELS), out=total)

    def _open(self, folder: MemberFolder, case: str, grid: CaseGrid, problems: list[Problem]) -> Probabilities | None:
        path = folder.files.get(case)
        if path is None:
            return None
        try:
            found = read_probabilities(path)
        except FileError as error:
            problems.append(Problem("unreadable", str(folder.path), error.message, error.hint, case))
            return None
        grid.check(found.geometry, path)
        problems += [_unknown(path, folder, case, s.name) for s in found.about.structures if s.name not in self.names]
        return found


def open_probabilities(
    folders: Sequence[MemberFolder], rules: VoteRules, dataset: Dataset | None = None
) -> ProbabilityMembers:
    """Look into what every file says of itself. Raises UsageError and LabelError as `describe_members`."""

    def look(_: MemberFolder, path: Path) -> tuple[Sequence[Structure], bool]:
        about = read_probabilities(path).about
        return about.structures, about.overlapping

    return ProbabilityMembers(tuple(folders), rules, *describe_members(folders, rules, dataset, look), dataset)


def _knows(member: Probabilities | None, name: str) -> bool:
    return member is not None and name in [structure.name for structure in member.about.structures]


def _unknown(path: Path, folder: MemberFolder, case: str, name: str) -> Problem:
    what = f"{path}: holds probabilities of {name}, which {UNKNOWN_NAME}"
    return Problem("unknown", str(folder.path), what, "make it known with --dataset DIR", case, name)
