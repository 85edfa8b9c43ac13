"""The order of structures along an axis: rows of look-alikes such as vertebrae, and pairs that never swap."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from osteon.dataset.name_rows import find_name_rows
from osteon.planning.fingerprint import Fingerprint, StructureFacts

MIN_CASES = 3
"""In which two structures must keep their order."""
SLIVER = 0.2
"""What has less than this part of a structure's median volume is cut off by the scan's edge."""
MAX_BROKEN = 0.2
"""Part of the neighbours that are out of order, at most, where a row is thought to be one but for wrong labels."""
MAX_VOLUME_RATIO = 2.0
"""Of two members' median volumes: of any two of a row that no names show, of neighbours in one that they do."""


def find_sequences(fingerprint: Fingerprint, axes: Sequence[int] = (0, 1, 2)) -> list[tuple[int, list[str]]]:
    """All sequences, as vertebrae and ribs are two, with their world axes: the longest first, no structure in two.

    Of one that keeps its order along several axes the first of these.
    """
    found = [(axis, names) for axis in axes for names in _sequences_along(fingerprint, axis)]
    kept: list[tuple[int, list[str]]] = []
    for axis, names in sorted(found, key=lambda one: -len(one[1])):
        if not any(set(names) & set(others) for _, others in kept):
            kept.append((axis, names))
    return kept


def find_sequence(fingerprint: Fingerprint, axis: int) -> list[str]:
    """The longest sequence along a world axis.

    Args:
        fingerprint: The measured cases.
        axis: 0 R, 1 A, 2 S.

    Returns:
        At least three names in their order; else none.
    """
    return max(_sequences_along(fingerprint, axis), key=len, default=[])


def describe_other_sequences(fingerprint: Fingerprint, names: Sequence[str]) -> list[str]:
    """What becomes of sequences beside the one that the plan has."""
    return [
        f"{row[0]} … {row[-1]} are a series along {'RAS'[axis]}, too: a plan has one, the longest, and these names are "
        "learnt as classes"
        for axis, row in find_sequences(fingerprint)
        if not set(row) & set(names)
    ]


def _sequences_along(fingerprint: Fingerprint, axis: int) -> list[list[str]]:
    """Structures that look the same and keep their order along a world axis, as vertebrae do.

    Either all structures of the dataset, which are told apart by what lies beyond them and never by where in the scan
    they happen to be; or those among others whose names are a row (`T11`, `T12`, `L1`).
    """
    fingerprint, volumes = _without_slivers(fingerprint)
    names = sorted(volumes)
    alike = len(names) >= 3 and max(volumes.values()) <= MAX_VOLUME_RATIO * min(volumes.values())
    if alike and all(_order(fingerprint, axis, *pair)[0] for pair in itertools.combinations(names, 2)):
        each = _occurrences(fingerprint)
        middle = {name: float(np.median([facts.centre_mm[axis] for facts, _ in each[name]])) for name in names}
        ordered = sorted(names, key=middle.__getitem__)
        if not _turns_back(fingerprint, ordered):
            return [ordered]
    rows = [[names[position] for position in row] for row in find_name_rows(names)]
    return [found for row in rows if (found := _order_row(fingerprint, axis, row, volumes))]


def _turns_back(fingerprint: Fingerprint, names: Sequence[str]) -> bool:
    """Whether the way from each to the next turns back somewhere: from a vertebra to a rib and to the next vertebra."""
    steps = []
    for first, second in itertools.pairwise(names):
        both = [case.structures for case in fingerprint.cases if {first, second} <= case.structures.keys()]
        steps.append(np.median([np.subtract(s[second].centre_mm, s[first].centre_mm) for s in both], axis=0))
    return any(float(one @ other) < 0 for one, other in itertools.pairwise(steps))


def _order_row(fingerprint: Fingerprint, axis: int, row: list[str], volumes: Mapping[str, float]) -> list[str]:
    """A row of names along the axis; none where its members change places, are too few together or too unlike."""
    ways = set()
    for first, second in itertools.combinations(row, 2):
        way, count = _order(fingerprint, axis, first, second)
        if count >= MIN_CASES:
            ways.add(way)
    for first, second in itertools.pairwise(row):
        if max(volumes[first], volumes[second]) > MAX_VOLUME_RATIO * min(volumes[first], volumes[second]):
            return []
    if ways not in ({1}, {-1}):
        return []
    return row if ways == {1} else row[::-1]


