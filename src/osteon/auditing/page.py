"""The report that people read: HTML, pictures and all; of many cases in pages, those concerned by the worst first."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from osteon.auditing.cohort import Cohort
from osteon.auditing.facts import CaseFacts
from osteon.auditing.finding import SEVERITIES, Finding
from osteon.auditing.rules_positions import format_volume
from osteon.core.file_names import natural_key
from osteon.core.html_pages import PagePosition, page_name, paginate, render, write_pages

TEMPLATE = "page.html.j2"
FINDINGS = 200
"""Findings that the first page lists one by one. Of more, the strongest `OF_A_KIND` of each kind."""
OF_A_KIND = 10
LINKS = 200
"""Cases of a finding that are linked to."""


def write_page(path: Path, summary: str, cohort: Cohort, findings: list[Finding], pictures: Path) -> None:
    """Write the report, and of many cases its other pages beside it.

    Args:
        path: The HTML file.
        summary: One sentence.
        cohort: What was measured.
        findings: Ranked.
        pictures: The folder with `<case id>.jpg`.
    """
    by_case: dict[str, list[int]] = defaultdict(list)
    for number, finding in enumerate(findings):
        for case_id in finding.cases:
            by_case[case_id].append(number)
    numbers = {case.id: number for number, case in enumerate(cohort.cases)}
    pages = paginate(sorted(cohort.cases, key=lambda case: by_case.get(case.id, [len(findings)])[0]))
    links = {
        case.id: f"{page_name(path.name, number) if number > 1 else ''}#case-{numbers[case.id]}"
        for number, cases in enumerate(pages, 1)
        for case in cases
    }
    names = sorted(links, key=natural_key)
    overlaps, rows = _overlaps(cohort), _rows(findings)
    flat = bool(cohort.cases) and all(1 in case.shape for case in cohort.cases)
    structures = [_structure_row(cohort, s.name, s.colour) for s in cohort.manifest.structures]

    def html(page: PagePosition, cases: Sequence[CaseFacts]) -> str:
        return render(
            "osteon.auditing",
            TEMPLATE,
            name=cohort.manifest.name,
            page=page,
            links=links,
            names=names,
            most=LINKS,
            summary=summary,
            rows=rows,
            counts={severity: sum(f.severity == severity for f in findings) for severity in SEVERITIES},
            numbers=numbers,
            structures=structures,
            overlaps=overlaps,
            cases=[_case(case, [findings[n] for n in by_case.get(case.id, [])], pictures) for case in cases],
            flat=flat,
        )

    write_pages(path, pages, html)


def _rows(findings: Sequence[Finding]) -> list[Mapping[str, Any]]:
    """The findings to list, each with its cases; of many those of one kind together, the rest of them as one row."""
    if len(findings) <= FINDINGS:
        return [{"one": finding, "cases": finding.cases} for finding in findings]
    kinds: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        kinds[finding.severity, finding.kind].append(finding)
    rows: list[Mapping[str, Any]] = []
    for same_kind in kinds.values():
        rows += [{"one": finding, "cases": finding.cases} for finding in same_kind[:OF_A_KIND]]
        if rest := same_kind[OF_A_KIND:]:
            cases = list(dict.fromkeys(case for finding in rest for case in finding.cases))
            rows.append({"one": rest[0], "cases": cases, "rest": len(rest)})
    return rows


def _structure_row(cohort: Cohort, name: str, colour: str) -> dict[str, Any]:
    have = cohort.having(name)
    row: dict[str, Any] = {"name": name, "colour": colour, "cases": len(have)}
    row["annotated"] = sum(name in cohort.annotated(case) for case in cohort.cases if case.labelled)
    if have:
        volumes = [facts.volume_mm3 for _, facts in have]
        row["median"] = format_volume(float(np.median(volumes)), have[0][0])
        row["range"] = f"{format_volume(min(volumes), have[0][0])} … {format_volume(max(volumes), have[0][0])}"
        row["intensity"] = f"{np.median([facts.mean for _, facts in have]):.4g}"
        shells = [facts.shell for _, facts in have if facts.shell is not None]
        row["outside"] = f"{np.median(shells):.4g}" if shells else "–"
    return row


def _overlaps(cohort: Cohort) -> dict[str, Any] | None:
    """In how many cases two structures share voxels, and what part of the smaller one at the median."""
    fractions: dict[tuple[str, str], list[float]] = defaultdict(list)
    for case in cohort.cases:
        for first, second, voxels in case.overlaps:
            smaller = min(case.structures[first].voxels, case.structures[second].voxels)
            fractions[first, second].append(voxels / smaller)
            fractions[second, first].append(voxels / smaller)
    if not fractions:
        return None
    names = [s.name for s in cohort.manifest.structures if any(s.name == pair[0] for pair in fractions)]
    cells = {pair: {"cases": len(parts), "share": float(np.median(parts))} for pair, parts in fractions.items()}
    return {"names": names, "rows": [[cells.get((row, column)) for column in names] for row in names]}


def _case(case: CaseFacts, own: Sequence[Finding], pictures: Path) -> dict[str, Any]:
    times = "×".join
    return {
        "id": case.id,
        "findings": [finding for finding in own if finding.severity != "note"],
        "notes": [finding for finding in own if finding.severity == "note"],
        "grid": f"{times(map(str, case.shape))} voxels of {times(f'{e:.3g}' for e in case.spacing)} {case.unit}, "
        f"file's axes {case.orientation}",
        "picture": partial(_embed, pictures / f"{case.id}.jpg"),
        "structures": [
            {"name": name, "volume": format_volume(facts.volume_mm3, case), "mean": f"{facts.mean:.4g}"}
            for name, facts in case.structures.items()
        ],
    }


def _embed(picture: Path) -> str:
    return base64.b64encode(picture.read_bytes()).decode()
