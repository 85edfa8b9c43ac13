"""Pictures: what their pixels mean, and what is refused."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from scipy import ndimage

from osteon.core.errors import FileError, LabelError, OsteonError
from osteon.core.labels import make_structures
from osteon.formats import read_geometry, read_segmentation, read_volume
from osteon.formats.raster_masks import SOFT_EDGES, MaskMarks, background_of_labels, read_mask

GREY = np.arange(15, dtype=np.uint8).reshape(3, 5) * 17  # 3 rows of 5 pixels


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, bits: int, colour: int, rows: list[bytes]) -> bytes:
    """A PNG written by hand: Pillow writes neither 2-bit grey nor sizes that are not there."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp", ".PNG"])
def test_a_picture_hangs_as_a_radiologist_hangs_it(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(GREY).save(path)
    volume = read_volume(path)
    assert volume.array.shape == (1, 5, 3, 1)
    assert volume.array.dtype == np.uint8
    assert volume.array[0, 4, 1, 0] == GREY[1, 4]
    assert volume.geometry.unit == "px"
    assert volume.geometry.spacing_mm == (1, 1, 1)
    assert volume.geometry.axis_codes == "LIA"  # to the right the patient's left, down the feet
    assert not read_geometry(path).explain_mismatch(volume.geometry)


def test_a_resolution_is_no_pixel_spacing(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png", dpi=(300, 300))
    assert read_volume(tmp_path / "a.png").geometry.unit == "px"


def test_16_bits_are_kept(tmp_path: Path) -> None:
    deep = GREY.astype(np.uint16) * 257 + 3
    for name in ("a.png", "a.tif"):
        Image.fromarray(deep).save(tmp_path / name)
        np.testing.assert_array_equal(read_volume(tmp_path / name).array[0, :, :, 0].T, deep)
        assert read_volume(tmp_path / name).array.dtype == np.uint16
        colours = np.stack([deep, deep, deep], axis=2)
        cv2.imwrite(str(tmp_path / f"c{name}"), colours)
        np.testing.assert_array_equal(read_volume(tmp_path / f"c{name}").array[0, :, :, 0].T, deep)


def test_white_is_zero_in_a_16_bit_tiff(tmp_path: Path) -> None:
    deep = GREY.astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "a.tif", tiffinfo={262: 0})
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").array[0, :, :, 0].T, 65535 - deep)


def test_colours_become_grey_by_their_luminance(tmp_path: Path) -> None:
    rgb = np.zeros((1, 4, 3), np.uint8)
    rgb[0] = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 10, 10)]
    Image.fromarray(rgb).save(tmp_path / "a.png")
    assert read_volume(tmp_path / "a.png").array.ravel().tolist() == [76, 150, 29, 10]
    deep = rgb.astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "b.png"), deep[..., ::-1])
    assert read_volume(tmp_path / "b.png").array.ravel().tolist() == [19595, 38469, 7471, 2570]


def test_grey_in_colours_alpha_and_palettes(tmp_path: Path) -> None:
    see_through = Image.fromarray(np.dstack([GREY, GREY, GREY, 255 - GREY]))
    for name, picture in {
        "rgba": see_through,
        "la": see_through.convert("LA"),
        "p": Image.fromarray(GREY).convert("P"),
        "rgb": Image.fromarray(GREY).convert("RGB"),
    }.items():
        picture.save(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(read_volume(tmp_path / f"{name}.png").array[0, :, :, 0].T, GREY)
    Image.fromarray(GREY > 100).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_volume(tmp_path / "bits.png").array[0, :, :, 0].T, GREY > 100)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(GREY).save(path, exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array[0, :, :, 0].T, expected)
    assert not read_geometry(path).explain_mismatch(volume.geometry)


