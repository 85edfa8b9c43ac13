"""Numbered pieces on their way into a dataset: ranges, instances of every form, the proposal, and the audit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import osteon
from osteon.cli.main import app
from osteon.core.boxes import Box
from osteon.core.errors import DatasetError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure, make_structures
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.formats.io import read_segmentation, write_segmentation, write_volume
from osteon.formats.seg_nrrd import write_seg_nrrd
from osteon.importing.piece_places import are_unlike
from osteon.importing.pieces import common_name, number_pieces, owner_of
from osteon.importing.run import ImportReport, import_dataset

GRID = Geometry((16, 14, 30), np.diag([1.0, 1.0, 1.5, 1.0]))


def picture(seed: int = 0) -> Volume:
    return Volume(np.random.default_rng(seed).normal(size=(1, *GRID.shape)).astype(np.float32), GRID)


def blocks(*values: int) -> np.ndarray:
    """A row of blocks along k, 8 × 8 × 4 voxels, a voxel apart."""
    labels = np.zeros(GRID.shape, np.uint16)
    for n, value in enumerate(values):
        labels[4:12, 3:11, 5 * n : 5 * n + 4] = value
    return labels


def write_pairs(folder: Path, cases: list[np.ndarray], suffix: str = "nii.gz", name: str = "label") -> Path:
    """Pairs whose labels have no names."""
    folder.mkdir(parents=True)
    lines = []
    for n, labels in enumerate(cases):
        write_volume(folder / f"p{n}_image.nii.gz", picture(n))
        write_volume(folder / f"p{n}_{name}.{suffix}", Volume(labels[None], GRID))
        lines.append(f"p{n}_image.nii.gz,p{n}_{name}.{suffix}")
    (folder / "pairs.txt").write_text("\n".join(lines))
    return folder


def take(source: Path, **options: Any) -> tuple[ImportReport, list[Segmentation]]:
    """The import, and the labels of its cases with their pieces."""
    report = import_dataset(source, source.parent / "set", overwrite=True, modality="ct", **options)
    dataset = Dataset.open(report.folder)
    return report, [dataset.load_segmentation(case, pieces=True) for case in dataset.manifest.cases]


def ranges(report: ImportReport) -> dict[str, tuple[int, int | None]]:
    return {s.name: (s.value, s.last_value) for s in report.manifest.structures}


def values(segmentation: Segmentation) -> list[int]:
    return [int(value) for value in np.unique(segmentation.array) if value]


def test_labels_may_be_ranges(tmp_path: Path) -> None:
    source = write_pairs(tmp_path / "source", [blocks(1, 3, 12, 30), blocks(2, 11)])
    line = "sacrum=1-10,left_hip=11-20,femur=30"
    result = CliRunner().invoke(app, ["import", str(source), str(tmp_path / "cli"), "--labels", line])
    assert result.exit_code == 0, result.output
    named = {"sacrum": "1-10", "left_hip": "11-20", "femur": 30}
    report, (first, _) = take(source, structures=named)
    assert ranges(report) == {"sacrum": (1, 10), "left_hip": (11, 20), "femur": (30, None)}
    assert report.manifest.options["structures"] == named
    assert Dataset.open(tmp_path / "cli").structures == tuple(report.manifest.structures)
    assert values(first) == [1, 3, 12, 30]
    assert values(first.merged()) == [1, 11, 30]
    assert report.manifest.cases[0].segmentation == "../source/p0_label.nii.gz"
    assert report.present["p1"] == ("sacrum", "left_hip")


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        ({"a": "5-2"}, "is not the first and the last value"),
        ({"a": "1-99999999"}, "is not the first and the last value of at most"),
        ({"a": "x"}, "is not the first"),
        ({"a": "1-10", "b": "5-20"}, "b has 5, which is a piece of a"),
        ({"a": "0-3"}, "at least 1"),
    ],
)
def test_ranges_that_are_none(tmp_path: Path, labels: dict[str, int | str], what: str) -> None:
    source = write_pairs(tmp_path / "source", [blocks(1, 2)])
    with pytest.raises(UsageError, match=what):
        take(source, structures=labels)


def test_a_value_outside_its_range_is_refused(tmp_path: Path) -> None:
    source = write_pairs(tmp_path / "source", [blocks(1, 2), blocks(1, 7)])
    report, _ = take(source, structures={"bone": "1-4"})
    assert "7 in 256 voxels (structures: bone=1-4)" in report.failed["p1"].message


def test_values_without_names_are_pieces_of_one_structure(tmp_path: Path) -> None:
    source = write_pairs(tmp_path / "source", [blocks(1, 2, 4), blocks(3)], name="tibia_mask")
    report, (first, second) = take(source, fragments="instances")
    assert ranges(report) == {"tibia": (1, 99)}
    assert (values(first), values(second)) == ([1, 2, 4], [3])
    assert report.warnings == []
    assert report.present == {"p0": ("tibia",), "p1": ("tibia",)}
    assert [case.segmentation for case in report.manifest.cases] == [
        f"../source/p{n}_tibia_mask.nii.gz" for n in (0, 1)
    ]
    plain, _ = take(source, fragments="classes")
    assert list(ranges(plain)) == ["label_1", "label_2", "label_3", "label_4"]


def test_a_name_gives_the_values_up_to_the_next(tmp_path: Path) -> None:
    source = write_pairs(tmp_path / "source", [blocks(1, 2, 12, 150)])
    report, _ = take(source, fragments="instances", structures={"sacrum": 1, "hip": 11})
    assert ranges(report) == {"sacrum": (1, 10), "hip": (11, 150)}
    with pytest.raises(UsageError, match="a has the value 1 alone"):
        take(source, fragments="instances", structures={"a": 1, "b": 2})


def test_three_hundred_pieces(tmp_path: Path) -> None:
    labels = np.zeros(GRID.shape, np.uint16)
    labels[:15, :10, :10] = (np.arange(300).reshape(15, 10, 2).repeat(5, axis=2)) + 1
    source = write_pairs(tmp_path / "source", [labels, blocks(2)])
    report, (many, _) = take(source, fragments="instances")
    assert ranges(report) == {"fragment": (1, 300)}
    assert len(values(many)) == 300
    found = osteon.audit(report.folder)
    numbered = found.cohort.cases[0].structures["fragment"].numbered
    assert numbered is not None
    assert numbered.count == 300


def test_a_label_map_without_images_axes_keeps_its_pieces(tmp_path: Path) -> None:
    """One that has to be laid onto its image's grid is written anew, pieces and all."""
    source = write_pairs(tmp_path / "source", [blocks(1, 2, 4)])
    part = Box((2, 1, 1), (15, 13, 20))
    write_volume(source / "p0_label.nii.gz", Volume(blocks(1, 2, 4)[None][(..., *part.slices)], GRID.crop(part)))
    for more in ({}, {"structures": {"bone": 1}}):
        report, (labels,) = take(source, fragments="instances", **more)
        assert str(report.manifest.cases[0].segmentation).startswith("labels/")
        assert values(labels) == [1, 2, 4]
    assert read_segmentation(report.folder / "labels/p0.nii.gz").structures[0].last_value == 99
    renamed = (report.manifest.structures[0].model_copy(update={"name": "other"}),)
    path = report.folder / str(report.manifest.cases[0].segmentation)
    assert values(read_segmentation(path, renamed, pieces=True)) == [1, 2, 4]


