"""The click tool that needs no model: a structure is grown from points inside it, and kept from those outside.

It works in a box around the points, on voxels merged to about `MAX_VOXELS`, so that it takes less than a second however
large the scan is. How probable each voxel is by itself follows from its intensity, compared with that around the points
inside and that of the whole box, and from its distances to the points; a random walk that avoids edges in the image
(`random_walk`) then decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.core.boxes import Box, bounding_box
from osteon.core.clicks import Click, ClickAnswer, Mask, places_of
from osteon.core.errors import UsageError
from osteon.core.geometry import Geometry
from osteon.labelling.random_walk import Floats, random_walk

REACH_MM = 25.0
"""Usual distance from the points inside at which a voxel's place says nothing: about half a vertebra's width."""
MAX_REACH_MM = 200.0
PICTURE_REACH = 0.08
"""The usual reach in a picture: a part of its longer side."""
BEYOND = 1.7
"""So many times the reach away from all points inside, nothing belongs to the structure."""
MAX_VOXELS = 100_000
"""That are computed with at once."""
SEED = 0.12
"""Radius of what a point stands for, as a part of the reach."""
SAMPLE = 0.2
"""Radius in which intensities around a point inside are taken for the structure's, as a part of the reach."""
SIMILAR = 0.25
"""Of the box's range of intensities: how far blocks near a point may be from its own, to be taken for the structure."""
LEAST_CONTRAST = 0.04
"""Of the box's range of intensities: the noise is taken for no less."""
BINS = 64
"""Of intensities."""
EVIDENCE, PLACE, REFUSAL, KEPT = 3.0, 2.0, 10.0, 4.0
"""Logits: what an intensity says at most; the distance to the points inside at these; that to a point outside; and what
the structure's mask so far says."""
TRUST, FEW = 0.02, 3
"""The weight of all that beside that of the step to a voxel that looks the same, for so few points; of more points the
edges between them say more."""


def usual_reach(grid: Geometry) -> float:
    """The reach where a person gives none, in the unit of the spacing."""
    return min(MAX_REACH_MM, PICTURE_REACH * max(grid.extent_mm)) if 1 in grid.shape else REACH_MM


