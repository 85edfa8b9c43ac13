"""Meshes of every structure: STL and PLY, a file for each, and OBJ, a file for each case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage

from osteon.core.errors import GeometryError, LabelError
from osteon.core.file_names import free_name, name_key
from osteon.core.geometry import Geometry
from osteon.dataset.case_ids import safe_id
from osteon.exporting.export_form import ExportCase, ExportedCase, Exporter, ExportForm, ExportOptions, OutputFile
from osteon.exporting.masks import CONNECTIVITY, CroppedMask, Mask, crop_masks
from osteon.exporting.surface import make_surface_net
from osteon.exporting.surface_smoothing import smooth_surface
from osteon.formats.obj import write_materials, write_obj
from osteon.formats.ply import write_ply
from osteon.formats.stl import TO_RAS, Mesh, write_stl

_OPTIONS = frozenset({"space", "fragments", "smallest_mm3"})
Named = Sequence[tuple[str, Mesh]]
Outputs = Callable[[str, Named, str], list[OutputFile]]
"""From a case's id, its named meshes and their world to files."""


@dataclass(frozen=True)
class MeshExport(Exporter):
    """The export of one of the three formats.

    Attributes:
        options: What the user says.
        outputs: Its files.
    """

    options: ExportOptions
    outputs: Outputs

    def case(self, case: ExportCase) -> ExportedCase:
        """Meshes of a case's structures, of each numbered piece.

        Raises:
            GeometryError: It is a picture.
            LabelError: No structure has a piece that is large enough.
        """
        segmentation, wholes = case.load_split()
        if segmentation.geometry.unit != "mm":
            raise GeometryError(
                f"{case.file}: is measured in {segmentation.geometry.unit}: a picture has no surface",
                hint="export rle-csv, coco or table",
            )
        parts = zip(segmentation.structures, wholes, strict=True)
        names = unique_stems(
            [s.name if s.name == whole.name else f"{whole.name}_{s.value - whole.value + 1}" for s, whole in parts]
        )
        meshes: list[tuple[str, Mesh]] = []
        left_out = []
        for name, cut in zip(names, crop_masks(segmentation), strict=True):
            found = self._meshes(cut)
            meshes += [(name if not self.options.fragments else f"{name}_{n}", mesh) for n, mesh in found]
            if not found and cut.mask.any():
                left_out.append(cut.structure.name)
        if not meshes:
            raise LabelError(f"{case.file}: no structure has a piece that is large enough", hint="leave this case out")
        notes = [f"{', '.join(left_out)}: no piece is large enough"] if left_out else []
        return ExportedCase(self.outputs(case.id, meshes, self.options.space), None, notes)

    def _meshes(self, cut: CroppedMask) -> list[tuple[int, Mesh]]:
        """Numbered from 1, in the world and colour wanted."""
        found = make_surfaces(cut.mask, cut.geometry, smallest_mm3=self.options.smallest_mm3)
        if found and not self.options.fragments:
            found = [join_meshes(found)]
        to_space, colour = TO_RAS[self.options.space], cut.structure.colour
        found = [replace(mesh, vertices=mesh.vertices * to_space, colour=colour) for mesh in found]
        return list(enumerate(found, start=1))


def _each(case: str, meshes: Named, space: str, *, suffix: str, write: Callable[..., None]) -> list[OutputFile]:
    """A file for each mesh."""
    return [OutputFile(Path(case, f"{name}{suffix}"), partial(write, mesh=mesh, space=space)) for name, mesh in meshes]


def _obj(case: str, meshes: Named, space: str) -> list[OutputFile]:
    materials = {name: mesh.colour or "#ffffff" for name, mesh in meshes}
    write = partial(write_obj, meshes=dict(meshes), materials=f"{case}.mtl", space=space)
    return [
        OutputFile(Path(f"{case}.mtl"), partial(write_materials, colours=materials)),
        OutputFile(Path(f"{case}.obj"), write),
    ]


def unique_stems(names: Sequence[str]) -> list[str]:
    """A file's stem for each name; no two are one file on any system."""
    taken: set[str] = set()
    tried: dict[str, int] = {}
    found = []
    for name in names:
        found.append(free_name(safe_id(name), taken, tried))
        taken.add(name_key(found[-1]))
    return found


def _form(name: str, what: str, outputs: Outputs) -> ExportForm:
    return ExportForm(name, what, lambda options, _: MeshExport(options, outputs), accepted=_OPTIONS)


STL = _form(
    "stl",
    "a surface of every structure and numbered piece, in world millimetres",
    partial(_each, suffix=".stl", write=write_stl),
)
PLY = _form("ply", "the same, with the colour in every corner", partial(_each, suffix=".ply", write=write_ply))
OBJ = _form("obj", "the same, all structures of a case in one file, with materials", _obj)


def make_surfaces(mask: Mask, geometry: Geometry, *, smallest_mm3: float = 0.0) -> list[Mesh]:
    """The closed, smooth surface of each connected piece of a mask, the largest first.

    Args:
        mask: `[i, j, k]`; may touch the image's border.
        geometry: Its grid; oblique and sheared ones are right as well.
        smallest_mm3: Pieces of less are left out.

    Returns:
        Meshes in RAS+ millimetres: every edge belongs to two triangles, which are counter-clockwise seen from outside.
        Each encloses its voxels' volume (within 0.01 %), and the centres of these voxels and of no other.
    """
    numbered, count = ndimage.label(mask, CONNECTIVITY)
    if not count:
        return []
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
    found = ndimage.find_objects(numbered)
    kept = [n for n in np.argsort(-sizes, kind="stable") if sizes[n] * geometry.voxel_volume_mm3 >= smallest_mm3]
    return [_surface(numbered[found[n]] == n + 1, [part.start for part in found[n]], geometry) for n in kept]


def join_meshes(meshes: Sequence[Mesh]) -> Mesh:
    """Several meshes as one."""
    offsets = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [mesh.faces + np.int32(offset) for mesh, offset in zip(meshes, offsets, strict=False)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces))


def _surface(mask: Mask, first: Sequence[int], geometry: Geometry) -> Mesh:
    net = make_surface_net(mask)
    points, faces = smooth_surface(net, int(np.count_nonzero(mask)))
    if np.linalg.det(geometry.affine_ras[:3, :3]) < 0:  # a left-handed grid shows everything in a mirror
        faces = faces[:, ::-1]
    return Mesh(geometry.to_world(points + np.asarray(first)), np.ascontiguousarray(faces, np.int32))
