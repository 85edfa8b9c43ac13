"""The page that people read: one HTML file, pictures and all."""

from __future__ import annotations

import base64
from collections import defaultdict
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from osteon.auditing.cohort import Cohort
from osteon.auditing.finding import SEVERITIES, Finding
from osteon.auditing.rules_places import amount
from osteon.core.files import write_text

TEMPLATE = "page.html.j2"


def write_page(path: Path, summary: str, cohort: Cohort, findings: list[Finding], pictures: Path) -> None:
    """Write the page.

    Args:
        path: The HTML file.
        summary: One sentence.
        cohort: What was measured.
        findings: Ranked.
        pictures: The folder with `<case id>.jpg`.
    """
    import jinja2

    source = resources.files("osteon.auditing").joinpath(TEMPLATE).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    numbers = {case.id: number for number, case in enumerate(cohort.cases)}
    by_case: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        for case_id in finding.cases:
            by_case[case_id].append(finding)
    html = environment.from_string(source).render(
        name=cohort.manifest.name,
        summary=summary,
        findings=findings,
        counts={severity: sum(f.severity == severity for f in findings) for severity in SEVERITIES},
        numbers=numbers,
        structures=[_structure_row(cohort, s.name, s.colour) for s in cohort.manifest.structures],
        overlaps=_overlaps(cohort),
        cases=[_case(cohort, number, by_case, pictures) for number in range(len(cohort.cases))],
        flat=bool(cohort.cases) and all(1 in case.shape for case in cohort.cases),
    )
    write_text(path, html)


def _structure_row(cohort: Cohort, name: str, colour: str) -> dict[str, Any]:
    have = cohort.having(name)
    row: dict[str, Any] = {"name": name, "colour": colour, "cases": len(have)}
    row["annotated"] = sum(name in cohort.annotated(case) for case in cohort.cases if case.labelled)
    if have:
        volumes = [facts.volume_mm3 for _, facts in have]
        row["median"] = amount(float(np.median(volumes)), have[0][0])
        row["range"] = f"{amount(min(volumes), have[0][0])} … {amount(max(volumes), have[0][0])}"
        row["intensity"] = f"{np.median([facts.mean for _, facts in have]):.4g}"
        shells = [facts.shell for _, facts in have if facts.shell is not None]
        row["outside"] = f"{np.median(shells):.4g}" if shells else "–"
    return row


def _overlaps(cohort: Cohort) -> dict[str, Any] | None:
    """In how many cases two structures share voxels, and what part of the smaller one at the median."""
    shares: dict[tuple[str, str], list[float]] = defaultdict(list)
    for case in cohort.cases:
        for first, second, voxels in case.overlaps:
            smaller = min(case.structures[first].voxels, case.structures[second].voxels)
            shares[first, second].append(voxels / smaller)
            shares[second, first].append(voxels / smaller)
    if not shares:
        return None
    names = [s.name for s in cohort.manifest.structures if any(s.name == pair[0] for pair in shares)]
    cells = {pair: {"cases": len(parts), "share": float(np.median(parts))} for pair, parts in shares.items()}
    return {"names": names, "rows": [[cells.get((row, column)) for column in names] for row in names]}


def _case(cohort: Cohort, number: int, by_case: dict[str, list[Finding]], pictures: Path) -> dict[str, Any]:
    case = cohort.cases[number]
    own = by_case[case.id]
    picture = (pictures / f"{case.id}.jpg").read_bytes()
    times = "×".join
    return {
        "id": case.id,
        "number": number,
        "worst": min((SEVERITIES.index(f.severity) for f in own), default=len(SEVERITIES)),
        "findings": [finding for finding in own if finding.severity != "note"],
        "notes": sum(finding.severity == "note" for finding in own),
        "grid": f"{times(map(str, case.shape))} voxels of {times(f'{e:.3g}' for e in case.spacing)} {case.unit}, "
        f"file's axes {case.orientation}",
        "picture": base64.b64encode(picture).decode(),
        "structures": [
            {"name": name, "volume": amount(facts.volume_mm3, case), "mean": f"{facts.mean:.4g}"}
            for name, facts in case.structures.items()
        ],
    }