def grow_structure(
    image: npt.NDArray[np.generic],
    clicks: Sequence[Click],
    spacing: Sequence[float],
    *,
    reach: float = REACH_MM,
    limit: Box | None = None,
    previous: Mask | None = None,
    protected: Mask | None = None,
) -> ClickAnswer:
    """Find the structure in which some points lie, and others not.

    Args:
        image: `[i, j, k]`; only a box around the points is read. Pictures have a singleton axis.
        clicks: All points that the user has set for this structure. Without one inside, `limit`'s middle is taken, or
            else `previous` is only cut.
        spacing: Lengths of a voxel's edges.
        reach: About the structure's radius, or for long bones its thickness: points along it take it further. In the
            unit of `spacing`.
        limit: A box that holds the structure; then `reach` only says how coarsely is computed.
        previous: `[i, j, k]` of the whole image: the structure's mask before the first of these points.
        protected: `[i, j, k]` of the whole image: what belongs to other structures, and stays theirs.

    Raises:
        UsageError: There is no point at all; one lies outside the image; `reach` makes no sense.
    """
    inside, outside = places_of(clicks)
    shape = image.shape
    if not len(inside) and limit is not None:
        inside = np.array([[(a + b) // 2 for a, b in zip(limit.first, limit.stop, strict=True)]], np.intp)
    points = np.concatenate([inside, outside])
    if not len(points) or (not len(inside) and (previous is None or not previous.any())):
        raise UsageError("there is no point inside the structure", hint="click into the structure first")
    if (points < 0).any() or (points >= shape).any():
        raise UsageError("a point lies outside the image", hint="click into the image")
    if not 0 < reach <= MAX_REACH_MM:
        raise UsageError(f"a reach of {reach:g} makes no sense", hint=f"a number up to {MAX_REACH_MM:g}")
    box = limit or _box_around(points, [BEYOND * reach / s for s in spacing], shape)
    crop = _Merged.of(image, box, spacing)
    similar = crop.similar_to(inside)  # around a point in a thin bone there is flesh
    seeds = crop.seeds(inside, SEED * reach) & similar, crop.seeds(outside, SEED * reach)
    far = np.full(crop.shape, np.inf, np.float32)
    near, refused = (crop.distance(places) if len(places) else far for places in (inside, outside))
    out = seeds[1] & (refused < near)
    if limit is None and len(inside):
        out |= near > BEYOND * reach
    walls = None if protected is None else crop.merge(protected[box.slices]) > 0.5
    if walls is not None:
        out |= walls
    before = np.zeros(crop.shape, np.float32) if previous is None else crop.merge(previous[box.slices])
    sample = (near <= max(SAMPLE * reach, crop.longest)) & similar & ~out
    sample = sample if sample.any() else before > 0.5
    image_in_noise, logits = _judge_intensities(crop.values, sample)
    if limit is None and len(inside):
        logits += PLACE * np.maximum(1 - np.square(near / reach), -EVIDENCE)
    if len(outside) and len(inside):
        logits -= REFUSAL * np.clip((near - refused) / (near + refused + crop.longest), 0, 1)
    if previous is not None and previous.any():
        contradicted = _contradicted(crop, before > 0.5, inside, outside, reach)
        logits += KEPT * (2 * before - 1) * (1 - contradicted)
    prior = (1 / (1 + np.exp(-logits))).astype(np.float32)
    trust = TRUST * min(1.0, FEW / len(points))
    found = random_walk(image_in_noise, seeds[0] & ~out, out, prior, trust=trust, walls=walls, spacing=crop.spacing)
    kept = _clean(found > 0.5, (before > 0.5) | crop.seeds(inside, 0))
    mask = crop.enlarge(found, kept)
    if protected is not None:
        mask &= ~protected[box.slices]
    return ClickAnswer(box, mask)


@dataclass(frozen=True)
class _Merged:
    """A box of an image, blocks of its voxels merged into one.

    Attributes:
        values: `[i, j, k]` mean intensities.
        box: Of the image.
        factors: Voxels of a block along each axis.
        spacing: Lengths of a block's edges.
    """

    values: Floats
    box: Box
    factors: tuple[int, ...]
    spacing: tuple[float, ...]

    @staticmethod
    def of(image: npt.NDArray[np.generic], box: Box, spacing: Sequence[float]) -> _Merged:
        volume = math.prod(n * s for n, s in zip(box.shape, spacing, strict=True) if n > 1)
        axes = sum(n > 1 for n in box.shape)
        edge = (volume / MAX_VOXELS) ** (1 / max(axes, 1))
        factors = tuple(max(1, round(edge / s)) if n > 1 else 1 for n, s in zip(box.shape, spacing, strict=True))
        edges = tuple(f * s for f, s in zip(factors, spacing, strict=True))
        return _Merged(_block_means(image[box.slices], factors), box, factors, edges)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def longest(self) -> float:
        """The longest edge of a block along axes that have several."""
        return max((s for s, n in zip(self.spacing, self.shape, strict=True) if n > 1), default=1.0)

    def merge(self, part: npt.NDArray[np.generic]) -> Floats:
        """Means over the same blocks, of an array `[i, j, k]` of the box."""
        return _block_means(part, self.factors)

    def _at(self, points: npt.NDArray[np.intp]) -> Mask:
        blocks = (points - self.box.first) // self.factors
        inside = ((blocks >= 0) & (blocks < self.shape)).all(axis=1)
        mask = np.zeros(self.shape, bool)
        mask[tuple(blocks[inside].T)] = True
        return mask

    def distance(self, points: npt.NDArray[np.intp]) -> Floats:
        """`[i, j, k]` from each block to the nearest of the points, all of which lie in the box or beside it."""
        from scipy import ndimage

        there = self._at(points)
        if not there.any():
            return np.full(self.shape, np.inf, np.float32)
        return np.asarray(ndimage.distance_transform_edt(~there, self.spacing), np.float32)

    def seeds(self, points: npt.NDArray[np.intp], radius: float) -> Mask:
        """`[i, j, k]`: blocks in which a point lies, or whose centre is that near one."""
        return self._at(points) if not len(points) else self.distance(points) <= radius

    def similar_to(self, points: npt.NDArray[np.intp]) -> Mask:
        """`[i, j, k]`: blocks whose intensity is near that of a block in which a point lies."""
        own = np.sort(self.values[self._at(points)])
        if not len(own):
            return np.ones(self.shape, bool)
        after = np.searchsorted(own, self.values)
        gaps = [np.abs(self.values - own[np.clip(after - step, 0, len(own) - 1)]) for step in (0, 1)]
        low, high = np.percentile(self.values, [1, 99])
        return np.asarray(np.minimum(*gaps) <= SIMILAR * (high - low))

    def enlarge(self, values: Floats, kept: Mask) -> Mask:
        """Where values, interpolated linearly between the blocks' centres, are above a half, in and beside `kept`."""
        from scipy import ndimage

        whole = np.zeros(self.box.shape, bool)
        tight = bounding_box(kept)
        if tight is None:
            return whole
        near = tight.expand((2, 2, 2), self.shape)
        about = ndimage.binary_dilation(kept[near.slices], np.ones((3, 3, 3)))
        part = ndimage.zoom(
            np.where(about, values[near.slices], 0), self.factors, order=1, mode="nearest", grid_mode=True
        )
        first = [a * f for a, f in zip(near.first, self.factors, strict=True)]
        target = whole[tuple(slice(a, a + n) for a, n in zip(first, part.shape, strict=True))]
        target[...] = part[tuple(slice(0, n) for n in target.shape)] > 0.5
        return whole


def _box_around(points: npt.NDArray[np.intp], margin: Sequence[float], shape: Sequence[int]) -> Box:
    first, stop = ([int(p) for p in end] for end in (points.min(axis=0), points.max(axis=0) + 1))
    tight = Box((first[0], first[1], first[2]), (stop[0], stop[1], stop[2]))
    return tight.expand([math.ceil(m) for m in margin], shape)


def _block_means(part: npt.NDArray[np.generic], factors: Sequence[int]) -> Floats:
    """Means over blocks; the last ones are filled up with the outermost voxels."""
    missing = [(0, -n % f) for n, f in zip(part.shape, factors, strict=True)]
    whole = np.pad(part.astype(np.float32), missing, mode="edge")
    split = [n for size, factor in zip(whole.shape, factors, strict=True) for n in (size // factor, factor)]
    return np.asarray(whole.reshape(split).mean(axis=(1, 3, 5)))


def _judge_intensities(values: Floats, sample: Mask) -> tuple[Floats, Any]:
    """The intensities in units of the sample's noise, and the logits `[i, j, k]` of what each says of the structure."""
    from scipy import ndimage

    low, high = (float(v) for v in np.percentile(values, [1, 99]))
    noise = max(float(values[sample].std()), LEAST_CONTRAST * (high - low), 1e-6)
    edges = np.linspace(low, max(high, low + 1e-6), BINS - 1)
    bins = np.digitize(values, edges)
    centres = np.concatenate([edges, [high]])
    likely = np.exp(-0.5 * np.square((centres - values[sample].mean()) / (1.3 * noise)))
    others = ndimage.gaussian_filter1d(np.bincount(bins[~sample], minlength=BINS).astype(float), 1.5)
    ratio = np.log((likely / max(likely.sum(), 1e-9) + 1e-3) / (others / max(others.sum(), 1e-9) + 1e-3))
    return values / np.float32(noise), np.clip(ratio, -EVIDENCE, EVIDENCE)[bins]


def _contradicted(
    crop: _Merged, before: Mask, inside: npt.NDArray[np.intp], outside: npt.NDArray[np.intp], reach: float
) -> Any:
    """`[i, j, k]`, 0 … 1: how near a point lies that says otherwise than the mask so far."""
    blocks = [tuple((p - crop.box.first) // crop.factors) for p in (*inside, *outside)]
    kinds = [True] * len(inside) + [False] * len(outside)
    wrong = [p for p, b, kind in zip((*inside, *outside), blocks, kinds, strict=True) if before[b] != kind]
    if not wrong:
        return np.zeros(crop.shape, np.float32)
    return np.exp(-np.square(crop.distance(np.array(wrong)) / (reach / 2)))


def _clean(mask: Mask, keep: Mask) -> Mask:
    """What hangs together with `keep` without thin bridges, and without holes; all axes `[i, j, k]`."""
    from scipy import ndimage

    flat = [axis for axis, size in enumerate(mask.shape) if size == 1]
    cross = ndimage.generate_binary_structure(3, 1)
    padded = np.pad(mask, 1, mode="edge")
    for axis in flat:
        cross = cross & (np.arange(3) == 1).reshape([-1 if a == axis else 1 for a in range(3)])
    opened = ndimage.binary_opening(padded, cross)[1:-1, 1:-1, 1:-1]
    kept = ndimage.binary_propagation(keep & opened, mask=opened)
    if (keep & mask & ~kept).any():  # a point lies where the structure is thin
        kept = ndimage.binary_propagation(keep & mask, mask=mask)
    filled = np.take(kept, 0, flat[0]) if flat else kept
    filled = ndimage.binary_fill_holes(filled)
    return np.asarray(np.expand_dims(filled, flat[0]) if flat else filled, bool)
