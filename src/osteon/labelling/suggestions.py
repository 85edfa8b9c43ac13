"""Which scans of a dataset to label next, and why.

OUT/suggestions.csv, suggestions.json   all scans in their order
OUT/predictions/                        the model's predictions, as `osteon predict` writes them
OUT/.records/signals/<case>.json        what the network said of each scan, labelled ones among them
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osteon.core.case_records import has_records
from osteon.core.errors import DatasetError, OsteonError, UsageError
from osteon.core.text import pluralise, shorten_list
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case, Channel
from osteon.labelling.ranking import Suggestion, rank_candidates
from osteon.labelling.signal_records import measure_scans
from osteon.labelling.signals import Candidate
from osteon.labelling.suggestion_files import FOLDER, write_suggestions
from osteon.machine.engine_timing import choose_engine, count_all_passes
from osteon.predicting.model import Model
from osteon.predicting.predictor import predict
from osteon.predicting.records import RECORD, find_model_folder, prediction_records, read_predictions
from osteon.predicting.review import UNUSUAL_IMAGE, usual_structures
from osteon.predicting.scans import Scan
from osteon.predicting.stages import DEFAULTS as PREDICT_DEFAULTS
from osteon.predicting.stages import PredictOptions

logger = logging.getLogger(__name__)
PREDICTIONS = "predictions"


@dataclass(frozen=True)
class SuggestOptions:
    """What is suggested, and how the scans are predicted.

    Attributes:
        count: Scans that are asked for.
        labelled: Labelled scans are candidates, too, so that labels that look wrong are looked at again.
        predictions: A folder of earlier predictions, which are not made again.
        engine: What runs the network in predictions; features are always torch's.
        predict: Speed, memory.
    """

    count: int = 10
    labelled: bool = False
    predictions: Path | None = None
    engine: str = "auto"
    predict: PredictOptions = PREDICT_DEFAULTS


DEFAULTS = SuggestOptions()


@dataclass(frozen=True)
class SuggestReport:
    """The outcome.

    Attributes:
        out: The folder of suggestions.csv and suggestions.json.
        suggestions: All scans, the best to label first.
        failed: The error of each scan that could not be read or predicted; labelled ones are then not compared with.
    """

    out: Path
    suggestions: list[Suggestion] = field(default_factory=list)
    failed: dict[str, OsteonError] = field(default_factory=dict)

    @property
    def suggested(self) -> list[str]:
        """The ids of the scans that were asked for, the best first."""
        return [each.case for each in self.suggestions if each.suggested]


def suggest(
    dataset: Dataset, run: Path, model: Model, out: Path | None = None, options: SuggestOptions = DEFAULTS
) -> SuggestReport:
    """Rank the unlabelled scans of a dataset by what labelling them is expected to gain.

    What is done stays done: a scan is predicted and measured again only where it, or the model, has changed.

    Args:
        dataset: With its labelled and unlabelled cases. Unlabelled ones held out for the final test are no candidates.
        run: Where the model lies.
        model: Loaded, with its own network.
        out: The folder for results; None: `suggestions` in the dataset's.
        options: How many, which scans, and how they are predicted.

    Raises:
        DatasetError: No case is a candidate.
        UsageError: The model's channels or structures are not the dataset's; or a folder holds no predictions.
        DiskFullError: What is done is kept.
    """
    _check_fits(dataset, model, run)
    cases = candidate_cases(dataset, labelled=options.labelled)
    folder = out or dataset.folder / FOLDER
    report = SuggestReport(folder)
    predictions = _given_predictions(options.predictions, model, {case.id for case in cases})
    scans = [Scan.of_case(dataset, case) for case in cases if case.id not in predictions]
    if scans:
        fast = choose_engine(model, find_model_folder(run), options.engine, count_all_passes(model.plan, scans))
        report.failed.update(predict(fast, scans, folder / PREDICTIONS, options.predict).failed)
        predictions = read_predictions(folder / PREDICTIONS) | predictions
    cases = [case for case in cases if case.id not in report.failed]
    known = {case.id: case for case in (*cases, *dataset.manifest.trainable)}
    scans = [Scan.of_case(dataset, case) for case in known.values()]
    measured = dict(measure_scans(model, scans, folder, report.failed))
    usual = usual_structures(model.plan, model.reference)
    candidates = [
        make_candidate(case, predictions[case.id], measured[case.id], model, usual)
        for case in cases
        if case.id in measured
    ]
    labelled = {c.id: measured[c.id]["features"] for c in dataset.manifest.trainable if c.id in measured}
    report.suggestions.extend(rank_candidates(candidates, labelled, options.count))
    write_suggestions(folder, report.suggestions, report.failed, dataset=dataset.manifest.name, model=model.sha256)
    return report


def candidate_cases(dataset: Dataset, *, labelled: bool = False) -> list[Case]:
    """The cases that may be suggested: those without a label, and `labelled` ones. Raises DatasetError: there is none.

    Those held out for the final test are not among them unless they have a label: nothing is trained on them.
    """
    waiting = [case for case in dataset.manifest.cases if case.segmentation is None]
    free = [case for case in waiting if not case.held_out]
    cases = [*free, *(dataset.manifest.labelled if labelled else ())]
    if not cases:
        kept = f" but {pluralise(len(waiting), 'case')} held out for the final test" if waiting else ""
        raise DatasetError(
            f"{dataset.folder}: every case has a label{kept}: there is none to suggest",
            hint="import more scans; `--all` ranks labelled cases, too, to check their labels again",
        )
    return cases


def _check_fits(dataset: Dataset, model: Model, run: Path) -> None:
    manifest, plan = dataset.manifest, model.plan
    structures = {s.name for s in manifest.structures}
    if _channel_keys(plan.channels) != _channel_keys(manifest.channels):
        found, needed = (", ".join(c.name for c in each) for each in (manifest.channels, plan.channels))
        problem = f"its channels are {needed}, the dataset's {found}"
    elif structures and (other := [s.name for s in plan.structures if s.name not in structures]):
        problem = f"the dataset has no {shorten_list(other)}"
    else:
        if more := sorted(structures.difference(s.name for s in plan.structures)):
            logger.warning(f"{run}: the model does not know {shorten_list(more)}: nothing is ranked by these")
        return
    raise UsageError(
        f"{run}: the model was made for other data than {dataset.folder}: {problem}",
        hint="give a run that was trained on this dataset",
    )


def _channel_keys(channels: Sequence[Channel]) -> list[tuple[str, str]]:
    """What must be equal: of a single channel its modality alone, which models of others call by other names."""
    return [(channel.name if len(channels) > 1 else "", channel.modality) for channel in channels]


def _given_predictions(folder: Path | None, model: Model, cases: set[str]) -> dict[str, dict[str, Any]]:
    """The records of earlier predictions of these cases. Raises UsageError where the folder has none of any case."""
    if folder is None:
        return {}
    if not has_records(folder, RECORD):
        raise UsageError(f"{folder}: holds no {RECORD}", hint="give a folder that `osteon predict` has written")
    records = {case: record for case, record in prediction_records(folder).read().items() if case in cases}
    if others := [case for case, record in records.items() if record.get("model") != model.sha256]:
        logger.warning(f"{folder}: made by another model: {shorten_list(others)}")
    if rest := sorted(cases - set(records)):
        logger.warning(
            f"{folder}: {pluralise(len(rest), 'scan')} to be predicted, since not there: {shorten_list(rest)}"
        )
    return records


def make_candidate(
    case: Case, prediction: Mapping[str, Any], signals: Mapping[str, Any], model: Model, usual: Mapping[str, str]
) -> Candidate:
    """What is known of a case.

    Args:
        case: Of the dataset.
        prediction: Its record (`predictions.json`).
        signals: Its record of `network_signals.NetworkSignals`.
        model: For its validation of labelled cases.
        usual: As `review.usual_structures` gives it.
    """
    confidence = prediction.get("confidence", {})
    return Candidate(
        case=case.id,
        subject=case.subject,
        confidence=confidence,
        calibrated=prediction.get("calibrated", False),
        missing=[f"{name} (in {shown})" for name, shown in usual.items() if confidence.get(name) is None],
        levels=prediction.get("levels"),
        agreement=signals["agreement"],
        look=signals["look"],
        looks=signals["looks"],
        label_dice=model.validation.get("cases", {}).get(case.id, {}) if case.segmentation is not None else {},
        features=signals["features"],
        unusual=next((why for why in prediction.get("review", []) if why.startswith(UNUSUAL_IMAGE)), ""),
    )
