"""With what a run can go on that it was not begun with: settings that cost memory and leave the weights' shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from osteon.core.errors import UsageError
from osteon.planning.plan import Plan, Pretrained


def as_begun(plan: Plan, before: Plan) -> Plan:
    """The plan with what may change on the way as it was before: patch.size, patch.batch, training.precision.

    Where the network takes patches of one size alone, the size may not change.
    """
    fixed = isinstance(plan.network, Pretrained) and plan.network.fixed_size
    patch = plan.patch.model_copy(update={"batch": before.patch.batch}) if fixed else before.patch
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


def too_little_memory(run: Path, plan: Plan) -> UsageError:
    """The error for a training that memory does not suffice for, with the settings that would help."""
    free = [f"patch.size ({_plain(list(plan.patch.size))})", f"patch.batch ({plan.patch.batch})"]
    if plan.training.precision == "fp32":
        free.append("training.precision (bf16 in place of fp32)")
    smaller = "network.encoder" if isinstance(plan.network, Pretrained) else "network.features"
    return UsageError(
        f"{run}: there is not enough memory to train this plan",
        hint=f"lower {', '.join(free[:-1])} or {free[-1]} in plan.yaml and run the same command: it goes on from the "
        f"last checkpoint; a smaller network ({smaller}) needs --restart",
    )


def _plain(value: Any) -> str:
    return "×".join(map(str, value)) if isinstance(value, list) else str(value)
