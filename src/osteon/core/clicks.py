"""Points that a person sets inside and outside a structure, and the person that tests and trainings make up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.core.boxes import Box, Index3, bounding_box

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Click:
    """A point in an image. A scribble is many of them.

    Attributes:
        at: The voxel i, j, k.
        positive: It lies in the structure; else outside it.
    """

    at: Index3
    positive: bool = True


@dataclass(frozen=True, eq=False)
class ClickAnswer:
    """What a click tool found.

    Attributes:
        box: The part of the image that it looked at; elsewhere the mask stays what it was.
        mask: `[i, j, k]` of the box.
    """

    box: Box
    mask: Mask


def places_of(clicks: Sequence[Click]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The voxels `[n, 3]` of the clicks inside, and those of the clicks outside."""
    inside, outside = (
        np.array([click.at for click in clicks if click.positive is kind], np.intp).reshape(-1, 3)
        for kind in (True, False)
    )
    return inside, outside


def next_click(mask: Mask, reference: Mask) -> Click | None:
    """Where a patient annotator clicks next: deepest in the largest connected error of a mask; None where none is left.

    Args:
        mask: `[i, j, k]`, what is there.
        reference: `[i, j, k]`, what should be.
    """
    from scipy import ndimage  # slow to import: not for who only passes clicks on

    error = mask != reference
    box = bounding_box(error)
    if box is None:
        return None
    pieces, _ = ndimage.label(error[box.slices])
    largest = int(np.bincount(pieces.ravel())[1:].argmax()) + 1
    part = ndimage.find_objects(pieces)[largest - 1]
    depth = ndimage.distance_transform_edt(np.pad(pieces[part] == largest, 1))
    place = np.unravel_index(int(depth.argmax()), depth.shape)
    i, j, k = (int(p) - 1 + s.start + f for p, s, f in zip(place, part, box.first, strict=True))
    return Click((i, j, k), bool(reference[i, j, k]))
