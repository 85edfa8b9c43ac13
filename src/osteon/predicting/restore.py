"""From probabilities on the plan's grid to a segmentation on the scan's own grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation
from osteon.planning.plan import Plan
from osteon.predicting.zoom import Detail
from osteon.preparing.case import passage
from osteon.preparing.resample import resample

Keep = Callable[[npt.NDArray[np.float32]], None]
"""Takes each output on the scan's grid `[i, j, k]`, one after the other."""


def restore(
    shares: torch.Tensor, geometry: Geometry, plan: Plan, details: Sequence[Detail] = (), keep: Keep | None = None
) -> Segmentation:
    """Interpolate each output linearly onto the scan's grid and decide there, one output at a time.

    Only two arrays of the scan's size are held (best share, its label), never one for each structure.

    Args:
        shares: `[output, i, j, k]` probabilities on the plan's grid.
        geometry: The scan's own grid.
        plan: Structures and grid.
        details: Closer looks at parts of the scan, blended in one after the other.
        keep: Is given each output before it is decided on.

    Returns:
        An index map, or multi-hot where structures overlap (share above a half), in the scan's orientation.
    """
    way = passage(geometry, plan.grid)
    shape = way.turned.shape

    def restored(output: int) -> torch.Tensor:
        whole = resample(shares[output], shape)
        if details and whole.data_ptr() == shares[output].data_ptr():
            whole = whole.clone()
        for detail in details:
            detail.blend(whole, output)
        if keep is not None:
            keep(way.turn.undo(whole.numpy()))  # type: ignore[arg-type]
        return whole

    structures = tuple(plan.structures)
    if plan.overlapping:
        masks = np.zeros((len(structures), *shape), dtype=np.uint8)
        for number in range(len(structures)):
            masks[number] = (restored(number) > 0.5).numpy()
        return Segmentation(np.ascontiguousarray(way.turn.undo(masks)), geometry, structures)
    best = restored(0)
    kind = np.uint8 if max(s.value for s in structures) < 256 else np.uint16
    labels: npt.NDArray[np.integer] = np.zeros(shape, dtype=kind)
    for output, structure in enumerate(structures, 1):
        share = restored(output)
        better = share > best
        labels[better.numpy()] = structure.value
        best = torch.maximum(best, share)
    return Segmentation(np.ascontiguousarray(way.turn.undo(labels)), geometry, structures)
