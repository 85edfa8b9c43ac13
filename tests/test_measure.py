"""Figures of bodies whose figures are known; what cannot be measured is said."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

import osteon
from measure_bodies import ball, cylinder, draw, ellipsoid_area, grid_around, turned
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.dataset.manifest import Case, Channel, Manifest, write_manifest
from osteon.formats import write_segmentation, write_volume
from osteon.measuring.changes import Visit, find_changes
from osteon.measuring.figure import Figure
from osteon.measuring.intervals import measure_scene
from osteon.measuring.registry import MEASURES, find_measures
from osteon.measuring.scene import make_scene

EGG = (30.0, 15.0, 10.0)
EGG_TRUTH = {
    "volume_cm3": 4 / 3 * np.pi * np.prod(EGG) / 1000,
    "surface_area_mm2": ellipsoid_area(EGG),
    "length_mm": 60.0,
    "width_mm": 30.0,
    "depth_mm": 20.0,
    "longest_diameter_3d_mm": 60.0,
}


def figures(segmentation: Segmentation, *what: str, **more: object) -> dict[tuple[str, str], Figure]:
    scene = make_scene("case", segmentation, **more)  # type: ignore[arg-type]
    return {(one.about, one.name): one for one in measure_scene(scene, find_measures(what or None))}


@pytest.mark.parametrize(
    ("spacing", "tolerance"), [(1.0, 0.02), (2.0, 0.05), ((0.6, 0.6, 3.0), 0.07)], ids=["1", "2", "anisotropic"]
)
def test_an_ellipsoid_in_any_position_measures_what_it_does(spacing: object, tolerance: float) -> None:
    turn = Rotation.random(random_state=1).as_matrix()
    field = turned(ball((0, 0, 0), EGG), turn, (0.3, 0.1, -0.2))
    found = figures(draw({"tumour": field}, grid_around([-31] * 3, [31] * 3, spacing)))  # type: ignore[arg-type]
    for name, truth in EGG_TRUTH.items():
        one = found["tumour", name]
        assert one.value == pytest.approx(truth, rel=tolerance), name
        assert (one.low or 0) < truth < (one.high or 0), name


def test_a_cylinder_along_the_body_measures_what_recist_does() -> None:
    found = figures(draw({"lesion": cylinder(40, 8)}, grid_around([-9, -9, -21], [9, 9, 21], 0.8)), "tumour", "bone")
    assert found["lesion", "longest_diameter_mm"].value == pytest.approx(16, abs=0.6)  # axial planes cut it round
    assert found["lesion", "perpendicular_diameter_mm"].value == pytest.approx(16, abs=0.6)
    assert found["lesion", "longest_diameter_3d_mm"].value == pytest.approx(np.hypot(40, 16), abs=0.8)
    assert found["lesion", "surface_area_mm2"].value == pytest.approx(2 * np.pi * 8 * 48, rel=0.03)


def test_the_frame_of_the_voxels_changes_nothing() -> None:
    field = turned(ball((0, 0, 0), (14, 9, 6)), Rotation.from_euler("xyz", [20, 30, 40], degrees=True).as_matrix())
    oblique = Rotation.from_euler("zyx", [35, 20, 10], degrees=True).as_matrix()
    frames = [np.eye(3), np.diag([-1, -1, 1]), np.eye(3)[[2, 0, 1]], oblique, oblique @ np.diag([1, 1, -1])]
    all_found = [figures(draw({"tumour": field}, grid_around([-15] * 3, [15] * 3, 1, frame))) for frame in frames]
    for key, first in all_found[0].items():
        for other in all_found[1:]:
            low, high = first.low or 0, first.high or 0
            assert low < (other[key].value or 0) < high, key


def test_what_cannot_be_measured_is_said() -> None:
    grid = grid_around([-20] * 3, [20] * 3)
    whole = draw({"femur_left": ball((0, 0, 0), (12, 8, 8)), "tumour": ball((0, 40, 0), (5, 5, 5))}, grid)
    cut = Segmentation(whole.array[20:], Geometry((32, 52, 52), grid.affine_ras), whole.structures)
    found = figures(cut, "bone", "tumour")
    assert found["femur_left", "volume_cm3"].not_measured == "femur_left is cut by the field of view"
    assert found["tumour", "volume_cm3"].not_measured == "tumour is not there"
    assert all(one.value is None for one in found.values())
    picture = Geometry((40, 40, 1), np.eye(4), "px")
    disc = (np.hypot(*np.mgrid[-20:20, -20:20]) < 10)[..., None].astype(np.uint8)
    found = figures(Segmentation(disc, picture, make_structures(["capitate"])))
    assert found["capitate", "length_px"].value == pytest.approx(20, abs=1)
    assert found["capitate", "surface_area_px2"].value == pytest.approx(np.count_nonzero(disc), rel=0.001)
    assert not {one.unit for one in found.values()} & {"mm", "mm2", "cm3"}


def test_what_ends_flat_near_the_edge_of_the_scan_is_flagged() -> None:
    grid = grid_around([-30, -30, -20], [30, 30, 20], margin=5)
    found = figures(draw({"rod": cylinder(40, 8), "ball": ball((20, 20, 0), (10, 10, 20))}, grid), "volume")
    assert found["rod", "volume_cm3"].flags == ("rod ends flat close to the edge of the scan: perhaps it is cut",)
    assert not found["ball", "volume_cm3"].flags


def test_a_side_that_was_drawn_in_thick_slices_is_no_cut() -> None:
    def boxy(points: np.ndarray) -> np.ndarray:
        x, y, z = np.abs(points) / np.array([[25], [16], [13]], np.float32)
        return np.asarray(np.maximum((x**3.5 + y**3.5) ** (1 / 3.5) - 1, z - 1) * 16, np.float32)

    drawn = draw({"L3": boxy}, grid_around([-26, -40, -40], [26, 40, 40]))
    array = np.repeat(drawn.array[2::4], 4, axis=0)[4:-4]
    grid = Geometry(array.shape, drawn.geometry.affine_ras)  # type: ignore[arg-type]
    assert not figures(Segmentation(array, grid, drawn.structures), "volume")["L3", "volume_cm3"].flags


def test_holes_and_pieces_are_flagged() -> None:
    grid = grid_around([-15] * 3, [45, 15, 15])
    body = draw({"bone": ball((0, 0, 0), (12, 12, 12))}, grid)
    hole = draw({"hole": ball((0, 0, 0), (6, 6, 6))}, grid).array > 0
    piece = draw({"piece": ball((35, 0, 0), (6, 6, 6))}, grid).array > 0
    labels = np.where(hole, 0, body.array | piece).astype(np.uint8)
    one = figures(Segmentation(labels, grid, body.structures))["bone", "volume_cm3"]
    assert one.value == pytest.approx(np.count_nonzero(labels) / 1000, rel=0.02)
    assert any("2 pieces" in flag for flag in one.flags)
    assert any("holes" in flag for flag in one.flags)


def test_exchanged_sides_are_flagged_as_the_audit_has_them() -> None:
    places = {"hip_left": (20, 0, 0), "hip_right": (-20, 0, 0), "rib_left": (-20, 0, 40), "rib_right": (20, 0, 40)}
    fields = {name: ball(place, (8, 8, 8)) for name, place in places.items()}
    drawn = draw(fields, grid_around([-30, -10, -10], [30, 10, 50], 2))
    found = figures(drawn, "volume")
    words = "hip_left lies right of hip_right: sides exchanged, or a mirrored image"
    assert [one.flags for one in found.values()] == [(words,), (words,), (), ()]
    affine = np.diag([-1.0, 1, 1, 1]) @ drawn.geometry.affine_ras
    mirror = Segmentation(drawn.array, Geometry(drawn.geometry.shape, affine), drawn.structures)
    assert [bool(one.flags) for one in figures(mirror, "volume").values()] == [False, False, True, True]


def test_a_bone_in_thick_slices_is_not_taken_for_cut() -> None:
    bulb, shaft = ball((0, 0, 40), (13, 13, 13)), cylinder(80, 6)
    grid = grid_around([-14, -14, -44], [14, 14, 54], (0.5, 0.5, 6))
    one = figures(draw({"femur": lambda p: np.minimum(bulb(p), shaft(p))}, grid), "volume")["femur", "volume_cm3"]
    assert one.value == pytest.approx(4 / 3 * np.pi * 2.197 + np.pi * 0.36 * 6.85, rel=0.05)
    assert not one.flags


def test_members_and_probabilities_widen_the_interval() -> None:
    grid = grid_around([-14] * 3, [14] * 3)
    drawn = {radius: draw({"tumour": ball((0, 0, 0), (radius,) * 3)}, grid) for radius in (8, 10, 12)}
    soft = 1 / (1 + np.exp((np.linalg.norm(grid.to_world(np.indices(grid.shape).reshape(3, -1).T), axis=1) - 10) / 2))

    def width(**more: object) -> float:
        one = figures(drawn[10], "volume", **more)["tumour", "volume_cm3"]
        return (one.high or 0) - (one.low or 0)

    alone = width()
    assert width(members=[drawn[8], drawn[10], drawn[12]]) > 2 * alone
    assert width(probability_of=lambda _: soft.reshape(grid.shape)) > 2 * alone


def test_a_folder_is_measured_once_and_again_where_it_has_changed(tmp_path: Path) -> None:
    predictions = tmp_path / "predictions"
    grid = grid_around([-12] * 3, [12] * 3)
    for number in range(6):
        radius = 6 + 0.05 * number + 4 * (number == 5)
        body = draw({"tumour": ball((0, 0, 0), (radius, radius, radius))}, grid)
        write_segmentation(predictions / f"visit{number}.seg.nrrd", body)
    visits = tmp_path / "visits.csv"
    visits.write_text("case,subject,date\nvisit0,anna,2024-01-01\nvisit5,anna,2026-01-01\n")
    (predictions / "broken.nii.gz").write_bytes(b"no image")
    record = {"output": "visit1.seg.nrrd", "confidence": {"tumour": 0.5}, "review": ["tumour is larger than usual"]}
    (predictions / "predictions.json").write_text(json.dumps({"visit1": record}))
    out = tmp_path / "out"
    report = osteon.measure(predictions, out, what=["volume"], visits=visits)
    assert list(report.failed) == ["broken"]
    assert len(report.done) == 6
    assert report.cohort[0].outliers.keys() == {"visit5"}
    flagged = {figure.case: figure.flags for figure in report.figures if figure.flags}
    assert flagged == {"visit1": ("expected Dice 0.50", "to review: tumour is larger than usual")}
    change = report.changes[0]
    assert change.change == pytest.approx(4 / 3 * np.pi * (10.25**3 - 6**3) / 1000, rel=0.02)
    assert change.per_year(change.change) == pytest.approx(change.change / 2, rel=0.01)
    with (out / "measures.csv").open() as text:
        rows = list(csv.DictReader(text))
    assert {row["measure"] for row in rows} == {"volume_cm3"}
    assert rows[0]["subject"] == "anna"
    data = json.loads((out / "measures.json").read_text())
    assert data["measures"][0]["definition"]
    assert data["figures"][0]["value"] == report.figures[0].value
    again = osteon.measure(predictions, out, what=["volume"])
    assert len(again.skipped) == 6
    assert again.figures == report.figures
    assert not (out / "changes.csv").exists()
    write_segmentation(predictions / "visit0.seg.nrrd", draw({"tumour": ball((0, 0, 0), (7, 7, 7))}, grid))
    assert osteon.measure(predictions, out, what=["volume"]).done == ["visit0"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other/measures.csv").write_text("mine\n")
    with pytest.raises(osteon.UsageError, match="not written by osteon"):
        osteon.measure(predictions, tmp_path / "other")
    with pytest.raises(osteon.UsageError, match="weight: no measure"):
        osteon.measure(predictions, out, what=["weight"])


def test_changes_follow_the_days_and_have_an_interval() -> None:
    def figure(case: str, value: float) -> Figure:
        return Figure(
            case=case, structures=("a",), measure="length", unit="mm", value=value, low=value - 3, high=value + 4
        )

    found = find_changes(
        [figure("late", 20), figure("early", 10)],
        [Visit(case="late", subject="s", day="2025-01-01"), Visit(case="early", subject="s", day="2024-01-01")],  # type: ignore[arg-type]
    )
    assert [(one.first, one.second, one.change, one.low, one.high) for one in found] == [("early", "late", 10, 5, 15)]


def test_every_row_says_what_it_is() -> None:
    names = [row.name for row in MEASURES]
    assert len(set(names)) == len(names)
    for row in MEASURES:
        assert all((row.what, row.definition, row.source, row.drawn)), row.name


def test_density_and_cortex_of_a_hollow_bone_in_ct() -> None:
    grid = grid_around([-20] * 3, [20] * 3)
    outside, inside = ball((0, 0, 0), (18, 18, 18)), ball((0, 0, 0), (14, 14, 14))
    points = grid.to_world(np.indices(grid.shape).reshape(3, -1).T).T.astype(np.float32)
    hu = np.where(inside(points) < 0, 200, np.where(outside(points) < 0, 1200, 0)).reshape(grid.shape)
    image = Volume(ndimage.gaussian_filter(hu.astype(np.float32), 0.5)[None], grid)
    bone = draw({"tibia_left": outside}, grid)
    found = figures(bone, "density", image=image, modality="ct")
    assert found["tibia_left", "core_hu"].value == pytest.approx(200, abs=20)
    assert found["tibia_left", "cortex_hu"].value == pytest.approx(1150, abs=80)
    for name in ("mean", "p5", "p95"):
        thickness = found["tibia_left", f"cortical_thickness_{name}_mm"]
        assert (thickness.low or 0) < 4 < (thickness.high or 0)
    assert not figures(bone, "density", image=image, modality="mr")
    unknown = figures(bone, "density")["tibia_left", "core_hu"]
    assert unknown.not_measured == "it is unknown whether the scan is a CT (--modality)"


def test_spaces_and_overlaps_between_the_bones_of_a_picture() -> None:
    grid = Geometry((100, 1, 100), np.diag([0.5, 1, 0.5, 1.0]))
    x, z = np.mgrid[0:100, 0:100] * 0.5
    masks = [
        (abs(x - 25) < 6) & (z > 4) & (z < 18),
        (abs(x - 25) < 6) & (z > 21) & (z < 38),
        np.hypot(x - 25, z - 38) < 4,
    ]
    segmentation = Segmentation(np.stack(masks)[:, :, None].astype(np.uint8), grid, make_structures(["a", "b", "c"]))
    found = figures(segmentation)
    gap = 0.5 * (np.flatnonzero(masks[1].any(0))[0] - np.flatnonzero(masks[0].any(0))[-1] - 1)
    assert found["a + b", "joint_space_least_mm"].value == pytest.approx(gap, abs=0.15)
    assert found["a + b", "joint_space_mean_mm"].value == pytest.approx(gap, abs=0.4)
    assert found["b + c", "overlap_mm2"].value == np.count_nonzero(masks[1] & masks[2]) / 4
    assert found["a", "length_mm"].value == pytest.approx(0.5 * masks[0].any(0).sum(), abs=0.2)
    assert not {"a + c", "b + c"} & {about for about, name in found if name.startswith("joint")}


def test_a_dataset_says_that_its_scans_are_ct_and_whose_they_are(tmp_path: Path) -> None:
    grid = grid_around([-14] * 3, [14] * 3)
    body = draw({"tibia_left": ball((0, 0, 0), (12, 12, 12))}, grid)
    cases = []
    for name in ("first", "second"):
        write_segmentation(tmp_path / f"labels/{name}.seg.nrrd", body)
        write_volume(tmp_path / f"{name}.nii.gz", Volume(np.where(body.array > 0, 700, 0)[None].astype(np.int16), grid))
        cases.append(Case(id=name, images=[f"{name}.nii.gz"], segmentation=f"labels/{name}.seg.nrrd", subject="anna"))
    channels = [Channel.of("ct")]
    write_manifest(tmp_path, Manifest(name="legs", channels=channels, structures=list(body.structures), cases=cases))
    report = osteon.measure(tmp_path, tmp_path / "out", what=["core", "volume"])
    assert [(one.measure, one.change) for one in report.changes] == [("volume_cm3", 0.0), ("core_hu", 0.0)]
    assert [one.value for one in report.figures if one.measure == "core"] == [700, 700]
    alone = osteon.measure(tmp_path / "labels", tmp_path / "more", what=["core"], dataset=tmp_path)
    assert [one.value for one in alone.figures] == [700, 700]
    other = Volume(np.zeros((1, 20, 20, 20), np.int16) + 5, Geometry((20, 20, 20), np.eye(4)))
    other.array[0, 0] = 0
    write_volume(tmp_path / "second.nii.gz", other)
    failed = osteon.measure(tmp_path / "labels", tmp_path / "more", what=["core"], dataset=tmp_path).failed
    assert "does not lie on the grid" in failed["second"].message
