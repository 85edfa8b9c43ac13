"""Outlines: their files, and what is inside them."""

from __future__ import annotations

import itertools
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.draw import polygon2mask

from osteon.core.errors import FileError, LabelError, OsteonError
from osteon.formats.coco import masks_of, polygons_of, read_coco, unpack_rle
from osteon.formats.coco_rasterisation import fill_coco
from osteon.formats.polygons import distance_outside, fill_polygons, read_outlines

SQUARE = [[2, 1], [5, 1], [5, 3], [2, 3]]


def written(path: Path, data: Any) -> Path:
    path.write_text(json.dumps(data))
    return path


def points(*corners: tuple[float, float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(corners, dtype=np.float64)


def test_the_edge_belongs_to_a_polygon() -> None:
    mask = fill_polygons([points((2, 1), (5, 1), (5, 3), (2, 3))], (6, 8))
    assert mask.shape == (6, 8)
    assert mask.sum() == 4 * 3
    assert mask[1:4, 2:6].all()


def test_corners_are_rounded_and_not_truncated() -> None:
    np.testing.assert_array_equal(
        fill_polygons([points((1.6, 0.7), (4.6, 0.7), (4.6, 2.6), (1.6, 2.6))], (6, 8)),
        fill_polygons([points((2, 1), (5, 1), (5, 3), (2, 3))], (6, 8)),
    )


def test_a_circle_has_its_area() -> None:
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    circle = np.stack([300.3 + 200 * np.cos(angle), 250.8 + 200 * np.sin(angle)], axis=1)
    rows, columns = np.ogrid[:600, :600]
    true = (rows - 250.8) ** 2 + (columns - 300.3) ** 2 <= 200**2
    mask = fill_polygons([circle], (600, 600))
    assert 2 * (mask & true).sum() / (mask.sum() + true.sum()) > 0.997
    by_other = polygon2mask((600, 600), circle[:, ::-1])
    assert 2 * (mask & by_other).sum() / (mask.sum() + by_other.sum()) > 0.994


def test_polygons_are_united_and_cut_off_at_the_edge() -> None:
    one, other = points((0, 0), (3, 0), (3, 3), (0, 3)), points((2, 2), (5, 2), (5, 5), (2, 5))
    assert fill_polygons([one, other], (6, 6)).sum() == 16 + 16 - 4  # no hole where they overlap
    half_plane = points((-1e6, -1e6), (1e6, 1e6), (-1e6, 1e6))
    rows, columns = np.mgrid[:6, :6]
    np.testing.assert_array_equal(fill_polygons([half_plane], (6, 6)), rows >= columns)
    assert distance_outside([one], (4, 4)) == 0
    assert distance_outside([points((-1, 0), (4, 0), (4, 4))], (4, 4)) == 0  # a hand misses by a pixel
    assert distance_outside([one, points((0, 0), (30, 0), (3, 9))], (4, 4)) == 27
    assert not fill_polygons([], (2, 3)).any()


@given(st.lists(st.tuples(st.integers(-70, 110), st.integers(-60, 100)), min_size=3, max_size=6))
def test_what_lies_outside_is_cut_off_and_changes_nothing_inside(corners: list[tuple[int, int]]) -> None:
    polygon = points(*corners)
    whole = fill_polygons([polygon + 80], (200, 200))
    np.testing.assert_array_equal(fill_polygons([polygon], (40, 50)), whole[80:120, 80:130])


@given(st.lists(st.tuples(st.floats(-5000, 5000), st.floats(-5000, 5000)), min_size=3, max_size=3))
def test_a_triangle_holds_what_lies_on_one_side_of_all_its_edges(corners: list[tuple[float, float]]) -> None:
    """Against half planes; pixels within two of an edge may be either."""
    y, x = np.mgrid[:40, :40]
    sides = []
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        sides.append(((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)) / max(np.hypot(x1 - x0, y1 - y0), 1e-9))
    least, most = np.min(sides, axis=0), np.max(sides, axis=0)
    mask = fill_polygons([points(*corners)], (40, 40))
    assert mask[(least > 2) | (most < -2)].all()
    assert not mask[(least < -2) & (most > 2)].any()


def test_the_json_of_one_picture(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.json",
        {
            "annotations": [
                {"label": "Ulna", "points": SQUARE, "type": "poly_seg"},
                {"label": " Radius ", "points": SQUARE[:3]},
                {"label": "Ulna", "points": [[0, 0], [1, 0], [1, 1]]},
            ],
            "filename": "a.png",
            "metadata": {"width": 8, "height": 6},
        },
    )
    outlines = read_outlines(path)
    assert outlines.size == (8, 6)
    assert {name: len(polygons) for name, polygons in outlines.polygons.items()} == {"Ulna": 2, "Radius": 1}
    assert fill_polygons(outlines.polygons["Ulna"], (6, 8)).sum() == 12 + 3


def test_labelme(tmp_path: Path) -> None:
    shapes = [
        {"label": "Ulna", "points": SQUARE, "shape_type": "polygon"},
        {"label": "Radius", "points": [[5, 3], [2, 1]], "shape_type": "rectangle"},
        {"label": "Lunate", "points": [[50, 50], [50, 70]], "shape_type": "circle"},
        {"label": "Hamate", "points": SQUARE},
    ]
    data = {"shapes": shapes, "imagePath": "..\\x\\a.png", "imageWidth": 100, "imageHeight": 90, "imageData": None}
    outlines = read_outlines(written(tmp_path / "a.json", data))
    assert outlines.size == (100, 90)
    masks = {name: fill_polygons(polygons, (90, 100)) for name, polygons in outlines.polygons.items()}
    np.testing.assert_array_equal(masks["Radius"], masks["Ulna"])
    np.testing.assert_array_equal(masks["Hamate"], masks["Ulna"])
    assert masks["Lunate"].sum() == pytest.approx(np.pi * 20.5**2, rel=0.02)
    for shape in ({"label": "x", "points": [[0, 0]], "shape_type": "point"}, {**shapes[1], "points": SQUARE}):
        with pytest.raises(LabelError, match=r"a\.json: (x|Radius)"):
            read_outlines(written(tmp_path / "a.json", {"shapes": [shape]}))


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"label": "Ulna", "points": SQUARE[:2]}, r"a\.json: Ulna \(annotation 1\): 2 points"),
        ({"label": "Ulna", "points": []}, "Ulna.*pairs"),
        ({"label": "Ulna", "points": [*SQUARE, [float("nan"), 1]]}, "Ulna.*not a number"),
        ({"label": "Ulna", "points": [*SQUARE, [float("inf"), 1]]}, "Ulna.*not a number"),
        ({"label": "Ulna", "points": [*SQUARE, [1e9, 1]]}, "Ulna.*1e.09 pixels"),
        ({"label": "Ulna", "points": [*SQUARE, [1]]}, "Ulna.*pairs of x and y"),
        ({"label": "Ulna", "points": [*SQUARE, [None, 1]]}, "Ulna.*not a number"),
        ({"label": "Ulna", "points": "here"}, "Ulna.*pairs"),
        ({"label": "Ulna", "points": {"x": 1}}, "Ulna.*pairs"),
        ({"label": "", "points": SQUARE}, "annotation 1: '' is no label"),
        ({"label": "a\nb", "points": SQUARE}, "is no label"),
        ({"label": "x" * 10_000, "points": SQUARE}, "is no label"),
        ({"label": 7, "points": SQUARE}, "7 is no label"),
    ],
)
def test_a_broken_annotation_names_file_and_label(tmp_path: Path, entry: Any, says: str) -> None:
    path = written(tmp_path / "a.json", {"annotations": [entry]})
    with pytest.raises(LabelError, match=says) as caught:
        read_outlines(path)
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"annotations": [7]}', "[" * 100_000, "1" * 10_000, '{"a": NaN}']
)
def test_files_without_outlines(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(FileError, match=r"a\.json"):
        read_outlines(tmp_path / "a.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["label", "points", "id", "counts", "size", "name"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_json_is_read_or_ends_in_an_error_of_our_own(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "a.json"
    label = {"label": data.draw(JSON), "points": data.draw(JSON)}
    entry = {"image_id": data.draw(JSON), "category_id": 1, "segmentation": data.draw(JSON)}
    for content in (
        data.draw(JSON),
        {"annotations": [label]},
        {"shapes": [label | {"shape_type": data.draw(JSON)}]},
        {"images": [data.draw(JSON)], "categories": [], "annotations": []},
        {"images": [{"id": 1, "file_name": data.draw(JSON)}], "categories": [data.draw(JSON)], "annotations": []},
        {
            "images": [{"id": 1, "file_name": "a", "neg_category_ids": data.draw(JSON)}],
            "categories": [{"id": 1, "name": "Ulna"}],
            "annotations": [entry, entry | {"image_id": 1}],
        },
    ):
        written(path, content)
        with suppress(OsteonError):
            for polygons in read_outlines(path).polygons.values():
                fill_polygons(polygons, (5, 6))
        with suppress(OsteonError):
            for image in read_coco(path).images:
                for shapes in itertools.chain(*image.shapes.values()):
                    polygons_of(shapes, "a")
                    masks_of(shapes, (5, 6), "a")


# -- COCO ------------------------------------------------------------------------------------------------------------

COCO: dict[str, Any] = {
    "images": [{"id": 3, "file_name": "a.png", "width": 8, "height": 6}, {"id": 5, "file_name": "b/b.png"}],
    "categories": [{"id": 9, "name": "Ulna"}, {"id": 2, "name": "Radius"}],
    "annotations": [
        {"image_id": 3, "category_id": 9, "segmentation": [[2, 1, 5, 1, 5, 3, 2, 3], [0, 0, 1, 0, 1, 1]]},
        {"image_id": 3, "category_id": 9, "segmentation": [[7, 5, 7, 4, 6, 5]]},
        {"image_id": 5, "category_id": 2, "segmentation": {"counts": [1, 2, 3], "size": [2, 3]}, "iscrowd": 1},
    ],
}


def test_coco(tmp_path: Path) -> None:
    coco = read_coco(written(tmp_path / "c.json", COCO))
    assert coco.names == ("Ulna", "Radius")  # the file's order, not that of the ids
    a, b = coco.images
    assert (a.name, a.size, list(a.shapes), a.annotated) == ("a.png", (8, 6), ["Ulna"], None)
    assert (b.name, b.size) == ("b/b.png", None)
    outlines = [outline for shapes in a.shapes["Ulna"] for outline in polygons_of(shapes, "Ulna")]
    assert fill_polygons(outlines, (6, 8)).sum() == 12 + 3 + 3
    [mask] = masks_of(b.shapes["Radius"][0], (2, 3), "Radius")
    np.testing.assert_array_equal(mask, [[0, 1, 0], [1, 0, 0]])  # down the columns


def test_coco_says_what_somebody_looked_for(tmp_path: Path) -> None:
    data = json.loads(json.dumps(COCO))
    data["images"][0] |= {"neg_category_ids": [2], "not_exhaustive_category_ids": []}
    data["images"][1] |= {"neg_category_ids": [], "not_exhaustive_category_ids": [2]}
    a, b = read_coco(written(tmp_path / "c.json", data)).images
    assert a.annotated == ("Ulna", "Radius")
    assert b.annotated == ()


@pytest.mark.parametrize(
    ("x", "y", "radius", "pixels"), [(30.5, 30.5, 4, 47), (80.3, 40.2, 10, 314), (120.1, 120.4, 30, 2818)]
)
def test_discs_of_coco_have_as_many_pixels_as_in_pycocotools(x: float, y: float, radius: float, pixels: int) -> None:
    """As pycocotools 2.0.11 counts them."""
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    disc = np.round(np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1), 2)
    assert fill_coco([disc], (200, 200)).sum() == pixels


def test_polygons_of_coco_go_along_the_pixels_edges() -> None:
    mask = fill_coco([points((2, 1), (5, 1), (5, 3), (2, 3))], (6, 8))
    assert mask.sum() == 3 * 2
    assert mask[1:3, 2:5].all()
    whole = fill_coco([points((0, 0), (8, 0), (8, 6), (0, 6))], (6, 8))
    assert whole.all()
    far = fill_coco([points((-1e6, -1e6), (1e6, 1e6), (-1e6, 1e6)), points((3, 0), (4, 0), (4, 1), (3, 1))], (6, 6))
    rows, columns = np.mgrid[:6, :6]
    assert (far == ((rows >= columns) | ((rows == 0) & (columns == 3)))).all()
    assert not fill_coco([], (2, 3)).any()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-80, 300), st.integers(-80, 300)), min_size=3, max_size=9),
    st.sampled_from([1, 2, 3.7, 8, 10]),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_polygons_of_coco_are_filled_as_pycocotools_does(
    corners: list[tuple[int, int]], scale: float, rows: int, columns: int
) -> None:
    tools = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    polygon = points(*corners) / scale
    code = tools.merge(tools.frPyObjects([polygon.ravel().tolist()], rows, columns))
    np.testing.assert_array_equal(fill_coco([polygon], (rows, columns)), tools.decode(code) > 0)


