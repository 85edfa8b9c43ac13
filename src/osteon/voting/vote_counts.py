"""What the members say of labelled cases, in as few numbers as decide the Dice of every possible vote."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.core.dice import OverlapCounts, dice
from osteon.core.labels import Segmentation
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case
from osteon.formats.probabilities import LEVELS
from osteon.voting.grids import reorient_labels
from osteon.voting.label_maps import LabelMaps
from osteon.voting.picture_sizes import find_case
from osteon.voting.report import Problem
from osteon.voting.run_length import EMPTY, Bits, RunLengthMask, encode_mask, encode_segmentation
from osteon.voting.soft import ProbabilityMembers
from osteon.voting.staple import find_patterns
from osteon.voting.tables import TableVote
from osteon.voting.votes import MemberVotes, voting_masks

Levels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class VoteSample:
    """One structure of one case: voxels at which the members say the same are counted, not kept.

    Attributes:
        voting: `[member]`: who votes here.
        levels: `[member, n]` in 255ths, 0 for a member that does not vote: yes and no, or probabilities.
        counts: `[n]` voxels.
        truth: `[n]`: whether they belong to the structure.
    """

    voting: Bits
    levels: Levels
    counts: npt.NDArray[np.int64]
    truth: Bits

    def dice(self, inside: Bits) -> float | None:
        """The Dice coefficient of a decision `[n]`; None where the structure is rightly not found."""
        found, there = self.counts[inside], self.counts[self.truth]
        both = self.counts[inside & self.truth]
        return dice(OverlapCounts(int(found.sum()), int(there.sum()), int(both.sum())))


Samples = Iterator[tuple[str, str, VoteSample]]
"""Case, structure, sample."""


def sample_masks(votes: MemberVotes, truth: RunLengthMask, voxels: int) -> VoteSample:
    """From yes and no."""
    voting = np.array([vote is not None for vote in votes])
    found = find_patterns([*voting_masks(votes), truth], voxels)
    levels = found.inside[:-1].astype(np.uint8) * np.uint8(LEVELS)
    return VoteSample(voting, levels, found.counts, found.inside[-1])


def sample_levels(outputs: list[Levels | None], truth: Bits) -> VoteSample:
    """From probabilities: kept where some are above a half and some are not; no weights change the rest.

    Args:
        outputs: For each member, in 255ths; None for one that does not vote.
        truth: Of the same shape.
    """
    given = [output.reshape(-1) for output in outputs if output is not None]
    flat = truth.reshape(-1)
    above = [output > LEVELS // 2 for output in given]
    everyone, someone = np.logical_and.reduce(above), np.logical_or.reduce(above)
    open_ = someone & ~everyone
    kept = np.stack([np.zeros(int(open_.sum()), np.uint8) if o is None else o.reshape(-1)[open_] for o in outputs])
    settled = [(everyone & flat, LEVELS), (everyone & ~flat, LEVELS), (~someone & flat, 0)]
    same = np.array([[level if output is not None else 0 for _, level in settled] for output in outputs], np.uint8)
    return VoteSample(
        np.array([output is not None for output in outputs]),
        np.concatenate([kept, same], axis=1),
        np.array([1] * kept.shape[1] + [int(where.sum()) for where, _ in settled], dtype=np.int64),
        np.concatenate([flat[open_], [True, False, True]]),
    )


def label_map_samples(maps: LabelMaps, dataset: Dataset, problems: list[Problem], case: Case) -> Samples:
    """Of one case of folders of label maps.

    Args:
        maps: The members.
        dataset: The case's.
        problems: Takes what cannot be used.
        case: With labels.

    Raises:
        CaseError: As `LabelMaps.vote` and `Dataset.load_segmentation`.
    """
    masks = maps.read_members(case.id)
    problems += masks.problems
    truth = encode_segmentation(dataset.load_segmentation(case))
    for name in _annotated(case, maps.names):
        votes = masks.votes_on(name)
        if any(vote is not None for vote in votes):
            yield case.id, name, sample_masks(votes, truth.get(name, EMPTY), math.prod(masks.geometry.shape))


def soft_samples(maps: ProbabilityMembers, dataset: Dataset, problems: list[Problem], case: Case) -> Samples:
    """Of one case of folders of probabilities; all else as `label_map_samples`."""
    members, geometry, broken = maps.read_members(case.id)
    problems += broken
    reference = dataset.load_segmentation(case)
    for name in _annotated(case, maps.names):
        outputs: list[Levels | None] = [
            None if m is None or (output := m.of(name)) is None else reorient_labels(output, m.geometry, geometry)
            for m in members
        ]
        if any(output is not None for output in outputs):
            yield case.id, name, sample_levels(outputs, _mask(reference, name))


def table_samples(going: TableVote, dataset: Dataset, problems: list[Problem], number: int) -> Samples:
    """Of one picture of tables; nothing where the dataset has no labels of it; all else as `label_map_samples`."""
    image = going.tables.pictures.written[number]
    case = find_case(dataset, image)
    if case is None or case.segmentation is None:
        return
    size = going.sizes.of(image)
    reference = dataset.load_segmentation(case)
    wanted = _annotated(case, going.tables.names)
    for name, votes, broken in going.member_votes(number, image, size):
        problems += broken
        if name in wanted and any(vote is not None for vote in votes):
            # a picture's arrays run along its rows first: [column, row, 1]
            truth = encode_mask(_mask(reference, name)[:, :, 0].T)
            yield case.id, name, sample_masks(votes, truth, size[0] * size[1])


def _annotated(case: Case, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if case.annotated is None or name in case.annotated]


def _mask(reference: Segmentation, name: str) -> Bits:
    found = next((structure for structure in reference.structures if structure.name == name), None)
    return np.zeros(reference.geometry.shape, dtype=bool) if found is None else reference.mask(found)
