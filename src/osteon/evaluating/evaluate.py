"""`osteon evaluate`: predictions against references, case by case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from osteon.core.errors import CaseError
from osteon.core.labels import Structure
from osteon.core.progress import track
from osteon.dataset.checks import align_segmentation
from osteon.evaluating.pairing import Pair, pair_up
from osteon.evaluating.record import CSV_NAME, JSON_NAME, write_metrics_json, write_scores_csv
from osteon.evaluating.scores import Score, score_case
from osteon.evaluating.summary import Summary, overall, summarise
from osteon.formats import read_segmentation
from osteon.formats.labelmap import as_multi_hot


@dataclass(frozen=True)
class Failure:
    """A case that could not be scored, why, and the way out."""

    case: str
    message: str
    hint: str


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
    """

    structures: tuple[Structure, ...]
    scores: tuple[Score, ...]
    summaries: tuple[Summary, ...]
    overall: Summary
    failures: tuple[Failure, ...]
    missing: tuple[str, ...]
    unmatched: tuple[str, ...]


def evaluate(
    prediction: Path, reference: Path, out: Path | None = None, structures: Sequence[Structure] | None = None
) -> Evaluation:
    """Score predictions. A case that fails is reported and the others go on.

    Args:
        prediction: A label file, or a folder of `<case id>.nii.gz` or `.seg.nrrd`.
        reference: An osteon dataset, a folder of label files with the same names, or one file.
        out: Folder for metrics.csv and metrics.json; None writes nothing.
        structures: What the labels mean where the reference is no dataset (None asks the files). With a dataset: which
            of its structures are scored, by name.

    Raises:
        FileError: A path does not exist, or `out` cannot be written.
        UsageError: A folder holds no label files, or one case twice.
        DatasetError: No prediction has a reference.
    """
    pairing = pair_up(prediction, reference, structures)
    wanted = {s.name for s in structures or pairing.structures}
    scored = tuple(s for s in pairing.structures if s.name in wanted)
    scores: list[Score] = []
    failures: list[Failure] = []
    for pair in track(pairing.pairs, "evaluating"):
        try:
            own = score_pair(pair, pairing.structures)
        except CaseError as error:
            failures.append(Failure(pair.case, error.message, error.hint))
        else:
            scores.extend(score for score in own if score.structure in wanted)
    summaries = tuple(summarise(scores))
    result = Evaluation(
        structures=scored,
        scores=tuple(scores),
        summaries=summaries,
        overall=overall(summaries),
        failures=tuple(failures),
        missing=pairing.missing,
        unmatched=pairing.unmatched,
    )
    if out is not None:
        write_evaluation(Path(out), result, prediction=Path(prediction), reference=Path(reference))
    return result


def score_pair(pair: Pair, structures: Sequence[Structure]) -> list[Score]:
    """Read, align and score one case. Raises CaseError where a file or its geometry does not fit."""
    reference = pair.load_reference()
    prediction = align_segmentation(
        read_segmentation(pair.prediction, structures),
        reference.geometry,
        name=f"case {pair.case}: {pair.prediction}",
        image_name="the reference",
        hint="predict on the very scan that the reference was drawn on",
    )
    if prediction.overlapping != reference.overlapping:
        prediction, reference = as_multi_hot(prediction), as_multi_hot(reference)
    return score_case(
        pair.case, prediction.array, reference.array, reference.geometry, structures, annotated=pair.annotated
    )


def write_evaluation(folder: Path, result: Evaluation, *, prediction: Path, reference: Path) -> None:
    """Write metrics.csv and metrics.json. Raises FileError."""
    write_scores_csv(folder / CSV_NAME, result.scores)
    write_metrics_json(
        folder / JSON_NAME,
        result.summaries,
        result.overall,
        result.scores,
        prediction=str(prediction),
        reference=str(reference),
        failures=[asdict(failure) for failure in result.failures],
        missing=list(result.missing),
        unmatched=list(result.unmatched),
    )
