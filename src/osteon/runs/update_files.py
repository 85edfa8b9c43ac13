"""What is on disk of updates, and of the labels that a model has learnt from; no torch is loaded for it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from osteon.dataset.case_history import FOLDER as ANNOTATIONS
from osteon.dataset.dataset import Dataset
from osteon.predicting.records import WEIGHTS

UPDATE, HISTORY = "update.json", "updates.csv"
"""Of a run that is an update: from which model, by which cases it was judged; and all updates up to it, one a line."""
NOT_TAKEN, BEFORE = "not-taken", "before"
"""Its folders: of a model that is worse than the one before it; of what that one found in the same cases."""
LABELS = "labels"
"""In validation.json: by training case the version of its label; nothing of those as they were imported."""


def finished_folder(run: Path) -> Path | None:
    """The folder of the model that a finished run has made, be it one that was not taken (`runs.update`)."""
    return next((run / name for name in ("model", NOT_TAKEN) if (run / name / WEIGHTS).is_file()), None)


def label_versions(dataset: Dataset, case_ids: Iterable[str]) -> dict[str, str]:
    """The file of each case's label that people made in osteon (`dataset.case_history`), below the dataset's folder."""
    known = {case.id: case.segmentation or "" for case in dataset.manifest.cases}
    return {i: known[i] for i in case_ids if known.get(i, "").startswith(f"{ANNOTATIONS}/")}
