"""What the names of files and folders say: scan or mask, of which case, of which structure, which channel."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from osteon.core.file_names import name_key
from osteon.formats.registry import stem_of

FileKind = Literal["scan", "mask", "unclear"]
_PARTS = re.compile(r"[_\-. ]+")


def name_words(text: str) -> tuple[str, ...]:
    """`STS_002-Mask` → (`sts`, `002`, `mask`)."""
    return tuple(word for word in _PARTS.split(name_key(text)) if word)


MASK_WORDS = frozenset(
    name_words(
        "mask masks msk seg segs segm dseg segmentation segmentations label labels labelmap labelmaps "
        "annotation annotations gt groundtruth truth contour contours roi rois rtstruct labelstr"
    )
)
CHANNEL_WORDS = frozenset(
    name_words(
        "ct cbct mr mri t1 t1w t1c t1ce t1gd t2 t2w t2s flair pd pdw stir dixon dess adc dwi pet 0000 0001 "
        "0002 0003 0004 0005"
    )
)
SCAN_WORDS = CHANNEL_WORDS | frozenset(
    name_words("image images img imgs scan scans volume volumes vol vols dicom dicoms dcm series raw rawdata imagestr")
)
_SCAN_PREFIXES = SCAN_WORDS - CHANNEL_WORDS
_SCAN_SUFFIXES = SCAN_WORDS | {"data"}
"""CTPelvic1K calls a scan `…_data`; as a folder's name `data` says nothing."""
_DERIVED = "derivatives"
"""BIDS keeps there what was made of the scans, https://bids-specification.readthedocs.io; masks above all."""
_WORD = re.compile(r"[^_\-. ]+")
_NUMBERED = re.compile(r"(?:^|(?<=[_\-. ]))rois?[_\-. ]+\d+(?![^_\-. ])", re.IGNORECASE)
"""`roi_01` numbers a piece, a case or a structure; it does not say that a file is a mask."""
_MASK_PREFIXES = (MASK_WORDS - {"roi", "rois"}) | {r"rois?(?![_\-. ]+\d+(?![^_\-. ]))"}
_NUMBER = re.compile(r"(?<=[^_\-. ])[_\-. ]+(\d{4})$")
_COPIED = re.compile(
    rf"(?P<name>.+?)(?P<kind>(?:[_\-. ]+(?:{'|'.join(sorted(MASK_WORDS | _SCAN_SUFFIXES))}))+) ?(?P<copy>\(\d+\))",
    re.IGNORECASE,
)
"""`p1_mask (1)`: a browser or Windows puts the number of a copy behind everything."""
_VERTEBRA = re.compile(r"[ctls]\d{1,2}", re.IGNORECASE)


def move_copy_number(text: str) -> str:
    """The name with the number of a copy where the case stands: `p1_mask (1)` → `p1 (1)_mask`."""
    match = _COPIED.fullmatch(text)
    return f"{match['name']} {match['copy']}{match['kind']}" if match else text


def classify_name(place: PurePosixPath) -> FileKind:
    """What a file's name, or else the nearest of its folders, says that it is.

    Args:
        place: The file, relative to the source.
    """
    if place.name.lower().endswith(".seg.nrrd"):
        return "mask"
    words = name_words(_NUMBERED.sub("", move_copy_number(stem_of(Path(place))))) or ("",)
    if {words[0], words[-1]} & MASK_WORDS or is_mask_folder(place.parent.name):
        return "mask"
    if words[-1] in _SCAN_SUFFIXES or words[0] in _SCAN_PREFIXES:
        return "scan"
    if MASK_WORDS.intersection(words):
        return "mask"
    for folder in reversed(place.parent.parts):
        if is_mask_folder(folder) or folder.lower() == _DERIVED:
            return "mask"
        if folder.lower() in SCAN_WORDS:
            return "scan"
    return "unclear"


def is_mask_folder(folder: str) -> bool:
    """Whether a folder's name says that masks lie in it."""
    return bool(MASK_WORDS.intersection(name_words(_NUMBERED.sub("", folder))))


def in_mask_folder(place: PurePosixPath) -> bool:
    """Whether one of the folders is there for masks: `p1/masks/femur.nii.gz`."""
    return any(map(is_mask_folder, place.parent.parts))


def scan_folder(place: PurePosixPath) -> str | None:
    """The nearest folder whose name says that it is for scans (`images`, and not a channel's such as `t1`)."""
    return next((folder for folder in reversed(place.parent.parts) if folder.lower() in _SCAN_PREFIXES), None)


