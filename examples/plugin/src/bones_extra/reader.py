"""Raw voxels behind a line of text: sizes along i, j, k, spacings in mm, then 16-bit integers, i fastest.

    64 64 32 1.0 1.0 2.5

The axes point to the right, to the front and upwards, from the first voxel's centre in the origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from osteon.core.errors import FileError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.core.volume import Volume
from osteon.formats.labelmap import read_index_map
from osteon.formats.registry import Format

LONGEST = 200
"""Bytes of the line; more is no such file."""
VOXEL = np.dtype("<i2")


def _read_header(path: Path) -> tuple[Geometry, int]:
    """The grid, and where the voxels begin. The file is of unknown origin: what it claims must be what it holds."""
    with path.open("rb") as stream:
        line = stream.readline(LONGEST)
    try:
        words = line.decode("ascii").split()
        sizes, spacings = [int(word) for word in words[:3]], [float(word) for word in words[3:]]
        if len(sizes) != 3 or len(spacings) != 3 or min(sizes) < 1 or min(spacings) <= 0:
            raise ValueError("six numbers above 0 are expected")
        geometry = Geometry((sizes[0], sizes[1], sizes[2]), np.diag([*spacings, 1.0]))
    except ValueError as error:
        raise FileError(
            f"{path}: its first line is damaged ({error})", hint="copy the file again from its source"
        ) from None
    claimed, there = sizes[0] * sizes[1] * sizes[2] * VOXEL.itemsize, path.stat().st_size - len(line)
    if claimed != there:
        raise FileError(
            f"{path}: {there} bytes of voxels, its first line says {claimed}",
            hint="copy the file again from its source",
        )
    return geometry, len(line)


def read_geometry(path: Path) -> Geometry:
    """The grid alone. Raises FileError."""
    return _read_header(path)[0]


def read_volume(path: Path, *, single: bool = False) -> Volume:  # noqa: ARG001 (no type of eight bytes is read)
    """The image, `[1, i, j, k]` int16. Raises FileError."""
    geometry, begin = _read_header(path)
    voxels = np.fromfile(path, VOXEL, offset=begin).reshape(geometry.shape, order="F")
    return Volume(voxels[None], geometry)


def read_segmentation(path: Path, structures: Sequence[Structure] | None) -> Segmentation:
    """Labels whose numbers have no names of their own. Raises FileError, LabelError."""
    return read_index_map(read_volume(path), (), structures, path)


VOX = Format("vox", (".vox",), read_volume, read_geometry, read_segmentation)
