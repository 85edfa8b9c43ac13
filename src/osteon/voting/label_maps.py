"""A vote over label maps: case by case; each member's map is read once and kept as runs."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from osteon.core.errors import FileError, LabelError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.dataset.dataset import Dataset
from osteon.formats.io import read_segmentation, read_structures
from osteon.formats.label_meanings import are_placeholders, read_named_labels
from osteon.formats.labelmap import is_placeholder
from osteon.formats.nrrd import read_nrrd_header
from osteon.voting.decision import MemberMasks, VoteWeights, decide_binary, decide_exclusive
from osteon.voting.grids import CaseGrid
from osteon.voting.label_map_members import VoteMembers, describe_members
from osteon.voting.members import MemberFolder, absences_of
from osteon.voting.report import Absence, CaseVote, Problem, Undecided, no_voter_error
from osteon.voting.rules import VoteRules
from osteon.voting.run_length import EMPTY, RunLengthMask, encode_segmentation
from osteon.voting.structures import HINT, UNKNOWN_NAME
from osteon.voting.votes import MemberVotes, too_few, voting_masks, weights_for

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaseMasks:
    """What the members say of a case.

    Attributes:
        geometry: The grid that they share.
        member_masks: For each member what it says of each structure that it votes on.
        absences: Members without a file.
        problems: Files that could not be used, structures that do not count.
    """

    geometry: Geometry
    member_masks: tuple[dict[str, RunLengthMask], ...]
    absences: tuple[Absence, ...]
    problems: tuple[Problem, ...]

    def votes_on(self, name: str) -> MemberVotes:
        """What each member says of one structure."""
        return [masks.get(name) for masks in self.member_masks]


class LabelMaps(VoteMembers):
    """Members that are folders of label maps."""

    def vote(self, case: str) -> tuple[Segmentation, CaseVote]:
        """One case. Raises as `VoteMembers.vote`."""
        masks = self.read_members(case)
        absences = list(masks.absences)
        votes: dict[int, tuple[MemberMasks, VoteWeights]] = {}
        undecided: list[Undecided] = []
        voters, estimates = {}, {}
        voxels = math.prod(masks.geometry.shape)
        for structure in self.structures:
            members = masks.votes_on(structure.name)
            voters[structure.name] = sum(mask is not None for mask in members)
            if not voters[structure.name]:
                continue
            absences += [
                Absence(str(folder.path), case, structure.name)
                for folder, member in zip(self.folders, masks.member_masks, strict=True)
                if member and structure.name not in member
            ]
            scale, estimate = weights_for(self.rules, structure.name, members, voxels)
            if estimate is not None:
                estimates[structure.name] = estimate
            if (why := too_few(self.rules, scale, members)) is not None:
                undecided.append(Undecided(case, structure.name, why))
            else:
                votes[structure.value] = voting_masks(members), scale
        made = self._decide(votes, masks.geometry)
        return made, CaseVote(voters, tuple(absences), masks.problems, tuple(undecided), estimates)

    def read_members(self, case: str) -> CaseMasks:
        """What the members say of a case. Raises as `vote`."""
        grid = CaseGrid.of(case, self.dataset)
        problems: list[Problem] = []
        member_masks = [self._read_masks(folder, case, grid, problems) for folder in self.folders]
        if grid.geometry is None or not any(member_masks):
            raise no_voter_error(case, problems)
        return CaseMasks(grid.geometry, tuple(member_masks), absences_of(self.folders, case), tuple(problems))

    def _decide(self, votes: dict[int, tuple[MemberMasks, VoteWeights]], geometry: Geometry) -> Segmentation:
        voxels = math.prod(geometry.shape)
        if not self.overlapping:
            labels = decide_exclusive(votes, voxels).reshape(geometry.shape)
            return Segmentation(labels, geometry, self.structures)
        masks = np.zeros((len(self.structures), *geometry.shape), dtype=np.uint8)
        for layer, structure in zip(masks, self.structures, strict=True):
            if structure.value in votes:
                members, scale = votes[structure.value]
                layer[:] = decide_binary(members, scale, voxels).mask(geometry.shape)
        return Segmentation(masks, geometry, self.structures)

    def _read_masks(
        self, folder: MemberFolder, case: str, grid: CaseGrid, problems: list[Problem]
    ) -> dict[str, RunLengthMask]:
        """What a member says of each structure that it votes on; empty where it does not vote."""
        path, member = folder.files.get(case), str(folder.path)
        if path is None:
            return {}
        if case in folder.twice:
            one, other = folder.twice[case]
            what = f"{case}: is in {folder.path} twice, as {one.name} and {other.name}"
            problems.append(Problem("twice", member, what, "remove one of them", case))
            return {}
        try:
            named, segmentation = self._read(folder, path)
        except (FileError, LabelError) as error:
            problems.append(Problem("unreadable", member, error.message, error.hint, case))
            return {}
        runs = encode_segmentation(grid.align(segmentation, path))
        if not named:
            meant = {s.value: s.name for s in self.dataset.structures} if self.dataset else {}
            runs = {meant.get(s.value, s.name): runs[s.name] for s in segmentation.structures if s.name in runs}
        own = [s.name for s in named] if named else [n for n in self.names if self.dataset or is_placeholder(n)]
        for name, part in runs.items():
            if name not in self.names:
                problems.append(_unknown(path, member, case, name, part.count, named=bool(named)))
        return {name: runs.get(name, EMPTY) for name in own if name in self.names}

    def _read(self, folder: MemberFolder, path: Path) -> tuple[Sequence[Structure], Segmentation]:
        """The structures that a file names, or the dataset.json beside it does; and its labels."""
        own = read_structures(path)
        if folder.legend is None or not are_placeholders(own):
            return own, read_segmentation(path)
        return folder.legend.structures, read_named_labels(path, None, folder.legend)


def open_label_maps(folders: Sequence[MemberFolder], rules: VoteRules, dataset: Dataset | None = None) -> LabelMaps:
    """Read every file's header, and find what is voted on. Raises UsageError and LabelError as `describe_members`."""
    nameless: list[Path] = []

    def look(folder: MemberFolder, path: Path) -> tuple[Sequence[Structure], bool]:
        own = read_structures(path)
        if folder.legend is not None and are_placeholders(own):
            return folder.legend.structures, folder.legend.overlapping
        if not own and dataset is not None:
            nameless.append(path)
        if not own and dataset is None:  # only the voxels tell
            own = read_segmentation(path).structures
        return own, path.name.lower().endswith(".nrrd") and _layers(path) > 1

    structures, overlapping = describe_members(folders, rules, dataset, look)
    if nameless and dataset is not None:
        files = f"{len(nameless)} files, such as {nameless[0]}, name" if len(nameless) > 1 else f"{nameless[0]} names"
        meaning = ", ".join(f"{structure.name}={structure.value}" for structure in dataset.structures)
        logger.warning(f"{files} no structures: the numbers are taken as those of {dataset.folder} ({meaning})")
    return LabelMaps(tuple(folders), rules, structures, overlapping, dataset)


def _layers(path: Path) -> int:
    header = read_nrrd_header(path)
    return 1 if header.channel_axis is None else header.sizes[header.channel_axis]


def _unknown(path: Path, member: str, case: str, name: str, voxels: int, *, named: bool) -> Problem:
    way = HINT if named else "the file names no structures: give --dataset DIR, whose structures its values then mean"
    what = f"{path}: holds {name} in {voxels} voxels, which {UNKNOWN_NAME}"
    return Problem("unknown", member, what, way, case, name)
