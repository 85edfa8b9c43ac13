"""Cross-validation folds that never let one patient stand on both sides, nor take a structure from the training."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Literal

from osteon.core.errors import DatasetError, UsageError
from osteon.core.labels import Structure
from osteon.dataset.manifest import Case, Manifest

GroupBy = Literal["subject", "site"]
SUBJECT_HINT = "import with --subject REGEX where they are several people ('(.+)' takes each case for one)"
_MANY = 4
"""As many cases of one subject, and more than half of all, are worth a look."""


def make_folds(
    manifest: Manifest,
    count: int = 5,
    seed: int = 0,
    *,
    by: GroupBy = "subject",
    present: Mapping[str, Collection[str]] | None = None,
) -> list[list[str]]:
    """Divide the labelled cases that are not held out into `count` folds of about equal size.

    Cases of one subject, cases whose images are the same voxels (`content`), and with `by="site"` cases of one site
    stay together, also over several steps (A like B, B like C). The same manifest and seed give the same folds,
    whatever the order of the cases. A structure that all lies in one fold would be missing from that fold's training:
    where several groups have it, groups are exchanged until it lies in two folds.

    Args:
        manifest: The cases.
        count: Folds.
        seed: Of the draw.
        by: What no fold parts.
        present: Case id → names of the structures that have a voxel there; None: nobody knows yet.

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
        cases, one = len(manifest.trainable), describe_main_subject(manifest.trainable)
        why = f"{cases} labelled case{'s' * (cases != 1)} in {len(groups)} group{'s' * (len(groups) != 1)} that stay"
        way = f"--folds {len(groups)}, or " if len(groups) > 1 else ""
        who = f"{SUBJECT_HINT}, or " if one else ""
        raise DatasetError(
            f"{manifest.name}: {count} folds need {count} groups of cases; there are {why} together ({by}, content)"
            f"{one and f': {one}'}",
            hint=f"{who}{way}--fold none to hold nothing out" if cases else "import cases that have a label",
        )
    random.Random(seed).shuffle(groups)
    folds: list[list[list[str]]] = [[] for _ in range(count)]
    sizes = [0] * count
    for group in sorted(groups, key=len, reverse=True):  # the large ones first; stable, so the seed still decides
        smallest = sizes.index(min(sizes))
        folds[smallest].append(group)
        sizes[smallest] += len(group)
    _spread_structures(folds, present or {})
    return [sorted(case for group in fold for case in group) for fold in folds]


def _spread_structures(folds: list[list[list[str]]], present: Mapping[str, Collection[str]]) -> None:
    """Exchange groups, as few and as similar in size as will do, until structures lie in two folds where they can."""
    held = {group[0]: {name for case in group for name in present.get(case, ())} for fold in folds for group in fold}
    where: dict[str, Counter[int]] = defaultdict(Counter)
    for number, fold in enumerate(folds):
        for name in (name for group in fold for name in held[group[0]]):
            where[name][number] += 1

    def alone(name: str) -> bool:
        return where[name].total() > 1 and len(+where[name]) == 1

    def exchange(one: list[str], source: int, target: int, other: list[str]) -> None:
        for group, start, end in ((one, source, target), (other, target, source)):
            for name in held[group[0]] if group else ():
                where[name][start] -= 1
                where[name][end] += 1

    def change(one: list[str], source: int, target: int, other: list[str]) -> int:
        """By how much an exchange changes the number of structures that lie in one fold alone."""
        touched = held[one[0]] | (held[other[0]] if other else set())
        before = sum(map(alone, touched))
        exchange(one, source, target, other)
        after = sum(map(alone, touched))
        exchange(one, target, source, other)
        return after - before

    def kinds(groups: Iterable[list[str]]) -> list[list[str]]:
        """The first of those that have the same structures and size: the others would do as well."""
        first: dict[Hashable, list[str]] = {}
        for group in groups:
            first.setdefault((frozenset(held[group[0]]), len(group)), group)
        return list(first.values())

    for name in sorted(where):
        if not alone(name):
            continue
        source = next(iter(+where[name]))
        ways = [
            (one, target, other)
            for one in kinds(group for group in folds[source] if name in held[group[0]])
            for target in range(len(folds))
            if target != source
            for other in (*kinds(folds[target]), [])
        ]
        costs = [(change(one, source, target, other), abs(len(one) - len(other))) for one, target, other in ways]
        best = min(range(len(ways)), key=costs.__getitem__)
        if costs[best][0] < 0:
            one, target, other = ways[best]
            exchange(one, source, target, other)
            folds[source].remove(one)
            folds[target].append(one)
            if other:
                folds[target].remove(other)
                folds[source].append(other)


def group_cases(cases: Sequence[Case], *, by: GroupBy = "subject") -> list[list[str]]:
    """Ids of the cases that must not be parted, one sorted list for each group, in order of their first ids."""
    parent = {case.id: case.id for case in cases}

    def root(case_id: str) -> str:
        while parent[case_id] != case_id:
            parent[case_id] = parent[parent[case_id]]
            case_id = parent[case_id]
        return case_id

    seen: dict[Hashable, str] = {}
    for case in cases:
        shared = [("subject", case.subject or case.id), ("content", case.content)]
        if by == "site":
            shared.append(("site", case.site))
        for mark in shared:
            if mark[1] is None:
                continue
            parent[root(case.id)] = root(seen.setdefault(mark, case.id))
    groups: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        groups[root(case.id)].append(case.id)
    return sorted(sorted(group) for group in groups.values())


def describe_main_subject(cases: Sequence[Case]) -> str:
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


def groups_with_structure(manifest: Manifest, present: Mapping[str, Collection[str]]) -> dict[str, list[list[str]]]:
    """For each structure the groups of trainable cases that have it, by those of their cases in which it has a voxel.

    Args:
        manifest: Structures and cases.
        present: As `make_folds` takes it.
    """
    groups = group_cases(manifest.trainable)
    return {
        structure.name: [
            having for group in groups if (having := [c for c in group if structure.name in present.get(c, ())])
        ]
        for structure in manifest.structures
    }


def structures_only_held_out(manifest: Manifest, present: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """Structures that occur in cases held out for the final test, which are given, and in none to train on."""
    groups_of = groups_with_structure(manifest, present)
    cases = {name: [c.id for c in manifest.cases if name in present.get(c.id, ())] for name in groups_of}
    return {name: cases[name] for name, groups in groups_of.items() if cases[name] and not groups}
