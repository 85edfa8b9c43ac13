"""A trained model, and its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from osteon.core.errors import UsageError
from osteon.core.labels import Segmentation
from osteon.core.volume import Volume
from osteon.formats.io import read_volume
from osteon.plan.schema import Plan
from osteon.predicting.cascade import label_channels
from osteon.predicting.confidence import Calibration, raw_confidence
from osteon.predicting.engines import Engine, EngineKind
from osteon.predicting.level_assignment import Levels
from osteon.predicting.level_trust import LevelTrust
from osteon.predicting.pieces import number_pieces
from osteon.predicting.postprocessing import NONE, Postprocessing, apply_postprocessing, read_postprocessing
from osteon.predicting.prepared_scan import PreparedScan, check_scan, prepare_scan
from osteon.predicting.probabilities import Probabilities, collect
from osteon.predicting.reference_statistics import ReferenceStatistics, measure_statistics
from osteon.predicting.region import has_small_structures
from osteon.predicting.restore import OutputSink, restore_outputs, restore_scan
from osteon.predicting.review import TrainingFacts, reasons_to_review, reasons_to_review_levels, removed_structures
from osteon.predicting.sequence import decode_outputs
from osteon.predicting.speed import BALANCED, SpeedPreset
from osteon.predicting.tiles import predict_batch, stream_probabilities, whole_size
from osteon.predicting.training_cases import UNKNOWN, SeenScans
from osteon.predicting.zoom import refine_structures
from osteon.preparing.nonzero import pad_to_grid
from osteon.preparing.strategies import grid_strategy


@dataclass(frozen=True)
class Prediction:
    """A model's result for a scan.

    Attributes:
        segmentation: On the scan's own grid and orientation.
        raw: The soft Dice confidence of each structure; None for one that was not found.
        confidence: The expected Dice of each, by the model's calibration; the raw figure where it has none.
        reasons: Why a person should look at it; empty where nothing stands out.
        calibrated: Whether the model has a calibration.
        levels: How the bodies of the plan's sequence were named; None: it has none, or they could not be.
    """

    segmentation: Segmentation
    raw: dict[str, float | None]
    confidence: dict[str, float | None]
    reasons: list[str]
    calibrated: bool = True
    levels: Levels | None = None


@dataclass(frozen=True)
class Model:
    """A model that can predict.

    Attributes:
        network: The weights, in eval mode.
        plan: How scans are prepared and what the outputs mean.
        validation: validation.json.
        sha256: Of the weights' file; names the model in records of predictions.
        postprocessing: What follows a prediction.
        reference: Statistics of the training scans.
        quantised: File of the network in 8-bit integers, where it was made.
        first: The model whose labels this one sees beside the image (a cascade).
        seen: The scans that it was trained and validated on.
    """

    network: torch.nn.Module
    plan: Plan
    validation: dict[str, Any]
    sha256: str
    postprocessing: Postprocessing = NONE
    reference: Sequence[ReferenceStatistics] = ()
    quantised: Path | None = None
    first: Model | None = None
    seen: SeenScans = UNKNOWN

    def predict(self, scan: Path | str | Volume, *, name: str = "", speed: SpeedPreset = BALANCED) -> Segmentation:
        """Segment one scan, on its own grid and orientation; arguments and errors are those of `examine`."""
        return self.examine(scan, name=name, speed=speed).segmentation

    def examine(
        self,
        scan: Path | str | Volume,
        *,
        name: str = "",
        speed: SpeedPreset = BALANCED,
        first_level: str | None = None,
    ) -> Prediction:
        """Segment one scan, with confidences.

        Args:
            scan: A file, or a Volume with the channels of the plan.
            name: The scan's, for messages; the path of a file.
            speed: How densely patches lie, and whether mirror images are averaged.
            first_level: As for `infer`.

        Raises:
            FileError: The file cannot be read.
            ImageError: The image holds NaN or Inf, or nothing.
            DatasetError: The number of channels is not the plan's.
            GeometryError: The scan is in pixels and the plan in millimetres, or the other way round.
        """
        name = name or ("the volume" if isinstance(scan, Volume) else str(scan))
        volume = scan if isinstance(scan, Volume) else read_volume(Path(scan))
        self.check(volume, name)
        return self.segment(volume, speed=speed, first_level=first_level)

    def check(self, volume: Volume, name: str) -> None:
        """Raise as `examine` where the model cannot take a volume, and UsageError where it answers clicks alone."""
        if self.plan.clicks is not None:
            raise UsageError(
                "this model answers clicks, and finds nothing by itself",
                hint="use it on the app's drawing page or with osteon.ClickSession; predict with another model",
            )
        check_scan(volume, self.plan, name)

    @property
    def calibration(self) -> Calibration:
        """From raw confidences to expected Dice."""
        return Calibration.model_validate(self.validation.get("confidence") or {})

    @property
    def level_trust(self) -> LevelTrust:
        """How much of what the network says of a sequence's bodies is believed, by validation."""
        return LevelTrust.model_validate(self.validation.get("levels", {}))

    @property
    def engine(self) -> str:
        """What runs the network."""
        return self.network.kind.name if isinstance(self.network, Engine) else "torch"

    def with_engine(self, kind: EngineKind) -> Model:
        """The model with its own network, and that of the first in a cascade, run by another engine."""
        first = None if self.first is None else self.first.with_engine(kind)
        return replace(self, network=Engine(self.network, kind, self.quantised), first=first)

    def with_postprocessing(self, source: str | Path) -> Model:
        """The model with other post-processing: `auto` its own, `none`, or a file's.

        Raises:
            FileError: The file is missing or damaged.
            PlanError: It makes no sense.
            UsageError: It names a structure that the model does not have.
        """
        if source == "auto":
            return self
        steps = NONE if source == "none" else read_postprocessing(Path(source), self.plan.structures)
        return replace(self, postprocessing=steps)

    def segment(self, volume: Volume, *, speed: SpeedPreset = BALANCED, first_level: str | None = None) -> Prediction:
        """As `examine`, for a volume that has been checked."""
        prepared = self.prepare(volume)
        return self.postprocess(prepared, self.infer(prepared, speed=speed, first_level=first_level), speed=speed)

    def prepare(self, volume: Volume) -> PreparedScan:
        """A scan on the plan's grid, and on that of the first model of a cascade."""
        return prepare_scan(volume, self.plan, None if self.first is None else self.first.prepare(volume))

    def infer(
        self,
        prepared: PreparedScan,
        *,
        speed: SpeedPreset = BALANCED,
        folder: Path | None = None,
        first_level: str | None = None,
    ) -> Probabilities:
        """The network's probabilities, with the names of a sequence in order.

        Args:
            prepared: The scan.
            speed: How densely patches lie, and whether mirror images are averaged.
            folder: Where probabilities go into a file; None keeps them in memory.
            first_level: The name of the sequence's first body, of vertebrae the uppermost, where a person knows it.
        """
        image = self.network_input(prepared, speed=speed, folder=folder)
        region = speed.region and has_small_structures(self.reference)
        slabs = stream_probabilities(self.network, image, self.plan, speed=speed, region=region)
        probabilities = collect(slabs, image.shape[1:], self.plan, folder=folder)
        return decode_outputs(probabilities, self.plan, first=first_level, trust=self.level_trust)

    def network_input(
        self, prepared: PreparedScan, *, speed: SpeedPreset = BALANCED, folder: Path | None = None
    ) -> torch.Tensor:
        """The scan's channels `[channel, i, j, k]`, and in a cascade those of the first model's labels; see `infer`."""
        image = torch.from_numpy(prepared.image)
        if self.first is None or prepared.first is None:
            return image
        found = self.first.infer(prepared.first, speed=speed, folder=folder)
        labels = restore_scan(prepared.first, found, self.first.plan)
        labels = labels if prepared.part is None else labels.crop(prepared.part[1])
        return torch.cat((image, label_channels(labels, self.plan)))

    def batch_key(self, prepared: PreparedScan) -> tuple[int, ...] | None:
        """Scans of one key, other than None, can go into one batch."""
        return None if self.first is not None else whole_size(prepared.image.shape[1:], self.plan)

    def infer_batch(self, prepared: Sequence[PreparedScan], *, speed: SpeedPreset = BALANCED) -> list[Probabilities]:
        """As `infer`, of several small scans of one `batch_key`, in one pass of the network."""
        images = [torch.from_numpy(one.image) for one in prepared]
        slabs = predict_batch(self.network, images, self.plan, speed=speed)
        whole = [collect([slab], image.shape[1:], self.plan) for slab, image in zip(slabs, images, strict=True)]
        return [decode_outputs(each, self.plan, trust=self.level_trust) for each in whole]

    def postprocess(
        self,
        prepared: PreparedScan,
        probabilities: Probabilities,
        *,
        speed: SpeedPreset = BALANCED,
        sink: OutputSink | None = None,
    ) -> Prediction:
        """The prediction that follows from probabilities: assessed, refined, restored, post-processed.

        Args:
            prepared: The scan.
            probabilities: Of the network.
            speed: As for `predict_probabilities`, in the second look around the zoom structures.
            sink: Is given each output's probabilities on the scan's own grid.
        """
        plan, calibration = self.plan, self.calibration
        labels = probabilities.labels(plan)
        raw = raw_confidence(probabilities, labels, plan)
        expected = {name: None if r is None else round(calibration.expected(r), 4) for name, r in raw.items()}
        scan = grid_strategy(plan).transform(prepared.geometry).reoriented
        statistics = measure_statistics(prepared.image, labels, plan, scan.spacing_mm, scan.extent_mm)
        facts = TrainingFacts(self.reference, self.validation.get("structures", {}), calibration.is_known)
        reasons = reasons_to_review_levels(probabilities.levels)
        reasons += reasons_to_review(statistics, expected, plan, facts)
        del labels
        crops = refine_structures(self.network, prepared, probabilities.values, plan, speed=speed)
        if sink is not None:
            outside = 0.0 if plan.overlapping else 1.0
            for output in restore_outputs(probabilities, prepared.geometry, plan, crops):
                sink(output if prepared.part is None else pad_to_grid(output, *prepared.part, outside))
                outside = 0.0
                del output  # before there is another one; enumerate would keep it
        segmentation = restore_scan(prepared, probabilities, plan, crops)
        segmentation = number_pieces(segmentation, probabilities.pieces, plan)
        segmentation = apply_postprocessing(segmentation, self.postprocessing)
        if self.postprocessing.steps:
            reasons += removed_structures([name for name, figure in raw.items() if figure is not None], segmentation)
        return Prediction(segmentation, raw, expected, reasons, calibration.is_known, probabilities.levels)
