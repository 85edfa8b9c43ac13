"""The validation at the end of a run: the model predicts the validation cases as it would any scan, and is scored."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from osteon.core.errors import OsteonError
from osteon.core.parallel import case_failure
from osteon.core.progress import track
from osteon.dataset.dataset import Dataset
from osteon.formats.io import write_segmentation
from osteon.plan.schema import Plan
from osteon.predicting.model import Model, Prediction
from osteon.predicting.predictor import output_path
from osteon.predicting.sequence import decode_outputs
from osteon.runs.level_calibration import LevelView, view_levels
from osteon.runs.scoring import score_scan
from osteon.training.validation import Scores, mean_over_structures, mean_scores

logger = logging.getLogger(__name__)
PREDICTIONS = "predictions"
"""The folder of a run in which the validation cases' predictions lie."""
UNORDERED = "unordered"
"""The folder with the same predictions without names in order, while it is open which are better."""


@dataclass(frozen=True)
class ValidationResult:
    """What validation cases came to, without post-processing.

    Attributes:
        cases: Dice of each case and structure.
        raw: Raw confidence of each case and structure.
        levels: Of each case what the network said of its bodies.
    """

    cases: dict[str, Scores]
    raw: dict[str, dict[str, float | None]]
    levels: dict[str, list[LevelView]] = field(default_factory=dict)

    def mean(self, plan: Plan) -> float | None:
        """Mean Dice over the structures' means."""
        return mean_over_structures(mean_scores(list(self.cases.values()), plan.structures))


def predict_validation(
    dataset: Dataset, model: Model, ids: Sequence[str], run: Path, failed: dict[str, OsteonError]
) -> tuple[ValidationResult, ValidationResult | None]:
    """Predict cases into `run`/predictions, and score them; where the plan has a sequence, also without it.

    Returns:
        As the plan has it, and into `run`/unordered, None without a sequence: the network looks once for both.
    """
    has_sequence = model.plan.sequence is not None and not model.plan.sequence.bodies
    plain = replace(model, plan=without_sequence(model.plan)) if has_sequence else model
    validation, unordered = ValidationResult({}, {}), ValidationResult({}, {}) if has_sequence else None
    for case_id in track(ids, "validating"):
        try:
            prepared = plain.prepare(dataset.load_image(dataset.case(case_id)))
            probabilities = plain.infer(prepared)
            if unordered is not None:
                _store_prediction(
                    dataset, plain.postprocess(prepared, probabilities), case_id, run / UNORDERED, plain.plan, unordered
                )
                probabilities = decode_outputs(probabilities, model.plan)
            prediction = model.postprocess(prepared, probabilities)
            reference = dataset.load_segmentation(dataset.case(case_id))
            if views := view_levels(model, prepared, prediction.levels, reference):
                validation.levels[case_id] = views
            _store_prediction(dataset, prediction, case_id, run, model.plan, validation)
        except Exception as error:  # noqa: BLE001 (bugs are raised again)
            failed[case_id] = case_failure(case_id, error)
            if unordered is not None:
                unordered.cases.pop(case_id, None)
                unordered.raw.pop(case_id, None)
            logger.warning(f"not validated: {case_id}: {failed[case_id]}")
    return validation, unordered if validation.cases else None


def _store_prediction(
    dataset: Dataset, prediction: Prediction, case_id: str, run: Path, plan: Plan, validation: ValidationResult
) -> None:
    write_segmentation(output_path(run / PREDICTIONS, case_id, plan), prediction.segmentation)
    validation.cases[case_id] = score_scan(dataset, plan, case_id, prediction.segmentation)
    validation.raw[case_id] = prediction.raw


def without_sequence(plan: Plan) -> Plan:
    """The plan without names in order."""
    return plan.model_copy(update={"sequence": None})
