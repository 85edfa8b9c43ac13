"""Annotations of COCO, written: run-length codes, or polygons where these can tell the mask.

The codes are packed as pycocotools packs them (`common/maskApi.c`, rleToString). Polygons go along the edges of the
outermost pixels, as COCO's coordinates do: pycocotools and `coco_rasterisation` make the mask of them again, and
their area is the mask's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.formats.coco_rasterisation import fill_coco

Mask = npt.NDArray[np.bool_]


def make_annotation(mask: Mask, *, polygons: bool) -> dict[str, Any]:
    """`segmentation`, `area`, `bbox` and `iscrowd` of a mask.

    Args:
        mask: `[rows, columns]` with a pixel at least.
        polygons: Wanted instead of a code. A mask with a hole is a code all the same: no polygon has one.
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
    outlines = trace_outline(mask) if polygons else None
    code = {"size": list(mask.shape), "counts": pack_rle(run_lengths(mask))}
    return {
        "segmentation": code if outlines is None else outlines,
        "area": int(mask.sum()),
        "bbox": [int(value) for value in box],
        "iscrowd": 0,
    }


def run_lengths(mask: Mask) -> npt.NDArray[np.int64]:
    """Lengths of background and mask in turns, down the columns; the first is of background, and may be 0."""
    flat = np.asarray(mask).T.reshape(-1)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    ends = np.concatenate([[0] if flat[0] else [], edges, [flat.size]])
    lengths: npt.NDArray[np.int64] = np.diff(ends, prepend=0).astype(np.int64)
    return lengths


def pack_rle(lengths: npt.NDArray[np.int64]) -> str:
    """Run lengths `[n]` as text: `coco.unpack_rle` is the inverse."""
    numbers = lengths.copy()
    numbers[3:] -= lengths[1:-2]
    characters = []
    for number in numbers.tolist():
        more = True
        while more:
            bits = number & 0x1F
            number >>= 5
            more = number != (-1 if bits & 0x10 else 0)
            characters.append(chr(bits + (0x20 if more else 0) + 48))
    return "".join(characters)


def trace_outline(mask: Mask) -> list[list[int]] | None:
    """Polygons `x1, y1, x2, y2 …` along pixels' edges whose filling is the mask; None where it has a hole."""
    import cv2

    # Of each pixel four are made. OpenCV's contours go through their middles: the first of the two along an axis is at
    # the pixel's one edge, the second at the other, whichever side it is on.
    halves = mask.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    found, _ = cv2.findContours(halves, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    corners = [np.ceil(contour.reshape(-1, 2) / 2) for contour in found]
    corners = [corner[(corner != np.roll(corner, 1, axis=0)).any(axis=1)] for corner in corners]
    filled = fill_coco(corners, (mask.shape[0], mask.shape[1]))
    return [corner.astype(int).ravel().tolist() for corner in corners] if np.array_equal(filled, mask) else None
