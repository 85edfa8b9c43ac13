"""Where structures lie: left and right, order along the body, positions and volumes that stand out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from osteon.auditing.cohort import MIN_CASES, Cohort, strength_of
from osteon.auditing.facts import CaseFacts
from osteon.auditing.finding import Finding
from osteon.core.statistics import robust_z
from osteon.core.text import pluralise

StructureCentres = dict[str, npt.NDArray[np.float64]]

SURE = 0.9
"""Part of the cases in which two structures must keep their order."""
BACK = 0.25
"""A pair is the wrong way round where it goes back by this part of its usual distance."""
STEADY = 0.2
"""Robust standard deviation of a pair's distance, as a part of it: where it varies more (fingers), order is chance."""
STANDS_OUT = 6.0
"""Robust standard deviations for positions and volumes."""
MIN_LOG_VOLUME = 0.15
"""Least spread of the logarithm of volumes that is believed."""
MIN_OFFSET = 0.03
"""Least spread of positions that is believed, as a part of the length of all structures together."""
WORDS = (("left of", "right of"), ("behind", "in front of"), ("below", "above"))


def find_swapped_sides(cohort: Cohort) -> Iterator[Finding]:
    """Left structures that lie on the right of their counterparts."""
    pairs = [(s.name, s.counterpart) for s in cohort.manifest.structures if s.side == "left" and s.counterpart]
    wrong, counted = [], 0
    for case in cohort.labelled:
        have = [(a, b) for a, b in pairs if a in case.structures and b in case.structures]
        turned = [(a, b) for a, b in have if _gap(case, a, b)[0] < 0]
        counted += bool(have)
        if turned:
            wrong.append((case, turned, len(have)))
    if counted >= MIN_CASES and len(wrong) > counted / 2:
        yield Finding(
            severity="error",
            kind="sides",
            what=f"left structures lie on the patient's right in {len(wrong)} of {counted} cases",
            against="what their names say",
            action="check the names of the structures, and whether the files' orientation is right",
            strength=1.0,
        )
        return
    for case, turned, total in wrong:
        first, second = turned[0]
        yield Finding(
            severity="error",
            kind="sides",
            cases=[case.id],
            structures=[name for pair in turned for name in pair],
            what=f"{first} lies {-_gap(case, first, second)[0]:.3g} {case.unit} right of {second}, "
            f"and so do {len(turned)} of {total} pairs",
            against="what their names say" + (f"; {counted - len(wrong)} cases do" if counted > 1 else ""),
            action="exchange left and right in the label, or correct the orientation in the headers",
            strength=0.98,
        )


def find_wrong_order(cohort: Cohort) -> Iterator[Finding]:
    """Structures that lie the other way round than in nearly all cases, as where two vertebrae are exchanged."""
    usual = _usual_ways(cohort)
    sided = {s.name: s.counterpart for s in cohort.manifest.structures if s.side is not None}
    for case in cohort.labelled:
        centres = {name: np.array(facts.centre_ras) for name, facts in case.structures.items()}
        wrong = _wrong_pairs(centres, usual)
        if not wrong:
            continue
        swap = next((pair for pair in wrong if not _wrong_pairs(_swap(centres, pair), usual)), None)
        if swap is not None and sided.get(swap[0]) == swap[1]:
            continue  # `find_swapped_sides` says so already
        first, second = swap or wrong[0]
        way, count = usual[first, second]
        axis = int(np.abs(way).argmax())
        unit = case.unit
        distance = abs(float((centres[second] - centres[first]) @ way / np.linalg.norm(way)))
        what = (
            f"{first} lies {distance:.3g} {unit} {WORDS[axis][int(way[axis] < 0) ^ 1]} {second}"
            if swap
            else f"{len(wrong)} pairs of structures lie the wrong way round, such as {first} and {second}"
        )
        if swap:
            what = f"{first} and {second} seem to be exchanged: {what}"
        yield Finding(
            severity="error",
            kind="swapped" if swap else "order",
            cases=[case.id],
            structures=[first, second] if swap else sorted({name for pair in wrong for name in pair}),
            what=what,
            against=f"{first} lies {np.linalg.norm(way):.3g} {unit} {WORDS[axis][int(way[axis] < 0)]} {second} "
            f"in the {pluralise(count, 'case')} that have both",
            action=f"exchange the values of {first} and {second} in the label"
            if swap
            else "check the names of the structures, and whether the label is upside down",
            strength=0.95 if swap else 0.9,
        )


