"""What a user decides when training, and whether it makes sense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

from osteon.core.errors import UsageError
from osteon.dataset.folds import GroupBy
from osteon.plan.schema import Plan, Precision
from osteon.training.tracking import parse_track

FOLDS = 5


@dataclass(frozen=True)
class TrainOptions:
    """What a user decides when training; everything else stands in the plan.

    Attributes:
        budget_s: Seconds of training; the learning rate ends with them.
        epochs: Or a number of epochs; neither: the plan's.
        fold: Which fold to validate on; None holds nothing out; `all`: one training for each fold, and a model of
            all of them.
        folds: How many folds the cases are divided into.
        folds_by: What is never parted: the cases of a subject, or of a site.
        seed: Of weights, patches and augmentation.
        device: As `core.devices` has the words; `auto`: a GPU where there is one.
        precision: None: the plan's on a CPU, bf16 on a GPU.
        deterministic: Only operations that give the same result each time (needs `epochs`).
        workers: Processes for preparing; None: as memory allows.
        init: A run or a model folder whose weights the training begins with; the head is new where the structures are.
        update: A run or a model folder that the training goes on from with what was labelled since, and whose model
            stays in use unless the new one is as good (`runs.update`).
        devices: On each node; each has a process, and the plan's batch.
        nodes: Machines, on all of which a launcher has started this training.
        track: `mlflow:URI`: a server that gets the figures of each epoch, beside metrics.csv and TensorBoard.
        track_parent: The id of the run there that this one is a part of.
    """

    budget_s: float | None = None
    epochs: int | None = None
    fold: int | Literal["all"] | None = 0
    folds: int = FOLDS
    folds_by: GroupBy = "subject"
    seed: int = 0
    device: str = "auto"
    precision: Precision | None = None
    deterministic: bool = False
    workers: int | None = None
    init: str | None = None
    update: str | None = None
    devices: int = 1
    nodes: int = 1
    track: str | None = None
    track_parent: str | None = None

    @property
    def begins_with(self) -> str | None:
        """The run or model folder whose weights the training begins with."""
        return self.init if self.update is None else self.update


PLACE = ("workers", "devices", "nodes", "track", "track_parent")
"""The options that say where a run is trained: it goes on with others."""
DEFAULTS = TrainOptions()


class RunKeywords(TypedDict, total=False):
    """The fields of `TrainOptions` as keywords, for who checks types."""

    budget_s: float | None
    epochs: int | None
    fold: int | Literal["all"] | None
    folds: int
    folds_by: GroupBy
    seed: int
    device: str
    precision: Precision | None
    deterministic: bool
    workers: int | None
    init: str | None
    update: str | None
    devices: int
    nodes: int
    track: str | None
    track_parent: str | None


def check_options(options: TrainOptions, plan: Plan) -> None:
    """Raises UsageError where options contradict each other or the plan, or mean nothing."""
    if options.track is not None:
        parse_track(options.track)
    if plan.training.patience_epochs is not None and options.fold is None:
        raise UsageError(
            "patience waits for a better validation Dice, and --fold none validates nothing",
            hint="leave --patience (patience_epochs in plan.yaml) out, or give a fold",
        )
    if options.update is not None and (options.init is not None or options.fold != 0):
        raise UsageError(
            "an update begins with its own model, and chooses itself which cases judge it",
            hint="leave --init and --fold out, or leave --update out",
        )
    if options.budget_s is not None and options.epochs is not None:
        raise UsageError("a budget and a number of epochs contradict each other", hint="give --budget or --epochs")
    if options.budget_s is not None and options.budget_s <= 0:
        raise UsageError(f"a budget of {options.budget_s:g} s trains nothing", hint="--budget 20min, for example")
    if options.epochs is not None and options.epochs < 1:
        raise UsageError(f"{options.epochs} epochs train nothing", hint="--epochs 1 or more")
    if options.deterministic and options.budget_s is not None:
        raise UsageError(
            "a time budget cannot be deterministic: it ends where the machine's speed lets it",
            hint="use --epochs with --deterministic",
        )
    if options.seed < 0:
        raise UsageError(f"--seed {options.seed}: is negative", hint="--seed 0 or more")
    if isinstance(options.fold, int) and not 0 <= options.fold < options.folds:
        raise UsageError(
            f"there is no fold {options.fold} of {options.folds}",
            hint=f"--fold 0 … {options.folds - 1}, all of them, or none to hold nothing out",
        )
