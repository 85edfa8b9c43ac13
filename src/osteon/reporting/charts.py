"""Charts as SVG that a page holds: box plots, learning curves, Bland-Altman, confidence against Dice."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#2f6fb3", "#d9822b", "#3f9d5a", "#a65fb5", "#c0504d", "#5b7f8c", "#9a8a2f", "#6f6fd0")
INK, FAINT, LINE = "#3a4250", "#7b8594", "#d6d9de"
STYLE: Mapping[str, Any] = {
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
"""Matplotlib's settings that all charts have."""
WIDTH = 8.6
"""Inches."""
POINTS = 5000
"""Dots of a chart that are drawn one by one; more become a picture, or browsers are slow to show them."""


def colour_of(number: int) -> str:
    """The colour of the n-th submission."""
    return COLOURS[number % len(COLOURS)]


def boxes(values: Mapping[str, Mapping[str, Sequence[float]]], label: str) -> str:
    """For each structure a box for each submission: quartiles, whiskers to 1.5 of their distance, all values.

    Args:
        values: Structure → submission → a figure of each case.
        label: Of the axis.
    """
    names = list(dict.fromkeys(name for of in values.values() for name in of))
    step = len(names) + 1

    def draw(axes: Axes) -> None:
        for number, name in enumerate(names):
            places = [place * step + number for place, of in enumerate(values.values()) if of.get(name)]
            data = [list(of[name]) for of in values.values() if of.get(name)]
            if not data:
                continue
            colour = colour_of(number)
            axes.boxplot(
                data,
                positions=places,
                widths=0.7,
                showfliers=False,
                patch_artist=True,
                manage_ticks=False,
                boxprops={"facecolor": colour + "55", "edgecolor": colour},
                medianprops={"color": colour, "linewidth": 2},
                whiskerprops={"color": colour},
                capprops={"color": colour},
            )
            for place, own in zip(places, data, strict=True):
                spread = [place + 0.22 * ((n * 0.618) % 1 - 0.5) for n in range(len(own))]
                axes.plot(spread, own, ".", color=colour, markersize=4, alpha=0.7)
            axes.plot([], [], color=colour, linewidth=6, alpha=0.6, label=name)
        middle = (len(names) - 1) / 2
        axes.set_xticks([place * step + middle for place in range(len(values))], list(values))
        if len(values) > 8:
            axes.tick_params(axis="x", rotation=60)
        axes.set_ylabel(label)
        axes.set_xlim(-1, len(values) * step - 1)
        _legend(axes, len(names))

    return _svg(draw, max(WIDTH, 0.16 * len(values) * step), 3.4)


def curves(runs: Mapping[str, Sequence[tuple[float, float, float | None]]], numbers: Mapping[str, int]) -> str:
    """Validation Dice over the iterations, and the loss fainter on an axis of its own.

    Args:
        runs: Iteration, loss and Dice of each epoch.
        numbers: Of the submissions, for their colours.
    """

    def draw(axes: Axes) -> None:
        losses = axes.twinx()
        for name, rows in runs.items():
            colour = colour_of(numbers[name])
            losses.plot([row[0] for row in rows], [row[1] for row in rows], color=colour, alpha=0.35, linewidth=1)
            known = [(row[0], row[2]) for row in rows if row[2] is not None]
            axes.plot([k[0] for k in known], [k[1] for k in known], "o-", color=colour, markersize=3, label=name)
        axes.set_xlabel("iteration")
        axes.set_ylabel("validation Dice")
        axes.set_ylim(0, 1)
        losses.set_ylabel("loss (faint)", color=FAINT)
        losses.spines[:].set_visible(False)
        axes.set_zorder(losses.get_zorder() + 1)
        axes.patch.set_visible(False)
        _legend(axes, len(runs))

    return _svg(draw, WIDTH, 3.0)


def bland_altman(volumes: Mapping[str, Sequence[tuple[float, float]]], colours: Mapping[str, str], unit: str) -> str:
    """Predicted minus reference volume over their mean, with the mean difference ± 1.96 SD (Bland and Altman, 1986).

    Args:
        volumes: Structure → reference and predicted volume of each case.
        colours: Of the structures.
        unit: Of the volumes.
    """

    def draw(axes: Axes) -> None:
        differences = []
        for name, pairs in volumes.items():
            means = [(a + b) / 2 for a, b in pairs]
            own = [b - a for a, b in pairs]
            differences += own
            axes.plot(means, own, ".", color=colours.get(name, INK), markersize=6, label=name)
        if differences:
            mean = fmean(differences)
            axes.axhline(mean, color=INK, linewidth=1)
            axes.annotate(f"{mean:+.3g}", (1, mean), xycoords=("axes fraction", "data"), fontsize=8, color=INK)
            if len(differences) > 1:
                for limit in (mean - 1.96 * stdev(differences), mean + 1.96 * stdev(differences)):
                    axes.axhline(limit, color=FAINT, linewidth=1, linestyle="--")
                    axes.annotate(
                        f"{limit:+.3g}", (1, limit), xycoords=("axes fraction", "data"), fontsize=8, color=FAINT
                    )
        axes.set_xlabel(f"mean of reference and prediction, {unit}")
        axes.set_ylabel(f"prediction − reference, {unit}")
        _legend(axes, min(len(volumes), 8))

    return _svg(draw, WIDTH / 2 + 0.6, 3.2)


def confidence(pairs: Sequence[tuple[float, float]], flagged: Sequence[bool]) -> str:
    """Expected against true Dice of each structure and case; those of flagged scans are ringed."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=1)
        axes.plot([p[0] for p in pairs], [p[1] for p in pairs], ".", color=COLOURS[0], alpha=0.6)
        ringed = [p for p, there in zip(pairs, flagged, strict=True) if there]
        if ringed:
            axes.plot(
                [p[0] for p in ringed],
                [p[1] for p in ringed],
                "o",
                mfc="none",
                color=COLOURS[4],
                label="to be looked at by a person",
            )
            _legend(axes, 1)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="expected Dice", ylabel="true Dice")
        axes.set_aspect("equal")

    return _svg(draw, WIDTH / 2, 3.6)


def _legend(axes: Axes, columns: int) -> None:
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=min(columns, 6),
        frameon=False,
        fontsize=8,
        labelcolor=INK,
        handlelength=1.2,
    )


def _svg(draw: Callable[[Any], None], width: float, height: float) -> str:
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.fonttype": "path",  # looks the same everywhere
        "svg.hashsalt": "osteon",
        "font.size": 9,
        **STYLE,
    }
    with rc_context(settings):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.patch.set_alpha(0)
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        axes.grid(axis="y", color=LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.patch.set_alpha(0)
        draw(axes)
        dots = [line for line in axes.lines if line.get_linestyle() == "None"]
        for line in dots if sum(np.size(line.get_xdata()) for line in dots) > POINTS else ():
            line.set_rasterized(True)
        kept = io.StringIO()
        figure.savefig(kept, format="svg", dpi=200, metadata={"Date": None})
    text = kept.getvalue()
    return text[text.index("<svg") :]
