"""A plan in a few lines: its decisions, its cost, and the reasons."""

from __future__ import annotations

from nicegui import ui

from osteon.app.elements import caption, note
from osteon.core.quantities import format_bytes, parse_seconds
from osteon.plan.schema import Plan

FEW_ITERATIONS = 300


def show_plan(plan: Plan, budget: str) -> None:
    """The plan's main decisions and its forecast for a training of that time."""
    cost = plan.forecast
    times = "×".join
    rows = [
        ("Network", plan.network.description),
        ("Grid", f"{plan.grid.dimensions}D, {times(f'{s:.3g}' for s in plan.grid.spacing_mm)} {plan.unit}"),
        ("Patch", f"{times(map(str, plan.patch.size))}, batch {plan.patch.batch}"),
        ("Memory", f"{format_bytes(cost.training_bytes)} to train, {format_bytes(cost.predicting_bytes)} to segment"),
        ("Disk", format_bytes(cost.cache_bytes)),
    ]
    if cost.seconds_per_iteration:
        count = parse_seconds(budget) / cost.seconds_per_iteration
        rows.append(("Time", f"{cost.seconds_per_iteration:.2g} s an iteration: about {count:,.0f} in {budget}"))
        if count < FEW_ITERATIONS:
            note("This is little time for these data: expect a rough model. Give it longer for real use.")
    for name, text in rows:
        with ui.element("div").classes("osteon-row"):
            caption(name).style("width: 84px")
            ui.label(text).classes("osteon-grow")
    with ui.expansion("Why").classes("full-width"):
        for line in (*plan.grid.why, *plan.patch.why, *plan.training.why, *plan.augmentation.why):
            ui.label(f"– {line}")
