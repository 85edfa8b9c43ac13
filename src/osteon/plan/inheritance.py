"""A plan for other data that keeps to a trained model's network and grid, so that its weights fit."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from osteon.core.errors import PlanError, UsageError
from osteon.dataset.manifest import describe_errors
from osteon.plan.network_sections import TAGS
from osteon.plan.schema import Grid, Intensity, NnUNet, Plan


def inherit_plan(plan: Plan, source_plan: Plan, file_orientation: str = "RAS") -> Plan:
    """The plan with the model's network, grid, patch and, for CT, intensities; all else stays the dataset's.

    What was learnt holds for voxels of that size and for intensities of that scale. MR is normalised by each image,
    so there is nothing to take over. The model's forecast and precision were measured for this very network and patch.

    A model of nnU-Net's keeps its way of preparing, all normalisation included, and the order of its axes, so that its
    filters mean what they did. Where these are a file's own axes, they get the names that they have in the dataset's
    files: from then on every scan is turned so.

    Args:
        plan: Of the new dataset.
        source_plan: Of the model.
        file_orientation: Where the file axes of the dataset's scans run, such as `LPS`.

    Raises:
        UsageError: The two are not on comparable grids: 2D and 3D, pixels and millimetres, or slices across
            different axes; or the model is the second of a cascade.
        PlanError: The parts do not go together.
    """
    why = [f"of the model that the weights come from ({source_plan.dataset})"]
    grid = _inherit_grid(plan, source_plan, file_orientation, why)
    _check_comparable(plan, source_plan, grid)
    changes: dict[str, Any] = {
        "grid": grid,
        "network": source_plan.network.model_copy(update={"why": [*source_plan.network.why, *why]}),
        "patch": source_plan.patch.model_copy(update={"why": why}),
        "intensities": _inherit_intensities(plan, source_plan, why),
    }
    if grid.nnunet is None or source_plan.forecast.parameters is not None:  # of an imported model nothing was measured
        measured = {"cache_bytes": plan.forecast.cache_bytes, "why": ["measured for the model's own training"]}
        changes["forecast"] = source_plan.forecast.model_copy(update=measured)
        changes["training"] = plan.training.model_copy(update={"precision": source_plan.training.precision})
    order = [plan.grid.world_axes.index(world) for world in grid.world_axes]
    changes["augmentation"] = _permute_augmentation(plan, order)
    if grid.nnunet is not None:
        changes |= {"sequence": None, "zoom": None}
    elif plan.sequence is not None:
        changes["sequence"] = plan.sequence.model_copy(update={"axis": order.index(plan.sequence.axis)})
    try:
        return Plan.model_validate(plan.model_copy(update=changes).model_dump())
    except ValidationError as error:
        raise PlanError(
            f"the model's network and grid do not go with this dataset's plan: {describe_errors(error, TAGS)}",
            hint="give a plan of your own with --plan",
        ) from None


def _inherit_grid(plan: Plan, source_plan: Plan, file_orientation: str, why: list[str]) -> Grid:
    """The model's grid, with axes that have names; in 2D with the dataset's slices."""
    grid, reasons = source_plan.grid, list(why)
    changes: dict[str, Any] = {"drop_slices": None if grid.resample_last else plan.grid.drop_slices}
    if not grid.resample_last:
        changes["spacing_mm"] = (*grid.spacing_mm[:2], plan.grid.spacing_mm[2])
    if grid.axes[0] in "ijk":
        changes["axes"] = tuple(file_orientation["ijk".index(letter)] for letter in grid.axes)
        reasons.append(
            f"its axes were a file's {', '.join(grid.axes)}, however they lay; file axes run to "
            f"{', '.join(file_orientation)} here, and every scan is turned so"
        )
    if grid.nnunet is not None:
        reasons.append("scans are prepared and restored in nnU-Net's way, as the model knows them")
        dropped = [name for name, section in (("series", plan.sequence), ("zoom", plan.zoom)) if section]
        reasons += [f"no section {name}, which models of nnU-Net's do not know" for name in dropped]
    return grid.model_copy(update=changes | {"why": reasons})


def _check_comparable(plan: Plan, source_plan: Plan, source_grid: Grid) -> None:
    grid = plan.grid
    if isinstance(source_plan.network, NnUNet) and source_plan.network.before:
        raise UsageError(
            "the model is the second of a cascade: it sees what the first one finds, which a training does not have",
            hint="start from the first one (MODEL/first), or from a model without a cascade",
        )
    if grid.dimensions != source_grid.dimensions:
        mismatch = f"the model is {source_grid.dimensions}D and the plan {grid.dimensions}D"
    elif plan.unit != source_plan.unit:
        mismatch = f"the model's voxels are measured in {source_plan.unit}, the dataset's in {plan.unit}"
    elif grid.dimensions == 2 and grid.world_axes[2] != source_grid.world_axes[2]:
        mismatch = f"the model's slices lie across {source_grid.axes[2]}, the dataset's across {grid.axes[2]}"
    else:
        return
    raise UsageError(
        f"{mismatch}, so its grid and network cannot be taken over",
        hint="choose another model, or make a plan and give it with --plan",
    )


def _inherit_intensities(plan: Plan, source_plan: Plan, why: list[str]) -> list[Intensity]:
    """Of each CT channel the model's of that name, or else its first CT channel's; of others the plan's own.

    Where the model prepares scans in nnU-Net's way, so do channels of other modalities: they may be scaled in other
    ways than the plan's.
    """
    result = []
    for channel, intensity in zip(plan.channels, plan.intensities, strict=True):
        candidates = [
            (source_channel.name == channel.name, source_intensity)
            for source_channel, source_intensity in zip(source_plan.channels, source_plan.intensities, strict=True)
            if source_channel.modality == channel.modality
        ]
        inherits = bool(candidates) and (channel.modality == "ct" or source_plan.grid.nnunet is not None)
        best = max(candidates, key=lambda pair: pair[0])[1] if inherits else intensity
        result.append(best.model_copy(update={"channel": channel.name, "why": why}) if inherits else intensity)
    return result


def _permute_augmentation(plan: Plan, order: list[int]) -> Any:
    """The augmentation for axes in another order: `order[n]` is the plan's axis that becomes the n-th."""
    augmentation = plan.augmentation
    return augmentation.model_copy(
        update={
            "mirror_axes": sorted(order.index(axis) for axis in augmentation.mirror_axes),
            "rotate_degrees": tuple(augmentation.rotate_degrees[axis] for axis in order),
            "shift": tuple(augmentation.shift[axis] for axis in order),
        }
    )
