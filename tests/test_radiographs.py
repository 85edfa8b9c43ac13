"""Pictures with outlines, tables of RLE and masks, as people keep them."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from PIL import Image
from typer.testing import CliRunner

from dicom_writing import image, save
from osteon.cli.main import app as command_line
from osteon.core.errors import DatasetError, FileError, OsteonError, UsageError
from osteon.dataset.dataset import Dataset
from osteon.formats import read_volume
from osteon.formats.rle import encode_rle, write_rle_csv
from osteon.importing.recognition import recognise
from osteon.importing.run import ImportReport, import_dataset

SHAPE = (30, 40)
BOXES = {"Ulna": (5, 6, 14, 19), "Radius": (10, 10, 22, 28), "finger-10": (24, 2, 29, 9), "finger-2": (1, 30, 8, 38)}
"""Name → first row, first column, end row, end column. Ulna and Radius overlap."""
SHARED = 4 * 9


def mask_of(name: str, shape: tuple[int, int] = SHAPE) -> npt.NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    top, left, bottom, right = BOXES[name]
    mask[top:bottom, left:right] = True
    return mask


def corners(name: str) -> list[list[float]]:
    top, left, bottom, right = BOXES[name]
    return [[left + 0.3, top - 0.4], [right - 1.2, top + 0.1], [right - 0.9, bottom - 1.3], [left, bottom - 1]]


def picture(path: Path, seed: int = 0, shape: tuple[int, int] = SHAPE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 200, shape, dtype=np.uint8)).save(path)
    return path


def mask_file(path: Path, mask: npt.NDArray[np.generic]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * (255 if mask.dtype == np.bool_ else 1)).save(path)
    return path


def outlines(path: Path, *names: str, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {"annotations": [{"label": name, "points": corners(name)} for name in names], **more}
    path.write_text(json.dumps(data))
    return path


def take(
    source: Path, target: Path, **options: Any
) -> tuple[ImportReport, dict[str, dict[str, npt.NDArray[np.bool_]]]]:
    """Import, and read back what was written: case → structure → `[rows, columns]`, empty ones left out."""
    report = import_dataset(source, target, **options)
    dataset = Dataset.open(target)
    masks = {}
    for case in dataset.manifest.cases:
        segmentation = dataset.load_segmentation(case) if case.segmentation is not None else None
        found = {s.name: segmentation.mask(s)[:, :, 0].T for s in segmentation.structures} if segmentation else {}
        masks[case.id] = {name: mask for name, mask in found.items() if mask.any()}
    return report, masks


def check(masks: dict[str, npt.NDArray[np.bool_]], *names: str) -> None:
    assert sorted(masks) == sorted(names)
    for name, mask in masks.items():
        np.testing.assert_array_equal(mask, mask_of(name), err_msg=name)


def test_outlines_beside_the_pictures(tmp_path: Path) -> None:
    heap = tmp_path / "hands"
    picture(heap / "a.png", 1)
    picture(heap / "b.png", 2)
    picture(heap / "c.png", 3)
    outlines(heap / "a.json", *BOXES)
    outlines(heap / "b.json", "finger-2", "Ulna", filename="b.png", metadata={"width": 40, "height": 30})
    messages: list[str] = []
    report, masks = take(heap, tmp_path / "set", announce=messages.append)
    assert report.form == "radiographs"
    assert [s.name for s in report.manifest.structures] == ["Radius", "Ulna", "finger-2", "finger-10"]
    assert [c.modality for c in report.manifest.channels] == ["xray"]
    check(masks["a"], *BOXES)
    check(masks["b"], "finger-2", "Ulna")
    assert masks["c"] == {}
    a, b, c = report.manifest.cases
    assert a.images == ["../hands/a.png"]  # referred to, not copied
    assert (a.segmentation, b.segmentation, c.segmentation) == ("labels/a.seg.nrrd", "labels/b.nii.gz", None)
    assert not (tmp_path / "set" / "images").exists()
    assert report.manifest.overlapping
    assert (masks["a"]["Ulna"] & masks["a"]["Radius"]).sum() == SHARED
    assert f"{SHARED} pixels" in a.provenance[0]
    assert "3 pictures; marked by outlines in a JSON file of its own: 2" in messages
    assert "1 picture without annotation, taken without labels" in messages
    assert import_dataset(heap, tmp_path / "set").repeated


def test_priority_decides_overlaps(tmp_path: Path) -> None:
    heap = tmp_path / "hands"
    picture(heap / "a.png")
    outlines(heap / "a.json", *BOXES)
    report, masks = take(heap, tmp_path / "set", priority=["Radius"])
    assert not report.manifest.overlapping
    np.testing.assert_array_equal(masks["a"]["Radius"], mask_of("Radius"))
    np.testing.assert_array_equal(masks["a"]["Ulna"], mask_of("Ulna") & ~mask_of("Radius"))
    with pytest.raises(UsageError, match="no structure is called Femur"):
        import_dataset(heap, tmp_path / "other", priority=["Femur"])


def test_parallel_folders_with_one_folder_for_each_subject(tmp_path: Path) -> None:
    heap = tmp_path / "train"
    for n, subject in enumerate(("ID001", "ID002", "ID003")):
        for side in "LR":
            picture(heap / "DCM" / subject / f"hand_{side}.png", 2 * n + (side == "L"))
            outlines(heap / "outputs_json" / subject / f"hand_{side}.json", "Ulna" if side == "L" else "Radius")
    report, masks = take(heap, tmp_path / "set")
    assert [c.id for c in report.manifest.cases] == [f"ID00{n}_hand_{side}" for n in (1, 2, 3) for side in "LR"]
    assert [c.subject for c in report.manifest.cases] == ["ID001", "ID001", "ID002", "ID002", "ID003", "ID003"]
    for name, found in masks.items():
        check(found, "Ulna" if name.endswith("L") else "Radius")


def test_an_annotation_never_goes_to_another_subject(tmp_path: Path) -> None:
    heap = tmp_path / "train"
    picture(heap / "DCM" / "ID001" / "hand.png", 1)
    picture(heap / "DCM" / "ID002" / "other.png", 2)
    outlines(heap / "json" / "ID002" / "hand.json", "Ulna")
    outlines(heap / "json" / "ID002" / "other.json", "Radius")
    report, masks = take(heap, tmp_path / "set")
    assert masks["hand"] == {}
    check(masks["other"], "Radius")
    assert any("there is no picture hand" in line for line in report.lost)


def test_two_annotations_of_one_picture_are_not_guessed_between(tmp_path: Path) -> None:
    heap = tmp_path / "heap"
    picture(heap / "img" / "a.png", 1)
    picture(heap / "img" / "b.png", 2)
    outlines(heap / "first" / "a.json", "Ulna")
    outlines(heap / "second" / "a.json", "Radius")
    outlines(heap / "first" / "b.json", "Radius")
    report, _ = take(heap, tmp_path / "set")
    assert "is annotated twice" in report.failed["a"].message
    assert [c.id for c in report.manifest.cases] == ["b"]


def test_a_case_pattern_brings_files_together(tmp_path: Path) -> None:
    heap = tmp_path / "heap"
    for n in (1, 2):
        picture(heap / f"scan-{n}-final.png", n)
        outlines(heap / f"drawn of {n} by hand.json", "Ulna" if n == 1 else "Radius")
    _, masks = take(heap, tmp_path / "other", case_pattern=r"(\d+)")
    check(masks["1"], "Ulna")
    check(masks["2"], "Radius")
    with pytest.raises(DatasetError, match="makes one case"):
        import_dataset(heap, tmp_path / "third", case_pattern=r"(scan|drawn)")


@pytest.mark.parametrize("suffix", ["", ".png", ".jpg"])
def test_a_table_of_rle(tmp_path: Path, suffix: str) -> None:
    heap = tmp_path / "hands"
    picture(heap / "pictures" / "a.png", 1)
    picture(heap / "pictures" / "b.png", 2)
    rows = [(f"a{suffix}", name, encode_rle(mask_of(name))) for name in BOXES]
    rows += [(f"b{suffix}", "Ulna", encode_rle(mask_of("Ulna"))), (f"b{suffix}", "Radius", ""), ("gone", "Ulna", "1 1")]
    write_rle_csv(heap / "hands.csv", rows)
    for source, target in ((heap, "one"), (heap / "hands.csv", "two")):
        (heap / "pictures" / "hands.csv").unlink(missing_ok=True)
        if source.is_file():
            source = source.rename(heap / "pictures" / "hands.csv")
        report, masks = take(source, tmp_path / target)
        assert report.form == "radiographs"
        check(masks["a"], *BOXES)
        check(masks["b"], "Ulna")
        assert any("there is no picture gone" in line for line in report.lost)


def test_a_broken_row_of_rle_leaves_out_its_picture_alone(tmp_path: Path) -> None:
    heap = tmp_path / "hands"
    for n, name in enumerate("abc"):
        picture(heap / f"{name}.png", n)
    good = encode_rle(mask_of("Ulna"))
    write_rle_csv(
        heap / "hands.csv",
        [
            ("a", "Ulna", good),
            ("b", "Ulna", "1 3 2 5"),
            ("c", "Ulna", good),
            ("c", "Ulna", encode_rle(mask_of("Radius"))),
        ],
    )
    report, masks = take(heap, tmp_path / "set")
    assert "hands.csv: line 3 (Ulna): the runs at pixel 1 and 2 overlap" in report.failed["b"].message
    assert any("line 5 marks Ulna a second time; united" in line for line in report.warnings)
    assert masks["c"]["Ulna"].sum() == (mask_of("Ulna") | mask_of("Radius")).sum()


DISCS = {"Ulna": (9, 12, 6), "Radius": (20, 30, 8), "Talus": (4, 34, 9)}
"""Row, column and radius; the last reaches out of the picture at its top and right edges."""


def runs_of(mask: npt.NDArray[np.bool_], order: str, base: int) -> str:
    """Written pixel by pixel, in any way of counting."""
    flat = (mask if order == "rows" else mask.T).ravel().tolist()
    numbers: list[int] = []
    for pixel, inside in enumerate(flat):
        if inside and not (pixel and flat[pixel - 1]):
            numbers += [pixel + base, 0]
        if inside:
            numbers[-1] += 1
    return " ".join(map(str, numbers))


def rle_heap(
    heap: Path, column: str, order: str, base: int, shape: tuple[int, int] = SHAPE, names: tuple[str, ...] = ("a", "b")
) -> dict[str, npt.NDArray[np.bool_]]:
    """Pictures with discs, and their table; gives the discs."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    discs = {name: (rows - y) ** 2 + (columns - x) ** 2 <= r * r for name, (y, x, r) in DISCS.items()}
    lines = [f"image_id,class,{column}"]
    for n, stem in enumerate(names):
        picture(heap / f"{stem}.png", n, shape)
        lines += [f"{stem}.png,{name},{runs_of(mask, order, base)}" for name, mask in discs.items()]
    (heap / "train.csv").write_text("\n".join(lines))
    return discs


