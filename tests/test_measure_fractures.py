"""Broken bones whose pieces have moved by a known way: what is found, what is said where nothing can be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import osteon
from measure_bodies import draw, grid_around, mirrored
from measure_fractures import SPACE, Move, broken_femur, errors_of, femur, halves, other_side
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.formats import write_segmentation
from osteon.formats.stl import Mesh, read_stl, write_stl
from osteon.measuring.broken_bones import broken_bones
from osteon.measuring.figure import Figure
from osteon.measuring.intervals import measure_scene
from osteon.measuring.placement import placed
from osteon.measuring.registry import find_measures
from osteon.measuring.scene import make_scene
from osteon.measuring.templates import load_templates

MOVE = Move()
ALONE = ((-50.0, -45.0, -98.0), SPACE[1])
"""The part of the world that holds one side."""
OBLIQUE = Rotation.from_euler("zyx", [35, 20, 10], degrees=True).as_matrix()
FLIP = np.diag([-1.0, 1, 1])


def figures(segmentation: Segmentation, *what: str, **more: object) -> dict[tuple[str, str], Figure]:
    scene = make_scene("case", segmentation, **more)  # type: ignore[arg-type]
    return {(one.about, one.measure): one for one in measure_scene(scene, find_measures(what or ["fractures"]))}


def pieces() -> tuple:
    lower, upper = halves()
    return lower, MOVE.apply(upper)


@pytest.mark.parametrize(
    ("frame", "spacing"),
    [(np.eye(3), 1.5), (np.diag([-1.0, -1, 1]), 2.0), (OBLIQUE, 2.0), (OBLIQUE @ FLIP, (1.2, 1.2, 2.4))],
    ids=["RAS", "LPS", "oblique", "left-handed"],
)
def test_a_fragment_is_found_where_it_was_moved_to(frame: np.ndarray, spacing: object) -> None:
    seg = broken_femur({"femur_right": pieces(), "femur_left": (other_side(),)}, spacing=spacing, directions=frame)  # type: ignore[arg-type]
    scene = make_scene("case", seg)
    (bone,) = broken_bones(scene)
    main, piece = bone.pieces
    assert bone.intact is not None
    found = placed(piece, main, bone.intact)
    millimetres, degrees = errors_of(found.reduction, MOVE.matrix, found.centre)
    assert millimetres <= 1
    assert degrees <= 2


def test_figures_of_a_left_bone_are_those_of_a_right_one() -> None:
    """And the true ones lie within the intervals; signs are anatomical, so that mirroring changes none."""
    right = broken_femur({"femur_right": pieces(), "femur_left": (other_side(),)})
    left = Segmentation(
        right.array,
        Geometry(right.geometry.shape, np.diag([-1.0, 1, 1, 1]) @ right.geometry.affine_ras),
        tuple(
            one.model_copy(update={"name": name})
            for one, name in zip(right.structures, ("femur_left", "femur_right"), strict=True)
        ),
    )
    one, other = figures(right), figures(left)
    assert len(one) == len(other)
    centre = placed(*_of(right)).centre
    home = np.linalg.inv(MOVE.matrix) @ [*centre, 1]
    moved = centre - home[:3]
    turned = np.degrees(Rotation.from_matrix(MOVE.matrix[:3, :3]).as_rotvec())
    truth = {
        "fragments": 2,
        "displacement": np.linalg.norm(moved),
        "displacement_lateral": moved[0],
        "displacement_anterior": moved[1],
        "displacement_superior": moved[2],
        "rotation": np.linalg.norm(turned),
        "rotation_sagittal": -turned[0],
        "rotation_coronal": turned[1],
        "rotation_axial": -turned[2],
    }
    for (about, name), figure in one.items():
        mirror = other[about.replace("right", "left"), name]
        assert figure.value == pytest.approx(mirror.value, abs=0.5), name
        assert figure.drawings or name in ("fragments", "fragment_volume")
        if name in truth:
            assert (figure.low or 0) <= truth[name] <= (figure.high or 0), name
    assert one["femur_right 2", "rotation"].side == "right"
    assert not one["femur_right 2", "rotation"].flags


def _of(segmentation: Segmentation) -> tuple:
    (bone,) = broken_bones(make_scene("case", segmentation))
    return bone.pieces[1], bone.pieces[0], bone.intact


def test_gap_and_step_are_those_of_a_shift() -> None:
    """Of classes called fragments, too, and without another side, which is said."""
    lower, upper = halves(normal=(0, 0, 1), rough=0)
    space = ((-25.0, -25, -30), (25.0, 25, 45))
    grid = grid_around(*space, 1.0)
    shifted = Move((0, 0, 0), (0, 4, 3)).apply(upper)
    found = figures(draw({"bone_fragment_1": lower, "bone_fragment_2": shifted}, grid))
    pair = next(about for about, name in found if name == "gap_mean")
    assert found[pair, "gap_mean"].value == pytest.approx(3, abs=0.4)
    assert found[pair, "gap_max"].value == pytest.approx(3, abs=0.8)
    assert found[pair, "step_off"].value == pytest.approx(4, abs=0.8)
    assert found["bone", "fragments"].value == 2
    why = next(one.not_measured for (_, name), one in found.items() if name == "displacement")
    assert why.startswith("the name bone tells no side")
    assert why.endswith("only gap and step-off are known")
    closed = figures(draw({"a": lower, "b": upper}, grid), "gap_mean", "step_off", broken={"bone": ("a", "b")})
    values = {name: one.value for (_, name), one in closed.items()}
    assert values == {"gap_mean": pytest.approx(0, abs=0.3), "step_off": pytest.approx(0, abs=0.8)}


def test_a_reduction_is_written_by_templates_of_others(tmp_path: Path) -> None:
    """Masks and surfaces, larger, mirrored and turned; a case without another side."""
    cases, templates, out = (tmp_path / name for name in ("cases", "templates", "out"))
    write_segmentation(cases / "anna.nii.gz", broken_femur({"femur_right": pieces()}, space=ALONE))
    larger = draw(
        {"femur_left": mirrored(lambda p: femur(p / np.float32(1.1)) * 1.1)},
        grid_around([-60, -60, -110], [60, 60, 125], 2),
    )
    write_segmentation(templates / "someone.seg.nrrd", larger)
    surface = make_scene("other", draw({"femur_right": femur}, grid_around(*ALONE, 2))).bodies["femur_right"].surface
    turn = Rotation.from_euler("xyz", (30, 50, -80), degrees=True).as_matrix()
    write_stl(templates / "right femur.stl", Mesh(surface.points @ turn.T, surface.cells.astype(np.int32)))
    options = {"what": ["fractures"], "labels": {"femur_right": "1-2"}, "reduce": True}
    report = osteon.measure(cases, out, template=templates, **options)
    assert not report.failed
    data = json.loads((out / "reductions/anna/femur_right.json").read_text())
    assert (data["stays"], data["compared_with"]) == ("femur_right 1", "template femur, a model of 2")
    row = data["pieces"][1]
    assert row["flagged"] == [
        f"{data['compared_with']} is of others: by how much this bone differs from it is not in the interval"
    ]
    matrix = np.array(row["matrix"])
    millimetres, degrees = errors_of(matrix, MOVE.matrix, (-1, -3, 60))
    assert millimetres <= 1
    assert degrees <= 2
    lying, reduced = (
        read_stl(out / "reductions/anna" / row[name]).vertices * [-1, -1, 1] for name in ("in_place", "reduced")
    )
    assert np.allclose(lying @ matrix[:3, :3].T + matrix[:3, 3], reduced, atol=1e-3)
    write_stl(templates / "right femur.stl", Mesh(surface.points / 1000, surface.cells.astype(np.int32)))
    report = osteon.measure(cases, out, template=templates, **options)
    assert "which no bone is" in str(report.failed["anna"])
    with pytest.raises(osteon.UsageError, match="holds no template"):
        osteon.measure(cases, out, template=tmp_path / "out/reductions", **options)


def test_another_bone_is_no_template(tmp_path: Path) -> None:
    def cylinder(p: np.ndarray) -> np.ndarray:
        return np.maximum(np.hypot(p[0], p[1]) - 12, np.abs(p[2]) - 90)

    write_segmentation(
        tmp_path / "femur_right.seg.nrrd",
        draw({"femur_right": cylinder}, grid_around([-14, -14, -92], [14, 14, 92], 2)),
    )
    templates = load_templates([tmp_path / "femur_right.seg.nrrd"])
    found = figures(broken_femur({"femur_right": pieces()}, space=ALONE), "displacement", templates=templates)
    assert "does not fit template femur_right" in found["femur_right 2", "displacement"].not_measured
    bone = broken_femur({"tibia_left": pieces()}, space=ALONE)
    found = figures(bone, "displacement", templates=[*templates, *templates])
    assert "no template is called tibia_left" in found["tibia_left 2", "displacement"].not_measured


def test_what_cannot_be_measured_is_said() -> None:
    whole = broken_femur({"femur_right": pieces(), "femur_left": halves(other_side())})
    found = figures(whole, "displacement", "fragments", "femur", "leg")
    for about, name in (("femur_left", "femur_length"), ("femur_right", "femoral_version")):
        assert found[about, name].not_measured == f"{about} is broken into 2 pieces"
    assert not [about for about, name in found if name == "head_diameter" and about[-1].isdigit()]
    both = "femur_left is broken into 2 pieces; femur_right is broken into 2 pieces"
    assert found["femur_left + femur_right", "femur_length_difference"].not_measured == both
    assert "femur_left, is broken as well" in found["femur_right 2", "displacement"].not_measured
    alone = Segmentation(np.where(whole.array == 1, 1, 0).astype(np.uint8), whole.geometry, whole.structures[:1])
    found = figures(alone)
    assert found["femur_right", "fragments"].value == 1
    assert {name for _, name in found} == {"fragments", "fragment_volume"}
    array = whole.array[:, :, 40:].copy()
    array[array > 2] = 0
    array[2:3, 2, 2] = 3
    some = Structure(name="femur_right", value=1, colour="#46a758", instances=True, last_value=3)
    found = figures(
        Segmentation(array, Geometry((*array.shape[:2], array.shape[2]), whole.geometry.affine_ras), (some,))
    )
    assert "femur_left, is not there" in found["femur_right 1", "displacement"].not_measured
    assert found["femur_right 3", "displacement"].not_measured == "femur_right 3 is too small"
    assert found["femur_right", "fragments"].flags == (
        "1 of them are too small to be measured",
        "femur_right 1 is cut by the field of view",
    )
    assert found["femur_right 1", "fragment_volume"].not_measured == "femur_right 1 is cut by the field of view"


def test_two_hundred_pieces_are_counted_and_the_largest_measured() -> None:
    whole = draw({"femur_right": femur}, grid_around(*ALONE, 2.0))
    index = np.argwhere(whole.array)
    places = np.random.default_rng(3).choice(len(index), 200, replace=False)
    labels = np.zeros(whole.array.shape, np.uint8)
    nearest = np.linalg.norm(index[:, None] - index[places][None], axis=2).argmin(axis=1)
    labels[tuple(index.T)] = nearest + 1
    bone = Structure(name="femur_right", value=1, colour="#46a758", instances=True, last_value=200)
    found = figures(Segmentation(labels, whole.geometry, (bone,)), "fragments", "displacement", "gap_mean")
    assert found["femur_right", "fragments"].value == 200
    assert "the 176 smallest are not measured one by one" in found["femur_right", "fragments"].flags
    assert sum(name == "displacement" for _, name in found) == 23
    assert all(one.value is not None and one.value < 2 for (_, name), one in found.items() if name == "gap_mean")
