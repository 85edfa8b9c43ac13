"""From a network's probabilities to a prediction: assessed, refined, restored, post-processed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from osteon.core.labels import Segmentation
from osteon.plan.schema import Plan
from osteon.predicting.confidence import Calibration, raw_confidence
from osteon.predicting.postprocessing import Postprocessing, apply_postprocessing
from osteon.predicting.prepared_scan import PreparedScan
from osteon.predicting.probabilities import Probabilities
from osteon.predicting.reference_statistics import measure_statistics
from osteon.predicting.restore import OutputSink, restore, restore_outputs
from osteon.predicting.review import TrainingFacts, reasons_to_review, removed_structures
from osteon.predicting.speed import SpeedPreset
from osteon.predicting.zoom import RefinedCrop, refine_structures
from osteon.preparing.nonzero import pad_segmentation, pad_to_grid
from osteon.preparing.strategies import grid_strategy


@dataclass(frozen=True)
class Prediction:
    """A model's result for a scan.

    Attributes:
        segmentation: On the scan's own grid and orientation.
        raw: The soft Dice confidence of each structure; None for one that was not found.
        confidence: The expected Dice of each, by the model's calibration; the raw figure where it has none.
        reasons: Why a person should look at it; empty where nothing stands out.
        calibrated: Whether the model has a calibration.
    """

    segmentation: Segmentation
    raw: dict[str, float | None]
    confidence: dict[str, float | None]
    reasons: list[str]
    calibrated: bool = True


def make_prediction(
    network: torch.nn.Module,
    prepared: PreparedScan,
    probabilities: Probabilities,
    plan: Plan,
    *,
    calibration: Calibration,
    facts: TrainingFacts,
    postprocessing: Postprocessing,
    speed: SpeedPreset,
    sink: OutputSink | None = None,
) -> Prediction:
    """The prediction that follows from probabilities.

    Args:
        network: Predicts once more around the zoom structures.
        prepared: The scan.
        probabilities: Of the network.
        plan: Structures, channels, grid, zoom.
        calibration: From raw confidences to expected Dice.
        facts: Of the model's training.
        postprocessing: Steps on the scan's own grid.
        speed: As for `predict_probabilities`.
        sink: Is given each output's probabilities on the scan's own grid.
    """
    labels = probabilities.labels(plan)
    raw = raw_confidence(probabilities, labels, plan)
    expected = {name: None if r is None else round(calibration.expected(r), 4) for name, r in raw.items()}
    scan = grid_strategy(plan).transform(prepared.geometry).reoriented
    statistics = measure_statistics(prepared.image, labels, plan, scan.spacing_mm, scan.extent_mm)
    reasons = reasons_to_review(statistics, expected, plan, facts)
    del labels
    crops = refine_structures(network, prepared, probabilities.values, plan, speed=speed)
    if sink is not None:
        outside = 0.0 if plan.overlapping else 1.0
        for output in restore_outputs(probabilities, prepared.geometry, plan, crops):
            sink(output if prepared.part is None else pad_to_grid(output, *prepared.part, outside))
            outside = 0.0
            del output  # before there is another one; enumerate would keep it
    segmentation = apply_postprocessing(restore_scan(prepared, probabilities, plan, crops), postprocessing)
    if postprocessing.steps:
        reasons += removed_structures([name for name, figure in raw.items() if figure is not None], segmentation)
    return Prediction(segmentation, raw, expected, reasons, calibration.is_known)


def restore_scan(
    prepared: PreparedScan, probabilities: Probabilities, plan: Plan, crops: Sequence[RefinedCrop] = ()
) -> Segmentation:
    """The segmentation on the scan's own grid, before post-processing steps."""
    segmentation = restore(probabilities, prepared.geometry, plan, crops)
    return segmentation if prepared.part is None else pad_segmentation(segmentation, *prepared.part)
