"""What measuring writes: measures.csv and measures.json in long form, cohort.csv, changes.csv."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from osteon.core.errors import OsteonError
from osteon.core.files import remove_file, write_json, write_text
from osteon.core.spreadsheets import tabulate, to_csv
from osteon.core.version import __version__
from osteon.measuring import changes, cohort
from osteon.measuring.changes import Change
from osteon.measuring.cohort import Distribution
from osteon.measuring.figure import Figure
from osteon.measuring.measure import Measure

TABLE, FILE, COHORT, CHANGES = "measures.csv", "measures.json", "cohort.csv", "changes.csv"
COLUMNS = (
    "case",
    "subject",
    "date",
    "structure",
    "side",
    "measure",
    "value",
    "low",
    "high",
    "unit",
    "robust_z",
    "flagged",
    "not_measured",
)
DIGITS = 5
"""That figures are written with: no bone is measured to a ten-thousandth."""


def write_tables(
    folder: Path,
    figures: Sequence[Figure],
    spread: Sequence[Distribution],
    changed: Sequence[Change],
    *,
    cases: Mapping[str, Mapping[str, Any]],
    measures: Sequence[Measure],
    failed: Mapping[str, OsteonError],
) -> None:
    """Write all of them.

    Args:
        folder: Where they go.
        figures: Of all cases.
        spread: Of the figures.
        changed: Between scans of one subject; without any, there is no changes.csv.
        cases: Case → its columns `subject` and `date`.
        measures: The rows that were read.
        failed: Case → why it could not be measured.

    Raises:
        FileError, DiskFullError: They cannot be written.
    """
    z = {(one.structures, one.measure, case): value for one in spread for case, value in one.z.items()}
    rows = [
        {
            **figure.to_row(),
            **cases.get(figure.case, {}),
            "robust_z": z.get((figure.structures, figure.name, figure.case)),
        }
        for figure in figures
    ]
    write_text(folder / TABLE, _csv(rows, COLUMNS))
    write_text(folder / COHORT, _csv((one.to_row() for one in spread), cohort.COLUMNS))
    if changed:
        write_text(folder / CHANGES, _csv((one.to_row() for one in changed), changes.COLUMNS))
    else:
        remove_file(folder / CHANGES)
    data = {
        "osteon": __version__,
        "measures": [describe_measure(row) for row in measures],
        "cases": dict(cases),
        "figures": [
            figure.model_dump(mode="json", exclude_defaults=True) | {"name": figure.name} for figure in figures
        ],
        "cohort": [one.model_dump(mode="json") for one in spread],
        "changes": [one.model_dump(mode="json") for one in changed],
        "failed": {case: error.message for case, error in failed.items()},
    }
    write_json(folder / FILE, data)


def describe_measure(row: Measure) -> dict[str, Any]:
    """What a row says of itself."""
    return {
        "name": row.name,
        "family": row.family,
        "unit": row.unit,
        "what": row.what,
        "definition": row.definition,
        "source": row.source,
        "frame": row.frame,
        "needs": sorted(row.needs),
        "drawn": row.drawn,
    }


def _csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    rounded = ({name: _round(value) for name, value in row.items()} for row in rows)
    return to_csv(tabulate(rounded, columns))


def _round(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
