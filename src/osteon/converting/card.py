"""card.md of a model that came from nnU-Net."""

from __future__ import annotations

from collections.abc import Sequence

from osteon.converting.checkpoint import Checkpoint
from osteon.converting.plan import NnUNetModel
from osteon.core.version import __version__
from osteon.plan.schema import Plan


def converted_model_card(
    plan: Plan, source: NnUNetModel, checkpoints: dict[str, Checkpoint], notes: Sequence[str]
) -> str:
    """The model's contents, origin and licence.

    Args:
        plan: The converted one.
        source: nnU-Net's files.
        checkpoints: Fold → its checkpoint.
        notes: What was left out.
    """
    spacing = "×".join(f"{s:.3g}" for s in plan.grid.spacing_mm)
    first = next(iter(checkpoints.values()))
    lines = [
        f"# {plan.dataset}",
        "",
        f"A {plan.grid.dimensions}D {plan.network.description}, trained by nnU-Net v2 and taken over by osteon "
        f"{__version__}. Research software, no medical device.",
        "",
        "## Data",
        "",
        f"- Channels: {', '.join(f'{i.channel} ({i.why[0]})' for i in plan.intensities)}",
        f"- Structures: {', '.join(s.name for s in plan.structures)}",
        f"- Grid: {spacing} {plan.unit} along {'-'.join(plan.grid.axes)}",
        "",
        "## Origin",
        "",
        f"- {source.path.parent.name or source.path.parent}: trainer {first.trainer or 'not recorded'}, "
        f"plans {source.plans.plans_name}, configuration {source.name}",
        *(f"- fold {fold}: {c.path.name}, SHA-256 {c.sha256}" for fold, c in checkpoints.items()),
        *(f"- {note}" for note in notes),
        "",
        "## Licence",
        "",
        "nnU-Net's code is Apache-2.0; osteon contains none of it. Its folder does not say under which terms the "
        "weights may be used: ask those who trained the model, and respect the terms of the data it was trained on.",
    ]
    return "\n".join(lines) + "\n"
