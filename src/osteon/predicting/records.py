"""What is read again of models and predictions: validation.json, predictions.json, votes.json, splits.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from osteon.core.case_records import CaseRecords, has_records
from osteon.core.errors import ModelError
from osteon.core.records import read_record
from osteon.predicting.model_names import FIRST as FIRST
from osteon.predicting.model_names import HUB, VALIDATION, WEIGHTS

RECORD = "predictions.json"
"""In a folder of predictions: all that is known of each, in one file."""
VOTES = "votes.json"
SPLITS = "splits.yaml"
LAST = "last.safetensors"
"""In a run's checkpoints: what the next start goes on from."""

Figures = dict[str, float | None]


class _Confidence(BaseModel):
    raw: list[float]
    dice: list[float]
    pairs: int
    rank_correlation: float | None
    each: dict[str, Figures] = {}


class _Seen(BaseModel):
    training: dict[str, str]
    validation: dict[str, str]
    before: dict[str, str]


class _Validation(BaseModel):
    dice: float | None = None
    structures: Figures = {}
    cases: dict[str, Figures] = {}
    confidence: _Confidence | None = None
    speeds: dict[str, dict[str, Any]] = {}
    training: dict[str, Any] = {}
    seen: _Seen | None = None


class _Prediction(BaseModel):
    input: list[list[Any]] = []
    output: str | None = None
    confidence: Figures = {}
    review: list[str] = []
    seen: str | None = None


class _Vote(BaseModel):
    seen: str | None = None


class _Votes(BaseModel):
    cases: dict[str, _Vote] = {}


def read_validation(folder: Path) -> dict[str, Any]:
    """validation.json of a model's folder. Raises FileError where it is missing, damaged or of another shape."""
    return read_record(folder / VALIDATION, "the model's validation", _Validation, "copy the model folder again, whole")


def prediction_records(folder: Path) -> CaseRecords:
    """The records of a folder of predictions."""
    return CaseRecords(folder, RECORD, _Prediction)


def read_predictions(folder: Path) -> dict[str, dict[str, Any]]:
    """What is known of each prediction in a folder, by case; empty where nobody wrote it down. Raises FileError."""
    return prediction_records(folder).read()


def votes_in(folder: Path) -> dict[str, dict[str, Any]]:
    """What is known of each case of a vote in a folder; empty where it is none. Raises FileError."""
    return read_votes(folder / VOTES).get("cases", {}) | CaseRecords(folder, VOTES).read_records()


def result_in(folder: Path) -> str | None:
    """Of which work the label maps in a folder are the results; None where nobody wrote that down."""
    if has_records(folder, RECORD):
        return "an earlier prediction"
    if has_records(folder, VOTES):
        return "an earlier vote"
    of_run = any((folder.parent / name).is_file() for name in (SPLITS, f"model/{VALIDATION}"))
    return "a run's validation" if folder.name == "predictions" and of_run else None


def read_votes(path: Path) -> dict[str, Any]:
    """The record of a vote; empty where there is none. Raises FileError where it is damaged."""
    hint = "remove it, and vote once more with --overwrite"
    return read_record(path, "the record of a vote", _Votes, hint) if path.is_file() else {}


def read_splits(run: Path) -> dict[str, list[str]]:
    """splits.yaml of a run: the cases of each part. Raises FileError where it is missing or damaged."""
    hint = "restore it from a copy of the run, or train again: `osteon train … --restart` deletes this run"
    return read_record(run / SPLITS, "the run's splits", dict[str, list[str]], hint)


def find_model_folder(given: Path | str) -> Path:
    """A model's folder, given itself, the run that made it, or `hf:ORGANISATION/NAME@COMMIT`, which is fetched.

    Raises:
        ModelError: There is none; and as `predicting.hub_files.fetch_model`.
    """
    if str(given).startswith(HUB):
        from osteon.predicting.hub_files import fetch_model  # huggingface_hub, only where it is asked

        return fetch_model(str(given))
    folder = Path(given)
    for place in (folder, folder / "model"):
        if (place / WEIGHTS).is_file():
            return place
    raise ModelError(
        f"{folder}: not a whole model folder: {WEIGHTS} missing",
        hint="give a finished run, or its folder `model`; an encoder's weights are given with --weights",
    )
