"""A made-up fractured humerus in an arm, as a CT scanner would show it.

The bone is built in its own frame, in millimetres: x lateral, y anterior, z proximal; the shaft's axis is x = y = 0
and the head's centre lies at z = 0. A left arm is the mirror image of a right one. Hounsfield numbers follow
Kalender, "Computed Tomography" (3rd ed., 2011), figure 1.8, for air, fat, muscle, marrow and compact bone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.core.volume import Volume
from osteon.phantoms.arm import Arm, draw_arm, scan_arm
from osteon.phantoms.fracture import Fracture, draw_fracture
from osteon.phantoms.grid import draw_grid, file_grid, world_points
from osteon.phantoms.shapes import Field, Points, ellipsoid, partial_volume, rotation, smooth_step, smooth_union

STRUCTURES = (
    Structure(name="red", value=1, colour="#e5484d"),
    Structure(name="green", value=2, colour="#46a758"),
    Structure(name="blue", value=3, colour="#3e7bfa"),
    Structure(name="yellow", value=4, colour="#f5c542"),
)
"""Red is the head, green the shaft, blue the greater tuberosity, yellow the wedge of the medial neck (calcar)."""

Side = Literal["left", "right"]

NEAR_MM = 52.0
"""No piece of bone lies further than this from the shaft's axis."""


