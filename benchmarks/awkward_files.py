"""Does osteon read what other libraries read, or say why not?

    python benchmarks/awkward_files.py --minutes 1
    python benchmarks/awkward_files.py --minutes 5 --reader nifti dicom

Small files are written in awkward combinations of what headers may say: all 48 orders and directions of the axes, an
oblique and a sheared grid, forms that agree and disagree, scales, types, units, offsets, packings, orders of bytes,
transfer syntaxes, names and orders of files. Each is read by osteon and by nibabel, SimpleITK, pydicom or pycocotools,
and what comes out is compared, voxel by voxel at the same place of the world. `same`: all agree. `told`: osteon differs
from one of them, and said what it took. `refused`: osteon's own error. Ends with 1 where osteon differed silently, or
another exception came through; the combination is printed. What was told must speak of what differs: a note on the
place excuses no other value.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import logging
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.core.errors import OsteonError
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume

Affine = npt.NDArray[np.float64]
Combination = Mapping[str, Any]
Seen = tuple[Affine | None, npt.NDArray[np.generic] | None]
"""What another library makes of a file: index → world in RAS+ mm, and `[channel, i, j, k]`; None: not asked."""
SHAPE = (5, 4, 3)
SPACING = (0.7, 0.9, 2.5)
ORIGIN = (-31.5, 12.25, 100.0)
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
PLACE = 0.02
"""Voxel edges by which places may differ: headers round."""
OF_VALUES = ("scale", "scaled labels", "vox_offset")
"""Kinds of header warnings that speak of values; the others speak of places, and excuse no other value."""
TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8")


@dataclass
class Outcome:
    """What came of the combinations of one reader.

    Attributes:
        counts: By outcome.
        worst: The first combinations with a silent difference or another exception, in words.
    """

    counts: Counter[str] = field(default_factory=Counter)
    worst: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reader:
    """One reader: what is combined, and how a combination is written and read.

    Attributes:
        whole: Axes of the product that is gone through whole.
        drawn: Axes of which each file gets one value at random.
        write: Writes a file, or several into a folder, and returns what osteon reads.
        read: osteon's volume, and the kinds of its header warnings.
        others: Name → what that library makes of it; an error of its own is no difference.
    """

    whole: Mapping[str, tuple[Any, ...]]
    drawn: Mapping[str, tuple[Any, ...]]
    write: Callable[[Path, Combination, random.Random], Path]
    read: Callable[[Path], tuple[Volume, list[str]]]
    others: Mapping[str, Callable[[Path, Combination], Seen]]


def directions() -> dict[str, npt.NDArray[np.float64]]:
    """Unit vectors of the index axes, one in each column: 48 straight ones, an oblique and a sheared one."""
    found = {}
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = np.zeros((3, 3))
            for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
                matrix[world, axis] = sign
            name = "".join(("RAS" if sign > 0 else "LPI")[world] for world, sign in zip(order, signs, strict=True))
            found[name] = matrix
    oblique = np.linalg.qr(np.array([[0.9, 0.3, -0.2], [-0.25, 0.8, 0.4], [0.3, -0.3, 0.85]]))[0]
    found["oblique"] = oblique
    sheared = oblique.copy()
    sheared[:, 2] += 0.3 * oblique[:, 0]
    found["sheared"] = sheared / np.linalg.norm(sheared, axis=0)
    return found


DIRECTIONS = directions()


def affine_of(name: str, move: float = 0.0) -> Affine:
    """Index → world of a grid of `DIRECTIONS`."""
    affine = np.eye(4)
    affine[:3, :3] = DIRECTIONS[name] * SPACING
    affine[:3, 3] = np.array(ORIGIN) + move
    return affine


def voxels(kind: str, channels: int = 1) -> npt.NDArray[np.generic]:
    """`[channel, i, j, k]`: each voxel has its own value."""
    numbers = np.arange(channels * int(np.prod(SHAPE))).reshape(channels, *SHAPE)
    if kind.endswith("1"):
        numbers = numbers % 120
    return (numbers - (20 if kind[0] in "if" else 0)).astype(kind)


# -- NIfTI -----------------------------------------------------------------------------------------------------------

FORMS = {
    # sform's code, qform's code, whether the two differ
    "sform": (1, 0, False),
    "sform, code 2": (2, 0, False),
    "qform": (0, 1, False),
    "qform, code 3": (0, 3, False),
    "both": (1, 1, False),
    "both, code 4": (4, 4, False),
    "both, codes 2 and 1": (2, 1, False),
    "both differ": (1, 1, True),
    "both differ, codes 4 and 1": (4, 1, True),
    "none": (0, 0, False),
    "code 9 and 1": (9, 1, True),
}
SCALES = ((np.nan, np.nan), (1.0, 0.0), (0.0, 0.0), (2.0, -3.0), (0.5, 10.0), (0.0, 5.0), (np.nan, 5.0), (-1.0, 0.0))


def write_nifti(folder: Path, how: Combination, draw: random.Random) -> Path:  # noqa: ARG001
    import nibabel as nib

    order = ">" if how["big"] else "<"
    array = np.moveaxis(voxels(how["type"], how["channels"]), 0, -1)
    array = array[..., 0] if how["axes"] == 3 else array[:, :, :, None] if how["axes"] == 5 else array
    kind: Any = nib.Nifti2Header if how["version"] == 2 else nib.Nifti1Header
    header = kind(endianness=order)
    header.set_data_dtype(np.dtype(how["type"]).newbyteorder(order))
    header.set_data_shape(array.shape)
    affine = affine_of(how["axes of"])
    sform_code, qform_code, differ = FORMS[how["forms"]]
    header.set_sform(affine, 1)
    header.set_qform(affine_of(how["axes of"], 40.0) if differ else affine, 1)
    header["sform_code"], header["qform_code"] = sform_code, qform_code
    header["pixdim"][1:4] = np.array(SPACING) * how["pixdim"]
    header["xyzt_units"] = how["unit"]
    header["scl_slope"], header["scl_inter"] = how["scale"]
    start = kind.single_vox_offset
    gap = 16 if how["offset"] == "gap" else 0
    header["vox_offset"] = {"usual": start, "zero": 0, "gap": start + gap}[how["offset"]]
    data = array.astype(np.dtype(how["type"]).newbyteorder(order)).tobytes(order="F")
    content = header.binaryblock + bytes(4 + gap) + data + bytes(how["beyond"])
    path = folder / ("a.nii.gz" if how["packed"] else "a.nii")
    path.write_bytes(gzip.compress(content, 1) if how["packed"] else content)
    return path


def by_nibabel(path: Path, _: Combination) -> Seen:
    import nibabel as nib

    image: Any = nib.load(path)
    array = np.asarray(image.dataobj)
    return np.asarray(image.affine, np.float64), np.moveaxis(array.reshape(*SHAPE, -1), -1, 0)


def by_simpleitk(path: Path, _: Combination) -> Seen:
    import SimpleITK

    return _of_itk(SimpleITK.ReadImage(str(path)))


def _of_itk(image: Any) -> Seen:
    import SimpleITK

    number = image.GetDimension()
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(number, number)[:3, :3] * image.GetSpacing()[:3]
    affine[:3, 3] = image.GetOrigin()[:3]
    array = SimpleITK.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        return TO_RAS @ affine, array.transpose(3, 2, 1, 0)
    return TO_RAS @ affine, np.moveaxis(array.T.reshape(*SHAPE, -1), -1, 0)


def read_file(path: Path) -> tuple[Volume, list[str]]:
    from osteon.formats.io import header_warnings, read_volume

    return read_volume(path), [odd.kind for odd in header_warnings(path, label=False) if odd.severe]


def read_labels(path: Path) -> tuple[Volume, list[str]]:
    from osteon.formats.io import header_warnings, read_segmentation

    labels = read_segmentation(path)
    warned = [odd.kind for odd in header_warnings(path, label=True) if odd.severe]
    return Volume(labels.array[None], labels.geometry), warned


# -- NRRD and MetaImage ----------------------------------------------------------------------------------------------

SPACES = {"left-posterior-superior": (-1, -1, 1), "RAS": (1, 1, 1), "LAS": (-1, 1, 1), "": (-1, -1, 1)}
NRRD_TYPES = {"u1": "uint8", "i1": "int8", "u2": "uint16", "i2": "int16", "u4": "uint32", "i4": "int32", "f4": "float",
              "f8": "double"}  # fmt: skip


def write_nrrd(folder: Path, how: Combination, draw: random.Random) -> Path:  # noqa: ARG001
    array = voxels(how["type"], how["channels"])
    flips = np.array(SPACES[how["space"]])
    affine = affine_of(how["axes of"])
    vectors = ["(" + ",".join(f"{x:.17g}" for x in flips * affine[:3, n]) + ")" for n in range(3)]
    sizes, kinds = list(SHAPE), ["domain"] * 3
    lists = how["channels"] > 1
    place = 0 if how["channels first"] else 3
    if lists:
        sizes.insert(place, how["channels"])
        kinds.insert(place, "vector" if how["channels first"] else "list")
        vectors.insert(place, "none")
    lines = [
        "NRRD0004",
        f"type: {NRRD_TYPES[how['type']]}",
        f"dimension: {len(sizes)}",
        *([f"space: {how['space']}"] if how["space"] else ["space dimension: 3"] if how["placed"] else []),
        f"sizes: {' '.join(map(str, sizes))}",
        f"kinds: {' '.join(kinds)}",
        f"endian: {'big' if how['big'] else 'little'}",
        f"encoding: {how['encoding']}",
    ]
    if how["placed"]:
        lines.append(f"space directions: {' '.join(vectors)}")
        lines.append("space origin: (" + ",".join(f"{x:.17g}" for x in flips * affine[:3, 3]) + ")")
        if how["unit"]:
            lines.append("space units: " + " ".join([f'"{how["unit"]}"'] * 3))
    else:
        spacings = [f"{x:g}" for x in SPACING]
        if lists:
            spacings.insert(place, "NaN")
        lines.append(f"spacings: {' '.join(spacings)}")
    stored = array.transpose(3, 2, 1, 0) if how["channels first"] or not lists else array.transpose(0, 3, 2, 1)
    order = ">" if how["big"] else "<"
    data = np.ascontiguousarray(stored).astype(np.dtype(how["type"]).newbyteorder(order)).tobytes()
    if how["encoding"] == "gzip":
        data = gzip.compress(data, 1)
    if how["encoding"] == "ascii":
        data = " ".join(f"{x:g}" for x in stored.ravel()).encode()
    path = folder / "a.nrrd"
    path.write_bytes("\n".join(lines).encode() + b"\n\n" + data)
    return path


def write_metaimage(folder: Path, how: Combination, draw: random.Random) -> Path:  # noqa: ARG001
    import SimpleITK

    array = voxels(how["type"], how["channels"])
    vector = how["channels"] > 1
    image = SimpleITK.GetImageFromArray(array.transpose(3, 2, 1, 0) if vector else array[0].T, isVector=vector)
    lps = TO_RAS @ affine_of(how["axes of"])
    image.SetSpacing(SPACING)
    image.SetDirection((lps[:3, :3] / SPACING).ravel())
    image.SetOrigin(lps[:3, 3])
    path = folder / f"a{how['suffix']}"
    SimpleITK.WriteImage(image, str(path), useCompression=how["packed"])
    return path


# -- DICOM -----------------------------------------------------------------------------------------------------------

SYNTAXES = ("implicit", "explicit", "big endian", "deflated", "RLE", "JPEG-LS")
RESCALES = {"none": None, "one": [(1, -1024)] * 3, "halves": [(0.5, 0)] * 3, "each its own": [(2, -5), (1, 0), (3, 7)]}
NUMBERS = ("up", "down", "all 1", "none")


def write_dicom(folder: Path, how: Combination, draw: random.Random) -> Path:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import (
        CTImageStorage,
        DeflatedExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        JPEGLSLossless,
        RLELossless,
        generate_uid,
    )

    plain = {
        "implicit": ImplicitVRLittleEndian,
        "big endian": ExplicitVRBigEndian,
        "deflated": DeflatedExplicitVRLittleEndian,
    }
    array = voxels(how["type"])[0]
    lps = TO_RAS @ affine_of(how["axes of"])
    names = [f"{draw.randrange(10**6):06d}{draw.choice(('', '.dcm', '.IMA'))}" for _ in range(SHAPE[2])]
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    for n in draw.sample(range(SHAPE[2]), SHAPE[2]):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = plain.get(how["syntax"], ExplicitVRLittleEndian)
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = CTImageStorage
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = generate_uid()
        one.SeriesInstanceUID, one.StudyInstanceUID, one.FrameOfReferenceUID = series, study, frame
        one.Modality, one.PatientID, one.PatientName = "CT", "x", "X"
        one.ImageOrientationPatient = [f"{x:.10g}" for x in (lps[:3, :2] / SPACING[:2]).T.ravel()]
        one.ImagePositionPatient = [f"{x:.10g}" for x in lps[:3, 3] + n * lps[:3, 2]]
        one.PixelSpacing = [SPACING[1], SPACING[0]]
        one.SliceThickness = 9.0
        if (number := {"up": n + 1, "down": SHAPE[2] - n, "all 1": 1}.get(how["numbers"])) is not None:
            one.InstanceNumber = number
        one.Rows, one.Columns = SHAPE[1], SHAPE[0]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated = array.dtype.itemsize * 8
        one.BitsStored = 12 if how["stored"] == 12 and array.dtype.itemsize == 2 else one.BitsAllocated
        one.HighBit, one.PixelRepresentation = one.BitsStored - 1, int(array.dtype.kind == "i")
        plane = np.ascontiguousarray(array[:, :, n].T)
        if one.BitsStored == 12 and how["syntax"] not in ("RLE", "JPEG-LS"):
            plane = _high_bits(plane, how)
        one.PixelData = plane.astype(plane.dtype.newbyteorder(">")).tobytes() if how["syntax"] == "big endian" else (
            plane.tobytes()
        )  # fmt: skip
        one["PixelData"].VR = "OW"
        if RESCALES[how["rescale"]]:
            one.RescaleSlope, one.RescaleIntercept = RESCALES[how["rescale"]][n]
        if how["syntax"] in ("RLE", "JPEG-LS"):
            one.compress(RLELossless if how["syntax"] == "RLE" else JPEGLSLossless, plane)
        one.save_as(folder / names[n], enforce_file_format=True)
    return folder


def _high_bits(plane: npt.NDArray[np.generic], how: Combination) -> npt.NDArray[np.generic]:
    """Values of 12 bits of 16, the other four as scanners leave them: the sign's, none, or an overlay's."""
    raw = np.asarray(plane).view(np.uint16)
    if how["high bits"] == "none":
        raw = raw & np.uint16(0x0FFF)
    elif how["high bits"] == "overlay":
        raw = raw & np.uint16(0x0FFF) | np.uint16(0xA000)
    return raw.view(plane.dtype)


def read_dicom(path: Path) -> tuple[Volume, list[str]]:
    from osteon.formats.dicom_series import find_series, read_series

    (series,) = find_series(path).series
    return read_series(series)


def by_pydicom(path: Path, _: Combination) -> Seen:
    import pydicom
    from pydicom.pixels import apply_rescale

    slices = [pydicom.dcmread(file, force=True) for file in path.iterdir()]
    row, column = np.array(slices[0].ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(row, column)
    slices.sort(key=lambda one: float(np.array(one.ImagePositionPatient, float) @ normal))
    first, last = (np.array(one.ImagePositionPatient, float) for one in (slices[0], slices[-1]))
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * slices[0].PixelSpacing[1], column * slices[0].PixelSpacing[0]
    affine[:3, 2], affine[:3, 3] = (last - first) / (len(slices) - 1), first
    array = np.stack([np.asarray(apply_rescale(one.pixel_array, one), float).T for one in slices], axis=-1)
    return TO_RAS @ affine, array[None]


def by_series_reader(path: Path, how: Combination) -> Seen:
    """SimpleITK's; it takes one type for all slices, so values of slices with scales of their own are not asked."""
    import SimpleITK

    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(path))
    affine, array = _of_itk(SimpleITK.ReadImage(names))
    return affine, None if how["rescale"] == "each its own" else array


