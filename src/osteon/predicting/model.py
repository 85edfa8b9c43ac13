"""A trained model: a folder of plain files, and what it says of a scan."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError

from osteon.core.boxes import Box
from osteon.core.errors import DatasetError, GeometryError, ModelError, in_short
from osteon.core.files import write_json, write_text
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation
from osteon.core.volume import Volume
from osteon.dataset.checks import check_image
from osteon.formats.registry import read_volume
from osteon.networks.ensemble import Ensemble, members_in
from osteon.networks.registry import build_network, outputs
from osteon.networks.weights import load_checked, save_tensors
from osteon.plan.schema import FILE_NAME as PLAN
from osteon.plan.schema import Intensity, NnUNet, Plan, read_plan, write_plan
from osteon.predicting.cascade import label_channels
from osteon.predicting.confidence import Calibration, calibration_from, raw_confidence
from osteon.predicting.engines import Engine, Kind
from osteon.predicting.postprocessing import FILE_NAME as POSTPROCESSING
from osteon.predicting.postprocessing import (
    NONE,
    Postprocessing,
    postprocess,
    read_postprocessing,
    write_postprocessing,
)
from osteon.predicting.probabilities import Shares, collect
from osteon.predicting.quantised import quantised_file
from osteon.predicting.records import FIRST, VALIDATION, WEIGHTS, read_validation
from osteon.predicting.reference_statistics import FILE_NAME as REFERENCE
from osteon.predicting.reference_statistics import Looks, looks_of, read_reference, write_reference
from osteon.predicting.region import fills_little
from osteon.predicting.restore import Keep, restore, restored_outputs
from osteon.predicting.review import Facts, reasons_to_review, removed
from osteon.predicting.sequence import name_series
from osteon.predicting.speed import BALANCED, Speed
from osteon.predicting.tiles import Slab, look_together, stream, whole_size
from osteon.predicting.training_cases import UNKNOWN, SeenScans, seen_by
from osteon.predicting.zoom import Detail, closer_looks
from osteon.preparing.case import passage, prepare_with_intensities
from osteon.preparing.nonzero import nonzero_box, uncropped, within


@dataclass(frozen=True)
class Prediction:
    """What a model says of a scan.

    Attributes:
        segmentation: On the scan's own grid and orientation.
        raw: The soft Dice confidence of each structure; None for one that was not found.
        confidence: The Dice to be expected of each, by the model's calibration; the raw figure where it has none.
        reasons: Why a person should look at it; empty where nothing stands out.
        calibrated: Whether the model has a calibration.
    """

    segmentation: Segmentation
    raw: dict[str, float | None]
    confidence: dict[str, float | None]
    reasons: list[str]
    calibrated: bool = True


@dataclass(frozen=True)
class Prepared:
    """A scan that a network can look at.

    Attributes:
        image: `[channel, i, j, k]` float32 on the plan's grid, normalised.
        intensities: How; see `preparing.case.prepare_with_intensities`.
        geometry: The scan's own, or that of the part of it which was prepared.
        scan: The scan itself, where the plan asks for a closer look.
        part: The whole scan's grid, and the box of it that was prepared; None: all of it.
        first: The scan as the first model of a cascade needs it.
    """

    image: npt.NDArray[np.float32]
    intensities: list[Intensity]
    geometry: Geometry
    scan: Volume | None
    part: tuple[Geometry, Box] | None = None
    first: Prepared | None = None

    @property
    def whole(self) -> Geometry:
        """The scan's own grid."""
        return self.geometry if self.part is None else self.part[0]


