"""What meshes say of their own coordinates: 3D Slicer and osteon write the world into a header, osteon the unit too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast

from osteon.core.errors import OsteonError
from osteon.formats.stl import TO_RAS, MeshSpace, read_stl_frame
from osteon.importing.meshes.space import MM, Points, Reading, readings
from osteon.importing.source_forms import MeshUnit, Options


@dataclass(frozen=True)
class Said:
    """What one mesh says; None where nothing."""

    unit: MeshUnit | None = None
    space: MeshSpace | None = None

    def as_read(self, points: Points, reading: Reading) -> Points:
        """Coordinates as `reading` expects them, of a mesh that may say another unit or world than the others."""
        factors = TO_RAS[self.space or reading.space] * TO_RAS[reading.space]
        return points * (factors * MM[self.unit or reading.unit] / MM[reading.unit])


def read_said(source: Path, meshes: Iterable[PurePosixPath]) -> dict[PurePosixPath, Said]:
    """What the headers of meshes say. A file that cannot be read says nothing here, and fails its case later."""
    found = {}
    for place in meshes:
        try:
            unit, space = read_stl_frame(source / place)
        except OsteonError:
            unit = space = None
        found[place] = Said(cast("MeshUnit | None", unit), cast("MeshSpace | None", space))
    return found


def passed_over(said: Mapping[PurePosixPath, Said], options: Options) -> list[str]:
    """Headers that the user's options contradict, for people: the options win."""
    lines = []
    for what, told in (("unit", options.mesh_unit), ("space", options.mesh_space)):
        against = {place: getattr(one, what) for place, one in said.items() if getattr(one, what) not in (None, told)}
        if told is not None and against:
            place, other = next(iter(against.items()))
            count = f"{len(against)} mesh{'es' * (len(against) > 1)}"
            lines.append(f"{place}: its header says {what.upper()}={other}; read as {told}, as told ({count} like it)")
    return lines


def left_open(said: Iterable[Said], options: Options) -> list[Reading]:
    """The readings that the user's options and the headers of some meshes leave open.

    Where each mesh says its unit (or world), any will do: `Said.as_read` brings the others to it.
    """
    units, spaces = zip(*[(one.unit, one.space) for one in said], strict=True)
    unit = options.mesh_unit or (units[0] if None not in units else None)
    space = options.mesh_space or (spaces[0] if None not in spaces else None)
    return readings(unit, space)


def without_told(said: Said, options: Options) -> Said:
    """What a header says that no option says otherwise. One that says a world alone means millimetres: 3D Slicer's."""
    unit = said.unit or ("mm" if said.space else None)
    return Said(None if options.mesh_unit else unit, None if options.mesh_space else said.space)
