"""Scans that nobody labelled: brought in as a dataset, and never taken without a label that lies beside them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import osteon
from dicom_writing import image, save, series
from helpers import two_boxes, write_dataset
from osteon.cli.main import app
from osteon.core.errors import DatasetError, OsteonError, UsageError
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Manifest
from osteon.importing.recognition import get_form
from osteon.predicting.scans import find_scans

PLACES = [(0.0, 0.0, 2.0 * n) for n in range(4)]


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 10), dtype=np.uint8)).save(path)
    return path


def volumes(folder: Path) -> Path:
    """A folder for each of two patients, with a scan that is called the same."""
    made = write_dataset(folder.parent / "made", {f"p{n}": two_boxes(seed=n) for n in (1, 2)}).folder
    for n in (1, 2):
        (folder / f"p{n}").mkdir(parents=True)
        (made / f"images/p{n}.nii.gz").rename(folder / f"p{n}/ct.nii.gz")
    return folder


def taken(report: osteon.ImportReport) -> list[str]:
    return sorted(case.id for case in report.manifest.cases)


def test_volumes_of_a_folder_each_are_cases(tmp_path: Path) -> None:
    report = osteon.import_dataset(volumes(tmp_path / "scans"), tmp_path / "set")
    assert (report.form, taken(report), report.lost) == ("scans", ["p1", "p2"], [])
    assert report.manifest.structures == []
    assert report.manifest.channels[0].modality == "ct"
    dataset = Dataset.open(tmp_path / "set")
    assert dataset.load_image(dataset.case("p1")).array.shape == (1, 12, 10, 8)
    assert sorted(scan.id for scan in find_scans([tmp_path / "set"])) == ["p1", "p2"]


def test_dicom_series_are_cases_and_nobody_is_named(tmp_path: Path) -> None:
    for n in (1, 2):
        series(tmp_path / f"scans/Doe{n}", PLACES, SeriesInstanceUID=f"1.2.{n}", PatientID=f"Doe{n}")
    report = osteon.import_dataset(tmp_path / "scans", tmp_path / "set")
    assert (report.form, len(report.manifest.cases), report.failed) == ("scans", 2, {})
    assert "Doe" not in (tmp_path / "set/dataset.yaml").read_text().replace(str(tmp_path), "").partition("cases:")[2]


def test_a_folder_of_dicom_without_preambles_is_a_case(tmp_path: Path) -> None:
    for path in series(tmp_path / "scans/p", PLACES):
        path.write_bytes(path.read_bytes()[132:])
    report = osteon.import_dataset(tmp_path / "scans", tmp_path / "set")
    assert (report.form, len(report.manifest.cases), report.lost) == ("scans", 1, [])


def test_several_series_of_a_patient_are_cases_of_one_subject(tmp_path: Path) -> None:
    for n in (1, 2):
        series(tmp_path / f"scans/p/s{n}", PLACES, SeriesInstanceUID=f"1.2.{n}", SeriesNumber=n)
    report = osteon.import_dataset(tmp_path / "scans", tmp_path / "set")
    assert len(report.manifest.cases) == 2
    assert len({case.subject for case in report.manifest.cases}) == 1


def test_pictures_are_cases(tmp_path: Path) -> None:
    for n, name in enumerate(("a/left.png", "a/right.png", "b/left.jpg")):
        picture(tmp_path / "xrays" / name, n)
    (tmp_path / "xrays/patients.csv").write_text("patient,age\na,7\n")
    report = osteon.import_dataset(tmp_path / "xrays", tmp_path / "set")
    assert (report.form, taken(report)) == ("scans", ["a_left", "a_right", "b_left"])
    assert report.manifest.channels[0].modality == "xray"
    assert any("1 tables" in line and "patients.csv" in line for line in report.warnings)


def test_radiographs_in_dicom_are_cases(tmp_path: Path) -> None:
    for n in (1, 2):
        flat = image(np.random.default_rng(n).integers(0, 4000, (12, 10), dtype=np.uint16), Modality="DX")
        for keyword in ("ImageOrientationPatient", "ImagePositionPatient", "SliceThickness"):
            delattr(flat, keyword)
        flat.SeriesInstanceUID, flat.PatientID = f"1.2.{n}", f"id{n}"
        save(flat, tmp_path / f"xrays/IM{n}.dcm")
    report = osteon.import_dataset(tmp_path / "xrays", tmp_path / "set")
    assert (report.form, len(report.manifest.cases), report.failed) == ("scans", 2, {})
    assert "id1" not in (tmp_path / "set/dataset.yaml").read_text()


def test_pictures_beside_volumes_are_told(tmp_path: Path) -> None:
    picture(volumes(tmp_path / "scans") / "p1/screenshot.png")
    report = osteon.import_dataset(tmp_path / "scans", tmp_path / "set")
    assert taken(report) == ["p1", "p2"]
    assert any("1 pictures beside volumes" in line and "screenshot.png" in line for line in report.lost)


@pytest.mark.parametrize("kind", ["volumes", "pictures"])
def test_what_is_passed_over_is_told_once(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "scans"
    if kind == "volumes":
        volumes(folder)
    else:
        picture(folder / "a.png")
    (folder / "more.zip").touch()
    (folder / "bone.ply").touch()
    (folder / "p9.nii.gz").symlink_to("nowhere")
    report = osteon.import_dataset(folder, tmp_path / "set")
    assert report.form == "scans"
    messages = [*report.lost, *report.warnings]
    for name in ("more.zip", "bone.ply", "p9.nii.gz"):
        assert [name in line for line in messages].count(True) == 1, (name, messages)
    assert any("bone.ply" in line for line in report.lost)


@pytest.mark.parametrize(
    ("beside", "label_of", "says"),
    [
        ("bones.nii.gz", "p1", r"bones.nii.gz holds a few whole numbers alone"),
        ("p9_mask.nii.gz", "p1", r"p9_mask.nii.gz is called like a mask"),
        ("femur.stl", "", r"femur.stl is a surface"),
        ("dataset.json", "", r"dataset.json lists cases"),
    ],
)
def test_what_may_be_a_label_is_never_passed_over(tmp_path: Path, beside: str, label_of: str, says: str) -> None:
    """A scan whose label was not understood must not become one without a label."""
    source = volumes(tmp_path / "scans")
    if label_of:
        (tmp_path / f"made/labels/{label_of}.nii.gz").rename(source / beside)
    else:
        (source / beside).touch()
    assert re.search(says, get_form("scans").explain_mismatch(source) or "")


@pytest.mark.parametrize("name", ["hand.xml", "hand.txt", "hand.json"])
def test_what_may_mark_a_picture_is_never_passed_over(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "xrays/hand.png")
    (tmp_path / "xrays" / name).write_text("{}")
    with pytest.raises(UsageError, match=f"{name} is called like a picture"):
        osteon.import_dataset(tmp_path / "xrays", tmp_path / "set")


def test_no_test_can_be_made_of_scans_without_labels(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none of the 2 cases has a label") as refused:
        osteon.import_dataset(volumes(tmp_path / "scans"), tmp_path / "set", hold_out="last:1")
    assert refused.value.hint


def test_labels_need_structures_still(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "set", {"c": two_boxes()}).manifest
    with pytest.raises(ValueError, match="none is named, and there are cases with labels"):
        Manifest.model_validate(manifest.model_dump() | {"structures": []})


@pytest.mark.parametrize("command", ["audit", "plan", "train", "export"])
def test_every_command_answers_for_a_dataset_without_labels(tmp_path: Path, command: str) -> None:
    osteon.import_dataset(volumes(tmp_path / "scans"), tmp_path / "set")
    more = {"train": [str(tmp_path / "run"), "--budget", "5s"]}.get(command, [])
    given = ["nnunet", str(tmp_path / "set"), str(tmp_path / "out")] if command == "export" else [str(tmp_path / "set")]
    result = CliRunner().invoke(app, [command, *given, *more])
    assert result.exception is None or isinstance(result.exception, OsteonError | SystemExit)
    if command == "audit":
        assert "none of them with a label" in result.output or "no label" in result.output
        assert "keep you from training" not in result.output
    elif command != "export":
        assert isinstance(result.exception, DatasetError)