def test_headers_that_say_pieces_are_believed(tmp_path: Path) -> None:
    source = write_pairs(tmp_path / "source", [blocks(1, 2), blocks(1)])
    for n, last in enumerate((9, 20)):
        tibia = Structure(name="tibia", value=1, colour="#112233", instances=True, last_value=last)
        write_segmentation(source / f"p{n}_label.nii.gz", Segmentation(blocks(1, 2 + n), GRID, (tibia,)))
    report, (first, second) = take(source)
    assert ranges(report) == {"tibia": (1, 20)}
    assert (values(first), values(second)) == ([1, 2], [1, 3])


def seg_nrrd(path: Path, labels: list[np.ndarray], names: list[str]) -> None:
    structures = make_structures(names)
    layers = np.stack([array > 0 for array in labels]).astype(np.uint8)
    write_seg_nrrd(path, Segmentation(layers, GRID, structures))


def test_segments_with_numbered_names_and_layers(tmp_path: Path) -> None:
    source = write_pairs(tmp_path / "source", [blocks(1), blocks(1)])
    names = ["Fragment 1", "Fragment 2"]
    index = Segmentation(blocks(1, 2).astype(np.uint8), GRID, make_structures(names))
    write_seg_nrrd(source / "p0.seg.nrrd", index)
    seg_nrrd(source / "p1.seg.nrrd", [blocks(1), blocks(0, 1)], names)
    (source / "pairs.txt").write_text("".join(f"p{n}_image.nii.gz,p{n}.seg.nrrd\n" for n in (0, 1)))
    report, (first, second) = take(source, fragments="instances")
    assert ranges(report) == {"Fragment": (1, 99)}
    assert values(first) == values(second) == [1, 2]
    seg_nrrd(source / "p1.seg.nrrd", [blocks(1), blocks(1, 1)], names)
    report, _ = take(source, fragments="instances")
    assert "256 voxels belong to several structures; pieces are numbered" in report.failed["p1"].message
    assert "--fragments classes keeps the overlap" in str(report.failed["p1"].hint)


