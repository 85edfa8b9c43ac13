"""Members that are folders, and what their files say of themselves before any voxel is read."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from osteon.core.errors import FileError, LabelError
from osteon.core.labels import Segmentation, Structure
from osteon.core.pieces import describe_merging, without_pieces
from osteon.core.progress import track
from osteon.dataset.dataset import Dataset
from osteon.voting.members import MemberFolder
from osteon.voting.report import CaseVote
from osteon.voting.rules import VoteRules
from osteon.voting.structures import known_names, resolve_structures

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VoteMembers(ABC):
    """Members that are folders.

    Attributes:
        folders: In their order.
        rules: How is voted.
        structures: What is voted on.
        overlapping: Whether structures may share voxels; each is then voted on by itself.
        dataset: Whose structures and grids count; None without one.
    """

    folders: tuple[MemberFolder, ...]
    rules: VoteRules
    structures: tuple[Structure, ...]
    overlapping: bool
    dataset: Dataset | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the structures that are voted on."""
        return tuple(structure.name for structure in self.structures)

    @abstractmethod
    def vote(self, case: str) -> tuple[Segmentation, CaseVote]:
        """One case.

        Raises:
            GeometryError: Two members do not lie on one grid.
            CaseError: No member's file can be used.
        """


Look = Callable[[MemberFolder, Path], tuple[Sequence[Structure], bool]]
"""What a file of a member says of itself: its structures, and whether they overlap. Raises FileError and LabelError."""


def describe_members(
    folders: Sequence[MemberFolder], rules: VoteRules, dataset: Dataset | None, look: Look
) -> tuple[tuple[Structure, ...], bool]:
    """What is voted on, and whether structures overlap: what the dataset says, or else the files.

    Raises:
        UsageError, LabelError: As `known_names`.
    """
    described: dict[str, Structure] = {}
    named: list[dict[str, None]] = [{} for _ in folders]
    overlapping = False
    files = [(number, path) for number, folder in enumerate(folders) for path in folder.files.values()]
    for number, path in track(files, "reading headers"):
        try:
            own, layered = look(folders[number], path)
        except (FileError, LabelError):
            continue  # said again when the case is read
        overlapping |= layered
        for structure in own:
            described.setdefault(structure.name, structure)
            named[number][structure.name] = None
    known = None if dataset is None else dataset.structures
    structures = resolve_structures(known_names(named, known, rules), described.values(), known)
    for line in describe_merging(structures):
        logger.warning(line)
    structures = tuple(without_pieces(structure) for structure in structures)
    return structures, overlapping if dataset is None else dataset.manifest.overlapping
