"""An evaluation, and its files: metrics.csv and pieces.csv for spreadsheets, metrics.json for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from osteon.core.files import write_json, write_text
from osteon.core.instances import InstanceScores
from osteon.core.labels import Structure
from osteon.core.spreadsheets import tabulate, to_csv
from osteon.core.text import significant
from osteon.evaluating.groups import Group
from osteon.evaluating.instance_summary import InstanceSummary, instances_to_row
from osteon.evaluating.metrics import distance_metrics, score_to_row
from osteon.evaluating.scores import Score
from osteon.evaluating.summary import OVERALL, STATES, Summary
from osteon.predicting.training_cases import KEY, TRAINED

CSV_NAME, PIECES_NAME, JSON_NAME = "metrics.csv", "pieces.csv", "metrics.json"
DIGITS = 6
"""Significant digits that are written: far finer than any difference that means something, and readable."""


@dataclass(frozen=True)
class Failure:
    """A case that could not be scored, why, and the way out."""

    case: str
    message: str
    hint: str


NO_SUMMARY = Summary(OVERALL)


@dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        structures: What was scored.
        scores: One for each case and structure.
        summaries: One for each structure.
        overall: Over the structures' means.
        failures: Cases that could not be scored.
        missing: Cases that have a reference and no prediction; they are in no mean.
        unmatched: Predictions that have no reference.
        by: The field of the manifest by which cases are grouped.
        groups: One for each of its values.
        notes: Whose word is taken for what numbers without names mean, and how cases were read.
        training_roles: Whether each case was trained on or validated on (`predicting.training_cases`). A case
            that was trained on counts in none of these,
        trained_on: but here: the summary of these alone, one for each structure,
        overall_trained_on: and over the structures' means.
        pieces: One for each case and structure whose pieces are numbered.
        piece_summaries: One for each such structure, over the cases that were not trained on.
    """

    structures: tuple[Structure, ...]
    scores: tuple[Score, ...]
    summaries: tuple[Summary, ...]
    overall: Summary
    failures: tuple[Failure, ...]
    missing: tuple[str, ...]
    unmatched: tuple[str, ...]
    by: str | None = None
    groups: tuple[Group, ...] = ()
    notes: tuple[str, ...] = ()
    training_roles: Mapping[str, str] = field(default_factory=dict)
    trained_on: tuple[Summary, ...] = ()
    overall_trained_on: Summary = NO_SUMMARY
    pieces: tuple[InstanceScores, ...] = ()
    piece_summaries: tuple[InstanceSummary, ...] = ()

    @property
    def cases_trained_on(self) -> list[str]:
        """Scored cases that the predictions' makers were trained on."""
        return list(dict.fromkeys(s.case for s in self.scores if self.training_roles.get(s.case) == TRAINED))

    @property
    def cases_unseen(self) -> list[str]:
        """The other scored cases."""
        return list(dict.fromkeys(s.case for s in self.scores if self.training_roles.get(s.case) != TRAINED))


def write_evaluation(
    folder: Path, result: Evaluation, groups: Mapping[str, str], *, prediction: Path, reference: Path
) -> None:
    """Write metrics.csv, metrics.json, and pieces.csv where pieces are numbered.

    A metric that does not exist is an empty cell in a table, and null in JSON.

    Args:
        folder: Made where it is missing.
        result: What came out.
        groups: The group's name by case id, where there are any.
        prediction: What was scored.
        reference: By what.

    Raises:
        FileError: The folder cannot be written.
    """
    columns = {result.by: groups} if result.by else {}
    columns |= {KEY: result.training_roles} if result.training_roles else {}
    names = [each.name for each in fields(Score) if each.name != "distances"] + [*distance_metrics(result.scores)]
    cases: dict[str, dict[str, Any]] = {}
    for score in result.scores:
        metrics = {k: v for k, v in score_to_row(score).items() if k not in ("case", "structure")}
        cases.setdefault(score.case, {})[score.structure] = _round(metrics)
    rows = (
        {"case": case, "structure": structure, **metrics}
        | {name: values.get(case, "") for name, values in columns.items()}
        for case, structures in cases.items()
        for structure, metrics in structures.items()
    )
    write_text(folder / CSV_NAME, to_csv(tabulate(rows, [*names, *columns])))
    if result.pieces:
        own = [_round(instances_to_row(score)) for score in result.pieces]
        heading = [*dict.fromkeys(name for row in own for name in row), *columns]
        own = [row | {name: values.get(row["case"], "") for name, values in columns.items()} for row in own]
        write_text(folder / PIECES_NAME, to_csv(tabulate(own, heading)))
    data = {
        "osteon": 1,
        "prediction": str(prediction),
        "reference": str(reference),
        "failures": [asdict(failure) for failure in result.failures],
        "missing": list(result.missing),
        "unmatched": list(result.unmatched),
        **({"notes": list(result.notes)} if result.notes else {}),
        **({"by": result.by} if result.by else {}),
        **({KEY: dict(result.training_roles)} if result.training_roles else {}),
        **_lines(result.overall, result.summaries),
        "cases": cases,
    }
    if result.pieces:
        data["pieces"] = _pieces(result)
    if result.trained_on:
        data["trained_on"] = _lines(result.overall_trained_on, result.trained_on)
    if result.groups:
        data["groups"] = {group.name: _group(group) for group in result.groups}
    write_json(folder / JSON_NAME, data)


def _lines(overall: Summary, summaries: Sequence[Summary]) -> dict[str, Any]:
    return {"overall": _line(overall), "structures": {summary.structure: _line(summary) for summary in summaries}}


def _group(group: Group) -> dict[str, Any]:
    pieces = {"pieces": _piece_lines(group.pieces)} if group.pieces else {}
    return {"cases": group.cases, **_lines(group.overall, group.summaries), **pieces}


def _piece_lines(summaries: Sequence[InstanceSummary]) -> dict[str, Any]:
    return {"structures": {summary.structure: _round(summary.to_dict()) for summary in summaries}}


def _pieces(result: Evaluation) -> dict[str, Any]:
    """The summary of each structure whose pieces are numbered, and each case with its pairs."""
    cases: dict[str, dict[str, Any]] = {}
    for score in result.pieces:
        row = {name: value for name, value in instances_to_row(score).items() if name not in ("case", "structure")}
        pairs = [
            {"predicted": pair.predicted, "reference": pair.reference, "iou": pair.iou, **pair.metrics}
            for pair in score.pairs
        ]
        cases.setdefault(score.case, {})[score.structure] = _round(row) | {"pairs": [_round(pair) for pair in pairs]}
    return {**_piece_lines(result.piece_summaries), "cases": cases}


def _line(summary: Summary) -> dict[str, Any]:
    keys = {name: key for key, name in STATES.items()}
    values = {keys.get(name, name): value for name, value in asdict(summary).items()}
    metrics = values.pop("metrics")
    del values["structure"]
    return _round({**metrics, **values, "pooled_detection_f1": summary.pooled_detection_f1})


def _round(value: Any) -> Any:
    if isinstance(value, float):
        return significant(value, DIGITS)
    if isinstance(value, dict):
        return {key: _round(part) for key, part in value.items()}
    return value
