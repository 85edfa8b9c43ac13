"""What one case scores: Dice and volume for each structure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from osteon.core.geometry import Geometry
from osteon.core.labels import Structure
from osteon.core.overlap import Counts, Labels, count_overlap, dice

State = Literal["both", "missed", "invented", "absent", "not annotated"]
"""`both`: prediction and reference hold voxels. `missed`: the reference alone. `invented`: the prediction alone.
`absent`: neither. `not annotated`: nobody looked for the structure in this case, so nothing can be said."""

MM3_PER_CM3 = 1000.0


@dataclass(frozen=True)
class Score:
    """One structure in one case. None stands for a figure that does not exist, and enters no mean.

    Attributes:
        case: The case's id.
        structure: The structure's name.
        state: Where voxels were found.
        dice: 0 … 1; None where the structure is absent from both or not annotated.
        reference_voxels: Voxels in the reference; None where not annotated.
        predicted_voxels: Voxels in the prediction.
        reference_cm3: Volume in the reference. Like all cm³, None where the grid is a picture: without a spacing
            (unit `px`), or one voxel thin, so that it has an area and no volume.
        predicted_cm3: Volume in the prediction.
        volume_error_cm3: Predicted minus reference; None where the structure is absent from both.
        volume_error_percent: The same in percent of the reference; None where the reference is empty.
    """

    case: str
    structure: str
    state: State
    dice: float | None
    reference_voxels: int | None
    predicted_voxels: int
    reference_cm3: float | None
    predicted_cm3: float | None
    volume_error_cm3: float | None
    volume_error_percent: float | None


def score_case(
    case: str,
    prediction: Labels,
    reference: Labels,
    geometry: Geometry,
    structures: Sequence[Structure],
    *,
    annotated: Collection[str] | None = None,
) -> list[Score]:
    """Score every structure of one case.

    Args:
        case: The case's id.
        prediction: An index map `[i, j, k]`, or multi-hot `[structure, i, j, k]`.
        reference: An array of the same kind and shape.
        geometry: The grid of both.
        structures: What to score, in the order of multi-hot arrays.
        annotated: Names of the structures that somebody looked for; None means all of them.
    """
    counts = count_overlap(prediction, reference, structures)
    known = {s.name for s in structures} if annotated is None else set(annotated)
    return [score_structure(case, s.name, counts[s.name], geometry, annotated=s.name in known) for s in structures]


def score_structure(case: str, structure: str, counts: Counts, geometry: Geometry, *, annotated: bool = True) -> Score:
    """The score that follows from the counts of one structure on the grid `geometry`."""
    voxel_cm3 = _voxel_cm3(geometry)
    state = _state(counts) if annotated else "not annotated"
    difference = counts.prediction - counts.reference
    compared = state not in ("absent", "not annotated")
    return Score(
        case=case,
        structure=structure,
        state=state,
        dice=dice(counts) if annotated else None,
        reference_voxels=counts.reference if annotated else None,
        predicted_voxels=counts.prediction,
        reference_cm3=counts.reference * voxel_cm3 if annotated and voxel_cm3 else None,
        predicted_cm3=counts.prediction * voxel_cm3 if voxel_cm3 else None,
        volume_error_cm3=difference * voxel_cm3 if compared and voxel_cm3 else None,
        volume_error_percent=100 * difference / counts.reference if compared and counts.reference else None,
    )


def _state(counts: Counts) -> State:
    if counts.reference:
        return "both" if counts.prediction else "missed"
    return "invented" if counts.prediction else "absent"


def _voxel_cm3(geometry: Geometry) -> float | None:
    """Volume of a voxel, or None for a picture: a radiograph's third axis has no length that was measured."""
    if geometry.unit == "px" or 1 in geometry.shape:
        return None
    return geometry.voxel_volume_mm3 / MM3_PER_CM3
