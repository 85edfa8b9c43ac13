"""Padding of CT: what stands outside the round field of view, and is no measurement, becomes air.

PixelPaddingValue and PixelPaddingRangeLimit are stored values, before any rescaling (PS3.3 C.7.5.1.1.2). Many files
declare nothing, or the value with the other sign: -2000 stored as 63536 is 62512 HU after an intercept of -1024.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

AIR_HU = -1000
LOWEST_HU, HIGHEST_HU = -1024, 3071
"""What 12 bits hold after the usual intercept. A declared padding between them may be a value of the body too."""
_NEAR_AIR_HU = -900
"""Padding below this, down to `LOWEST_HU`, is air already."""
_FAR_HU = 200
"""Below `LOWEST_HU` by this, no noise of air. Lossy compression blurs padding, so that corners are not equal."""
_SHARE = 0.01
"""Part of a slice that padding has at least where nothing declares it."""
_KEYWORDS = ("PixelPadding", "FloatPixelPadding", "DoubleFloatPixelPadding")


def pad_with_air(
    values: npt.NDArray[Any], stored: npt.NDArray[Any], dataset: Dataset, lowest: float
) -> tuple[npt.NDArray[Any], list[str]]:
    """A CT slice whose padding is air, and what was done; the slice itself where it has none.

    Padding is what the header declares, or else one value that at least two corners have, where it lies beyond
    `LOWEST_HU` and `HIGHEST_HU`; or else, where two corners lie far below `LOWEST_HU`, whatever lies
    nearer to them than to it.

    Args:
        values: `[row, column]` HU.
        stored: The same pixels as they are stored.
        dataset: The file.
        lowest: The least HU that this file can store: numbers without an intercept have no -1000.
    """
    beyond = (values < LOWEST_HU) | (values > HIGHEST_HU)
    declared = _declared(stored, dataset)
    notes = []
    kept = values[declared & ~beyond]
    if len(kept) and kept.max() > _NEAR_AIR_HU:
        notes.append(f"declared padding ({_padding_note(kept)}) may be a value of the body too, and was kept")
    padding, undeclared = declared & beyond, ""
    if not padding.any():
        padding, undeclared = _at_corners(values, beyond), ", though the header does not declare it"
    if not padding.any():
        return values, notes
    air = max(float(AIR_HU), lowest)
    notes.append(
        f"padding outside the field of view ({_padding_note(values[padding])}) was taken as air ({air:g} HU)"
        f"{undeclared}"
    )
    filled = np.where(padding, np.asarray(air).astype(values.dtype), values)
    if filled.dtype.kind == "i" and np.iinfo(np.int16).min <= filled.min() and filled.max() <= np.iinfo(np.int16).max:
        filled = filled.astype(np.int16)
    return filled, notes


def _declared(stored: npt.NDArray[Any], dataset: Dataset) -> npt.NDArray[np.bool_]:
    """The pixels that hold a declared padding value, whatever sign the header gives it."""
    ends = [
        end
        for name in _KEYWORDS
        for keyword in (f"{name}Value", f"{name}RangeLimit")
        if (end := _as_stored(dataset.get(keyword), stored.dtype)) is not None
    ]
    if not ends:
        return np.zeros(stored.shape, np.bool_)
    return np.asarray((stored >= min(ends)) & (stored <= max(ends)))


def _as_stored(value: object, kind: np.dtype[Any]) -> float | None:
    """A declared value as the pixels have it. US and SS are mixed up often: both mean the same bits."""
    if isinstance(value, bytes):
        value = int.from_bytes(value, "little") if value else None
    if value is None or not isinstance(value, int | float):
        return None
    if kind.kind == "f":
        return float(value)
    bits = 8 * kind.itemsize
    whole = int(value) % (1 << bits)
    return whole - (1 << bits) if kind.kind == "i" and whole >= 1 << (bits - 1) else whole


def _at_corners(values: npt.NDArray[Any], beyond: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The pixels with the one value, beyond what CT measures, that two corners or more have; blurred ones too."""
    ends = (values.min(), values.max())
    corners = [values[i, j] for i in (0, -1) for j in (0, -1) if beyond[i, j] and values[i, j] in ends]
    for value in corners:
        same = values == value
        if corners.count(value) > 1 and np.count_nonzero(same) >= _SHARE * values.size:
            return np.asarray(same)
    low = [float(v) for i in (0, -1) for j in (0, -1) if (v := values[i, j]) < LOWEST_HU - _FAR_HU]
    if len(low) > 1:
        return np.asarray(values < (max(low) + LOWEST_HU) / 2)
    return np.zeros(values.shape, np.bool_)


def _padding_note(values: npt.NDArray[Any]) -> str:
    """The same words for all slices of a series."""
    low, high = values.min(), values.max()
    return f"{low:g} HU" if low == high else "several values"
