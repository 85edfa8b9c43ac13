"""The Medical Segmentation Decathlon's description of a folder (Antonelli et al., Nat Commun 13, 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from osteon.core.labels import Structure


def make_description(
    name: str,
    description: str,
    structures: Sequence[Structure],
    training: Sequence[dict[str, str]],
    test: Sequence[str] = (),
) -> dict[str, Any]:
    """What stands in dataset.json for CTs; `training` and `test` are its entries."""
    return {
        "name": name,
        "description": description,
        "reference": "osteon.phantoms",
        "licence": "CC0-1.0",
        "release": "1.0",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "labels": {"0": "background", **{str(s.value): s.name for s in structures}},
        "numTraining": len(training),
        "numTest": len(test),
        "training": list(training),
        "test": list(test),
    }