# -- COCO's run lengths ----------------------------------------------------------------------------------------------


def write_coco(folder: Path, how: Combination, draw: random.Random) -> Path:
    from pycocotools import mask

    array = np.random.default_rng(draw.randrange(10**9)).random((how["rows"], how["columns"])) < how["density"]
    code = mask.encode(np.asfortranarray(array.astype(np.uint8)))
    np.savez(folder / "a.npz", counts=code["counts"], size=code["size"])
    return folder / "a.npz"


def read_coco(path: Path) -> tuple[Volume, list[str]]:
    from osteon.formats.coco import masks_of

    file = np.load(path)
    size = [int(n) for n in file["size"]]
    (array,) = masks_of([{"counts": file["counts"].item().decode(), "size": size}], (size[0], size[1]), "a")
    return Volume(array.astype(np.uint8)[None, :, :, None], Geometry((*size, 1), np.eye(4))), []


def by_pycocotools(path: Path, _: Combination) -> Seen:
    from pycocotools import mask

    file = np.load(path)
    code = {"counts": file["counts"].item(), "size": [int(n) for n in file["size"]]}
    return None, mask.decode(code)[None, :, :, None]


# -- all of them -----------------------------------------------------------------------------------------------------

READERS = {
    "nifti": Reader(
        {"axes of": tuple(DIRECTIONS), "forms": tuple(FORMS), "scale": SCALES},
        {
            "type": TYPES,
            "unit": (2, 2, 2, 0, 1, 3, 5),
            "pixdim": (1.0, 1.0, 1.0, 1.0, 2.0, -1.0),
            "offset": ("usual", "usual", "usual", "gap", "zero"),
            "beyond": (0, 0, 0, 500),
            "version": (1, 1, 2),
            "big": (False, True),
            "packed": (False, True),
            "axes": (3, 4, 5),
            "channels": (1, 2),
        },
        write_nifti,
        read_file,
        {"nibabel": by_nibabel, "SimpleITK": by_simpleitk},
    ),
    "nifti labels": Reader(
        {"axes of": tuple(DIRECTIONS), "forms": tuple(FORMS), "scale": SCALES},
        {
            "type": ("u1", "u2", "u4", "f4"),
            "unit": (2, 0),
            "pixdim": (1.0,),
            "offset": ("usual", "zero"),
            "beyond": (0,),
            "version": (1, 2),
            "big": (False, True),
            "packed": (False, True),
            "axes": (3,),
            "channels": (1,),
        },
        write_nifti,
        read_labels,
        {"nibabel": by_nibabel, "SimpleITK": by_simpleitk},
    ),
    "nrrd": Reader(
        {"axes of": tuple(DIRECTIONS), "space": tuple(SPACES), "placed": (True, True, False)},
        {
            "type": TYPES,
            "encoding": ("raw", "gzip", "ascii"),
            "big": (False, True),
            "channels": (1, 1, 3),
            "channels first": (True, False),
            "unit": ("", "mm", "um", "cm"),
        },
        write_nrrd,
        read_file,
        {"SimpleITK": by_simpleitk},
    ),
    "metaimage": Reader(
        {"axes of": tuple(DIRECTIONS), "type": TYPES},
        {"channels": (1, 1, 3), "packed": (False, True), "suffix": (".mha", ".mhd")},
        write_metaimage,
        read_file,
        {"SimpleITK": by_simpleitk},
    ),
    "dicom": Reader(
        {"axes of": tuple(DIRECTIONS), "syntax": SYNTAXES, "rescale": tuple(RESCALES)},
        {"type": ("u1", "u2", "i2"), "stored": (12, 16), "high bits": ("sign", "none", "overlay"), "numbers": NUMBERS},
        write_dicom,
        read_dicom,
        {"pydicom": by_pydicom, "SimpleITK": by_series_reader},
    ),
    "coco": Reader(
        {"rows": tuple(range(1, 40)), "columns": tuple(range(1, 40)), "density": (0.0, 0.02, 0.5, 0.98, 1.0)},
        {},
        write_coco,
        read_coco,
        {"pycocotools": by_pycocotools},
    ),
}


