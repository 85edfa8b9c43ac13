"""What a user decides about a plan, and on what it is measured; the data and the recipe decide the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

RECIPE_NAMES = {
    "osteon": "found by measuring your data",
    "nnunet": "nnU-Net's choices",
    "hand": "radiographs of hands, from ImageNet",
    "humerus": "fractures in CT, from scratch",
    "humerus-pretrained": "fractures in CT, from ImageNet",
    "limb": "slices of MR, ResNet34 from ImageNet",
    "lung": "tumours in slices of CT",
    "spine": "vertebrae",
}
"""The recipes, and what they are for: the rows of `planning.recipes`, then the files of `planning.published`."""


@dataclass(frozen=True)
class PlanOptions:
    """What a user decides about a plan. None: the recipe decides, or else the data.

    Attributes:
        recipe: A row of `planning.recipes.RECIPES`, or the path of a recipe of one's own (YAML).
        dimensions: 2 or 3; by the data: 3, or 2 where the cases are single slices.
        network: A row of `networks.registry.NETWORKS`.
        encoder: Of the network, as smp, timm or a plugin names it; in 3D it is inflated.
        weights: Of the encoder: imagenet, none, or a file.
        loss: A row of `training.losses.LOSSES`.
        image_size: 2D: each slice is brought to this many pixels (the longer side), and seen whole.
        batch: Patches in a batch.
        zoom: Structures around which enlarged crops are seen, too.
        window: Channel → a fixed range of intensities, clipped to and scaled to −1 … 1; the key "" is every channel.
        drop_slices: 2D: as `plan.Grid.drop_slices`.
        interactive: The network answers clicks on one structure at a time, instead of finding all by itself.
        settings: `section.key` of the plan → value, put in last.
    """

    recipe: str = "osteon"
    dimensions: Literal[2, 3] | None = None
    network: str | None = None
    encoder: str | None = None
    weights: str | None = None
    loss: str | None = None
    image_size: int | None = None
    batch: int | None = None
    zoom: Sequence[str] | None = None
    window: Mapping[str, tuple[float, float]] | None = None
    drop_slices: tuple[int | None, int | None] | None = None
    interactive: bool | None = None
    settings: Mapping[str, object] | None = None


DEFAULTS = PlanOptions()


class MeasureOptions(TypedDict, total=False):
    """How a dataset and the cost of its plan are measured: keywords of `dataset_plan.plan_dataset`."""

    device: str
    measure_cost: bool
    budget_s: float | None
    workers: int | None


class PlanKeywords(TypedDict, total=False):
    """The fields of `PlanOptions` as keywords, for who checks types."""

    recipe: str
    dimensions: Literal[2, 3] | None
    network: str | None
    encoder: str | None
    weights: str | None
    loss: str | None
    image_size: int | None
    batch: int | None
    zoom: Sequence[str] | None
    window: Mapping[str, tuple[float, float]] | None
    drop_slices: tuple[int | None, int | None] | None
    interactive: bool | None
    settings: Mapping[str, object] | None
