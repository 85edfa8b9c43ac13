"""From which model a viewer's training goes on, and whether the new one can be judged against it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from osteon.core.errors import UsageError
from osteon.dataset.dataset import Dataset
from osteon.dataset.folds import group_cases
from osteon.plan.schema import FILE_NAME as PLAN
from osteon.plan.schema import read_plan
from osteon.predicting.records import find_model_folder, read_validation
from osteon.predicting.training_cases import read_seen_scans
from osteon.runs.options import FOLDS
from osteon.runs.update_cases import check_updatable, choose_cases, find_new_structures
from osteon.runs.update_files import LABELS
from osteon.runs.update_history import find_newest
from osteon.web.http_errors import RejectedError


@dataclass(frozen=True)
class Beginning:
    """How `osteon train` is asked.

    Attributes:
        before: The run or model folder that it goes on from.
        options: Of the command.
        ungated: Why the new model is not judged against that one; empty: it is.
    """

    before: Path
    options: tuple[str, ...]
    ungated: str = ""


def choose_beginning(dataset: Dataset, model: Path, runs: Iterable[Path]) -> Beginning:
    """An update of the newest model that was taken; a training from its weights where no update can be made of it.

    Args:
        dataset: As it is now.
        model: The one that is served: a run's folder, or a model's.
        runs: The folders of runs that viewers have started before.

    Raises:
        RejectedError: 422, no case has a label, or nothing was labelled since; nothing can judge.
        OsteonError: The model cannot be read.
    """
    place = model.resolve()
    before = find_newest(place.parent if place.name == "model" else place, runs)
    folder = find_model_folder(before)
    validation = read_validation(folder)
    seen = read_seen_scans(folder, validation)
    try:
        plan = read_plan(folder / PLAN)
        if not seen.known:
            raise UsageError("the model does not say which scans it was trained on", hint="")
        check_updatable(dataset, plan)
        find_new_structures(dataset, plan)
    except UsageError as error:
        return Beginning(before, ("--init", str(before), *_fold_options(dataset)), error.message)
    try:
        choose_cases(dataset, seen, validation.get(LABELS, {}))
    except UsageError as error:
        raise RejectedError(422, error.message, hint="label a scan more, and submit it") from error
    return Beginning(before, ("--update", str(before)))


def _fold_options(dataset: Dataset) -> list[str]:
    """Options for a dataset that is too small for the usual folds. Raises RejectedError (422): no case has a label."""
    groups = len(group_cases(dataset.manifest.trainable))
    if not groups:
        raise RejectedError(422, "no case has a label to train on", hint="label a scan, and submit it")
    return [] if groups >= FOLDS else ["--folds", str(groups)] if groups > 1 else ["--fold", "none"]