def test_a_picture_and_a_category_may_stand_there_twice(tmp_path: Path) -> None:
    """After a merge; and Roboflow lists the group of the categories as one that nobody uses."""
    data = COCO | {
        "images": [*COCO["images"], COCO["images"][0]],
        "categories": [{"id": 0, "name": "Ulna"}, *COCO["categories"], COCO["categories"][0]],
    }
    coco = read_coco(written(tmp_path / "c.json", data))
    assert coco.names == ("Ulna", "Radius")
    assert [image.name for image in coco.images] == ["a.png", "b/b.png"]


def test_what_has_a_box_alone_is_not_taken_as_absent(tmp_path: Path) -> None:
    data = json.loads(json.dumps(COCO))
    box = {"image_id": 3, "bbox": [1, 1, 2, 2], "iscrowd": 0}
    data["annotations"] += [{**box, "category_id": 2, "segmentation": s} for s in ([], None, {})]
    data["annotations"] += [{**box, "category_id": 2}, {**box, "image_id": 5, "category_id": 9}]
    for number, entry in enumerate(data["annotations"]):
        entry["id"] = number // 2
    coco = read_coco(written(tmp_path / "c.json", data))
    a, b = coco.images
    assert (list(a.shapes), a.boxed) == (["Ulna"], ("Radius",))
    assert (list(b.shapes), b.boxed) == (["Radius"], ("Ulna",))
    assert coco.notes == ("4 ids of annotations, such as 0, stand there more than once; all are taken",)
    data["annotations"].append({**box, "category_id": 9})  # one of two forearms, perhaps: the outline is not all of it
    assert not read_coco(written(tmp_path / "c.json", data)).images[0].shapes


