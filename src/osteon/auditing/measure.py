"""Measuring one case: every structure once, within its box, so that a large scan with many of them fits memory."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from osteon.auditing.border import border_profiles, outside_mean
from osteon.auditing.coarse_grid import CoarseCase, coarsen
from osteon.auditing.facts import CaseFacts, ChannelFacts, StructureFacts
from osteon.auditing.measure_pieces import measure_pieces
from osteon.core.boxes import Box
from osteon.core.geometry import Geometry, reorient_to_ras
from osteon.core.labels import Segmentation, Structure
from osteon.core.structure_boxes import structure_masks
from osteon.core.text import significant
from osteon.core.volume import Volume
from osteon.dataset.checks import content_hash
from osteon.dataset.sparse_labels import find_sparse_structures

SHRED_PART = 0.001
"""Pieces below this part of the structure, or of fewer than `SHRED_VOXELS`, are shreds."""
SHRED_VOXELS = 5
MAX_VALUES = 200_000
"""Voxels whose intensities are sorted, spread evenly."""
THUMBNAIL = 12
"""Blocks along each axis of the coarse image by which likenesses are found."""
SIDES = (("L", "R"), ("P", "A"), ("I", "S"))

Slices = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class MeasuredCase:
    """A case, turned to R, A, S, with its facts.

    Attributes:
        facts: What is kept.
        profiles: See `border_profiles`; None without a label.
        image: `[i, j, k]` the first channel.
        segmentation: On the same grid; of no structures without a label.
        geometry: That grid.
        best: The slice along each axis where most of the structures show.
    """

    facts: CaseFacts
    profiles: npt.NDArray[np.float16] | None
    image: npt.NDArray[np.generic]
    segmentation: Segmentation
    geometry: Geometry
    best: tuple[int, int, int]


def measure_case(case_id: str, key: str, volume: Volume, labels: Segmentation | None, *, step: float) -> MeasuredCase:
    """Measure an image and its label, which lie on one grid.

    Args:
        case_id: The case.
        key: Kept in the facts.
        volume: The image.
        labels: The segmentation with its pieces, None where there is none.
        step: See `osteon.auditing.coarse_grid.choose_step`.
    """
    turn = reorient_to_ras(volume.geometry)
    geometry = turn.geometry(volume.geometry)
    image = turn.apply(volume.array[0])
    turned = np.zeros(geometry.shape, np.uint8) if labels is None else np.ascontiguousarray(turn.apply(labels.array))
    pieces = Segmentation(turned, geometry, labels.structures if labels is not None else ())
    segmentation = pieces.merged()
    labels = None if labels is None else labels.merged()
    coarse = coarsen(image, segmentation, geometry.spacing_mm, step)
    structures: dict[str, StructureFacts] = {}
    scores = [np.zeros(size) for size in geometry.shape]
    boxes: dict[str, Box] = {}
    for structure, box, mask in structure_masks(segmentation):
        facts = _structure(structure, box.slices, mask, image, segmentation, coarse)
        structures[structure.name] = replace(facts, numbered=measure_pieces(pieces, structure))
        boxes[structure.name] = box
        for axis, others in enumerate(((1, 2), (0, 2), (0, 1))):
            area = np.count_nonzero(mask, axis=others)
            # squared, or shreds of two structures would beat one whole
            scores[axis][box.slices[axis]] += (area / area.max()) ** 2
    for drawn in find_sparse_structures(labels) if labels is not None else []:
        name = drawn.structure.name
        earlier = [structures[name].gaps] if structures[name].gaps else []  # along another axis
        gaps = "; ".join([*earlier, *([drawn.describe_gaps()] if drawn.long_gaps else [])])
        structures[name] = replace(structures[name], step=drawn.step, drawn=drawn.describe(), gaps=gaps)
    r, a, s = (int(score.argmax()) if score.any() else len(score) // 2 for score in scores)
    case = CaseFacts(
        id=case_id,
        key=key,
        shape=geometry.shape,
        spacing=geometry.spacing_mm,
        unit=geometry.unit,
        orientation=volume.geometry.axis_codes,
        channels=[_channel(channel) for channel in volume.array],
        content=content_hash(volume),
        label_content=_label_content(segmentation) if structures else None,
        thumbnail=_thumbnail(coarse.image),
        labelled=labels is not None,
        structures=structures,
        overlaps=_overlaps(segmentation, boxes) if segmentation.overlapping else [],
    )
    profiles = border_profiles(coarse) if structures else None
    return MeasuredCase(case, profiles, image, segmentation, geometry, (r, a, s))


def _structure(
    structure: Structure,
    box: Slices,
    mask: npt.NDArray[np.bool_],
    image: npt.NDArray[np.generic],
    segmentation: Segmentation,
    coarse: CoarseCase,
) -> StructureFacts:
    geometry = segmentation.geometry
    shape, spacing = geometry.shape, geometry.spacing_mm
    voxels = int(np.count_nonzero(mask))
    middle = [
        float(np.count_nonzero(mask, axis=others) @ np.arange(part.start, part.stop)) / voxels
        for part, others in zip(box, ((1, 2), (0, 2), (0, 1)), strict=True)
    ]
    centre = geometry.to_world(np.array([middle]))[0]
    lengths = [part.stop - part.start for part in box]
    pieces, shreds = _pieces(mask)
    values = image[box][mask]
    values = values[np.linspace(0, len(values) - 1, min(MAX_VALUES, len(values))).astype(np.int64)]
    numbers = np.asarray(values, dtype=np.float64)
    p5, median, p95 = (significant(v) for v in np.percentile(numbers, (5, 50, 95)))
    taken = segmentation.array[(..., *box)]
    free = np.asarray(~taken.any(axis=0) if segmentation.overlapping else taken == 0)
    shell = outside_mean(coarse, coarse.mask(structure))
    return StructureFacts(
        voxels=voxels,
        volume_mm3=significant(voxels * geometry.voxel_volume_mm3),
        centre_ras=(significant(centre[0]), significant(centre[1]), significant(centre[2])),
        extent=(
            significant(lengths[0] * spacing[0]),
            significant(lengths[1] * spacing[1]),
            significant(lengths[2] * spacing[2]),
        ),
        thinnest_voxels=min(length for length, size in zip(lengths, shape, strict=True) if size > 1),
        pieces=pieces,
        shreds=shreds,
        holes=_holes(mask, free),
        cut=_cut(box, shape),
        mean=significant(numbers.mean()),
        sd=significant(numbers.std()),
        p5=p5,
        median=median,
        p95=p95,
        shell=None if shell is None else significant(shell),
    )


def _pieces(mask: npt.NDArray[np.bool_]) -> tuple[list[int], int]:
    labelled, count = ndimage.label(mask, np.ones((3, 3, 3)))
    if count == 1:
        return [int(np.count_nonzero(mask))], 0
    sizes = np.sort(np.bincount(labelled.ravel())[1:])[::-1]
    smallest = max(SHRED_VOXELS, SHRED_PART * sizes.sum())
    large = [int(size) for size in sizes if size >= smallest] or [int(sizes[0])]
    return large[:20], count - len(large)


def _holes(mask: npt.NDArray[np.bool_], free: npt.NDArray[np.bool_]) -> list[int]:
    """Voxels of the gaps that the mask encloses (6 neighbours; 4 in a picture), where `free` of other structures."""
    thin = tuple(axis for axis, size in enumerate(mask.shape) if size == 1)
    flat = mask.squeeze(axis=thin)
    if flat.ndim < 2:
        return []
    gaps = ndimage.binary_fill_holes(flat) & ~flat & free.squeeze(axis=thin)
    labelled, count = ndimage.label(gaps)
    return sorted((int(n) for n in np.bincount(labelled.ravel())[1:]), reverse=True)[:20] if count else []


def _cut(box: Slices, shape: tuple[int, int, int]) -> list[str]:
    sides = []
    for part, size, (low, high) in zip(box, shape, SIDES, strict=True):
        if size > 1:
            sides += [low] * (part.start == 0) + [high] * (part.stop == size)
    return sides


def _overlaps(segmentation: Segmentation, boxes: dict[str, Box]) -> list[tuple[str, str, int]]:
    layers = {s.name: layer for s, layer in zip(segmentation.structures, segmentation.array, strict=True)}
    found = []
    for first, second in itertools.combinations(boxes, 2):
        if boxes[first].intersects(boxes[second]):
            shared = boxes[first].intersection(boxes[second]).slices
            count = int(np.count_nonzero((layers[first][shared] > 0) & (layers[second][shared] > 0)))
            if count:
                found.append((first, second, count))
    return found


def _channel(channel: npt.NDArray[np.generic]) -> ChannelFacts:
    step = max(1, int(channel.size ** (1 / 3) / 100))  # about a million voxels are enough for percentiles
    some = np.asarray(channel[::step, ::step, ::step], dtype=np.float64)
    p1, median, p99 = (significant(v) for v in np.percentile(some, (1, 50, 99)))
    return ChannelFacts(
        lowest=significant(channel.min()), p1=p1, median=median, p99=p99, highest=significant(channel.max())
    )


def _label_content(segmentation: Segmentation) -> str:
    digest = hashlib.sha256(repr(segmentation.array.shape).encode())
    for slab in segmentation.array:
        digest.update(slab.astype("<u4").tobytes())
    return digest.hexdigest()


def _thumbnail(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Means over about 12³ blocks (48² of a picture's), standardised."""
    blocks = THUMBNAIL if min(image.shape) > 1 else 4 * THUMBNAIL
    small = image.astype(np.float64)
    for axis, size in enumerate(image.shape):
        starts = np.unique(np.linspace(0, size, min(blocks, size), endpoint=False).astype(np.int64))
        counts = np.diff([*starts, size])
        summed = np.add.reduceat(small, starts, axis=axis)
        small = summed / np.expand_dims(counts, tuple(a for a in range(3) if a != axis))
    spread = float(small.std()) or 1.0
    return np.asarray(((small - small.mean()) / spread).round(3).ravel())
