"""What rank 0 tells the others to train: as JSON, through their store."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from osteon.plan.schema import FILE_NAME, Plan, parse_plan
from osteon.runs.options import TrainOptions
from osteon.training.checkpoint import TrainingState


@dataclass(frozen=True)
class FitTask:
    """One training. Folders lie where all ranks read them.

    Attributes:
        dataset: Its folder, in whose cache all cases are prepared.
        run: The run's folder, with the checkpoint that `state` is of.
        plan: All decisions.
        options: What the plan does not decide.
        state: Where the training stands.
        training: Ids of the cases to train on.
        validation: Ids of those to validate on.
        checkpoint_every_s: As `loop.fit_network` takes it.
        repeats: As `loop.fit_network` takes it.
    """

    dataset: Path
    run: Path
    plan: Plan
    options: TrainOptions
    state: TrainingState
    training: list[str]
    validation: list[str]
    checkpoint_every_s: float
    repeats: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> str:
        """As text."""
        parts: dict[str, Any] = {"dataset": str(self.dataset.resolve()), "run": str(self.run.resolve())}
        parts |= {"plan": self.plan.model_dump(mode="json", exclude_none=True)}
        parts |= {"options": asdict(self.options), "state": vars(self.state)}
        return json.dumps(vars(self) | parts)

    @classmethod
    def from_json(cls, text: str) -> FitTask:
        """What `to_json` wrote."""
        parts = json.loads(text)
        run = Path(parts.pop("run"))
        return cls(
            Path(parts.pop("dataset")),
            run,
            parse_plan(parts.pop("plan"), run / FILE_NAME),
            TrainOptions(**parts.pop("options")),
            TrainingState(**parts.pop("state")),
            **parts,
        )
