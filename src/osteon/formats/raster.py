"""Pictures (PNG, JPEG, TIFF, BMP): radiographs, single slices, and label maps whose grey levels are the labels.

A picture is a volume `[1, i, j, 1]` as a radiologist hangs it: i runs along a row, to the patient's left; j runs down a
column, to the feet; k, the singleton, to the front. Its unit is `px`: the resolution that a picture carries (PNG pHYs,
TIFF and JPEG resolution) is a hint for printing, 72 or 96 dpi more often than not, and is never taken for millimetres.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from osteon.core.errors import FileError, LabelError, missing_file_error
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.core.volume import Volume
from osteon.formats.labelmap import make_index_map, to_integer_labels, value_counts

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
TO_RAS = np.array([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""Index → world of every picture: the pixel (i, j, 0) lies at (−i, 0, −j), in pixels."""
MAX_PIXELS = 80_000_000
"""More than any detector has (about 30 million); a picture that claims more is refused before it is unpacked."""
_LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601), for pictures in true colours."""
_PILLOW_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
"""What Pillow may take a file for; its other readers run other programs or are of no use here."""
_ORIENTATION = 0x0112
_PHOTOMETRIC = 262
_SCALED_LEVELS = {"L;2": 85, "L;4": 17}
"""Pillow stretches grey levels of 2 and 4 bits to 0 … 255; in a label map that must be undone."""
_HINT = "copy the picture again from its source; it was probably cut short"
_MAX_SMEARED = 4
"""So many different values, 255 among them and none with a name, are the soft edge of a mask and no labels."""


def read_raster(path: Path, *, single: bool = False) -> Volume:  # noqa: ARG001 (pictures keep two bytes at most)
    """Read a picture as one grey channel `[1, i, j, 1]`, in `px`.

    8 and 16 bits stay what they are, 1 bit becomes 0 and 1. Colours that are grey become that grey; true colours become
    their luminance, 0.299 R + 0.587 G + 0.114 B, rounded. The alpha channel is ignored. An EXIF orientation is applied.

    Raises:
        FileError: The file is missing, truncated, damaged, of several pages, or larger than `MAX_PIXELS`.
    """
    rows = _grey(read_pixels(path))
    return Volume(np.ascontiguousarray(rows.T)[None, :, :, None], _geometry(rows.shape[1], rows.shape[0]))


def read_raster_geometry(path: Path) -> Geometry:
    """The grid alone; unpacks no pixel. Raises FileError as `read_raster` does for the header."""
    path = Path(path)
    with _open(path) as image:
        turned = int(image.getexif().get(_ORIENTATION, 1)) >= 5
        width, height = image.size[::-1] if turned else image.size
    return _geometry(width, height)


def read_raster_segmentation(path: Path, structures: Sequence[Structure] | None = None) -> Segmentation:
    """Read a label map: grey levels, or the numbers of a palette, are the labels.

    Args:
        path: The file.
        structures: What the values mean; `label_<value>` where None.

    Raises:
        FileError: As `read_raster`.
        LabelError: The file holds true colours, is a JPEG (which changes values), has soft edges, or holds values that
            no structure has.
    """
    path = Path(path)
    pixels = read_pixels(path, labels=True)
    if pixels.ndim == 3 and (pixels[..., :3] != pixels[..., :1]).any():
        raise LabelError(
            f"{path}: holds colours where a label map has one number for each pixel",
            hint="save one mask file for each structure, or the labels as grey levels 1, 2, 3 …",
        )
    rows = to_integer_labels(_grey(pixels), path)
    levels = value_counts(rows)
    if structures is None and 255 in levels and len(levels) >= _MAX_SMEARED:
        raise LabelError(
            f"{path}: holds {len(levels)} different values up to 255; it looks like a mask with soft edges",
            hint="put it into a folder `masks/<structure>`, where half of 255 is the edge, or name the values: "
            "--labels NAME=VALUE,…",
        )
    labels, named = make_index_map(np.ascontiguousarray(rows.T)[:, :, None], (), structures, path, by_value=True)
    return Segmentation(labels, _geometry(rows.shape[1], rows.shape[0]), named)


def read_orientation(path: Path) -> int:
    """How a JPEG or TIFF is to be turned to stand upright (EXIF; 1: it stands). Raises FileError as `read_raster`."""
    if Path(path).suffix.lower() not in (".jpg", ".jpeg", ".tif", ".tiff"):
        return 1
    with _open(Path(path)) as image:
        return int(image.getexif().get(_ORIENTATION, 1))


def read_pixels(path: Path, *, labels: bool = False) -> npt.NDArray[np.generic]:
    """The picture as `[rows, columns]`, or `[rows, columns, 3 or 4]` (RGB, RGBA) in colours, turned upright.

    Args:
        path: The file.
        labels: Keep a palette's numbers instead of its colours, and grey levels of 2 and 4 bits as they are.

    Raises:
        FileError: As `read_raster`.
        LabelError: `labels`, and the file is a JPEG.
    """
    path = Path(path)
    with _open(path) as image:
        if labels and image.format in ("JPEG", "MPO"):
            raise LabelError(f"{path}: JPEG changes values; no label map", hint="save the labels as PNG")
        layout = _layout(image)  # unpacking, as getexif may do, clears it
        orientation = int(image.getexif().get(_ORIENTATION, 1))
        if "16" in layout and image.mode in ("RGB", "RGBA", "LA"):
            image.load()  # says where the file is cut short, which OpenCV may paint over
            pixels = _deep_colours(path)  # Pillow would drop the lower 8 bits
        elif image.mode == "P" and labels:
            pixels = np.asarray(image)
        elif image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16"):
            pixels = np.asarray(image)
            if labels and layout in _SCALED_LEVELS:
                pixels = pixels // _SCALED_LEVELS[layout]
        elif image.mode == "LA":
            pixels = np.asarray(image.convert("RGBA"))
        else:
            alpha = image.mode in ("RGBA", "PA", "RGBa") or (image.mode == "P" and "transparency" in image.info)
            pixels = np.asarray(image.convert("RGBA" if alpha else "RGB"))
        tags = getattr(image, "tag_v2", {})
        if tags.get(_PHOTOMETRIC) == 0 and image.mode.startswith("I;16"):
            pixels = np.iinfo(np.uint16).max - pixels  # white is zero; Pillow turns 8 bits only
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8)
    return _apply_orientation(pixels.astype(pixels.dtype.newbyteorder("="), copy=False), orientation)


def has_unknown_sides(geometry: Geometry) -> bool:
    """Whether it is a picture whose place and sides were made up, as `TO_RAS` and DICOM's radiographs have them.

    Such a picture runs from the world's 0 to the patient's left and feet, whatever file it was written to since, and
    however its axes were turned.
    """
    if not geometry.singleton_axes or not np.allclose(np.sort(np.abs(geometry.directions), axis=0)[:2], 0, atol=1e-6):
        return False
    corners = geometry.corners_world
    return bool(np.allclose(corners[:, 1], 0) and np.allclose(corners.max(axis=0), 0))


def _geometry(width: int, height: int) -> Geometry:
    return Geometry((width, height, 1), TO_RAS, "px")


@contextmanager
def _open(path: Path) -> Iterator[Image]:
    """The picture with its header read. What goes wrong in the block is the file's fault as well."""
    import PIL.Image

    if not path.is_file():
        raise missing_file_error(path, "the picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd tags; a size that matters is refused below
            with PIL.Image.open(path, formats=_PILLOW_FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise FileError(
                        f"{path}: claims {width}×{height} pixels, more than the {MAX_PIXELS:,} that osteon unpacks",
                        hint="make a smaller copy, or cut the picture into parts",
                    )
                if image.format == "TIFF" and getattr(image, "n_frames", 1) > 1:
                    raise FileError(f"{path}: holds several pages", hint="save each page as a picture of its own")
                yield image
    except (FileError, LabelError):
        raise
    except PIL.Image.DecompressionBombError as error:
        raise FileError(f"{path}: claims too many pixels ({error})", hint="make a smaller copy") from error
    except Exception as error:  # damaged files end in errors of every kind
        raise FileError(f"{path}: truncated, damaged, or no picture ({error})", hint=_HINT) from error


def _layout(image: Image) -> str:
    """How the file holds its pixels, in Pillow's words, such as `L;4` or `RGB;16B`."""
    tiles: Any = getattr(image, "tile", ())
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _deep_colours(path: Path) -> npt.NDArray[np.generic]:
    """A picture with 16 bits for each colour, `[rows, columns, 3 or 4]` uint16."""
    import cv2

    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("its 16-bit colours cannot be read")
    if pixels.ndim == 2:
        return np.asarray(pixels)
    return np.asarray(pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]])


def _grey(pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """`[rows, columns]` of the same type: the common value of grey pixels, the luminance of others."""
    if pixels.ndim == 2:
        return pixels
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    if (red == green).all() and (green == blue).all():
        return red
    weighted = sum(w * channel.astype(np.float32) for w, channel in zip(_LUMINANCE, (red, green, blue), strict=True))
    return np.rint(weighted).astype(pixels.dtype)


def _apply_orientation(pixels: npt.NDArray[np.generic], orientation: int) -> npt.NDArray[np.generic]:
    """Apply an EXIF orientation (CIPA DC-008, Orientation): 1 upright, 2 … 8 mirrored and turned."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
