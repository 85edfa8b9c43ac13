"""With what a run can go on that it was not begun with: settings that cost memory and leave the weights' shapes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from osteon.core.errors import UsageError, is_out_of_memory
from osteon.plan.schema import Plan, Pretrained


def restore_resumable(plan: Plan, before: Plan) -> Plan:
    """The plan with what may change on the way as it was before: patch.size, patch.batch, training.precision.

    Where the network takes patches of one size alone, the size may not change.
    """
    patch = plan.patch.model_copy(update={"batch": before.patch.batch}) if plan.fixed_patch else before.patch
    training = plan.training.model_copy(update={"precision": before.training.precision})
    return plan.model_copy(update={"patch": patch, "training": training})


def resumable_differences(before: Plan, plan: Plan) -> dict[str, tuple[Any, Any]]:
    """Each setting of `restore_resumable` that differs, with its value before and now, as YAML has them."""
    pairs = {
        "patch.size": (list(before.patch.size), list(plan.patch.size)),
        "patch.batch": (before.patch.batch, plan.patch.batch),
        "training.precision": (before.training.precision, plan.training.precision),
    }
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def describe_differences(differences: dict[str, tuple[Any, Any]]) -> str:
    """A line such as `continuing with patch.batch 1 (was 2)`."""
    parts = [f"{key} {_format_value(now)} (was {_format_value(was)})" for key, (was, now) in differences.items()]
    return f"continuing with {', '.join(parts)}"


@contextmanager
def explain_out_of_memory(run: Path, plan: Plan) -> Iterator[None]:
    """Name the settings that would help where memory does not suffice.

    Raises:
        UsageError: It does not.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory_error(run, plan) from error


def out_of_memory_error(run: Path, plan: Plan) -> UsageError:
    """The error for a training that memory does not suffice for."""
    settings = []
    if not plan.fixed_patch:
        settings.append(f"patch.size ({_format_value(list(plan.patch.size))})")
    if plan.patch.batch > 1:
        settings.append(f"patch.batch ({plan.patch.batch})")
    if plan.training.precision == "fp32":
        settings.append("training.precision (to bf16)")
    smaller = "network.encoder" if isinstance(plan.network, Pretrained) else "network.features"
    listed = " or ".join(part for part in (", ".join(settings[:-1]), *settings[-1:]) if part)
    lower = (
        f"lower {listed} in plan.yaml and run the same command: it continues from the last checkpoint; "
        if settings
        else ""
    )
    return UsageError(
        f"{run}: there is not enough memory to train this plan",
        hint=f"{lower}a smaller network ({smaller}) needs --restart",
    )


def _format_value(value: Any) -> str:
    return "×".join(map(str, value)) if isinstance(value, list) else "as planned" if value is None else str(value)
