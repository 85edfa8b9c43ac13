"""From a stream of voxels, the first axis fastest, to an array whose last axis is fastest, and back: a piece at a time.

A file's bytes and the array that is made of them are never held together: of a scan's size there is the array alone,
and that as float32 where an image is asked for `single`, whatever the file keeps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

PIECE_BYTES = 16 << 20
"""Of a file that are unpacked at a time: planes enough to fill the lines of the processor's cache."""
ReadBytes = Callable[[int], bytes]
"""Gives so many bytes, no fewer."""
Values = npt.NDArray[Any]


def array_type(stored: np.dtype[Any], *, single: bool = False) -> np.dtype[Any]:
    """The native type that arrays have: bool is uint8, float16 float32, long double float64.

    Args:
        stored: The file's.
        single: Whether types of eight bytes and more become float32, as networks take it.
    """
    if stored.kind == "b":
        return np.dtype(np.uint8)
    if (single and stored.itemsize >= 8) or (stored.kind == "f" and stored.itemsize < 4):
        return np.dtype(np.float32)
    return np.dtype(np.float64) if stored.kind == "f" and stored.itemsize > 8 else stored.newbyteorder("=")


def fill_array(
    array: Values, read: ReadBytes, stored: np.dtype[Any], change: Callable[[Values], Values] = lambda values: values
) -> None:
    """Fill an array of zeros with what a stream gives.

    Args:
        array: With the file's axes, the fastest first: a view of one in any order.
        read: The stream.
        stored: Type of its voxels, with their byte order.
        change: What is done to values before they are kept.
    """
    for part in _parts(array, stored.itemsize):
        values = np.frombuffer(read(part.size * stored.itemsize), stored).reshape(part.shape, order="F")
        copy_into(change(values), part)


def voxel_pieces(array: Values) -> Iterator[Values]:
    """An array's voxels, the first axis fastest, in contiguous pieces: the inverse of `fill_array`.

    Voxel by voxel along the first axis of an array whose last is fastest, each would come with a line of the cache
    that is gone when its next voxel is due.
    """
    for part in _parts(array, array.itemsize):
        piece = np.zeros(part.shape[::-1], array.dtype)
        copy_into(part, piece.T)
        yield piece


def _parts(array: Values, size: int) -> Iterator[Values]:
    """Views of an array, along its last axes, that take `PIECE_BYTES` at most where a voxel takes `size`."""
    *inner, last = array.shape
    plane = math.prod(inner) * size
    if plane > PIECE_BYTES and inner:
        for number in range(last):
            yield from _parts(array[..., number], size)
        return
    step = max(1, PIECE_BYTES // max(1, plane))
    for first in range(0, last, step):
        yield array[..., first : first + step]


def copy_into(values: Values, part: Values) -> None:
    """Copy values into a part of an array of zeros, plane by plane of the axis before the last.

    A plane of both fits into the processor's cache, and all of them do not. Rows that lie apart in memory are brought
    together before they are turned: twice as quick with 512 voxels, as lines of the cache then do not drive out one
    another. Label maps are 0 for the most part, and memory that stays 0 is not touched. (Of floats -0 and NaN must
    stay.)
    """
    planes = zip(_planes(values), _planes(part), strict=True) if part.ndim > 2 else [(values, part)]
    with np.errstate(over="ignore", invalid="ignore"):  # infinite then, and found where images are checked
        for own, there in planes:
            if values.dtype.kind == "f" or own.any():
                there[...] = own.copy() if own.strides[-1] == own.itemsize else own


def _planes(array: Values) -> Values:
    return np.moveaxis(array, -2, 0)
