"""SWEEP.yaml: what a sweep tries, on what, and for how long."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from osteon.core.devices import check_device
from osteon.core.errors import PlanError, UsageError
from osteon.core.files import read_yaml
from osteon.dataset.folds import GroupBy
from osteon.dataset.manifest import describe_errors
from osteon.plan.overlay import closest_names, parse_numbers
from osteon.runs.options import FOLDS, TrainOptions
from osteon.sweeping.median_stopping import StoppingRule

_UNION_TAGS = ("function-after[_rises(), SearchRange]", "list[any]")
"""What pydantic calls the two forms of what a search draws from."""
UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
BUDGET = re.compile(r"(\d+(?:\.\d*)?)\s*(s|m|min|h)?")


def _parse_seconds(value: Any) -> Any:
    match = BUDGET.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(match[1]) * UNITS[match[2] or ""] if match else value


def _check_device(value: str) -> str:
    try:
        return check_device(value)
    except UsageError as error:
        raise ValueError(f"{error.message}; {error.hint}") from error


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


class SweepSection(BaseModel):
    """A mapping of SWEEP.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SearchRange(SweepSection):
    """A range that a search draws from; whole numbers where both ends are."""

    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def _rises(self) -> SearchRange:
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError(
                f"a range goes from low to high (above 0 with log), not from {self.low:g} to {self.high:g}"
            )
        return self


class Search(SweepSection):
    """A search by Optuna.

    Attributes:
        over: Key → a range, or a list of values.
        trials: How many.
        seed: Of the sampler.
    """

    over: dict[str, SearchRange | Annotated[list[Any], Field(min_length=1)]] = Field(min_length=1)
    trials: Annotated[int, Field(ge=1)] = 20
    seed: Annotated[int, Field(ge=0)] = 0


class Sweep(SweepSection):
    """What a sweep does. A key is a field of `planning.options.PlanOptions`, or a `section.key` of the plan.

    Attributes:
        dataset: A folder with dataset.yaml, from SWEEP.yaml's folder on.
        folder: Where the runs go; beside SWEEP.yaml and named like it when left out.
        budget: Seconds of training for each trial, or `90s`, `20min`, `1.5h`.
        epochs: Or a number of epochs.
        seeds: Each trial is run with each of them.
        base: Key → value for all trials.
        grid: Key → values, all with all; several grids are tried one after the other.
        search: Or a search.
        stop: When a bad trial is ended early; null: never.
        track: `mlflow:URI`: a server on which the sweep is a run, and each trial one within it.
    """

    dataset: str
    folder: str | None = None
    budget: Annotated[float | None, BeforeValidator(_parse_seconds), Field(gt=0, allow_inf_nan=False)] = None
    epochs: Annotated[int | None, Field(ge=1)] = None
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0]
    fold: Annotated[int, Field(ge=0)] = 0
    folds: Annotated[int, Field(ge=2)] = FOLDS
    folds_by: GroupBy = "subject"
    device: Annotated[str, AfterValidator(_check_device)] = "auto"
    workers: Annotated[int | None, Field(ge=1)] = None
    base: dict[str, Any] = {}
    grid: Annotated[
        list[dict[str, Annotated[list[Any], Field(min_length=1)]]] | None,
        BeforeValidator(_as_list),
        Field(min_length=1),
    ] = None
    search: Search | None = None
    stop: StoppingRule | None = StoppingRule()
    track: str | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Sweep:
        if (self.budget is None) == (self.epochs is None):
            raise ValueError("give budget (20min) or epochs, so that every trial has the same")
        if (self.grid is None) == (self.search is None):
            raise ValueError("give grid or search")
        for name, values in (("seeds", self.seeds), *((key, v) for grid in self.grid or [] for key, v in grid.items())):
            if any(value in values[:number] for number, value in enumerate(values)):
                raise ValueError(f"{name}: lists a value twice")
        return self

    def options(self, seed: int) -> TrainOptions:
        """Options of a trial's training with this seed."""
        return TrainOptions(
            budget_s=self.budget,
            epochs=self.epochs,
            fold=self.fold,
            folds=self.folds,
            folds_by=self.folds_by,
            seed=seed,
            device=self.device,
            workers=self.workers,
            track=self.track,
        )

    @property
    def keys(self) -> list[str]:
        """Keys in which the trials differ, in the file's order."""
        if self.search is not None:
            return list(self.search.over)
        return list(dict.fromkeys(key for grid in self.grid or [] for key in grid))


def read_sweep(path: Path) -> Sweep:
    """Read a SWEEP.yaml; its paths are made absolute.

    Raises:
        FileError: It is missing or not YAML.
        PlanError: A key is missing, unknown or nonsense; the message names it.
    """
    data = read_yaml(path, "the sweep")
    if not isinstance(data, dict):
        raise PlanError(f"{path}: a sweep is a mapping", hint="give dataset, budget or epochs, and grid or search")
    for key in data:
        if key not in Sweep.model_fields:
            raise PlanError(
                f"{path}: {key}: a sweep has no such key",
                hint=f"near it: {closest_names(str(key), list(Sweep.model_fields))}",
            )
    try:
        sweep = Sweep.model_validate(parse_numbers(data))
    except ValidationError as error:
        found = describe_errors(error, _UNION_TAGS)
        raise PlanError(f"{path}: {found}", hint="correct the keys named here") from None
    here = path.resolve().parent
    folder = here / (sweep.folder or path.stem)
    return sweep.model_copy(update={"dataset": str(here / sweep.dataset), "folder": str(folder)})
