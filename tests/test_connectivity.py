"""Which voxels are of one piece, wherever pieces are counted: those that share a face, an edge or a corner."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from helpers import spacing_affine, tiny_plan
from osteon.auditing.measure import measure_case
from osteon.core.boxes import component_boxes
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.evaluating.components import label_components
from osteon.exporting.masks import crop_masks
from osteon.exporting.mesh_files import make_surfaces
from osteon.exporting.outlines import outlines
from osteon.exporting.table import measure_mask
from osteon.predicting.postprocessing_steps import STEPS, components
from osteon.predicting.sequence import name_sequence
from osteon.preparing.nonzero import nonzero_mask

SHAPE = (14, 14, 14)
GRID = Geometry(SHAPE, spacing_affine(1, 1, 1))
[BONE] = make_structures(["bone"])
TOUCHING = {"face": (4, 0, 0), "edge": (4, 4, 0), "corner": (4, 4, 4)}


def two_cubes(apart: tuple[int, int, int]) -> np.ndarray:
    """Cubes of 4 voxels, the second moved from the first by that many."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[3:7, 3:7, 3:7] = True
    mask[tuple(slice(3 + n, 7 + n) for n in apart)] = True
    return mask


def measured(mask: np.ndarray) -> dict[str, list[int]]:
    labels = Segmentation(mask.astype(np.uint8), GRID, (BONE,))
    found = measure_case("a", "", Volume(mask[None].astype(np.int16), GRID), labels, step=1).facts.structures["bone"]
    return {"pieces": found.pieces, "holes": found.holes}


COUNTED: dict[str, Callable[[np.ndarray], int]] = {
    "evaluated": lambda mask: label_components(mask)[1],
    "boxes": lambda mask: len(component_boxes(mask)),
    "audited": lambda mask: len(measured(mask)["pieces"]),
    "exported meshes": lambda mask: len(make_surfaces(mask, GRID)),
    "exported figures": lambda mask: measure_mask(next(crop_masks(Segmentation(mask.astype(np.uint8), GRID, (BONE,)))))[
        "fragments"
    ],
    "predicted": lambda mask: len(components(mask)[1]),
}
JOINED_BY = {
    "evaluated": {"face", "edge", "corner"},
    "boxes": {"face", "edge", "corner"},
    "audited": {"face", "edge", "corner"},
    "exported meshes": {"face", "edge"},
    "exported figures": {"face", "edge"},
    "predicted": {"face"},
}


@pytest.mark.parametrize("where", COUNTED)
@pytest.mark.parametrize("touching", TOUCHING)
def test_pieces_are_joined(where: str, touching: str) -> None:
    assert COUNTED[where](two_cubes(TOUCHING[touching])) == (1 if touching in JOINED_BY[where] else 2)


@pytest.mark.parametrize(("apart", "count"), [((4, 0), 1), ((4, 4), 2)])
def test_outlines_are_joined_by_sides_of_pixels(apart: tuple[int, int], count: int) -> None:
    assert len(outlines(two_cubes((*apart, 0))[:, :, 4])) == count


def test_holes_are_apart_where_they_meet_at_an_edge_and_closed_where_a_way_out_is_one() -> None:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[2:12, 2:12, 2:12] = True
    mask[4, 4, 4] = mask[5, 5, 4] = False  # two holes that share an edge
    assert measured(mask)["holes"] == [1, 1]
    mask[8, 8, 2] = mask[8, 9, 3] = False  # a dent, and what meets it at an edge: a hole of its own
    assert measured(mask)["holes"] == [1, 1, 1]
    for filled in (nonzero_mask(mask[None]), STEPS["fill_holes"].change(mask, (1, 1, 1), 0, None)):
        assert filled.sum() == 1000 - 1  # the dent stays


@pytest.mark.parametrize("touching", TOUCHING)
def test_bodies_of_a_series_are_parted_at_edges_and_corners(touching: str) -> None:
    """As large as one body both together, they stay one where they are joined."""
    names = ["L3", "L2", "L1"]
    structures = [{"name": name, "value": n, "colour": "#ff0000"} for n, name in enumerate(names, 1)]
    series = {"axis": 0, "names": names, "distance_mm": 5.5, "volume_mm3": 128.0}
    plan = tiny_plan({"structures": structures, "series": series})
    mask = two_cubes(TOUCHING[touching])
    probabilities = np.zeros((4, *SHAPE), np.float32)
    probabilities[0], probabilities[1] = ~mask, mask * 0.6
    probabilities[2] = mask * 0.4
    named = name_sequence(torch.from_numpy(probabilities), plan)[0].argmax(0).numpy()
    assert set(np.unique(named[mask])) == ({1} if touching == "face" else {1, 2})
