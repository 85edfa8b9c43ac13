"""What is compared: runs, folders of predictions (osteon's, nnU-Net's, anyone's), tables of RLE."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from osteon.core.errors import UsageError, missing_file_error
from osteon.formats.rle import is_rle_csv
from osteon.predicting.records import read_predictions, read_validation

METRICS = "metrics.csv"
VALIDATION = Path("model/validation.json")


@dataclass(frozen=True)
class Submission:
    """One of those that are compared.

    Attributes:
        name: In tables and pictures.
        predictions: A folder of label files, or a CSV of RLE.
        run: The run that made them, where it is one: its own validation.
    """

    name: str
    predictions: Path
    run: Path | None = None

    @property
    def is_table(self) -> bool:
        """Whether the predictions are a CSV of RLE."""
        return self.predictions.is_file()

    def curve(self) -> list[tuple[float, float, float | None]]:
        """Iteration, loss and validation Dice of each epoch of the run; none where there is no run."""
        path = None if self.run is None else self.run / METRICS
        if path is None or not path.is_file():
            return []
        with path.open(encoding="utf-8", newline="") as text:
            rows = [row for row in csv.DictReader(text) if row.get("iteration") and row.get("loss")]
        return [
            (float(row["iteration"]), float(row["loss"]), float(row["dice"]) if row.get("dice") else None)
            for row in rows
        ]

    def confidence(self) -> dict[str, dict[str, float | None]]:
        """Case → structure → the Dice that was expected; empty where nothing is known."""
        if self._records:
            return {case: facts["confidence"] for case, facts in self._records.items() if "confidence" in facts}
        if self.run is not None and (self.run / VALIDATION).is_file():
            # What was calibrated on these very cases would flatter itself: the raw metrics are shown.
            validation = read_validation((self.run / VALIDATION).parent)
            each: dict[str, dict[str, float | None]] = (validation.get("confidence") or {}).get("each", {})
            return each
        return {}

    def reviews(self) -> dict[str, list[str]]:
        """Case → reasons why a person should look at it."""
        return {case: facts["review"] for case, facts in self._records.items() if facts.get("review")}

    @cached_property
    def _records(self) -> dict[str, dict[str, Any]]:
        """What is known of each prediction; read once."""
        return {} if self.is_table else read_predictions(self.predictions)


def find_submissions(paths: Sequence[Path]) -> list[Submission]:
    """The submissions that paths stand for: a run stands for its validation's predictions.

    Raises:
        FileError: A path does not exist.
        UsageError: A path is none of the three, or is given twice; a run has not validated anything.
    """
    found: list[Submission] = []
    for path, name in zip(paths, _names(paths), strict=True):
        if path.is_file():
            if not is_rle_csv(path):
                raise UsageError(
                    f"{path}: is no table of run-length codes",
                    hint="give a run, a folder of predictions, or such a CSV",
                )
            found.append(Submission(name, path))
        elif not path.is_dir():
            raise missing_file_error(path, "what is to be compared")
        elif (path / "run.yaml").is_file():
            predictions = path / "predictions"
            if not predictions.is_dir() or not any(predictions.glob("[!.]*")):
                raise UsageError(
                    f"{path}: the run has validated no case",
                    hint="train with a fold or --fold all, or give a folder of predictions of unseen scans",
                )
            found.append(Submission(name, predictions, path))
        else:
            found.append(Submission(name, path))
    return found


def _names(paths: Sequence[Path]) -> list[str]:
    """The parts of the paths that tell them apart, without what their ends have in common."""
    ends = [_stem(path.resolve()).parts[::-1] for path in paths]
    if len(set(ends)) < len(ends):
        twice = next(path for number, path in enumerate(paths) if ends[number] in ends[:number])
        raise UsageError(f"{twice}: is given twice", hint="compare different predictions")
    shared = 0
    while len(ends) > 1 and len({end[shared] for end in ends if len(end) > shared}) == 1:
        shared += 1
    depth = 1
    while len({end[shared : shared + depth] for end in ends}) < len(ends):
        depth += 1
    return ["/".join(end[shared : shared + depth][::-1]) for end in ends]


def _stem(path: Path) -> Path:
    return path.with_suffix("") if path.suffix == ".csv" else path