def test_a_label_map_in_grey_levels_or_a_palette(tmp_path: Path) -> None:
    labels = np.array([[0, 1, 2], [2, 0, 7]], np.uint8)
    Image.fromarray(labels).save(tmp_path / "grey.png")
    coloured = Image.frombytes("P", (3, 2), labels.tobytes())
    coloured.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0] + [9] * 759)
    coloured.save(tmp_path / "palette.png")
    # 4 rows of 4 pixels with 2 bits each: 0 1 2 3
    (tmp_path / "bits.png").write_bytes(png(4, 2, 2, 0, [bytes([0b00011011])] * 2))
    for name in ("grey.png", "palette.png"):
        segmentation = read_segmentation(tmp_path / name)
        np.testing.assert_array_equal(segmentation.array[:, :, 0].T, labels)
        assert [s.name for s in segmentation.structures] == ["label_1", "label_2", "label_7"]
    np.testing.assert_array_equal(read_segmentation(tmp_path / "bits.png").array[:, :, 0].T, [[0, 1, 2, 3]] * 2)
    named = read_segmentation(tmp_path / "grey.png", make_structures(["disc", "vertebra", "cord"], [1, 2, 7]))
    assert [s.name for s in named.structures] == ["disc", "vertebra", "cord"]
    with pytest.raises(LabelError, match="7 in 1 voxels"):
        read_segmentation(tmp_path / "grey.png", make_structures(["disc", "vertebra"]))