def case_name(scan: str) -> str:
    """The case that a scan's name says: `p1_ct` → `p1`, `image_001` → `001`; empty where it says none.

    A channel's number is one at the very end: `p1_0000` → `p1`, `p1_0001_data` → `p1_0001`.
    """
    return strip_words(
        _NUMBER.sub("", move_copy_number(scan)),
        _SCAN_PREFIXES,
        {word for word in _SCAN_SUFFIXES if not word.isdigit()} | MASK_WORDS,
    )


def name_before_last_word(scan: str) -> tuple[str, ...]:
    """A scan's name without the one word at its end that says that it is a scan: `scan (1)_image` → (`scan`, `(1)`).

    Empty where that leaves channels alone.
    """
    words = name_words(move_copy_number(scan))
    return words[:-1] if words[-1:] and words[-1] in _SCAN_SUFFIXES and not CHANNEL_WORDS.issuperset(words[:-1]) else ()


def channel_number(scan: str) -> int | None:
    """The number at the end of a name, which in nnU-Net's are the channel's: `p1_0001` → 1."""
    match = _NUMBER.search(scan)
    return int(match[1]) if match else None


def strip_mask_words(text: str) -> str:
    """A mask's name without the words that say that it is one: `seg_p1_femur_mask` → `p1_femur`."""
    return strip_words(move_copy_number(text), _MASK_PREFIXES, MASK_WORDS)


def strip_words(text: str, first: Collection[str], last: Collection[str] | None = None) -> str:
    """The text without these words at its beginning and end (without `last`, the same at both ends)."""
    last = first if last is None else last
    before = ""
    while text != before:
        before = text
        text = re.sub(rf"^(?:{'|'.join(first)})(?=[_\-. ]|$)", "", text, flags=re.IGNORECASE).strip("_-. ")
        text = re.sub(rf"(?:^|(?<=[_\-. ]))(?:{'|'.join(last)})$", "", text, flags=re.IGNORECASE).strip("_-. ")
    return text


def channel_name(name: str) -> str:
    """The channel that a scan's name ends in (`p1_T2w` → `t2w`); empty where it ends in none."""
    last = (name_words(move_copy_number(name)) or ("",))[-1]
    return last if last in CHANNEL_WORDS else ""


def structure_name(place: PurePosixPath, prefixes: Sequence[str], suffixes: Sequence[str] = ()) -> str | None:
    """The structure that a mask's name says; None where it says none.

    Args:
        place: The mask, relative to its case's folder.
        prefixes: What may stand before the structure, and says nothing about it: the names of case, scan and folders.
        suffixes: The same behind it.
    """
    for text in _texts(place):
        name = _strip_prefix_words(strip_suffix_words(text, suffixes) or text, prefixes)
        if name and name.lower() not in SCAN_WORDS | {_DERIVED}:
            return name
    return None


def vertebra_name(place: PurePosixPath, prefixes: Sequence[str], *, alone: bool = False) -> str | None:
    """The vertebra that a mask's name may say, which may be a channel's too: `p1_T1` → `T1`; None where it says none.

    Args:
        place: As for `structure_name`.
        prefixes: Likewise, without names that end in a channel.
        alone: Whether no other mask lies in its folder, which then may say the structure: `T1/c1`.
    """
    texts = _texts(place)
    names = [name for text in texts[: None if alone else 1] if (name := _strip_prefix_words(text, prefixes))]
    [name, *_] = [*names, texts[0]]  # `C1` in the folder of case c1
    return name if _VERTEBRA.fullmatch(name) else None


def _texts(place: PurePosixPath) -> list[str]:
    """The names of the file and of its folders, the nearest first, without the words that say that it is a mask."""
    texts = (stem_of(Path(place)), *reversed(place.parent.parts))
    return [strip_mask_words(unicodedata.normalize("NFC", text)) for text in texts]


def strip_suffix_words(text: str, suffixes: Sequence[str]) -> str:
    """What stands before the longest suffix, word by word: `femur_p1` before `p1` is `femur`; empty without one."""
    words = name_words(text)
    longest = max(
        (len(ending) for suffix in suffixes if (ending := name_words(suffix)) == words[-len(ending) :]), default=0
    )
    ends = [match.end() for match in _WORD.finditer(text)]
    return strip_mask_words(text[: ends[-longest - 1]]) if 0 < longest < len(ends) else ""


def _strip_prefix_words(text: str, prefixes: Sequence[str]) -> str:
    """What follows the longest prefix, word by word: `P1-femur-left` behind `p1` is `femur-left`."""
    words = name_words(text)
    longest = max(
        (len(beginning) for prefix in prefixes if words[: len(beginning := name_words(prefix))] == beginning), default=0
    )
    starts = [match.start() for match in _WORD.finditer(text)]
    return strip_mask_words(text[starts[longest] :]) if longest < len(starts) else ""


def structure_key(name: str) -> str:
    """A key under which `Femur left`, `femur_left` and `femur-left` are one."""
    return "_".join(name_words(name))
