"""Cross-validation folds that never let one patient stand on both sides."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Literal

from osteon.core.errors import DatasetError, UsageError
from osteon.core.labels import Structure
from osteon.dataset.manifest import Case, Manifest

By = Literal["subject", "site"]
SAY_WHO = "import with --subject REGEX where they are several people ('(.+)' takes each case for one)"
_MANY = 4
"""As many cases of one subject, and more than half of all, are worth a look."""


def make_folds(manifest: Manifest, count: int = 5, seed: int = 0, *, by: By = "subject") -> list[list[str]]:
    """Divide the labelled cases that are not held out into `count` folds of about equal size.

    Cases of one subject, cases whose images are the same voxels (`content`), and with `by="site"` cases of one site
    stay together, also over several steps (A like B, B like C). The same manifest and seed give the same folds,
    whatever the order of the cases.

    Returns:
        Case ids, sorted, one list for each fold.

    Raises:
        UsageError: `count` is below 2.
        DatasetError: There are fewer groups than folds, or a single labelled case.
    """
    if count < 2:
        raise UsageError(f"{count} folds divide nothing", hint="--folds 2 or more, or --fold none to hold nothing out")
    groups = group_cases(manifest.trainable, by=by)
    if len(groups) < count:
        cases, one = len(manifest.trainable), told_subject(manifest.trainable)
        why = f"{cases} labelled case{'s' * (cases != 1)} in {len(groups)} group{'s' * (len(groups) != 1)} that stay"
        way = f"--folds {len(groups)}, or " if len(groups) > 1 else ""
        who = f"{SAY_WHO}, or " if one else ""
        raise DatasetError(
            f"{manifest.name}: {count} folds need {count} groups of cases; there are {why} together ({by}, content)"
            f"{one and f': {one}'}",
            hint=f"{who}{way}--fold none to hold nothing out" if cases else "import cases that have a label",
        )
    random.Random(seed).shuffle(groups)
    folds: list[list[str]] = [[] for _ in range(count)]
    for group in sorted(groups, key=len, reverse=True):  # the large ones first; stable, so the seed still decides
        min(folds, key=len).extend(group)
    return [sorted(fold) for fold in folds]


def group_cases(cases: Sequence[Case], *, by: By = "subject") -> list[list[str]]:
    """Ids of the cases that must not be parted, one sorted list for each group, in order of their first ids."""
    parent = {case.id: case.id for case in cases}

    def root(case_id: str) -> str:
        while parent[case_id] != case_id:
            parent[case_id] = parent[parent[case_id]]
            case_id = parent[case_id]
        return case_id

    seen: dict[Hashable, str] = {}
    for case in cases:
        marks = [("subject", case.subject or case.id), ("content", case.content)]
        if by == "site":
            marks.append(("site", case.site))
        for mark in marks:
            if mark[1] is None:
                continue
            parent[root(case.id)] = root(seen.setdefault(mark, case.id))
    groups: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        groups[root(case.id)].append(case.id)
    return sorted(sorted(group) for group in groups.values())


def told_subject(cases: Sequence[Case]) -> str:
    """That one subject has so many of the cases that folds and tests are hardly possible; empty where none has.

    Often it is no person, but what an anonymiser wrote over everybody's id.
    """
    [(subject, count)] = Counter(case.subject for case in cases).most_common(1) or [(None, 0)]
    many = count == len(cases) > 1 or (count >= _MANY and 2 * count > len(cases))
    if subject is None or not many:
        return ""
    return f"{count if count < len(cases) else f'all {count}'} cases are one subject, {subject}"


def structures_without_cases(structures: Sequence[Structure], present: Mapping[str, Collection[str]]) -> list[str]:
    """Names of the structures that occur in no case.

    Args:
        structures: The structures that should occur.
        present: Case id → names of the structures that have a voxel there.
    """
    found = {name for names in present.values() for name in names}
    return [structure.name for structure in structures if structure.name not in found]
