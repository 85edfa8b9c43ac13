"""X-rays that people calibrate: lengths follow from markers by hand, and what makes no sense is not kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import osteon
from helpers import two_boxes, write_dataset
from osteon.core.errors import FileError, GeometryError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.dataset.calibration import (
    calibrate_by_marker,
    calibrate_by_spacing,
    calibration_path,
    read_calibration,
    remove_calibration,
)
from osteon.dataset.dataset import Dataset
from osteon.dataset.label_versions import LabelWork, save_label
from osteon.dataset.saved_measurements import save_angle, save_lengths
from osteon.formats import write_volume
from osteon.reporting.case_page import case_html
from osteon.reporting.case_report import report_dataset_case

BOX = 10 * 20
"""Pixels of the first structure."""


def xrays(folder: Path, affine: Any = None, unit: str = "px", **options: Any) -> Dataset:
    image, _, straight = two_boxes((40, 30, 1))
    labels = np.zeros((40, 30, 1), np.uint8)
    labels[2:12, 5:25] = 3
    affine = straight if affine is None else affine
    return write_dataset(folder, {"a": (image, labels, affine)}, unit=unit, modality="xray", **options)


def test_what_a_marker_says_is_in_report_and_measures(tmp_path: Path) -> None:
    dataset = xrays(tmp_path / "d")
    manifest = (dataset.folder / "dataset.yaml").read_bytes()
    save_label(dataset, "a", dataset.load_segmentation(dataset.case("a")), LabelWork("Ada"), base=0)
    save_lengths(dataset.folder, "a", [[[0, 0], [6, 8]], [[0, 0], [5, 0]]], "px", "Ada")
    save_angle(dataset.folder, "a", [1, 2], "Ada")
    calibrate_by_marker(dataset, "a", [[3, 4], [27, 11]], 5, author="Bo")  # 25 px long: 0.2 mm a pixel
    report = report_dataset_case(dataset.folder, "a")
    assert (report.structures[0].size, report.unit) == (pytest.approx(BOX * 0.04), "mm²")
    assert [one.describe() for one in report.measurements] == ["2.0 mm", "1.0 mm", "53.1°"]
    page = case_html(report).decode()
    assert "0.2 mm a pixel, by a marker of 5 mm that is 25.0 px long here; Bo, 20" in page
    assert measured_area(dataset, tmp_path / "m") == ("mm2", pytest.approx(BOX * 0.04, rel=1e-3))

    remove_calibration(dataset, "a", author="Bo")
    report = report_dataset_case(dataset.folder, "a")
    assert (report.structures[0].size, report.unit, report.measurements[0].describe()) == (BOX, "px²", "10.0 px")
    assert measured_area(dataset, tmp_path / "m") == ("px2", pytest.approx(BOX, rel=1e-3))
    assert (dataset.folder / "dataset.yaml").read_bytes() == manifest
    assert '"Bo"' in calibration_path(dataset.folder, "a").read_text(), "who calibrated it, and who removed that"


def measured_area(dataset: Dataset, out: Path) -> tuple[str, float | None]:
    report = osteon.measure(dataset.folder, out, what=["surface_area"])
    return next((figure.unit, figure.value) for figure in report.figures if figure.value is not None)


def test_a_spacing_is_typed_and_replaces_what_a_file_says(tmp_path: Path) -> None:
    at_detector = np.diag([0.15, 0.15, 1, 1])
    dataset = xrays(tmp_path / "d", at_detector, "mm", overlapping=True)
    calibrate_by_spacing(dataset, "a", 0.12, author="Bo")
    calibration = read_calibration(dataset.folder, "a")
    assert calibration is not None
    grid = calibration.apply(dataset.geometry(dataset.case("a")))
    assert grid.spacing_mm[:2] == pytest.approx((0.12, 0.12))
    assert report_dataset_case(dataset.folder, "a").structures[0].size == pytest.approx(BOX * 0.12**2)


@pytest.mark.parametrize(
    ("line", "length", "told"),
    [
        *(([[0, 0], [20, 0]], value, "makes no sense") for value in (0, -3, float("nan"), float("inf"), 1e6)),
        ([[0, 0], [6, 6]], 20, "8.5 pixels long"),
        ([[0, 0], [400, 0]], 20, "leads out of the picture"),
        ([[0, 0], [float("nan"), 0]], 20, "two ends"),
        ([[0, 0], [20, 0]], 999, "side of a pixel of 49.95 mm makes no sense"),
    ],
)
def test_markers_that_make_no_sense(tmp_path: Path, line: Any, length: float, told: str) -> None:
    dataset = xrays(tmp_path / "d")
    with pytest.raises(UsageError, match=told):
        calibrate_by_marker(dataset, "a", line, length, author="Bo")
    assert not calibration_path(dataset.folder, "a").exists()


def test_what_cannot_be_calibrated(tmp_path: Path) -> None:
    oblong = xrays(tmp_path / "oblong", np.diag([1, 2, 1, 1]))
    with pytest.raises(UsageError, match="no squares"):
        calibrate_by_spacing(oblong, "a", 0.2, author="Bo")
    with pytest.raises(UsageError, match="side of a pixel"):
        calibrate_by_spacing(xrays(tmp_path / "d"), "a", 20, author="Bo")
    with pytest.raises(UsageError, match="is a volume"):
        calibrate_by_spacing(write_dataset(tmp_path / "v", {"a": two_boxes()}), "a", 0.2, author="Bo")


def test_a_calibration_of_other_pixels_is_refused(tmp_path: Path) -> None:
    dataset = xrays(tmp_path / "d")
    calibrate_by_spacing(dataset, "a", 0.2, author="Bo")
    image = dataset.load_image(dataset.case("a"))
    other = Geometry(image.geometry.shape, np.diag([0.5, 0.5, 1, 1]))
    write_volume(dataset.resolve(dataset.case("a").images[0]), Volume(image.array, other))
    calibration = read_calibration(dataset.folder, "a")
    assert calibration is not None
    with pytest.raises(GeometryError, match="pixels that were calibrated"):
        calibration.apply(dataset.geometry(dataset.case("a")))
    calibration_path(dataset.folder, "a").write_text('{"said": [{"scale": -1}]}')
    with pytest.raises(FileError, match="the calibration"):
        read_calibration(dataset.folder, "a")
