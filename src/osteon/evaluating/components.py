"""Connected pieces of a structure (fragments, tumours), and which of the predicted ones are found where one is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from osteon.core.instances import MATCH_IOU


@dataclass(frozen=True)
class ComponentMatch:
    """Connected pieces of one structure in one case: voxels that touch at a corner connect.

    Attributes:
        reference: In the reference.
        predicted: In the prediction.
        matched: Pairs of a predicted and a reference piece that match; each piece is in one pair at most.
    """

    reference: int
    predicted: int
    matched: int

    @property
    def f1(self) -> float | None:
        """2·matched / (reference + predicted), 0 … 1; None where there is no piece at all."""
        total = self.reference + self.predicted
        return 2 * self.matched / total if total else None


def label_components(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], int]:
    """The connected pieces of a mask `[i, j, k]` (`[i, j]`) numbered from 1, in its shape, and how many there are."""
    labels, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    return labels, int(count)


def match_components(
    prediction: npt.NDArray[np.bool_], reference: npt.NDArray[np.bool_], least_iou: float = MATCH_IOU
) -> ComponentMatch:
    """Count the pieces of both masks and match them.

    Pairs whose IoU is above `least_iou` are matched, the highest IoU first; of pairs alike the piece that comes first
    in the prediction, then in the reference.

    Args:
        prediction: Bool array, of two or three axes.
        reference: Likewise, of the same shape.
        least_iou: 0 … 1.
    """
    found, predicted = label_components(prediction)
    truth, known = label_components(reference)
    both = prediction & reference
    shared = np.bincount(found[both].astype(np.int64) * (known + 1) + truth[both])
    pairs = np.flatnonzero(shared)
    one, other = np.divmod(pairs, known + 1)
    union = np.bincount(found.ravel())[one] + np.bincount(truth.ravel())[other] - shared[pairs]
    iou = shared[pairs] / union
    used_one, used_other = set(), set()
    for pair in np.argsort(-iou, kind="stable"):
        if iou[pair] > least_iou and one[pair] not in used_one and other[pair] not in used_other:
            used_one.add(one[pair])
            used_other.add(other[pair])
    return ComponentMatch(known, predicted, len(used_one))