def test_a_polygon_without_the_list_around_it(tmp_path: Path) -> None:
    data = json.loads(json.dumps(COCO))
    data["annotations"][1]["segmentation"] = [7, 5, 7, 4, 6, 5.0]
    [last] = polygons_of(read_coco(written(tmp_path / "c.json", data)).images[0].shapes["Ulna"][1], "Ulna")
    np.testing.assert_array_equal(last, [[7, 5], [7, 4], [6, 5]])


def packed(lengths: list[int]) -> str:
    """As rleToString of maskApi.c writes it."""
    text = ""
    for n, length in enumerate(lengths):
        x = length - lengths[n - 2] if n > 2 else length
        more = True
        while more:
            bits = x & 0x1F
            x >>= 5
            more = x != -1 if bits & 0x10 else x != 0
            text += chr((bits | 0x20 if more else bits) + 48)
    return text


@given(st.lists(st.integers(0, 5_000_000), min_size=1, max_size=12))
def test_packed_codes(lengths: list[int]) -> None:
    np.testing.assert_array_equal(unpack_rle(packed(lengths)), lengths)


def test_a_packed_mask() -> None:
    code = {"counts": packed([1, 2, 3]), "size": [2, 3]}
    np.testing.assert_array_equal(masks_of([code], (2, 3), "x")[0], [[0, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize(
    "code",
    [
        {"counts": [1, 2], "size": [2, 3]},
        {"counts": [1, -2, 7]},
        {"counts": [6], "size": [3, 2]},
        {"counts": "\x00"},
        {"counts": "é"},
        {"counts": "P"},
        {"counts": "o" * 30},
        {"counts": None},
        {},
    ],
)
def test_damaged_codes_are_refused(code: dict[str, Any]) -> None:
    with pytest.raises(LabelError, match="Radius in b"):
        masks_of([code], (2, 3), "Radius in b")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"categories": [*COCO["categories"], {"id": 9, "name": "Talus"}]}, "Ulna and Talus, share an id"),
        ({"categories": [{"id": 9, "name": "Ulna"}, {"id": 2, "name": "Ulna"}]}, "share a name, Ulna"),  # two sides?
        (
            {"images": [{"id": 3, "file_name": "a.png"}, {"id": 3, "file_name": "b.png"}]},
            "a.png and b.png, share the id",
        ),
        ({"annotations": [{"image_id": 3, "category_id": 9, "bbox": [1, 1, 2, 2]}]}, "its 1 annotations are boxes"),
        ({"categories": [{"id": 9, "name": "x" * 999}]}, "is no label"),
        ({"annotations": [{"image_id": 4, "category_id": 9, "segmentation": []}]}, "image 4"),
        ({"annotations": [{"image_id": 3}]}, "lacks a field"),
        ({"images": [{"id": 3}], "annotations": []}, "lacks a field"),
    ],
)
def test_coco_files_that_do_not_hold_together(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    with pytest.raises((FileError, LabelError), match=says):
        read_coco(written(tmp_path / "c.json", COCO | change))
