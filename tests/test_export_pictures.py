"""Tables of RLE, COCO and volumes: read back by osteon and by decoders that share no code with it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import osteon
from helpers import write_dataset
from osteon.core.errors import GeometryError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.exporting.masks import crop_masks
from osteon.exporting.table import measure_mask
from osteon.formats import read_segmentation, write_segmentation, write_volume
from osteon.formats.coco import unpack_rle
from osteon.formats.coco_rasterisation import fill_coco
from osteon.formats.coco_writer import make_annotation, pack_rle, run_lengths, trace_outline
from osteon.formats.raster import TO_RAS
from osteon.importing.run import import_dataset

STRUCTURES = make_structures(["Ulna", "Radius", "Thumb"], [2, 3, 7])


def picture(seed: int, rows: int = 9, columns: int = 13) -> Segmentation:
    """Overlapping masks of a picture; the thumb is not there."""
    rng = np.random.default_rng(seed)
    array = (rng.random((3, columns, rows, 1)) < 0.4).astype(np.uint8)
    array[2] = 0
    return Segmentation(array, Geometry((columns, rows, 1), TO_RAS, "px"), STRUCTURES)


def pictures(folder: Path) -> dict[str, Segmentation]:
    found = {f"hand{n}": picture(n, 9 + n) for n in range(2)}
    for name, segmentation in found.items():
        write_segmentation(folder / f"{name}.seg.nrrd", segmentation)
    return found


def test_rle_by_an_independent_decoder(tmp_path: Path) -> None:
    expected = pictures(tmp_path / "labels")
    report = osteon.export("rle-csv", tmp_path / "labels", tmp_path / "out")
    assert report.files == [tmp_path / "out/masks.csv"]
    with report.files[0].open() as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["image_name", "class", "rle"]
    assert len(rows) == 1 + 2 * 3
    for image, name, rle in rows[1:]:
        segmentation = expected[image]
        columns, lines, _ = segmentation.geometry.shape
        flat = [0] * (columns * lines)
        numbers = [int(word) for word in rle.split()]
        for start, length in zip(numbers[::2], numbers[1::2], strict=True):
            for pixel in range(start, start + length):
                flat[pixel - 1] = 1
        structure = next(s for s in STRUCTURES if s.name == name)
        mask = segmentation.mask(structure)
        for row in range(lines):
            for column in range(columns):
                assert flat[row * columns + column] == mask[column, row, 0]


def decode_coco(code: dict[str, object]) -> np.ndarray:
    """As pycocotools' maskApi.c has it, number by number."""
    rows, columns = code["size"]  # type: ignore[misc]
    lengths, place, text = list[int](), 0, str(code["counts"])
    while place < len(text):
        value, shift, more = 0, 0, True
        while more:
            bits = ord(text[place]) - 48
            value |= (bits & 0x1F) << 5 * shift
            more, place, shift = bool(bits & 0x20), place + 1, shift + 1
            if not more and bits & 0x10:
                value |= -1 << 5 * shift
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
    flat = [n % 2 for n, length in enumerate(lengths) for _ in range(length)]
    return np.array(flat).reshape(columns, rows).T > 0


def test_coco_by_an_independent_decoder(tmp_path: Path) -> None:
    expected = pictures(tmp_path / "labels")
    osteon.export("coco", tmp_path / "labels", tmp_path / "out")
    data = json.loads((tmp_path / "out/coco.json").read_text())
    names = {category["id"]: category["name"] for category in data["categories"]}
    files = {image["id"]: image for image in data["images"]}
    assert list(names.values()) == ["Ulna", "Radius", "Thumb"]
    assert len(data["annotations"]) == 4
    for entry in data["annotations"]:
        segmentation = expected[files[entry["image_id"]]["file_name"]]
        structure = next(s for s in STRUCTURES if s.name == names[entry["category_id"]])
        mask = segmentation.mask(structure)[:, :, 0].T
        assert np.array_equal(decode_coco(entry["segmentation"]), mask)
        assert entry["area"] == mask.sum()
        x, y, width, height = entry["bbox"]
        assert mask[y : y + height, x : x + width].sum() == mask.sum()
    assert [image["neg_category_ids"] for image in data["images"]] == [[3], [3]]


