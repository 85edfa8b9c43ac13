"""Numbered pieces in exports and votes: one by one where a form has words for it, else merged, and said."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path

import numpy as np
import pydicom
import pytest

import osteon
from helpers import write_dataset
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure, piece_colour
from osteon.core.pieces import split_pieces
from osteon.dataset.dataset import Dataset
from osteon.formats import read_segmentation, write_segmentation
from osteon.formats.dicom_seg import read_dicom_seg
from osteon.formats.raster import TO_RAS
from osteon.formats.rtstruct import read_rtstruct
from osteon.formats.stl import read_stl, read_stl_colour
from osteon.serving.job_work import _measure
from test_export_dicom import scan

FEMUR = Structure(name="femur_left", value=1, colour="#c08040", side="left", instances=True, last_value=20)
SCREW = Structure(name="screw", value=30, colour="#778899")
TIBIA = Structure(name="tibia", value=40, colour="#80ff00", instances=True, last_value=50)
STRUCTURES = (FEMUR, SCREW, TIBIA)
NAMES = ["femur_left 1", "femur_left 4", "screw", "tibia"]
VOXELS = {"femur_left 1": 60, "femur_left 4": 24, "screw": 3, "tibia": 0}


def broken(geometry: Geometry) -> Segmentation:
    """Two pieces of a femur, under 1 and 4, and a screw; no tibia."""
    array = np.zeros(geometry.shape, np.uint8)
    array[0:4, 0:5, 0:3], array[5:8, 0:4, 1:3], array[8, 6, 0:3] = 1, 4, 30
    return Segmentation(array, geometry, STRUCTURES)


@pytest.fixture
def bone(tmp_path: Path) -> tuple[Path, Geometry]:
    """A label file, and the grid of its series."""
    geometry = scan(tmp_path / "scan")
    path = tmp_path / "in/p1.nii.gz"
    write_segmentation(path, broken(geometry))
    return path, geometry


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    geometry = Geometry((9, 7, 5), np.diag([1.0, 1, 2, 1]))
    image = np.random.default_rng(0).normal(0, 10, geometry.shape).astype(np.float32)
    annotated = {"b": ["screw"]}
    cases = {name: (image, broken(geometry).array, geometry.affine_ras) for name in "ab"}
    return write_dataset(tmp_path / "data", cases, STRUCTURES, annotated=annotated)


def test_pieces_become_structures() -> None:
    geometry = Geometry((9, 7, 5), np.eye(4))
    split, wholes = split_pieces(broken(geometry))
    assert [s.name for s in split.structures] == NAMES
    assert [s.value for s in split.structures] == [1, 4, 30, 40]
    assert wholes == (FEMUR, FEMUR, SCREW, TIBIA)
    assert {s.name: int(split.mask(s).sum()) for s in split.structures} == VOXELS
    assert not any(s.instances for s in split.structures)
    assert (split.structures[0].side, split.structures[2]) == ("left", SCREW)


def test_colours_of_pieces_differ_and_the_first_is_its_structures() -> None:
    colours = [piece_colour("#c08040", n) for n in range(1, 19)]
    assert colours[0] == "#c08040"
    assert len(set(colours)) == len(colours)
    assert len({piece_colour("#ffffff", n) for n in range(1, 4)}) == 3


def test_a_surface_for_each_piece(tmp_path: Path, bone: tuple[Path, Geometry]) -> None:
    path, geometry = bone
    report = osteon.export("stl", path, tmp_path / "out")
    assert [file.name for file in report.files] == ["femur_left_1.stl", "femur_left_4.stl", "screw.stl"]
    assert [read_stl_colour(file) for file in report.files] == ["#c08040", piece_colour("#c08040", 4), "#778899"]
    corners = read_stl(report.files[1]).vertices[read_stl(report.files[1]).faces]
    volume = abs(np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6)
    assert volume == pytest.approx(24 * geometry.voxel_volume_mm3, rel=1e-3)
    (obj, *_) = [file for file in osteon.export("obj", path, tmp_path / "obj").files if file.suffix == ".obj"]
    assert [line.split()[1] for line in obj.read_text().splitlines() if line.startswith(("o ", "g "))] == [
        "femur_left_1", "femur_left_4", "screw"
    ]  # fmt: skip


@pytest.mark.parametrize("encoding", ["binary", "labelmap"])
def test_a_segment_for_each_piece(tmp_path: Path, bone: tuple[Path, Geometry], encoding: str) -> None:
    path, geometry = bone
    report = osteon.export("dicom-seg", path, tmp_path / "out", source=tmp_path / "scan", encoding=encoding)
    assert report.notes == ["p1: without a voxel, and left out: tibia"]
    dataset = pydicom.dcmread(report.files[0])
    segments = [s for s in dataset.SegmentSequence if s.SegmentLabel != "Background"]
    assert [s.SegmentLabel for s in segments] == NAMES[:3]
    kinds = [s.SegmentedPropertyTypeCodeSequence[0] for s in segments]
    assert [kind.CodeMeaning for kind in kinds] == ["Femur", "Femur", "screw"]
    assert kinds[1].SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    if encoding == "labelmap":
        assert [s.SegmentNumber for s in segments] == [1, 4, 30]
    found = read_dicom_seg(report.files[0], geometry)
    assert {s.name: int(found.mask(s).sum()) for s in found.structures} == {n: VOXELS[n] for n in NAMES[:3]}
    assert np.array_equal(read_segmentation(report.files[0], STRUCTURES, pieces=True).array.max(), 30)


def test_regions_and_segments_of_slicer(tmp_path: Path, bone: tuple[Path, Geometry]) -> None:
    path, geometry = bone
    (contours,) = osteon.export("rtstruct", path, tmp_path / "out", source=tmp_path / "scan").files
    found = read_rtstruct(contours, geometry)
    assert {s.name: int(found.mask(s).sum()) for s in found.structures} == {n: VOXELS[n] for n in NAMES[:3]}
    (slicer,) = osteon.export("seg-nrrd", path, tmp_path / "out").files
    assert [s.name for s in read_segmentation(slicer).structures] == NAMES
    again = read_segmentation(slicer, STRUCTURES, pieces=True)
    assert np.array_equal(again.array, broken(geometry).array)


def test_a_row_for_each_piece(tmp_path: Path, data: Dataset) -> None:
    osteon.export("table", data.folder, tmp_path / "out")
    with (tmp_path / "out/volumes.csv").open(newline="") as text:
        rows = [(row["case"], row["structure"], int(row["voxels"])) for row in csv.DictReader(text)]
    assert rows == [*(("a", name, VOXELS[name]) for name in NAMES), ("b", "screw", 3)]


def test_what_a_server_measures(bone: tuple[Path, Geometry]) -> None:
    measured = _measure(split_pieces(read_segmentation(bone[0], pieces=True))[0])
    assert {name: row["voxels"] for name, row in measured.items()} == VOXELS


def test_pictures_have_an_annotation_for_each_piece_and_one_code(tmp_path: Path) -> None:
    array = np.zeros((13, 9, 1), np.uint8)
    array[0:3, 0:4], array[5:8, 0:2], array[10, 5] = 1, 4, 30
    picture = Segmentation(array, Geometry(array.shape, TO_RAS, "px"), STRUCTURES)
    write_segmentation(tmp_path / "in/hand.nii.gz", picture)
    (file,) = osteon.export("coco", tmp_path / "in", tmp_path / "out").files
    written = json.loads(file.read_text())
    names = {category["id"]: category["name"] for category in written["categories"]}
    areas = [(names[entry["category_id"]], entry["area"]) for entry in written["annotations"]]
    assert areas == [("femur_left", 12), ("femur_left", 6), ("screw", 1)]
    assert [names[n] for n in written["images"][0]["neg_category_ids"]] == ["tibia"]
    report = osteon.export("rle-csv", tmp_path / "in", tmp_path / "out")
    with report.files[0].open(newline="") as text:
        rows = {row["class"]: sum(map(int, row["rle"].split()[1::2])) for row in csv.DictReader(text)}
    assert rows == {"femur_left": 18, "screw": 1, "tibia": 0}
    assert report.notes == ["femur_left, tibia: numbered pieces are merged, each structure is one"]


@pytest.mark.parametrize(("form", "values"), [("nnunet", {0, 1, 2}), ("decathlon", {0, 1, 30})])
def test_layouts_of_classes_merge_pieces_and_say_so(tmp_path: Path, data: Dataset, form: str, values: set[int]) -> None:
    report = osteon.export(form, data.folder, tmp_path / "out")
    assert any("pieces are merged" in note for note in report.notes)
    labels = read_segmentation(tmp_path / "out/labelsTr/a.nii.gz", pieces=True)
    assert set(np.unique(labels.array).tolist()) == values
    assert not any(structure.instances for structure in labels.structures)


def test_a_vote_merges_pieces_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    geometry = Geometry((9, 7, 5), np.eye(4))
    one, other = broken(geometry), broken(geometry)
    other.array[one.array == 1], other.array[one.array == 4] = 2, 7
    members = [tmp_path / name for name in "mno"]
    for folder, segmentation in zip(members, (one, other, one), strict=True):
        write_segmentation(folder / "p1.nii.gz", segmentation)
    with caplog.at_level(logging.WARNING, logger="osteon"):
        report = osteon.vote(members, tmp_path / "voted")
    assert any("pieces are merged" in line for line in caplog.messages)
    assert not report.failed
    voted = read_segmentation(tmp_path / "voted/p1.nii.gz", pieces=True)
    assert [(s.name, s.instances, int(voted.mask(s).sum())) for s in voted.structures] == [
        ("femur_left", None, 84), ("screw", None, 3), ("tibia", None, 0)
    ]  # fmt: skip
