"""Numbered pieces scored: what `core.instances` matches, with the distances between the surfaces of each pair.

`components` counts connected parts instead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from osteon.core.dice import LabelArray
from osteon.core.errors import GeometryError
from osteon.core.geometry import Geometry
from osteon.core.instances import InstancePair, InstanceScores, match_instances
from osteon.core.label_values import bounding_boxes
from osteon.core.labels import Segmentation, Structure
from osteon.evaluating.distances import distance_metric_names, measure_distances
from osteon.evaluating.surface_elements import thin_axis, voxel_steps
from osteon.formats.labelmap import to_index_map


def score_instances(
    case: str,
    structure: str,
    prediction: LabelArray,
    reference: LabelArray,
    geometry: Geometry,
    *,
    surfaces: bool = True,
) -> InstanceScores:
    """Score the pieces of one structure in one case.

    Args:
        case: The case's id.
        structure: The structure's name.
        prediction: `[i, j, k]` pieces' numbers, as for `match_instances`.
        reference: The same of the reference; numbers need not agree.
        geometry: The grid of both.
        surfaces: Whether distances between the surfaces of matched pieces are measured, which takes most of the time.

    Raises:
        GeometryError: The maps differ in shape, or do not lie on the grid.
        LabelError: A map holds what is no piece's number.
    """
    scores = match_instances(case, structure, prediction, reference)
    if reference.shape != geometry.shape:
        raise GeometryError(
            f"{case}, {structure}: the pieces lie on a grid of {reference.shape} voxels, for a scan of "
            f"{geometry.shape}",
            hint="predict on the scan that the reference was drawn on",
        )
    if not surfaces:
        return scores
    return replace(scores, pairs=tuple(_measure_pairs(scores.pairs, prediction, reference, geometry)))


def score_pieces(
    case: str,
    prediction: Segmentation,
    reference: Segmentation,
    structures: Sequence[Structure],
    *,
    annotated: Collection[str] | None = None,
    surfaces: bool = True,
) -> list[InstanceScores]:
    """Score each structure of one case whose pieces are numbered.

    Args:
        case: The case's id.
        prediction: With each piece under its own value, on the grid of `reference`.
        reference: Likewise.
        structures: What both sides mean; those without numbered pieces are passed over.
        annotated: Names of the structures that somebody looked for; None means all of them.
        surfaces: As for `score_instances`.

    Raises:
        LabelError: Structures of a side share voxels, so that no piece's number can be told.
    """
    counted = [s for s in structures if s.instances and (annotated is None or s.name in annotated)]
    if not counted:
        return []
    sides = to_index_map(prediction, f"{case}: the prediction"), to_index_map(reference, f"{case}: the reference")
    scores = []
    for structure in counted:
        found, truth = (side.pieces(structure) for side in sides)
        scores.append(score_instances(case, structure.name, found, truth, reference.geometry, surfaces=surfaces))
    return scores


def _measure_pairs(
    pairs: Sequence[InstancePair], prediction: LabelArray, reference: LabelArray, geometry: Geometry
) -> Iterable[InstancePair]:
    """The pairs with the distances between their surfaces, each inside the box that holds both pieces."""
    thin = thin_axis(geometry.shape)
    steps = voxel_steps(geometry.affine_ras, thin)
    names = distance_metric_names(geometry.unit, ())
    found = bounding_boxes(prediction, [pair.predicted for pair in pairs])
    truth = bounding_boxes(reference, [pair.reference for pair in pairs])
    for pair, *both in zip(pairs, found, truth, strict=True):
        boxes = [box for box in both if box is not None]
        around = boxes[0].union(boxes[-1]).slices
        masks = prediction[around] == pair.predicted, reference[around] == pair.reference
        flat = [mask if thin is None else mask.squeeze(thin) for mask in masks]
        values = measure_distances(flat[0], flat[1], steps, ())
        yield replace(pair, distances=dict(zip(names, values, strict=True)))
