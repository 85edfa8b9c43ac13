"""An evaluation on disk: metrics.csv for spreadsheets, metrics.json for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from osteon.core.files import write_json, write_text
from osteon.evaluating.scores import Score
from osteon.evaluating.summary import Summary

CSV_NAME, JSON_NAME = "metrics.csv", "metrics.json"
DIGITS = 6
"""Significant digits that are written: far finer than any difference that means something, and readable."""


def write_scores_csv(path: Path, scores: Sequence[Score]) -> None:
    """Write one row for each case and structure. A figure that does not exist is an empty cell."""
    text = io.StringIO()
    names = [field.name for field in fields(Score)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _rounded(value) for name, value in asdict(score).items()} for score in scores)
    write_text(path, text.getvalue())


def write_metrics_json(
    path: Path, summaries: Sequence[Summary], overall: Summary, scores: Sequence[Score], **more: Any
) -> None:
    """Write the summary and the cases. A figure that does not exist is null. `more` goes in front."""
    cases: dict[str, dict[str, Any]] = {}
    for score in scores:
        figures = {k: v for k, v in asdict(score).items() if k not in ("case", "structure")}
        cases.setdefault(score.case, {})[score.structure] = _rounded(figures)
    data = {
        "osteon": 1,
        **more,
        "overall": _line(overall),
        "structures": {summary.structure: _line(summary) for summary in summaries},
        "cases": cases,
    }
    write_json(path, data)


def _line(summary: Summary) -> dict[str, Any]:
    return {name: _rounded(value) for name, value in asdict(summary).items() if name != "structure"}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return value
