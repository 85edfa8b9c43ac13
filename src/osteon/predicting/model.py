"""A trained model: a folder of plain files, and what it says of a scan."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from osteon.core.errors import DatasetError, GeometryError, ModelError
from osteon.core.files import read_json, write_json, write_text
from osteon.core.labels import Segmentation
from osteon.core.volume import Volume
from osteon.dataset.checks import check_image
from osteon.formats.registry import read_volume
from osteon.networks.registry import build_network
from osteon.networks.weights import save_tensors
from osteon.planning.plan import FILE_NAME as PLAN
from osteon.planning.plan import Plan, read_plan, write_plan
from osteon.predicting.restore import Keep, restore
from osteon.predicting.series import name_series
from osteon.predicting.tiles import probabilities
from osteon.predicting.zoom import closer_looks
from osteon.preparing.case import prepare_with_intensities

WEIGHTS = "weights.safetensors"
VALIDATION = "validation.json"


@dataclass(frozen=True)
class Model:
    """A model that can predict.

    Attributes:
        network: The weights, in eval mode.
        plan: How scans are prepared and what the outputs mean.
        validation: What validation said of it.
        sha256: Of the weights' file; names the model in records of predictions.
    """

    network: torch.nn.Module
    plan: Plan
    validation: dict[str, Any]
    sha256: str

    def predict(
        self, scan: Path | str | Volume, *, name: str = "", mirror: bool = False, keep: Keep | None = None
    ) -> Segmentation:
        """Segment one scan, on its own grid and orientation.

        Args:
            scan: A file, or a Volume with the channels of the plan.
            name: What messages call it; the path of a file.
            mirror: Average over mirror images (slower; the plan says which are allowed).
            keep: Is given each output's probabilities on the scan's own grid, one after the other.

        Raises:
            FileError: The file cannot be read.
            ImageError: The image holds NaN or Inf, or nothing.
            DatasetError: The number of channels is not the plan's.
            GeometryError: The scan is in pixels and the plan in millimetres, or the other way round.
        """
        name = name or ("the volume" if isinstance(scan, Volume) else str(scan))
        volume = scan if isinstance(scan, Volume) else read_volume(Path(scan))
        if len(volume.array) != len(self.plan.channels):
            names = ", ".join(channel.name for channel in self.plan.channels)
            raise DatasetError(
                f"{name}: has {len(volume.array)} channels; the model needs {len(self.plan.channels)} ({names})",
                hint="give one file that holds all channels, or a dataset whose dataset.yaml lists them",
            )
        if volume.geometry.unit != self.plan.unit:
            raise GeometryError(
                f"{name}: its voxels are measured in {volume.geometry.unit}, the model's in {self.plan.unit}",
                hint="give a file whose header has the pixel spacing, or one without, as the training's had",
            )
        check_image(volume, name)
        return self.segment(volume, mirror=mirror, keep=keep)

    def segment(self, volume: Volume, *, mirror: bool = False, keep: Keep | None = None) -> Segmentation:
        """As `predict`, for a volume that has been checked: on the plan's grid, then more closely where it asks so."""
        plan, zoom = self.plan, self.plan.zoom
        image, intensities = prepare_with_intensities(volume, plan)
        shares = name_series(probabilities(self.network, torch.from_numpy(image), plan, mirror=mirror), plan)
        details = []
        if zoom is not None and zoom.predict:
            details = closer_looks(self.network, volume, shares, plan, zoom, intensities, mirror=mirror)
        return restore(shares, volume.geometry, plan, details, keep)


def save_model(folder: Path, network: torch.nn.Module, plan: Plan, validation: dict[str, Any], card: str) -> None:
    """Write a model folder; the weights last, so that a folder with weights is complete."""
    write_plan(folder / PLAN, plan)
    write_json(folder / VALIDATION, validation)
    write_text(folder / "card.md", card)
    save_tensors(folder / WEIGHTS, network.state_dict())


def load_model(folder: Path | str, *, device: str = "cpu") -> Model:
    """Load a model folder. No file in it can run code.

    Raises:
        ModelError: The folder lacks a file, or the weights are damaged or not those of the plan.
        PlanError: Its plan makes no sense.
    """
    folder = Path(folder)
    inner = folder / "model"
    if not (folder / WEIGHTS).is_file() and (inner / WEIGHTS).is_file():
        folder = inner
    missing = [name for name in (WEIGHTS, PLAN, VALIDATION) if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"{folder}: not a whole model folder: {', '.join(missing)} missing",
            hint="give the folder `model` of a finished run; copy it whole",
        )
    plan = read_plan(folder / PLAN)
    network = build_network(plan)
    path = folder / WEIGHTS
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"{path}: the weights are damaged, or not those of the plan beside them ({reason})",
            hint="copy the model folder again, whole",
        ) from error
    network.to(device).eval()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Model(network, plan, read_json(folder / VALIDATION, "the model's validation"), digest)
