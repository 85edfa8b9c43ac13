"""Lumbar spines in a sagittal T2-weighted MR, as NRRD pairs with a text file.

T11, T12 and the sacrum are seen and not labelled, and the field lies higher in one case and lower in another: a
vertebra's name follows from its neighbours, not from its place in the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np

from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure, make_structures
from osteon.core.volume import Volume
from osteon.phantoms.grid import acquire_image, oblique_grid
from osteon.phantoms.long_column import ANATOMIES, NECK, draw_long_column
from osteon.phantoms.record import CaseTruth, CohortRequest, PhantomKind, write_pair, write_pairs, write_truth
from osteon.phantoms.spine_mr import coil_bias, draw_tissues
from osteon.phantoms.vertebra import Column, Vertebra, draw_column

STRUCTURES = make_structures(["L1", "L2", "L3", "L4", "L5"])
AXES = ((0, 0, -1), (-1, 0, 0), (0, -1, 0))
"""Sagittal slices: i to the back, j to the feet, k to the left."""
FIELD_MM = (140.8, 281.6, 89.6)
SHIFT_MM = 38.0
"""The field's middle lies up to so far above or below that of L3; L1 and L5 stay inside."""
LEVELS = make_structures([f"T{n + 1}" for n in range(13)] + [f"L{n + 1}" for n in range(6)])
LEVELS_FIELD_MM = (150.0, 112.0)
"""From front to back, and across."""
EXCEPTIONS = 0.08
"""Part of the columns with other than 12 thoracic and 5 lumbar vertebrae, or with a transitional one."""


def make_spine(folder: Path, number: int, request: CohortRequest) -> CaseTruth:
    """Write one pair.

    Raises:
        FileError: A file cannot be written.
    """
    rng = request.rng(number)
    column = draw_column(rng)
    edge = FIELD_MM[1] / request.size
    centre = (rng.uniform(-6, 6), rng.uniform(-32, -22), rng.uniform(-SHIFT_MM, SHIFT_MM))
    geometry = oblique_grid(rng, AXES, FIELD_MM, (edge, edge, 2.8 * max(edge / 2.2, 0.5)), centre, degrees=4)
    return _write_scan(folder, f"spine_{number + 1:03d}", rng, geometry, column, STRUCTURES)


def make_levels(folder: Path, number: int, request: CohortRequest) -> CaseTruth:
    """Write one pair that shows 8 to 12 vertebrae of a whole column (14 where 13 thoracic ones are to be counted).

    The field shows what tells an exception: the sacrum where lumbar vertebrae are more or fewer, the neck where
    thoracic ones are; and always the sacrum or the last ribs, so that the names can be told.

    Raises:
        FileError: A file cannot be written.
    """
    rng = request.rng(number)
    kind = draw_exception(rng, number, request)
    column = draw_long_column(rng, ANATOMIES[kind])
    low, high = _field(rng, column, kind)
    edge = (high - low) / request.size
    seen = [v.centre_mm for v in column.vertebrae if low < v.centre_mm[2] < high]
    across = (np.min(seen, axis=0) + np.max(seen, axis=0)) / 2
    centre = (across[0] + rng.uniform(-5, 5), across[1] + rng.uniform(-29, -22), (low + high) / 2)
    field = (LEVELS_FIELD_MM[0], high - low, LEVELS_FIELD_MM[1])
    geometry = oblique_grid(rng, AXES, field, (edge, edge, 2.8 * max(edge / 2.2, 0.5)), centre, degrees=3)
    case = _write_scan(folder, f"spine_{number + 1:03d}", rng, geometry, column, LEVELS)
    shares = {v.name: _share_of_body(v, geometry) for v in column.vertebrae if v.name in case.sizes}
    cut = {name: shares[name] for name in case.sizes if shares[name] < 0.995}
    return replace(case, more={"exception": kind, **asdict(ANATOMIES[kind]), "names": list(case.sizes), "cut": cut})


