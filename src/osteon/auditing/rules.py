"""The table of rules. A new one is a function in a `rules_` module, and a row, here or in a package's entry points
`osteon.audit_rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from osteon.auditing import (
    rules_border,
    rules_duplicates,
    rules_geometry,
    rules_intensity,
    rules_labels,
    rules_pieces,
    rules_positions,
)
from osteon.auditing.cohort import Cohort
from osteon.auditing.finding import Finding, rank_findings
from osteon.core.plugins import with_plugins

RULES: tuple[Callable[[Cohort], Iterator[Finding]], ...] = (
    rules_labels.find_empty_labels,
    rules_labels.find_missing_structures,
    rules_labels.find_rare_structures,
    rules_labels.find_extra_pieces,
    rules_labels.find_holes,
    rules_labels.find_tiny_structures,
    rules_labels.find_cut_structures,
    rules_labels.find_unlabelled_cases,
    rules_labels.find_sparse_labels,
    rules_pieces.find_tiny_pieces,
    rules_pieces.find_shared_numbers,
    rules_positions.find_swapped_sides,
    rules_positions.find_wrong_order,
    rules_positions.find_odd_positions,
    rules_positions.find_odd_volumes,
    rules_border.find_moved_labels,
    rules_geometry.find_odd_spacings,
    rules_geometry.find_odd_sizes,
    rules_geometry.find_groups,
    rules_intensity.find_wrong_modality,
    rules_intensity.find_odd_intensities,
    rules_intensity.find_odd_contrast,
    rules_intensity.find_flat_structures,
    rules_duplicates.find_replaced_images,
    rules_duplicates.find_duplicates,
)
MAX_SINGLE = 3
"""Notes of one kind about one structure, or about one case, that are listed singly; more become one."""


def find_problems(cohort: Cohort) -> list[Finding]:
    """All findings, ranked; many notes of one kind about one structure, or about one case, become one."""
    rules = [*RULES, *with_plugins("osteon.audit_rules", {}).values()]
    findings = [finding for rule in rules for finding in rule(cohort)]
    findings = _group_notes(findings, lambda note: tuple(note.structures))
    return rank_findings(_group_notes(findings, lambda note: tuple(note.cases)))


def _group_notes(findings: list[Finding], subject: Callable[[Finding], tuple[str, ...]]) -> list[Finding]:
    by_kind: dict[tuple[str, ...], list[Finding]] = {}
    kept = []
    for finding in findings:
        if finding.severity == "note" and len(finding.cases) == len(finding.structures) == 1:
            by_kind.setdefault((finding.kind, *subject(finding)), []).append(finding)
        else:
            kept.append(finding)
    for group in by_kind.values():
        if len(group) <= MAX_SINGLE:
            kept += group
            continue
        first = max(group, key=lambda finding: finding.strength)
        cases = list(dict.fromkeys(case for finding in group for case in finding.cases))
        structures = list(dict.fromkeys(name for finding in group for name in finding.structures))
        more = f"{len(cases) - 1} more cases" if len(cases) > 1 else f"{len(structures) - 1} more structures"
        what = f"{first.what}{f' in {first.cases[0]}' if len(cases) > 1 else ''}, and also in {more}"
        kept.append(first.model_copy(update={"cases": cases, "structures": structures, "what": what}))
    return kept
