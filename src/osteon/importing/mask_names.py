"""What the names of files and folders say: scan or mask, of which case, of which structure, which channel."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from osteon.formats.registry import stem_of

Kind = Literal["scan", "mask", "unclear"]
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
"""Of files that hold volumes; the registry's pictures are another form's."""
MASK_WORDS = frozenset(
    [
        "mask",
        "masks",
        "msk",
        "seg",
        "segs",
        "segm",
        "segmentation",
        "segmentations",
        "label",
        "labels",
        "labelmap",
        "labelmaps",
        "annotation",
        "annotations",
        "gt",
        "groundtruth",
        "truth",
        "contour",
        "contours",
        "roi",
        "rois",
        "rtstruct",
        "labelstr",
    ]
)
CHANNEL_WORDS = frozenset(
    [
        "ct",
        "cbct",
        "mr",
        "mri",
        "t1",
        "t1w",
        "t1c",
        "t1ce",
        "t1gd",
        "t2",
        "t2w",
        "t2s",
        "flair",
        "pd",
        "pdw",
        "stir",
        "dixon",
        "dess",
        "adc",
        "dwi",
        "pet",
        "0000",
        "0001",
        "0002",
        "0003",
        "0004",
        "0005",
    ]
)
SCAN_WORDS = CHANNEL_WORDS | frozenset(
    [
        "image",
        "images",
        "img",
        "imgs",
        "scan",
        "scans",
        "volume",
        "volumes",
        "vol",
        "vols",
        "dicom",
        "dicoms",
        "dcm",
        "series",
        "raw",
        "imagestr",
    ]
)
_LEADING = SCAN_WORDS - CHANNEL_WORDS
_PARTS = re.compile(r"[_\-. ]+")


def words(text: str) -> tuple[str, ...]:
    """`STS_002-Mask` → (`sts`, `002`, `mask`)."""
    return tuple(word for word in _PARTS.split(text.lower()) if word)


def is_volume(path: Path) -> bool:
    """Whether the name is that of a file in which scans or masks lie."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def kind_of(place: PurePosixPath) -> Kind:
    """What a file's name, or else the nearest of its folders, says that it is.

    Args:
        place: The file, relative to the source.
    """
    if place.name.lower().endswith(".seg.nrrd"):
        return "mask"
    told = words(stem_of(Path(place))) or ("",)
    if {told[0], told[-1]} & MASK_WORDS or MASK_WORDS.intersection(words(place.parent.name)):
        return "mask"
    if told[-1] in SCAN_WORDS or told[0] in _LEADING:
        return "scan"
    if MASK_WORDS.intersection(told):
        return "mask"
    for folder in reversed(place.parent.parts):
        if MASK_WORDS.intersection(words(folder)):
            return "mask"
        if folder.lower() in SCAN_WORDS:
            return "scan"
    return "unclear"


def in_mask_folder(place: PurePosixPath) -> bool:
    """Whether one of the folders is there for masks: `p1/masks/femur.nii.gz`."""
    return any(MASK_WORDS.intersection(words(folder)) for folder in place.parent.parts)


def case_of(scan: str) -> str:
    """The case that a scan's name says: `p1_ct` → `p1`, `image_001` → `001`; empty where it says none."""
    return without_words(scan, _LEADING, SCAN_WORDS | MASK_WORDS)


def without_mask_words(text: str) -> str:
    """A mask's name without the words that say that it is one: `seg_p1_femur_mask` → `p1_femur`."""
    return without_words(text, MASK_WORDS)


def without_words(text: str, first: Collection[str], last: Collection[str] | None = None) -> str:
    """The text without these words at its beginning and end (without `last`, the same at both ends)."""
    last = first if last is None else last
    before = ""
    while text != before:
        before = text
        text = re.sub(rf"^(?:{'|'.join(first)})(?=[_\-. ]|$)", "", text, flags=re.IGNORECASE).strip("_-. ")
        text = re.sub(rf"(?:^|(?<=[_\-. ]))(?:{'|'.join(last)})$", "", text, flags=re.IGNORECASE).strip("_-. ")
    return text


def channel_of(name: str) -> str:
    """The channel that a scan's name ends in (`p1_T2w` → `t2w`); empty where it ends in none."""
    last = (words(name) or ("",))[-1]
    return last if last in CHANNEL_WORDS else ""


def structure_of(place: PurePosixPath, prefixes: Sequence[str]) -> str | None:
    """The structure that a mask's name says; None where it says none.

    Args:
        place: The mask, relative to its case's folder.
        prefixes: What may stand before the structure: the names of case and scan.
    """
    for text in (stem_of(Path(place)), *reversed(place.parent.parts)):
        name = without_mask_words(text)
        for prefix in sorted(prefixes, key=len, reverse=True):
            short = name[len(prefix) :]
            if prefix and name.lower().startswith(prefix.lower()) and (not short or short[0] in "_-. "):
                name = without_mask_words(short)
                break
        if name and name.lower() not in SCAN_WORDS:
            return name
    return None


def same_name(name: str) -> str:
    """A key under which `Femur left`, `femur_left` and `femur-left` are one."""
    return "_".join(words(name))
