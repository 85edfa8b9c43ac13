"""Wavefront OBJ surfaces, written: several named objects in one text file, and their colours in a second (MTL).

Reference: the appendix of Wavefront's Advanced Visualizer manual (http://paulbourke.net/dataformats/obj/ and /mtl/).
Corners are numbered from 1 throughout the file. The comment `SPACE=LPS` is the one that 3D Slicer writes and reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from osteon.core.files import atomic_write, write_text
from osteon.formats.stl import Mesh


def write_obj(path: Path, meshes: Mapping[str, Mesh], *, materials: str, space: str) -> None:
    """Write surfaces as objects of one file; coordinates are rounded to 0.1 µm.

    Args:
        path: The file.
        meshes: Object → its surface, in millimetres. Blanks in names become `_`.
        materials: Name of the MTL file beside it, which has a material of each object's name.
        space: The coordinates' world, for the comment: LPS or RAS.

    Raises:
        FileError: The file cannot be written.
    """
    first = 1
    with atomic_write(Path(path)) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(f"# osteon\n# SPACE={space}\n# UNIT=mm\nmtllib {_word(materials)}\n")
        for name, mesh in meshes.items():
            stream.write(f"o {_word(name)}\nusemtl {_word(name)}\n")
            stream.write(("v %.4f %.4f %.4f\n" * len(mesh.vertices)) % tuple(mesh.vertices.ravel().tolist()))
            stream.write(("f %d %d %d\n" * len(mesh.faces)) % tuple((mesh.faces + first).ravel().tolist()))
            first += len(mesh.vertices)


def write_materials(path: Path, colours: Mapping[str, str]) -> None:
    """Write an MTL file: a material `#rrggbb` for each name. Raises FileError."""
    lines = ["# osteon"]
    for name, colour in colours.items():
        red, green, blue = (channel / 255 for channel in bytes.fromhex(colour.removeprefix("#")))
        lines += [f"newmtl {_word(name)}", f"Kd {red:.6f} {green:.6f} {blue:.6f}", "d 1", "illum 1"]
    write_text(Path(path), "\n".join(lines) + "\n")


def _word(name: str) -> str:
    return re.sub(r"\s+", "_", name)
