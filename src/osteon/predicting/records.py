"""What each prediction in a folder was made from, by which model, and how sure it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from osteon.core.case_records import CaseRecords

RECORD = "predictions.json"
"""In a folder of predictions: all of it in one file."""


def predictions_of(folder: Path) -> CaseRecords:
    """The records of a folder of predictions."""
    return CaseRecords(folder, RECORD)


def read_predictions(folder: Path) -> dict[str, dict[str, Any]]:
    """What is known of each prediction in a folder, by case; empty where nobody wrote it down. Raises FileError."""
    return predictions_of(folder).read()