@pytest.mark.parametrize(
    ("column", "order", "base", "options", "why"),
    [
        ("rle", "rows", 1, {}, "along rows, from 1 (by the column's name rle)"),
        ("EncodedPixels", "columns", 1, {}, "along columns, from 1 (by the column's name EncodedPixels)"),
        ("rle_mask", "columns", 1, {}, "along columns, from 1 (by the column's name rle_mask)"),
        (
            "rle",
            "columns",
            1,
            {"rle_order": "columns"},
            "along columns, from 1 (by the column's name rle, by --rle-order)",
        ),
        ("rle", "rows", 0, {"rle_base": 0}, "along rows, from 0 (by the column's name rle, by --rle-base)"),
        (
            "EncodedPixels",
            "rows",
            0,
            {"rle_order": "rows", "rle_base": 0},
            "along rows, from 0 (by --rle-order and --rle-base)",
        ),
    ],
)
def test_how_runs_are_counted_is_told_by_the_heading_or_the_user(
    tmp_path: Path, column: str, order: str, base: int, options: dict[str, Any], why: str
) -> None:
    discs = rle_heap(tmp_path / "in", column, order, base)
    messages: list[str] = []
    _, masks = take(tmp_path / "in", tmp_path / "set", announce=messages.append, **options)
    for found in masks.values():
        for name, mask in discs.items():
            np.testing.assert_array_equal(found[name], mask, err_msg=name)
    assert f"{tmp_path / 'in' / 'train.csv'}: runs are counted {why}" in messages


