"""Humeri broken anywhere into 2 to 6 pieces: CTs and label maps whose numbers mean nothing.

Surfaces lie where chance has them, unlike those of `fracture`. A piece has another number in the next case, so that it
cannot be learnt as a class. At every second break the pieces stay in contact, parted by a faint line alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from osteon.core.labels import Segmentation, make_structures
from osteon.phantoms.fracture import Fracture, FractureSurface, Fragment
from osteon.phantoms.humerus import Humerus, draw_humerus
from osteon.phantoms.record import CaseTruth, CohortRequest, PhantomKind, write_pair, write_pairs, write_truth
from osteon.phantoms.shapes import RandomWaves, RigidTransform, rotation

COUNTS = (4, 2, 6, 3, 5)
"""Pieces of one case after the other."""
NAMES = [f"fragment_{n + 1}" for n in range(max(COUNTS))]
TRIES = 24
"""Surfaces that are drawn for each break; the one whose smaller half is nearest to the share drawn is taken."""
CONTACT_VOXELS = 12
"""Two pieces touch where at least so many voxels' faces are shared."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Part:
    """A piece while the bone is being broken: its voxels before any movement, what bounds it, where it has moved."""

    mask: Mask
    bounds: tuple[tuple[FractureSurface, int], ...]
    movement: RigidTransform


def make_pieces(folder: Path, number: int, request: CohortRequest) -> CaseTruth:
    """Write one pair.

    Raises:
        FileError: A file cannot be written.
    """
    rng = request.rng(number)
    finer = 80 / request.size
    plane = rng.uniform(1.6, 2.2) * finer
    humerus = draw_humerus(
        rng,
        shape=(round(64 / finer), round(64 / finer), request.size),
        spacing_mm=(plane, plane, rng.uniform(2.0, 3.0) * finer),
    )
    humerus = replace(humerus, fracture=break_bone(rng, humerus, COUNTS[number % len(COUNTS)]))
    volume, scanned = humerus.scan(rng)
    array = _largest_parts(scanned.array)
    segmentation = Segmentation(array, scanned.geometry, make_structures(NAMES))
    case = f"humerus_{number + 1:03d}"
    write_pair(folder, case, volume, segmentation, "nii.gz")
    return write_truth(
        folder, case, segmentation, pieces=len(humerus.fracture.fragments), touching=_touching_pairs(array)
    )


def break_bone(rng: np.random.Generator, humerus: Humerus, count: int) -> Fracture:
    """Break a humerus' bone `count` − 1 times, always its largest piece, and number the pieces in any order."""
    whole = (humerus.bone.distance(humerus.points) < 0).reshape(humerus.ras.shape)
    still = RigidTransform(np.eye(3), np.zeros(3), np.zeros(3))
    parts = [Part(whole, (), still)]
    for step in range(count - 1):
        parts.sort(key=lambda part: int(part.mask.sum()))
        parts += _break(rng, humerus, parts.pop(), contact=(step + count) % 2 == 0)
    values = rng.permutation(count) + 1
    fragments = [Fragment(int(v), p.bounds, p.movement) for v, p in zip(values, parts, strict=True)]
    return Fracture(tuple(fragments), loss_mm=rng.uniform(0.7, 1.1))


