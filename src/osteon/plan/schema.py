"""plan.yaml: every decision that preparing, training and predicting take, with the reason beside it."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from osteon.core.errors import PlanError
from osteon.core.files import read_yaml, write_yaml
from osteon.core.labels import Structure, check_values
from osteon.core.schema_versions import migrate
from osteon.dataset.manifest import Channel, describe_errors, newer_version_hint
from osteon.plan.augmentation_section import Augmentation
from osteon.plan.grid_sections import Grid, Intensity, NnUNetPreparation
from osteon.plan.monai_section import MonaiPreparation, MonaiStep
from osteon.plan.network_sections import TAGS, AnyNetwork, Monai, MonaiBundle, Network, NnUNet, Pretrained
from osteon.plan.sections import (
    CONFIG,
    Clicks,
    Forecast,
    Patch,
    Precision,
    Sampling,
    StructureSequence,
    Training,
    Zoom,
)

__all__ = [
    "Augmentation",
    "Clicks",
    "Forecast",
    "Grid",
    "Intensity",
    "Monai",
    "MonaiBundle",
    "MonaiPreparation",
    "MonaiStep",
    "Network",
    "NnUNet",
    "NnUNetPreparation",
    "Patch",
    "Plan",
    "Precision",
    "Pretrained",
    "Sampling",
    "StructureSequence",
    "Training",
    "Zoom",
    "parse_plan",
    "read_plan",
    "write_plan",
]

FILE_NAME = "plan.yaml"


class Plan(BaseModel):
    """All decisions. Read and edited by people; a stage refuses what makes no sense and names the key."""

    model_config = CONFIG

    osteon: Literal[1] = 1
    dataset: str
    unit: Literal["mm", "px"] = "mm"
    channels: list[Channel] = Field(min_length=1)
    structures: list[Structure] = Field(min_length=1)
    overlapping: bool
    grid: Grid
    intensities: list[Intensity]
    patch: Patch
    network: AnyNetwork
    training: Training
    sampling: Sampling = Sampling()
    zoom: Zoom | None = None
    augmentation: Augmentation
    sequence: StructureSequence | None = Field(default=None, alias="series")
    clicks: Clicks | None = Field(default=None, alias="interactive")
    forecast: Forecast = Forecast()

    @model_validator(mode="after")
    def _sections_agree(self) -> Plan:
        if len(self.intensities) != len(self.channels):
            raise ValueError(f"intensities lists {len(self.intensities)} channels, channels lists {len(self.channels)}")
        for number, (intensity, channel) in enumerate(zip(self.intensities, self.channels, strict=True)):
            if intensity.channel != channel.name:
                raise ValueError(
                    f"intensities.{number}.channel: {intensity.channel}, where channels has {channel.name}"
                )
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
        if (key := self.grid.imported) and (self.zoom is not None or self.sequence is not None):
            raise ValueError(f"grid.{key}: such models know no zoom and no series; take these sections out")
        if self.clicks is not None and (self.zoom is not None or self.sequence is not None or key):
            raise ValueError(
                "interactive: a network that answers clicks knows no zoom, no series and no grid.nnunet or grid.monai"
            )
        if key and any(structure.instances for structure in self.structures):
            raise ValueError(f"grid.{key}: such models part no pieces (`instances`); take this section out")
        if self.grid.nnunet is None and any(intensity.inside for intensity in self.intensities):
            raise ValueError("intensities: `inside` belongs to nnU-Net's way of preparing (grid.nnunet)")
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
        check_values(self.structures, overlapping=self.overlapping)
        for structure in self.structures:
            counterpart = by_name.get(structure.counterpart) if structure.counterpart else structure
            if counterpart is None:
                raise ValueError(f"structures: {structure.name}'s counterpart {structure.counterpart} is not listed")
            if structure.counterpart and counterpart.counterpart != structure.name:
                raise ValueError(
                    f"structures: {counterpart.name}'s counterpart is not {structure.name}, but the other way round"
                )

        if isinstance(self.sampling.weights, dict):
            unknown = [name for name in self.sampling.weights if name not in by_name]
            if unknown:
                raise ValueError(f"sampling.weights: {unknown[0]} is not a structure")
            if not any(self.sampling.weights.get(name, 1.0) for name in by_name):
                raise ValueError("sampling.weights: every structure has 0, so no patch could be drawn")
        for name in self.zoom.structures if self.zoom is not None else []:
            if name not in by_name:
                raise ValueError(f"zoom.structures: {name} is not a structure; there are {', '.join(by_name)}")
        if self.zoom is not None and self.sequence is not None and self.sequence.bodies:
            raise ValueError("zoom: a series whose bodies come before their names has no closer look; take one out")
        if self.zoom is not None and any(structure.instances for structure in self.structures):
            raise ValueError("zoom: pieces of a structure are parted on one grid, without a closer look; take zoom out")
        if self.augmentation.crop_p and self.fixed_patch:
            raise ValueError("augmentation.crop_p: this network takes patches of one size alone; set it to 0")
        sequence_names = self.sequence.names if self.sequence is not None else []
        if self.zoom is not None and self.zoom.predict and set(self.zoom.structures) & set(sequence_names):
            raise ValueError(
                "zoom.predict: structures of a series get their names from the whole row of them, which a crop does "
                "not show; set it to false"
            )
        for name in sequence_names:
            if name not in by_name or sequence_names.count(name) > 1:
                raise ValueError(f"series.names: {name} is not a structure, or is listed twice")

    @property
    def downsampling(self) -> tuple[int, int, int]:
        """Patch sizes are multiples of it: what the network halves along each axis."""
        return self.network.downsampling

    @property
    def fixed_patch(self) -> bool:
        """Whether the network gets patches of the plan's size alone, in predicting as in training."""
        return bool(self.grid.imported) or (isinstance(self.network, Pretrained) and self.network.fixed_size)

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
        for key in ("drop_slices", "nnunet", "monai"):  # keys that came later leave the others' hashes alone
            if parts["grid"][key] is None:
                del parts["grid"][key]
        for intensity in parts["intensities"]:
            for key, default in (("by", "std"), ("inside", False)):
                if intensity[key] == default:
                    del intensity[key]
        for structure in parts["structures"]:
            del structure["colour"]
            if structure["instances"] is None:
                del structure["instances"], structure["last_value"]
        if self.zoom is not None:
            parts["zoom"] = self.zoom.model_dump(mode="json", include={"structures", "factor", "margin_mm"})
            parts["zoom"]["patch"] = self.patch.size  # a crop is no smaller
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
        return Plan.model_validate(migrate("plan", data, path))
    except ValidationError as error:
        hint = "correct the keys named here, or make a new plan with `osteon plan DATASET --force`"
        raise PlanError(f"{path}: {describe_errors(error, TAGS)}", hint=f"{hint}{newer_version_hint(error)}") from None


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan.yaml, each section with its reasons."""
    data = plan.model_dump(mode="json", exclude_none=True)
    head = "An osteon plan: every decision with its reason (why). Edit it, then train; `osteon train` checks it first."
    write_yaml(path, data, head=head)
