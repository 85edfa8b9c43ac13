"""Codes of structures for DICOM: SNOMED CT's where the standard lists the bone, a local one else.

The numbers are those of PS3.16, as pydicom carries them; here stand only the names by which structures are called. A
code says what a reader can rely on, so a name that may mean two things (`hip`, `femur fragment`) gets a local one.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from osteon.core.labels import Structure

if TYPE_CHECKING:
    from pydicom.sr.coding import Code

SCHEME = "99OSTEON"
"""Private coding schemes begin with 99 (PS3.16, 8.2)."""
_LONGEST_MEANING = 64
_SAME = (
    "acetabulum calcaneus clavicle coccyx femur fibula heart hippocampus humerus ilium ischium lung "
    "mandible maxilla metacarpal patella rib sacrum scaphoid scapula skull sternum talus tibia trachea "
    "ulna vertebra"
)
"""Names that pydicom has as they are, but for the capital."""
_WHOLE = {
    **{name: name.capitalize() for name in _SAME.split()},
    "calcaneum": "Calcaneus",
    "clavicula": "Clavicle",
    "femoral head": "HeadOfFemur",
    "femur head": "HeadOfFemur",
    "head of femur": "HeadOfFemur",
    "radius": "RadiusBone",
    **{
        f"{part} {bone}": f"{part.capitalize()}{bone.capitalize()}"
        for part in ("proximal", "distal")
        for bone in ("femur", "humerus", "radius", "ulna")
    },
    "distal tibia": "DistalTibia",
    **{f"{part}{n}": f"{part.upper()}{n}Vertebra" for part, most in zip("ctl", (7, 12, 5), strict=True)
       for n in range(1, most + 1)},
}  # fmt: skip
"""What a structure is called, in small letters, without its side → pydicom's keyword."""
_ABNORMAL = {"neoplasm": "Neoplasm", "tumor": "Neoplasm", "tumour": "Neoplasm"}
_NUMBERED = {"metacarpal", "rib"}
"""The standard has one code for all of them; the number stays in the label."""
_SIDE_WORDS = {"left", "right", "l", "r"}


@dataclass(frozen=True)
class StructureCodes:
    """What a structure is, in codes.

    Attributes:
        category: Anatomical structure, abnormal structure, or tissue where nothing is known.
        kind: The structure itself.
        side: Left or right; None where that is no part of it.
    """

    category: Code
    kind: Code
    side: Code | None


def codes_of(structure: Structure) -> StructureCodes:
    """A structure's codes, by its name and side."""
    from pydicom.sr.codedict import codes

    side = {"left": codes.SCT.Left, "right": codes.SCT.Right}.get(structure.side or "")
    plain = _plain(structure)
    if plain in _WHOLE:
        return StructureCodes(codes.SCT.AnatomicalStructure, getattr(codes.SCT, _WHOLE[plain]), side)
    if plain in _ABNORMAL:
        return StructureCodes(codes.SCT.MorphologicallyAbnormalStructure, getattr(codes.SCT, _ABNORMAL[plain]), side)
    return StructureCodes(codes.SCT.Tissue, local_code(structure.name), side)


def _plain(structure: Structure) -> str:
    """The name as `_WHOLE` has it."""
    words = re.findall(r"[a-z]+\d*|\d+", structure.name.lower())
    if structure.side:
        words = [word for word in words if word not in _SIDE_WORDS]
    if len(words) == 2 and words[0] in ("vertebra", "vertebrae"):
        return words[1] if re.fullmatch(r"[ctl]\d+", words[1]) else " ".join(words)
    if len(words) == 2 and words[0] in _NUMBERED and words[1].isdecimal():
        return words[0]
    return " ".join(words)


def local_code(name: str, meaning: str = "") -> Code:
    """A code of our own: the same for the same name, at most 16 characters as DICOM has it.

    Args:
        name: What the code follows from.
        meaning: In words; empty: the name.
    """
    from pydicom.sr.coding import Code

    digest = hashlib.sha256(name.encode(errors="replace")).hexdigest()[:12].upper()
    return Code(f"OST-{digest}", SCHEME, re.sub(r"[\\\x00-\x1f\x7f]+", " ", meaning or name)[:_LONGEST_MEANING])