@pytest.mark.parametrize(("column", "order"), [("rle", "columns"), ("EncodedPixels", "rows")])
def test_masks_that_are_stripes_are_not_taken_by_their_heading(tmp_path: Path, column: str, order: str) -> None:
    rle_heap(tmp_path / "in", column, order, 1)
    with pytest.raises(DatasetError, match=r"train\.csv: .*its masks are stripes: counted along") as caught:
        import_dataset(tmp_path / "in", tmp_path / "set")
    assert caught.value.hint.startswith(f"--rle-order {order}; or --rle-order ")
    taken = import_dataset(tmp_path / "in", tmp_path / "set", rle_order="rows" if order == "columns" else "columns")
    assert len(taken.manifest.cases) == 2  # as the user insists


def test_square_pictures_do_not_show_in_which_order_runs_are_counted(tmp_path: Path) -> None:
    discs = rle_heap(tmp_path / "in", "EncodedPixels", "columns", 1, (40, 40))
    messages: list[str] = []
    _, masks = take(tmp_path / "in", tmp_path / "set", announce=messages.append)
    np.testing.assert_array_equal(masks["a"]["Ulna"], discs["Ulna"])
    assert any(line.endswith("; square pictures do not show whether that is right") for line in messages)


@pytest.mark.parametrize(("column", "order"), [("rle", "rows"), ("EncodedPixels", "columns")])
def test_runs_that_are_a_pixel_off_the_edge_are_not_taken(tmp_path: Path, column: str, order: str) -> None:
    """Counted from 0 and read from 1, what begins at the left edge has its first pixel at the right edge."""
    heap = tmp_path / "in"
    mask = np.zeros(SHAPE, bool)
    mask[:12, :9] = True
    rest = np.zeros(SHAPE, bool)
    rest[14:, :15] = rest[:9, 20:] = True
    picture(heap / "a.png")
    lines = [f"a,{name},{runs_of(m, order, 0)}" for name, m in (("Radius", rest), ("Ulna", mask))]
    (heap / "t.csv").write_text("\n".join([f"image,class,{column}", *lines[:1]]))
    with pytest.raises(DatasetError, match="go over the pictures' edges by a pixel, from 0 none") as caught:
        import_dataset(heap, tmp_path / "set")
    assert caught.value.hint.startswith("--rle-base 0; or")
    _, masks = take(heap, tmp_path / "set", rle_base=0)
    np.testing.assert_array_equal(masks["a"]["Radius"], rest)
    (heap / "t.csv").write_text("\n".join([f"image,class,{column}", *lines]))  # the Ulna has the first pixel of all
    messages: list[str] = []
    _, masks = take(heap, tmp_path / "other", announce=messages.append)
    np.testing.assert_array_equal(masks["a"]["Ulna"], mask)
    np.testing.assert_array_equal(masks["a"]["Radius"], rest)
    assert any("from 0 (by the column's name" in line and "begins at pixel 0, in line 3)" in line for line in messages)


def test_outlines_go_before_rle_of_the_same_pictures(tmp_path: Path) -> None:
    heap = tmp_path / "hands"
    picture(heap / "a.png", 1)
    picture(heap / "b.png", 2)
    outlines(heap / "a.json", "Ulna")
    write_rle_csv(heap / "x.csv", [(n, "Radius", encode_rle(mask_of("Radius"))) for n in "ab"])
    messages: list[str] = []
    _, masks = take(heap, tmp_path / "set", announce=messages.append)
    check(masks["a"], "Ulna")
    check(masks["b"], "Radius")
    assert any("1 pictures are marked by outlines" in line for line in messages)
    write_rle_csv(heap / "y.csv", [("a", "Radius", "1 1")])
    with pytest.raises(DatasetError, match=r"x\.csv and .*y\.csv are both"):
        import_dataset(heap, tmp_path / "other")


def coco(*, negative: bool = False) -> dict[str, Any]:
    more = {"neg_category_ids": [2]} if negative else {}
    return {
        "images": [
            {"id": 1, "file_name": "a.png", "width": 40, "height": 30, **more},
            {"id": 2, "file_name": "b.png", "width": 40, "height": 30},
        ],
        "categories": [{"id": 7, "name": "Ulna"}, {"id": 2, "name": "Radius"}, {"id": 3, "name": "Talus"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "segmentation": [along_edges("Ulna")]},
            {"id": 2, "image_id": 2, "category_id": 2, "segmentation": [along_edges("Radius")]},
        ],
    }


def along_edges(name: str) -> list[float]:
    """A box as COCO has it, whose coordinates run along the pixels' edges; a fifth of a pixel is no half."""
    top, left, bottom, right = BOXES[name]
    return [left + 0.2, top - 0.2, right, top + 0.1, right - 0.2, bottom, left, bottom + 0.2]


def test_coco(tmp_path: Path) -> None:
    heap = tmp_path / "hands"
    for n, name in enumerate("ab"):
        picture(heap / "images" / f"{name}.png", n)
    (heap / "instances.json").write_text(json.dumps(coco(negative=True)))
    report, masks = take(heap, tmp_path / "set")
    assert [s.name for s in report.manifest.structures] == ["Ulna", "Radius", "Talus"]  # the file's order
    check(masks["a"], "Ulna")
    check(masks["b"], "Radius")
    a, b = report.manifest.cases
    assert a.annotated == ["Ulna", "Radius"]
    assert b.annotated is None
    assert recognise(heap / "instances.json").name == "radiographs"


def test_a_structure_with_a_box_alone_is_unknown(tmp_path: Path) -> None:
    heap = tmp_path / "hands"
    for n, name in enumerate("abc"):
        picture(heap / f"{name}.png", n)
    data = coco()
    data["images"].append({"id": 3, "file_name": "c.png"})
    box = {"segmentation": [], "bbox": [1, 1, 5, 5]}
    data["annotations"] += [{**box, "image_id": 1, "category_id": 3}, {**box, "image_id": 3, "category_id": 7}]
    (heap / "c.json").write_text(json.dumps(data))
    report, masks = take(heap, tmp_path / "set")
    a, b, c = report.manifest.cases
    assert (a.annotated, b.annotated, c.segmentation) == (["Ulna", "Radius"], None, None)
    check(masks["a"], "Ulna")
    lost = "a box alone marks Talus in a.png, Ulna in c.png: their outlines are unknown"
    assert report.lost == [f"{heap / 'c.json'}: {lost}"]


