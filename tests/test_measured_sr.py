"""DICOM SR of measures: the validator finds no error, and highdicom reads the same figures, intervals and reasons."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest

import osteon
from dicom_writing import SERIES, ct_slice, image, save
from osteon.core.errors import UsageError
from osteon.core.labels import Segmentation, make_structures
from osteon.formats import write_segmentation
from osteon.formats.dicom_series import find_series, series_geometry
from osteon.formats.io import read_scan
from osteon.measuring.figure import Figure

CR = "1.2.840.10008.5.1.4.1.1.1"
SHAPE = (30, 28, 24)
UP, DOWN = "371886008", "371885007"
STRUCTURES = ("femur_left", "tumour", "Ключица")


def scan(folder: Path) -> None:
    for k in range(SHAPE[2]):
        pixels = np.random.default_rng(k).integers(0, 900, SHAPE[1::-1]).astype(np.int16)
        save(image(pixels, **ct_slice(k)), folder / f"im{k}")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Figure]]:
    """The folder of a measured prediction whose scan is a DICOM series."""
    folder = tmp_path_factory.mktemp("sr")
    scan(folder / "scan")
    grid = series_geometry(find_series(folder / "scan").series[0])
    i, j, k = np.indices(SHAPE)
    array = np.zeros(SHAPE, np.uint8)
    array[(i - 9) ** 2 + (j - 14) ** 2 + ((k - 12) * 1.5) ** 2 < 50] = 1
    array[(i - 22) ** 2 / 25 + (j - 14) ** 2 / 49 + ((k - 12) * 1.5) ** 2 / 25 < 1] = 2
    write_segmentation(folder / "labels/p1.seg.nrrd", Segmentation(array, grid, make_structures(STRUCTURES)))
    entry = {
        "input": [[str(path), 1, 2] for path in sorted((folder / "scan").iterdir())],
        "output": "p1.seg.nrrd",
        "model": "abc",
        "confidence": {"tumour": 0.4},
    }
    (folder / "labels/predictions.json").write_text(json.dumps({"p1": entry}))
    families = ["bone", "tumour", "leg", "femur"]
    report = osteon.measure(folder / "labels", folder / "out", what=families, modality="ct", sr=True)
    assert report.failed == {}
    return folder / "out", report.figures


def errors_of(path: Path) -> list[str]:
    """What the validator finds; nothing where it is not installed."""
    validator = shutil.which("dciodvfy")
    if validator is None:
        return []
    output = subprocess.run([validator, str(path)], capture_output=True, text=True, check=False)
    found = (output.stdout + output.stderr).splitlines()
    assert found
    return [line for line in found if line.startswith("Error")]


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed (Debian's dicom3tools)")
@pytest.mark.parametrize("form", ["sr", "seg"])
def test_a_validator_finds_no_error(written: tuple[Path, list[Figure]], form: str) -> None:
    assert errors_of(written[0] / f"dicom/p1_{form}.dcm") == []


def test_highdicom_reads_the_same_figures(written: tuple[Path, list[Figure]]) -> None:
    folder, figures = written
    document = hd.sr.srread(folder / "dicom/p1_sr.dcm")
    assert (document.PatientID, document.StudyInstanceUID) == ("secret-id", SERIES + ".1")
    groups = {
        group.tracking_identifier: group
        for find in ("get_volumetric_roi_measurement_groups", "get_image_measurement_groups")
        for group in getattr(document.content, find)()
    }
    assert set(groups) == {figure.about for figure in figures}
    read: dict[str, list[tuple[float, float | None, float | None, str]]] = {}
    for about, group in groups.items():
        for one in group.get_measurements():
            ends = {item.ConceptNameCodeSequence[0].CodeValue: item.value for item in one[0].get("ContentSequence", [])}
            read.setdefault(about, []).append((one.value, ends.get(DOWN), ends.get(UP), one.unit.value))
    count = 0
    for about in groups:
        own = [figure for figure in figures if figure.about == about and figure.value is not None]
        for figure, (value, down, up, unit) in zip(own, read.get(about, []), strict=True):
            assert value == pytest.approx(figure.value, rel=1e-6)
            assert unit == {"mm": "mm", "cm3": "cm3", "mm2": "mm2", "ratio": "1", "deg": "deg"}[figure.unit]
            if figure.low is not None and figure.high is not None:
                assert value - (down or 0) == pytest.approx(figure.low, rel=1e-5, abs=1e-6)
                assert value + (up or 0) == pytest.approx(figure.high, rel=1e-5, abs=1e-6)
                count += 1
    assert count >= 12
    volume = next(one for one in groups["tumour"].get_measurements() if one.name.value == "YEKZ")
    assert volume.name.scheme_designator == "IBSI"
    private = [one.name for one in groups["femur_left"].get_measurements() if one.name.scheme_designator == "99OSTEON"]
    assert all(len(name.value) <= 16 for name in private)


def test_the_segment_and_the_images_are_referred_to(written: tuple[Path, list[Figure]]) -> None:
    folder = written[0] / "dicom"
    document, seg = hd.sr.srread(folder / "p1_sr.dcm"), pydicom.dcmread(folder / "p1_seg.dcm")
    (group,) = [
        g for g in document.content.get_volumetric_roi_measurement_groups() if g.tracking_identifier == "tumour"
    ]
    item = group.referenced_segment[0].ReferencedSOPSequence[0]
    assert (item.ReferencedSOPInstanceUID, item.ReferencedSegmentNumber) == (seg.SOPInstanceUID, 2)
    evidence = document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert {item.SeriesInstanceUID for item in evidence} == {SERIES, seg.SeriesInstanceUID}


def test_what_speaks_against_a_figure_and_what_was_not_measured_is_said(written: tuple[Path, list[Figure]]) -> None:
    folder, figures = written
    document = hd.sr.srread(folder / "dicom/p1_sr.dcm")
    texts = [element.value for element in document.iterall() if element.keyword == "TextValue"]
    for figure in figures:
        if figure.value is None:
            assert f"{figure.name}: {figure.not_measured}" in texts
        elif figure.flags:
            assert f"{figure.name}: {'; '.join(figure.flags)}" in texts
    assert any(figure.value is None for figure in figures)
    assert "osteon measure" in texts
    assert any("expected Dice 0.40" in text for text in texts)


def test_figures_of_a_picture_refer_to_it(tmp_path: Path) -> None:
    dataset = image(np.full((40, 30), 7, np.uint16), SOPClassUID=CR, Modality="CR", PatientOrientation=["L", "F"])
    for name in ("ImageOrientationPatient", "ImagePositionPatient", "FrameOfReferenceUID", "SliceThickness"):
        delattr(dataset, name)
    path = save(dataset, tmp_path / "hand.dcm")
    grid = read_scan([path]).geometry
    array = np.zeros(grid.shape, np.uint8)
    array[3:14, 5:30], array[16:27, 5:30] = 1, 2
    names = make_structures(["metacarpal_1", "metacarpal_2"])
    write_segmentation(tmp_path / "labels/hand.seg.nrrd", Segmentation(array, grid, names))
    what = ["bone", "joint"]
    report = osteon.measure(tmp_path / "labels", tmp_path / "out", what=what, modality="xray", sr=True, series=path)
    assert report.failed == {}
    path = tmp_path / "out/dicom/hand_sr.dcm"
    assert errors_of(path) == []
    groups = {g.tracking_identifier: g for g in hd.sr.srread(path).content.get_image_measurement_groups()}
    assert list(groups) == ["metacarpal_1", "metacarpal_2", "metacarpal_1 + metacarpal_2"]
    (source,) = groups["metacarpal_1"].source_images
    assert source.referenced_sop_instance_uid == dataset.SOPInstanceUID
    space = next(one for one in report.figures if one.measure == "joint_space_least")
    found = groups["metacarpal_1 + metacarpal_2"].get_measurements()[0]
    assert found.value == pytest.approx(space.value, rel=1e-6)


def test_a_case_of_no_series_is_named(tmp_path: Path, written: tuple[Path, list[Figure]]) -> None:
    labels = written[0].parent / "labels/p1.seg.nrrd"
    shutil.copy(labels, tmp_path / "p2.seg.nrrd")
    report = osteon.measure(tmp_path / "p2.seg.nrrd", tmp_path / "out", what=["volume"], sr=True)
    assert report.failed["p2"].message.startswith("no DICOM SR: ")
    assert "--series FOLDER" in report.failed["p2"].hint
    assert report.figures  # they are measured all the same
    with pytest.raises(UsageError, match="without a DICOM SR"):
        osteon.measure(tmp_path / "p2.seg.nrrd", tmp_path / "out", series=tmp_path)