@pytest.mark.parametrize("form", ["rle-csv", "coco"])
def test_osteon_takes_back_what_it_wrote(tmp_path: Path, form: str) -> None:
    expected = pictures(tmp_path / "labels")
    osteon.export(form, tmp_path / "labels", tmp_path / "heap")
    for name, segmentation in expected.items():
        import cv2

        columns, rows, _ = segmentation.geometry.shape
        grey = np.random.default_rng(0).integers(0, 255, (rows, columns)).astype(np.uint8)
        assert cv2.imwrite(str(tmp_path / f"heap/{name}.png"), grey)
    import_dataset(tmp_path / "heap", tmp_path / "set")
    dataset = Dataset.open(tmp_path / "set")
    assert {c.id for c in dataset.manifest.cases} == set(expected)
    for case in dataset.manifest.cases:
        found = dataset.load_segmentation(case)
        for structure in found.structures:
            own = next(s for s in STRUCTURES if s.name == structure.name)
            assert np.array_equal(found.mask(structure), expected[case.id].mask(own))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.integers(1, 12), st.integers(1, 12))
def test_codes_and_polygons_of_any_mask(seed: int, share: float, rows: int, columns: int) -> None:
    mask = np.random.default_rng(seed).random((rows, columns)) < share
    lengths = run_lengths(mask)
    assert np.array_equal(unpack_rle(pack_rle(lengths)), lengths)
    assert np.array_equal(decode_coco({"size": mask.shape, "counts": pack_rle(lengths)}), mask)
    if not mask.any():
        return
    found = trace_outline(mask)
    if found is not None:
        polygons = [np.array(flat, float).reshape(-1, 2) for flat in found]
        assert np.array_equal(fill_coco(polygons, (rows, columns)), mask)
        across = [p[:, 0] @ np.roll(p[:, 1], -1) - p[:, 1] @ np.roll(p[:, 0], -1) for p in polygons]
        assert np.abs(across).sum() / 2 == mask.sum()
    kept = make_annotation(mask, polygons=True)["segmentation"]
    assert isinstance(kept, dict) == (found is None)


def test_a_hole_stays_a_code(tmp_path: Path) -> None:
    array = np.zeros((9, 8, 1), np.uint8)
    array[1:8, 1:7] = 2
    array[3:5, 3:5] = 0  # a ring
    array[8, 7] = 3
    segmentation = Segmentation(array, Geometry((9, 8, 1), TO_RAS, "px"), STRUCTURES)
    write_segmentation(tmp_path / "p.nii.gz", segmentation)
    report = osteon.export("coco", tmp_path / "p.nii.gz", tmp_path / "out", shapes="polygons")
    assert report.notes == ["p: Ulna: written as RLE, since no polygon has a hole"]
    ring, dot = json.loads(report.files[0].read_text())["annotations"]
    assert np.array_equal(decode_coco(ring["segmentation"]), array[:, :, 0].T == 2)
    assert dot["segmentation"] == [[8, 7, 8, 8, 9, 8, 9, 7]]  # the pixel's edges


def test_a_scan_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "p.nii.gz"
    write_segmentation(path, Segmentation(np.full((3, 4, 2), 2, np.uint8), Geometry((3, 4, 2), np.eye(4)), STRUCTURES))
    for form in ("rle-csv", "coco"):
        report = osteon.export(form, path, tmp_path / "out")
        assert isinstance(report.failed["p"], GeometryError)
        assert "3×4×2" in report.failed["p"].message
        assert report.files == []


