"""What each prediction in a folder was made from, by which model, and how sure it is."""

from __future__ import annotations

from pathlib import Path

from osteon.core.records import Records

RECORD = "predictions.json"
"""In a folder of predictions: all of it in one file."""


def predictions_of(folder: Path) -> Records:
    """The records of a folder of predictions."""
    return Records(folder, RECORD)
