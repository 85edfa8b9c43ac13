"""PLY surfaces, written: binary, little-endian, with a colour in every corner.

Reference: G. Turk, "The PLY polygon file format", 1994 (http://paulbourke.net/dataformats/ply/). Programs differ in
which world they take coordinates to be in; the comment `SPACE=LPS` is the one that 3D Slicer writes and reads.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from osteon.core.files import atomic_write
from osteon.formats.stl import Mesh

_CORNER = np.dtype([("place", "<f4", (3,)), ("colour", "u1", (3,))])
_FACE = np.dtype([("count", "u1"), ("corners", "<i4", (3,))])


def write_ply(path: Path, mesh: Mesh, *, space: str) -> None:
    """Write a surface with `mesh.colour` (white where it has none); coordinates are rounded to float32.

    Args:
        path: The file.
        mesh: In millimetres.
        space: The coordinates' world, for the comment: LPS or RAS.

    Raises:
        FileError: The file cannot be written.
    """
    corners = np.zeros(len(mesh.vertices), _CORNER)
    corners["place"] = mesh.vertices
    corners["colour"] = list(bytes.fromhex((mesh.colour or "#ffffff").removeprefix("#")))
    faces = np.zeros(len(mesh.faces), _FACE)
    faces["count"], faces["corners"] = 3, mesh.faces
    head = [
        "ply",
        "format binary_little_endian 1.0",
        "comment osteon",
        f"comment SPACE={space}",
        "comment UNIT=mm",
        f"element vertex {len(corners)}",
        *(f"property float {axis}" for axis in "xyz"),
        *(f"property uchar {colour}" for colour in ("red", "green", "blue")),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header\n",
    ]
    with atomic_write(Path(path)) as temporary, temporary.open("wb") as stream:
        stream.write("\n".join(head).encode("ascii"))
        stream.write(corners.tobytes())
        stream.write(faces.tobytes())