def test_pictures_are_called_by_their_files(tmp_path: Path) -> None:
    """By the case where two folders have a file of the same name."""
    array, labels = np.arange(12).reshape(4, 3, 1), np.full((4, 3, 1), 3, np.uint8)
    dataset = write_dataset(tmp_path / "set", dict.fromkeys(("a", "b", "c"), (array, labels, TO_RAS)), unit="px")
    for folder, name in (("one", "a"), ("two", "b")):
        write_volume(tmp_path / f"set/{folder}/x.nii.gz", Volume(array[None], Geometry((4, 3, 1), TO_RAS, "px")))
        text = (dataset.folder / "dataset.yaml").read_text()
        (dataset.folder / "dataset.yaml").write_text(text.replace(f"images/{name}.nii.gz", f"{folder}/x.nii.gz"))
    osteon.export("rle-csv", tmp_path / "set", tmp_path / "out")
    rows = (tmp_path / "out/masks.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["a", "a", "b", "b", "c.nii.gz", "c.nii.gz"]


# Volumes and dimensions


def test_a_box_measures_what_it_is() -> None:
    """20×12×8 voxels of 0.5×1×2 mm, the grid turned by 30° about the third axis."""
    mask = np.zeros((24, 14, 10), bool)
    mask[2:22, 1:13, 1:9] = True
    turn = np.array([[np.cos(0.5), -np.sin(0.5), 0], [np.sin(0.5), np.cos(0.5), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([0.5, 1, 2])
    affine[:3, 3] = [10, 20, 30]
    bone = Segmentation(mask[None].astype(np.uint8), Geometry(mask.shape, affine), STRUCTURES[:1])
    row = measure_mask(next(crop_masks(bone)))
    assert (row["voxels"], row["fragments"]) == (1920, 1)
    assert row["volume_cm3"] == pytest.approx(1.92)
    assert [row[f"{name}_mm"] for name in ("length", "width", "depth")] == pytest.approx([16, 12, 10])
    across = [10 * np.cos(0.5) + 12 * np.sin(0.5), 10 * np.sin(0.5) + 12 * np.cos(0.5), 16]
    assert [row[f"extent_{name}_mm"] for name in "ras"] == pytest.approx(across)
    centre = affine[:3, :3] @ [11.5, 6.5, 4.5] + affine[:3, 3]
    assert [row[f"centroid_{name}_mm"] for name in "ras"] == pytest.approx(centre.tolist())


def test_the_table_has_a_row_for_what_was_looked_for(tmp_path: Path) -> None:
    labels = np.zeros((5, 4, 3), np.uint8)
    labels[0, 0, 0] = labels[1, 1, 1] = labels[2, 2, 1] = 3
    image = np.arange(60).reshape(5, 4, 3)
    cases = {"a": (image, labels, np.diag([1.0, 1, 3, 1])), "b": (image, labels, np.eye(4))}
    write_dataset(tmp_path / "set", cases, annotated={"b": ["femur"]})
    report = osteon.export("table", tmp_path / "set", tmp_path / "out")
    with report.files[0].open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["case"], row["structure"], row["voxels"], row["fragments"]) for row in rows] == [
        ("a", "femur", "3", "2"),  # the first touches the second across a corner alone
        ("a", "tibia", "0", "0"),
        ("b", "femur", "3", "2"),
    ]
    assert [row["volume_cm3"] for row in rows] == ["0.009", "", "0.003"]


def test_pictures_in_pixels_have_no_millimetres(tmp_path: Path) -> None:
    pictures(tmp_path / "labels")
    report = osteon.export("table", tmp_path / "labels", tmp_path / "out")
    with report.files[0].open() as stream:
        rows = list(csv.DictReader(stream))
    assert all(value == "" for row in rows for name, value in row.items() if name.endswith(("_mm", "_cm3")))
    assert int(rows[0]["voxels"]) > 0


def test_a_picture_in_millimetres_has_an_area_and_no_volume(tmp_path: Path) -> None:
    """A radiograph with a pixel spacing, whose depth nobody measured; on an oblique grid too."""
    array = np.zeros((20, 12, 1), np.uint8)
    array[2:12, 3:9] = 3
    turn = np.array([[np.cos(0.5), -np.sin(0.5), 0], [np.sin(0.5), np.cos(0.5), 0], [0, 0, 1]])
    oblique = np.eye(4)
    oblique[:3, :3] = turn @ np.diag([0.5, 0.2, 4.0])
    for name, affine in (("dx", TO_RAS * [0.5, 0.2, 1, 1]), ("slice", oblique)):
        write_segmentation(
            tmp_path / f"in/{name}.nii.gz", Segmentation(array, Geometry((20, 12, 1), affine), STRUCTURES)
        )
    report = osteon.export("table", tmp_path / "in", tmp_path / "out")
    with report.files[0].open() as stream:
        rows = {row["case"]: row for row in csv.DictReader(stream) if row["structure"] == "Radius"}
    for row in rows.values():
        assert (row["voxels"], row["volume_cm3"], row["depth_mm"]) == ("60", "", "")
        assert float(row["area_mm2"]) == pytest.approx(60 * 0.5 * 0.2, rel=1e-4)
        assert (float(row["length_mm"]), float(row["width_mm"])) == pytest.approx((5, 1.2), rel=1e-3)
    assert rows["dx"]["extent_a_mm"] == ""  # through the picture
    assert rows["slice"]["extent_s_mm"] == ""


def test_seg_nrrd_keeps_everything(tmp_path: Path) -> None:
    pictures(tmp_path / "labels")
    osteon.export("seg-nrrd", tmp_path / "labels", tmp_path / "out")
    for name in ("hand0", "hand1"):
        one, other = (read_segmentation(tmp_path / f"{folder}/{name}.seg.nrrd") for folder in ("labels", "out"))
        assert one.structures == other.structures
        assert np.array_equal(one.array, other.array)
        assert np.array_equal(one.geometry.affine_ras, other.geometry.affine_ras)
