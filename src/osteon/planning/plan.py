"""plan.yaml: every decision that preparing, training and predicting take, with the reason beside it."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from osteon.core.errors import PlanError
from osteon.core.files import read_yaml, write_yaml
from osteon.core.labels import Structure
from osteon.dataset.manifest import Channel, explain

FILE_NAME = "plan.yaml"

Size = Annotated[int, Field(ge=1)]
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Half = Annotated[float, Field(ge=0, le=0.5)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Triple = tuple[Size, Size, Size]
Precision = Literal["bf16", "fp32"]


def _rises(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError(f"a range goes from low to high, not from {limits[0]:g} to {limits[1]:g}")
    return limits


Factors = Annotated[tuple[Length, Length], AfterValidator(_rises)]
Range = Annotated[tuple[Number, Number], AfterValidator(_rises)]
Shares = Annotated[tuple[Annotated[Length, Field(le=1)], Annotated[Length, Field(le=1)]], AfterValidator(_rises)]


def _for_each_axis(value: Any) -> Any:
    return (value, value, value) if isinstance(value, int | float) else value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    why: list[str] = []


class Grid(_Section):
    """The grid that the network works on.

    Attributes:
        dimensions: 3 for volumes; 2 for slices across the last axis, or for radiographs.
        axes: Which world axis (R, A, S) each array axis runs along, after the lossless turn.
        spacing_mm: Voxel edges along these axes (`px` for radiographs without spacing).
        resample_last: False keeps the last axis as it is (2D: slices are not mixed).
        drop_slices: 2D: slices of each scan that are never trained on: the first of them (None: from the beginning)
            and the one after the last (None: to the end). They count along the last axis, from the left (R), the
            back (A) or the feet (S); negative numbers count from the other end, as in Python.
    """

    dimensions: Literal[2, 3]
    axes: tuple[Literal["R", "A", "S"], Literal["R", "A", "S"], Literal["R", "A", "S"]] = ("R", "A", "S")
    spacing_mm: tuple[Length, Length, Length]
    resample_last: bool = True
    drop_slices: tuple[int | None, int | None] | None = None

    @model_validator(mode="after")
    def _axes_differ(self) -> Grid:
        if len(set(self.axes)) != 3:
            raise ValueError(f"axes must name R, A and S once each, not {', '.join(self.axes)}")
        if self.drop_slices is not None and (self.dimensions == 3 or self.resample_last):
            raise ValueError("drop_slices: only a 2D plan that keeps the last axis (resample_last: false) has slices")
        return self

    def kept_slices(self, count: int) -> list[int]:
        """Which of a scan's `count` slices are trained on."""
        if self.drop_slices is None:
            return list(range(count))
        dropped = range(count)[slice(*self.drop_slices)]
        return [number for number in range(count) if number not in dropped]


class Intensity(_Section):
    """How one channel is normalised: clipped to `clip` where given, then (x − mean) / std.

    `mean` and `std` None: those of each image itself (MR); numbers: the same for all images (CT).
    """

    channel: str
    clip: tuple[Number, Number] | None = None
    mean: Number | None = None
    std: Length | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Intensity:
        if self.clip is not None and self.clip[0] >= self.clip[1]:
            raise ValueError(f"clip: the lower bound {self.clip[0]} is not below the upper bound {self.clip[1]}")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std are given both or not at all")
        return self


class Patch(_Section):
    """What the network sees at a time, in voxels of the grid, and how many at once."""

    size: Triple
    batch: Size


class Network(_Section):
    """A U-Net: features, kernel and stride of each stage, from the finest to the coarsest.

    Attributes:
        strides: The step into each stage; the first stage's is 1, 1, 1.
        kernels: Convolution kernel of each stage.
        convolutions: Convolutions in each stage, encoder and decoder.
        residual: Residual blocks in the encoder.
        deep_supervision: How many of the finest decoder stages have a loss of their own.
    """

    name: Literal["unet"] = "unet"
    features: list[Size] = Field(min_length=2)
    strides: list[Triple]
    kernels: list[Triple]
    convolutions: Size = 2
    residual: bool = False
    deep_supervision: Size = 3

    @model_validator(mode="after")
    def _stages_agree(self) -> Network:
        stages = len(self.features)
        for name, value in (("strides", self.strides), ("kernels", self.kernels)):
            if len(value) != stages:
                raise ValueError(f"{name} lists {len(value)} stages, features lists {stages}")
        if self.strides[0] != (1, 1, 1):
            raise ValueError(f"strides: the first stage keeps the full resolution (1, 1, 1), not {self.strides[0]}")
        if any(k % 2 == 0 for kernel in self.kernels for k in kernel):
            raise ValueError("kernels: sizes must be odd, so that a voxel has a centre")
        return self


