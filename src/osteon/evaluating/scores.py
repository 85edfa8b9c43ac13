"""What one case scores: for each structure overlap, volumes, distances between surfaces, and pieces."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from osteon.core.boxes import Box
from osteon.core.dice import LabelArray, OverlapCounts, count_overlap, dice
from osteon.core.geometry import Geometry
from osteon.core.labels import Structure
from osteon.core.structure_boxes import crop_mask, find_boxes
from osteon.evaluating.components import MATCH_IOU, match_components
from osteon.evaluating.distances import distance_metric_names, measure_distances
from osteon.evaluating.levels import count_wrong_levels
from osteon.evaluating.surface_elements import thin_axis, voxel_steps

State = Literal["both", "missed", "invented", "absent", "not annotated"]
"""`both`: prediction and reference hold voxels. `missed`: the reference alone. `invented`: the prediction alone.
`absent`: neither. `not annotated`: nobody looked for the structure in this case, so nothing can be said."""

TOLERANCES = (2.0,)
"""Of the NSD, in mm; in px where the grid has no spacing."""
MM3_PER_CM3 = 1000.0
ANYWHERE = Box((0, 0, 0), (1, 1, 1))
"""Where to look for a structure that is nowhere."""


@dataclass(frozen=True)
class MetricOptions:
    """What is measured.

    Attributes:
        surfaces: Whether distances between surfaces, pieces and levels are, which take most of the time.
        tolerances: Of the NSD, in mm (px); the first is the one that tables show.
        match_iou: Pieces match above this IoU.
    """

    surfaces: bool = True
    tolerances: tuple[float, ...] = TOLERANCES
    match_iou: float = MATCH_IOU


ALL_METRICS = MetricOptions()


@dataclass(frozen=True, slots=True)
class Score:
    """One structure in one case. None stands for a metric that does not exist, and enters no mean.

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
        iou: 0 … 1; None where Dice is.
        precision: Part of the prediction that is right; None where nothing is predicted.
        recall: Part of the reference that is found; None where there is nothing to find.
        distances: By name with the unit: `hd_mm`, `hd95_mm`, `assd_mm`, `nsd_2mm` …, or with `px`. A distance is None
            where either side is empty, the NSD is 0 where one of them is. Empty where surfaces were not measured.
        reference_pieces: Connected pieces in the reference; like all metrics of pieces, None where not measured.
        predicted_pieces: In the prediction.
        matched_pieces: Pairs that match.
        detection_f1: Of the pieces; None where there are none.
        wrong_level: Predicted bodies that lie on another structure of the row; None where the structure is in none.
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
    iou: float | None = None
    precision: float | None = None
    recall: float | None = None
    distances: Mapping[str, float | None] = field(default_factory=dict)
    reference_pieces: int | None = None
    predicted_pieces: int | None = None
    matched_pieces: int | None = None
    detection_f1: float | None = None
    wrong_level: int | None = None


def score_case(
    case: str,
    prediction: LabelArray,
    reference: LabelArray,
    geometry: Geometry,
    structures: Sequence[Structure],
    *,
    annotated: Collection[str] | None = None,
    measures: MetricOptions = ALL_METRICS,
) -> list[Score]:
    """Score every structure of one case. Each is looked at inside the box that holds it on both sides.

    Args:
        case: The case's id.
        prediction: An index map `[i, j, k]`, or multi-hot `[structure, i, j, k]`.
        reference: Of either kind, on the same grid.
        geometry: The grid of both.
        structures: What to score, in the order of multi-hot arrays.
        annotated: Names of the structures that somebody looked for; None means all of them.
        measures: What is measured.

    Raises:
        ValueError: An array does not lie on the grid, or has another number of structures.
    """
    for labels in (prediction, reference):
        if labels.shape not in (geometry.shape, (len(structures), *geometry.shape)):
            raise ValueError(f"array {labels.shape} does not fit {len(structures)} structures on {geometry.shape}")
    if not measures.surfaces and prediction.ndim == reference.ndim == 3:
        overlap = count_overlap(prediction, reference, structures)
        return [
            score_structure(case, name, counts, geometry, annotated=annotated is None or name in annotated)
            for name, counts in overlap.items()
        ]
    found, truth = find_boxes(prediction, structures), find_boxes(reference, structures)
    scores = []
    for number, structure in enumerate(structures):
        known = annotated is None or structure.name in annotated
        boxes = [box for box in (found[number], truth[number]) if box is not None]
        around = boxes[0].union(boxes[-1]) if boxes else ANYWHERE
        masks = [crop_mask(labels, structures, number, around) for labels in (prediction, reference)]
        counts = OverlapCounts(*(int(np.count_nonzero(mask)) for mask in (*masks, masks[0] & masks[1])))
        score = score_structure(case, structure.name, counts, geometry, annotated=known)
        if measures.surfaces:
            score = _with_surfaces(score, masks[0], masks[1], geometry, measures)
        scores.append(score)
    if measures.surfaces:
        voxels = {n: s.reference_voxels for n, s in enumerate(scores) if s.reference_voxels is not None}
        wrong = count_wrong_levels(prediction, reference, structures, found, voxels)
        scores = [replace(score, wrong_level=wrong.get(number)) for number, score in enumerate(scores)]
    return scores


def score_structure(
    case: str, structure: str, counts: OverlapCounts, geometry: Geometry, *, annotated: bool = True
) -> Score:
    """The score that follows from the counts of one structure on the grid `geometry`."""
    voxel_cm3 = _voxel_cm3(geometry)
    state = _state(counts) if annotated else "not annotated"
    difference = counts.prediction - counts.reference
    compared = state not in ("absent", "not annotated")
    union = counts.prediction + counts.reference - counts.intersection
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
        iou=counts.intersection / union if compared else None,
        precision=counts.intersection / counts.prediction if compared and counts.prediction else None,
        recall=counts.intersection / counts.reference if compared and counts.reference else None,
    )


def _with_surfaces(
    score: Score,
    prediction: npt.NDArray[np.bool_],
    reference: npt.NDArray[np.bool_],
    geometry: Geometry,
    measures: MetricOptions,
) -> Score:
    """The score with distances and pieces, of masks inside one box."""
    names = distance_metric_names(geometry.unit, measures.tolerances)
    if score.state == "not annotated":
        return replace(score, distances=dict.fromkeys(names))
    thin = thin_axis(geometry.shape)
    if thin is not None:
        prediction, reference = prediction.squeeze(thin), reference.squeeze(thin)
    values: Sequence[float | None]
    if score.state == "both":
        values = measure_distances(prediction, reference, voxel_steps(geometry.affine_ras, thin), measures.tolerances)
    else:
        nothing_fits = None if score.state == "absent" else 0.0
        values = [None if name.startswith(("hd", "assd")) else nothing_fits for name in names]
    pieces = match_components(prediction, reference, measures.match_iou)
    return replace(
        score,
        distances=dict(zip(names, values, strict=True)),
        reference_pieces=pieces.reference,
        predicted_pieces=pieces.predicted,
        matched_pieces=pieces.matched,
        detection_f1=pieces.f1,
    )


def _state(counts: OverlapCounts) -> State:
    if counts.reference:
        return "both" if counts.prediction else "missed"
    return "invented" if counts.prediction else "absent"


def _voxel_cm3(geometry: Geometry) -> float | None:
    """Volume of a voxel, or None for a picture: a radiograph's third axis has no length that was measured."""
    if geometry.unit == "px" or geometry.singleton_axes:
        return None
    return geometry.voxel_volume_mm3 / MM3_PER_CM3