def write_masks(folder: Path, masks: dict[str, np.ndarray]) -> Path:
    for case in ("p1", "p2"):
        (folder / case).mkdir(parents=True)
        write_volume(folder / case / "ct.nii.gz", picture(int(case[1])))
        for name, array in masks.items():
            write_volume(folder / case / f"{name}.nii.gz", Volume(array.astype(np.uint8)[None], GRID))
    return folder


def test_mask_files_with_numbers(tmp_path: Path) -> None:
    """In their names, or in their voxels."""
    masks = {"tibia_1": blocks(1), "tibia_2": blocks(0, 1), "hip": blocks(0, 0, 1, 2), "femur": np.zeros(GRID.shape)}
    report, (labels, _) = take(write_masks(tmp_path / "source", masks), fragments="instances")
    assert ranges(report) == {"femur": (1, 99), "hip": (101, 199), "tibia": (201, 299)}
    assert values(labels) == [101, 102, 201, 202]
    assert report.manifest.cases[0].annotated is None
    assert any(
        line == "hip from p1/hip.nii.gz: its values 1, 2 taken as pieces"
        for line in report.manifest.cases[0].provenance
    )


def test_pieces_that_overlap_are_refused_with_the_way_out(tmp_path: Path) -> None:
    source = write_masks(tmp_path / "source", {"tibia_1": blocks(1), "tibia_2": blocks(1, 1)})
    with pytest.raises(DatasetError, match="tibia 1 and tibia 2 share 256 voxels; pieces are numbered"):
        take(source, fragments="instances")
    _, (labels, _) = take(source, fragments="instances", priority=["tibia"])
    assert values(labels) == [1, 2]
    assert int((labels.array == 2).sum()) == 256
    assert take(source, fragments="classes")[0].manifest.overlapping


@pytest.fixture(scope="module")
def humeri(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("humeri")
    arguments = ["phantom", "humerus", str(folder / "heap"), "--cases", "2", "--size", "40", "--layout", "heap"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    return folder / "heap/source"


def test_meshes_are_classes_or_pieces(humeri: Path) -> None:
    """The same heap, both ways."""
    meshes = [len(list(humeri.rglob(f"P00{n}_*.stl"))) for n in (1, 2)]
    report, labels = take(humeri, fragments="instances", priority=["fragment"])
    assert ranges(report) == {"fragment": (1, 99)}
    assert [values(each) for each in labels] == [list(range(1, count + 1)) for count in meshes]
    classes, coloured = take(humeri)
    assert {s.name for s in classes.manifest.structures} <= {"red", "green", "blue", "yellow"}
    for each, other in zip(labels, coloured, strict=True):
        assert np.array_equal(each.array > 0, other.array.max(axis=0) > 0 if other.overlapping else other.array > 0)
    named, _ = take(humeri, fragments="instances", structures={"humerus": "11-40"}, priority=["humerus"])
    assert ranges(named) == {"humerus": (11, 40)}


def test_coco_annotations_of_a_category_are_its_pieces(tmp_path: Path) -> None:
    heap = tmp_path / "teeth"
    heap.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(1, 200, (30, 40)).astype(np.uint8)).save(heap / "a.png")

    def box(left: int, right: int) -> list[list[int]]:
        return [[left, 2, right, 2, right, 12, left, 12]]

    marks = [(1, box(2, 8)), (1, [*box(10, 14), *box(16, 18)]), (2, box(20, 30))]
    data = {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        "categories": [{"id": 1, "name": "tooth"}, {"id": 2, "name": "jaw"}],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": category, "segmentation": shapes}
            for n, (category, shapes) in enumerate(marks)
        ],
    }
    (heap / "coco.json").write_text(json.dumps(data))
    report, (labels,) = take(heap, fragments="instances")
    assert ranges(report) == {"tooth": (1, 99), "jaw": (101, None)}
    assert values(labels) == [1, 2, 101]
    assert [int((labels.array == value).sum()) for value in (1, 2)] == [60, 40 + 20]
    _, (classes,) = take(heap)
    assert values(classes) == [1, 2]
    data["annotations"][1]["segmentation"] = box(6, 12)
    (heap / "coco.json").write_text(json.dumps(data))
    with pytest.raises(DatasetError, match="tooth 1 and tooth 2 share 20 voxels"):
        take(heap, fragments="instances")


