"""What `osteon train --update` has of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from osteon.cli.output import out
from osteon.cli.plan_options import given_options, is_given
from osteon.core.errors import ModelError, UsageError

if TYPE_CHECKING:
    from osteon.runs.update_gate import Verdict
    from osteon.runs.update_history import UpdateRecord


def check_update_options(context: typer.Context) -> None:
    """Raise UsageError where an option would decide what an update takes from its model."""
    others = [f"--{name.replace('_', '-')}" for name in ("fold", "folds", "folds_by", "plan", "init", "patience")]
    given = [option for option in others if is_given(context, option[2:].replace("-", "_"))]
    if given := [*given, *(option for option in given_options(context) if option != "--set")]:
        raise UsageError(
            f"--update and {given[0]} contradict each other: an update keeps its model's plan, and chooses its cases",
            hint=f"leave {given[0]} out, or start a new training from the model's weights with --init",
        )


def print_verdict(run: Path, record: UpdateRecord, verdict: Verdict) -> None:
    """Both models on the same cases. Raises ModelError where the new one is not taken."""
    from osteon.runs.update_files import NOT_TAKEN

    for name, pair in verdict.structures.items():
        out.print(f"before → after  {escape(name)}  {pair.describe()}")
    out.print(f"before → after  mean  {verdict.dice.describe()}")
    if not verdict.taken:
        raise ModelError(
            f"{run}: the new model is not taken: {verdict.why}",
            hint=f"{os.path.normpath(run / record.parent.folder)} stays in use; look at the labels that came since. "
            f"The new one lies in {run / NOT_TAKEN}",
        )
    out.print(f"the new model is taken: {escape(verdict.why)}")
