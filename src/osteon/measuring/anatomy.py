"""Which bone a structure is, by its name: words of people, TotalSegmentator and FMA, with the side taken away."""

from __future__ import annotations

import re
from typing import Literal

from osteon.core.labels import Structure, side_of

KINDS: dict[str, tuple[str, ...]] = {
    "femur": ("femur", "femora", "thighbone", "thigh bone"),
    "tibia": ("tibia", "shinbone", "shin bone"),
    "fibula": ("fibula",),
    "tumour": ("tumour", "tumor", "lesion", "gtv", "metastasis", "metastases", "mass", "nodule", "cancer", "sarcoma"),
}
"""Kind of a structure → words that its name holds."""
_NOT = ("cartilage", "meniscus", "marrow", "artery", "vein", "nerve", "muscle", "ligament")
"""Words that make another structure of a bone's name."""
_WORD = re.compile(r"[^\W\d_]+")


def kind_of(structure: Structure) -> str | None:
    """`femur`, `tibia` …, or None: a body that nothing more is known of."""
    words = " ".join(_WORD.findall(structure.name.lower()))
    if any(word in words for word in _NOT):
        return None
    for kind, names in KINDS.items():
        if any(re.search(rf"\b{name}\b", words) for name in names):
            return kind
    return None


def side_of_structure(structure: Structure) -> Literal["left", "right"] | None:
    """`left` or `right`: what the dataset says, else what the name does."""
    return structure.side or side_of(structure.name)[0]
