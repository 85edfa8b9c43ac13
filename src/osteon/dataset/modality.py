"""Modalities of channels: what people call them, and what their names tell."""

from __future__ import annotations

from typing import Literal, get_args

from osteon.core.errors import UsageError

Modality = Literal["ct", "mr", "xray", "other"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
_WORDS: dict[Modality, tuple[str, ...]] = {
    "ct": ("ct", "cbct", "hu", "computed tomography"),
    "mr": ("mr", "mri", "t1", "t1w", "t1gd", "t1ce", "t1c", "t2", "t2w", "flair", "adc", "dwi", "pd", "dess"),
    "xray": ("xray", "x-ray", "radiograph", "cr", "dx", "dr"),
}


def parse_modality(text: str | None) -> Modality | None:
    """`--modality` as a modality, capitals or not. Raises UsageError for another word."""
    found = next((modality for modality in MODALITIES if text is not None and text.lower() == modality), None)
    if text is not None and found is None:
        raise UsageError(f"--modality {text}: not a modality", hint=f"use one of {', '.join(MODALITIES)}")
    return found


def modality_of(name: str) -> Modality:
    """The modality that a channel's name tells (`MRI`, `T2w`, `CT`); `other` where it tells none."""
    lowered = name.strip().lower()
    return next((modality for modality, words in _WORDS.items() if lowered in words), "other")
