"""Chest CTs with a tumour of a few millimetres in the Decathlon's layout, among vessels and nodules as dense as it.

The first slices show the belly and no lung. A tumour is lobed and spiky; what else is dense in the lung is a vessel, a
calcified scar, or smooth and faint.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from osteon.core.files import write_json
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.formats.nifti import write_nifti
from osteon.phantoms.chest import Chest, vessel_tree
from osteon.phantoms.grid import correlated_noise, file_grid, voxel_centres
from osteon.phantoms.record import SOURCE, CaseTruth, CohortRequest, PhantomKind, make_description, write_truth
from osteon.phantoms.shapes import Field, partial_volume, rod

STRUCTURES = make_structures(["cancer"])
FIELD_MM = (336.0, 280.0, 288.0)
THICK = 1.15
"""A slice's thickness against a pixel's edge."""
Point = npt.NDArray[np.float64]
Window = tuple[slice, slice, slice]


def make_lung(folder: Path, number: int, request: CohortRequest) -> CaseTruth:
    """Write one scan and its labels.

    Raises:
        FileError: A file cannot be written.
    """
    rng = request.rng(number)
    grid = _draw_grid(rng, request.size)
    scene = _Scene(grid, Chest.draw(rng), rng)
    scene.vessels()
    scene.distractors()
    diameters = [scene.tumour() for _ in range(1 + (number % 4 == 3))]
    noise = correlated_noise(rng, grid.shape, 0.6).reshape(grid.shape)
    hu = ndimage.gaussian_filter(scene.hu, 0.35, mode="nearest", truncate=3)
    quiet = 0.45 + 0.55 * np.clip((hu + 1000) / 900, 0, 1)
    scan = np.clip(np.rint(hu + rng.uniform(14, 26) * quiet * noise), -1024, 3071).astype(np.int16)
    turn, geometry = file_grid(grid, ("LAS", "RAS")[number % 2])
    case = f"lung_{number + 1:03d}"
    labels = np.ascontiguousarray(turn.undo(scene.labels)).astype(np.uint8)
    write_nifti(
        folder / SOURCE / f"imagesTr/{case}.nii.gz", Volume(np.ascontiguousarray(turn.undo(scan))[None], geometry)
    )
    write_nifti(folder / SOURCE / f"labelsTr/{case}.nii.gz", Volume(labels[None], geometry))
    truth = Segmentation(labels, geometry, STRUCTURES)
    return write_truth(folder, case, truth, diameters_mm=[round(d, 2) for d in diameters])


def write_description(folder: Path, cases: Sequence[CaseTruth]) -> None:
    """Write dataset.json. Raises FileError."""
    entries = [{"image": f"./imagesTr/{c.id}.nii.gz", "label": f"./labelsTr/{c.id}.nii.gz"} for c in cases]
    text = "Chests with small tumours, made up by osteon"
    write_json(folder / SOURCE / "dataset.json", make_description("Lung", text, STRUCTURES, entries))


def _draw_grid(rng: np.random.Generator, size: int) -> Geometry:
    edge = FIELD_MM[0] / size
    spacing = np.array([edge, edge, edge * THICK])
    i, j, k = (round(float(n)) for n in np.array(FIELD_MM) / spacing)
    affine = np.diag([*spacing, 1.0])
    middle = np.array([0, -6, -14]) + rng.uniform(-6, 6, 3)
    affine[:3, 3] = middle - spacing * (np.array([i, j, k]) - 1) / 2
    return Geometry((i, j, k), affine)


class _Scene:
    """A chest being filled: HU and labels `[r, a, s]`, and where its lungs are."""

    def __init__(self, grid: Geometry, chest: Chest, rng: np.random.Generator) -> None:
        self.grid, self.chest, self.rng = grid, chest, rng
        self.points = voxel_centres(grid)
        self.voxel = float(np.cbrt(grid.voxel_volume_mm3))
        depth = chest.lung_depth(chest.to_usual_size(self.points))
        self.hu = chest.hounsfield(self.points, depth, correlated_noise(rng, grid.shape), self.voxel).reshape(
            grid.shape
        )
        self.depth = depth.reshape(grid.shape)
        self.points = self.points.reshape(3, *grid.shape)
        self.labels = np.zeros(grid.shape, dtype=np.uint8)
        self.taken: list[tuple[Point, float]] = []

    def vessels(self) -> None:
        """Trees of vessels in both lungs."""
        size = np.array([self.chest.wide, self.chest.deep, self.chest.tall])
        for side in (1, -1):
            for start, end, radii in vessel_tree(self.rng, side):
                self._rod(start * size, end * size, radii, min(self.chest.blood_hu, 90))

    def distractors(self) -> None:
        """What is round and is no tumour: calcified scars, faint smooth nodules, thick lengths of vessels."""
        for _ in range(int(self.rng.integers(2, 6))):
            self._ball(self._somewhere(3), self.rng.uniform(1.6, 4.0), self.rng.uniform(250, 800))
        for _ in range(int(self.rng.integers(1, 4))):
            self._ball(self._somewhere(6), self.rng.uniform(4, 9), self.rng.uniform(-620, -420))
        for _ in range(int(self.rng.integers(5, 9))):
            at, way = self._somewhere(5), self.rng.normal(size=3)
            way *= self.rng.uniform(7, 13) / np.linalg.norm(way)
            self._rod(at - way, at + way, (3.6, 2.8), self.rng.uniform(20, 60))

    def tumour(self) -> float:
        """Put a tumour somewhere into a lung; its diameter in mm."""
        diameter = float(self.rng.uniform(8, 15))
        radius = diameter / 2
        middle = self._somewhere(radius * 0.8)
        lobes = [(middle, radius * 0.9)]
        for _ in range(int(self.rng.integers(3, 6))):
            way = self.rng.normal(size=3)
            lobes.append((middle + way / np.linalg.norm(way) * radius * 0.45, radius * self.rng.uniform(0.5, 0.62)))
        density = self.rng.uniform(15, 60)
        for _ in range(int(self.rng.integers(5, 10))):
            way = self.rng.normal(size=3)
            tip = middle + way / np.linalg.norm(way) * radius * self.rng.uniform(1.6, 2.3)
            self._rod(middle, tip, (0.9, 0.4), density - 150)
        window = self._window(middle, radius * 1.3)
        place = self.points[(slice(None), *window)].reshape(3, -1)
        depth = np.maximum.reduce([r - np.linalg.norm(place - c[:, None].astype(np.float32), axis=0) for c, r in lobes])
        self._mix(window, depth, density + 12 * self.rng.standard_normal(depth.shape, dtype=np.float32), inside=False)
        self.labels[window][(depth > 0).reshape(self.labels[window].shape)] = 1
        self.taken.append((middle, radius * 2.5))
        return diameter

    def _somewhere(self, deep: float) -> Point:
        """The centre of a free voxel that lies `deep` mm inside a lung."""
        free = self.depth > deep
        for middle, reach in self.taken:
            window = self._window(middle, reach)
            place = self.points[(slice(None), *window)]
            free[window] &= np.linalg.norm(place - middle[:, None, None, None], axis=0) > reach
        where = np.flatnonzero(free)
        chosen = int(where[self.rng.integers(len(where))])
        return np.asarray(self.points.reshape(3, -1)[:, chosen], dtype=np.float64)

    def _ball(self, middle: Point, radius: float, hu: float) -> None:
        window = self._window(middle, radius)
        place = self.points[(slice(None), *window)].reshape(3, -1)
        self._mix(window, radius - np.linalg.norm(place - middle[:, None].astype(np.float32), axis=0), hu)
        self.taken.append((middle, radius * 2))

    def _rod(self, start: Point, end: Point, radii: tuple[float, float], hu: float) -> None:
        window = self._window((start + end) / 2, float(np.linalg.norm(end - start)) / 2 + max(radii))
        place = self.points[(slice(None), *window)].reshape(3, -1)
        if place.shape[1]:
            self._mix(window, -rod(place, start, end, radii), hu, thin=2 * min(radii))

    def _mix(
        self, window: Window, depth: Field, hu: float | Field, *, inside: bool = True, thin: float | None = None
    ) -> None:
        """Lay a body over what is there, `inside` the lungs alone; what is thinner than a voxel is fainter."""
        part = partial_volume(depth, self.voxel) * np.float32(
            min(1.0, 1.0 if thin is None else (thin / self.voxel) ** 0.7)
        )
        if inside:
            part *= self.depth[window].ravel() > 0
        here = self.hu[window]
        here += (part * (hu - here.ravel())).reshape(here.shape)

    def _window(self, middle: Point, reach: float) -> Window:
        """The voxels within `reach` mm and one voxel more of a place."""
        spacing, first = np.array(self.grid.spacing_mm), self.grid.affine_ras[:3, 3]
        low = np.maximum(np.floor((middle - reach - first) / spacing).astype(int) - 1, 0)
        high = np.maximum(np.ceil((middle + reach - first) / spacing).astype(int) + 2, 0)
        i, j, k = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        return i, j, k


KIND = PhantomKind(
    name="lung",
    what="chest CTs with rare small tumours in the Decathlon's layout",
    size=96,
    make=make_lung,
    finish=write_description,
)