class Series(_Section):
    """Structures that look alike and follow one another, as vertebrae do: bodies are found first, then named in order.

    Attributes:
        axis: The array axis along which they follow.
        names: In their order along it.
        distance_mm: Usual distance from one centre to the next.
        volume_mm3: Usual volume of one.
    """

    axis: Literal[0, 1, 2]
    names: list[str] = Field(min_length=3)
    distance_mm: Length
    volume_mm3: Length


class Training(_Section):
    """How the weights are found."""

    recipe: str
    optimiser: Literal["adamw", "sgd"]
    learning_rate: Length
    weight_decay: Amount
    momentum: Share = 0.99
    schedule: Literal["cosine", "polynomial"]
    warm_up: Share = 0.0
    clip_gradient: Length
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    foreground_share: Share
    epoch_iterations: Size
    epochs: Size
    patience_epochs: Size | None = None
    precision: Precision = "fp32"


class Augmentation(_Section):
    """Probabilities (`p`) and ranges of random changes to a patch.

    Attributes:
        mirror_axes: Array axes along which a patch is mirrored, each with probability ½.
        rotate_degrees: Greatest angle about each array axis.
        scale: Range of the zoom, drawn for each axis.
        shift: Greatest shift along each array axis, as a part of the patch; one number stands for all axes.
        brightness: Range of the factor on all intensities (they are normalised, so about zero).
        offset: Range of what is added to them.
        contrast: Range of the factor about the patch's mean, its range kept.
        low_resolution: Range of the part of the resolution that is kept.
        gamma: Range of the exponent on the patch's intensities scaled to 0 … 1; inverted: on their negative.
    """

    mirror_axes: list[Literal[0, 1, 2]] = []
    affine_p: Share
    rotate_degrees: tuple[Amount, Amount, Amount]
    scale: Factors
    shift: Annotated[tuple[Half, Half, Half], BeforeValidator(_for_each_axis)] = (0.0, 0.0, 0.0)
    noise_p: Share = 0.0
    noise_std: Amount = 0.0
    blur_p: Share = 0.0
    blur_sigma: Factors = (0.5, 1.0)
    brightness_p: Share = 0.0
    brightness: Factors = (1.0, 1.0)
    offset_p: Share = 0.0
    offset: Range = (0.0, 0.0)
    contrast_p: Share = 0.0
    contrast: Factors = (1.0, 1.0)
    low_resolution_p: Share = 0.0
    low_resolution: Shares = (0.5, 1.0)
    gamma_p: Share = 0.0
    gamma_inverted_p: Share = 0.0
    gamma: Factors = (1.0, 1.0)

    @model_validator(mode="after")
    def _axes_differ(self) -> Augmentation:
        if len(set(self.mirror_axes)) != len(self.mirror_axes):
            raise ValueError(f"mirror_axes names an axis twice: {self.mirror_axes}")
        return self


class Forecast(_Section):
    """What the plan will cost on the machine it was made on."""

    cache_bytes: int = 0
    training_bytes: int | None = None
    predicting_bytes: int | None = None
    seconds_per_iteration: float | None = None
    parameters: int | None = None
    device: str = ""


