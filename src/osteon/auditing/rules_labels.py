"""What labels lack or have too much of: empty, missing, in pieces, with holes, tiny, cut, not on every slice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from osteon.auditing.cohort import MIN_CASES, Cohort
from osteon.auditing.finding import Finding
from osteon.core.text import shorten_list
from osteon.dataset.folds import group_cases, groups_with_structure, structures_only_held_out
from osteon.dataset.sparse_labels import describe_step

COMMON_FRACTION = 0.9
"""A structure that this part of the cases has, or all but one, is expected in all."""
LARGE_PIECE = 0.05
"""A second piece of at least this part of the structure is a warning, a smaller one a note."""
LARGE_HOLE = 0.01
"""The same for holes."""
MIN_VOXELS = 8
MIN_THICKNESS_VOXELS = 2


def find_empty_labels(cohort: Cohort) -> Iterator[Finding]:
    """Labels without a voxel."""
    typical = int(np.median([len(case.structures) for case in cohort.labelled])) if cohort.labelled else 0
    for case in cohort.cases:
        if case.labelled and not case.structures and cohort.annotated(case):
            yield Finding(
                severity="error",
                kind="empty",
                cases=[case.id],
                what="the label is empty: no voxel belongs to any structure",
                against=f"the other labels hold {typical} structures" if typical else "",
                action="label the case, or take its `segmentation` out of dataset.yaml; "
                "where there is truly nothing to see, leave it",
                strength=1.0,
            )


def find_missing_structures(cohort: Cohort) -> Iterator[Finding]:
    """Structures that a case lacks and nearly all others have; structures that no case has."""
    for structure in cohort.manifest.structures:
        asked = [case for case in cohort.labelled if structure.name in cohort.annotated(case)]
        have = [case for case in asked if structure.name in case.structures]
        if cohort.labelled and not have:
            yield Finding(
                severity="warning",
                kind="never-seen",
                structures=[structure.name],
                what=f"no case has a voxel of {structure.name}" + ("" if asked else "; it was annotated in none"),
                against=f"{len(cohort.labelled)} labelled cases",
                action="check names and values of the labels, or take the structure out of dataset.yaml",
                strength=0.8,
            )
        if len(asked) >= MIN_CASES and len(have) >= min(COMMON_FRACTION * len(asked), len(asked) - 1):
            for case in asked:
                if structure.name not in case.structures:
                    yield Finding(
                        severity="warning",
                        kind="missing",
                        cases=[case.id],
                        structures=[structure.name],
                        what=f"{structure.name} has no voxel",
                        against=f"{len(have)} of {len(asked)} cases have it",
                        action=f"label it; where it was not annotated, list the case's `annotated` structures "
                        f"without {structure.name}",
                        strength=0.9,
                    )


def find_rare_structures(cohort: Cohort) -> Iterator[Finding]:
    """Structures that only one group of cases to train on has, or none of them and some that are held out."""
    manifest = cohort.as_measured
    present = {case.id: case.structures for case in cohort.cases}
    for name, cases in structures_only_held_out(manifest, present).items():
        yield Finding(
            severity="warning",
            kind="held-out-only",
            cases=cases,
            structures=[name],
            what=f"{name} has voxels in cases held out alone, and no training can learn it",
            against=f"{len(manifest.trainable)} cases to train on",
            action="hold out other cases, or label it in some that are trained on",
            strength=0.85,
        )
    for name, groups in groups_with_structure(manifest, present).items():
        if len(groups) == 1 and len(group_cases(manifest.trainable)) > 1:
            yield Finding(
                severity="warning",
                kind="rare",
                cases=groups[0],
                structures=[name],
                what=f"{name} has voxels in {'one case' if len(groups[0]) == 1 else 'cases of one subject'} only",
                against="a fold that holds it back has nothing to learn it from: cross-validation needs it in two, "
                "of two subjects",
                action="label it in more cases, or train with --fold none, or take it out of `structures` in "
                "plan.yaml: it is background then",
                strength=0.75,
            )


def find_extra_pieces(cohort: Cohort) -> Iterator[Finding]:
    """Structures in several pieces where they are whole in most cases."""
    for structure in cohort.manifest.structures:
        have = cohort.having(structure.name)
        if structure.instances or not have or np.median([len(facts.pieces) for _, facts in have]) > 1:
            continue
        whole = sum(len(facts.pieces) == 1 for _, facts in have)
        for case, facts in have:
            if len(facts.pieces) < 2:
                continue
            fractions = [size / facts.voxels for size in facts.pieces]
            large = fractions[1] >= LARGE_PIECE
            largest = zip(facts.pieces[:4], fractions[:4], strict=True)
            listed = ", ".join(f"{size} voxels ({share:.0%})" for size, share in largest)
            yield Finding(
                severity="warning" if large else "note",
                kind="pieces",
                cases=[case.id],
                structures=[structure.name],
                what=f"{structure.name} is in {len(facts.pieces)} pieces: {listed}"
                + (f"; nothing is drawn of {facts.gaps}" if facts.gaps else ""),
                against=f"it is whole in {whole} of {len(have)} cases",
                action="look whether a slice was left out or a stroke went astray; "
                "keeping the largest piece only would lose the rest",
                strength=min(0.95, 0.5 + fractions[1]) if large else 0.3 + fractions[1],
            )


def find_holes(cohort: Cohort) -> Iterator[Finding]:
    """Gaps that a structure encloses."""
    for structure in cohort.manifest.structures:
        have = cohort.having(structure.name)
        closed = sum(not facts.holes for _, facts in have)
        if closed < len(have) / 2:
            continue  # a ring, or a shell: that is its form
        for case, facts in have:
            if facts.holes:
                share = sum(facts.holes) / facts.voxels
                many = "a hole" if len(facts.holes) == 1 else f"{len(facts.holes)} holes"
                yield Finding(
                    severity="warning" if share >= LARGE_HOLE else "note",
                    kind="holes",
                    cases=[case.id],
                    structures=[structure.name],
                    what=f"{structure.name} has {many}, {_voxels(sum(facts.holes))} ({share:.2%} of it)",
                    against=f"it has none in {closed} of {len(have)} cases",
                    action="fill it where it is no cavity",
                    strength=min(0.9, 0.3 + 5 * share),
                )


def find_tiny_structures(cohort: Cohort) -> Iterator[Finding]:
    """Structures too small for a network to see, and shreds."""
    for structure in cohort.manifest.structures:
        for case, facts in cohort.having(structure.name):
            if facts.voxels < MIN_VOXELS or facts.thinnest_voxels < MIN_THICKNESS_VOXELS:
                yield Finding(
                    severity="note",
                    kind="tiny",
                    cases=[case.id],
                    structures=[structure.name],
                    what=f"{structure.name} has {_voxels(facts.voxels)} and is "
                    f"{_voxels(facts.thinnest_voxels)} thin at most",
                    against=f"fewer than {MIN_VOXELS} voxels or {MIN_THICKNESS_VOXELS} across cannot be learned",
                    action="check for a stray click; else expect no network to find it",
                    strength=0.6,
                )
            elif facts.shreds:
                yield Finding(
                    severity="note",
                    kind="shreds",
                    cases=[case.id],
                    structures=[structure.name],
                    what=f"{structure.name} has {facts.shreds} shred{'s' * (facts.shreds != 1)} beside its "
                    f"{'piece' if len(facts.pieces) == 1 else 'pieces'}",
                    against="a shred is below 0.1 % of the structure, or below 5 voxels",
                    action="remove them where they are stray clicks",
                    strength=0.2,
                )


def find_cut_structures(cohort: Cohort) -> Iterator[Finding]:
    """Structures that reach the edge of the image."""
    for structure in cohort.manifest.structures:
        have = cohort.having(structure.name)
        whole = sum(not facts.cut for _, facts in have)
        for case, facts in have:
            if facts.cut:
                yield Finding(
                    severity="note",
                    kind="cut",
                    cases=[case.id],
                    structures=[structure.name],
                    what=f"{structure.name} reaches the edge of the image ({', '.join(facts.cut)})",
                    against=f"it lies inside in {whole} of {len(have)} cases",
                    action="nothing; its volume and position say less",
                    strength=0.1,
                )


def find_unlabelled_cases(cohort: Cohort) -> Iterator[Finding]:
    """Cases without a label, and structures that nobody looked for."""
    cases = [case.id for case in cohort.cases if not case.labelled]
    if cases:
        yield Finding(
            severity="note",
            kind="unlabelled",
            cases=cases,
            what=f"{len(cases)} of {len(cohort.cases)} cases have no label",
            action="nothing; no training learns from them",
            strength=0.5 if len(cases) == len(cohort.cases) else 0.05,
        )
    for structure in cohort.manifest.structures:
        without = [case.id for case in cohort.labelled if structure.name not in cohort.annotated(case)]
        if without:
            yield Finding(
                severity="note",
                kind="not-annotated",
                cases=without,
                structures=[structure.name],
                what=f"{structure.name} is not annotated in {len(without)} of {len(cohort.labelled)} labelled cases",
                action="nothing; it is unknown there, not background",
                strength=0.05,
            )


def _voxels(count: int) -> str:
    return f"{count} voxel{'s' * (count != 1)}"


def find_sparse_labels(cohort: Cohort) -> Iterator[Finding]:
    """Structures drawn on some slices only: the model would learn that bone comes and goes."""
    for case in cohort.labelled:
        found = {name: facts for name, facts in case.structures.items() if facts.step > 1}
        if found:
            step = min(facts.step for facts in found.values())
            yield Finding(
                severity="error",
                kind="between-slices",
                cases=[case.id],
                structures=list(found),
                what=f"drawn on {describe_step(step)}: {shorten_list([f.drawn for f in found.values()])}",
                against="what lies between counts as background",
                action="import it again in the form masks, which draws the slices between (--between-slices fill)",
                strength=0.9,
            )
