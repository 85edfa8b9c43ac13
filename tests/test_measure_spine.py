"""Phantom spines measure what they were built with, in any frame; what a scan does not give is said."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from measure_bodies import ball, draw
from measure_spines import Part, build, truths
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure, make_structures
from osteon.core.volume import Volume
from osteon.measuring.figure import Figure
from osteon.measuring.intervals import measure_scene
from osteon.measuring.registry import find_measures
from osteon.measuring.scene import make_scene

Found = dict[tuple[str, str], Figure]
OBLIQUE = Rotation.from_euler("zyx", [35, 20, 10], degrees=True).as_matrix()
POSE = Rotation.from_euler("xyz", [8, 6, 4], degrees=True)


def figures(segmentation: Segmentation, *what: str, **more: object) -> Found:
    scene = make_scene("case", segmentation, **more)  # type: ignore[arg-type]
    return {(one.about, one.name): one for one in measure_scene(scene, find_measures(what or ("spine",)))}


def parts(**more: object) -> list[Part]:
    return [
        Part("vertebrae_T12", wedge=5, disc=7, forwards=2, sideways=6, **more),  # type: ignore[arg-type]
        Part("vertebrae_L1", wedge=8, disc=8, forwards=4, sideways=6, **more),  # type: ignore[arg-type]
        Part("vertebrae_L2", sink=2, disc=9, forwards=8, sideways=-8, slip=5, **more),  # type: ignore[arg-type]
        Part("vertebrae_L3", **more),  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize(
    ("shape", "spacing", "directions"),
    [
        ({}, 1.0, np.diag([-1, -1, 1])),
        ({"box": True}, 1.5, OBLIQUE @ np.diag([1, 1, -1])),
        ({"arch": True}, 1.5, np.eye(3)[[2, 0, 1]]),
    ],
    ids=["bodies in LPS", "boxes in a mirrored oblique frame", "whole vertebrae"],
)
def test_a_phantom_measures_what_it_was_built_with(
    shape: dict[str, bool], spacing: float, directions: np.ndarray
) -> None:
    spine = build(parts(**shape), POSE)
    found = figures(draw(spine.fields(), spine.grid(spacing, directions)))
    for key, truth in truths(spine).items():
        one = found[key]
        tolerance = {"mm": 0.8 * spacing, "deg": 1.2, "ratio": 0.05 * spacing}[one.unit]
        assert one.value == pytest.approx(truth, abs=tolerance), key
        assert (one.low or 0) < truth < (one.high or 0), key
        assert one.drawings, key
        assert not one.flags, key
    assert found["vertebrae_L2 + vertebrae_L3", "meyerding_grade"].value == 1
    assert found["vertebrae_L1 + vertebrae_L2", "meyerding_grade"].value == 0


def test_curves_have_a_side_and_lordosis_a_sign() -> None:
    row = [
        Part(
            f"L{n}",
            half_depth=14,
            half_width=18,
            height=20,
            sink=2.3 * (n == 3),
            disc=6,
            forwards=9,
            sideways=4 * (n < 4),
        )
        for n in range(1, 6)
    ]
    spine = build([Part("T12", half_depth=14, half_width=18, height=20, disc=6, sideways=4), *row])
    segmentation = draw(spine.fields(), spine.grid(1.5))
    found = figures(segmentation, "cobb", "coronal_angle", "lordosis", "kyphosis", "genant", "biconcavity_ratio")
    angle = found["L1 + L5", "coronal_angle_deg"]
    assert angle.value == pytest.approx(spine.lean(5, 1, 0) - spine.lean(1, 0, 0), abs=1)
    assert abs(angle.value or 0) > 10
    assert found["L1 + L5", "lordosis_deg"].value == pytest.approx(spine.lordosis(1, 5), abs=1)
    assert (found["L1 + L5", "lordosis_deg"].value or 0) > 30
    side = "right" if (angle.value or 0) > 0 else "left"
    assert f"curve to the {side}" in found["T12 + L5", "cobb_deg"].drawings[0].name
    middle = spine.places[3][0][0]
    ends = np.mean([spine.places[0][0][0], spine.places[-1][0][0]])
    assert (middle > ends) == (side == "right")  # the bulge lies where the words say
    assert (found["L3", "biconcavity_ratio"].value or 1) < 0.8  # as of many healthy lumbar vertebrae
    assert [found[f"L{n}", "genant_grade"].value for n in range(1, 6)] == [0, 0, 0, 0, None]
    assert found["L5", "genant_grade"].not_measured.startswith("grades are for T4 to L4")
    mirrored = Segmentation(segmentation.array[::-1], segmentation.geometry, segmentation.structures)
    other = figures(mirrored, "coronal_angle", "lordosis")
    assert other["L1 + L5", "coronal_angle_deg"].value == pytest.approx(-(angle.value or 0), abs=0.3)
    assert other["L1 + L5", "lordosis_deg"].value == pytest.approx(found["L1 + L5", "lordosis_deg"].value, abs=0.3)


def test_collapsed_vertebrae_have_grades() -> None:
    small = {"half_depth": 14, "half_width": 18, "disc": 6}
    shapes = [(20, 0, 0), (17, 12, 0), (20, 0, 4.5), (20, 0, 0), (14, 0, 0), (20, 0, 0)]
    row = [
        Part(f"T{n}", height=height, wedge=wedge, sink=sink, **small)  # type: ignore[arg-type]
        for n, (height, wedge, sink) in enumerate(shapes, 6)
    ]
    spine = build(row)
    found = figures(draw(spine.fields(), spine.grid(1.0)), "genant", "compression_ratio", "wedge_ratio")
    assert [found[f"T{n}", "genant_grade"].value for n in range(6, 12)] == [0, 2, 3, 0, 2, 0]
    assert found["T10", "compression_ratio"].value == pytest.approx(0.7, abs=0.03)
    assert spine.heights(1)[0] / spine.heights(1)[2] == pytest.approx(found["T7", "wedge_ratio"].value, abs=0.03)


def test_density_is_that_of_the_core_and_needs_a_ct() -> None:
    spine = build([Part("L1"), Part("L2")])
    grid = spine.grid(1.5)
    segmentation = draw(spine.fields(), grid)
    places = grid.to_world(np.indices(grid.shape).reshape(3, -1).T)
    core = np.linalg.norm((places - spine.places[0][0]) / (14, 11, 8), axis=1) < 1
    image = np.where(core, 160, 700).reshape(grid.shape)[None].astype(np.float32)
    found = figures(segmentation, "trabecular", image=Volume(image, grid), modality="ct")
    assert found["L1", "trabecular_hu"].value == pytest.approx(160, abs=40)
    assert found["L2", "trabecular_hu"].value == pytest.approx(700)
    why = figures(segmentation, "trabecular")["L1", "trabecular_hu"].not_measured
    assert "unknown whether the scan is a CT" in why


def test_a_label_of_discs_is_measured_where_there_is_one() -> None:
    spine = build([Part("L4", disc=12), Part("L5")], POSE)
    centre, frame = spine.places[0][0] - 19 * spine.places[0][1][2], spine.places[0][1].astype(np.float32)

    def disc(points: np.ndarray) -> np.ndarray:
        x, y, z = frame @ (points - centre[:, None].astype(np.float32))
        return np.asarray(np.maximum((np.hypot(x / 20, y / 16) - 1) * 16, np.abs(z) - 4), np.float32)

    fields = {**spine.fields(), "disc_L4_L5": disc}
    found = figures(draw(fields, spine.grid(1.0)), "disc_height", "anterior_height")
    assert found["L4 + L5", "disc_height_mm"].value == pytest.approx(8, abs=0.4)
    assert ("disc_L4_L5", "anterior_height_mm") not in found


def _cut(segmentation: Segmentation, first: int, last: int | None = None) -> Segmentation:
    grid = segmentation.geometry
    affine = grid.affine_ras.copy()
    affine[:3, 3] = grid.to_world([[0, 0, first]])[0]
    array = segmentation.array[:, :, first:last]
    return Segmentation(array, Geometry(array.shape, affine), segmentation.structures)  # type: ignore[arg-type]


def test_what_a_scan_does_not_give_is_said() -> None:
    spine = build([Part(f"L{n}") for n in range(1, 5)], POSE)
    whole = draw(spine.fields(), spine.grid(1.5))
    level = int(np.linalg.solve(whole.geometry.affine_ras, [*spine.places[3][0], 1])[2])
    found = figures(_cut(whole, level))  # through the middle of L4
    assert found["L4", "anterior_height_mm"].not_measured == "the lower end plate of L4 is cut by the field of view"
    assert found["L3 + L4", "disc_height_mm"].value == pytest.approx(9, abs=0.8)
    assert "L4 is cut" in found["L1 + L4", "cobb_deg"].flags[0].replace("the lower end plate of ", "")

    gone = Segmentation(np.where(whole.array == 2, 0, whole.array), whole.geometry, whole.structures)
    found = figures(gone)
    assert "between L1 and L3 vertebrae are missing" in found["L1 + L3", "disc_height_mm"].not_measured
    assert found["L2", "anterior_height_mm"].not_measured == "L2 is not there"
    assert found["L3 + L4", "disc_height_mm"].value == pytest.approx(9, abs=0.8)
    counted = Structure(name="vertebra", value=1, colour="#ff0000", instances=True, last_value=4)
    found = figures(Segmentation(gone.array, gone.geometry, (counted,)), "spine", "fragments")
    assert not [name for _, name in found if "fragments" in name]  # numbers count vertebrae here
    assert "too far apart" in found["vertebra 1 + vertebra 3", "disc_height_mm"].not_measured
    assert found["vertebra 3 + vertebra 4", "disc_height_mm"].value == pytest.approx(9, abs=0.8)

    exchanged = Segmentation(whole.array, whole.geometry, make_structures(["L1", "L3", "L2", "L4"]))
    found = figures(exchanged)
    words = "names and positions contradict each other: L2 lies below L3"
    assert found["L3 + L2", "disc_height_mm"].not_measured == words
    assert found["L1 + L4", "cobb_deg"].not_measured == words
    assert words in found["L1", "anterior_height_mm"].flags

    two = np.where(whole.array == 4, 3, whole.array)  # one label on two vertebrae
    found = figures(Segmentation(two, whole.geometry, whole.structures))
    assert "pieces, one above the other" in found["L3", "anterior_height_mm"].not_measured


def test_a_file_with_front_and_back_exchanged_is_found_out() -> None:
    spine = build([Part("L1", arch=True), Part("L2", arch=True)])
    whole = draw(spine.fields(), spine.grid(2))
    found = figures(Segmentation(whole.array[:, ::-1], whole.geometry, whole.structures))
    assert "front and back look exchanged" in found["L1", "anterior_height_mm"].not_measured


def test_thick_slices_widen_intervals_or_are_refused() -> None:
    spine = build([Part("L1"), Part("L2", wedge=8), Part("L3")])
    sagittal = figures(draw(spine.fields(), spine.grid((6.0, 0.8, 0.8))), "spine")
    assert sagittal["L2", "wedge_angle_deg"].value == pytest.approx(8, abs=1.5)
    assert sagittal["L1 + L2", "disc_height_mm"].value == pytest.approx(9, abs=0.7)
    axial = figures(draw(spine.fields(), spine.grid((0.8, 0.8, 6.0))), "spine")
    height = axial["L2", "middle_height_mm"]
    assert (height.high or 0) - (height.low or 0) > 6
    assert any("mm long along" in flag for flag in height.flags)
    assert "too long for a disc" in axial["L1 + L2", "disc_height_mm"].not_measured
    assert "too long for comparing" in axial["L2", "genant_grade"].not_measured


def test_what_is_no_vertebra_has_no_figures() -> None:
    found = figures(draw({"femur_left": ball((0, 0, 0), (12, 8, 8))}, build([Part("L1")]).grid(2)))
    assert not found
