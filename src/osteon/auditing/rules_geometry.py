"""Voxel sizes that stand out, and whether the structures say that the header is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from osteon.auditing.cohort import MIN_CASES, Cohort, strength_of
from osteon.auditing.facts import CaseFacts
from osteon.auditing.finding import Finding
from osteon.core.statistics import robust_z

SAME_EDGE = 0.01
"""Voxel edges that differ by less than this part are the same."""
COMMON_FRACTION = 0.75
"""Voxel edges that this part of the cases share are the usual ones."""
STANDS_OUT = 6.0
"""Robust standard deviations for edges and sizes."""
SIZE_SPREAD = 0.06
"""Least spread of the logarithm of lengths: people differ by about that."""


def find_odd_spacings(cohort: Cohort) -> Iterator[Finding]:
    """Cases whose voxels are of another size than nearly all others'."""
    if len(cohort.cases) < MIN_CASES:
        return
    sizes = lengths(cohort)
    logs = np.log([case.spacing for case in cohort.cases])
    same_size = np.abs(logs[:, None] - logs[None]).max(axis=2) < SAME_EDGE
    usual = int(same_size.sum(axis=1).argmax())
    count = int(same_size[usual].sum())
    if count >= COMMON_FRACTION * len(cohort.cases):
        model = cohort.cases[usual]
        for number in np.flatnonzero(~same_size[usual]):
            yield _another(cohort.cases[number], model, count, sizes)
        return
    z = np.stack([robust_z(logs[:, axis].tolist(), floor=0.1)[0] for axis in range(3)], axis=1)
    for case, own in zip(cohort.cases, z, strict=True):
        axis = int(np.abs(own).argmax())
        if abs(own[axis]) > STANDS_OUT:
            yield Finding(
                severity="warning",
                kind="spacing",
                cases=[case.id],
                what=f"voxels of {_times(case.spacing)} {case.unit}",
                against=f"median {_times(np.exp(np.median(logs, axis=0)))} {case.unit} in {len(cohort.cases)} cases",
                action="make sure that the header is right; if so, nothing",
                strength=strength_of(own[axis], STANDS_OUT),
            )


def _another(case: CaseFacts, usual: CaseFacts, count: int, sizes: dict[str, float]) -> Finding:
    factors = np.array(case.spacing) / np.array(usual.spacing)
    factor = float(np.exp(np.log(factors).mean()))
    size = sizes.get(case.id)
    same_matrix = case.shape == usual.shape
    what = (
        f"voxels of {_times(case.spacing)} {case.unit}, {abs(factor - 1):.0%} {'larger' if factor > 1 else 'smaller'}; "
        f"the image spans {_times(case.field_of_view)} {case.unit}"
    )
    grown = False
    if size is not None:
        what += f", its structures are {size:.2f} times as long"
        grown = abs(np.log(size / factor)) < abs(np.log(size)) and abs(np.log(factor)) > 0.03
    sure = grown or same_matrix
    return Finding(
        severity="error" if sure else "warning",
        kind="spacing",
        cases=[case.id],
        what=what,
        against=f"{count} cases have voxels of {_times(usual.spacing)} {usual.unit}"
        + (" and images of the same number of voxels" if same_matrix else ""),
        action="the header's spacing seems wrong: compare it with the scanner's, and correct image and label"
        if sure
        else "make sure that the header is right; if so, nothing",
        strength=0.45 + 0.3 * grown + 0.2 * same_matrix,
    )


def find_odd_sizes(cohort: Cohort) -> Iterator[Finding]:
    """Cases in which all structures are larger or smaller than elsewhere, by about the same factor."""
    sizes = lengths(cohort)
    if len(sizes) < MIN_CASES:
        return
    z = robust_z([float(np.log(size)) for size in sizes.values()], floor=SIZE_SPREAD)[0]
    for (case, size), own in zip(sizes.items(), z, strict=True):
        if abs(own) > STANDS_OUT:
            yield Finding(
                severity="warning",
                kind="scale",
                cases=[case],
                what=f"its structures together are {size:.2f} times as long as usual",
                against=f"the median of {len(sizes)} cases",
                action="check the header's spacing, and whether this is a child or another species",
                strength=strength_of(own, STANDS_OUT),
            )


def lengths(cohort: Cohort) -> dict[str, float]:
    """How long the structures of each case are, over the usual: the median of the volumes' cube roots.

    Structures that the image's edge cuts do not count; at least two must remain.
    """
    usual = {}
    for structure in cohort.manifest.structures:
        whole = [facts.volume_mm3 for _, facts in cohort.having(structure.name) if not facts.cut]
        if len(whole) >= MIN_CASES:
            usual[structure.name] = float(np.median(whole))
    found = {}
    for case in cohort.labelled:
        power = 1 / 2 if 1 in case.shape else 1 / 3
        ratios = [
            (facts.volume_mm3 / usual[name]) ** power
            for name, facts in case.structures.items()
            if name in usual and not facts.cut
        ]
        if len(ratios) >= 2:
            found[case.id] = float(np.median(ratios))
    return found


def find_groups(cohort: Cohort) -> Iterator[Finding]:
    """Sites, and how the cases spread over them."""
    sites = Counter(case.site for case in cohort.manifest.cases if case.site is not None)
    if len(sites) > 1:
        listed = ", ".join(f"{site} {count}" for site, count in sites.most_common(8))
        yield Finding(
            severity="note",
            kind="sites",
            what=f"the cases come from {len(sites)} sites: {listed}",
            action="`osteon train --by site` tells how a model does at a site that it has not seen",
            strength=0.02,
        )
    units = Counter(case.unit for case in cohort.cases)
    if len(units) > 1:
        yield Finding(
            severity="warning",
            kind="units",
            cases=[case.id for case in cohort.cases if case.unit == units.most_common()[-1][0]],
            what="some images are measured in mm, others in px",
            against=", ".join(f"{count} in {unit}" for unit, count in units.most_common()),
            action="write the voxels' size into the headers that lack it",
            strength=0.6,
        )


def _times(values: object) -> str:
    return "×".join(f"{value:.4g}" for value in np.asarray(values, dtype=float))
