"""`osteon evaluate`: predictions against references, case by case."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from osteon.core.errors import OsteonError, UnknownValueError
from osteon.core.instances import InstanceScores
from osteon.core.labels import Structure
from osteon.core.parallel import for_each, worker_count
from osteon.dataset.label_placement import common_grid, place_segmentation
from osteon.evaluating.groups import field_of, group_scores
from osteon.evaluating.instance_summary import summarise_instances
from osteon.evaluating.instances import score_pieces
from osteon.evaluating.pairing import Pairing, PredictionPair, match_predictions
from osteon.evaluating.record import Evaluation, Failure, write_evaluation
from osteon.evaluating.scores import ALL_METRICS, MetricOptions, Score, score_case
from osteon.evaluating.summary import overall, summarise
from osteon.formats.io import describe_header_warnings, read_geometry
from osteon.formats.label_meanings import read_named_labels
from osteon.formats.registry import format_of, stem_of
from osteon.predicting.training_cases import TRAINED, read_training_roles

logger = logging.getLogger(__name__)
MANY_VOXELS = 100_000_000
"""In all cases together: below, scoring them takes no longer than starting other processes."""
BYTES_PER_VOXEL = 24
"""Of one prediction and its reference while they are read (as 64-bit numbers at worst) and scored."""


def evaluate(
    prediction: Path,
    reference: Path,
    out: Path | None = None,
    structures: Sequence[Structure] | None = None,
    *,
    measures: MetricOptions = ALL_METRICS,
    by: str | None = None,
    labels: Mapping[str, int | str] | None = None,
    workers: int | None = None,
) -> Evaluation:
    """Score predictions. A case that fails is reported and the others go on.

    Args:
        prediction: A label file, or a folder of `<case id>.nii.gz` or `.seg.nrrd`.
        reference: An osteon dataset, a folder of label files with the same names, or one file.
        out: Folder for metrics.csv and metrics.json, and pieces.csv where pieces are numbered; None writes nothing.
        structures: What the labels mean where the reference is not a dataset (None asks the files). With a dataset:
            which of its structures are scored, by name.
        measures: What is measured.
        by: A field of the dataset's cases (`site`) by whose values the results are grouped.
        labels: What numbers mean in predictions that name no structures; see `pairing.match_predictions`.
        workers: Processes; None decides by the cases' size and the free memory.

    Raises:
        FileError: A path does not exist, or `out` cannot be written.
        UsageError: A folder holds no label files, or one case twice; or cases cannot be grouped by `by`.
        DatasetError: No prediction has a reference.
    """
    pairing = match_predictions(prediction, reference, structures, labels)
    wanted = {s.name for s in structures or pairing.structures}
    scored = tuple(s for s in pairing.structures if s.name in wanted)
    groups = {pair.case: field_of(pair.entry, by) for pair in pairing.pairs} if by else {}
    work = partial(score_pair, structures=pairing.structures, measures=measures)
    for line in describe_header_warnings(
        (file, True) for pair in pairing.pairs for file in (pair.prediction, pair.reference)
    ):
        logger.warning(line)
    count = workers or _worker_count(pairing)
    outcomes = {out.item.case: out for out in for_each(work, pairing.pairs, "evaluating", name=str, workers=count)}
    scores: list[Score] = []
    pieces: list[InstanceScores] = []
    failures: list[Failure] = []
    notes = [*pairing.notes]
    unnamed = [p for p in pairing.pairs if p.assumed and isinstance(outcomes[p.case].error, UnknownValueError)]
    for pair in pairing.pairs:
        outcome = outcomes[pair.case]
        if unnamed and pair.assumed and outcome.error is None:
            failures.append(_in_doubt(pair, unnamed[0]))
            continue
        if outcome.result is not None:
            own, own_pieces, note = outcome.result
            scores.extend(score for score in own if score.structure in wanted)
            pieces.extend(score for score in own_pieces if score.structure in wanted)
            notes += [note] if note else []
        if outcome.error is not None:
            failures.append(Failure(pair.case, outcome.error.message, outcome.error.hint))
    roles = _training_roles(pairing)
    known = [score for score in scores if roles.get(score.case) == TRAINED]
    new = [score for score in scores if roles.get(score.case) != TRAINED]
    unseen = [score for score in pieces if roles.get(score.case) != TRAINED]
    summaries, trained_on = tuple(summarise(new)), tuple(summarise(known))
    result = Evaluation(
        structures=scored,
        scores=tuple(scores),
        summaries=summaries,
        overall=overall(summaries, new),
        failures=tuple(failures),
        missing=pairing.missing,
        unmatched=pairing.unmatched,
        by=by,
        groups=group_scores(new, groups, unseen) if by else (),
        notes=tuple(notes),
        training_roles=roles,
        trained_on=trained_on,
        overall_trained_on=overall(trained_on, known),
        pieces=tuple(pieces),
        piece_summaries=tuple(summarise_instances(unseen)),
    )
    if out is not None:
        write_evaluation(Path(out), result, groups, prediction=Path(prediction), reference=Path(reference))
    return result


def _training_roles(pairing: Pairing) -> dict[str, str]:
    """What the predictions' makers had to do with each case, where their folder says it."""
    if not pairing.pairs:
        return {}
    roles = read_training_roles(pairing.pairs[0].prediction.parent)  # predictions are one folder's, or one file
    return {pair.case: roles[name] for pair in pairing.pairs if (name := stem_of(pair.prediction)) in roles}


