"""Formats in which scans, labels and surfaces come and that osteon does not read: known, so that messages name them.

Analyze is among them on purpose: it does not define left and right, and programs differ in what they assume
(https://nifti.nimh.nih.gov/nifti-1/documentation/faq). Pairs of NIfTI look the same from outside.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Holds = Literal["images", "pictures", "surfaces", "anything"]
_NIFTI = "write .nii.gz"
_IMAGES, _PACKED = (".nii", ".nrrd", ".mha", ".dcm"), (".gz", ".bz2", ".xz", ".zst", ".zip")


@dataclass(frozen=True)
class UnsupportedFormat:
    """A format that is known and not read.

    Attributes:
        name: As people call it.
        suffixes: Lower case, with the dot.
        advice: How to convert its files to a format that is read.
        holds: `images` (labels too), `pictures`, `surfaces`, or `anything`: archives and arrays may hold no scan.
        pair: Whether two files of one name make one image.
    """

    name: str
    suffixes: tuple[str, ...]
    advice: str
    holds: Holds = "images"
    pair: bool = False

    def suffix_of(self, path: Path) -> str:
        """The suffix by which the file is of this format; empty where it is not."""
        name = path.name.lower()
        return max((suffix for suffix in self.suffixes if name.endswith(suffix)), key=len, default="")


UNSUPPORTED_FORMATS = (
    UnsupportedFormat(
        "Analyze or a NIfTI pair",
        (".hdr", ".img", ".hdr.gz", ".img.gz"),
        "Analyze does not define left and right: export the scan again as .nii.gz, and check its sides",
        pair=True,
    ),
    UnsupportedFormat("MINC", (".mnc", ".mnc.gz", ".mnc2"), f"{_NIFTI} with `mnc2nii`"),
    UnsupportedFormat("FreeSurfer's MGH", (".mgz", ".mgh"), f"{_NIFTI} with `mri_convert IN.mgz OUT.nii.gz`"),
    UnsupportedFormat("GIPL", (".gipl", ".gipl.gz"), f"{_NIFTI} with ITK-SNAP"),
    UnsupportedFormat(
        "VTK", (".vtk", ".vti"), "save images as .nii.gz and surfaces as .stl, with 3D Slicer or ParaView"
    ),
    UnsupportedFormat("Amira", (".am",), "save as .nrrd with Amira or Avizo"),
    UnsupportedFormat("NRRD in two files", (".nhdr",), "join them: `unu save -f nrrd -i IN.nhdr -o OUT.nrrd`"),
    UnsupportedFormat("Philips PAR/REC", (".par", ".rec"), f"{_NIFTI} with `dcm2niix`", pair=True),
    UnsupportedFormat("Scanco", (".isq", ".aim", ".rsq"), f"{_NIFTI} or .mha, with 3D Slicer or Fiji"),
    UnsupportedFormat("3D Slicer's scene", (".mrb",), "open it in 3D Slicer and save its volumes as .nrrd or .nii.gz"),
    UnsupportedFormat(
        "an image packed as osteon does not unpack it",
        tuple(f"{image}{packed}" for image in _IMAGES for packed in _PACKED if image + packed != ".nii.gz"),
        "unpack it, and pack .nii with gzip where space is short",
    ),
    UnsupportedFormat(
        "a picture",
        (".gif", ".webp", ".heic", ".heif", ".avif", ".jp2", ".j2k", ".pgm", ".tga", ".psd"),
        "save it as .png",
        "pictures",
    ),
    UnsupportedFormat("a mesh", (".ply", ".obj", ".vtp", ".off", ".3mf", ".amf"), "save it as .stl", "surfaces"),
    UnsupportedFormat(
        "an array without a place in the world",
        (".npy", ".npz", ".mat", ".h5", ".hdf5"),
        f"{_NIFTI} with the scan's own spacing and axes",
        "anything",
    ),
    UnsupportedFormat(
        "an archive",
        (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".7z", ".rar"),
        "unpack it where it holds scans",
        "anything",
    ),
)


def unsupported_format(path: Path) -> UnsupportedFormat | None:
    """The row for a file, by its suffix; None where it is read, or nobody knows it."""
    row = max(UNSUPPORTED_FORMATS, key=lambda row: len(row.suffix_of(path)))
    return row if row.suffix_of(path) else None


def unsupported_images(files: Iterable[Path]) -> list[Path]:
    """The images of formats that are not read, one file for each."""
    found: dict[str, Path] = {}
    for path in files:
        row = unsupported_format(path)
        if row is not None and row.holds == "images" and not path.name.startswith("."):
            found.setdefault(_bare(path) if row.pair else str(path), path)
    return list(found.values())


def describe_unsupported(files: Iterable[Path], holding: Iterable[Holds]) -> list[str]:
    """A line for each format that is known and not read: how many files there are, an example, and the way out.

    Args:
        files: Any.
        holding: What is asked for.
    """
    found: dict[UnsupportedFormat, list[Path]] = defaultdict(list)
    wanted = set(holding)
    for path in files:
        row = unsupported_format(path)
        if row is not None and row.holds in wanted:
            found[row].append(path)
    return [
        f"{_count(paths, row)} not read ({row.name}), such as {paths[0]}: {row.advice}" for row, paths in found.items()
    ]


def _count(paths: list[Path], row: UnsupportedFormat) -> str:
    number = len({_bare(path) for path in paths}) if row.pair else len(paths)
    return f"{number} {'image' if row.holds == 'images' else 'file'}{'s are' if number > 1 else ' is'}"


def _bare(path: Path) -> str:
    return str(path).lower().removesuffix(".gz").rpartition(".")[0]