def test_labelme_shapes_of_one_group_are_one_piece(tmp_path: Path) -> None:
    heap = tmp_path / "hands"
    heap.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(1, 200, (30, 60)).astype(np.uint8)).save(heap / "a.png")
    marks = [("bone", 0, 3), ("bone", 10, 7), ("nail", 20, 3), ("bone", 30, 3), ("bone", 40, None), ("bone", 50, None)]
    shapes = [
        {"label": label, "group_id": group, "shape_type": "rectangle", "points": [[left, 2], [left + 4, 11]]}
        for label, left, group in marks
    ]
    (heap / "a.json").write_text(json.dumps({"shapes": shapes, "imageWidth": 60, "imageHeight": 30}))
    report, (labels,) = take(heap, fragments="instances")
    assert ranges(report) == {"bone": (1, 99), "nail": (101, None)}
    assert [int(labels.array[left, 5, 0]) for _, left, _ in marks] == [1, 2, 101, 1, 3, 4]
    _, (classes,) = take(heap)
    assert values(classes) == [1, 2]
    shapes[3]["points"] = [[8, 2], [12, 11]]  # of the first piece, and over the second
    (heap / "a.json").write_text(json.dumps({"shapes": shapes}))
    with pytest.raises(DatasetError, match="bone 1 and bone 2 share 30 voxels"):
        take(heap, fragments="instances")


SHUFFLED = [(1, 2, 3, 4), (3, 1, 4, 2), (4, 3, 2, 1), (2, 4, 1, 3)]


def test_what_lies_on_unlike_places_is_proposed(tmp_path: Path) -> None:
    source = write_pairs(tmp_path / "source", [blocks(*row) for row in SHUFFLED], name="femur_label")
    report, _ = take(source)
    [note] = report.warnings
    assert note.startswith("the same value lies on unlike places in different cases")
    assert "--fragments instances takes them as pieces" in note
    assert take(source, fragments="classes")[0].warnings == []
    asked: list[str] = []

    def agree(question: str) -> bool:
        asked.append(question)
        return True

    report, _ = take(source, ask=agree)
    assert asked
    assert ranges(report) == {"femur": (1, 99)}
    again = import_dataset(source, report.folder, modality="ct")
    assert again.repeated, "the answer stands"
    assert list(ranges(take(source, ask=lambda _: False)[0])) == ["label_1", "label_2", "label_3", "label_4"]


def test_names_are_not_asked_about(tmp_path: Path) -> None:
    source = write_pairs(tmp_path / "source", [blocks(*row) for row in SHUFFLED])
    report, _ = take(source, structures={"a": 1, "b": 2, "c": 3, "d": 4}, ask=lambda _: pytest.fail("asked"))
    assert report.warnings == []
    ordered = write_pairs(tmp_path / "ordered" / "source", [blocks(1, 2, 3, 4)] * 4)
    assert not any("unlike places" in line for line in take(ordered)[0].warnings)


def test_bones_lie_on_like_places() -> None:
    rng = np.random.default_rng(0)

    def near(*place: float) -> tuple[float, ...]:
        return tuple(np.array(place) + rng.normal(0, 0.03, 3))

    sides = [1, -1, -1, 1, 1, -1]
    arms = [{"radius": near(0.5 + 0.3 * s, 0.5, 0.5), "ulna": near(0.5 - 0.3 * s, 0.5, 0.5)} for s in sides]
    assert not are_unlike(arms), "left and right arms"
    lesions = [{"bone": near(0.5, 0.5, 0.5), "lesion": tuple(rng.uniform(0.1, 0.9, 3))} for _ in range(12)]
    assert not are_unlike(lesions), "the bone stays"
    spines = [{f"L{n + top}": near(0.5, 0.5, 0.9 - 0.2 * n) for n in range(4)} for top in (1, 2, 3, 1, 2)]
    assert not are_unlike(spines), "another field of view"
    pieces = [
        {f"{value}": near(0.5, 0.5, 0.1 + 0.25 * n) for n, value in enumerate(rng.permutation(4))} for _ in range(6)
    ]
    assert are_unlike(pieces)
    assert not are_unlike(pieces[:2]), "too few cases"
    assert not are_unlike([])


def test_the_audit_reports_tiny_pieces_and_shared_numbers(tmp_path: Path) -> None:
    odd = blocks(1, 2, 0, 2)
    odd[0, 0, 0] = 5
    odd[15, 13, 29] = 6
    source = write_pairs(tmp_path / "source", [odd, blocks(3, 7)])
    report, _ = take(source, fragments="instances")
    found = {f.kind: f for f in osteon.audit(report.folder).findings if "piece" in f.kind or "number" in f.kind}
    assert set(found) == {"tiny-pieces", "shared-number"}
    assert all(f.cases == ["p0"] and f.structures == ["fragment"] for f in found.values())
    assert "numbers 5 (1 voxel), 6 (1 voxel)" in found["tiny-pieces"].what
    assert "number 2 (256 and 256 voxels)" in found["shared-number"].what


