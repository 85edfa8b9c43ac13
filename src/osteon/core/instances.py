"""Pieces that are numbered and not named (fragments, bodies): which are found, merged or split.

A piece's number says nothing: pieces are compared by where they lie, so that renumbering changes no figure. A piece is
all that has one number, even where it falls into parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
import numpy.typing as npt

from osteon.core.boxes import bounding_box
from osteon.core.dice import LabelArray, OverlapCounts, dice
from osteon.core.errors import GeometryError, LabelError

MATCH_IOU = 0.5
"""Pieces match above this IoU. At one half or more a piece can match one other at most, and nothing need be chosen
(Kirillov et al., Panoptic segmentation, CVPR 2019)."""
MERGE_SHARE = 0.25
"""Part of a reference piece that a predicted one must hold to count for merges and splits. Below one half, so that a
piece cut into two, three or four equal parts is a split; above what a misplaced border takes, which is 1/n of a piece n
voxels thick for each voxel that it is off."""
MAX_NUMBER = 2**31 - 1
"""The largest number of a piece: pairs of numbers are counted as one int64."""
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class InstancePair:
    """A predicted and a reference piece that match.

    Attributes:
        predicted: The piece's number in the prediction.
        reference: Its number in the reference.
        iou: Above `MATCH_IOU`, up to 1.
        dice: 0 … 1.
        distances: `hd_mm`, `hd95_mm`, `assd_mm`, or with `px`; empty where surfaces were not measured.
    """

    predicted: int
    reference: int
    iou: float
    dice: float
    distances: Mapping[str, float] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, float]:
        """Dice and distances by name."""
        return {"dice": self.dice, **self.distances}


@dataclass(frozen=True)
class InstanceScores:
    """The pieces of one structure in one case, or of all cases together. None stands for a figure that does not exist.

    Attributes:
        case: The case's id.
        structure: The structure's name.
        pairs: The true positives, in the order of the reference's numbers.
        false_positives: Predicted pieces without a match.
        false_negatives: Reference pieces without a match.
        best_ious: For each reference piece the IoU of the predicted piece that fits it best, 0 where none touches it.
            Several may have the same one.
        merges: Predicted pieces that hold `MERGE_SHARE` or more of each of two or more reference pieces.
        splits: Reference pieces of which each of two or more predicted ones holds `MERGE_SHARE` or more.
    """

    case: str
    structure: str
    pairs: tuple[InstancePair, ...] = ()
    false_positives: int = 0
    false_negatives: int = 0
    best_ious: tuple[float, ...] = ()
    merges: int = 0
    splits: int = 0

    @property
    def true_positives(self) -> int:
        """Pairs that match."""
        return len(self.pairs)

    @property
    def is_absent(self) -> bool:
        """Whether there is no piece in either: such a case is counted apart and enters no figure."""
        return not (self.pairs or self.false_positives or self.false_negatives)

    @property
    def f1(self) -> float | None:
        """2·TP / (2·TP + FP + FN), 0 … 1; 0 where only one side has pieces, None where neither has.

        The recognition quality (RQ) of the panoptic quality is the same figure.
        """
        total = 2 * self.true_positives + self.false_positives + self.false_negatives
        return 2 * self.true_positives / total if total else None

    @property
    def segmentation_quality(self) -> float | None:
        """SQ: mean IoU of the pairs; None where nothing matches."""
        return fmean(pair.iou for pair in self.pairs) if self.pairs else None

    @property
    def panoptic_quality(self) -> float | None:
        """PQ = SQ · RQ (Kirillov et al., Panoptic segmentation, CVPR 2019); 0 and None where `f1` is."""
        return self.f1 if self.f1 is None else self.f1 * (self.segmentation_quality or 0.0)

    @property
    def best_iou(self) -> float | None:
        """Mean of `best_ious`; None where the reference has no piece.

        The fragment IoU of PENGWIN 2024, which compares each reference fragment with the predicted one of the highest
        IoU (Sang et al., arXiv 2504.02382). It does not count what was invented: read it beside `f1`.
        """
        return fmean(self.best_ious) if self.best_ious else None


def match_instances(
    case: str,
    structure: str,
    prediction: LabelArray,
    reference: LabelArray,
) -> InstanceScores:
    """Match the pieces of one structure in one case; distances between their surfaces are left out.

    A predicted and a reference piece match where their IoU is above one half. No piece can have two such partners, so
    this is the one-to-one matching of the highest total IoU among such pairs, and nothing need be chosen. (Over all
    pairs that touch it would be another: two poor pairs can outweigh a good one.)

    Args:
        case: The case's id.
        structure: The structure's name.
        prediction: `[i, j, k]` whole numbers, 0 … `MAX_NUMBER`: 0 where there is no piece, else the piece's number.
        reference: The same of the reference; numbers need not agree.

    Raises:
        GeometryError: The maps differ in shape.
        LabelError: A map holds what is no piece's number.
    """
    name = f"{case}, {structure}"
    if prediction.shape != reference.shape:
        raise GeometryError(
            f"{name}: the pieces of prediction and reference lie on grids of {prediction.shape} and {reference.shape} "
            "voxels",
            hint="resample one onto the other's grid, or predict on the scan that the reference was drawn on",
        )
    _check_numbers(f"{name}: the prediction", prediction)
    _check_numbers(f"{name}: the reference", reference)
    predicted, known, voxels = _count_pairs(prediction, reference)
    found, rows = np.unique(predicted, return_inverse=True)
    truth, columns = np.unique(known, return_inverse=True)
    sizes = np.bincount(rows, voxels)[rows], np.bincount(columns, voxels)[columns]
    both = (predicted > 0) & (known > 0)
    iou = np.where(both, voxels / (sizes[0] + sizes[1] - voxels), 0.0)
    best = np.zeros(len(truth))
    np.maximum.at(best, columns, iou)
    held = both & (voxels >= MERGE_SHARE * sizes[1])
    matched = np.flatnonzero(iou > MATCH_IOU)
    matched = matched[np.argsort(known[matched])]
    pairs = [
        InstancePair(
            int(predicted[n]),
            int(known[n]),
            float(iou[n]),
            dice(OverlapCounts(int(sizes[0][n]), int(sizes[1][n]), int(voxels[n]))) or 0.0,
        )
        for n in matched
    ]
    return InstanceScores(
        case,
        structure,
        tuple(pairs),
        false_positives=int(np.count_nonzero(found)) - len(pairs),
        false_negatives=int(np.count_nonzero(truth)) - len(pairs),
        best_ious=tuple(best[truth > 0].tolist()),
        merges=int(np.count_nonzero(np.bincount(rows[held]) > 1)),
        splits=int(np.count_nonzero(np.bincount(columns[held]) > 1)),
    )


def _check_numbers(name: str, labels: LabelArray) -> None:
    """Raise a LabelError where a map holds anything but whole numbers from 0 to `MAX_NUMBER`."""
    if labels.dtype.kind not in "biu":
        raise LabelError(f"{name} has pieces of {labels.dtype}", hint="number pieces by whole numbers, from 1 on")
    for value in (labels.min(initial=0), labels.max(initial=0)):
        if not 0 <= value <= MAX_NUMBER:
            raise LabelError(
                f"{name} has a piece with the number {value}",
                hint=f"number pieces from 1 to {MAX_NUMBER}, and 0 for none",
            )


def _count_pairs(prediction: LabelArray, reference: LabelArray) -> tuple[Ints, Ints, Ints]:
    """Each pair of numbers that some voxel has but (0, 0): predicted `[n]`, of the reference `[n]`, and voxels `[n]`.

    Looked for in the box that holds both sides' pieces, in one pass for all of them.
    """
    boxes = [box for box in (bounding_box(prediction), bounding_box(reference)) if box is not None]
    if not boxes:
        return (np.zeros(0, dtype=np.int64),) * 3
    inside = boxes[0].union(boxes[-1]).slices
    prediction, reference = prediction[inside], reference[inside]
    there = (prediction != 0) | (reference != 0)
    base = int(reference.max()) + 1
    keys = prediction[there].astype(np.int64) * base + reference[there].astype(np.int64)
    pairs, voxels = np.unique(keys, return_counts=True)
    return *np.divmod(pairs, base), voxels