def test_what_the_categories_of_one_coco_file_do_not_name_is_unknown_there(tmp_path: Path) -> None:
    """Of several files, whose numbers say nothing beyond each."""
    heap = tmp_path / "hands"
    for n, (name, bone) in enumerate((("a", "Ulna"), ("b", "Radius"))):
        picture(heap / f"{name}.png", n)
        entry = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [along_edges(bone)]}
        data = {"images": [{"id": 1, "file_name": f"{name}.png"}], "categories": [{"id": 1, "name": bone}]}
        (heap / f"{name}.json").write_text(json.dumps({**data, "annotations": [entry]}))
    report, masks = take(heap, tmp_path / "set")
    assert [case.annotated for case in report.manifest.cases] == [["Ulna"], ["Radius"]]
    check(masks["a"], "Ulna")
    check(masks["b"], "Radius")


@pytest.mark.parametrize(
    "name",
    [
        "hand_1 left.png",
        "images/default/hand_1 left.png",
        "images/1a2b3c4d-hand_1_left.png",
        "..\\..\\label-studio\\media\\upload\\4\\1a2b3c4d-hand_1_left.png",
        "/data/local-files/?d=hands%5Chand_1%20left.png",
        "1a2b3c4d-hand_1%20left.png",
        "hand_1 left_png.rf.0f9e8d7c6b5a43210f9e8d7c6b5a4321.jpg",
    ],
)
def test_pictures_are_found_by_what_annotation_programs_call_them(tmp_path: Path, name: str) -> None:
    heap = tmp_path / "hands"
    picture(heap / "images" / "hand_1 left.png", 1)
    picture(heap / "images" / "b.png", 2)
    data = coco()
    data["images"][0]["file_name"] = name
    (heap / "instances.json").write_text(json.dumps(data))
    report, masks = take(heap, tmp_path / "set")
    check(masks["hand_1 left"], "Ulna")
    messages = [line for line in report.warnings if "named as annotation programs name them" in line]
    assert bool(messages) == (Path(name).name != "hand_1 left.png")
    assert not report.lost


def test_a_coco_file_is_about_the_pictures_in_its_folder(tmp_path: Path) -> None:
    """As Roboflow exports them: a file for each part of the data, names that occur in several."""
    heap = tmp_path / "hands"
    for n, part in enumerate(("train", "valid")):
        for name in "ab":
            picture(heap / part / f"{name}.png", 2 * n + (name == "b"))
        data = coco()
        data["annotations"] = data["annotations"][n : n + 1]
        (heap / part / "_annotations.coco.json").write_text(json.dumps(data))
    report, masks = take(heap, tmp_path / "set", allow_empty=True)
    check(masks["train_a"], "Ulna")
    check(masks["valid_b"], "Radius")
    assert (masks["train_b"], masks["valid_a"], report.lost) == ({}, {}, [])


def test_an_annotation_that_cannot_be_read_is_named_where_there_is_no_other(tmp_path: Path) -> None:
    picture(tmp_path / "hands" / "a.png")
    (tmp_path / "hands" / "instances.json").write_text(json.dumps(coco())[:200])
    with pytest.raises(UsageError, match=r"without annotation \(.*instances\.json: the annotation is not valid JSON"):
        import_dataset(tmp_path / "hands", tmp_path / "set")


def test_a_picture_that_has_the_programs_name_is_taken_by_that(tmp_path: Path) -> None:
    heap = tmp_path / "hands"
    for n, name in enumerate(("1a2b3c4d-a.png", "a.png", "b.png")):
        picture(heap / name, n)
    data = coco()
    data["images"][0]["file_name"] = "images/1a2b3c4d-a.png"
    (heap / "instances.json").write_text(json.dumps(data))
    _, masks = take(heap, tmp_path / "set")
    check(masks["1a2b3c4d-a"], "Ulna")
    assert masks["a"] == {}
    data["images"][0]["file_name"] = "images/9f8e7d6c-a.png"
    data["images"][1]["file_name"] = "images/1a2b3c4e-a.png"  # two may be meant
    (heap / "instances.json").write_text(json.dumps(data))
    assert "marked by COCO twice" in import_dataset(heap, tmp_path / "other").failed["a"].message


@pytest.mark.parametrize("kind", ["coco", "rle", "masks", "outlines"])
def test_annotations_that_find_no_picture_make_no_dataset(tmp_path: Path, kind: str) -> None:
    heap = tmp_path / "hands"
    picture(heap / "one.png", 1)
    if kind == "coco":
        (heap / "instances.json").write_text(json.dumps(coco()))
    elif kind == "outlines":
        outlines(heap / "a.json", "Ulna")
    elif kind == "rle":
        write_rle_csv(heap / "t.csv", [("a", "Ulna", "1 1"), ("b", "Ulna", "1 1")])
    else:
        (heap / "t.csv").write_text("image,class,mask\na,Ulna,m.png\n")
    with pytest.raises(DatasetError, match=r"no annotation finds its picture: .*there is no picture a"):
        import_dataset(heap, tmp_path / "set")


def test_annotations_without_a_picture_are_lost(tmp_path: Path) -> None:
    heap = tmp_path / "hands"
    picture(heap / "a.png", 1)
    picture(heap / "e.webp.png", 2).rename(heap / "e.webp")
    data = coco()
    data["images"].append({"id": 9, "file_name": "unmarked.png"})  # nothing is lost of it
    (heap / "instances.json").write_text(json.dumps(data))
    outlines(heap / "c.json", "Ulna")
    (heap / "d.json").write_text('{"shapes": [')
    (heap / "broken.json").write_text(json.dumps({"annotations": [7], "images": [], "shapes": 1}))
    (heap / "package.json").write_text('{"name": "viewer"}')  # no annotation
    report, masks = take(heap, tmp_path / "set")
    check(masks["a"], "Ulna")
    lost = "\n".join(report.lost)
    for message in (
        "instances.json: there is no picture b.png; what it says of 1 is skipped",
        "c.json: there is no picture c; skipped",
        "d.json: ",
        "broken.json: holds no outlines, and is no COCO file; skipped",
        f"1 file is not read (a picture), such as {heap}/e.webp: save it as .png",
    ):
        assert message in lost
    assert len(report.lost) == 5


