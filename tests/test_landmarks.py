"""Landmarks that people move: formulas agree with what was measured, and figures follow the points."""

from __future__ import annotations

import numpy as np
import pytest

from measure_bodies import draw, grid_around, mirrored, turned
from measure_bones import MadeFemur, MadeTibia
from osteon.measuring.figure import Figure
from osteon.measuring.intervals import measure_scene
from osteon.measuring.landmarks import FORMULAS, LandmarkMove, find_landmarks, move_landmarks
from osteon.measuring.registry import find_measures
from osteon.measuring.scene import make_scene

SCALE = 0.35


@pytest.fixture(scope="module")
def figures() -> list[Figure]:
    """Both legs of a small person."""
    fields, shin = {}, MadeTibia(torsion=30, slope=-2, scale=SCALE, shift=(0, 0, -12))
    for side, x in (("right", 34), ("left", -34)):
        thigh = MadeFemur(neck_shaft=127, turn=18, tilt=2, scale=SCALE)
        for name, field in (("femur", thigh), ("tibia", shin), ("fibula", shin.fibula)):
            fields[f"{name}_{side}"] = turned(mirrored(field) if side == "left" else field, np.eye(3), (x, 0, 0))
    segmentation = draw(fields, grid_around((-66, -20, -152), (66, 28, 166), 1.5))
    return measure_scene(make_scene("case", segmentation), find_measures(["femur", "tibia", "leg"]))


def test_nothing_changes_where_nothing_is_moved(figures: list[Figure]) -> None:
    known = {figure.measure for figure in figures if figure.value is not None}
    assert known - {"head_diameter"} == set(FORMULAS)
    assert move_landmarks(figures, []) == figures
    for one in find_landmarks(figures):  # a landmark that stays where it is
        move = LandmarkMove(structure=one.structure, name=one.name, point=list(one.point), author="Ada")
        for before, after in zip(figures, move_landmarks(figures, [move]), strict=True):
            assert after.value == pytest.approx(before.value, abs=1e-9)


def test_figures_hang_on_their_landmarks(figures: list[Figure]) -> None:
    landmarks = {(one.structure, one.name): one for one in find_landmarks(figures)}
    head = landmarks["femur_left", "head centre"]
    assert set(head.measures) >= {"femur_length", "hip_knee_ankle_angle", "leg_length_difference", "femoral_version"}
    knee = np.array(landmarks["femur_left", "knee centre"].point)
    away = (np.array(head.point) - knee) / np.linalg.norm(np.array(head.point) - knee)
    point = [float(v) for v in np.array(head.point) + 7 * away]
    moved = move_landmarks(
        figures, [LandmarkMove(structure="femur_left", name="head centre", point=point, author="Ada")]
    )
    change = {
        (after.about, after.measure): (after.value or 0) - (before.value or 0)
        for before, after in zip(figures, moved, strict=True)
    }
    for (about, measure), value in change.items():
        expected = 7 if "left" in about and ("length" in measure and "tibia_length" not in measure) else 0
        if measure in (
            "femur_length",
            "leg_length",
            "leg_length_difference",
            "femur_length_difference",
            "tibia_length",
        ):
            assert value == pytest.approx(expected, abs=0.01), (about, measure)
    for before, after in zip(figures, moved, strict=True):
        touched = "moved by Ada: head centre" in after.flags
        assert touched == ("femur_left" in after.structures and after.measure in head.measures)
        assert (after == before) == (not touched)
        if touched and before.low is not None and after.low is not None and before.high is not None:
            assert (after.high or 0) - after.low == pytest.approx(before.high - before.low)


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_angle_turns_as_its_line_does(figures: list[Figure], side: str) -> None:
    """The condyles' line turned about the axis by 5°: the version is 5° more or less; one condyle lower: the mLDFA."""
    landmarks = {(one.structure, one.name): one for one in find_landmarks(figures)}
    bone, outwards = f"femur_{side}", -1 if side == "left" else 1
    ends = [np.array(landmarks[bone, f"posterior condylar line, {end} end"].point) for end in ("first", "last")]
    outer = max(range(2), key=lambda n: outwards * ends[n][0])
    apart = float(np.linalg.norm(ends[1] - ends[0]))
    back = ends[outer] - [
        0,
        np.tan(np.radians(5)) * apart,
        0,
    ]
    name = f"posterior condylar line, {('first', 'last')[outer]} end"
    move = LandmarkMove(structure=bone, name=name, point=[float(v) for v in back])
    key = "femoral_version"
    before, after = (
        next(f.value for f in some if f.measure == key and f.structures[0] == bone)
        for some in (figures, move_landmarks(figures, [move]))
    )
    assert (after or 0) - (before or 0) == pytest.approx(-5, abs=0.4)
