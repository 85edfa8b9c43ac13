"""What the voxels of a file say: scan or mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from osteon.core.errors import OsteonError
from osteon.formats.io import read_volume
from osteon.formats.nifti import stored_values

MANY = 3
MOST_LABELS = 40
"""Values of a label map at most: a spine has 26, a hand 29; pictures of 8 bits have more."""


def count_values(path: Path) -> int | None:
    """How many values the file holds: 1, 2 where these are 0 and another, `MANY` for all else, also NaN.

    A NIfTI file is read up to its third value, which in a scan comes early. None where it cannot be read as an image.
    """
    try:
        if path.name.lower().endswith((".nii", ".nii.gz")):
            lowest = highest = None
            for piece in stored_values(path):
                lowest = piece.min() if lowest is None else min(lowest, piece.min())
                highest = piece.max() if highest is None else max(highest, piece.max())
                if not ((piece == lowest) | (piece == highest)).all():
                    return MANY
        array = read_volume(path).array
    except (OsteonError, TypeError):  # colours have no order
        return None
    lowest, highest = array.min(), array.max()
    if lowest == highest:
        return 1
    return 2 if all(((plane == 0) | (plane == highest)).all() for channel in array for plane in channel) else MANY


def is_label_map(path: Path) -> bool:
    """Whether the file holds few values, all of them whole: a label map, whatever it is called, and no scan.

    A file is read up to the value that is one too many, which in a scan comes early.
    """
    values = np.zeros(0)
    try:
        pieces = stored_values(path) if path.name.lower().endswith((".nii", ".nii.gz")) else [read_volume(path).array]
        for piece in pieces:
            values = np.union1d(values, piece)
            if len(values) > MOST_LABELS or not (values == np.round(values)).all():
                return False
    except (OsteonError, TypeError):  # colours have no order
        return False
    return True


def is_binary(path: Path) -> bool:
    """Whether the file holds one value beside 0, or cannot be read as an image."""
    return count_values(path) != MANY
