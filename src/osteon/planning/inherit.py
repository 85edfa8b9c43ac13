"""A plan for other data that keeps to a trained model's network and grid, so that its weights fit."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from osteon.core.errors import PlanError, UsageError
from osteon.dataset.manifest import explain
from osteon.planning.network_sections import TAGS
from osteon.planning.plan import Intensity, Plan


def inherit_plan(plan: Plan, source_plan: Plan) -> Plan:
    """The plan with the model's network, grid, patch and, for CT, intensities; all else stays the dataset's.

    What was learnt holds for voxels of that size and for intensities of that scale. MR is normalised by each image,
    so there is nothing to take over. The model's forecast and precision were measured for this very network and patch.

    Args:
        plan: Of the new dataset.
        source_plan: Of the model.

    Raises:
        UsageError: The two are not on comparable grids: 2D and 3D, pixels and millimetres, or slices across
            different axes.
        PlanError: The parts do not go together.
    """
    _check_comparable(plan, source_plan)
    why = [f"of the model that the weights come from ({source_plan.dataset})"]
    grid = source_plan.grid.model_copy(update={"why": why, "drop_slices": plan.grid.drop_slices})
    if not grid.resample_last:
        spacing = (*grid.spacing_mm[:2], plan.grid.spacing_mm[2])
        grid = grid.model_copy(update={"spacing_mm": spacing, "drop_slices": plan.grid.drop_slices})
    else:
        grid = grid.model_copy(update={"drop_slices": None})
    changes: dict[str, Any] = {
        "grid": grid,
        "network": source_plan.network.model_copy(update={"why": [*source_plan.network.why, *why]}),
        "patch": source_plan.patch.model_copy(update={"why": why}),
        "intensities": _intensities(plan, source_plan, why),
        "training": plan.training.model_copy(update={"precision": source_plan.training.precision}),
        "forecast": source_plan.forecast.model_copy(
            update={"cache_bytes": plan.forecast.cache_bytes, "why": ["measured for the model's own training"]}
        ),
    }
    order = [plan.grid.axes.index(axis) for axis in grid.axes]
    changes["augmentation"] = _turned_augmentation(plan, order)
    if plan.series is not None:
        changes["series"] = plan.series.model_copy(update={"axis": order.index(plan.series.axis)})
    try:
        return Plan.model_validate(plan.model_copy(update=changes).model_dump())
    except ValidationError as error:
        raise PlanError(
            f"the model's network and grid do not go with this dataset's plan: {explain(error, TAGS)}",
            hint="give a plan of your own with --plan",
        ) from None


def _check_comparable(plan: Plan, source_plan: Plan) -> None:
    ours, theirs = plan.grid, source_plan.grid
    if ours.dimensions != theirs.dimensions:
        said = f"the model is {theirs.dimensions}D and the plan {ours.dimensions}D"
    elif plan.unit != source_plan.unit:
        said = f"the model's voxels are measured in {source_plan.unit}, the dataset's in {plan.unit}"
    elif ours.dimensions == 2 and ours.axes[2] != theirs.axes[2]:
        said = f"the model's slices lie across {theirs.axes[2]}, the dataset's across {ours.axes[2]}"
    else:
        return
    raise UsageError(
        f"{said}, so its grid and network cannot be taken over",
        hint="choose another model, or make a plan and give it with --plan",
    )


def _intensities(plan: Plan, source_plan: Plan, why: list[str]) -> list[Intensity]:
    """Of each CT channel the model's of that name, or else its first CT channel's; of others the plan's own."""
    of_ct = {
        channel.name: how
        for channel, how in zip(source_plan.channels, source_plan.intensities, strict=True)
        if channel.modality == "ct"
    }
    first = next(iter(of_ct.values()), None)
    result = []
    for channel, own in zip(plan.channels, plan.intensities, strict=True):
        model = of_ct.get(channel.name, first) if channel.modality == "ct" else None
        result.append(own if model is None else model.model_copy(update={"channel": channel.name, "why": why}))
    return result


def _turned_augmentation(plan: Plan, order: list[int]) -> Any:
    """The augmentation for axes in another order: `order[n]` is the plan's axis that becomes the n-th."""
    how = plan.augmentation
    return how.model_copy(
        update={
            "mirror_axes": sorted(order.index(axis) for axis in how.mirror_axes),
            "rotate_degrees": tuple(how.rotate_degrees[axis] for axis in order),
            "shift": tuple(how.shift[axis] for axis in order),
        }
    )