@dataclass(frozen=True)
class Bone:
    """Sizes of one humerus, in mm and HU; all drawn before anything is computed."""

    head_mm: float
    head_centre_mm: tuple[float, float, float]
    neck_mm: float
    shaft_mm: float
    oval: float
    cortex_mm: float
    cortex_hu: float
    trabecular_hu: float
    marrow_hu: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Bone:
        """Adult sizes: head radius 21–25 mm, shaft radius 10–12.5 mm (Boileau & Walch, JBJS Br 79, 1997)."""
        return cls(
            head_mm=rng.uniform(21, 25),
            head_centre_mm=(rng.uniform(-9, -6), rng.uniform(-4, -1), 0.0),
            neck_mm=rng.uniform(17, 19),
            shaft_mm=rng.uniform(10, 12.5),
            oval=rng.uniform(0.9, 1.1),
            cortex_mm=rng.uniform(3.6, 4.8),
            cortex_hu=rng.uniform(1350, 1700),
            trabecular_hu=rng.uniform(220, 300),
            marrow_hu=rng.uniform(-20, 60),
        )

    def distance(self, points: Points) -> Field:
        """Signed distance `[n]` to the bone's surface, before any fracture."""
        x, y, z = points
        radius = self.shaft_mm + (self.neck_mm - self.shaft_mm) * smooth_step(z, -75, -18)
        shaft = np.maximum(np.hypot(x * np.float32(self.oval), y / np.float32(self.oval)) - radius, z + 8)
        head = ellipsoid(points, self.head_centre_mm, [self.head_mm] * 3)
        greater = ellipsoid(points, (10, 1, -9), (14, 15, 18))
        lesser = ellipsoid(points, (-1, 12, -12), (9, 9, 13))
        body = smooth_union(np.asarray(shaft, dtype=np.float32), greater, 10)
        return smooth_union(smooth_union(body, lesser, 7), head, 6)

    def hounsfield(self, points: Points, depth_mm: Field, texture: Field, voxel_mm: float) -> Field:
        """HU `[n]` inside the bone: a cortex, thick in the shaft and thin on the head, about trabeculae and marrow."""
        z = points[2]
        along = smooth_step(z, -80, -22)
        thickness = np.float32(self.cortex_mm) * (1 - 0.62 * along)
        inner = partial_volume(depth_mm - thickness, voxel_mm)
        # Trabeculae are dense under the head's surface and give way to fatty marrow down the shaft.
        spongy = smooth_step(z, -65, -25)
        core = self.marrow_hu + (self.trabecular_hu - self.marrow_hu) * spongy + texture * (15 + 65 * spongy)
        return np.asarray(self.cortex_hu * (1 - inner) + core * inner, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Humerus:
    """One broken humerus, drawn but not scanned: what it is, and the grid on which it will be seen.

    Attributes:
        bone: Sizes of the bone.
        fracture: Its pieces.
        arm: What lies about it.
        ras: The scan's grid, its axes along R, A, S.
        axes: The axes that the scan's file shall have.
        points: `[3, n]` the grid's voxels in the bone's frame, C order.
    """

    bone: Bone
    fracture: Fracture
    arm: Arm
    ras: Geometry
    axes: str
    points: Points

    def scan(self, rng: np.random.Generator) -> tuple[Volume, Segmentation]:
        """The scan, `[1, i, j, k]` int16 HU, and the index map `[i, j, k]` uint8 of its fragments on the same grid.

        Raises:
            ValueError: `axes` does not name each of R/L, A/P, S/I once.
        """
        noise = [rng.standard_normal(self.ras.shape, dtype=np.float32) for _ in range(2)]
        hu, labels = _scan(self.points, self.ras, self.bone, self.fracture, self.arm, noise)
        turn, geometry = file_grid(self.ras, self.axes)
        return (
            Volume(np.ascontiguousarray(turn.undo(hu))[None], geometry),
            Segmentation(np.ascontiguousarray(turn.undo(labels)).astype(np.uint8), geometry, STRUCTURES),
        )

    def depths(self) -> Iterator[tuple[int, Field]]:
        """Value and depth in mm `[r, a, s]` of each piece: positive in its voxels, zero on its surface."""
        near = np.flatnonzero(np.hypot(self.points[0], self.points[1]) < NEAR_MM)
        place = self.points[:, near]
        pieces = self.fracture.fragments
        found = np.empty((len(pieces), len(near)), dtype=np.float32)
        for row, piece in zip(found, pieces, strict=True):
            at = piece.movement.undo(place)
            row[:] = np.minimum(-self.bone.distance(at), self.fracture.depth(piece, at))
        for number, piece in enumerate(pieces):
            # Where two pieces overlap the deeper one has the voxel, so the surface runs between them.
            others = np.delete(found, number, axis=0).max(axis=0, initial=0)
            field = np.full(self.points.shape[1], -NEAR_MM, dtype=np.float32)
            field[near] = found[number] - others
            yield piece.value, field.reshape(self.ras.shape)


def draw_humerus(
    rng: np.random.Generator,
    *,
    fragments: int | None = None,
    side: Side | None = None,
    shape: tuple[int, int, int] = (64, 64, 80),
    spacing_mm: tuple[float, float, float] | None = None,
    axes: str | None = None,
) -> Humerus:
    """Draw one broken humerus.

    Args:
        rng: Where all randomness comes from.
        fragments: 2 (head, shaft), 3 (and greater tuberosity) or 4 (and calcar wedge); drawn when not given.
        side: Of the body; drawn when not given.
        shape: Voxels along right–left, back–front and foot–head, whatever the order in the file.
        spacing_mm: Voxel edges along the same; drawn from 1.6–2.2, 1.6–2.2 and 2–3 mm when not given.
        axes: The file's axes as `Geometry.axis_codes` says them, such as `LPS`; drawn when not given.

    Raises:
        ValueError: `fragments` or `side` is none of those named above.
    """
    count = int(rng.integers(2, 5)) if fragments is None else fragments
    chosen = ("left", "right")[int(rng.integers(2))] if side is None else side
    if chosen not in ("left", "right"):
        raise ValueError(f"a side is left or right, not {chosen}")
    lateral = 1.0 if chosen == "right" else -1.0
    bone, fracture, arm = Bone.draw(rng), draw_fracture(rng, count), draw_arm(rng)
    ras, axes = draw_grid(rng, lateral, shape, spacing_mm, axes)
    pose = rotation(rng.uniform((-8, -8, -25), (8, 8, 25)))

    points = world_points(ras, pose, lateral, top_mm=rng.uniform(44, 56))
    return Humerus(bone, fracture, arm, ras, axes, points)


def _scan(
    points: Points, grid: Geometry, bone: Bone, fracture: Fracture, arm: Arm, noise: list[Field]
) -> tuple[np.ndarray, np.ndarray]:
    """HU int16 and labels uint8, both `[r, a, s]`, of the arm at `points` `[3, n]` of the bone's frame."""
    voxel_mm = float(np.cbrt(grid.voxel_volume_mm3))
    texture = arm.texture(noise[0]).ravel()
    hu = arm.soft_tissue(points, texture, voxel_mm)
    labels = np.zeros(points.shape[1], dtype=np.uint8)
    near = np.flatnonzero(np.hypot(points[0], points[1]) < NEAR_MM)
    place = points[:, near]
    best = np.zeros(len(near), dtype=np.float32)
    covered, mixed = np.zeros_like(best), np.zeros_like(best)
    for fragment in fracture.fragments:
        at = fragment.movement.undo(place)
        inside = np.flatnonzero(bone.distance(at) < voxel_mm)
        at = at[:, inside]
        surface = -bone.distance(at)
        depth = np.minimum(surface, fracture.depth(fragment, at))
        part = partial_volume(depth, voxel_mm)
        covered[inside] += part
        mixed[inside] += part * bone.hounsfield(at, surface, texture[near[inside]], voxel_mm)
        wins = depth > best[inside]
        labels[near[inside[wins]]] = fragment.value
        best[inside[wins]] = depth[wins]
    crowd = np.maximum(covered, 1)
    hu[near] = hu[near] * (1 - np.minimum(covered, 1)) + mixed / crowd
    return scan_arm(hu.reshape(grid.shape), noise[1], arm), labels.reshape(grid.shape)
