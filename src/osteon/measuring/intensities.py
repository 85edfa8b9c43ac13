"""Bone in CT: Hounsfield units below the surface and in the core, and how thick the cortex is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from osteon.measuring.body import Body
from osteon.measuring.figure import NotMeasuredError, Reading
from osteon.measuring.measure import Measure
from osteon.measuring.targets import each_bone
from osteon.measuring.uncertainty import to_index

Floats = npt.NDArray[np.float64]

CORTEX_MM = (0.5, 2.0)
"""Depth below the surface in which the cortex is read: no voxel of it is half outside, and few are beyond it."""
CORE_MM = 5.0
"""Depth from which on a voxel belongs to the trabecular core."""
MIN_VOXELS = 20
METAL_HU = 2500
"""More than bone has: metal."""
PROFILE_MM = (-3.0, 10.0)
"""Where intensities are read along the normal; positive is inside."""
STEP_MM = 0.2
OUTSIDE_MM = -1.5
"""Up to here a profile is outside."""
PEAK_MM = 5.0
"""Up to here the peak of the cortex is looked for."""
MIN_CONTRAST_HU = 100.0
"""Of the cortex over what lies on either side of it; where it is less, no cortex is seen."""
MIN_SEEN = 0.5
"""Part of the surface on which a cortex must be seen."""
MOST_POINTS = 3000
"""Of the surface, evenly taken, at which a profile is read."""
ERROR_VOXELS = 0.1
"""Standard deviation of a mean thickness that half maxima leave, in voxels (benchmarks/measures.py)."""
LOCAL_ERROR_VOXELS = 0.25
"""Likewise of a percentile, since the thickness at each point has its own error, and of what is thin."""
THIN_VOXELS = 3.0
"""Below, half maxima make a cortex too thick: a scanner blurs both of its borders into one peak."""


@dataclass(frozen=True, eq=False)
class _Depths:
    """Voxels of a body, the shallowest first: `depth` mm below the surface, and the sum of `hu` up to each."""

    depth: Floats
    total: Floats


def _depths(body: Body) -> _Depths:
    image = _image(body)
    edges = body.geometry.spacing_mm
    inside = ndimage.binary_fill_holes(body.mask)
    depth = ndimage.distance_transform_edt(np.pad(inside, 1), edges)[1:-1, 1:-1, 1:-1][body.mask] - min(edges) / 2
    order = np.argsort(depth)
    return _Depths(depth[order], np.concatenate([[0.0], np.cumsum(image[body.mask][order], dtype=np.float64)]))


def _image(body: Body) -> npt.NDArray[np.generic]:
    if body.image is None:
        raise NotMeasuredError("the scan is not there (--dataset)")
    return body.image


def mean_hu(low: float, high: float) -> Callable[[Body], Reading]:
    """The reading of the mean between two depths, in Hounsfield units."""

    def read(body: Body) -> Reading:
        found = body.find_shared(_depths)
        first, last = np.searchsorted(found.depth + body.offset_mm, (low, high))
        if last - first < MIN_VOXELS:
            raise NotMeasuredError(f"{body.name} has fewer than {MIN_VOXELS} voxels at that depth")
        return Reading.of((found.total[last] - found.total[first]) / (last - first), flags=_metal(body))

    return read


def _metal(body: Body) -> tuple[str, ...]:
    part = body.find_shared(_metal_part)
    return (f"metal in {part:.1%} of {body.name}",) if part else ()


def _metal_part(body: Body) -> float:
    return float(np.mean(_image(body)[body.mask].astype(np.float64) > METAL_HU))


def cortical_map(body: Body) -> tuple[Floats, Floats]:
    """Thickness of the cortex, mm, and its weight, at points of the surface; NaN where none is seen.

    Along the normal, from half way up to the peak to half way down to what lies inside it: the full width at half
    maximum.
    """
    image = _image(body)
    surface = body.surface
    every = max(1, len(surface.points) // MOST_POINTS)
    points, normals, weights = surface.points[::every], surface.normals[::every], surface.weights[::every]
    depths = np.arange(PROFILE_MM[0], PROFILE_MM[1] + STEP_MM / 2, STEP_MM)
    places = points[:, None] - depths[None, :, None] * normals[:, None]
    index = to_index(places.reshape(-1, 3), body.geometry)
    profiles = ndimage.map_coordinates(image, index.T, output=np.float32, order=1, mode="nearest")
    profiles = profiles.reshape(len(points), len(depths)).astype(np.float64)
    outside = profiles[:, depths <= OUTSIDE_MM].min(axis=1)
    peak_at = np.where((depths > OUTSIDE_MM) & (depths <= PEAK_MM), profiles, -np.inf).argmax(axis=1)
    rows = np.arange(len(points))
    peak = profiles[rows, peak_at]
    number = np.arange(len(depths))
    behind = number[None] >= peak_at[:, None]
    inside = np.where(behind, profiles, np.inf).min(axis=1)
    rising = _crossing(profiles, (outside + peak) / 2, peak_at, -1)
    falling = _crossing(profiles, (inside + peak) / 2, peak_at, 1)
    seen = (peak - outside > MIN_CONTRAST_HU) & (peak - inside > MIN_CONTRAST_HU)
    thickness = np.where(seen, (falling - rising) * STEP_MM, np.nan)
    return thickness, weights


def _crossing(profiles: Floats, levels: Floats, start: npt.NDArray[np.int64], way: int) -> Floats:
    """`[n]` where each profile first falls below its level, from `start` on; between samples. NaN: nowhere."""
    count = profiles.shape[1]
    number = np.arange(count)
    after = number[None] >= start[:, None] if way > 0 else number[None] <= start[:, None]
    below = (profiles < levels[:, None]) & after
    found = below.any(axis=1)
    at = below.argmax(axis=1) if way > 0 else count - 1 - below[:, ::-1].argmax(axis=1)
    rows = np.arange(len(profiles))
    before = np.clip(at - way, 0, count - 1)
    high, low = profiles[rows, before], profiles[rows, at]
    part = (high - levels) / np.where(high > low, high - low, 1)
    return np.where(found, before + way * part, np.nan)


def thickness(statistic: Callable[[Floats, Floats], float], error_voxels: float) -> Callable[[Body], Reading]:
    """The reading of a statistic of thicknesses and their weights, mm."""

    def read(body: Body) -> Reading:
        values, weights = body.find_shared(cortical_map)
        seen = np.isfinite(values)
        if weights[seen].sum() < MIN_SEEN * weights.sum():
            raise NotMeasuredError(f"a cortex is seen on {weights[seen].sum() / weights.sum():.0%} of {body.name} only")
        value = statistic(values[seen], weights[seen])
        voxel = float(np.exp(np.log(body.geometry.spacing_mm).mean()))
        thin = value < THIN_VOXELS * voxel
        why = f"thinner than {THIN_VOXELS:g} voxels of {voxel:.2g} mm: half maxima make it too thick"
        return Reading.of(
            value,
            flags=(*_metal(body), *([why] if thin else [])),
            sd=max(error_voxels, LOCAL_ERROR_VOXELS if thin else 0) * voxel,
        )

    return read


def _mean(values: Floats, weights: Floats) -> float:
    return float(np.average(values, weights=weights))


def _percentile(part: float) -> Callable[[Floats, Floats], float]:
    def statistic(values: Floats, weights: Floats) -> float:
        order = np.argsort(values)
        below = np.cumsum(weights[order]) - weights[order] / 2
        return float(np.interp(part, below / weights.sum(), values[order]))

    return statistic


CT = frozenset({"volume", "ct"})
MEASURES = (
    *(
        Measure(
            name,
            "density",
            "hu",
            what,
            f"mean of the voxels of the structure {where}; the depth is the distance to the nearest voxel outside, "
            f"less half a voxel",
            "volumetric density in Hounsfield units; no calibration: scanners and voltages differ",
            "nothing",
            each_bone,
            mean_hu(*depths),
            needs=CT,
            whole=False,
            positive=False,
        )
        for name, what, where, depths in (
            ("cortex", "in the cortex", f"from {CORTEX_MM[0]:g} to {CORTEX_MM[1]:g} mm below its surface", CORTEX_MM),
            ("core", "in the trabecular core", f"deeper than {CORE_MM:g} mm", (CORE_MM, np.inf)),
        )
    ),
    *(
        Measure(
            f"cortical_thickness_{name}",
            "density",
            "mm",
            f"thickness of the cortex, {what}",
            f"{what} over the surface, weighted by area, of the full width at half maximum of the profile along the "
            f"normal: from half way between outside and peak to half way between peak and the lowest value behind it "
            f"(within 10 mm)",
            "half maximum: Prevrhal et al., Phys Med Biol 44, 1999; where it fails: Treece et al., Med Image Anal "
            "14, 2010",
            "a map on the surface",
            each_bone,
            thickness(statistic, error),
            needs=CT,
            whole=False,
        )
        for name, what, statistic, error in (
            ("mean", "mean", _mean, ERROR_VOXELS),
            ("p5", "5th percentile", _percentile(0.05), LOCAL_ERROR_VOXELS),
            ("p95", "95th percentile", _percentile(0.95), LOCAL_ERROR_VOXELS),
        )
    ),
)