def test_pictures_that_are_no_label_maps(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.jpg")
    with pytest.raises(LabelError, match="JPEG changes values"):
        read_segmentation(tmp_path / "a.jpg")
    Image.fromarray(np.dstack([GREY, GREY // 2, GREY])).save(tmp_path / "a.png")
    with pytest.raises(LabelError, match="holds colours"):
        read_segmentation(tmp_path / "a.png")
    soft = np.array([[0, 60, 130, 200, 255]], np.uint8)
    Image.fromarray(soft).save(tmp_path / "b.png")
    with pytest.raises(LabelError, match="soft edges"):
        read_segmentation(tmp_path / "b.png")
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(tmp_path / "c.png")
    assert [s.value for s in read_segmentation(tmp_path / "c.png").structures] == [255]


def test_masks_of_every_kind(tmp_path: Path) -> None:
    expected = np.array([[False, False, True, True]])
    coloured = np.zeros((1, 4, 4), np.uint8)
    coloured[..., 3] = 255  # alpha says nothing
    coloured[0, 2:, :3] = (20, 0, 90)
    by_alpha = np.zeros((1, 4, 4), np.uint8)
    by_alpha[0, 2:, 3] = 255
    for name, pixels in {
        "one": np.array([[0, 0, 1, 1]], np.uint8),
        "full": np.array([[0, 0, 255, 255]], np.uint8),
        "soft": np.array([[0, 126, 130, 255]], np.uint8),
        "deep": np.array([[0, 20000, 40000, 65535]], np.uint16),
        "coloured": coloured,
        "alpha": by_alpha,
        "bits": expected,
    }.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        mask, notes = read_mask(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(mask, expected, err_msg=name)
        assert bool(notes) == (name in ("soft", "deep")), name
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "empty.png")
    assert not read_mask(tmp_path / "empty.png")[0].any()


BOX = np.zeros((40, 50), bool)
BOX[10:25, 20:35] = True


def test_a_border_of_a_value_of_its_own_is_not_taken_and_told(tmp_path: Path) -> None:
    levels = ndimage.binary_dilation(BOX, iterations=2).astype(np.uint8) * 128
    levels[BOX] = 255
    Image.fromarray(levels).save(tmp_path / "m.png")
    mask, [note] = read_mask(tmp_path / "m.png")
    np.testing.assert_array_equal(mask, BOX)
    border = int((levels == 128).sum())
    assert note == f"has values between 0 and 255: 128 ({border} pixels); those above half are taken"


def test_numbers_are_no_brightness(tmp_path: Path) -> None:
    numbers = ndimage.binary_dilation(BOX, iterations=2).astype(np.uint8) * 255  # Pascal VOC's: 255 is nobody's
    numbers[BOX] = 1
    Image.fromarray(numbers).save(tmp_path / "m.png")
    outline = int((numbers == 255).sum())
    with pytest.raises(LabelError, match=rf"m\.png: .* 1 \({BOX.sum()} pixels\), 255 \({outline} pixels\)"):
        read_mask(tmp_path / "m.png")
    stray = np.where(BOX, 255, 0).astype(np.uint8)
    stray[0, 0] = 1
    Image.fromarray(stray).save(tmp_path / "stray.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "stray.png")[0], BOX)


def test_soft_edges_are_cut_in_the_middle_and_told(tmp_path: Path) -> None:
    soft = ndimage.gaussian_filter(BOX.astype(float), 1.5)
    for name, options in (("m.png", {}), ("m.jpg", {"quality": 95})):
        Image.fromarray((255 * soft).astype(np.uint8)).save(tmp_path / name, **options)
        mask, notes = read_mask(tmp_path / name)
        assert (mask != (soft > 0.5)).sum() < 5
        assert notes == [SOFT_EDGES]
    Image.fromarray(255 * BOX.astype(np.uint8)).save(tmp_path / "hard.jpg", quality=95)
    mask, notes = read_mask(tmp_path / "hard.jpg")
    np.testing.assert_array_equal(mask, BOX)


def on(colour: tuple[int, ...], ground: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    return np.where(BOX[..., None], np.array(colour), np.array(ground)).astype(np.uint8)


def test_a_bright_background_is_told_from_the_structure(tmp_path: Path) -> None:
    palette = Image.fromarray(BOX.astype(np.uint8))
    palette.putpalette([255, 255, 255, 128, 0, 0])
    inverted = ~BOX
    for name, picture in {
        "palette.png": palette,
        "grey.png": Image.fromarray(255 * inverted.astype(np.uint8)),
        "numbers.png": Image.fromarray(inverted.astype(np.uint8)),
        "bits.png": Image.fromarray(inverted),
        "deep.png": Image.fromarray(65535 * inverted.astype(np.uint16)),
        "yellow.png": Image.fromarray(on((255, 255, 0), (255, 255, 255))),
        "blue.png": Image.fromarray(on((0, 0, 90), (230, 230, 230))),
        "grey.jpg": Image.fromarray(255 * inverted.astype(np.uint8)),
    }.items():
        picture.save(tmp_path / name)
        mask, notes = read_mask(tmp_path / name)
        np.testing.assert_array_equal(mask, BOX, err_msg=name)
        assert notes[0].startswith("its background is bright, 89% of the picture and most of its edges: the other 225")
        mask, notes = read_mask(tmp_path / name, "dark")
        np.testing.assert_array_equal(mask, BOX, err_msg=name)
        assert not [note for note in notes if "background" in note]
    np.testing.assert_array_equal(read_mask(tmp_path / "grey.png", "bright")[0], inverted)


def test_a_large_structure_is_no_background(tmp_path: Path) -> None:
    body = np.zeros((40, 50), bool)
    body[5:, 3:47] = True  # 77 % of the picture, a quarter of its edges
    Image.fromarray(body).save(tmp_path / "m.png")
    mask, notes = read_mask(tmp_path / "m.png")
    np.testing.assert_array_equal(mask, body)
    assert notes == []
    Image.fromarray(np.ones((4, 5), bool)).save(tmp_path / "full.png")
    mask, notes = read_mask(tmp_path / "full.png")
    assert mask.all()
    assert notes == ["marks the whole picture"]
    inside = ~BOX[8:27, 18:37]  # cut out, as tables with top and left have them: its edge is the structure's
    Image.fromarray(inside).save(tmp_path / "cut.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "cut.png", whole=False)[0], inside)


@pytest.mark.parametrize("marks", [None, "bright"])
def test_transparency_marks_the_outside(tmp_path: Path, marks: MaskMarks | None) -> None:
    layer = on((200, 0, 0, 255), (255, 255, 255, 0))  # painted on a layer that was white
    Image.fromarray(layer).save(tmp_path / "layer.png")
    mask, notes = read_mask(tmp_path / "layer.png", marks)
    np.testing.assert_array_equal(mask, BOX)
    assert notes == []
    layer[..., :3] = np.random.default_rng(0).integers(0, 255, (40, 50, 3))  # cut out of the radiograph itself
    Image.fromarray(layer).save(tmp_path / "cut.png")
    mask, notes = read_mask(tmp_path / "cut.png", marks)
    np.testing.assert_array_equal(mask, BOX)
    assert notes == ["some of it is transparent: that marks the outside, and no colour does"]


def test_a_label_map_whose_background_has_a_value(tmp_path: Path) -> None:
    for name, labels in {"mask": BOX * np.uint8(255), "one": np.uint8(1) + BOX, "none": np.zeros_like(BOX)}.items():
        Image.fromarray(labels.astype(np.uint8)).save(tmp_path / f"{name}.png")
    assert background_of_labels(tmp_path / "mask.png") is None
    assert background_of_labels(tmp_path / "none.png") is None
    assert background_of_labels(tmp_path / "one.png") == (1, pytest.approx(1 - BOX.mean()))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    for side in (10_000, 60_000, 2_000_000_000):
        path.write_bytes(png(side, side, 8, 0, [b""]))
        for read in (read_volume, read_geometry, read_segmentation):
            with pytest.raises(FileError, match=r"bomb\.png: claims"):
                read(path)


def test_broken_pictures_are_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    for suffix in (".png", ".jpg", ".tif", ".bmp"):
        whole = io.BytesIO()
        Image.fromarray(noise).save(whole, format=Image.registered_extensions()[suffix])
        path = tmp_path / f"a{suffix}"
        for length in (0, 10, len(whole.getvalue()) // 2):
            path.write_bytes(whole.getvalue()[:length])
            with pytest.raises(FileError, match=f"a{suffix}: truncated"):
                read_volume(path)
    for suffix in (".png", ".tif"):  # 16-bit colours
        whole_colours = cv2.imencode(suffix, np.dstack([noise, noise, noise // 2]).astype(np.uint16) * 200)[1].tobytes()
        (tmp_path / f"a{suffix}").write_bytes(whole_colours[:-600])
        with pytest.raises(FileError, match=f"a{suffix}: truncated"):
            read_volume(tmp_path / f"a{suffix}")
    with pytest.raises(FileError, match="does not exist"):
        read_volume(tmp_path / "none.png")
    pages = [Image.fromarray(noise), Image.fromarray(noise)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(FileError, match="several pages"):
        read_volume(tmp_path / "pages.tif")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_mutated_pictures_end_in_pictures_or_errors_of_our_own(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "TIFF", "BMP"]))
    whole = io.BytesIO()
    Image.fromarray(GREY).save(whole, format=kind)
    content = bytearray(whole.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("fuzz") / "a.png"
    path.write_bytes(bytes(content))
    for read in (read_volume, read_segmentation, read_geometry):
        with suppress(OsteonError):
            read(path)


def test_pictures_are_opened_by_nothing_else() -> None:
    """The command line starts without the libraries that read pictures."""
    code = "import osteon.cli.main, sys; sys.exit(any(m in sys.modules for m in ('PIL', 'cv2')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_real_pictures(shared_data: Path) -> None:
    hand = read_volume(shared_data / "hand-radiographs" / "images" / "0.png")
    assert hand.array.shape == (1, 592, 910, 1)
    assert (int(hand.array.min()), int(hand.array.max())) == (23, 253)
    chest = shared_data / "chest-xray-multilabel" / "images" / "pneumocystis-pneumonia-8.jpg"
    with Image.open(chest) as image:
        expected = np.asarray(image.convert("L")).astype(int)
    assert np.abs(read_volume(chest).array[0, :, :, 0].T.astype(int) - expected).max() <= 1
    labels = read_segmentation(shared_data / "spine-mr-slices" / "masks" / "2.png")
    with Image.open(shared_data / "spine-mr-slices" / "masks" / "2.png") as image:
        np.testing.assert_array_equal(labels.array[:, :, 0].T, np.asarray(image))