@dataclass(frozen=True)
class Model:
    """A model that can predict.

    Attributes:
        network: The weights, in eval mode.
        plan: How scans are prepared and what the outputs mean.
        validation: What validation said of it.
        sha256: Of the weights' file; names the model in records of predictions.
        postprocessing: What follows a prediction.
        reference: What the training scans look like.
        quantised: File of the network in 8-bit integers, where it was made.
        first: The model whose labels this one sees beside the image (a cascade).
        seen: The scans that it was trained and validated on.
    """

    network: torch.nn.Module
    plan: Plan
    validation: dict[str, Any]
    sha256: str
    postprocessing: Postprocessing = NONE
    reference: Sequence[Looks] = ()
    quantised: Path | None = None
    first: Model | None = None
    seen: SeenScans = UNKNOWN

    def predict(self, scan: Path | str | Volume, *, name: str = "", speed: Speed = BALANCED) -> Segmentation:
        """Segment one scan, on its own grid and orientation; arguments and errors are those of `examine`."""
        return self.examine(scan, name=name, speed=speed).segmentation

    def examine(self, scan: Path | str | Volume, *, name: str = "", speed: Speed = BALANCED) -> Prediction:
        """Segment one scan, and say how sure that is.

        Args:
            scan: A file, or a Volume with the channels of the plan.
            name: What messages call it; the path of a file.
            speed: How densely it is looked at, and whether in mirror images, too.

        Raises:
            FileError: The file cannot be read.
            ImageError: The image holds NaN or Inf, or nothing.
            DatasetError: The number of channels is not the plan's.
            GeometryError: The scan is in pixels and the plan in millimetres, or the other way round.
        """
        name = name or ("the volume" if isinstance(scan, Volume) else str(scan))
        volume = scan if isinstance(scan, Volume) else read_volume(Path(scan))
        self.check(volume, name)
        return self.segment(volume, speed=speed)

    def check(self, volume: Volume, name: str) -> None:
        """Whether the model can look at a volume; raises as `examine`."""
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

    @property
    def calibration(self) -> Calibration:
        """From raw confidences to Dice to be expected."""
        return calibration_from(self.validation.get("confidence"))

    @property
    def engine(self) -> str:
        """What runs the network."""
        return self.network.kind.name if isinstance(self.network, Engine) else "torch"

    def with_engine(self, kind: Kind) -> Model:
        """The model with its own network, and that of the first in a cascade, run by another engine."""
        first = None if self.first is None else self.first.with_engine(kind)
        return replace(self, network=Engine(self.network, kind, self.quantised), first=first)

    def with_postprocessing(self, wanted: str | Path) -> Model:
        """The model with other post-processing: `auto` its own, `none`, or a file's.

        Raises:
            FileError: The file is missing or damaged.
            PlanError: It makes no sense.
            UsageError: It names a structure that the model does not have.
        """
        if wanted == "auto":
            return self
        steps = NONE if wanted == "none" else read_postprocessing(Path(wanted), self.plan.structures)
        return replace(self, postprocessing=steps)

    def segment(self, volume: Volume, *, speed: Speed = BALANCED) -> Prediction:
        """As `examine`, for a volume that has been checked."""
        prepared = self.prepare(volume)
        return self.conclude(prepared, self.infer(prepared, speed=speed), speed=speed)

    def prepare(self, volume: Volume) -> Prepared:
        """A scan on the plan's grid; of the scan itself only what a closer look needs is kept."""
        first = None if self.first is None else self.first.prepare(volume)
        part = None
        if self.plan.grid.nnunet is not None:
            part = (volume.geometry, nonzero_box(volume.array))
            volume = volume.crop(part[1])
        image, intensities = prepare_with_intensities(volume, self.plan)
        closely = self.plan.zoom is not None and self.plan.zoom.predict
        return Prepared(image, intensities, volume.geometry, volume if closely else None, part, first)

    def infer(self, prepared: Prepared, *, speed: Speed = BALANCED, folder: Path | None = None) -> Shares:
        """What the network says of it, with names in order.

        Args:
            prepared: The scan.
            speed: How densely it is looked at, and whether in mirror images, too.
            folder: Where probabilities go into a file; None keeps them in memory.
        """
        image = torch.from_numpy(prepared.image)
        if self.first is not None and prepared.first is not None:
            shares = self.first.infer(prepared.first, speed=speed, folder=folder)
            image = torch.cat((image, self._labels_before(self.first.restored(prepared.first, shares), prepared)))
        region = speed.region and fills_little(self.reference)
        slabs = stream(self.network, image, self.plan, speed=speed, region=region)
        return self.name_in_order(self._kept(slabs, prepared, folder))

    def alike(self, prepared: Prepared) -> tuple[int, ...] | None:
        """Scans of which this is the same, and not None, can be looked at together."""
        return None if self.first is not None else whole_size(prepared.image.shape[1:], self.plan)

    def infer_together(self, prepared: Sequence[Prepared], *, speed: Speed = BALANCED) -> list[Shares]:
        """As `infer`, of several small scans that are alike, in one pass of the network."""
        images = [torch.from_numpy(one.image) for one in prepared]
        slabs = look_together(self.network, images, self.plan, speed=speed)
        kept = (self._kept([slab], one, None) for slab, one in zip(slabs, prepared, strict=True))
        return [self.name_in_order(shares) for shares in kept]

    def _kept(self, slabs: Iterable[Slab], prepared: Prepared, folder: Path | None) -> Shares:
        return collect(slabs, outputs(self.plan), prepared.image.shape[1:], self.plan, folder=folder)

    def name_in_order(self, shares: Shares) -> Shares:
        """What was found without the plan's series, with it: changed in place; as it is where there is none."""
        if self.plan.sequence is None:
            return shares
        name_series(shares.values, self.plan)
        return shares.decided()

    def conclude(
        self, prepared: Prepared, shares: Shares, *, speed: Speed = BALANCED, keep: Keep | None = None
    ) -> Prediction:
        """The segmentation on the scan's own grid, looked at closely where the plan asks so, and how sure it is."""
        plan, zoom = self.plan, self.plan.zoom
        raw, confidence, reasons = self._judged(prepared, shares)
        details = []
        if zoom is not None and prepared.scan is not None:
            details = closer_looks(
                self.network, prepared.scan, shares.values, plan, zoom, prepared.intensities, speed=speed
            )
        if keep is not None:
            outside = 0.0 if plan.overlapping else 1.0
            for output in restored_outputs(shares, prepared.geometry, plan, details):
                keep(output if prepared.part is None else within(output, *prepared.part, outside))
                outside = 0.0
                del output  # before there is another one; enumerate would keep it
        segmentation = self.restored(prepared, shares, details)
        done = postprocess(segmentation, self.postprocessing)
        if self.postprocessing.steps:
            reasons += removed([name for name, figure in raw.items() if figure is not None], done)
        return Prediction(done, raw, confidence, reasons, self.calibration.is_known)

    def restored(self, prepared: Prepared, shares: Shares, details: Sequence[Detail] = ()) -> Segmentation:
        """The segmentation on the scan's own grid, as the network has it."""
        segmentation = restore(shares, prepared.geometry, self.plan, details)
        return segmentation if prepared.part is None else uncropped(segmentation, *prepared.part)

    def _labels_before(self, segmentation: Segmentation, prepared: Prepared) -> torch.Tensor:
        """What the first model found, as channels beside the prepared image."""
        if prepared.part is not None:
            segmentation = segmentation.crop(prepared.part[1])
        return label_channels(segmentation, self.plan)

    def _judged(
        self, prepared: Prepared, shares: Shares
    ) -> tuple[dict[str, float | None], dict[str, float | None], list[str]]:
        """Raw confidences, expected Dice, and reasons to look at it, all on the plan's grid."""
        found = shares.found(self.plan)
        raw = raw_confidence(shares, found, self.plan)
        calibration = self.calibration
        expected = {name: None if r is None else round(calibration.expected(r), 4) for name, r in raw.items()}
        turned = passage(prepared.geometry, self.plan.grid).turned
        looks = looks_of(prepared.image, found, self.plan, turned.spacing_mm, extent_mm(turned))
        facts = Facts(self.reference, self.validation.get("structures", {}), calibration.is_known)
        return raw, expected, reasons_to_review(looks, expected, self.plan, facts)


