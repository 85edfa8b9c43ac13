"""The same scan, or the same label, under several names; another scan than was imported under one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.auditing.cohort import Cohort
from osteon.auditing.facts import CaseFacts
from osteon.auditing.finding import Finding

SIMILAR = 0.998
"""Correlation of two coarse images from which they may be one scan."""
BLOCK = 1 << 22
"""Pairs of cases that are compared at a time."""
_LISTED = 8
"""Names of cases in a sentence; the finding has them all."""


def find_replaced_images(cohort: Cohort) -> Iterator[Finding]:
    """Images that are not those that were imported."""
    imported = {case.id: case.content for case in cohort.manifest.cases}
    for case in cohort.cases:
        before = imported[case.id]
        if before is not None and before != case.content:
            yield Finding(
                severity="error",
                kind="replaced",
                cases=[case.id],
                what=f"the image is not the one that was imported: its voxels have changed since "
                f"(content {before[:8]}… in dataset.yaml, now {case.content[:8]}…)",
                against="folds are made by the images that were imported; no training takes another",
                action="restore the file, or import the data again with --overwrite; if the new image is correct and "
                f"its label belongs to it, write `content: {case.content}` into the case in dataset.yaml",
                strength=1.0,
            )


def find_duplicates(cohort: Cohort) -> Iterator[Finding]:
    """Images that are the same voxels; images that nearly are; one label map for several images."""
    for cases in _groups([(case.content, case) for case in cohort.cases]):
        labels = {case.label_content for case in cases}
        same = "the same label" if len(labels) == 1 else "different labels"
        yield Finding(
            severity="error",
            kind="duplicate",
            cases=[case.id for case in cases],
            what=f"{_names(cases)} are the same image, voxel by voxel, with {same}",
            against="every case should be another scan",
            action="keep one of them" + ("" if len(labels) == 1 else "; find out which label is right"),
            strength=0.9 if len(labels) == 1 else 0.95,
        )
    for cases in _groups([(case.label_content, case) for case in cohort.cases if case.label_content]):
        if len({case.content for case in cases}) > 1:
            yield Finding(
                severity="error",
                kind="same-label",
                cases=[case.id for case in cases],
                what=f"{_names(cases)} have the same label map, voxel by voxel, on different images",
                against="no two scans have the same bones at the same place",
                action="find out to which image the label belongs, and give the other its own",
                strength=0.85,
            )
    yield from _similar_images(cohort.cases)


def _similar_images(cases: list[CaseFacts]) -> Iterator[Finding]:
    by_shape: dict[tuple[int, ...], list[CaseFacts]] = defaultdict(list)
    for case in cases:
        by_shape[(*case.shape, len(case.thumbnail))].append(case)
    for same in by_shape.values():
        for group in _similar_groups(same):
            low, high = (f"{likeness:.4f}" for likeness in group.likeness)
            two = len(group.cases) == 2
            yield Finding(
                severity="warning",
                kind="near-duplicate",
                cases=[case.id for case in group.cases],
                what=f"{_names(group.cases)} look nearly the same{'' if two else ', each as another of them'}: "
                f"their coarse images correlate with {low}{f' to {high}' * (high != low)}",
                against=f"other scans stay below {SIMILAR}",
                action=f"where it is one scan, saved {'twice' if two else 'several times'}, keep one; else give "
                f"{'both' if two else 'all'} the same `subject`",
                strength=0.7,
            )


@dataclass(frozen=True)
class _Group:
    """Cases of which each is like another one of them.

    Attributes:
        cases: In the manifest's order.
        likeness: The lowest and highest correlation of two that are similar and not the same image.
    """

    cases: list[CaseFacts]
    likeness: tuple[float, float]


def _similar_groups(cases: list[CaseFacts]) -> list[_Group]:
    """Groups of cases on one matrix, some rows of the table of all pairs at a time: it is never whole in memory."""
    pictures = np.array([case.thumbnail for case in cases], dtype=np.float32)
    contents = np.unique([case.content for case in cases], return_inverse=True)[1]
    count = len(cases)
    group = np.arange(count)
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    rows = max(1, BLOCK // count)
    for first in range(0, count, rows):
        likeness = pictures[first : first + rows] @ pictures[first:].T / pictures.shape[1]
        one, other = np.nonzero(np.triu(likeness, 1) >= SIMILAR)
        values = likeness[one, other]
        one, other = one + first, other + first
        differ = contents[one] != contents[other]
        one, other, values = one[differ], other[differ], values[differ]
        np.minimum.at(low, one, values)
        np.maximum.at(high, one, values)
        group = _joined(group, one, other)
    members: dict[int, list[int]] = defaultdict(list)
    for number, own in enumerate(group.tolist()):
        members[own].append(number)
    return [
        _Group([cases[number] for number in own], (float(low[own].min()), float(high[own].max())))
        for own in members.values()
        if len(own) > 1
    ]


def _joined(
    group: npt.NDArray[np.intp], one: npt.NDArray[np.intp], other: npt.NDArray[np.intp]
) -> npt.NDArray[np.intp]:
    """The group of each case where those of `one` and `other` are joined, pair by pair."""
    if not len(one):
        return group
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(one), np.bool_), (group[one], group[other])), shape=(len(group), len(group)))
    return np.asarray(connected_components(links, directed=False)[1][group], np.intp)


def _groups(keyed: list[tuple[str | None, CaseFacts]]) -> list[list[CaseFacts]]:
    groups: dict[str | None, list[CaseFacts]] = defaultdict(list)
    for key, case in keyed:
        groups[key].append(case)
    return [group for group in groups.values() if len(group) > 1]


def _names(cases: list[CaseFacts]) -> str:
    """The cases as words; the first ones, and how many more there are, where they are many."""
    names = [case.id for case in cases]
    shown, last = (
        (names[:-1], names[-1]) if len(names) <= _LISTED else (names[:_LISTED], f"{len(names) - _LISTED} more")
    )
    return f"{', '.join(shown)} and {last}"
