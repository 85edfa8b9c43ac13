"""The reduction that is suggested for each piece of a broken bone, as files.

OUT/reductions/<case>/<bone>.json                 4×4 matrices, RAS mm: from where each piece lies to where it belongs
OUT/reductions/<case>/<piece>.stl                 each piece where it lies
OUT/reductions/<case>/<piece>_reduced.stl         and where it belongs
OUT/reductions/<case>/<bone>_intact.stl           the intact bone laid upon the largest piece, where it has a surface
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from osteon.core.file_names import free_name, name_key
from osteon.core.files import write_json
from osteon.dataset.case_ids import safe_id
from osteon.formats.stl import TO_RAS, Mesh, MeshSpace, write_stl
from osteon.measuring.body import Body
from osteon.measuring.broken_bones import BrokenBone, broken_bones
from osteon.measuring.figure import NotMeasuredError
from osteon.measuring.placement import Laid, Placement, placed
from osteon.measuring.registration_pairs import Floats, apply
from osteon.measuring.scene import Scene

FOLDER = "reductions"
SPACE: MeshSpace = "LPS"
"""World of the surfaces, as `osteon export` writes them; the file says it."""
DIGITS = 6


def write_reductions(folder: Path, scene: Scene) -> list[Path]:
    """Write what is suggested for each broken bone of a scene below a folder; nothing where none is broken.

    Raises:
        FileError, DiskFullError: A file cannot be written.
    """
    written: list[Path] = []
    taken: set[str] = set()
    for bone in scene.find(broken_bones):
        if len(bone.pieces) > 1 and not scene.picture:
            written += _write_bone(folder / FOLDER / safe_id(scene.case), bone, taken)
    return written


def _write_bone(folder: Path, bone: BrokenBone, taken: set[str]) -> list[Path]:
    name = _free(bone.name, taken)
    rows, written = [], []
    laid: Laid | None = None
    why = bone.why
    if bone.intact is not None:
        try:
            laid = bone.pieces[0].find(Placement(bone.intact))
        except NotMeasuredError as error:
            why = str(error)
    for piece in bone.measured:
        stem = _free(piece.name, taken)
        row: dict[str, Any] = {"piece": piece.name, "in_place": f"{stem}.stl"}
        written.append(_write(folder / f"{stem}.stl", piece))
        try:
            if laid is None or bone.intact is None:
                raise NotMeasuredError(why)
            found = placed(piece, bone.pieces[0], bone.intact)
        except NotMeasuredError as error:
            rows.append(row | {"not_placed": str(error)})
            continue
        written.append(_write(folder / f"{stem}_reduced.stl", piece, found.reduction))
        rows.append(
            row
            | {
                "reduced": f"{stem}_reduced.stl",
                "matrix": _numbers(found.reduction),
                "displacement_mm": float(np.linalg.norm(found.displacement)),
                "rotation_deg": float(np.linalg.norm(found.rotation)),
                "distance_to_intact_mm": found.fit.rms,
                "flagged": list(found.flags),
            }
        )
    data = {
        "bone": bone.name,
        "matrices": "4×4, column vectors, RAS mm: from where a piece lies to where it belongs",
        "surfaces": f"{SPACE} mm",
        "stays": bone.pieces[0].name,
        "compared_with": bone.intact.name if bone.intact else None,
        "pieces": rows,
    }
    if laid is not None and bone.intact is not None and len(bone.intact.surface.cells):
        written.append(_write(folder / f"{name}_intact.stl", bone.intact, laid.matrix))
        data["intact"] = f"{name}_intact.stl"
    write_json(folder / f"{name}.json", data)
    return [*written, folder / f"{name}.json"]


def _write(path: Path, body: Body, matrix: Floats | None = None) -> Path:
    points = body.surface.points if matrix is None else apply(matrix, body.surface.points)
    cells = body.surface.cells.astype(np.int32)
    write_stl(path, Mesh(points * TO_RAS[SPACE], cells, body.structure.colour), space=SPACE)
    return path


def _numbers(matrix: Floats) -> list[list[float]]:
    return [[round(float(x), DIGITS) for x in row] for row in matrix]


def _free(name: str, taken: set[str]) -> str:
    stem = free_name(safe_id(name), taken)
    taken.update(name_key(stem + ending) for ending in ("", "_reduced", "_intact"))
    return stem
