"""A vertebra's mask along its own axes, and in it the middle and the walls of its body, and its arch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from osteon.measuring.body import Body
from osteon.measuring.figure import NotMeasuredError
from osteon.measuring.shape import across
from osteon.measuring.surface import Mask
from osteon.measuring.uncertainty import to_index

Floats = npt.NDArray[np.float64]

MOST_SAMPLES = 110
"""Along the longest side of the sampled mask."""
BALLS = 0.75
"""Part of the largest ball's radius from which on a place belongs to the middle of a body."""
ARCH = 0.12
"""Part of the voxels behind the body from which on they are an arch."""
ELONGATED = 1.15
"""Times its depth that a body alone is wide at least where its width tells which way is forwards."""
TURNED = 0.8
"""Cosine of the angle by which it may be turned against the patient."""
ANTERIOR = np.array([0.0, 1.0, 0.0])


@dataclass(frozen=True, eq=False)
class Sampled:
    """A mask along a frame: `filled[x, y, z]`, `step` apart, the first sample at `origin` in the frame."""

    filled: Mask
    origin: Floats
    step: float
    frame: Floats

    def place(self, index: npt.ArrayLike) -> Floats:
        """`[3]` in the world."""
        return np.asarray((np.asarray(index) * self.step + self.origin) @ self.frame)


def sample(body: Body, frame: Floats) -> Sampled:
    """A body's mask along a frame `[3, 3]`, gaps of a slice closed."""
    places = (body.surface.points - body.surface.points.mean(axis=0)) @ frame.T
    offset = frame @ body.surface.points.mean(axis=0)
    low, high = places.min(axis=0) + offset - 3, places.max(axis=0) + offset + 3
    step = max(float(np.exp(np.log(body.geometry.spacing_mm).mean())), float((high - low).max()) / MOST_SAMPLES)
    sides = [np.arange(a, b, step) for a, b in zip(low, high, strict=True)]
    x, y, z = (axis.ravel() for axis in np.meshgrid(*sides, indexing="ij"))
    index = to_index(np.stack([x, y, z], axis=1) @ frame, body.geometry)
    values = ndimage.map_coordinates(body.mask.astype(np.float32), index.T, order=1, mode="constant")
    filled = values.reshape([len(side) for side in sides]) > 0.5
    times = max(1, round(2 / step))  # single slices that a reader has left out are no wall
    closed = ndimage.binary_closing(np.pad(filled, times), iterations=times)
    inner = slice(times, -times)
    return Sampled(closed[inner, inner, inner], low, step, frame)


def find_middle(sampled: Sampled) -> Floats:
    """`[3]` index of the middle of the region where large balls fit; of several such the one in front."""
    if not sampled.filled.any():
        raise NotMeasuredError("it is too thin")
    radius = ndimage.distance_transform_edt(np.pad(sampled.filled, 1))[1:-1, 1:-1, 1:-1]
    labels, count = ndimage.label(radius >= BALLS * radius.max())
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    centres = np.array(ndimage.center_of_mass(labels > 0, labels, range(1, count + 1)))
    large = sizes >= 0.2 * sizes.max()
    return np.asarray(max(centres[large], key=lambda index: float(sampled.place(index) @ ANTERIOR)))


def _run(line: Mask, start: int, way: int) -> int:
    """How many samples follow `start` in a line before it ends."""
    ahead = line[start::way]
    gaps = np.flatnonzero(~ahead)
    return int(gaps[0] if len(gaps) else len(ahead)) - 1


def find_walls(sampled: Sampled, middle: Floats) -> tuple[float, float, float, float]:
    """Front, back, right and left wall, from the middle forwards and to the right: medians of lines through it."""
    x, y, z = (round(float(n)) for n in middle)
    reach = max(1, round(4 / sampled.step))
    near = range(-reach, reach + 1)
    filled = sampled.filled

    def median(axis: int, way: int) -> float:
        lengths = []
        for a in near:
            for b in near:
                at = (x + a, y, z + b) if axis == 1 else (x, y + a, z + b)
                if all(0 <= n < size for n, size in zip(at, filled.shape, strict=True)) and filled[at]:
                    line = filled[at[0], :, at[2]] if axis == 1 else filled[:, at[1], at[2]]
                    lengths.append(_run(line, at[axis], way) + 0.5 + at[axis] - (x, y, z)[axis])
        if not lengths:
            raise NotMeasuredError("its shape is not that of a vertebra")
        return float(np.median(lengths)) * sampled.step

    aside, ahead, _ = (np.array([x, y, z]) - middle) * sampled.step
    return median(1, 1) + ahead, -median(1, -1) + ahead, median(0, 1) + aside, -median(0, -1) + aside


def find_arch(sampled: Sampled, middle: Floats, back: float) -> tuple[Floats, bool]:
    """Forwards, from the centre of what lies behind a body, and whether that is an arch."""
    behind = sampled.filled.copy()
    count = np.count_nonzero(behind)
    place = (np.arange(behind.shape[1]) - middle[1]) * sampled.step
    behind[:, place > back - 2] = False
    part = np.count_nonzero(behind) / count
    before = np.count_nonzero(sampled.filled[:, place > -back + 12]) / count  # further in front than a body reaches
    if before > ARCH and before > part:
        raise NotMeasuredError("its arch lies in front of its body: front and back look exchanged")
    if part < ARCH:
        return sampled.frame[1], False
    towards = (middle - np.array(ndimage.center_of_mass(behind))) @ sampled.frame
    forwards = across(towards, sampled.frame[2])
    return (forwards, True) if forwards @ sampled.frame[1] > 0.7 else (sampled.frame[1], True)


def across_width(sampled: Sampled, middle: Floats) -> Floats:
    """Forwards, across the longer axis of a body's cross-section; unchanged where that is round, or turned too far."""
    height = round(float(middle[2]))
    reach = max(1, round(4 / sampled.step))
    level = sampled.filled[:, :, max(height - reach, 0) : height + reach + 1].any(axis=2)
    values, axes = np.linalg.eigh(np.cov(np.argwhere(level).T))
    long = axes[:, 1] * (1 if axes[0, 1] >= 0 else -1)
    if values[1] < ELONGATED**2 * values[0] or long[0] < TURNED:
        return np.asarray(sampled.frame[1])
    return np.asarray(np.array([-long[1], long[0]]) @ sampled.frame[:2])
