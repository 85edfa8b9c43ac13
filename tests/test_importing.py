"""Import: forms, checks of each case, repairs, and the real data of the world."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osteon.core.errors import (
    DatasetError,
    DiskFullError,
    FileError,
    GeometryError,
    ImageError,
    LabelError,
    UnknownValueError,
    UsageError,
)
from osteon.core.geometry import AxisPermutation, Geometry
from osteon.core.labels import Segmentation, Structure, make_structures
from osteon.core.locks import lock_folder
from osteon.core.volume import Volume
from osteon.dataset.checks import align_segmentation, resample_labels
from osteon.dataset.dataset import Dataset
from osteon.dataset.folds import make_folds
from osteon.dataset.manifest import read_manifest, write_manifest
from osteon.dataset.modality import modality_of
from osteon.formats import read_geometry, read_segmentation, read_volume, write_segmentation, write_volume
from osteon.importing import decathlon, pairs, read_cases
from osteon.importing.import_case import ImportedCase
from osteon.importing.options import ImportOptions
from osteon.importing.recognition import FORMS, recognise
from osteon.importing.run import import_dataset
from osteon.importing.source_forms import SourceCase
from osteon.importing.structure_names import adopt_file_names, merge_structures
from osteon.phantoms.cohort import write_humerus_cohort
from osteon.phantoms.humerus import STRUCTURES
from runs import command

GRID = Geometry((6, 5, 4), np.diag([1.0, 1.5, 2, 1]))
BONES = make_structures(["femur", "tibia"])


def image(path: Path, seed: int = 0, *, channels: int = 1, grid: Geometry = GRID) -> Path:
    array = np.random.default_rng(seed).normal(size=(channels, *grid.shape)).astype(np.float32)
    write_volume(path, Volume(array, grid))
    return path


def label(path: Path, *values: int, grid: Geometry = GRID) -> Path:
    """A label file without names: the first voxels of a row hold `values`."""
    array = np.zeros((1, *grid.shape), np.uint8)
    array[0, : len(values), 0, 0] = values
    write_volume(path, Volume(array, grid))
    return path


def decathlon_folder(folder: Path, cases: int = 2, **changes: object) -> Path:
    for n in range(cases):
        image(folder / "imagesTr" / f"c{n}.nii.gz", n)
        label(folder / "labelsTr" / f"c{n}.nii.gz", 1, 2)
    entries = [{"image": f"./imagesTr/c{n}.nii.gz", "label": f"./labelsTr/c{n}.nii.gz"} for n in range(cases)]
    data = {
        "name": "Bones",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "femur", "2": "tibia"},
        "training": entries,
        "test": [],
        **changes,
    }
    (folder / "dataset.json").write_text(json.dumps(data))
    return folder


def pairs_file(folder: Path, text: str | bytes, name: str = "pairs.txt") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# -- decathlon -------------------------------------------------------------------------------------------------------


def test_a_decathlon_folder_becomes_a_dataset_that_refers_to_it(tmp_path: Path) -> None:
    source = decathlon_folder(tmp_path / "raw", numTraining=7)
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    report = import_dataset(source, tmp_path / "dataset")
    assert report.form == "decathlon"
    assert report.manifest == read_manifest(tmp_path / "dataset")
    assert [c.id for c in report.manifest.cases] == ["c0", "c1"]
    assert report.manifest.cases[0].images == ["../raw/imagesTr/c0.nii.gz"]
    assert report.manifest.channels[0].modality == "ct"
    assert [(s.name, s.value) for s in report.manifest.structures] == [("femur", 1), ("tibia", 2)]
    assert report.present == {"c0": ("femur", "tibia"), "c1": ("femur", "tibia")}
    assert not report.failed
    assert any("numTraining says 7, but 2" in line for line in report.warnings)
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before
    assert [path.name for path in (tmp_path / "dataset").iterdir()] == ["dataset.yaml"]
    dataset = Dataset.open(tmp_path / "dataset")
    assert dataset.load_segmentation(dataset.case("c1")).array[:3, 0, 0].tolist() == [1, 2, 0]


def test_files_elsewhere_are_named_absolutely(tmp_path: Path) -> None:
    source = decathlon_folder(tmp_path / "raw")
    report = import_dataset(source, tmp_path / "far" / "away" / "dataset")
    assert report.manifest.cases[0].images == [str(source / "imagesTr" / "c0.nii.gz")]


@pytest.mark.parametrize(
    "labels",
    [
        {"0": "background", "1": "femur", "2": "tibia"},
        {"background": 0, "femur": 1, "tibia": 2},
        {"background": "0", "femur": "1", "tibia": "2", "ignore": 3},
    ],
)
def test_labels_are_understood_either_way_round(tmp_path: Path, labels: dict[str, object]) -> None:
    found = decathlon.read(decathlon_folder(tmp_path, labels=labels), ImportOptions())
    assert [(s.name, s.value) for s in found.structures or ()] == [("femur", 1), ("tibia", 2)]


@pytest.mark.parametrize("labels", [{}, {"background": 0, "leg": [1, 2]}, {"0": "background"}, {"a": 1, "b": 1}])
def test_labels_that_say_nothing_are_refused(tmp_path: Path, labels: dict[str, object]) -> None:
    with pytest.raises(DatasetError, match=r"dataset\.json"):
        decathlon.read(decathlon_folder(tmp_path, labels=labels), ImportOptions())


def test_entries_in_all_their_shapes(tmp_path: Path) -> None:
    entries = [
        "./imagesTr/c0.nii.gz",
        {"image": "imagesTr\\c1.nii.gz", "label": "labelsTr\\c1.nii.gz"},
        {"image": "./imagesTr/._c1.nii.gz", "label": "./labelsTr/._c1.nii.gz"},
        "./imagesTr/c0.nii.gz",
    ]
    test = ["./imagesTs/t0.nii.gz", {"image": "imagesTs/t1.nii.gz"}]
    source = decathlon_folder(tmp_path / "raw", training=entries, test=test)
    image(source / "imagesTs" / "t0.nii.gz", 8)
    report = import_dataset(source, tmp_path / "dataset")
    assert [(c.id, c.segmentation is not None) for c in report.manifest.cases] == [
        ("c0", True),
        ("c1", True),
        ("t0", False),
    ]
    assert list(report.failed) == ["t1"]
    assert isinstance(report.failed["t1"], FileError)
    assert "t1.nii.gz" in report.failed["t1"].message
    assert any("._c1" in line for line in report.warnings)
    assert any("twice" in line for line in report.warnings)
    with pytest.raises(DatasetError, match="names no image"):
        decathlon.read(decathlon_folder(tmp_path / "b", training=[{"label": "x"}]), ImportOptions())


def test_one_file_with_several_modalities_serves_all_channels(tmp_path: Path) -> None:
    source = decathlon_folder(tmp_path / "raw", modality={"1": "T2w", "0": "FLAIR"})
    image(source / "imagesTr" / "c0.nii.gz", channels=2)
    report = import_dataset(source, tmp_path / "dataset")
    assert [(c.name, c.modality) for c in report.manifest.channels] == [("FLAIR", "mr"), ("T2w", "mr")]
    assert "holds 1 channels, the dataset has 2 (FLAIR, T2w)" in report.failed["c1"].message
    dataset = Dataset.open(tmp_path / "dataset")
    assert len(dataset.case("c0").images) == 1
    assert dataset.load_image(dataset.case("c0")).array.shape == (2, 6, 5, 4)


def test_modalities_are_read_from_names() -> None:
    assert [modality_of(name) for name in ("MRI", "CT", "X-ray", "noNorm")] == ["mr", "ct", "xray", "other"]


# -- pairs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "a_image.nii.gz,a_label.nii.gz\nb_image.nii.gz,b_label.nii.gz\n",
        "\ufeffimage,label\r\na_image.nii.gz , a_label.nii.gz\r\n\r\n# note, here\r\nb_image.nii.gz,b_label.nii.gz",
        '"a_image.nii.gz";"a_label.nii.gz"\nb_image.nii.gz; b_label.nii.gz;',
        "a_image.nii.gz\ta_label.nii.gz\nb_image.nii.gz\tb_label.nii.gz\n",
        "a_image.nii.gz   a_label.nii.gz\n./b_image.nii.gz .\\b_label.nii.gz\n",
    ],
)
def test_pairs_are_read_as_people_write_them(tmp_path: Path, text: str) -> None:
    for n, name in enumerate("ab"):
        image(tmp_path / f"{name}_image.nii.gz", n)
        label(tmp_path / f"{name}_label.nii.gz", 1)
    report = import_dataset(pairs_file(tmp_path, text), tmp_path / "dataset", modality="CT")
    assert report.form == "pairs"
    assert [c.id for c in report.manifest.cases] == ["a", "b"]
    assert all(c.segmentation for c in report.manifest.cases)
    assert [(s.name, s.value) for s in report.manifest.structures] == [("label_1", 1)]
    assert not report.warnings


def test_awkward_paths_and_missing_labels(tmp_path: Path) -> None:
    for n, name in enumerate(("my scan, left.nii.gz", "patient's.nii.gz", "plain.nii.gz")):
        image(tmp_path / name, n)
    label(tmp_path / "my label.nii.gz", 1)
    text = '"my scan, left.nii.gz" "my label.nii.gz"\npatient\'s.nii.gz\nplain.nii.gz,\n'
    found = pairs.read(pairs_file(tmp_path, text), ImportOptions())
    assert [(c.id, c.label and c.label.name) for c in found.cases] == [
        ("my scan, left", "my label.nii.gz"),
        ("patient's", None),
        ("plain", None),
    ]
    found = pairs.read(pairs_file(tmp_path, "my scan, left.nii.gz\n"), ImportOptions())
    assert found.cases[0].images == (tmp_path / "my scan, left.nii.gz",)


@pytest.mark.parametrize(
    ("images", "ids"),
    [
        (["p1_ct.nii", "p2_ct.nii"], ["p1", "p2"]),
        (["p1_t1.nii", "p1_t2.nii"], ["p1_t1", "p1_t2"]),
        (["1/image.nii", "2/image.nii"], ["1", "2"]),
        (["1/a.nii", "1/b.nii", "2/a.nii"], ["1_a", "1_b", "2_a"]),
        (["x/1/a.nii", "y/1/a.nii"], ["x_1_a", "y_1_a"]),
    ],
)
def test_ids_are_short_where_they_can_be(tmp_path: Path, images: list[str], ids: list[str]) -> None:
    assert [c.id for c in pairs.read(pairs_file(tmp_path, "\n".join(images)), ImportOptions()).cases] == ids


def test_lines_that_are_no_pairs_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"pairs\.txt: line 2 is not"):
        pairs.read(pairs_file(tmp_path, "a.nii,b.nii\nc.nii,d.nii,e.nii\n"), ImportOptions())
    with pytest.raises(DatasetError, match=r"line 2 gives a\.nii a second label"):
        pairs.read(pairs_file(tmp_path, "a.nii,b.nii\na.nii,c.nii\n"), ImportOptions())
    assert "repeats" in pairs.read(pairs_file(tmp_path, "a.nii,b.nii\na.nii,b.nii\n"), ImportOptions()).warnings[-1]


def test_structures_are_named_by_the_files_or_by_the_user(tmp_path: Path) -> None:
    image(tmp_path / "a.nii.gz", 0)
    image(tmp_path / "b.nii.gz", 1)
    array = np.zeros(GRID.shape, np.uint8)
    array[0], array[1] = 1, 2
    write_segmentation(tmp_path / "a.seg.nrrd", Segmentation(array, GRID, make_structures(["femur_left", "tibia"])))
    write_segmentation(tmp_path / "b.seg.nrrd", Segmentation(array, GRID, make_structures(["tibia", "patella"])))
    source = pairs_file(tmp_path, "a.nii.gz,a.seg.nrrd\nb.nii.gz,b.seg.nrrd")
    report = import_dataset(source, tmp_path / "d", modality="ct")
    values = {s.name: s.value for s in report.manifest.structures}
    assert values == {"femur_left": 1, "tibia": 2, "patella": 3}
    dataset = Dataset.open(tmp_path / "d")
    assert dataset.load_segmentation(dataset.case("b")).array[:2, 0, 0].tolist() == [2, 3]
    label(tmp_path / "c.nii.gz", 4)
    source = pairs_file(tmp_path, "a.nii.gz,c.nii.gz", "c.txt")
    report = import_dataset(source, tmp_path / "e", structures={"hip": 4, "rib": 5}, modality="ct")
    assert report.present == {"a": ("hip",)}
    assert report.warnings == ["structure rib occurs in no case"]


def test_names_of_several_files_are_united() -> None:
    femur, tibia = BONES
    assert merge_structures([(femur,), (femur, tibia), ()]) == BONES
    alone = make_structures(["femur_left", "femur_right"])[:1]
    assert merge_structures([alone])[0].counterpart is None
    with pytest.raises(DatasetError, match="call 1 femur, others use 1 without a name"):
        merge_structures([(femur,), make_structures(["label_1"])])
    with pytest.raises(DatasetError, match=r"call 1 femur \(p1\), others use 1 without a name \(p3\)"):
        merge_structures([(femur,), (femur,), make_structures(["label_1"])], ["p1", "p2", "p3"])


def coloured(names: list[str], colours: list[str], values: list[int] | None = None) -> tuple[Structure, ...]:
    made = make_structures(names, values)
    return tuple(s.model_copy(update={"colour": colour}) for s, colour in zip(made, colours, strict=True))


def test_colours_come_from_the_label_files_own_header(tmp_path: Path) -> None:
    source = write_humerus_cohort(tmp_path / "raw", cases=2, unseen=0)
    report = import_dataset(source, tmp_path / "d")
    assert tuple(report.manifest.structures) == STRUCTURES  # red looks red
    pairs_file(tmp_path, "raw/imagesTr/humerus_001.nii.gz,raw/labelsTr/humerus_001.nii.gz")
    names = {s.name: s.value for s in STRUCTURES}
    report = import_dataset(tmp_path / "pairs.txt", tmp_path / "e", modality="ct", structures=names)
    assert tuple(report.manifest.structures) == STRUCTURES


def test_made_up_names_are_replaced_by_the_files(tmp_path: Path) -> None:
    labels = {"0": "background", "1": "label_1", "2": "tibia"}
    source = decathlon_folder(tmp_path / "raw", labels=labels)
    array = np.zeros(GRID.shape, np.uint8)
    array[0], array[1] = 1, 2
    own = coloured(["femur", "Segment_2"], ["#112233", "#445566"])
    write_segmentation(source / "labelsTr/c1.seg.nrrd", Segmentation(array, GRID, own))
    entries = [
        {"image": f"imagesTr/c{n}.nii.gz", "label": f"labelsTr/c{n}.{k}"} for n, k in ((0, "nii.gz"), (1, "seg.nrrd"))
    ]
    decathlon_folder(tmp_path / "raw", labels=labels, training=entries)
    report = import_dataset(source, tmp_path / "d")
    assert not report.failed
    assert [(s.name, s.value, s.colour) for s in report.manifest.structures] == [
        ("femur", 1, "#112233"),
        ("tibia", 2, "#445566"),
    ]
    assert report.present == {"c0": ("femur", "tibia"), "c1": ("femur", "tibia")}
    dataset = Dataset.open(tmp_path / "d")
    assert dataset.load_segmentation(dataset.case("c1")).array[:2, 0, 0].tolist() == [1, 2]


def test_names_are_adopted_only_where_files_agree() -> None:
    known = make_structures(["label_1", "label_2", "tibia"])
    one, two = coloured(["femur"], ["#111111"]), coloured(["hip"], ["#222222"])
    assert [s.name for s in adopt_file_names(known, [one])] == ["femur", "label_2", "tibia"]
    assert adopt_file_names(known, [one, two]) == known  # 1 is femur here and hip there
    assert adopt_file_names(known, [one], rename=False) == known
    assert adopt_file_names(known, [coloured(["tibia"], ["#333333"])])[0].name == "label_1"  # tibia is 3 already
    assert adopt_file_names(known, [coloured(["tibia"], ["#333333"])])[2].colour == "#333333"
    both = [one, coloured(["femur"], ["#444444"], [2])]
    assert [s.name for s in adopt_file_names(known, both)] == ["femur", "label_2", "tibia"]
    assert adopt_file_names(known, [(), ()]) == known
    sides = (Structure(name="tibia", value=9, colour="#555555", side="left", counterpart="label_2"),)
    assert (adopt_file_names(known, [sides])[2].side, adopt_file_names(known, [sides])[2].counterpart) == (
        "left",
        "label_2",
    )


def test_overlapping_labels_make_an_overlapping_dataset(tmp_path: Path) -> None:
    image(tmp_path / "a.nii.gz")
    source = pairs_file(tmp_path, "a.nii.gz,a.seg.nrrd")
    for shared, overlapping in ((1, True), (0, False)):
        layers = np.zeros((2, *GRID.shape), np.uint8)
        layers[0, 0], layers[1, 1], layers[1, 0, 0, 0] = 1, 1, shared
        write_segmentation(tmp_path / "a.seg.nrrd", Segmentation(layers, GRID, BONES))
        report = import_dataset(source, tmp_path / "d", modality="ct", overwrite=True)
        assert report.manifest.overlapping is overlapping
        dataset = Dataset.open(tmp_path / "d")
        again = dataset.load_segmentation(dataset.case("a"))
        assert again.overlapping is overlapping
        assert again.mask(BONES[1]).sum() == 20 + shared


# -- every case is checked -------------------------------------------------------------------------------------------


def break_nan(folder: Path) -> None:
    array = read_volume(folder / "imagesTr/c1.nii.gz").array
    array[0, 1, 2, 3] = np.nan
    write_volume(folder / "imagesTr/c1.nii.gz", Volume(array, GRID))


def break_constant(folder: Path) -> None:
    write_volume(folder / "imagesTr/c1.nii.gz", Volume(np.zeros((1, *GRID.shape)), GRID))


def break_truncated(folder: Path) -> None:
    path = folder / "imagesTr/c1.nii.gz"
    path.write_bytes(path.read_bytes()[:-20])


def break_missing(folder: Path) -> None:
    (folder / "labelsTr/c1.nii.gz").unlink()


def break_shape(folder: Path) -> None:
    label(folder / "labelsTr/c1.nii.gz", 1, grid=Geometry((6, 5, 5), GRID.affine_ras))


def break_spacing(folder: Path) -> None:
    label(folder / "labelsTr/c1.nii.gz", 1, grid=Geometry(GRID.shape, np.diag([1.0, 1.5, 2.5, 1])))


def break_position(folder: Path) -> None:
    affine = GRID.affine_ras.copy()
    affine[0, 3] = 0.5
    label(folder / "labelsTr/c1.nii.gz", 1, grid=Geometry(GRID.shape, affine))


def break_orientation(folder: Path) -> None:
    label(folder / "labelsTr/c1.nii.gz", 1, grid=Geometry(GRID.shape, np.diag([-1.0, 1.5, 2, 1])))


def break_values(folder: Path) -> None:
    label(folder / "labelsTr/c1.nii.gz", 1, 9, 9)


def break_floats(folder: Path) -> None:
    write_volume(folder / "labelsTr/c1.nii.gz", Volume(np.full((1, *GRID.shape), 0.5, np.float32), GRID))


def break_empty(folder: Path) -> None:
    label(folder / "labelsTr/c1.nii.gz")


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        (break_nan, ImageError, r"case c1: .*c1\.nii\.gz: 1 voxels are NaN .* at \(1, 2, 3\)"),
        (break_constant, ImageError, r"case c1: .*shows nothing"),
        (break_truncated, FileError, r"imagesTr/c1\.nii\.gz: truncated"),
        (break_missing, FileError, r"labelsTr/c1\.nii\.gz: .*does not exist"),
        (break_shape, GeometryError, r"labelsTr/c1\.nii\.gz .*imagesTr/c1\.nii\.gz: shape 6×5×4 against 6×5×5"),
        (break_spacing, GeometryError, r"spacing 1×1\.5×2 against 1×1\.5×2\.5 mm"),
        (break_position, GeometryError, r"position of the first voxel 0\.50 mm apart"),
        (break_orientation, GeometryError, r"position"),  # a mirror is no difference, its place is
        (break_values, UnknownValueError, r"labelsTr/c1\.nii\.gz: .*9 in 2 voxels"),
        (break_floats, LabelError, r"120 voxels .* such as 0\.5"),
        (break_empty, LabelError, r"case c1: .*empty"),
    ],
)
def test_a_broken_case_is_left_out_with_its_reason_and_the_others_go_on(
    tmp_path: Path, spoil: object, kind: type[Exception], message: str
) -> None:
    source = decathlon_folder(tmp_path / "raw")
    spoil(source)  # type: ignore[operator]
    report = import_dataset(source, tmp_path / "dataset")
    assert [c.id for c in report.manifest.cases] == ["c0"]
    assert list(report.failed) == ["c1"]
    assert type(report.failed["c1"]) is kind
    assert report.failed["c1"].hint
    with pytest.raises(kind, match=message):
        raise report.failed["c1"]


def test_empty_labels_are_taken_on_request(tmp_path: Path) -> None:
    source = decathlon_folder(tmp_path / "raw")
    break_empty(source)
    report = import_dataset(source, tmp_path / "dataset", allow_empty=True)
    assert not report.failed
    assert report.present["c1"] == ()
    assert any("c1" in line and "empty" in line for line in report.warnings)


def test_when_nothing_is_left_the_reasons_are_told(tmp_path: Path) -> None:
    source = decathlon_folder(tmp_path / "raw", cases=1)
    label(source / "labelsTr/c0.nii.gz")
    with pytest.raises(DatasetError, match=r"none of its 1 cases can be used:\n  c0: .*empty"):
        import_dataset(source, tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()


def test_repair_resamples_to_the_images_grid_and_says_so(tmp_path: Path) -> None:
    source = decathlon_folder(tmp_path / "raw")
    fine = Geometry((12, 10, 8), np.array([[0.5, 0, 0, -0.25], [0, 0.75, 0, -0.375], [0, 0, 1.0, -0.5], [0, 0, 0, 1]]))
    labels = np.zeros(fine.shape, np.uint8)
    labels[2:6, 2:6, 2:6] = 2
    write_volume(source / "labelsTr/c1.nii.gz", Volume(labels[None], fine))
    report = import_dataset(source, tmp_path / "dataset", repair_geometry=True)
    assert not report.failed
    case = report.manifest.cases[1]
    assert case.segmentation == "labels/c1.nii.gz"
    assert "resampled" in case.provenance[0]
    assert "12×10×8 voxels" in case.provenance[0]
    assert report.manifest.cases[0].provenance == []
    dataset = Dataset.open(tmp_path / "dataset")
    expected = resample_labels(Segmentation(labels, fine, BONES), GRID)
    assert np.array_equal(dataset.load_segmentation(dataset.case("c1")).array, expected.array)
    assert expected.mask(BONES[1]).sum() == 8
    far = fine.affine_ras.copy()
    far[0, 3] = 900
    write_volume(source / "labelsTr/c1.nii.gz", Volume(labels[None], Geometry(fine.shape, far)))
    report = import_dataset(source, tmp_path / "far", repair_geometry=True)
    assert isinstance(report.failed["c1"], LabelError)
    assert not (tmp_path / "far" / "labels").exists()
    cut = fine.affine_ras.copy()
    cut[0, 3] = -2.25
    write_volume(source / "labelsTr/c1.nii.gz", Volume(labels[None], Geometry(fine.shape, cut)))
    report = import_dataset(source, tmp_path / "cut", repair_geometry=True)
    assert any("keeps 50.0% of the labelled volume" in line for line in report.warnings)


def test_what_has_no_spacing_is_not_resampled_onto_millimetres(tmp_path: Path) -> None:
    source = decathlon_folder(tmp_path / "raw")
    label(source / "labelsTr/c1.nii.gz", 1, grid=Geometry((9, 5, 4), np.eye(4), "px"))
    report = import_dataset(source, tmp_path / "dataset", repair_geometry=True)
    assert "unit mm against px" in report.failed["c1"].message
    assert "size in millimetres" in report.failed["c1"].hint


def test_a_mirrored_label_is_taken_as_it_lies_in_the_world(tmp_path: Path) -> None:
    source = decathlon_folder(tmp_path / "raw")
    turn = AxisPermutation((2, 0, 1), (True, False, True))
    array = np.zeros(GRID.shape, np.uint8)
    array[1, 2, 3] = 2
    write_volume(source / "labelsTr/c1.nii.gz", Volume(turn.apply(array[None]), turn.geometry(GRID)))
    report = import_dataset(source, tmp_path / "dataset")
    assert not report.failed
    dataset = Dataset.open(tmp_path / "dataset")
    assert np.argwhere(dataset.load_segmentation(dataset.case("c1")).array).tolist() == [[1, 2, 3]]


def test_duplicates_are_reported_and_stay_together(tmp_path: Path) -> None:
    source = decathlon_folder(tmp_path / "raw", cases=3)
    image(source / "imagesTr" / "c2.nii.gz", 0)
    report = import_dataset(source, tmp_path / "dataset")
    assert report.duplicates == [("c0", "c2")]
    assert any("c0, c2" in line for line in report.warnings)
    assert sorted(make_folds(report.manifest, 2)) == [["c0", "c2"], ["c1"]]


def test_subjects_and_sites_come_from_patterns(tmp_path: Path) -> None:
    for n, name in enumerate(("siteA/p1_left", "siteA/p1_right", "siteB/p2")):
        image(tmp_path / f"{name}.nii.gz", n)
        label(tmp_path / f"{name}_l.nii.gz", 1)
    text = "".join(f"{n}.nii.gz,{n}_l.nii.gz\n" for n in ("siteA/p1_left", "siteA/p1_right", "siteB/p2"))
    source = pairs_file(tmp_path, text)
    report = import_dataset(
        source, tmp_path / "d", subject_pattern=r"^(p\d+)_", site_pattern=r"site(\w)/", modality="ct"
    )
    assert [(c.id, c.subject, c.site) for c in report.manifest.cases] == [
        ("p1_left", "p1", "A"),
        ("p1_right", "p1", "A"),
        ("p2", None, "B"),
    ]
    assert any("--subject ^(p" in line and "p2" in line for line in report.warnings)
    for pattern, message in (("(", "not a regular"), ("p", "no group")):
        with pytest.raises(UsageError, match=message):
            import_dataset(source, tmp_path / "e", subject_pattern=pattern)


def test_arguments_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    source = decathlon_folder(tmp_path / "raw")
    report = import_dataset(source, tmp_path / "d", only=["c1"], modality="mr")
    assert [c.id for c in report.manifest.cases] == ["c1"]
    assert report.manifest.channels[0].modality == "mr"
    for arguments, message in (
        ({"only": ["c7"]}, "no case c7"),
        ({"form": "heaps"}, "no such form"),
        ({"form": "pairs"}, "not of the form pairs"),
        ({"modality": "pet"}, "not a modality"),
    ):
        with pytest.raises(UsageError, match=message):
            import_dataset(source, tmp_path / "e", **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"femur": 0}, "femur=0: a structure's value is at least 1"),
        ({"femur": -2}, "femur=-2: a structure's value is at least 1"),
        ({"background": 1, "femur": 1}, "background and femur both have the value 1"),
        ({"background": 0}, "names no structure"),
        ({"": 1}, "has no name"),
    ],
)
def test_names_and_values_that_cannot_be_are_refused(tmp_path: Path, named: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        import_dataset(decathlon_folder(tmp_path / "raw"), tmp_path / "d", structures=named)
    assert "L1=1,L2=2" in caught.value.hint


def test_the_background_needs_no_structure(tmp_path: Path) -> None:
    named = {"Background": 0, "hip": 1, "rib": 2}
    report = import_dataset(decathlon_folder(tmp_path / "raw"), tmp_path / "d", structures=named)
    assert [(s.name, s.value) for s in report.manifest.structures] == [("hip", 1), ("rib", 2)]


def test_what_the_manifest_refuses_is_an_error_that_says_why(tmp_path: Path) -> None:
    source = decathlon_folder(tmp_path / "raw")
    named = {"femur_left": 1, "femur_right": 2, "Femur_Left": 3}  # two structures claim one counterpart
    with pytest.raises(DatasetError, match=r"raw: structure femur_right: its counterpart is not Femur_Left"):
        import_dataset(source, tmp_path / "d", structures=named)
    for folder in ("imagesTr", "labelsTr"):
        (source / folder / "c1.nii.gz").rename(source / folder / ".c1.nii.gz")
    entry = {"image": "imagesTr/.c1.nii.gz", "label": "labelsTr/.c1.nii.gz"}
    decathlon_folder(source, cases=1, training=["imagesTr/c0.nii.gz", entry])
    report = import_dataset(source, tmp_path / "d")
    assert [case.id for case in report.manifest.cases] == ["c0"]
    assert report.failed[".c1"].message == "case .c1: id: an id names files: no slash, no leading dot"
    assert report.failed[".c1"].hint


def test_holding_out_the_last_case_of_a_structure_is_told(tmp_path: Path) -> None:
    source = decathlon_folder(tmp_path / "raw", 3)
    for name in ("c0", "c1"):
        label(source / "labelsTr" / f"{name}.nii.gz", 1)
    report = import_dataset(source, tmp_path / "d", hold_out="last:1")
    assert "structure tibia occurs in held-out cases alone (c2): no training can learn it" in report.warnings
    assert not any("tibia" in line for line in import_dataset(source, tmp_path / "e", hold_out="c0,").warnings)


def test_the_same_import_does_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, folder = decathlon_folder(tmp_path / "raw"), tmp_path / "d"
    options: dict[str, Any] = {
        "modality": "MR",
        "only": ("c0", "c1"),
        "hold_out": "1",
        "structures": {"hip": 1, "b": 2},
    }
    first = import_dataset(source, folder, **options)
    assert not first.repeated
    edited = first.manifest.model_copy(update={"name": "edited by a person"})
    write_manifest(folder, edited)
    before = (folder / "dataset.yaml").read_bytes()
    monkeypatch.chdir(tmp_path)
    again = import_dataset(Path("raw"), folder, **{**options, "form": "decathlon", "modality": "mr"})
    assert again.repeated
    assert again.manifest == edited
    assert (folder / "dataset.yaml").read_bytes() == before
    assert not import_dataset(source, folder, **options, overwrite=True).repeated


@pytest.mark.parametrize(
    "change", ["an option", "a label", "an image", "the list", "the names", "the repaired label", "the manifest"]
)
def test_another_import_replaces_a_dataset_only_when_asked(tmp_path: Path, change: str) -> None:
    source, folder = decathlon_folder(tmp_path / "raw"), tmp_path / "d"
    label(source / "labelsTr" / "c0.nii.gz", 1, 2, grid=Geometry((7, 5, 4), GRID.affine_ras))
    options: dict[str, Any] = {"repair_geometry": True}
    import_dataset(source, folder, **options)
    assert import_dataset(source, folder, **options).repeated
    description = json.loads((source / "dataset.json").read_text())
    if change == "an option":
        options["modality"] = "mr"
    elif change in ("a label", "an image"):
        os.utime(source / ("labelsTr" if change == "a label" else "imagesTr") / "c1.nii.gz", ns=(1, 1))
    elif change == "the list":
        (source / "dataset.json").write_text(json.dumps({**description, "training": description["training"][:1]}))
    elif change == "the names":
        (source / "dataset.json").write_text(json.dumps({**description, "labels": {"1": "tibia", "2": "femur"}}))
    elif change == "the repaired label":
        (folder / "labels" / "c0.nii.gz").unlink()
    else:
        (folder / "dataset.yaml").write_text("name: [")
    before = (folder / "dataset.yaml").read_bytes()
    with pytest.raises(UsageError, match="is there already") as caught:
        import_dataset(source, folder, **options)
    assert "--overwrite" in caught.value.hint
    assert (folder / "dataset.yaml").read_bytes() == before
    assert not import_dataset(source, folder, **options, overwrite=True).repeated


def test_an_import_that_left_cases_out_is_not_taken_for_complete(tmp_path: Path) -> None:
    source = decathlon_folder(tmp_path / "raw")
    break_missing(source)
    assert list(import_dataset(source, tmp_path / "d").failed) == ["c1"]
    with pytest.raises(UsageError, match="is there already"):
        import_dataset(source, tmp_path / "d")


# -- recognition -----------------------------------------------------------------------------------------------------


def test_forms_are_recognised(tmp_path: Path) -> None:
    assert recognise(decathlon_folder(tmp_path / "a")).name == "decathlon"
    assert recognise(tmp_path / "a" / "dataset.json").name == "decathlon"
    assert recognise(pairs_file(tmp_path / "b", "a.nrrd,b.nrrd").parent).name == "pairs"
    assert recognise(pairs_file(tmp_path / "b", "a.nrrd\n", "cases.csv")).name == "pairs"
    assert len({form.name for form in FORMS}) == len(FORMS)


def test_what_is_not_recognised_is_described(tmp_path: Path) -> None:
    image(tmp_path / "heap" / "a.nii.gz")
    pairs_file(tmp_path / "heap", "id,class,rle\n1,femur,3 4\n", "pairs.txt")
    with pytest.raises(UsageError) as caught:
        recognise(tmp_path / "heap")
    for part in ("1 .nii.gz", "1 .txt", "decathlon: no dataset.json", "pairs: line 1 of pairs.txt begins with `id`"):
        assert part in caught.value.message
    (tmp_path / "heap" / "dataset.json").write_text("{")
    with pytest.raises(UsageError, match=r"decathlon: .*not valid JSON"):
        recognise(tmp_path / "heap")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="an empty folder"):
        recognise(tmp_path / "empty")
    with pytest.raises(FileError, match="does not exist"):
        recognise(tmp_path / "nowhere")
    decathlon_folder(tmp_path / "both")
    pairs_file(tmp_path / "both", "a.nii,b.nii")
    with pytest.raises(UsageError, match="can be read as decathlon and as pairs"):
        recognise(tmp_path / "both")


# -- the world -------------------------------------------------------------------------------------------------------


def test_all_hippocampi_are_imported(shared_data: Path, tmp_path: Path) -> None:
    report = import_dataset(shared_data / "msd-hippocampus", tmp_path / "d")
    assert not report.failed
    assert not report.warnings
    assert len(report.manifest.labelled) == 100
    assert [c.id for c in report.manifest.cases if c.segmentation is None] == ["hippocampus_118"]
    assert set(report.present.values()) == {("Anterior", "Posterior")}
    assert len({c.content for c in report.manifest.cases}) == 101
    dataset = Dataset.open(tmp_path / "d")
    case = dataset.case("hippocampus_003")  # its label is float32
    assert dataset.load_segmentation(case).array.dtype == np.uint8
    image_, grid = dataset.load_image(case), dataset.geometry(case)
    assert image_.geometry.is_close(grid)
    assert Path(case.images[0]).is_absolute()


def test_all_lumbar_spines_are_imported_standing(shared_data: Path, tmp_path: Path) -> None:
    names = {f"L{n}": n for n in range(1, 6)}
    report = import_dataset(shared_data / "spine-mr-lumbar", tmp_path / "d", structures=names, modality="mr")
    assert not report.failed
    [line] = report.warnings  # a slice of this label was truly forgotten: 835, 0 and 857 voxels
    assert line.startswith("case lumbar_31")
    assert line.endswith("L3 in slices 45 along k")
    assert len(report.manifest.cases) == 24
    assert report.manifest.cases[0].id == "lumbar_01"
    assert set(report.present.values()) == {tuple(names)}
    dataset = Dataset.open(tmp_path / "d")
    case = dataset.case("lumbar_01")
    assert dataset.geometry(case).axis_codes == "IPL"  # superior → inferior, anterior → posterior, right → left
    segmentation = dataset.load_segmentation(case)
    heights = [
        segmentation.geometry.to_world(np.argwhere(segmentation.mask(s)))[:, 2].mean() for s in dataset.structures
    ]
    assert heights == sorted(heights, reverse=True)  # L1 lies above L5 in the world


def test_the_mirrored_rows_of_the_humeri_stay_humeri(shared_data: Path) -> None:
    folder = shared_data / "totalsegmentator-example"
    path = folder / "ct_dicom_seg" / "example_ct_dicom_seg.nii.gz"
    segmentation = read_segmentation(path)
    assert segmentation.geometry.axis_codes == "LAS"
    turn = AxisPermutation((0, 1, 2), (False, True, False))
    series = turn.geometry(segmentation.geometry)  # what the DICOM series has: equal shape, rows mirrored
    assert series.axis_codes == "LPS"
    aligned = align_segmentation(segmentation, series, name="label", image_name="series")
    assert not np.array_equal(aligned.array, segmentation.array)
    assert np.array_equal(aligned.array, segmentation.array[:, ::-1])


def test_the_knees_oblique_grid_is_kept_exactly(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "knee-mr" / "label-only" / "dess_right_bones_cart_men_fib-label.nrrd"
    geometry = read_geometry(path)
    assert geometry.axis_codes == "~PIR"
    assert geometry.affine_ras[:3, 3].tolist() == [6.6536340999999997, 77.413532000000004, 70]
    segmentation = read_segmentation(path)
    assert [s.value for s in segmentation.structures] == list(range(1, 11))
    write_segmentation(tmp_path / "a.nii.gz", segmentation)
    again = read_segmentation(tmp_path / "a.nii.gz")
    digest = [hashlib.sha256(np.ascontiguousarray(s.array)).hexdigest() for s in (segmentation, again)]
    assert digest[0] == digest[1]
    assert again.geometry.is_close(geometry, tolerance=1e-4)


def test_the_users_files_are_not_written_over_where_the_dataset_is_made_among_them(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    image(folder / "images" / "p1.nii.gz")
    label(folder / "labels" / "p1.nii.gz", 1, grid=Geometry((6, 5, 4), np.diag([1.0, 1, 4, 1])))
    before = (folder / "labels" / "p1.nii.gz").read_bytes()
    source = pairs_file(folder, "images/p1.nii.gz,labels/p1.nii.gz")
    with pytest.raises(DatasetError, match="written over"):
        import_dataset(source, folder, repair_geometry=True)
    assert (folder / "labels" / "p1.nii.gz").read_bytes() == before


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("case_pattern", "(.)"),
        ("group", "all"),
        ("mesh_unit", "cm"),
        ("mesh_space", "RAS"),
        ("priority", ["femur"]),
        ("accept_gaps", True),
        ("resample_tilt", True),
        ("keep_identity", True),
        ("series", "3"),
        ("ignore_references", True),
        ("between_slices", "leave"),
        ("rle_order", "columns"),
        ("rle_base", 0),
        ("mask_marks", "dark"),
    ],
)
def test_options_that_a_form_does_not_know_are_refused(tmp_path: Path, option: str, value: object) -> None:
    source = decathlon_folder(tmp_path / "source")
    with pytest.raises(UsageError, match=f"--{option.replace('_', '-')}: means nothing for the form decathlon"):
        import_dataset(source, tmp_path / "set", **{option: value})  # type: ignore[arg-type]
    assert not (tmp_path / "set").exists()


def test_a_dataset_that_another_import_writes_is_refused(tmp_path: Path) -> None:
    source = decathlon_folder(tmp_path / "source")
    with (
        lock_folder(tmp_path / "dataset", "x", "y"),
        pytest.raises(UsageError, match=r"dataset: another import works in it \(process"),
    ):
        import_dataset(source, tmp_path / "dataset")
    assert len(import_dataset(source, tmp_path / "dataset").manifest.cases) == 2
    assert not (tmp_path / "dataset" / ".lock").exists()


# Ended, out of memory, out of disk


ENDED = """
import os, signal, sys
from pathlib import Path
from osteon.importing import read_cases
from osteon.importing.run import import_dataset
from osteon.importing.import_case import ImportedCase
take, taken = read_cases.import_case, []
def acting(case, *arguments, **options):
    if len(taken) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    taken.append(case.id)
    return take(case, *arguments, **options)
