"""What a user decides about a plan; the data and the recipe decide the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict


@dataclass(frozen=True)
class Choices:
    """What a user decides about a plan. None: the recipe decides, or else the data.

    Attributes:
        recipe: A row of `planning.recipes.RECIPES`, or the path of a recipe of one's own (YAML).
        dimensions: 2 or 3; by the data: 3, or 2 where the cases are single slices.
        network: A name of `plan.network_sections.NAMES`.
        encoder: Of the network, as smp or timm name it; in 3D it is inflated.
        weights: Of the encoder: imagenet, none, or a file.
        loss: A row of `training.losses.LOSSES`.
        image_size: 2D: each slice is brought to this many pixels (the longer side), and seen whole.
        batch: Patches in a batch.
        zoom: Structures around which enlarged crops are seen, too.
        window: Channel → a fixed range of intensities, clipped to and scaled to −1 … 1; the key "" is every channel.
        drop_slices: 2D: as `plan.Grid.drop_slices`.
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
    settings: Mapping[str, object] | None = None


DEFAULTS = Choices()


class PlanKeywords(TypedDict, total=False):
    """The fields of `Choices` as keywords, for who checks types."""

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
    settings: Mapping[str, object] | None