def extent_mm(geometry: Geometry) -> tuple[float, ...]:
    """How far a grid reaches along its axes, in mm (px)."""
    return tuple(n * s for n, s in zip(geometry.shape, geometry.spacing_mm, strict=True))


def save_model(folder: Path, model: Model, card: str) -> None:
    """Write a model folder; the weights last, so that a folder with weights is complete.

    The first model of a cascade has a folder of its own there: it is written by itself, before.
    """
    write_plan(folder / PLAN, model.plan)
    write_json(folder / VALIDATION, model.validation)
    write_postprocessing(folder / POSTPROCESSING, model.postprocessing)
    write_reference(folder / REFERENCE, list(model.reference))
    write_text(folder / "card.md", card)
    save_tensors(folder / WEIGHTS, model.network.state_dict())


def load_model(folder: Path | str, *, device: str = "cpu") -> Model:
    """Load a model folder. No file in it can run code.

    Raises:
        ModelError: The folder lacks a file, or the weights are damaged or not those of the plan.
        PlanError: Its plan makes no sense.
        FileError: A record in it (validation.json, reference.json, postprocessing.yaml) is damaged, or splits.yaml of
            its run.
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
    plan, validation = read_plan(folder / PLAN), read_validation(folder)
    path = folder / WEIGHTS
    try:
        state = load_checked(path)
        network = _network(plan, state)
        network.load_state_dict(state)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ModelError(
            f"{path}: the weights are damaged, or not those of the plan beside them ({in_short(error)})",
            hint="copy the model folder again, whole",
        ) from error
    network.to(device).eval()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    first = None
    if isinstance(plan.network, NnUNet) and plan.network.before:
        first = load_model(folder / FIRST, device=device)
        digest = hashlib.sha256((digest + first.sha256).encode()).hexdigest()
    steps, quantised = folder / POSTPROCESSING, quantised_file(folder, digest)
    return Model(
        network,
        plan,
        validation,
        digest,
        read_postprocessing(steps, plan.structures) if steps.is_file() else NONE,
        read_reference(folder / REFERENCE),
        quantised if quantised.is_file() else None,
        first,
        seen_by(folder, validation),
    )


def _network(plan: Plan, state: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """The network that a state dict is of: one of the plan's, or several of them as one."""
    count = members_in(state)
    return Ensemble([build_network(plan) for _ in range(count)]) if count else build_network(plan)


def model_folder(given: Path | str) -> Path:
    """A model's folder, given itself or the run that made it. Raises ModelError where there is none."""
    folder = Path(given)
    for place in (folder, folder / "model"):
        if (place / WEIGHTS).is_file():
            return place
    raise ModelError(
        f"{folder}: not a whole model folder: {WEIGHTS} missing",
        hint="give a finished run, or its folder `model`; an encoder's weights are given with --weights",
    )