read_cases.import_case = acting
import_dataset(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def count_taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    taken, take = [], read_cases.import_case

    def counting(case: SourceCase, *arguments: Any, **options: Any) -> ImportedCase:
        taken.append(case.id)
        return take(case, *arguments, **options)

    monkeypatch.setattr(read_cases, "import_case", counting)
    return taken


def test_an_import_that_was_ended_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, folder = decathlon_folder(tmp_path / "raw", 4), tmp_path / "dataset"
    done = subprocess.run([sys.executable, "-c", ENDED, source, folder], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    taken = count_taken(monkeypatch)
    report = import_dataset(source, folder)
    assert taken == ["c2", "c3"]
    whole = import_dataset(source, tmp_path / "undisturbed")
    assert report.manifest == whole.manifest
    assert report.present == whole.present
    assert report.warnings == whole.warnings
    assert [path.name for path in folder.iterdir()] == ["dataset.yaml"]


def test_what_was_read_of_other_files_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, folder = decathlon_folder(tmp_path / "raw", 3), tmp_path / "dataset"
    subprocess.run([sys.executable, "-c", ENDED, source, folder], capture_output=True, check=False)
    label(source / "labelsTr/c0.nii.gz", 1)
    taken = count_taken(monkeypatch)
    assert import_dataset(source, folder).present["c0"] == ("femur",)
    assert taken == ["c0", "c1", "c2"]


def test_a_case_that_memory_does_not_suffice_for_is_left_out_and_alone_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, folder = decathlon_folder(tmp_path / "raw", 3), tmp_path / "dataset"
    with monkeypatch.context() as patch:
        take = read_cases.import_case

        def short(case: SourceCase, *arguments: Any, **options: Any) -> ImportedCase:
            if case.id == "c1":
                raise MemoryError("Unable to allocate 3.00 TiB for an array")
            return take(case, *arguments, **options)

        patch.setattr(read_cases, "import_case", short)
        report = import_dataset(source, folder)
    assert [case.id for case in report.manifest.cases] == ["c0", "c2"]
    assert "case c1: not enough memory (3.00 TiB" in report.failed["c1"].message
    taken = count_taken(monkeypatch)
    assert len(import_dataset(source, folder, overwrite=True).manifest.cases) == 3
    assert taken == ["c1"]


def test_a_full_disk_stops_an_import_which_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, folder = decathlon_folder(tmp_path / "raw", 4), tmp_path / "dataset"
    fsync = os.fsync

    def full(number: int) -> None:
        if len(list(folder.rglob("c?.json"))) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(number)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DiskFullError, match="the disk is full"):
            import_dataset(source, folder)
    assert not (folder / "dataset.yaml").exists()
    taken = count_taken(monkeypatch)
    assert len(import_dataset(source, folder).manifest.cases) == 4
    assert taken == ["c2", "c3"]


def test_workers_read_what_one_process_reads(tmp_path: Path) -> None:
    source = decathlon_folder(tmp_path / "raw", 4)
    break_truncated(source)
    one, two = (import_dataset(source, tmp_path / f"set{n}", workers=n) for n in (1, 2))
    assert one.manifest.model_copy(update={"source": ""}) == two.manifest.model_copy(update={"source": ""})
    assert {name: str(error) for name, error in one.failed.items()} == {
        name: str(error) for name, error in two.failed.items()
    }
    assert one.warnings == two.warnings


@pytest.mark.parametrize("kind", ["humerus", "limb", "spine", "hand"])
def test_every_form_can_be_read_by_other_processes(tmp_path: Path, kind: str) -> None:
    assert command("phantom", kind, tmp_path / kind, "--cases", 1) == 0
    found = recognise(tmp_path / kind / "source").read(tmp_path / kind / "source", ImportOptions())
    how = read_cases.ReadSettings(found, tmp_path, "", repair_geometry=False, allow_empty=False)
    assert read_cases._pack(read_cases._Worker(how, tuple(found.cases), frozenset()))