def labelme(path: Path, picture: str, *names: str) -> None:
    shapes = [{"label": name, "points": corners(name), "shape_type": "polygon"} for name in names]
    path.write_text(json.dumps({"version": "5.5.0", "shapes": shapes, "imagePath": picture, "imageData": None}))


def test_labelme_files_are_about_the_picture_that_they_name(tmp_path: Path) -> None:
    heap = tmp_path / "hands"
    for n, name in enumerate("abc"):
        picture(heap / f"{name}.png", n)
    labelme(heap / "a.json", "b.png", "Ulna")
    labelme(heap / "b.json", "..\\hands\\a.png", "Radius")
    labelme(heap / "c.json", "C:\\data\\old name.png", "finger-2")  # renamed since
    report, masks = take(heap, tmp_path / "set")
    check(masks["a"], "Radius")
    check(masks["b"], "Ulna")
    check(masks["c"], "finger-2")
    crossed, renamed = report.warnings
    assert crossed.startswith("2 JSON files are about another picture than the one of their name")
    assert crossed.endswith("such as a.json about b.png")
    assert renamed.startswith("1 JSON files name a picture that is not there, such as c.json old name.png")
    (heap / "b.json").unlink()
    (heap / "a.json").rename(heap / "b.json")
    labelme(heap / "c.json", "b.png", "finger-2")  # then two are about it
    with pytest.raises(DatasetError, match=r"b\.png: is annotated twice, in .*b\.json and .*c\.json"):
        take(heap, tmp_path / "other")


def test_labelme_files_that_name_their_own_picture_stay_with_their_subject(tmp_path: Path) -> None:
    heap = tmp_path / "hands"
    for n, subject in enumerate(("ID1", "ID2")):
        picture(heap / "DCM" / subject / "left.png", n)
        (heap / "json" / subject).mkdir(parents=True)
        labelme(heap / "json" / subject / "left.json", "left.png", "Ulna" if n else "Radius")
    report, masks = take(heap, tmp_path / "set")
    check(masks["ID1_left"], "Radius")
    check(masks["ID2_left"], "Ulna")
    assert report.warnings == []
    labelme(heap / "json" / "ID1" / "left.json", "../../DCM/ID2/left.png", "Radius")  # a copy of the other's
    report, masks = take(heap, tmp_path / "other")
    check(masks["ID2_left"], "Ulna")
    assert masks["ID1_left"] == {}
    assert ["lies further from DCM/ID2/left.png; skipped" in line for line in report.lost] == [True]


@pytest.mark.parametrize(
    "place",
    [
        lambda n: f"masks/{n}/a.png",
        lambda n: f"masks/a/{n}.png",
        lambda n: f"masks/a_{n}.png",
        lambda n: f"a_mask_{n}.png",
        lambda n: f"{n}/a.png",
        lambda n: f"{n}_mask/a.png",
        lambda n: f"labels/{n}/a_mask.png",
    ],
)
def test_one_mask_file_for_each_structure(tmp_path: Path, place: Callable[[str], str]) -> None:
    heap = tmp_path / "hands"
    beside = place("x").startswith("a_")
    picture(heap / ("a.png" if beside else "images/a.png"), 1)
    picture(heap / ("b.png" if beside else "images/b.png"), 2)
    for name in BOXES:
        mask_file(heap / place(name), mask_of(name))
    report, masks = take(heap, tmp_path / "set")
    assert [c.id for c in report.manifest.cases] == ["a", "b"]
    check(masks["a"], *BOXES)
    assert masks["b"] == {}


def test_label_maps_are_referred_to(tmp_path: Path) -> None:
    heap = tmp_path / "slices"
    for n in range(3):
        picture(heap / "images" / f"{n}.png", n)
        mask_file(heap / "masks" / f"{n}.png", mask_of("Ulna").astype(np.uint8) + 2 * mask_of("finger-2"))
    report, masks = take(heap, tmp_path / "set", structures={"Ulna": 1, "finger-2": 2}, modality="mr")
    assert report.manifest.cases[0].segmentation == "../slices/masks/0.png"
    assert [c.modality for c in report.manifest.channels] == ["mr"]
    for found in masks.values():
        check(found, "Ulna", "finger-2")


def test_odd_masks_are_told_once_for_all_cases(tmp_path: Path) -> None:
    heap = tmp_path / "hands"
    for n, name in enumerate("abc"):
        picture(heap / "images" / f"{name}.png", n)
        levels = mask_of("Ulna").astype(np.uint8) * 255
        mask_file(heap / "masks" / "Ulna" / f"{name}.png", 255 - levels if name == "c" else levels)
        soft = cv2.GaussianBlur(mask_of("Radius") * 255.0, (0, 0), 1.5)
        mask_file(heap / "masks" / "Radius" / f"{name}.png", soft)
    report, masks = take(heap, tmp_path / "set")
    for found in masks.values():
        np.testing.assert_array_equal(found["Ulna"], mask_of("Ulna"))
        assert (found["Radius"] != mask_of("Radius")).sum() <= 4  # its corners are round
    soft_ones, bright = report.warnings
    assert soft_ones == "3 cases, such as a: masks with soft edges: cut at half of their brightest value"
    assert bright.startswith(
        f"case c: {heap / 'masks' / 'Ulna' / 'c.png'}: its background is bright, 90% of the picture"
    )


def test_the_user_says_which_pixels_of_a_mask_are_the_structure(tmp_path: Path) -> None:
    heap = tmp_path / "hands"
    picture(heap / "images" / "a.png")
    mask_file(heap / "masks" / "air" / "a.png", ~mask_of("Ulna"))
    _, masks = take(heap, tmp_path / "set", mask_marks="bright")
    np.testing.assert_array_equal(masks["a"]["air"], ~mask_of("Ulna"))
    report, masks = take(heap, tmp_path / "other", mask_marks="dark")
    np.testing.assert_array_equal(masks["a"]["air"], mask_of("Ulna"))
    assert report.warnings == []


def test_a_label_map_whose_background_has_a_value_is_told(tmp_path: Path) -> None:
    heap = tmp_path / "hands"
    picture(heap / "images" / "a.png")
    mask_file(heap / "masks" / "a.png", ~mask_of("Ulna"))
    report, _ = take(heap, tmp_path / "set", structures={"Ulna": 255})
    assert "the value 255 covers 90% of the picture and most of its edges: its background?" in report.warnings[0]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("separator", [";", "\t", ","])
