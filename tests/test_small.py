"""What a plan says of small structures: the section `zoom`, warnings, the size of the crops."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers import FLAT, box, spacing_affine, tiny_plan, write_dataset
from osteon.core.errors import DatasetError, UsageError
from osteon.core.files import read_json, write_json
from osteon.core.labels import make_structures
from osteon.dataset.dataset import Dataset
from osteon.plan.schema import Zoom
from osteon.planning.dataset_plan import plan_dataset
from osteon.planning.fingerprint import CaseFacts, Fingerprint, StructureFacts, measure_fingerprint
from osteon.planning.options import DEFAULTS
from osteon.planning.planner import estimate_cache_bytes, make_plan
from osteon.planning.zoom_choice import coverage_warnings
from osteon.preparing.cache import prepare_cases

ZOOMED = replace(DEFAULTS, zoom=["tibia"])


def two_sizes(folder: Path, spacing_mm: tuple[float, float, float] = (1.0, 2.0, 2.0)) -> Dataset:
    """Two scans with a femur of 20 × 10 × 6 voxels and a tibia of 4 × 3 × 2."""
    cases = {}
    for number, name in enumerate("ab"):
        femur, tibia = [slice(2, 22), slice(2, 12), slice(1, 7)], [slice(24, 28), slice(12, 15), slice(8, 10)]
        labels = box((32, 24, 20), (3, femur), (5, tibia))
        image = np.random.default_rng(number).normal(0, 9, labels.shape) + 100 * (labels > 0)
        cases[name] = (image.astype(np.int16), labels, spacing_affine(*spacing_mm))
    return write_dataset(folder, cases)


def facts(shape: tuple[int, int, int], **extents: tuple[float, float, float]) -> CaseFacts:
    """A case of 1 mm voxels with structures of these extents in its middle."""
    centre = tuple(n / 2 for n in shape)
    structures = {name: StructureFacts(voxels=9, centre_mm=centre, extent_mm=e) for name, e in extents.items()}  # type: ignore[arg-type]
    return CaseFacts(id="a", shape=shape, spacing_mm=(1, 1, 1), unit="mm", structures=structures, intensities=[[0.0]])


def warnings_of(plan: dict[str, object], *cases: CaseFacts) -> list[str]:
    return coverage_warnings(tiny_plan(plan), Fingerprint(cases=list(cases)))


def test_extents_are_measured(tmp_path: Path) -> None:
    found = measure_fingerprint(two_sizes(tmp_path)).cases[0].structures
    assert found["femur"].extent_mm == pytest.approx((20, 20, 12))
    assert found["tibia"].extent_mm == pytest.approx((4, 6, 4))


def test_what_an_older_version_measured_is_measured_anew(tmp_path: Path) -> None:
    dataset = two_sizes(tmp_path)
    before = measure_fingerprint(dataset)
    path = tmp_path / "fingerprint.json"
    old = read_json(path, "the fingerprint")
    for case in old["cases"]:
        for structure in case["structures"].values():
            del structure["extent_mm"]
    write_json(path, old)
    assert measure_fingerprint(dataset) == before


def test_zoom_is_planned_from_the_structures_extent(tmp_path: Path) -> None:
    dataset = two_sizes(tmp_path)
    zoom = make_plan(dataset, measure_fingerprint(dataset), ZOOMED).zoom
    assert zoom is not None
    assert (zoom.structures, zoom.factor, zoom.predict) == (["tibia"], 2.0, True)
    assert zoom.margin_mm == 8.0  # four voxels of 2 mm; half of the tibia would be 3
    both = make_plan(dataset, measure_fingerprint(dataset), replace(DEFAULTS, zoom=["tibia", "femur", "tibia"])).zoom
    assert both is not None
    assert (both.structures, both.margin_mm) == (["tibia", "femur"], 10.0)
    assert make_plan(dataset, measure_fingerprint(dataset)).zoom is None


def test_a_zoom_structure_that_is_not_there_is_refused(tmp_path: Path) -> None:
    dataset = two_sizes(tmp_path)
    with pytest.raises(UsageError, match="there is no structure tibbia") as caught:
        make_plan(dataset, measure_fingerprint(dataset), replace(DEFAULTS, zoom=["tibbia"]))
    assert "tibia" in str(caught.value.hint)
    labels = box((9, 9, 9), (3, [slice(2, 6)] * 3))
    none = write_dataset(tmp_path / "none", {"a": (labels.astype(np.int16), labels, np.eye(4))})
    with pytest.raises(DatasetError, match="structures that are in no case for training: tibia"):
        make_plan(none, measure_fingerprint(none), ZOOMED)


def test_vertebrae_are_named_by_their_row(tmp_path: Path) -> None:
    names = ["L1", "L2", "L3"]
    bodies = [(n + 1, [slice(2, 8), slice(2, 8), slice(2 + 8 * n, 8 + 8 * n)]) for n in range(3)]
    labels = box((10, 10, 28), *bodies)
    image = (100 * (labels > 0) + np.arange(28)).astype(np.int16)
    cases = {name: (image, labels, np.eye(4)) for name in "abc"}
    dataset = write_dataset(tmp_path, cases, make_structures(names))
    plan = make_plan(dataset, measure_fingerprint(dataset), replace(DEFAULTS, zoom=["L2"]))
    assert plan.sequence is not None
    assert plan.zoom is not None
    assert not plan.zoom.predict


def test_what_a_patch_cannot_hold_is_said() -> None:
    wide = [facts((40, 40, 40), femur=(n, 8, 3), tibia=(8, 8, 8)) for n in (6, 12, 30)]
    (warnings,) = warnings_of({}, *wide)
    assert warnings.startswith("larger than a patch (8 × 8 × 8 mm)")
    assert "femur (12 mm along R)" in warnings
    assert "tibia" not in warnings
    assert warnings_of({"patch.size": [12, 8, 8]}, *wide) == []
    assert warnings_of({"grid.spacing_mm": [1.5, 1, 1]}, *wide) == []


def test_what_the_grid_hardly_shows_is_said() -> None:
    thin = facts((40, 40, 40), femur=(1.5, 8, 1), tibia=(2, 8, 8))
    (warnings,) = warnings_of({}, thin)
    assert warnings.startswith(
        "smaller than 2 voxels of the plan's grid: femur (1 mm along S), femur (1.5 mm along R);"
    )
    assert "--zoom" in warnings
    both = warnings_of({"grid.spacing_mm": [0.9, 0.9, 0.5]}, thin)
    assert [text.split(" ")[0] for text in both] == ["larger", "smaller"]
    assert "tibia (8 mm along S)" in both[0]
    assert "femur (1.5 mm along R)" in both[1]


def test_across_slices_nothing_is_said() -> None:
    assert warnings_of({**FLAT, "grid.spacing_mm": [1.0, 1.0, 5.0]}, facts((9, 9, 90), femur=(8, 8, 50))) == []
    turned = {**FLAT, "grid.axes": ["A", "S", "R"]}
    assert "femur (9 mm along S)" in warnings_of(turned, facts((9, 9, 9), femur=(1, 8, 9)))[0]


def test_many_structures_are_counted() -> None:
    names = [f"b{n}" for n in range(9)]
    structures = [{"name": name, "value": n + 1, "colour": "#ff0000"} for n, name in enumerate(names)]
    case = facts((40, 40, 40), **{name: (20.0 + n, 4.0, 4.0) for n, name in enumerate(names)})
    (warnings,) = warnings_of({"structures": structures}, case)
    assert "b8 (28 mm along R), b7" in warnings
    assert "b3 (23 mm along R) and 3 more;" in warnings


def test_the_plan_keeps_what_was_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    two_sizes(tmp_path, (1.0, 9.0, 1.0))
    choices = replace(DEFAULTS, settings={"grid.spacing_mm": [1.0, 20.0, 1.0]})
    plan = plan_dataset(tmp_path, choices, device="cpu", measure_cost=False).plan
    reasons = [why for why in plan.patch.why if why.startswith("smaller than 2 voxels")]
    assert len(reasons) == 1
    assert "tibia (27 mm along A)" in reasons[0]
    out, err = capfd.readouterr()
    assert "smaller than 2 voxels" in out + err


@pytest.mark.parametrize("changes", [{}, {**FLAT, "grid.spacing_mm": [1.0, 1.0, 2.0]}])
def test_the_forecast_counts_the_crops(tmp_path: Path, changes: dict[str, object]) -> None:
    dataset = two_sizes(tmp_path)
    without = tiny_plan(changes)
    plan = without.model_copy(update={"zoom": Zoom(structures=["tibia"], margin_mm=4.0)})
    fingerprint = measure_fingerprint(dataset)
    cases = prepare_cases(dataset, plan, dataset.manifest.trainable)[0].values()
    crops = sum(array.nbytes for case in cases for crop in case.zoomed for array in (crop.image, crop.labels))
    assert crops > 0
    assert estimate_cache_bytes(plan, fingerprint) - estimate_cache_bytes(without, fingerprint) == pytest.approx(
        crops, rel=0.25
    )