def describe_broken_rows(fingerprint: Fingerprint) -> list[str]:
    """Warnings about rows of names that are none in the images: most cases have them in order, and some do not."""
    fingerprint, volumes = _without_slivers(fingerprint)
    names = sorted(volumes)
    warnings = []
    for row in ([names[position] for position in positions] for positions in find_name_rows(names)):
        per_axis = [_neighbours_in_order(fingerprint, axis, row) for axis in range(3)]
        ways = max(per_axis, key=lambda ways: abs(sum(ways.values())))
        usual = 1 if sum(ways.values()) > 0 else -1
        others = [pair for pair, way in ways.items() if way != usual]
        if others and len(others) <= MAX_BROKEN * len(ways):
            case, first, second = others[0]
            axis = "RAS"[per_axis.index(ways)]
            more = f", and {len(others) - 1} more such pairs" if len(others) > 1 else ""
            warnings.append(
                f"{row[0]} … {row[-1]} are no series, so names are not made to follow in order: in case {case} {first} "
                f"and {second} have changed places along {axis}{more}; correct the labels that are wrong, or leave "
                "these cases out"
            )
    return warnings


def _neighbours_in_order(fingerprint: Fingerprint, axis: int, row: Sequence[str]) -> dict[tuple[str, str, str], int]:
    """Case and two neighbours of a row: 1 where the second lies beyond the first along the axis, −1 where before."""
    return {
        (case.id, first, second): int(np.sign(there[second].centre_mm[axis] - there[first].centre_mm[axis]))
        for case in fingerprint.cases
        for there in (case.structures,)
        for first, second in itertools.pairwise(row)
        if first in there and second in there
    }


def _without_slivers(fingerprint: Fingerprint) -> tuple[Fingerprint, dict[str, float]]:
    """The cases without what a scan's edge leaves of a structure, whose middle lies anywhere; and median volumes."""
    volumes = {
        name: float(np.median([facts.voxels * np.prod(spacing) for facts, spacing in each]))
        for name, each in _occurrences(fingerprint).items()
    }
    cases = [
        case.model_copy(
            update={
                "structures": {
                    name: facts
                    for name, facts in case.structures.items()
                    if facts.voxels * np.prod(case.spacing_mm) >= SLIVER * volumes[name]
                }
            }
        )
        for case in fingerprint.cases
    ]
    return fingerprint.model_copy(update={"cases": cases}), volumes


def _occurrences(fingerprint: Fingerprint) -> dict[str, list[tuple[StructureFacts, tuple[float, float, float]]]]:
    """Each structure's facts in each case that shows it, with the case's spacing."""
    found: dict[str, list[tuple[StructureFacts, tuple[float, float, float]]]] = {}
    for case in fingerprint.cases:
        for name, facts in case.structures.items():
            found.setdefault(name, []).append((facts, case.spacing_mm))
    return found


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


def sequence_measures(fingerprint: Fingerprint, names: Sequence[str]) -> tuple[list[float], float]:
    """Median distance (mm) between the centres of each two neighbours in a sequence, and median volume (mm³) of all.

    Two that no case shows together are as far apart as neighbours usually are.
    """
    distances: list[list[float]] = [[] for _ in names[1:]]
    volumes = []
    for case in fingerprint.cases:
        members = [case.structures.get(name) for name in names]
        volumes += [facts.voxels * float(np.prod(case.spacing_mm)) for facts in members if facts is not None]
        for known, (one, other) in zip(distances, itertools.pairwise(members), strict=True):
            if one is not None and other is not None:
                known.append(float(np.linalg.norm(np.subtract(one.centre_mm, other.centre_mm))))
    usual = float(np.median([distance for known in distances for distance in known]))
    return [float(np.median(known)) if known else usual for known in distances], float(np.median(volumes))


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
    if len(gaps) < MIN_CASES or (min(gaps) < 2 and max(gaps) > -2):
        return 0, len(gaps)
    return (1 if gaps[0] > 0 else -1), len(gaps)
