"""suggestions.csv and suggestions.json: written for people and programs, read by the app."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel

from osteon.core.errors import OsteonError
from osteon.core.files import write_json, write_text
from osteon.core.records import read_record
from osteon.core.spreadsheets import to_csv
from osteon.core.version import __version__
from osteon.labelling.ranking import Suggestion
from osteon.labelling.signals import SIGNALS

FOLDER = "suggestions"
"""In the dataset's, where no other folder is given."""
TABLE, FILE = "suggestions.csv", "suggestions.json"


def write_suggestions(
    folder: Path, suggestions: Sequence[Suggestion], failed: Mapping[str, OsteonError], *, dataset: str, model: str
) -> None:
    """Write both files.

    Args:
        folder: Where they go.
        suggestions: In their order.
        failed: The error of each scan that could not be ranked.
        dataset: Its name.
        model: SHA-256 of its weights.

    Raises:
        FileError, DiskFullError: They cannot be written.
    """
    names = [signal.name for signal in SIGNALS]
    rows: list[Sequence[object]] = [["rank", "case", "subject", "suggested", "score", *names, "reasons"]]
    for each in suggestions:
        values = [each.values.get(name) for name in names]
        suggested = "yes" if each.suggested else "no"
        rows.append([each.rank, each.case, each.subject, suggested, each.score, *values, "; ".join(each.reasons)])
    write_text(folder / TABLE, to_csv(rows))
    data = {
        "osteon": __version__,
        "dataset": dataset,
        "model": model,
        "signals": {signal.name: {"weight": signal.weight, "why": signal.why} for signal in SIGNALS},
        "suggestions": [each.model_dump() for each in suggestions],
        "failed": {case: error.message for case, error in failed.items()},
    }
    write_json(folder / FILE, data)


class _Suggestions(BaseModel):
    model: str
    suggestions: list[Suggestion]


def read_suggestions(folder: Path) -> list[Suggestion]:
    """What was suggested, in its order; empty where nothing was. Raises FileError where suggestions.json is damaged."""
    path = folder / FILE
    if not path.is_file():
        return []
    data = read_record(path, "the suggestions", _Suggestions, "suggest again; what was measured is kept")
    return [Suggestion.model_validate(each) for each in data["suggestions"]]
