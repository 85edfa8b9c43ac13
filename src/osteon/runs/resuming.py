"""With what a run can go on that it was not begun with: settings that cost memory and leave the weights' shapes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from osteon.core.errors import UsageError, is_out_of_memory
from osteon.plan.schema import Plan, Pretrained


def as_begun(plan: Plan, before: Plan) -> Plan:
    """The plan with what may change on the way as it was before: patch.size, patch.batch, training.precision.

    Where the network takes patches of one size alone, the size may not change.
    """
    patch = plan.patch.model_copy(update={"batch": before.patch.batch}) if plan.fixed_patch else before.patch
    training = plan.training.model_copy(update={"precision": before.training.precision})
    return plan.model_copy(update={"patch": patch, "training": training})


def resumable_differences(before: Plan, plan: Plan) -> dict[str, tuple[Any, Any]]:
    """Each setting of `as_begun` that differs, with its value before and now, as YAML has them."""
    pairs = {
        "patch.size": (list(before.patch.size), list(plan.patch.size)),
        "patch.batch": (before.patch.batch, plan.patch.batch),
        "training.precision": (before.training.precision, plan.training.precision),
    }
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def told_differences(differences: dict[str, tuple[Any, Any]]) -> str:
    """They in a line."""
    parts = [f"{key} {_plain(now)} (was {_plain(was)})" for key, (was, now) in differences.items()]
    return f"going on with {', '.join(parts)}"


@contextmanager
def enough_memory(run: Path, plan: Plan) -> Iterator[None]:
    """Name the settings that would help where memory does not suffice.

    Raises:
        UsageError: It does not.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise too_little_memory(run, plan) from error


def too_little_memory(run: Path, plan: Plan) -> UsageError:
    """The error for a training that memory does not suffice for."""
    free = []
    if not plan.fixed_patch:
        free.append(f"patch.size ({_plain(list(plan.patch.size))})")
    if plan.patch.batch > 1:
        free.append(f"patch.batch ({plan.patch.batch})")
    if plan.training.precision == "fp32":
        free.append("training.precision (to bf16)")
    smaller = "network.encoder" if isinstance(plan.network, Pretrained) else "network.features"
    listed = " or ".join(part for part in (", ".join(free[:-1]), *free[-1:]) if part)
    lower = (
        f"lower {listed} in plan.yaml and run the same command: it goes on from the last checkpoint; " if free else ""
    )
    return UsageError(
        f"{run}: there is not enough memory to train this plan",
        hint=f"{lower}a smaller network ({smaller}) needs --restart",
    )


def _plain(value: Any) -> str:
    return "×".join(map(str, value)) if isinstance(value, list) else "as planned" if value is None else str(value)