def test_pieces_are_drawn_between_slices_each_by_itself(tmp_path: Path) -> None:
    labels = blocks(1, 2, 3)
    labels[1::2] = 0
    (tmp_path / "source/p1").mkdir(parents=True)
    write_volume(tmp_path / "source/p1/ct.nii.gz", picture())
    write_volume(tmp_path / "source/p1/seg.nii.gz", Volume(labels[None], GRID))
    for options in ({"structures": {"bone": "1-9"}}, {"fragments": "instances"}):
        _, (filled,) = take(tmp_path / "source", **options)
        assert np.array_equal(filled.array[4:11], blocks(1, 2, 3)[4:11])


def test_vertebrae_as_verse_has_them(tmp_path: Path) -> None:
    for case, row in (("sub-v1", (20, 21, 22)), ("sub-v2", (19, 20))):
        scan = tmp_path / "verse/rawdata" / case / f"{case}_ct.nii.gz"
        mask = tmp_path / "verse/derivatives" / case / f"{case}_seg-vert_msk.nii.gz"
        for path, volume in ((scan, picture(len(row))), (mask, Volume(blocks(*row)[None], GRID))):
            path.parent.mkdir(parents=True)
            write_volume(path, volume)
    report, labels = take(tmp_path / "verse", fragments="instances")
    assert ranges(report) == {"vert": (19, 117)}
    assert [values(each) for each in labels] == [[20, 21, 22], [19, 20]]


def test_numbered_structures() -> None:
    fracture = make_structures(["tibia_1", "tibia_2", "fibula"])
    grouped = number_pieces(fracture, "fragment")
    assert [(s.name, s.values[0]) for s in grouped] == [("tibia", 1), ("fibula", 3)]
    assert [bool(s.instances) for s in grouped] == [True, False]
    assert grouped[0].last_value == 2
    with pytest.raises(UsageError, match="is a piece of"):
        number_pieces(make_structures(["a_1", "b_1", "a_2"]), "fragment")
    assert owner_of("tibia 7", grouped) == "tibia"
    assert owner_of("fibula_2", grouped) is None
    assert common_name(["p1_Humerus_seg", "humerus-p2-mask"]) == "humerus"
    assert common_name([]) == common_name(["p1_a", "q"]) == "fragment"


def test_pieces_of_a_real_pelvis(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "pelvis-fracture-ct"
    report = import_dataset(source, tmp_path / "set", fragments="instances", only="003_SA,004_SA", modality="ct")
    assert ranges(report) == {"fragment": (1, 99)}
    dataset = Dataset.open(report.folder)
    assert [values(dataset.load_segmentation(case, pieces=True)) for case in report.manifest.cases] == [[1, 2], [1, 2]]
    assert all(str(case.segmentation).endswith("_mask.nii.gz") for case in report.manifest.cases)


def test_vertebrae_numbered_in_their_case(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "spine-mr-instances"
    (tmp_path / "pairs.txt").write_text(f"{folder / 't2_07_image.nrrd'},{folder / 't2_07_label.nrrd'}\n")
    options: dict[str, Any] = {"structures": {"vertebra": 1}, "fragments": "instances", "modality": "mr"}
    report = import_dataset(tmp_path / "pairs.txt", tmp_path / "set", **options)
    assert ranges(report) == {"vertebra": (1, 99)}
    dataset = Dataset.open(report.folder)
    assert values(dataset.load_segmentation(report.manifest.cases[0], pieces=True)) == [1, 2, 3, 4, 5, 6, 7]


def test_the_command_asks_where_somebody_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_pairs(tmp_path / "source", [blocks(*row) for row in SHUFFLED], name="femur_label")
    monkeypatch.setattr("osteon.cli.dataset.can_ask", lambda: True)
    for answer, names in (("\n", ["femur"]), ("n\n", ["label_1", "label_2", "label_3", "label_4"])):
        arguments = ["import", str(source), str(tmp_path / f"set{len(names)}"), "--modality", "ct"]
        result = CliRunner().invoke(app, arguments, input=answer)
        assert "Take them as pieces of one structure? [Y/n]" in result.output
        assert [s.name for s in Dataset.open(tmp_path / f"set{len(names)}").structures] == names
