"""The words of descriptions that say what an image is: all others may be somebody's name."""

from __future__ import annotations

import re
from collections.abc import Callable

_LINES = (
    "ct mr mri pet xa cr dx dr nm cbct mammography scan series images study survey localizer localiser scout topogram",
    "axial ax transversal transverse tra coronal cor sagittal sag oblique obl ap pa lat lateral left right li re l r",
    "both sides sideways standing supine prone flexion extension frog dorsal volar plantar palmar frontal",
    "head skull brain face orbit sinus temporal bone bones jaw mandible maxilla neck spine cervical thoracic lumbar",
    "sacral sacrum whole column c-spine t-spine l-spine cspine tspine lspine hws bws lws chest thorax lung rib ribs",
    "sternum clavicle scapula shoulder humerus upper arm elbow forearm radius ulna wrist carpus hand finger fingers",
    "thumb abdomen pelvis pelvic hip hips femur femoral thigh knee knees patella tibia fibula lower leg legs ankle",
    "foot feet heel calcaneus tarsus metatarsal toe limb extremity extremities body total",
    "schulter ellenbogen handgelenk hüfte becken knie sprunggelenk fuss fuß bein arm kopf hals wirbelsäule knochen",
    "t1 t2 t1w t2w pd pdw tse fse se ge gre ir tirm stir flair dwi adc swi mprage space vibe flash dixon mdixon dess",
    "fiesta medic trufisp haste fs fatsat spair spir water fat in opp phase map b0 b50 b100 b400 b500 b800 b1000 tof",
    "2d 3d 4d iso isotropic thin thick slab mip mpr recon reformat reformatted vrt std standard soft sharp tissue",
    "weichteil knochenkern kernel lung-window window dose low high resolution hr hrct native nativ contrast gd km pre",
    "post plain arterial venous portal delayed late early dynamic phase1 phase2 with without segmentation measurements",
)
_WORDS = frozenset(word for line in _LINES for word in line.split())
_SHAPES = re.compile(r"\d{1,2}([.,]\d{1,2})?mm|[bhiju][efrvl]?\d{2}[a-z]?|[ctls]\d{1,2}")
"""Thicknesses, kernels (B60f, Br40, H31s) and vertebrae."""


def keep_known_words(text: str, is_free: Callable[[str], bool]) -> str:
    """A description's words that are known here, in their order.

    Args:
        text: The description.
        is_free: Whether a word is none of the patient's own: a name may be a bone's, too.
    """
    words = re.split(r"[\s_,;:/()\[\]\\+*]+", text)
    return " ".join(word for word in words if _is_known(word.casefold()) and is_free(word))


def _is_known(word: str) -> bool:
    return word in _WORDS or _SHAPES.fullmatch(word) is not None or bool(_parts(word))


def _parts(word: str) -> bool:
    """Whether it is known words with hyphens between."""
    parts = word.split("-")
    return len(parts) > 1 and all(part in _WORDS or _SHAPES.fullmatch(part) for part in parts)
