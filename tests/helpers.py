"""Tiny plans and datasets whose contents are known."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure, make_structures
from osteon.core.volume import Volume
from osteon.dataset.checks import content_hash
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case, Channel, Manifest, write_manifest
from osteon.formats import read_segmentation, write_segmentation, write_volume
from osteon.plan.schema import Plan, parse_plan

PLAN: dict[str, Any] = {
    "dataset": "tiny",
    "channels": [{"name": "ct", "modality": "ct"}],
    "structures": [
        {"name": "femur", "value": 3, "colour": "#ff0000"},
        {"name": "tibia", "value": 5, "colour": "#00ff00"},
    ],
    "overlapping": False,
    "grid": {"dimensions": 3, "spacing_mm": [1.0, 1.0, 1.0]},
    "intensities": [{"channel": "ct", "clip": [-100.0, 300.0], "mean": 100.0, "std": 50.0}],
    "patch": {"size": [8, 8, 8], "batch": 2},
    "network": {
        "features": [4, 6],
        "strides": [[1, 1, 1], [2, 2, 2]],
        "kernels": [[3, 3, 3], [3, 3, 3]],
        "deep_supervision": 1,
    },
    "training": {
        "recipe": "osteon",
        "optimiser": "adamw",
        "learning_rate": 0.003,
        "weight_decay": 0.01,
        "schedule": "cosine",
        "clip_gradient": 2.0,
        "foreground_share": 0.5,
        "epoch_iterations": 2,
        "epochs": 2,
    },
    "augmentation": {"affine_p": 0.0, "rotate_degrees": [0.0, 0.0, 0.0], "scale": [1.0, 1.0]},
}
SIDES = [
    {"name": "femur_left", "value": 1, "colour": "#ff0000", "side": "left", "counterpart": "femur_right"},
    {"name": "pelvis", "value": 2, "colour": "#0000ff"},
    {"name": "femur_right", "value": 4, "colour": "#00ff00", "side": "right", "counterpart": "femur_left"},
]
FLAT: dict[str, Any] = {
    "grid.dimensions": 2,
    "grid.resample_last": False,
    "patch.size": [8, 8, 1],
    "network.strides": [[1, 1, 1], [2, 2, 1]],
    "network.kernels": [[3, 3, 1], [3, 3, 1]],
}


def plan_data(changes: dict[str, Any] | None = None, base: dict[str, Any] = PLAN) -> dict[str, Any]:
    """The tiny plan as YAML gives it, with `{"section.key": value}` put in."""
    data = copy.deepcopy(base)
    for key, value in (changes or {}).items():
        place: Any = data
        *way, last = [int(part) if part.isdigit() else part for part in key.split(".")]
        for part in way:
            place = place[part]
        place[last] = value
    return data


def tiny_plan(changes: dict[str, Any] | None = None) -> Plan:
    return parse_plan(plan_data(changes), Path("plan.yaml"))


def box(shape: Sequence[int], *boxes: tuple[int, Sequence[slice]]) -> np.ndarray:
    """An index map with `value` in each box."""
    labels = np.zeros(shape, dtype=np.uint8)
    for value, where in boxes:
        labels[tuple(where)] = value
    return labels


def spacing_affine(*spacing_mm: float, origin: Sequence[float] = (0, 0, 0)) -> np.ndarray:
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = origin
    return affine


def resampled_geometry(geometry: Geometry, shape: tuple[int, int, int]) -> Geometry:
    """The grid of `shape` voxels over the same extent of the world, edge to edge."""
    step = np.array(geometry.shape) / np.array(shape)
    affine = geometry.affine_ras.copy()
    affine[:3, :3] = geometry.affine_ras[:3, :3] * step
    affine[:3, 3] = geometry.affine_ras[:3, 3] + geometry.affine_ras[:3, :3] @ ((step - 1) / 2)
    return Geometry(shape, affine, geometry.unit)


def to_index(geometry: Geometry, world: np.ndarray) -> np.ndarray:
    """Fractional voxel indices `[n, 3]` of world positions `[n, 3]`."""
    inverse = np.linalg.inv(geometry.affine_ras)
    return world @ inverse[:3, :3].T + inverse[:3, 3]


def write_dataset(
    folder: Path,
    cases: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    structures: Sequence[Structure] = make_structures(["femur", "tibia"], [3, 5]),
    *,
    modality: str = "ct",
    overlapping: bool = False,
    annotated: dict[str, list[str]] | None = None,
    unit: str = "mm",
) -> Dataset:
    """A dataset of cases `id: (image [i, j, k], labels, affine)`."""
    entries = []
    for name, (image, labels, affine) in cases.items():
        geometry = Geometry(image.shape, affine, unit)  # type: ignore[arg-type]
        kind = "seg.nrrd" if overlapping else "nii.gz"
        write_volume(folder / f"images/{name}.nii.gz", Volume(image[None], geometry))
        write_segmentation(folder / f"labels/{name}.{kind}", Segmentation(labels, geometry, tuple(structures)))
        entries.append(
            Case(
                id=name,
                images=[f"images/{name}.nii.gz"],
                segmentation=f"labels/{name}.{kind}",
                annotated=(annotated or {}).get(name),
            )
        )
    manifest = Manifest(
        name="tiny",
        channels=[Channel(name="ct", modality=modality)],  # type: ignore[arg-type]
        structures=list(structures),
        overlapping=overlapping,
        cases=entries,
    )
    write_manifest(folder, manifest)
    return Dataset.open(folder)


def two_boxes(
    shape: tuple[int, int, int] = (12, 10, 8),
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    seed: int = 0,
    values: tuple[int, int] = (3, 5),
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image of noise with two brighter boxes, one beyond the other along i; its labels; its affine."""
    i, j, k = shape
    first = (slice(1, i // 2 - 1), slice(2, j - 2), slice(1, k - 1))
    second = (slice(i // 2 + 1, i - 1), slice(2, j - 2), slice(1, k - 1))
    labels = box(shape, (values[0], first), (values[1], second))
    noise = np.random.default_rng(seed).normal(0, 10, shape)
    image = (noise + 100 * (labels == values[0]) + 200 * (labels == values[1])).astype(np.int16)
    return image, labels, spacing_affine(*spacing_mm, origin=(-5, 7, 30))


def add_hashes(dataset: Dataset) -> Dataset:
    """The dataset with each image's hash, as an import writes it."""
    cases = [
        case.model_copy(update={"content": content_hash(dataset.load_image(case))}) for case in dataset.manifest.cases
    ]
    write_manifest(dataset.folder, dataset.manifest.model_copy(update={"cases": cases}))
    return Dataset.open(dataset.folder)


def correct_in_place(path: Path, labels: np.ndarray) -> None:
    """Write other labels into an unpacked NIfTI; size and time of writing stay what they were, as after `cp -p`."""
    facts = path.stat()
    segmentation = read_segmentation(path)
    write_segmentation(path, Segmentation(labels, segmentation.geometry, segmentation.structures))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)


def unpack_label(dataset: Dataset, case_id: str) -> tuple[Dataset, Path]:
    """The dataset with a case's label as an unpacked NIfTI, and that file."""
    case = dataset.case(case_id)
    path = dataset.folder / f"labels/{case_id}.nii"
    write_segmentation(path, dataset.load_segmentation(case))
    entry = case.model_copy(update={"segmentation": f"labels/{case_id}.nii"})
    cases = [entry if other.id == case_id else other for other in dataset.manifest.cases]
    write_manifest(dataset.folder, dataset.manifest.model_copy(update={"cases": cases}))
    return Dataset.open(dataset.folder), path


class Pointwise(nn.Module):
    """A network whose answer at a voxel depends on that voxel alone."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(outputs, channels, generator=generator))
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        self.shapes.append(tuple(image.shape))
        return [torch.einsum("oc,bcijk->boijk", self.weight, image)]


def use_hub(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask this server for models and weights, as HF_ENDPOINT has a process do that starts."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