class Plan(BaseModel):
    """All decisions. Read and edited by people; a stage refuses what makes no sense and names the key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    osteon: Literal[1] = 1
    dataset: str
    unit: Literal["mm", "px"] = "mm"
    channels: list[Channel] = Field(min_length=1)
    structures: list[Structure] = Field(min_length=1)
    overlapping: bool
    grid: Grid
    intensities: list[Intensity]
    patch: Patch
    network: Network
    training: Training
    augmentation: Augmentation
    series: Series | None = None
    forecast: Forecast = Forecast()

    @model_validator(mode="after")
    def _sections_agree(self) -> Plan:
        if len(self.intensities) != len(self.channels):
            raise ValueError(f"intensities lists {len(self.intensities)} channels, channels lists {len(self.channels)}")
        for number, (how, channel) in enumerate(zip(self.intensities, self.channels, strict=True)):
            if how.channel != channel.name:
                raise ValueError(f"intensities.{number}.channel: {how.channel}, where channels has {channel.name}")
        self._check_structures()
        multiples = self.downsampling
        for axis, (size, multiple) in enumerate(zip(self.patch.size, multiples, strict=True)):
            if size % multiple:
                raise ValueError(
                    f"patch.size: axis {axis} has {size} voxels, the strides need a multiple of {multiple}"
                )
        if math.prod(self.patch.size) == math.prod(multiples):
            raise ValueError("patch.size: one voxel is left at the coarsest stage; take a larger patch or fewer stages")
        if self.grid.dimensions == 2:
            self._check_flat()
        return self

    def _check_flat(self) -> None:
        if (self.patch.size[2], self.downsampling[2]) != (1, 1):
            raise ValueError("patch.size: a 2D plan has one voxel along the last axis, and strides of 1 there")
        if 2 in self.augmentation.mirror_axes:
            raise ValueError("augmentation.mirror_axes: a 2D plan's slices cannot be mirrored along axis 2")
        if any(self.augmentation.rotate_degrees[:2]):
            raise ValueError("augmentation.rotate_degrees: a 2D plan's slices turn about the last axis alone")

    def _check_structures(self) -> None:
        by_name = {structure.name: structure for structure in self.structures}
        for key, values in (("name", [s.name for s in self.structures]), ("value", [s.value for s in self.structures])):
            if len(set(values)) != len(values):
                raise ValueError(f"structures: a {key} is given twice")
        for structure in self.structures:
            twin = by_name.get(structure.counterpart) if structure.counterpart else structure
            if twin is None:
                raise ValueError(f"structures: {structure.name}'s counterpart {structure.counterpart} is not listed")
            if structure.counterpart and twin.counterpart != structure.name:
                raise ValueError(
                    f"structures: {twin.name}'s counterpart is not {structure.name}, but the other way round"
                )

        following = self.series.names if self.series is not None else []
        for name in following:
            if name not in by_name or following.count(name) > 1:
                raise ValueError(f"series.names: {name} is no structure, or stands there twice")

    @property
    def downsampling(self) -> tuple[int, int, int]:
        """The product of the strides along each axis: patch sizes are multiples of it."""
        i = j = k = 1
        for stride in self.network.strides:
            i, j, k = i * stride[0], j * stride[1], k * stride[2]
        return i, j, k

    @property
    def mirror_partners(self) -> list[int]:
        """For each structure's position the one that it becomes when left and right are mirrored."""
        names = [structure.name for structure in self.structures]
        return [names.index(s.counterpart) if s.counterpart else n for n, s in enumerate(self.structures)]

    @property
    def cache_key(self) -> str:
        """Hash of what decides the cache's content, so that another network reuses the cache."""
        parts = self.model_dump(mode="json", include={"structures", "overlapping", "grid", "intensities", "channels"})
        for section in (parts["grid"], *parts["intensities"]):
            del section["why"]
        if parts["grid"]["drop_slices"] is None:
            del parts["grid"]["drop_slices"]
        for structure in parts["structures"]:
            del structure["colour"]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def read_plan(path: Path) -> Plan:
    """Read a plan.yaml.

    Raises:
        FileError: It is missing or not YAML.
        PlanError: A key is missing, unknown or nonsense; the message names it.
    """
    return parse_plan(read_yaml(path, "the plan"), path)


def parse_plan(data: Any, path: Path) -> Plan:
    """A plan from what YAML gave; `path` is for messages. Raises PlanError."""
    try:
        return Plan.model_validate(data)
    except ValidationError as error:
        hint = "correct the keys named here, or make the plan anew with `osteon plan DATASET --force`"
        raise PlanError(f"{path}: {explain(error)}", hint=hint) from None


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan.yaml, each section with its reasons."""
    data = plan.model_dump(mode="json", exclude_none=True)
    head = "An osteon plan: every decision with its reason (why). Edit it, then train; `osteon train` checks it first."
    write_yaml(path, data, head=head)