def available(name: str) -> bool:
    """Whether osteon and the library that it is compared with know the format."""
    from osteon.formats.registry import known_suffixes

    return {"metaimage": ".mha" in known_suffixes(), "coco": find_spec("pycocotools") is not None}.get(name, True)


def combinations(reader: Reader, draw: random.Random) -> Iterator[Combination]:
    """The whole product in random order, again and again; of what is drawn, something else each time."""
    product = list(itertools.product(*reader.whole.values()))
    while True:
        draw.shuffle(product)
        for values in product:
            how = dict(zip(reader.whole, values, strict=True))
            how |= {name: draw.choice(among) for name, among in reader.drawn.items()}
            if how.get("axes") == 3:
                how["channels"] = 1
            yield how


def attempt(reader: Reader, how: Combination, draw: random.Random) -> tuple[str, str]:
    """Write one combination and read it: the outcome, and what differed."""
    with tempfile.TemporaryDirectory() as folder:
        path = reader.write(Path(folder), how, draw)
        try:
            volume, warnings = reader.read(path)
        except OsteonError as error:
            return "refused", error.message
        except Exception as error:  # noqa: BLE001 (finding these is the purpose)
            return "other exceptions", f"{type(error).__name__}: {error}"
        differences, silent = [], []
        for name, library in reader.others.items():
            try:
                affine, array = library(path, how)
            except Exception:  # noqa: BLE001 (what another library does not read says nothing of osteon)
                continue
            for what in _differences(volume, affine, array):
                differences.append(f"{what} than {name}'s")
                if not any((kind in OF_VALUES) == (what == "other values") for kind in warnings):
                    silent.append(differences[-1])
    if silent:
        return "silent differences", ", ".join(silent)
    return ("told" if differences else "same"), ", ".join(differences)


