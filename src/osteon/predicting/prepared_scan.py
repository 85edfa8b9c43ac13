"""A scan on the plan's grid, as a network takes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.core.boxes import Box
from osteon.core.errors import DatasetError, GeometryError
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.dataset.checks import check_image
from osteon.plan.schema import Intensity, Plan
from osteon.preparing.strategies import grid_strategy


@dataclass(frozen=True)
class PreparedScan:
    """A scan that a network can take.

    Attributes:
        image: `[channel, i, j, k]` float32 on the plan's grid, normalised.
        intensities: With which numbers; see `GridStrategy.prepare`.
        geometry: The scan's own grid, or that of the part of it which was prepared.
        scan: The scan itself, where the plan has zoom structures.
        part: The whole scan's grid, and the box of it that was prepared; None: all of it.
        first: The scan as the first model of a cascade needs it.
    """

    image: npt.NDArray[np.float32]
    intensities: list[Intensity]
    geometry: Geometry
    scan: Volume | None
    part: tuple[Geometry, Box] | None = None
    first: PreparedScan | None = None

    @property
    def whole(self) -> Geometry:
        """The whole scan's own grid."""
        return self.geometry if self.part is None else self.part[0]


def check_scan(volume: Volume, plan: Plan, name: str) -> None:
    """Raise where a volume cannot be prepared: its channels, its unit, or its voxels.

    Raises:
        ImageError: It holds NaN or Inf, or nothing.
        DatasetError: The number of channels is not the plan's.
        GeometryError: It is in pixels and the plan in millimetres, or the other way round.
    """
    if len(volume.array) != len(plan.channels):
        names = ", ".join(channel.name for channel in plan.channels)
        raise DatasetError(
            f"{name}: has {len(volume.array)} channels; the model needs {len(plan.channels)} ({names})",
            hint="give one file that holds all channels, or a dataset whose dataset.yaml lists them",
        )
    if volume.geometry.unit != plan.unit:
        raise GeometryError(
            f"{name}: its voxels are measured in {volume.geometry.unit}, the model's in {plan.unit}",
            hint="give a file whose header has the pixel spacing, or one without, as the training's had",
        )
    check_image(volume, name)


def prepare_scan(volume: Volume, plan: Plan, first: PreparedScan | None = None) -> PreparedScan:
    """A scan on the plan's grid; of the scan itself only what refining needs is kept."""
    strategy = grid_strategy(plan)
    part = None
    if (box := strategy.crop_box(volume.array)) is not None:
        part = (volume.geometry, box)
        volume = volume.crop(box)
    image, intensities = strategy.prepare(volume)
    zoomed = plan.zoom is not None and plan.zoom.predict
    return PreparedScan(image, intensities, volume.geometry, volume if zoomed else None, part, first)
