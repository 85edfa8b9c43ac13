"""Angles and lengths of made-up legs, whose landmarks are known, in any position."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from measure_bodies import Field, draw, grid_around, mirrored, turned
from measure_bones import MadeFemur, MadeTibia
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.measuring.figure import Figure
from osteon.measuring.intervals import measure_scene
from osteon.measuring.registry import find_measures
from osteon.measuring.scene import make_scene

SCALE = 0.45
"""Small bones in small voxels: as hard as an adult's in 2.2 mm, and quick."""
FEMUR = MadeFemur(neck_shaft=127, turn=18, tilt=2, scale=SCALE)
TIBIA = MadeTibia(torsion=30, slope=-2, scale=SCALE, shift=(0, 0, -12))


def measured(segmentation: Segmentation, *families: str) -> dict[str, Figure]:
    scene = make_scene("case", segmentation)
    return {f"{one.structures[0]} {one.measure}": one for one in measure_scene(scene, find_measures(families))}


def box(rotation: np.ndarray, flip: bool, *boxes: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    corners = np.concatenate([np.array(np.meshgrid(*zip(*each, strict=True))).reshape(3, -1) for each in boxes], axis=1)
    corners = rotation @ corners * ([[-1], [1], [1]] if flip else 1)
    return corners.min(axis=1), corners.max(axis=1)


@dataclass(frozen=True)
class Expected:
    """What a figure must be, and by how much it may differ."""

    value: float
    within: float


EXPECTED = {
    "femur_length": Expected(float(np.linalg.norm(FEMUR.head_centre - FEMUR.knee)), 0.7),
    "head_diameter": Expected(2 * FEMUR.head_radius, 0.4),
    "neck_shaft_angle": Expected(FEMUR.neck_shaft, 2.0),
    "femoral_version": Expected(FEMUR.version, 2.5),
    "distal_femoral_angle": Expected(FEMUR.distal_angle, 1.5),
    "axes_angle": Expected(float(np.degrees(np.arccos(FEMUR.axis[2]))), 0.5),
    "tibia_length": Expected(float(np.linalg.norm(TIBIA.ankle - TIBIA.centre)), 0.9),
    "tibial_torsion": Expected(TIBIA.torsion, 2.5),
    "proximal_tibial_angle": Expected(TIBIA.plateau_angle, 1.5),
}


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_a_leg_in_any_position_on_either_side_has_its_angles(seed: int | None) -> None:
    rotation = np.eye(3) if seed is None else Rotation.random(random_state=seed).as_matrix()
    side, flip = ("left", True) if seed == 1 else ("right", False)
    fields: dict[str, Field] = {
        f"femur_{side}": turned(FEMUR, rotation),
        f"tibia_{side}": turned(TIBIA, rotation),
        f"fibula_{side}": turned(TIBIA.fibula, rotation),
    }
    if flip:
        fields = {name: mirrored(field) for name, field in fields.items()}
    found = measured(draw(fields, grid_around(*box(rotation, flip, FEMUR.box, TIBIA.box))), "femur", "tibia", "leg")
    for name, expected in EXPECTED.items():
        one = found[f"{'femur' if name in EXPECTED_OF_FEMUR else 'tibia'}_{side} {name}"]
        assert one.value == pytest.approx(expected.value, abs=expected.within), name
        assert (one.low or 0) < expected.value < (one.high or 0), name
        assert not one.flags, name
    knee = found[f"femur_{side} hip_knee_ankle_angle"]
    assert knee.value == pytest.approx(straightness(), abs=1.0)
    assert found[f"femur_{side} leg_length"].value == pytest.approx(
        EXPECTED["femur_length"].value + EXPECTED["tibia_length"].value, abs=1.2
    )
    other = "left" if side == "right" else "right"
    assert found["femur_left leg_length_difference"].not_measured == f"femur_{other} and tibia_{other} are not there"


EXPECTED_OF_FEMUR = list(EXPECTED)[:6]


def straightness() -> float:
    """The angle of both axes in the femur's frontal plane; the tibia's lies in the plane x = 0."""
    medial = np.array([-1.0, 0, 0]) + FEMUR.axis[0] * FEMUR.axis
    medial /= np.linalg.norm(medial)
    down = (TIBIA.ankle - TIBIA.centre) / np.linalg.norm(TIBIA.ankle - TIBIA.centre)
    return 180 + float(np.degrees(np.arctan2(-down @ medial, -down @ FEMUR.axis)))


def test_exchanged_sides_are_seen_and_cut_ends_are_not_guessed() -> None:
    grid = grid_around(*FEMUR.box)
    exchanged = measured(draw({"femur_left": FEMUR}, grid), "femur_length")["femur_left femur_length"]
    assert exchanged.flags == ("femur_left has the shape of a right femur: sides exchanged, or a mirrored image",)
    whole = draw({"femur_right": FEMUR}, grid)
    top = Segmentation(
        whole.array[:, :, 60:], Geometry((*grid.shape[:2], grid.shape[2] - 60), _moved(grid, 60)), whole.structures
    )
    found = measured(Segmentation(top.array, top.geometry, make_structures(["femur_right", "femur_left"])), "femur")
    assert found["femur_left femoral_version"].not_measured == "femur_left is not there"
    assert found["femur_right head_diameter"].value == pytest.approx(2 * FEMUR.head_radius, abs=0.4)
    assert found["femur_right neck_shaft_angle"].value == pytest.approx(FEMUR.neck_shaft, abs=2)
    cut = "the distal end of femur_right is cut by the field of view"
    assert found["femur_right femoral_version"].not_measured == found["femur_right femur_length"].not_measured == cut


def _moved(grid: Geometry, planes: int) -> np.ndarray:
    affine = grid.affine_ras.copy()
    affine[:3, 3] = grid.to_world([[0, 0, planes]])[0]
    return affine


def test_a_longer_left_leg_is_positive_and_a_broken_bone_has_no_angle() -> None:
    longer = MadeFemur(scale=SCALE * 1.03)
    shifted = partial(_at, longer)
    fields = {
        "femur_right": turned(FEMUR, np.eye(3), (40, 0, 0)),
        "femur_left": turned(shifted, np.eye(3), (-40, 0, 0)),
    }
    low, high = box(np.eye(3), False, FEMUR.box, longer.box)
    grid = grid_around(low - np.array([45, 0, 0]), high + np.array([45, 0, 0]), 1.2)
    found = measured(draw(fields, grid), "femur_length_difference")["femur_left femur_length_difference"]
    lengths = [float(np.linalg.norm(one.head_centre - one.knee)) for one in (longer, FEMUR)]
    assert found.value == pytest.approx(lengths[0] - lengths[1], abs=0.9)
    broken = draw({"femur_right": FEMUR}, grid_around(*FEMUR.box))
    broken.array[:, :, 80:90] = 0
    assert (
        measured(broken, "femoral_version")["femur_right femoral_version"].not_measured == "femur_right is in 2 pieces"
    )


def _at(femur: MadeFemur, points: np.ndarray) -> np.ndarray:
    return mirrored(femur)(points)