def score_pair(
    pair: PredictionPair, structures: Sequence[Structure], measures: MetricOptions = ALL_METRICS
) -> tuple[list[Score], list[InstanceScores], str]:
    """Read, align and score one case and its numbered pieces; and what was cropped.

    Raises CaseError where a file or its geometry does not fit.

    Files that are cropped to boxes of one lattice are scored on the grid that holds both. A dataset's reference says
    nothing of what lies outside its image, so a prediction that goes on there is refused.
    """
    prediction = read_named_labels(pair.prediction, structures, pair.legend, pieces=True)
    reference = pair.load_reference(pieces=True)
    name, hint = f"case {pair.case}: {pair.prediction}", "predict on the very scan that the reference was drawn on"
    common = None if pair.entry else common_grid(reference.geometry, prediction.geometry)
    grid = common or reference.geometry
    reference, reference_note = place_segmentation(reference, grid, name="the reference", image_name=name)
    prediction, prediction_note = place_segmentation(prediction, grid, name=name, image_name="the reference", hint=hint)
    note = f"case {pair.case}: its reference is {reference_note}" if reference_note else ""
    note = f"{name} is {prediction_note}" if prediction_note else note
    pieces = score_pieces(
        pair.case, prediction, reference, structures, annotated=pair.annotated, surfaces=measures.surfaces
    )
    scores = score_case(
        pair.case,
        prediction.merged().array,
        reference.merged().array,
        reference.geometry,
        structures,
        annotated=pair.annotated,
        measures=measures,
    )
    return scores, pieces, note


def _in_doubt(pair: PredictionPair, other: PredictionPair) -> Failure:
    """Why a prediction without names is not scored where another beside it contradicts what its numbers would mean."""
    return Failure(
        pair.case,
        f"{pair.prediction}: names no structures, and {other.prediction.name} beside it holds numbers that the "
        "reference does not have, so the meaning of its own is in doubt, too",
        "say what they mean: --labels NAME=VALUE,…, or nnU-Net's dataset.json beside the predictions",
    )


def _worker_count(pairing: Pairing) -> int:
    """Processes for the cases: one where they are small, since starting others takes longer than scoring them."""
    voxels = [_voxels(pair, len(pairing.structures)) for pair in pairing.pairs]
    if sum(voxels) < MANY_VOXELS:
        return 1
    return worker_count(len(voxels), max(voxels) * BYTES_PER_VOXEL)


def _voxels(pair: PredictionPair, structures: int) -> int:
    """Voxels of a prediction, those of each structure where it may be multi-hot."""
    try:
        voxels = math.prod(read_geometry(pair.prediction).shape)
    except OsteonError:
        return 0  # scoring it will say why
    return voxels * (structures if format_of(pair.prediction).holds_overlaps else 1)
