"""The same scan, or the same label, under several names; another scan than was imported under one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from osteon.auditing.cohort import Cohort
from osteon.auditing.facts import CaseFacts
from osteon.auditing.finding import Finding

ALIKE = 0.998
"""Correlation of two coarse images from which they may be one scan."""


def replaced(cohort: Cohort) -> Iterator[Finding]:
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
                action="restore the file, or import the data again with --overwrite; where the new image is meant and "
                f"its label belongs to it, write `content: {case.content}` into the case in dataset.yaml",
                strength=1.0,
            )


def duplicates(cohort: Cohort) -> Iterator[Finding]:
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
    yield from _alike(cohort.cases)


def _alike(cases: list[CaseFacts]) -> Iterator[Finding]:
    by_shape: dict[tuple[int, ...], list[CaseFacts]] = defaultdict(list)
    for case in cases:
        by_shape[(*case.shape, len(case.thumbnail))].append(case)
    for same in by_shape.values():
        pictures = np.array([case.thumbnail for case in same])
        likeness = pictures @ pictures.T / pictures.shape[1]
        for first, second in np.argwhere(np.triu(likeness, 1) >= ALIKE):
            one, other = same[first], same[second]
            if one.content != other.content:
                yield Finding(
                    severity="warning",
                    kind="near-duplicate",
                    cases=[one.id, other.id],
                    what=f"{one.id} and {other.id} look nearly the same: their coarse images correlate with "
                    f"{likeness[first, second]:.4f}",
                    against=f"other scans stay below {ALIKE}",
                    action="where it is one scan, saved twice, keep one; else give both the same `subject`",
                    strength=0.7,
                )


def _groups(keyed: list[tuple[str | None, CaseFacts]]) -> list[list[CaseFacts]]:
    groups: dict[str | None, list[CaseFacts]] = defaultdict(list)
    for key, case in keyed:
        groups[key].append(case)
    return [group for group in groups.values() if len(group) > 1]


def _names(cases: list[CaseFacts]) -> str:
    return ", ".join(case.id for case in cases[:-1]) + f" and {cases[-1].id}"
