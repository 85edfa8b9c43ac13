"""The grid's spacing: the median of the cases, coarser where a patch would otherwise see too little."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion

from osteon.core.boxes import bounding_box
from osteon.core.dice import count_overlap, dice
from osteon.core.geometry import reorient_to_ras
from osteon.core.instances import match_instances
from osteon.core.text import pluralise
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case
from osteon.planning.fingerprint import Fingerprint
from osteon.predicting.pieces import part_pieces
from osteon.preparing.resample import resample_index_map, resample_multi_hot, resampled_shape
from osteon.training.targets import near_another_piece

Vector = npt.NDArray[np.float64]
Pieces = npt.NDArray[np.integer[Any]]

FACTORS = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0)
MIN_FIDELITY = 0.92
"""A grid is too coarse when the labels themselves, resampled to it and back, keep less Dice than this."""
FIDELITY_CASES = 3
MAX_TOUCHING = 0.01
"""Numbered pieces of which more of the surface touches others are parted on the scans' own grid or not at all."""


def target_spacing(fingerprint: Fingerprint) -> tuple[Vector, list[str]]:
    """The median spacing along R, A, S; a much thicker axis takes its 10th percentile (nnU-Net's rule).

    Returns:
        `[3]` mm, and the reasons.
    """
    spacings = np.array([case.spacing_mm for case in fingerprint.cases])
    median = fingerprint.median_spacing_mm
    shape = fingerprint.median_shape
    why = [f"median of {pluralise(len(spacings), 'case')}, which range from {_range(spacings)}"]
    worst = int(np.argmax(median))
    others = [axis for axis in range(3) if axis != worst]
    if median[worst] > 3 * median[others].max() and shape[worst] * 3 < shape[others].min():
        finer = max(float(np.percentile(spacings[:, worst], 10)), float(median[others].max()))
        why.append(f"axis {'RAS'[worst]} is more than 3 times as thick: its 10th percentile, {finer:.3g}")
        median = median.copy()
        median[worst] = finer
    return median, why


def coarser_spacing(
    dataset: Dataset,
    fingerprint: Fingerprint,
    spacing: Vector,
    coverage: float,
    patch_voxels: int,
    *,
    across: int | None = None,
) -> tuple[Vector, list[str]]:
    """Make the grid coarser until a patch covers `coverage` of the median scan, as far as the labels allow.

    A structure that is recognised by its place among others (a vertebra, a side) needs a patch that sees the others.
    Only axes finer than the coarsened ones grow: thick slices stay as they are.

    Args:
        dataset: Its labels are read where the loss has to be measured.
        fingerprint: The measured cases.
        spacing: `[3]` mm along R, A, S.
        coverage: The part of the median scan that a patch should cover along each axis.
        patch_voxels: Voxels that a patch may have.
        across: The axis that slices are cut across; it stays as it is, and does not count. None in 3D.

    Returns:
        `[3]` mm, and the reasons.
    """
    extent = fingerprint.median_shape * fingerprint.median_spacing_mm
    inside = np.arange(3) != across
    unit, power = ("scan", 3) if across is None else ("slice", 2)

    def coarsened(candidate: float) -> Vector:
        return np.where(inside, np.maximum(spacing, spacing[inside].min() * candidate), spacing)

    def fits(candidate: float) -> bool:
        return bool(np.prod((extent * coverage / coarsened(candidate))[inside]) <= patch_voxels)

    if fits(1.0):
        return spacing, []
    if (touching := touching_share(dataset, fingerprint)) > MAX_TOUCHING:
        return spacing, [f"not coarser: pieces touch ({touching:.0%} of their surface), by a line that would be lost"]
    factor, kept_dice = 1.0, 1.0
    for candidate in FACTORS[1:]:
        fidelity = label_fidelity(dataset, fingerprint, coarsened(candidate))
        if fidelity < MIN_FIDELITY:
            break
        factor, kept_dice = candidate, fidelity
        if fits(candidate):
            break
    if factor == 1.0:
        return spacing, [f"not coarser: the labels would lose more than {1 - MIN_FIDELITY:.0%} of their Dice"]
    share = min(1.0, (patch_voxels / np.prod((extent / coarsened(factor))[inside])) ** (1 / power))
    return coarsened(factor), [
        f"made {factor:g} times coarser, so that a patch covers {share:.0%} of the median {unit} along each axis; "
        f"the labels themselves keep a Dice of {kept_dice:.3f} on that grid (measured, at least {MIN_FIDELITY} asked)"
    ]


def label_fidelity(dataset: Dataset, fingerprint: Fingerprint, spacing: Vector) -> float:
    """Mean Dice of the labels after resampling to `spacing` (R, A, S, mm) and back: the best a model could reach.

    Numbered pieces have to be parted again on that grid, by cores that nobody could find better: a piece of which then
    less than a match is left (IoU of one half) counts 0. Measured on a few cases spread over the dataset.
    """
    scores: list[float] = []
    for case in _sample(dataset, fingerprint):
        segmentation = dataset.load_segmentation(case, pieces=True)
        permutation = reorient_to_ras(segmentation.geometry)
        geometry = permutation.geometry(segmentation.geometry)
        shape = resampled_shape(geometry.shape, geometry.spacing_mm, spacing.tolist())
        resample = resample_multi_hot if segmentation.overlapping else resample_index_map
        whole = permutation.apply(segmentation.merged().array)
        counts = count_overlap(resample(resample(whole, shape), geometry.shape), whole, segmentation.structures)
        for structure in segmentation.structures:
            if structure.instances:
                pieces = permutation.apply(segmentation.pieces(structure))
                parted = _part_again(resample_index_map(pieces, shape))
                found = match_instances(case.id, structure.name, resample_index_map(parted, geometry.shape), pieces)
                scores += [*(pair.dice for pair in found.pairs), *[0.0] * found.false_negatives]
            elif (score := dice(counts[structure.name])) is not None:
                scores.append(score)
    return float(np.mean(scores)) if scores else 1.0


def _part_again(pieces: Pieces) -> Pieces:
    """Pieces `[i, j, k]`, parted by the cores that they themselves have."""
    mask = pieces > 0
    return part_pieces(mask, (mask & ~near_another_piece(pieces)).astype(np.float32))[0]


def touching_share(dataset: Dataset, fingerprint: Fingerprint) -> float:
    """How much of the numbered pieces' surface another piece touches, 0 … 1, in voxels of the scans' own grids.

    Fragments have 7 to 30 %, vertebrae of real spines 0. Measured on a few cases spread over the dataset.
    """
    touching = surface = 0
    for case in _sample(dataset, fingerprint):
        segmentation = dataset.load_segmentation(case, pieces=True)
        for structure in segmentation.structures:
            pieces = segmentation.pieces(structure) if structure.instances else None
            if pieces is not None and (box := bounding_box(pieces)) is not None:
                pieces = pieces[box.slices]
                contact = near_another_piece(pieces, 1)
                touching += int(contact.sum())
                surface += int((contact | ((pieces > 0) & ~binary_erosion(pieces > 0))).sum())
    return touching / max(surface, 1)


def _sample(dataset: Dataset, fingerprint: Fingerprint) -> Iterator[Case]:
    for pick in np.unique(np.linspace(0, len(fingerprint.cases) - 1, FIDELITY_CASES).astype(int)):
        yield dataset.case(fingerprint.cases[pick].id)


def _range(spacings: Vector) -> str:
    low, high = spacings.min(axis=0), spacings.max(axis=0)
    return " × ".join(f"{a:.3g}" if np.isclose(a, b) else f"{a:.3g}–{b:.3g}" for a, b in zip(low, high, strict=True))
