"""Modalities of channels: what people call them, and what their names tell."""

from __future__ import annotations

from osteon.core.errors import UsageError
from osteon.dataset.manifest import Modality

MODALITIES: tuple[Modality, ...] = ("ct", "mr", "xray", "other")
_WORDS: dict[Modality, tuple[str, ...]] = {
    "ct": ("ct", "cbct", "hu", "computed tomography"),
    "mr": ("mr", "mri", "t1", "t1w", "t1gd", "t1ce", "t1c", "t2", "t2w", "flair", "adc", "dwi", "pd", "dess"),
    "xray": ("xray", "x-ray", "radiograph", "cr", "dx", "dr"),
}


def parse_modality(text: str | None) -> Modality | None:
    """`--modality` as a modality. Raises UsageError for another word."""
    for modality in MODALITIES:
        if text is not None and text.lower() == modality:
            return modality
    if text is None:
        return None
    raise UsageError(f"--modality {text}: not a modality", hint=f"use one of {', '.join(MODALITIES)}")


def modality_of(name: str) -> Modality:
    """The modality that a channel's name tells (`MRI`, `T2w`, `CT`); `other` where it tells none."""
    lowered = name.strip().lower()
    return next((modality for modality, words in _WORDS.items() if lowered in words), "other")
