"""The sections of a plan: what each decides, and what makes sense in it."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Triple = tuple[PositiveInt, PositiveInt, PositiveInt]
Precision = Literal["bf16", "fp32"]

CONFIG = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)
"""Of a plan and its sections. A field's alias, where it has one, is its key in files."""


class Section(BaseModel):
    """A part of a plan, with its reasons."""

    model_config = CONFIG

    why: list[str] = []


class Patch(Section):
    """What the network sees at a time, in voxels of the grid, and how many at once.

    Attributes:
        size: Along the grid's axes.
        batch: How many.
        scale: How many times the recipe's voxels the planner gave to a patch, after it had measured this machine for a
            budget of time. Later stages do not read it.
    """

    size: Triple
    batch: PositiveInt
    scale: PositiveFloat = Field(default=1.0, alias="room")


class StructureSequence(Section):
    """Similar structures in a row, such as vertebrae: bodies are found first, then named in order.

    Attributes:
        axis: The array axis along which they follow.
        names: In their order along it.
        distance_mm: Usual distance from one centre to the next.
        distances_mm: That of each name and the next, where they differ; None: `distance_mm`.
        volume_mm3: Usual volume of one.
        bodies: Whether the network finds bodies whatever their names, and for each place how far along the sequence it
            lies; names follow from all bodies together. Else each name is a class of the network's.
    """

    axis: Literal[0, 1, 2]
    names: list[str] = Field(min_length=3)
    distance_mm: PositiveFloat
    volume_mm3: PositiveFloat
    bodies: bool = False
    distances_mm: list[PositiveFloat] | None = None

    @property
    def neighbour_distances(self) -> list[float]:
        """Mm from each name's centre to the next."""
        return self.distances_mm or [self.distance_mm] * (len(self.names) - 1)

    @model_validator(mode="after")
    def _distance_for_each(self) -> StructureSequence:
        if self.distances_mm is not None and len(self.distances_mm) != len(self.names) - 1:
            raise ValueError(f"distances_mm: {len(self.distances_mm)} for {len(self.names)} names; one fewer is needed")
        return self


Optimiser = Literal["adam", "adamw", "sgd"]
Schedule = Literal["cosine", "polynomial", "onecycle", "exponential", "constant"]


def _check_name(names: Any, what: str) -> BeforeValidator:
    """Refuses other names, and offers the nearest."""

    def known(name: Any) -> Any:
        if name not in get_args(names):
            near = get_close_matches(str(name), get_args(names), 3, 0.4) or get_args(names)
            raise ValueError(f"there is no {what} {name}; near it: {', '.join(near)}")
        return name

    return BeforeValidator(known)


class Training(Section):
    """How the weights are found.

    Attributes:
        loss: A row of `training.losses.LOSSES`. Where structures overlap, cross-entropy is the binary one.
        focal_gamma: Focal losses: how much less a voxel counts that is right already.
        tversky_beta: Tversky loss: the weight of missed voxels; that of invented ones is 1 − beta.
        schedule: `exponential` multiplies the rate by `decay` after each epoch.
        warm_up: The part of the training in which the rate rises (not for `onecycle`, which rises by itself).
        encoder_rate: The pre-trained encoder's learning rate, as a part of the others'.
        frozen_epochs: Epochs at the beginning in which the pre-trained encoder is left as it is.
        ema: Share of the old average kept at each step; 0: no average of the weights.
        foreground_share: Part of the patches that lie around a structure.
        patience_epochs: Stop after so many epochs without a better validation Dice.
    """

    recipe: str
    optimiser: Annotated[Optimiser, _check_name(Optimiser, "optimiser")]
    learning_rate: PositiveFloat
    weight_decay: NonNegativeFloat
    momentum: Fraction = 0.99
    schedule: Annotated[Schedule, _check_name(Schedule, "schedule")]
    decay: Annotated[float, Field(gt=0, le=1)] = 0.99
    warm_up: Fraction = 0.0
    loss: str = "dice_ce"
    focal_gamma: NonNegativeFloat = 2.0
    tversky_beta: Fraction = 0.7
    clip_gradient: PositiveFloat
    encoder_rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    frozen_epochs: Annotated[int, Field(ge=0)] = 0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    foreground_share: Fraction
    epoch_iterations: PositiveInt
    epochs: PositiveInt
    patience_epochs: PositiveInt | None = None
    precision: Precision = "fp32"


class Sampling(Section):
    """Around which structure a patch lies, among those that lie around one (`training.foreground_share`).

    Attributes:
        weights: `case`: the next case, then one of its structures, each as often. `rare`: a structure first, the more
            often the fewer cases (2D: slices) show it, then a case (2D: slice) that shows it, each as often. Or numbers
            for structures: a structure first, as often as its number says (1 where none is given, 0 never), then as
            with `rare`.
    """

    weights: Literal["case", "rare"] | dict[str, NonNegativeFloat] = "case"


class Zoom(Section):
    """Enlarged crops around small structures: seen in training among the others, and looked at again in predicting.

    Attributes:
        structures: Around which.
        factor: How much finer than the plan's grid (2D: along the first two axes).
        share: Part of the patches that are such crops; `training.foreground_share` holds among the others.
        margin_mm: Room around them that is kept finely; at least a patch is.
        predict: Whether predicting places the structures on the plan's grid first, then looks at a fine crop.
    """

    structures: list[str] = Field(min_length=1)
    factor: Annotated[float, Field(gt=1, le=8)] = 2.0
    share: Annotated[float, Field(gt=0, le=1)] = 0.25
    margin_mm: NonNegativeFloat = 10.0
    predict: bool = True


class Clicks(Section):
    """The network answers clicks: it finds the one structure that a person points at, whichever that is.

    Beside the scan's channels it sees three more: where was clicked inside, where outside, and the mask so far.

    Attributes:
        radius: Of the spot that a click makes in its channel: the SD of a Gaussian, in the plan's unit.
        most: Clicks that a simulated person makes at most in training.
        correcting: Part of the patches in which the mask so far is the structure's, damaged.
        answering: Part of the patches in which it is what the network answers to the first clicks.
        drawing: Part of the patches in which the first click is a scribble or a box.
    """

    radius: PositiveFloat
    most: PositiveInt = 6
    correcting: Fraction = 0.3
    answering: Fraction = 0.3
    drawing: Fraction = 0.15

    @model_validator(mode="after")
    def _parts(self) -> Clicks:
        if self.correcting + self.answering > 1:
            raise ValueError("correcting and answering are parts of all patches, together at most 1")
        return self


class Forecast(Section):
    """What the plan will cost on the machine it was made on.

    Attributes:
        cache_bytes: Prepared cases on disk.
        training_bytes: Memory (a GPU's own), on each device.
        predicting_bytes: Memory, for one scan of `predicting_shape` along R, A, S, with voxels of
            `predicting_spacing`.
        predicting_seconds: For that scan, without its reading and writing.
        seconds_per_iteration: Of training.
        parameters: Of the network.
        device: What it was measured on.
    """

    cache_bytes: int = 0
    training_bytes: int | None = None
    predicting_bytes: int | None = None
    predicting_shape: Triple | None = None
    predicting_spacing: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None
    predicting_seconds: float | None = None
    seconds_per_iteration: float | None = None
    parameters: int | None = None
    device: str = ""

    def seconds_on(self, devices: int) -> float | None:
        """Seconds of an iteration in which so many devices of a machine take part; on a CPU they share its cores."""
        if self.seconds_per_iteration is None:
            return None
        return self.seconds_per_iteration * (devices if self.device == "cpu" else 1)
