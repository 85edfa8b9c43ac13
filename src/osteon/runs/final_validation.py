"""The validation at the end of a run: the model predicts the validation cases as it would any scan, and is scored."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

import numpy as np

from osteon.core.clicks import Click, next_click
from osteon.core.errors import OsteonError
from osteon.core.labels import Segmentation, Structure
from osteon.core.parallel import case_failure
from osteon.core.progress import track
from osteon.dataset.dataset import Dataset
from osteon.formats.io import write_segmentation
from osteon.formats.labelmap import smallest_uint
from osteon.plan.schema import Plan
from osteon.predicting.click_session import ClickSession
from osteon.predicting.model import Model, Prediction
from osteon.predicting.predictor import output_path
from osteon.predicting.sequence import decode_outputs
from osteon.runs.level_calibration import LevelView, view_levels
from osteon.runs.scoring import round_dice, score_scan
from osteon.training.click_validation import CLICKS
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
        clicks: Of a network that answers clicks the mean Dice after so many.
    """

    cases: dict[str, Scores]
    raw: dict[str, dict[str, float | None]]
    levels: dict[str, list[LevelView]] = field(default_factory=dict)
    clicks: dict[str, float | None] = field(default_factory=dict)

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
    if model.plan.clicks is not None:
        return click_validation(dataset, model, ids, run, failed), None
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


def click_validation(
    dataset: Dataset, model: Model, ids: Sequence[str], run: Path, failed: dict[str, OsteonError]
) -> ValidationResult:
    """Click at the structures of cases as a patient person would; what is there after `CLICKS` clicks counts."""
    plan, validation = model.plan, ValidationResult({}, {})
    after: list[list[float]] = []
    for case_id in track(ids, "validating"):
        try:
            case = dataset.case(case_id)
            reference = dataset.load_segmentation(case)
            session = ClickSession(model, dataset.load_image(case), name=case_id)
            segmentation, dices = click_through_scan(session, reference, plan.structures, case.annotated)
            after += dices
            write_segmentation(output_path(run / PREDICTIONS, case_id, plan), segmentation)
            validation.cases[case_id] = score_scan(dataset, plan, case_id, segmentation)
            validation.raw[case_id] = dict.fromkeys((s.name for s in plan.structures), None)
        except Exception as error:  # noqa: BLE001 (bugs are raised again)
            failed[case_id] = case_failure(case_id, error)
            logger.warning(f"not validated: {case_id}: {failed[case_id]}")
    for count in range(CLICKS if after else 0):
        validation.clicks[str(count + 1)] = round_dice(fmean(reached[count] for reached in after))
    return validation


def click_through_scan(
    session: ClickSession, reference: Segmentation, structures: Sequence[Structure], annotated: Sequence[str] | None
) -> tuple[Segmentation, list[list[float]]]:
    """Each structure that the reference shows after `CLICKS` clicks; and the Dice of each after 1, 2, … of them."""
    shape, overlapping = reference.geometry.shape, reference.overlapping
    named = {s.name: s for s in reference.structures}
    highest = max(s.values[-1] for s in structures)
    found = np.zeros(
        (len(structures), *shape) if overlapping else shape, np.uint8 if overlapping else smallest_uint(highest)
    )
    dices: list[list[float]] = []
    for number, structure in enumerate(structures):
        goal = reference.mask(named[structure.name])
        if not goal.any() or (annotated is not None and structure.name not in annotated):
            continue
        mask, clicks, reached = np.zeros(shape, bool), list[Click](), list[float]()
        for _ in range(CLICKS):
            if (click := next_click(mask, goal)) is not None:
                clicks.append(click)
                answer = session.answer(clicks)
                mask[answer.box.slices] = answer.mask
            reached.append(float(2 * (mask & goal).sum() / max(1, mask.sum() + goal.sum())))
        dices.append(reached)
        if overlapping:
            found[number] = mask
        else:
            found[mask & (found == 0)] = structure.value
    return Segmentation(found, reference.geometry, tuple(structures)), dices


def _store_prediction(
    dataset: Dataset, prediction: Prediction, case_id: str, run: Path, plan: Plan, validation: ValidationResult
) -> None:
    write_segmentation(output_path(run / PREDICTIONS, case_id, plan), prediction.segmentation)
    validation.cases[case_id] = score_scan(dataset, plan, case_id, prediction.segmentation)
    validation.raw[case_id] = prediction.raw


def without_sequence(plan: Plan) -> Plan:
    """The plan without names in order."""
    return plan.model_copy(update={"sequence": None})
