"""What meshes say of their own coordinates: 3D Slicer and osteon write the world into a header, osteon the unit too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast

from osteon.core.errors import OsteonError
from osteon.formats.stl import TO_RAS, MeshSpace, read_stl_frame
from osteon.importing.meshes.frames import MM, MeshFrame, Points, candidate_frames
from osteon.importing.options import ImportOptions, MeshUnit


@dataclass(frozen=True)
class MeshHeader:
    """What one mesh says; None where nothing."""

    unit: MeshUnit | None = None
    space: MeshSpace | None = None

    def to_frame(self, points: Points, frame: MeshFrame) -> Points:
        """Coordinates `[…, 3]` as `frame` expects them, of a mesh that may say another unit or world than others."""
        factors = TO_RAS[self.space or frame.space] * TO_RAS[frame.space]
        return points * (factors * MM[self.unit or frame.unit] / MM[frame.unit])


def read_mesh_headers(source: Path, meshes: Iterable[PurePosixPath]) -> dict[PurePosixPath, MeshHeader]:
    """What the headers of meshes say. A file that cannot be read says nothing here, and fails its case later."""
    found = {}
    for place in meshes:
        try:
            unit, space = read_stl_frame(source / place)
        except OsteonError:
            unit = space = None
        found[place] = MeshHeader(cast("MeshUnit | None", unit), cast("MeshSpace | None", space))
    return found


def find_overridden(headers: Mapping[PurePosixPath, MeshHeader], options: ImportOptions) -> list[str]:
    """Headers that the user's options contradict, for people: the options win."""
    lines = []
    for what, given in (("unit", options.mesh_unit), ("space", options.mesh_space)):
        against = {
            place: getattr(one, what) for place, one in headers.items() if getattr(one, what) not in (None, given)
        }
        if given is not None and against:
            place, other = next(iter(against.items()))
            count = f"{len(against)} mesh{'es' * (len(against) > 1)}"
            lines.append(f"{place}: its header says {what.upper()}={other}; read as {given}, as told ({count} like it)")
    return lines


def open_frames(headers: Iterable[MeshHeader], options: ImportOptions) -> list[MeshFrame]:
    """The frames that the user's options and the headers of some meshes leave open.

    Where each mesh says its unit (or world), any will do: `MeshHeader.to_frame` brings the others to it.
    """
    units, spaces = zip(*[(one.unit, one.space) for one in headers], strict=True)
    unit = options.mesh_unit or (units[0] if None not in units else None)
    space = options.mesh_space or (spaces[0] if None not in spaces else None)
    return candidate_frames(unit, space)


def drop_overridden(header: MeshHeader, options: ImportOptions) -> MeshHeader:
    """What a header says that no option says otherwise. One that says a world alone means millimetres: 3D Slicer's."""
    unit = header.unit or ("mm" if header.space else None)
    return MeshHeader(None if options.mesh_unit else unit, None if options.mesh_space else header.space)