def draw_exception(rng: np.random.Generator, number: int, request: CohortRequest) -> str:
    """A row of `ANATOMIES`: the next one in turn, or mostly the usual one."""
    kinds = list(ANATOMIES)
    if request.variants == "all":
        return kinds[number % len(kinds)]
    return kinds[int(rng.integers(1, len(kinds)))] if rng.uniform() < EXCEPTIONS else kinds[0]


def _field(rng: np.random.Generator, column: Column, kind: str) -> tuple[float, float]:
    """The field's lower and upper end in mm: in the sacrum or a vertebra not above L1; in a vertebra further up."""
    named = [v for v in column.vertebrae[::-1] if v.name[0] != "C"]
    lumbar = [v for v in named if v.name[0] == "L"]
    sacrum = kind.endswith(("lumbar", "fused"))
    if sacrum or (not kind.endswith("thoracic") and rng.uniform() < 0.55):
        low, first = column.promontory_mm[2] - rng.uniform(25, 65), 0
    else:
        lowest = lumbar[-1] if kind.endswith("thoracic") else lumbar[1]
        low = rng.uniform(lowest.centre_mm[2] - 0.5 * lowest.high, lumbar[-1].centre_mm[2] + 0.5 * lumbar[-1].high)
        first = next(n for n, v in enumerate(named) if v.centre_mm[2] + v.high > low)
    last = named[min(first + int(rng.integers(7, 12)), len(named) - 1)]
    if kind.endswith("thoracic"):
        last = column.vertebrae[NECK - 1]
    return float(low), float(last.centre_mm[2] + rng.uniform(-0.8, 0.9) * last.high)


def _share_of_body(vertebra: Vertebra, geometry: Geometry) -> float:
    """The part of a vertebral body that lies in the field."""
    around = np.array([vertebra.wide, vertebra.deep, vertebra.high * 1.2])
    own = np.stack(np.meshgrid(*np.linspace(-around, around, 24).T, indexing="ij")).reshape(3, -1).astype(np.float32)
    own = own[:, vertebra.body(own) < 0]
    to_index = np.linalg.inv(geometry.affine_ras)
    world = vertebra.turn @ own + vertebra.centre_mm[:, None]
    place = to_index[:3, :3] @ world + to_index[:3, 3:]
    inside = ((place > -0.5) & (place < np.array(geometry.shape)[:, None] - 0.5)).all(axis=0)
    return round(float(inside.mean()), 3)


def _write_scan(
    folder: Path,
    case: str,
    rng: np.random.Generator,
    geometry: Geometry,
    column: Column,
    structures: Sequence[Structure],
) -> CaseTruth:
    """Scan a column and write the pair. Raises FileError."""
    signal, labels = draw_tissues(rng, geometry, column, structures)
    image = acquire_image(signal, coil_bias(rng, geometry), rng.uniform(14, 24), rng)
    segmentation = Segmentation(labels, geometry, tuple(structures))
    write_pair(folder, case, Volume(image[None], geometry), segmentation, "nrrd")
    return write_truth(folder, case, segmentation)


def _levels(what: str) -> PhantomKind:
    return PhantomKind(
        name="spine",
        what=f"sagittal MR of thoracic and lumbar spines, {what}, as NRRD pairs listed in pairs.txt",
        size=128,
        make=make_levels,
        finish=partial(write_pairs, suffix="nrrd"),
        options="--modality mr --labels " + ",".join(f"{s.name}={s.value}" for s in LEVELS),
    )


KIND = PhantomKind(
    name="spine",
    what="sagittal MR of lumbar spines as NRRD pairs, listed in pairs.txt",
    size=128,
    make=make_spine,
    finish=partial(write_pairs, suffix="nrrd"),
    options="--modality mr --labels L1=1,L2=2,L3=3,L4=4,L5=5",
    variants={"people": _levels("exceptions as in people"), "all": _levels("each exception in turn")},
)
