"""A model's result for a scan, and the way back to the scan's own grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from osteon.core.labels import Segmentation
from osteon.plan.schema import Plan
from osteon.predicting.prepared_scan import PreparedScan
from osteon.predicting.probabilities import Probabilities
from osteon.predicting.restore import restore
from osteon.predicting.zoom import RefinedCrop
from osteon.preparing.nonzero import pad_segmentation


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


def restore_scan(
    prepared: PreparedScan, probabilities: Probabilities, plan: Plan, crops: Sequence[RefinedCrop] = ()
) -> Segmentation:
    """The segmentation on the scan's own grid, before post-processing steps."""
    segmentation = restore(probabilities, prepared.geometry, plan, crops)
    return segmentation if prepared.part is None else pad_segmentation(segmentation, *prepared.part)
