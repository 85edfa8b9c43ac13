"""Fractured humeri as surgeons' planners hand them over: a CT, and one coloured STL for each fragment.

The surfaces run where the pieces' depth is zero, so a voxel lies inside a surface exactly where the truth has it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from osteon.core.geometry import Geometry
from osteon.formats.nifti import write_nifti
from osteon.formats.stl import TO_RAS, Mesh, write_stl
from osteon.phantoms import pieces
from osteon.phantoms.fracture import HEAD, SHAFT, comminute
from osteon.phantoms.humerus import STRUCTURES, draw_humerus
from osteon.phantoms.record import SOURCE, CaseTruth, CohortRequest, PhantomKind, write_truth
from osteon.phantoms.shapes import Field

FRAGMENTS = (4, 3, 2)
CLEAR = 0.01
"""No voxel's centre is nearer to a surface than this part of its edge."""


def make_fragments(folder: Path, number: int, request: CohortRequest) -> CaseTruth:
    """Write one CT with its surfaces: into a folder of its own, or onto the heap.

    Raises:
        FileError: A file cannot be written.
    """
    rng = request.rng(number)
    finer = 80 / request.size
    plane = rng.uniform(1.6, 2.2)
    humerus = draw_humerus(
        rng,
        fragments=FRAGMENTS[number % len(FRAGMENTS)],
        shape=(round(64 / finer), round(64 / finer), request.size),
        spacing_mm=(plane * finer, plane * finer, rng.uniform(2.0, 3.0) * finer),
    )
    fracture = humerus.fracture
    for value in ((), (SHAFT,), (HEAD,), (SHAFT, HEAD))[number % 4]:
        fracture = comminute(rng, fracture, value)
    humerus = replace(humerus, fracture=fracture)
    volume, segmentation = humerus.scan(rng)

    heaped = request.layout == "heap" or (request.layout == "mixed" and number % 2 == 1)
    case = f"P{number + 1:03d}"
    place = folder / SOURCE / ("heap" if request.layout == "mixed" else "") if heaped else folder / SOURCE / case
    lead = f"{case}_" if heaped else ""
    write_nifti(place / f"{lead}CT.nii.gz", volume)
    names = {s.value: s for s in STRUCTURES}
    counts: dict[str, int] = {}
    for value, depth in humerus.depths():
        mesh = surface(depth, humerus.ras)
        if mesh is None:
            continue
        colour = names[value].name
        counts[colour] = counts.get(colour, 0) + 1
        piece = f"_{counts[colour]}" if counts[colour] > 1 else ""
        # Every third case comes from a program that writes the colour into the file as well.
        mesh = replace(mesh, colour=names[value].colour if number % 3 == 0 else None)
        write_stl(place / f"{lead}{colour}{piece}.stl", mesh)
    return write_truth(folder, case, segmentation, pieces=counts)


def surface(depth: Field, grid: Geometry) -> Mesh | None:
    """The surface of the places where `depth` `[r, a, s]` is above zero, closed at the grid's faces.

    Args:
        depth: In mm, on the voxels of `grid`.
        grid: Where they lie.

    Returns:
        Vertices in LPS mm, triangles wound so that their normals point outward; None where no voxel is inside.
    """
    from skimage.measure import marching_cubes

    if not (depth > 0).any():
        return None
    edge = min(grid.spacing_mm)
    # A centre that lies on the surface itself would be in or out by the rounding of an STL's 32-bit numbers.
    clear = np.where(depth > 0, np.maximum(depth, CLEAR * edge), np.minimum(depth, -CLEAR * edge))
    # Far outside every depth serves: the surface lies at zero, between one voxel and the next.
    closed = np.pad(np.maximum(clear, -edge), 1, constant_values=-edge)
    index, faces, _, _ = marching_cubes(closed, level=0.0)
    vertices = grid.to_world(index - 1) * TO_RAS["LPS"]  # as Mimics, Slicer and most others write an STL
    if enclosed_mm3(vertices, faces) < 0:
        faces = faces[:, ::-1]
    return Mesh(vertices, np.ascontiguousarray(faces, dtype=np.int32))


def enclosed_mm3(vertices: npt.NDArray[np.float64], faces: npt.NDArray[np.integer]) -> float:
    """The volume in mm³ inside a closed surface, `[n, 3]` and `[m, 3]`; negative where its normals point inward."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


KIND = PhantomKind(
    name="humerus",
    what="CTs of fractured humeri and one coloured STL for each fragment; some cases heaped in one folder",
    size=80,
    make=make_fragments,
    options="--modality ct",
    layouts=("mixed", "folders", "heap"),
    variants={"pieces": pieces.KIND},
)
