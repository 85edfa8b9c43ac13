"""Intensities: a channel is clipped and scaled as the plan's section `intensities` says."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.plan.schema import Intensity

CHUNK_VOXELS = 1 << 18
"""Voxels that are held in float64 at a time."""
MIN_STD = 1e-8
"""No image is divided by less: one that is the same everywhere becomes 0."""


def resolve_intensity(channel: npt.NDArray[np.floating], intensity: Intensity) -> Intensity:
    """The section with numbers everywhere: mean and std are those of this `[i, j, k]` where it has none."""
    mean, std = _centre_and_scale(channel, intensity)
    return intensity.model_copy(update={"mean": mean, "std": max(std, MIN_STD)})


def normalise_channels(image: npt.NDArray[np.float32], intensities: Sequence[Intensity]) -> npt.NDArray[np.float32]:
    """Each channel of `[channel, i, j, k]` as its section says, in place: a second image would be a second memory."""
    for channel, intensity in zip(image, intensities, strict=True):
        normalise(channel, intensity, out=channel)
    return image


def normalise(
    channel: npt.NDArray[np.floating], intensity: Intensity, *, out: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float32]:
    """Clip and scale one channel `[i, j, k]` as its section says, into `out` where it is given."""
    mean, std = _centre_and_scale(channel, intensity)
    result = np.empty(channel.shape, dtype=np.float32) if out is None else out
    for chunk, target in zip(_chunks(channel), _chunks(result), strict=True):
        values = (chunk if intensity.clip is None else chunk.clip(*intensity.clip)) - mean
        values /= max(std, MIN_STD)
        target[...] = values
    return result


def _centre_and_scale(channel: npt.NDArray[np.floating], intensity: Intensity) -> tuple[float, float]:
    """What is subtracted from a clipped channel, and its divisor: the section's mean and std, or else its own."""
    if intensity.mean is not None and intensity.std is not None:
        return intensity.mean, intensity.std

    def clipped() -> Iterator[npt.NDArray[np.floating]]:
        return (chunk if intensity.clip is None else chunk.clip(*intensity.clip) for chunk in _chunks(channel))

    if intensity.by == "range":
        low, high = (float(end([end(chunk) for chunk in clipped()])) for end in (np.min, np.max))
        return low, high - low
    mean = math.fsum(float(chunk.sum(dtype=np.float64)) for chunk in clipped()) / channel.size
    # No np.dot: the threads that it wakes wait on the processor, in the network's way.
    deviations = (chunk.astype(np.float64) - mean for chunk in clipped())
    return mean, math.sqrt(math.fsum(float(np.square(d, out=d).sum()) for d in deviations) / channel.size)


def _chunks(values: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """The values, some planes along the first axis at a time: what is made of all at once takes memory as often."""
    step = max(1, CHUNK_VOXELS * len(values) // max(1, values.size))
    return (values[first : first + step] for first in range(0, len(values), step))