def find_odd_positions(cohort: Cohort) -> Iterator[Finding]:
    """Structures that lie elsewhere, seen from the others, than in the other cases."""
    names = [s.name for s in cohort.manifest.structures]
    common = [name for name in names if len(cohort.having(name)) >= SURE * len(cohort.labelled)]
    whole = [case for case in cohort.labelled if all(name in case.structures for name in common)]
    if len(common) < 3 or len(whole) < MIN_CASES:
        return
    centres = np.array([[case.structures[name].centre_ras for name in common] for case in whole])
    # Seen from the median of the others: a single structure astray does not move it.
    seen = centres - np.median(centres, axis=1, keepdims=True)
    length = float(np.median(np.ptp(centres, axis=1).max(axis=1)))
    for number, name in enumerate(common):
        z = np.stack([robust_z(seen[:, number, a].tolist(), floor=MIN_OFFSET * length)[0] for a in range(3)], axis=1)
        middle = np.median(seen[:, number], axis=0)
        for case, own, place in zip(whole, z, seen[:, number], strict=True):
            axis = int(np.abs(own).argmax())
            if abs(own[axis]) > STANDS_OUT:
                yield Finding(
                    severity="warning",
                    kind="position",
                    cases=[case.id],
                    structures=[name],
                    what=f"{name} lies {abs(place[axis] - middle[axis]):.3g} {case.unit} further "
                    f"{('left', 'right', 'back', 'front', 'down', 'up')[2 * axis + (place[axis] > middle[axis])]}",
                    against=f"seen from the other structures, in {len(whole)} cases; "
                    f"{abs(own[axis]):.0f} robust standard deviations",
                    action="look at its picture",
                    strength=strength_of(own[axis], STANDS_OUT),
                )


def find_odd_volumes(cohort: Cohort) -> Iterator[Finding]:
    """Structures much larger or smaller than elsewhere."""
    for structure in cohort.manifest.structures:
        have = cohort.having(structure.name)
        if len(have) < MIN_CASES:
            continue
        z, middle, _ = robust_z([float(np.log(facts.volume_mm3)) for _, facts in have], floor=MIN_LOG_VOLUME)
        for (case, facts), own in zip(have, z, strict=True):
            if abs(own) > STANDS_OUT and not (facts.cut and own < 0):
                yield Finding(
                    severity="warning",
                    kind="volume",
                    cases=[case.id],
                    structures=[structure.name],
                    what=f"{structure.name} has {format_volume(facts.volume_mm3, case)}",
                    against=f"median {format_volume(float(np.exp(middle)), case)} of {len(have)} cases; "
                    f"{abs(own):.0f} robust standard deviations",
                    action="look at its picture: is the whole structure outlined, and nothing else?",
                    strength=strength_of(own, STANDS_OUT),
                )


def format_volume(volume: float, case: CaseFacts) -> str:
    """A volume in such a case as people write it: cm³, mm³ where small; an area where it is a picture."""
    if case.unit == "px":
        return f"{volume:.4g} px"
    if 1 in case.shape:
        return f"{volume / case.spacing[case.shape.index(1)]:.4g} mm²"
    return f"{volume / 1000:.3g} cm³" if volume >= 100 else f"{volume:.3g} mm³"


def _gap(case: CaseFacts, first: str, second: str) -> npt.NDArray[np.float64]:
    return np.array(case.structures[second].centre_ras) - np.array(case.structures[first].centre_ras)


def _usual_ways(cohort: Cohort) -> dict[tuple[str, str], tuple[npt.NDArray[np.float64], int]]:
    """From the first structure to the second, for pairs that keep their order; and the number of cases."""
    ways = {}
    for first, second in itertools.combinations([s.name for s in cohort.manifest.structures], 2):
        gaps = np.array([_gap(c, first, second) for c in cohort.labelled if {first, second} <= c.structures.keys()])
        if len(gaps) < MIN_CASES:
            continue
        way = np.median(gaps, axis=0)
        length = float(np.linalg.norm(way))
        if length == 0:
            continue
        along = gaps @ way / length**2
        steady = 1.4826 * float(np.median(np.abs(along - 1))) <= STEADY
        if steady and (along > 0).sum() >= min(SURE * len(gaps), len(gaps) - 1):
            ways[first, second] = (way, len(gaps))
    return ways


def _wrong_pairs(
    centres: StructureCentres, usual: dict[tuple[str, str], tuple[npt.NDArray[np.float64], int]]
) -> list[tuple[str, str]]:
    found = []
    for (first, second), (way, _) in usual.items():
        if first in centres and second in centres:
            along = float((centres[second] - centres[first]) @ way) / float(way @ way)
            if along < -BACK:
                found.append((first, second))
    return found


def _swap(centres: StructureCentres, pair: tuple[str, str]) -> StructureCentres:
    first, second = pair
    return {**centres, first: centres[second], second: centres[first]}
