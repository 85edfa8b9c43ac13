"""A training's metrics.csv, as it grows, for the charts of its page."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHART_AXIS: dict[str, Any] = {
    "type": "value",
    "axisLabel": {"color": "#8a94a3"},
    "nameTextStyle": {"color": "#8a94a3"},
    "splitLine": {"lineStyle": {"color": "rgba(128, 138, 155, 0.22)"}},
}
"""Axes that are readable on a light and a dark background."""


@dataclass(frozen=True)
class Curves:
    """What a training has recorded so far.

    Attributes:
        seconds: Of training, at each epoch.
        loss: At each epoch.
        dice: For each structure, and `mean`: seconds and Dice at each validation.
        iteration: The last one.
        seconds_per_iteration: In the last epoch.
    """

    seconds: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    dice: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    iteration: int = 0
    seconds_per_iteration: float = 0.0

    @property
    def latest_dice(self) -> dict[str, float]:
        """The last Dice of each structure."""
        return {name: points[-1][1] for name, points in self.dice.items() if points}


def read_curves(run: Path) -> Curves:
    """The curves of a run; empty where nothing is recorded yet."""
    path = run / "metrics.csv"
    if not path.is_file():
        return Curves()
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row.get("elapsed_s") and row.get("loss")]
    if not rows:
        return Curves()
    seconds, loss = ([float(row[key]) for row in rows] for key in ("elapsed_s", "loss"))
    dice: dict[str, list[tuple[float, float]]] = {}
    for time, row in zip(seconds, rows, strict=True):
        for key, value in row.items():
            if value and (key == "dice" or key.startswith("dice_")):
                name = "mean" if key == "dice" else key.removeprefix("dice_")
                dice.setdefault(name, []).append((time, float(value)))
    last = rows[-1]
    return Curves(seconds, loss, dice, int(last["iteration"]), float(last["s_per_iteration"] or 0))


def chart_options(curves: Curves, colours: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of two charts: the loss, and the Dice of each structure, over minutes of training."""
    loss = _line("loss", list(zip(curves.seconds, curves.loss, strict=True)), "#1a63d2")
    dice = [
        _line(name, points, "#8c8c8c" if name == "mean" else colours.get(name, "#1a63d2"))
        for name, points in curves.dice.items()
    ]
    return _chart("loss", [loss]), _chart("Dice", dice, maximum=1)


def _line(name: str, points: list[tuple[float, float]], colour: str) -> dict[str, Any]:
    """A line of a chart; `points` are seconds and values."""
    data = [[round(seconds / 60, 3), round(value, 4)] for seconds, value in points]
    style = {"type": "dashed", "width": 3} if name == "mean" else {"width": 2}
    symbol = len(points) < 12
    return {"type": "line", "name": name, "data": data, "showSymbol": symbol, "color": colour, "lineStyle": style}


def _chart(name: str, series: list[dict[str, Any]], maximum: float | None = None) -> dict[str, Any]:
    return {
        "animation": False,
        "grid": {"left": 56, "right": 16, "top": 24, "bottom": 64 if len(series) > 1 else 44},
        "tooltip": {"trigger": "axis"},
        "legend": {"show": len(series) > 1, "bottom": 0, "type": "scroll", "textStyle": {"color": "#8a94a3"}},
        "xAxis": CHART_AXIS | {"name": "minutes", "nameLocation": "middle", "nameGap": 24, "min": 0},
        "yAxis": CHART_AXIS | {"name": name, "max": maximum, "scale": maximum is None},
        "series": series,
    }