def _differences(volume: Volume, affine: Affine | None, array: npt.NDArray[np.generic] | None) -> list[str]:
    found = []
    if affine is not None:
        try:
            same = volume.geometry.is_close(Geometry(volume.geometry.shape, affine), tolerance=PLACE)
        except ValueError:  # an affine of NaN or of zeros
            same = False
        found += [] if same else ["other places"]
    if array is not None:
        found_values, expected = np.asarray(volume.array, np.float64), np.asarray(array, np.float64)
        if found_values.shape != expected.shape or not np.allclose(found_values, expected, rtol=1e-5, atol=1e-4):
            found.append("other values")
    return found


def check(name: str, *, seconds: float, most: int | None = None, seed: int = 0) -> Outcome:
    """Try combinations of one reader for so long, or so many."""
    draw, outcome, reader = random.Random(f"{seed} {name}"), Outcome(), READERS[name]
    end = time.monotonic() + seconds
    for how in combinations(reader, draw):
        if time.monotonic() > end or (most is not None and outcome.counts.total() >= most):
            return outcome
        what, why = attempt(reader, how, draw)
        outcome.counts[what] += 1
        if what in ("silent differences", "other exceptions") and len(outcome.worst) < 20:
            outcome.worst.append(f"{name}: {why}: {dict(how)}")
    return outcome


def quiet() -> None:
    """What the libraries print about odd files is no result."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1, help="for each reader")
    parser.add_argument("--reader", nargs="*", default=list(READERS), choices=list(READERS))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    quiet()
    columns = ("same", "told", "refused", "silent differences", "other exceptions")
    print(f"| reader | compared with | combinations | {' | '.join(columns)} |")
    print(f"| --- | --- | --- |{' --- |' * len(columns)}")
    wrong = 0
    for name in arguments.reader:
        others = ", ".join(READERS[name].others)
        if not available(name):
            print(f"| {name} | {others} | not there |{' |' * len(columns)}")
            continue
        outcome = check(name, seconds=60 * arguments.minutes, seed=arguments.seed)
        figures = " | ".join(str(outcome.counts[column]) for column in columns)
        print(f"| {name} | {others} | {outcome.counts.total()} | {figures} |", flush=True)
        for line in outcome.worst:
            print(f"  {line}", file=sys.stderr)
        wrong += len(outcome.worst)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
