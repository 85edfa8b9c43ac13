"""Runs that take a second, and the command line in the tests' own process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from helpers import plan_data, two_boxes, write_dataset
from osteon.cli.main import main
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Channel
from osteon.plan.schema import Plan, parse_plan
from osteon.runs.options import TrainOptions

CPU = TrainOptions(device="cpu", workers=1)


def cohort(folder: Path, cases: int = 6) -> Dataset:
    return write_dataset(folder, {f"c{n}": two_boxes(seed=n) for n in range(cases)})


def learning_plan(changes: dict[str, Any] | None = None) -> Plan:
    """A plan with which the tiny network finds the boxes in a second."""
    data = plan_data({"training.epoch_iterations": 40, "training.learning_rate": 0.02, "patch.size": [12, 8, 8]})
    data["network"]["features"] = [8, 12]
    return parse_plan(plan_data(changes, data), Path("plan.yaml"))


def two_channels() -> Plan:
    """A plan of two channels, T1 and T2."""
    plan = learning_plan()
    channels = [Channel(name=name, modality="mr") for name in ("t1", "t2")]
    intensities = [plan.intensities[0].model_copy(update={"channel": c.name}) for c in channels]
    return plan.model_copy(update={"channels": channels, "intensities": intensities})


def command(*arguments: object) -> int:
    """Run `osteon ARGUMENTS`; the exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["osteon", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
    code = end.value.code
    return code if isinstance(code, int) else 0 if code is None else 1
