"""Labels that people make: corrected ones, and what to label next. A verb imports what it needs when called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

from osteon.api.models import load_model
from osteon.api.paths import PathLike

if TYPE_CHECKING:
    from osteon.dataset.label_versions import WorkKeywords
    from osteon.labelling.label_files import AddedLabels
    from osteon.labelling.progress import LabelProgress
    from osteon.labelling.suggestions import SuggestReport


def add_labels(
    dataset: PathLike, files: Sequence[PathLike], *, case_id: str | None = None, **work: Unpack[WorkKeywords]
) -> AddedLabels:
    """Take labels that were corrected elsewhere into a dataset, each as a new version; see docs/labels.md.

    Args:
        dataset: A folder with dataset.yaml.
        files: Label files that are called as their cases, or folders of them.
        case_id: The case of the only file, whatever its name.
        **work: `author`, and `kind`, `seconds`, `what`, `annotated`: see `osteon.dataset.label_versions.LabelWork`.

    Example:
        >>> report = osteon.add_labels("spine", ["predictions"], author="run", kind="second reading")
        >>> len(report.added) > 1, report.failed
        (True, {})
    """
    from osteon.dataset.dataset import Dataset
    from osteon.dataset.label_versions import LabelWork
    from osteon.labelling.label_files import add_labels

    return add_labels(Dataset.open(Path(dataset)), [Path(file) for file in files], LabelWork(**work), case_id=case_id)


def label_progress(dataset: PathLike) -> LabelProgress:
    """How far a labelling project is: states over time, people, minutes for a case, what is left, how readers agree.

    Args:
        dataset: A folder with dataset.yaml.

    Example:
        >>> progress = osteon.label_progress("spine")
        >>> progress.remaining, len(progress.rows) == sum(progress.counts.values())
        (0, True)
    """
    from osteon.dataset.dataset import Dataset
    from osteon.labelling.progress import label_progress

    return label_progress(Dataset.open(Path(dataset)))


def suggest(
    dataset: PathLike,
    run: PathLike,
    out: PathLike | None = None,
    *,
    count: int = 10,
    labelled: bool = False,
    predictions: PathLike | None = None,
    speed: Literal["fast", "balanced", "best"] = "balanced",
    engine: str = "auto",
    device: str = "auto",
    memory: int | None = None,
) -> SuggestReport:
    """Rank the unlabelled scans of a dataset by what labelling them is expected to gain, each with its reasons.

    Args:
        dataset: A folder with dataset.yaml.
        run: A run on it, or its model folder.
        out: Folder of suggestions.csv, suggestions.json and the predictions; None: `suggestions` in the dataset's.
        count: How many are asked for; the others follow after them.
        labelled: Rank labelled scans, too, to check their labels again.
        predictions: A folder of earlier predictions, which are not made again.
        speed: As for `predict`.
        engine: As for `predict`.
        device: As for `predict`.
        memory: As for `predict`.

    Example:
        >>> report = osteon.suggest("spine", "run", labelled=True, count=2, device="cpu")
        >>> len(report.suggested), len(report.suggestions)
        (2, 6)
    """
    from osteon.dataset.dataset import Dataset
    from osteon.labelling.suggestions import SuggestOptions, suggest
    from osteon.predicting.speed import find_speed
    from osteon.predicting.stages import PredictOptions

    given = None if predictions is None else Path(predictions)
    options = SuggestOptions(count, labelled, given, engine, PredictOptions(find_speed(speed), memory=memory))
    folder = None if out is None else Path(out)
    return suggest(Dataset.open(Path(dataset)), Path(run), load_model(run, device=device), folder, options)
