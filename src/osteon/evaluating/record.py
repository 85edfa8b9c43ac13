"""An evaluation on disk: metrics.csv for spreadsheets, metrics.json for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from osteon.core.files import write_json, write_text
from osteon.core.spreadsheets import tabulate, to_csv
from osteon.evaluating.groups import Group
from osteon.evaluating.metrics import distance_metrics, score_to_row
from osteon.evaluating.scores import Score
from osteon.evaluating.summary import Summary

CSV_NAME, JSON_NAME = "metrics.csv", "metrics.json"
DIGITS = 6
"""Significant digits that are written: far finer than any difference that means something, and readable."""


def write_scores_csv(
    path: Path, scores: Sequence[Score], columns: Mapping[str, Mapping[str, str]] | None = None
) -> None:
    """Write one row for each case and structure. A metric that does not exist is an empty cell.

    Args:
        path: The table.
        scores: Its rows.
        columns: Further ones, the last: a value by case id; empty where a case has none.
    """
    names = [field.name for field in fields(Score) if field.name != "distances"] + list(distance_metrics(scores))
    columns, rows = columns or {}, []
    for score in scores:
        row = {name: _rounded(value) for name, value in score_to_row(score).items()}
        rows.append({**row, **{name: values.get(score.case, "") for name, values in columns.items()}})
    write_text(path, to_csv(tabulate(rows, [*names, *columns])))


def write_metrics_json(
    path: Path,
    summaries: Sequence[Summary],
    overall: Summary,
    scores: Sequence[Score],
    groups: Sequence[Group] = (),
    trained_on: tuple[Sequence[Summary], Summary] | None = None,
    **more: Any,
) -> None:
    """Write the summary and the cases. A metric that does not exist is null. `more` goes in front.

    The summary of cases that were trained on stands by itself, where there are any.
    """
    cases: dict[str, dict[str, Any]] = {}
    for score in scores:
        metrics = {k: v for k, v in score_to_row(score).items() if k not in ("case", "structure")}
        cases.setdefault(score.case, {})[score.structure] = _rounded(metrics)
    data = {
        "osteon": 1,
        **more,
        **_lines(overall, summaries),
        "cases": cases,
    }
    if trained_on is not None and trained_on[0]:
        data["trained_on"] = _lines(trained_on[1], trained_on[0])
    if groups:
        data["groups"] = {g.name: {"cases": g.cases, **_lines(g.overall, g.summaries)} for g in groups}
    write_json(path, data)


def _lines(overall: Summary, summaries: Sequence[Summary]) -> dict[str, Any]:
    return {"overall": _line(overall), "structures": {summary.structure: _line(summary) for summary in summaries}}


def _line(summary: Summary) -> dict[str, Any]:
    values = asdict(summary)
    metrics = values.pop("metrics")
    del values["structure"]
    more = {"pooled_detection_f1": summary.pooled_detection_f1}
    line: dict[str, Any] = _rounded({**metrics, **values, **more})
    return line


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return value
