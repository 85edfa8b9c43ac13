"""What numbered pieces have too little or too much of: pieces of a voxel, and numbers that two pieces share."""

from __future__ import annotations

from collections.abc import Iterator

from osteon.auditing.cohort import Cohort
from osteon.auditing.facts import CaseFacts, NumberedPieces
from osteon.auditing.finding import Finding
from osteon.auditing.measure_pieces import APART_VOXELS, TINY_VOXELS
from osteon.core.text import pluralise, shorten_list

_LISTED = 8


def _numbered(cohort: Cohort) -> Iterator[tuple[CaseFacts, str, NumberedPieces]]:
    """Case, structure and its pieces, where these are numbered."""
    for structure in cohort.manifest.structures:
        for case, facts in cohort.having(structure.name):
            if facts.numbered is not None:
                yield case, structure.name, facts.numbered


def find_tiny_pieces(cohort: Cohort) -> Iterator[Finding]:
    """Pieces of a voxel or a few."""
    for case, name, numbered in _numbered(cohort):
        if numbered.tiny:
            listed = [f"{value} ({pluralise(voxels, 'voxel')})" for value, voxels in numbered.tiny]
            yield Finding(
                severity="warning",
                kind="tiny-pieces",
                cases=[case.id],
                structures=[name],
                what=f"{name} has tiny pieces under the numbers {shorten_list(listed, _LISTED)}",
                against=f"of {numbered.count} pieces; fewer than {TINY_VOXELS} voxels cannot be learned",
                action="remove them where they are stray clicks: each counts as a piece",
                strength=0.5,
            )


def find_shared_numbers(cohort: Cohort) -> Iterator[Finding]:
    """Numbers whose voxels lie in parts far from each other."""
    for case, name, numbered in _numbered(cohort):
        if numbered.twice:
            listed = [f"{value} ({a} and {b} voxels)" for value, a, b in numbered.twice]
            many = "number" if len(listed) == 1 else "numbers"
            yield Finding(
                severity="warning",
                kind="shared-number",
                cases=[case.id],
                structures=[name],
                what=f"{name} has two pieces under one number: {many} {shorten_list(listed, _LISTED)}",
                against=f"its parts lie more than {APART_VOXELS} voxels apart",
                action="give the smaller part a number of its own, or remove it where it is a stray stroke",
                strength=0.8,
            )
