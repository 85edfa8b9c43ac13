"""Ranges of grey by name, for each modality."""

from __future__ import annotations

from typing import Any

CT_WINDOWS = (
    ("Bone", -500.0, 1300.0),
    ("Soft tissue", -150.0, 250.0),
    ("Metal", -500.0, 3000.0),
    ("Lung", -1350.0, 150.0),
)
"""Hounsfield units: widths 1800, 400, 3500 and 1500, as radiology departments have them."""


def window_presets(info: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Names and ranges that make sense for a scene, the one that is shown first in front."""
    low, high = info["window"]
    lowest, highest = info["range"]
    if info["modality"] == "ct":
        return list(CT_WINDOWS)
    middle = (low + high) / 2
    name = "MR" if info["modality"] == "mr" else "Usual"
    return [
        (name, low, high),
        (f"{name}, brighter", low, max(middle, low + 1e-6)),
        (f"{name}, darker", low, min(highest, high + (high - low)) if highest > high else high * 1.5),
        ("Everything", lowest, highest),
    ]