def _break(rng: np.random.Generator, humerus: Humerus, part: Part, *, contact: bool) -> list[Part]:
    """Both halves of a part. In `contact` they move together, else each a few mm and degrees away from the break."""
    index = np.flatnonzero(part.mask.ravel())
    inside = humerus.points[:, index]
    drawn = [_surface(rng, inside) for _ in range(TRIES)]
    uppers = [np.zeros(part.mask.shape, dtype=bool) for _ in drawn]
    for surface, above in zip(drawn, uppers, strict=True):
        above.ravel()[index] = surface.height(inside) > 0
    shares = [min(_whole_voxels(above), _whole_voxels(part.mask & ~above)) / len(index) for above in uppers]
    best = int(np.argmin(np.abs(np.array(shares) - rng.uniform(0.2, 0.5))))
    surface, upper = drawn[best], uppers[best]
    normal = surface.normal / np.linalg.norm(surface.normal)
    halves = []
    for side in (1, -1):
        mask = upper if side > 0 else part.mask & ~upper
        centre = humerus.points[:, np.flatnonzero(mask.ravel())].mean(axis=1).astype(np.float64)
        degrees, apart = (0.4, 0.0) if contact else (5.0, rng.uniform(0.8, 2.2))
        turn = rotation(rng.uniform(-degrees, degrees, 3))
        shift = side * apart * normal + rng.uniform(-1, 1, 3) * (0.1 if contact else 1.2)
        halves.append(Part(mask, (*part.bounds, (surface, side)), _after(part.movement, turn, centre, shift)))
    return halves


def _surface(rng: np.random.Generator, inside: npt.NDArray[np.float32]) -> FractureSurface:
    """Through a place well inside the points, most often across their longest axis, curved and jagged."""
    middle = inside.mean(axis=1).astype(np.float64)
    _, _, axes = np.linalg.svd((inside[:, :: max(inside.shape[1] // 500, 1)] - middle[:, None]).T, full_matrices=False)
    through = middle + axes.T @ (rng.uniform(-0.35, 0.35, 3) * np.std(axes @ inside, axis=1))
    normal = axes[0] + rng.normal(0, 0.45, 3)
    return FractureSurface(through, normal, RandomWaves.draw(rng, wavelengths_mm=[60, 38, 24, 13, 8, 6], sd=2.2))


def _after(
    before: RigidTransform,
    turn: npt.NDArray[np.float64],
    centre: npt.NDArray[np.float64],
    shift: npt.NDArray[np.float64],
) -> RigidTransform:
    """A turn about `centre` and a shift, then the movement `before`, as one."""
    moved = before.matrix @ (centre + shift - before.pivot_mm) + before.pivot_mm + before.shift_mm
    return RigidTransform(before.matrix @ turn, centre, moved - centre)


def _whole_voxels(mask: Mask) -> int:
    """Voxels of the largest connected part, less those of the others: halves shall not fall apart."""
    sizes = np.bincount(ndimage.label(mask)[0].ravel())[1:]
    return int(2 * sizes.max(initial=0) - sizes.sum())


def _largest_parts(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    """Labels without the crumbs that a jagged surface cuts off: one connected part for each number."""
    clean = np.zeros(labels.shape, dtype=np.uint8)
    for value in np.unique(labels[labels > 0]):
        parts, _ = ndimage.label(labels == value, np.ones((3, 3, 3)))
        clean[parts == np.bincount(parts.ravel())[1:].argmax() + 1] = value
    return clean


def _touching_pairs(labels: npt.NDArray[np.uint8]) -> list[list[int]]:
    """Numbers of the pieces that share `CONTACT_VOXELS` faces of voxels, the lower number first."""
    found: dict[tuple[int, int], int] = {}
    for axis in range(3):
        rows = np.moveaxis(labels, axis, 0)
        pairs = np.stack([rows[1:].ravel(), rows[:-1].ravel()])
        pairs = np.sort(pairs[:, (pairs > 0).all(axis=0) & (pairs[0] != pairs[1])], axis=0)
        for (low, high), faces in zip(*np.unique(pairs.T, axis=0, return_counts=True), strict=True):
            found[int(low), int(high)] = found.get((int(low), int(high)), 0) + int(faces)
    return [list(pair) for pair in sorted(found) if found[pair] >= CONTACT_VOXELS]


KIND = PhantomKind(
    name="humerus",
    what="CTs of humeri in 2 to 6 pieces and label maps that number them in any order, listed in pairs.txt",
    size=80,
    make=make_pieces,
    finish=partial(write_pairs, suffix="nii.gz"),
    options="--modality ct --labels humerus=1-99",
)
