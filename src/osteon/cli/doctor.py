"""`osteon doctor`: what this machine can do, and what is wrong with the installation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from osteon.cli.output import info, out, plain_table

COLOURS = {"fine": "green", "note": "yellow", "wrong": "bold red"}


def doctor(
    model: Annotated[
        Path | None, typer.Argument(help="A model or run: also measure which engine is fastest with it here.")
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Argument(help="Its dataset: also try engines of lower precision on the validation cases, and keep that."),
    ] = None,
) -> None:
    """Check the installation; with a model, measure engines on this machine for `osteon predict`."""
    import osteon

    report = osteon.doctor(model, dataset)
    for check in report.checks:
        colour = COLOURS[check.state]
        out.print(f"[{colour}]{check.state:5}[/] {escape(check.name)}: {escape(check.message)}")
        if check.hint:
            out.print(f"      → {escape(check.hint)}")
    if report.speeds:
        table = plain_table(("engine", "ready after", "a patch", "same voxels", ""), left=("engine", ""))
        for speed in report.speeds:
            if speed.why_not:
                table.add_row(speed.name, "–", "–", "–", escape(speed.why_not))
                continue
            gate = report.gates.get(speed.name)
            verdict = "" if gate is None else "passed the gate" if gate.passed else "does not pass the gate"
            cells = f"{speed.start_s:.1f} s", f"{speed.run_s:.3f} s", f"{speed.agrees:.4%}"
            table.add_row(speed.name, *cells, verdict)
        out.print(table, soft_wrap=False)
    for gate in report.gates.values():
        worst = max(gate.dice_drop, key=lambda name: gate.dice_drop[name], default="")
        most = max(gate.volume_change, key=lambda name: gate.volume_change[name], default="")
        if worst and most:
            text = (
                f"{gate.engine}: on {gate.cases} validation scans {worst} loses {gate.dice_drop[worst]:.4f} Dice, "
                f"{most} changes its volume by {gate.volume_change[most]:.2f} %"
            )
            out.print(escape(text))
    if report.speeds_path:
        info(f"`osteon predict` uses this: {escape(str(report.speeds_path))}")
    if any(check.state == "wrong" for check in report.checks):
        raise typer.Exit(1)
