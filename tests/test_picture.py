"""The overview picture: its size, and that every structure's colour is in it where it should be."""

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from PIL import Image

from osteon.auditing.measure import measure_case
from osteon.auditing.picture import case_picture
from osteon.core.errors import UsageError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.core.volume import Volume
from osteon.drawing.overview import PictureRow, cut_views, write_overview
from osteon.drawing.slices import best_slice, grey_range
from osteon.formats.raster import TO_RAS

RED = Structure(name="red", value=1, colour="#ff0000")
BLUE = Structure(name="blue", value=2, colour="#0000ff")
# File axes: toward the left, the feet, the back; edges of 1, 4 and 2 mm.
GRID = Geometry((40, 20, 30), np.array([[-1.0, 0, 0, 0], [0, 0, -2, 0], [0, -4, 0, 0], [0, 0, 0, 1]]))


def segmentation(*, blue: bool = True) -> Segmentation:
    array = np.zeros(GRID.shape, dtype=np.uint8)
    array[4:16, 4:16, 8:22] = 1  # low i: the patient's right
    if blue:
        array[24:36, 4:16, 8:22] = 2
    return Segmentation(array, GRID, (RED, BLUE))


def picture_row(**more) -> PictureRow:
    image = Volume(np.full((1, *GRID.shape), 60, dtype=np.int16), GRID)
    return PictureRow(
        **{"case": "a", "image": image, "prediction": segmentation(), "reference": segmentation(), **more}
    )


def draw(path: Path, *rows: PictureRow) -> np.ndarray:
    write_overview(path, rows)
    return np.rint(imread(path)[..., :3] * 255).astype(int)


def reddish(pixels: np.ndarray) -> np.ndarray:
    return (pixels[..., 0] > 90) & (pixels[..., 0] > 1.5 * np.maximum(pixels[..., 1], pixels[..., 2]))


def bluish(pixels: np.ndarray) -> np.ndarray:
    return (pixels[..., 2] > 90) & (pixels[..., 2] > 1.5 * np.maximum(pixels[..., 0], pixels[..., 1]))


def test_every_structure_is_seen_the_right_one_on_the_left(tmp_path: Path) -> None:
    pixels = draw(tmp_path / "new" / "overview.png", picture_row(dice={"red": 0.9, "blue": None}))
    assert pixels.shape[0] > 300
    assert pixels.shape[1] > 600
    coronal = pixels[:-60, : pixels.shape[1] // 3]  # without the legend
    assert reddish(coronal).sum() > 2000
    assert bluish(coronal).sum() > 2000
    assert np.argwhere(reddish(coronal))[:, 1].mean() < np.argwhere(bluish(coronal))[:, 1].mean() - 20
    assert (pixels < 60).all(axis=-1).mean() > 0.1  # a dark ground
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["overview.png"]


def test_the_prediction_fills_and_the_reference_outlines(tmp_path: Path) -> None:
    empty = Segmentation(np.zeros(GRID.shape, dtype=np.uint8), GRID, (RED, BLUE))
    both, filled, outlined, none = (
        int(reddish(draw(tmp_path / f"{n}.png", row)[:-60]).sum())
        for n, row in enumerate(
            (
                picture_row(),
                picture_row(reference=None),
                picture_row(prediction=empty),
                picture_row(prediction=empty, reference=None),
            )
        )
    )
    assert none == 0
    assert 200 < outlined < 0.3 * filled
    assert both > 0.9 * filled


def test_a_structure_that_nobody_found_leaves_no_colour(tmp_path: Path) -> None:
    pixels = draw(
        tmp_path / "a.png", picture_row(prediction=segmentation(blue=False), reference=segmentation(blue=False))
    )
    assert not bluish(pixels[:-60]).any()
    assert reddish(pixels[:-60]).any()


def test_more_cases_make_a_larger_picture(tmp_path: Path) -> None:
    one = draw(tmp_path / "1.png", picture_row())
    five = draw(tmp_path / "5.png", *[picture_row(case=str(n)) for n in range(5)])
    assert five.shape[1] == pytest.approx(2 * one.shape[1], rel=0.05)
    assert five.shape[0] > 2.5 * (one.shape[0] - 60)


def test_views_keep_proportions() -> None:
    coronal, sagittal, axial = cut_views(picture_row())
    sizes = [np.multiply(view.grey.shape, view.edges).tolist() for view in (coronal, sagittal, axial)]
    assert sizes == [[40, 80], [60, 80], [40, 60]]  # 40 × 1 mm across, 20 × 4 mm up, 30 × 2 mm deep
    columns = np.flatnonzero(coronal.layers[0].mask.any(axis=1))
    assert (columns[0], columns[-1]) == (24, 35)  # across runs to the patient's right


@pytest.mark.parametrize("known", [True, False])
def test_letters_stand_where_sides_are_said(*, known: bool) -> None:
    affine = TO_RAS.copy()
    affine[2, 3] = 40.0 * known
    geometry = Geometry((80, 60, 1), affine)
    labels = np.zeros(geometry.shape, dtype=np.uint8)
    labels[30:50, 20:40] = 1
    image, shown = Volume(np.zeros((1, *geometry.shape), np.int16), geometry), Segmentation(labels, geometry, (RED,))
    (view,) = cut_views(PictureRow("a", image, shown))
    assert view.letters == (("R", "S") if known else ("", ""))
    page = case_picture(measure_case("a", "", image, shown, step=1.0), "xray")
    pixels = np.asarray(Image.open(io.BytesIO(page)).convert("L")).astype(int)
    assert (pixels[:30].max() > 100) == known  # the letter on top of what is black but for a bone


def test_multi_hot_and_a_radiograph(tmp_path: Path) -> None:
    flat = Geometry((50, 40, 1), np.diag([-1.0, -1, 1, 1]), "px")
    array = np.zeros((2, 50, 40, 1), dtype=np.uint8)
    array[0, 5:30, 10:30], array[1, 20:45, 10:30] = 1, 1
    image = Volume(np.random.default_rng(0).normal(100, 10, (1, 50, 40, 1)).astype(np.float32), flat)
    shared = Segmentation(array, flat, (RED, BLUE))
    assert len(cut_views(PictureRow("x", image, shared))) == 1
    pixels = draw(tmp_path / "x.png", PictureRow("x", image, shared, shared, "xray"))
    assert reddish(pixels[:-60]).any()
    assert bluish(pixels[:-60]).any()


def test_windows_and_slices() -> None:
    assert grey_range(np.zeros(3), "ct") == (-500, 1300)
    assert grey_range(np.arange(101), "mr") == (1, 99)
    low, high = grey_range(np.zeros(5), "mr")
    assert high > low
    mask = np.zeros((5, 4, 4), dtype=bool)
    assert best_slice([mask], 0, 5) == 2
    mask[1, 0, 0], mask[3, :2] = True, True
    assert best_slice([mask], 0, 5) == 3


def test_no_cases_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no cases"):
        write_overview(tmp_path / "a.png", [])
