"""The order of structures along an axis: rows of look-alikes such as vertebrae, and pairs that never swap."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from osteon.planning.fingerprint import Fingerprint


def find_sequence(fingerprint: Fingerprint, axis: int) -> list[str]:
    """Structures that look the same and keep their order along a world axis, as vertebrae do.

    They are told apart by what lies beyond them, never by where in the scan they happen to be.

    Args:
        fingerprint: The measured cases.
        axis: 0 R, 1 A, 2 S.

    Returns:
        At least three names in their order, whose median volumes differ by a factor of two at most; else none.
    """
    names = {name for case in fingerprint.cases for name in case.structures}
    occurrences = {
        name: [(c.structures[name], c.spacing_mm) for c in fingerprint.cases if name in c.structures] for name in names
    }
    volumes = {
        name: float(np.median([structure.voxels * np.prod(spacing) for structure, spacing in each]))
        for name, each in occurrences.items()
    }
    if len(names) < 3 or max(volumes.values()) > 2 * min(volumes.values()):
        return []
    if not all(_order(fingerprint, axis, *pair)[0] for pair in itertools.combinations(sorted(names), 2)):
        return []
    return sorted(
        names, key=lambda name: float(np.median([structure.centre_mm[axis] for structure, _ in occurrences[name]]))
    )


def sequence_margin_mm(fingerprint: Fingerprint, axis: int, names: Sequence[str]) -> float:
    """The most room that a scan leaves beyond either end of a sequence, were the sequence in its middle.

    Args:
        fingerprint: The measured cases.
        axis: 0 R, 1 A, 2 S.
        names: The sequence in its order along the axis, as `find_sequence` gives it.

    Returns:
        mm, at least 0; 0 where no case holds both ends. Beyond its centre an end reaches half the mean gap.
    """
    margins = [0.0]
    for case in fingerprint.cases:
        ends = [case.structures[name].centre_mm[axis] for name in (names[0], names[-1]) if name in case.structures]
        if len(ends) == 2:
            length = (ends[1] - ends[0]) * len(names) / (len(names) - 1)
            margins.append((case.shape[axis] * case.spacing_mm[axis] - length) / 2)
    return max(margins)


def sequence_measures(fingerprint: Fingerprint, names: Sequence[str]) -> tuple[float, float]:
    """Median distance (mm) between the centres of neighbours in a sequence, and median volume (mm³) of its members."""
    distances, volumes = [], []
    for case in fingerprint.cases:
        members = [case.structures.get(name) for name in names]
        volumes += [facts.voxels * float(np.prod(case.spacing_mm)) for facts in members if facts is not None]
        distances += [
            float(np.linalg.norm(np.subtract(one.centre_mm, other.centre_mm)))
            for one, other in itertools.pairwise(members)
            if one is not None and other is not None
        ]
    return float(np.median(distances)), float(np.median(volumes))


def find_fixed_order(fingerprint: Fingerprint, axis: int, partners: dict[str, str]) -> tuple[str, str, int] | None:
    """Two structures whose order along a world axis a mirror image would turn round.

    They keep their order in all of at least three cases, and so do, the same way round, the structures that they
    become on a mirror: mirroring would take from the network what tells the two apart. (A left femur beside the
    pelvis is no such pair where the right femur lies on the pelvis's other side.)

    Args:
        fingerprint: The measured cases.
        axis: 0 R, 1 A, 2 S.
        partners: What a structure becomes on a mirror; those not listed stay what they are.

    Returns:
        The names and the number of cases, or None. Centroids must lie at least two voxels apart to count.
    """
    names = sorted({name for case in fingerprint.cases for name in case.structures})
    for first, second in itertools.combinations(names, 2):
        way, count = _order(fingerprint, axis, first, second)
        twins = _order(fingerprint, axis, partners.get(first, first), partners.get(second, second))
        if way and way == twins[0]:
            return first, second, count
    return None


def _order(fingerprint: Fingerprint, axis: int, first: str, second: str) -> tuple[int, int]:
    """1 where `second` lies beyond `first` in all of at least three cases, −1 where before, else 0; and the cases."""
    gaps = [
        (case.structures[second].centre_mm[axis] - case.structures[first].centre_mm[axis]) / case.spacing_mm[axis]
        for case in fingerprint.cases
        if first in case.structures and second in case.structures
    ]
    if len(gaps) < 3 or (min(gaps) < 2 and max(gaps) > -2):
        return 0, len(gaps)
    return (1 if gaps[0] > 0 else -1), len(gaps)