def test_tables_of_masks_from_spreadsheets(tmp_path: Path, separator: str, suffix: str) -> None:
    """With a byte order mark, quotes, and numbers as the spreadsheet's language has them."""
    heap = tmp_path / "hands"
    picture(heap / "a.png", 1)
    rows = [["Image", "Class", "Mask", "Top", "Left"]]
    for n, (name, (top, left, bottom, right)) in enumerate(BOXES.items()):
        mask_file(heap / f"m{n}.png", np.ones((bottom - top, right - left), bool))
        rows.append(["a.png", name, f"m{n}.png", f"{top},0" if separator != "," else f"{top}.0", str(left)])
    text = "\ufeff" + "\r\n".join(separator.join(f'"{field}"' for field in row) for row in rows)
    (heap / f"t{suffix}").write_text(text, encoding="utf-8", newline="")
    _, masks = take(heap, tmp_path / "set")
    check(masks["a"], *BOXES)


def test_pictures_that_are_turned_by_exif_are_told(tmp_path: Path) -> None:
    heap = tmp_path / "hands"
    for n, orientation in enumerate((1, 3, 6)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        pixels = np.random.default_rng(n).integers(0, 200, SHAPE if n < 2 else SHAPE[::-1], dtype=np.uint8)
        (heap / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(heap / "images" / f"{n}.jpg", exif=exif)
        mask_file(heap / "masks" / "Ulna" / f"{n}.png", mask_of("Ulna"))
    report, masks = take(heap, tmp_path / "set")
    for found in masks.values():
        check(found, "Ulna")
    assert report.warnings == [
        "2 pictures, such as images/1.jpg, are turned upright as their EXIF orientation says; "
        "what marks them is taken as drawn on the upright picture"
    ]
    mask_file(heap / "masks" / "Ulna" / "2.png", mask_of("Ulna").T)  # drawn on the picture as it is stored
    report = import_dataset(heap, tmp_path / "other")
    assert "has 30×40 pixels, its picture 40×30" in report.failed["2"].message


@pytest.mark.parametrize("broken", ["images/b.png", "masks/Ulna/b.png"])
def test_a_file_that_cannot_be_read_is_named_and_the_others_go_on(tmp_path: Path, broken: str) -> None:
    heap = tmp_path / "hands"
    for n, name in enumerate("abc"):
        picture(heap / "images" / f"{name}.png", n)
        mask_file(heap / "masks" / "Ulna" / f"{name}.png", mask_of("Ulna"))
    whole = (heap / broken).read_bytes()
    (heap / broken).write_bytes(whole[: len(whole) // 2])
    report, masks = take(heap, tmp_path / "set")
    assert sorted(masks) == ["a", "c"]
    assert str(heap / broken) in report.failed["b"].message


def test_masks_cut_out_of_the_picture(tmp_path: Path) -> None:
    heap = tmp_path / "hands"
    picture(heap / "a.png", 1)
    rows = ["image,class,mask,top,left"]
    for n, (name, (top, left, bottom, right)) in enumerate(BOXES.items()):
        soft = np.zeros((bottom - top, right - left, 4), np.uint8)
        soft[..., 3] = 255
        soft[..., n % 3] = 90  # the class' colour
        Image.fromarray(soft).save(heap / f"m{n}.png")
        rows.append(f"a.png,{name},m{n}.png,{top},{left}")
    (heap / "table.csv").write_text("\n".join(rows))
    _, masks = take(heap, tmp_path / "set")
    check(masks["a"], *BOXES)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a.png,Ulna,m0.png,25,0", r"table\.csv: line 2 \(Ulna\): 13×9 pixels at column 0, row 25 reach out"),
        ("a.png,Ulna,m0.png,-1,0", "reach out"),
        ("a.png,Ulna,m9.png,0,0", "its mask file is not there"),
        ("a.png,Ulna,m0.png,,", "line 2: top and left are not whole numbers"),
        ("a.png,Ulna", "line 2 has 2 fields"),
    ],
)
def test_broken_lines_of_a_table_of_masks(tmp_path: Path, line: str, says: str) -> None:
    picture(tmp_path / "hands" / "a.png", 1)
    mask_file(tmp_path / "hands" / "m0.png", np.ones((9, 13), bool))
    (tmp_path / "hands" / "table.csv").write_text(f"image,class,mask,top,left\n{line}\n")
    with pytest.raises((DatasetError, FileError), match=says):
        import_dataset(tmp_path / "hands", tmp_path / "set")


def test_sizes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    heap = tmp_path / "hands"
    picture(heap / "a.png", 1)
    outlines(heap / "a.json", "Ulna", metadata={"width": 80, "height": 60})
    with pytest.raises(DatasetError, match="was drawn on a picture of 80×60 pixels, this one has 40×30"):
        import_dataset(heap, tmp_path / "set")
    (heap / "a.json").unlink()
    mask_file(heap / "masks" / "Ulna" / "a.png", mask_of("Ulna", (30, 41)))
    with pytest.raises(DatasetError, match="has 41×30 pixels, its picture 40×30"):
        import_dataset(heap, tmp_path / "set")


def test_points_far_outside_are_cut_off_with_a_warning(tmp_path: Path) -> None:
    heap = tmp_path / "hands"
    picture(heap / "a.png", 1)
    (heap / "a.json").write_text(
        json.dumps({"annotations": [{"label": "Ulna", "points": [[30, 10], [90, 10], [90, 20], [30, 20]]}]})
    )
    report, masks = take(heap, tmp_path / "set")
    assert masks["a"]["Ulna"].sum() == 10 * 11
    assert any("Ulna reaches 51 pixels out of the picture" in line for line in report.warnings)


def test_a_dataset_made_among_the_pictures_is_not_read_again(tmp_path: Path) -> None:
    picture(tmp_path / "hands" / "a.png", 1)
    outlines(tmp_path / "hands" / "a.json", "Ulna")
    import_dataset(tmp_path / "hands", tmp_path / "hands" / "set")
    picture(tmp_path / "hands" / "set" / "audit" / "b.png", 2)
    assert import_dataset(tmp_path / "hands", tmp_path / "hands" / "set").repeated


def test_pictures_without_annotation_are_none_of_this_form(tmp_path: Path) -> None:
    for n in range(3):
        picture(tmp_path / "hands" / f"{n}.png", n)
    with pytest.raises(UsageError, match=r"3 pictures without annotation"):
        import_dataset(tmp_path / "hands", tmp_path / "set", form="radiographs")


@pytest.mark.parametrize(
    ("heading", "lacks"),
    [
        ("ImageId,EncodedPixels", "no column class"),
        ("ImageId_ClassId;EncodedPixels", "no column image_name and no column"),
    ],
)
def test_a_table_of_runs_that_lacks_a_column_says_which(tmp_path: Path, heading: str, lacks: str) -> None:
    picture(tmp_path / "hands" / "0.png")
    (tmp_path / "hands" / "train.csv").write_text(f"{heading}\n0.png,1 2\n")
    for source in (tmp_path / "hands", tmp_path / "hands" / "train.csv"):
        with pytest.raises(UsageError, match=rf"train\.csv has runs, but {lacks}"):
            import_dataset(source, tmp_path / "set", form="radiographs")
    with pytest.raises(UsageError, match=rf"train\.csv has runs, but {lacks}"):
        import_dataset(tmp_path / "hands", tmp_path / "set")  # nor pictures without labels


EVIL = ["../../evil", "/tmp/osteon-evil", "a\nb", "x" * 10_000, "..\\..\\evil", "C:\\evil", "\x00"]


@pytest.mark.parametrize("text", EVIL)
def test_names_in_files_write_nothing_outside_the_dataset(tmp_path: Path, text: str) -> None:
    heap = tmp_path / "in" / "deep" / "hands"
    picture(heap / "a.png", 1)
    outlines(heap / "a.json", "Ulna", filename=text)
    picture(heap / "b.png", 2)
    (heap / "b.json").write_text(json.dumps({"annotations": [{"label": text, "points": corners("Ulna")}]}))
    data = coco()
    data["images"].append({"id": 9, "file_name": text})
    data["annotations"].append({"image_id": 9, "category_id": 7, "segmentation": []})
    (heap / "c.json").write_text(json.dumps(data))
    with (heap / "t.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("image", "class", "mask"), (text, "Ulna", text)])
    (heap / "r.csv").write_text("image_name,class,rle\n" + f'"{text}",Ulna,1 1\n')
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    report, masks = take(heap, tmp_path / "in" / "deep" / "set")
    check(masks["a"], "Ulna")
    after = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert all(path.is_relative_to(tmp_path / "in" / "deep" / "set") for path in after)
    assert not Path("/tmp/osteon-evil").exists()
    assert all(len(line) < 600 and "\n" not in line for line in report.warnings)


# -- real data -------------------------------------------------------------------------------------------------------


def test_chest_radiographs_keep_all_their_masks(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "chest-xray-multilabel"
    report, masks = take(source, tmp_path / "set")
    assert (report.form, len(report.manifest.cases), report.failed) == ("radiographs", 6, {})
    assert report.manifest.overlapping
    with (source / "annotations.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 45
    expected: dict[tuple[str, str], npt.NDArray[np.bool_]] = {}
    for row in rows:  # the README: any colour channel above 0, pasted at (left, top)
        colours = np.asarray(Image.open(source / row["mask"]))[..., :3]
        whole = np.asarray(Image.open(source / "images" / row["image"]).convert("L")) * False
        top, left = int(row["top"]), int(row["left"])
        whole[top : top + colours.shape[0], left : left + colours.shape[1]] = (colours > 0).any(axis=2)
        key = (Path(row["image"]).stem, row["class"])
        expected[key] = expected.get(key, False) | (whole > 0)
    found = {(case, name): mask for case, structures in masks.items() for name, mask in structures.items()}
    assert found.keys() == expected.keys()
    for key, mask in found.items():
        np.testing.assert_array_equal(mask, expected[key], err_msg=str(key))


def test_spine_slices_come_with_their_label_maps(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "spine-mr-slices"
    named = {"disc": 1, "vertebra": 2}
    report, masks = take(source, tmp_path / "set", structures=named, modality="mr", allow_empty=True)
    assert len(report.manifest.cases) == 10
    for n in range(10):
        labels = np.asarray(Image.open(source / "masks" / f"{n}.png"))
        for name, value in named.items():
            np.testing.assert_array_equal(masks[str(n)].get(name, np.zeros((256, 256), bool)), labels == value)
    with_empty = import_dataset(source, tmp_path / "other", structures=named, modality="mr")
    assert sorted(with_empty.failed) == ["0", "5"]  # the README: entirely empty


def test_dicom_radiographs_are_written_anew_under_their_outlines(shared_data: Path, tmp_path: Path) -> None:
    heap = tmp_path / "legs"
    heap.mkdir()
    for n, source in enumerate(sorted((shared_data / "awkward-dicom" / "xray-monochrome1").rglob("*.dcm"))[:2]):
        shutil.copy(source, heap / f"{n}.dcm")
    picture(heap / "1.png")  # a preview
    rows, columns = pydicom.dcmread(heap / "0.dcm").pixel_array.shape
    points = [[2, 1], [columns - 3, 1], [columns - 3, 8], [2, 8]]
    (heap / "0.json").write_text(json.dumps({"annotations": [{"label": "Tibia", "points": points}]}))
    report, masks = take(heap, tmp_path / "set")
    assert (report.form, report.failed) == ("radiographs", {})
    expected = np.zeros((rows, columns), bool)
    expected[1:9, 2 : columns - 2] = True
    np.testing.assert_array_equal(masks["0"]["Tibia"], expected)
    assert masks["1"] == {}
    dataset = Dataset.open(tmp_path / "set")
    for n, case in enumerate(dataset.manifest.cases):
        assert case.images == [f"images/{n}.nii.gz"]
        volume = dataset.load_image(case)
        np.testing.assert_array_equal(volume.array, read_volume(heap / f"{n}.dcm").array)
    assert any("stand beside DICOM files" in line for line in report.warnings)


def test_dicom_radiographs_need_no_suffix(tmp_path: Path) -> None:
    heap = tmp_path / "heap"
    for n, name in enumerate(("IM_0001.dcm", "IM_0002", "1.2.840.7", "IM_0004.IMA")):
        pixels = np.random.default_rng(n).integers(0, 99, SHAPE, dtype=np.uint16)
        tags = {"Modality": "DX", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1", "SeriesInstanceUID": f"1.2.{n}"}
        save(image(pixels, **tags), heap / name)
        outlines(heap / f"{name.removesuffix('.dcm').removesuffix('.IMA')}.json", "Ulna")
    shutil.copy(heap / "IM_0002", heap / "DICOMDIR")  # never an image, whatever it holds
    (heap / "README").write_text("these are hands")
    report, masks = take(heap, tmp_path / "set", keep_identity=True)
    assert sorted(masks) == ["1.2.840.7", "IM_0001", "IM_0002", "IM_0004"]
    for found in masks.values():
        check(found, "Ulna")
    assert (report.lost, report.failed) == ([], {})


def test_hands_without_masks_are_cases_without_labels(shared_data: Path, tmp_path: Path) -> None:
    report = import_dataset(shared_data / "hand-radiographs", tmp_path / "set")
    assert (report.form, len(report.manifest.cases), report.manifest.labelled) == ("scans", 4, [])


def test_a_picture_that_is_marked_twice_in_one_way_is_left_out(tmp_path: Path) -> None:
    """To take the first alone would make background of what the second marks."""
    heap = tmp_path / "heap"
    picture(heap / "a.png")
    picture(heap / "b.png", 1)
    rle = encode_rle(mask_of("Ulna"))
    (heap / "t.csv").write_text(f"image_name,class,rle\na,Ulna,{rle}\na.png,Radius,{rle}\nb,Ulna,{rle}\n")
    report, masks = take(heap, tmp_path / "set")
    assert list(masks) == ["b"]
    assert "marked by RLE in a table twice" in str(report.failed["a"])


def test_two_coco_files_of_one_picture_are_not_chosen_between(tmp_path: Path) -> None:
    heap = tmp_path / "heap"
    picture(heap / "a.png")
    for name in ("Ulna", "Radius"):
        entry = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [np.ravel(corners(name)).tolist()]}
        images, categories = [{"id": 1, "file_name": "a.png"}], [{"id": 1, "name": name}]
        data = {"images": images, "categories": categories, "annotations": [entry]}
        (heap / f"{name}.json").write_text(json.dumps(data))
    with pytest.raises(DatasetError, match=r"(?s)COCO twice.*Radius\.json.*Ulna\.json"):
        take(heap, tmp_path / "set")


def test_nobody_is_named_in_a_dataset_of_dicom_radiographs(tmp_path: Path) -> None:
    folder = tmp_path / "heap" / "Jane Doe"
    for n, side in enumerate(("left", "right")):
        pixels = np.random.default_rng(n).integers(0, 99, SHAPE, dtype=np.uint16)
        tags = {"Modality": "DX", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1", "SeriesInstanceUID": f"1.2.{n}"}
        save(image(pixels, **tags), folder / f"doe {side}.dcm")
        outlines(folder / f"doe {side}.json", "Ulna")
    report, masks = take(tmp_path / "heap", tmp_path / "set")
    assert {case.id: case.subject for case in report.manifest.cases} == {"p001 left": "p001", "p001 right": "p001"}
    assert all(masks[name]["Ulna"].any() for name in masks)
    made = (tmp_path / "set" / "dataset.yaml").read_text() + str(list((tmp_path / "set").rglob("*")))
    assert not [word for word in ("jane", "doe", "secret") if word in made.lower()]


def test_why_no_picture_could_be_taken_with_labels_is_said(tmp_path: Path) -> None:
    heap = tmp_path / "heap"
    picture(heap / "a.png")
    picture(heap / "b.png", 1)
    (heap / "a.json").write_text(json.dumps({"annotations": [{"label": "Ulna", "points": [[1, 2], [3, 4]]}]}))
    with pytest.raises(DatasetError, match=r"a\.json"):
        take(heap, tmp_path / "set")


def test_dicom_beside_pictures_and_mask_files_is_told(tmp_path: Path) -> None:
    heap = tmp_path / "heap"
    picture(heap / "images" / "a.png")
    mask_file(heap / "masks" / "Ulna" / "a.png", mask_of("Ulna"))
    for name in ("a", "b", "c"):
        save(image(np.zeros(SHAPE, np.uint16), Modality="DX"), heap / "images" / f"{name}.dcm")
    report, masks = take(heap, tmp_path / "set")
    assert list(masks) == ["a"]
    assert report.lost == ["2 DICOM files, such as images/b.dcm, are marked by no file; skipped"]
    assert "images/a.dcm is beside a picture of the same name; left out" in report.warnings


def test_a_table_that_is_not_there_is_lost(tmp_path: Path) -> None:
    heap = tmp_path / "heap"
    picture(heap / "images" / "a.png")
    mask_file(heap / "masks" / "Ulna" / "a.png", mask_of("Ulna"))
    (heap / "runs.tsv").symlink_to("nowhere")
    report, _ = take(heap, tmp_path / "set")
    assert [line for line in report.lost if "runs.tsv" in line]


@pytest.fixture
def short_fields() -> Iterator[None]:
    """The longest field as Python has it; reading runs raises it for the whole process."""
    before = csv.field_size_limit(131_072)
    yield
    csv.field_size_limit(before)


@pytest.mark.usefixtures("short_fields")
def test_a_table_with_a_very_long_field_is_an_error_that_names_it(tmp_path: Path) -> None:
    heap = tmp_path / "heap"
    picture(heap / "a.png")
    mask_file(heap / "m.png", mask_of("Ulna"))
    long = "1 2 " * 50_000
    (heap / "runs.csv").write_text(f"image_name,class,rle\na,Ulna,{long}\n")
    with pytest.raises(OsteonError, match=r"runs\.csv"):
        import_dataset(heap / "runs.csv", tmp_path / "set", form="pairs")
    result = CliRunner().invoke(command_line, ["import", str(heap / "runs.csv"), str(tmp_path / "set")])
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert "runs.csv" in result.output
    (heap / "masks.csv").write_text(f"image,class,mask\na.png,Ulna,m.png\na.png,{long},m.png\n")
    (heap / "runs.csv").unlink()
    with pytest.raises(FileError, match=r"masks\.csv: line 3 cannot be read"):
        import_dataset(heap, tmp_path / "set")
