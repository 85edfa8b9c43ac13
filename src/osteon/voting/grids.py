"""The grid that the members of a case must share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation
from osteon.dataset.checks import align_segmentation, grid_mismatch, reorient_array
from osteon.dataset.dataset import Dataset

HINT = "predict with every member on the very same scan"

Number = TypeVar("Number", bound=np.generic)


@dataclass
class CaseGrid:
    """The grid of one case: the dataset's image has it, or else the first member that can be read.

    Attributes:
        case: Its id.
        geometry: The grid; None until it is known.
        source: Whose it is, for messages.
    """

    case: str
    geometry: Geometry | None = None
    source: str = field(default="")

    @classmethod
    def of(cls, case: str, dataset: Dataset | None) -> CaseGrid:
        """The dataset's, where it has the case. Raises FileError where its image cannot be read."""
        for entry in dataset.manifest.cases if dataset is not None else ():
            if dataset is not None and entry.id == case:
                return cls(case, dataset.geometry(entry), str(dataset.resolve(entry.images[0])))
        return cls(case)

    def settle(self, geometry: Geometry, path: Path) -> Geometry:
        """The grid; that of this member where it was not known."""
        if self.geometry is None:
            self.geometry, self.source = geometry, str(path)
        return self.geometry

    def align(self, segmentation: Segmentation, path: Path) -> Segmentation:
        """A member's labels on the grid; only turned. Raises GeometryError that shows both grids."""
        grid = self.settle(segmentation.geometry, path)
        name = f"case {self.case}: {path}"
        return align_segmentation(segmentation, grid, name=name, image_name=self.source, hint=HINT)

    def check(self, geometry: Geometry, path: Path) -> Geometry:
        """The grid, which that of a member must be but for a turn. Raises GeometryError as `align`."""
        grid = self.settle(geometry, path)
        empty = np.broadcast_to(np.uint8(0), geometry.shape)
        if reorient_array(empty, geometry, grid) is None:
            raise grid_mismatch(grid, geometry, name=f"case {self.case}: {path}", image_name=self.source, hint=HINT)
        return grid


def reorient_labels(array: npt.NDArray[np.uint8], source: Geometry, target: Geometry) -> npt.NDArray[np.uint8]:
    """An array `[i, j, k]` on the axes of a grid that `CaseGrid.check` has taken."""
    found = reorient_array(array, source, target)
    if found is None:
        raise ValueError("the grids differ by more than a turn")
    return found.astype(np.uint8, copy=False)
