"""One picture of several cases: the scan in grey, the reference as outlines, the prediction as coloured glass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from osteon.core.errors import UsageError
from osteon.core.files import whole_file
from osteon.core.labels import Segmentation, Structure
from osteon.core.volume import Volume
from osteon.dataset.modality import Modality
from osteon.evaluating.panels import Panel, cut_panels, grey_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_INCH = 2.7
DOTS_PER_INCH = 130
GAP = 0.04
"""Between two cases on one line, in panels' heights."""
GROUND, INK, FAINT = "#0d1014", "#e6eaf0", "#8a94a3"


@dataclass(frozen=True, eq=False)
class PictureRow:
    """One case of the picture.

    Attributes:
        case: Its id.
        image: The scan; its first channel is shown.
        prediction: On the image's grid.
        reference: Likewise; None where there is none.
        modality: Decides the grey window.
        dice: Dice by structure name, None for one that is absent from both; shown beside the pictures.
    """

    case: str
    image: Volume
    prediction: Segmentation
    reference: Segmentation | None = None
    modality: Modality = "ct"
    dice: dict[str, float | None] | None = None


def overview_picture(path: Path, rows: Sequence[PictureRow]) -> None:
    """Draw a PNG of all cases, three slices of each (one where the grid is a picture), in true proportions.

    Slices go through where most of the structures show, seen as radiologists do: the patient's right on the left.

    Args:
        path: The PNG.
        rows: At least one case.

    Raises:
        UsageError: There is no case.
        FileError: The file cannot be written.
    """
    # A Figure without pyplot needs no display and leaves no global state behind.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if not rows:
        raise UsageError("a picture of no cases cannot be drawn", hint="give at least one case")
    cut = [cut_panels(row.image, row.prediction, row.reference) for row in rows]
    panels = max(len(own) for own in cut)
    per_line = 1 if len(rows) < 3 else 2 if panels > 1 else 4
    lines = math.ceil(len(rows) / per_line)
    ratios = _width_ratios(cut)
    columns = ([*ratios, GAP] * per_line)[:-1]
    size = (sum(columns) * PANEL_INCH, lines * (PANEL_INCH + 0.2) + 0.4)
    layout = ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.05, wspace=0.0, hspace=0.02)
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, facecolor=GROUND, layout=layout)
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, len(columns), squeeze=False, width_ratios=columns)
    for ax in axes.flat:
        ax.axis("off")
    for number, (row, own) in enumerate(zip(rows, cut, strict=True)):
        line, place = divmod(number, per_line)
        _draw_row(list(axes[line, place * (panels + 1) :][:panels]), row, own, ratios)
    structures = {s.name: s for row in rows for s in row.prediction.structures}
    _draw_legend(figure, list(structures.values()), outlines=any(row.reference is not None for row in rows))
    with whole_file(Path(path)) as temporary:
        figure.savefig(temporary, format="png", facecolor=GROUND)


def _width_ratios(cut: Sequence[Sequence[Panel]]) -> list[float]:
    """Width over height of each column of one case's panels: wide enough for all cases, within reason."""
    ratios = []
    for column in range(max(len(own) for own in cut)):
        views = [own[column].view for own in cut if column < len(own)]
        widest = max((right - left) / (top - bottom) for left, right, bottom, top in views)
        ratios.append(min(max(widest, 0.5), 1.3))
    return ratios


def _draw_row(axes: Sequence[Axes], row: PictureRow, panels: Sequence[Panel], ratios: Sequence[float]) -> None:
    low, high = grey_range(row.image.array[0], row.modality)
    for ax, panel, ratio in zip(axes, panels, ratios, strict=False):
        ax.axis("on")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.set_facecolor("black")
        ax.imshow(
            panel.grey, cmap="gray", vmin=low, vmax=high, origin="lower", extent=panel.extent, interpolation="bicubic"
        )
        for structure in row.prediction.structures:
            _fill(ax, panel, structure)
            _outline(ax, panel, structure)
        left, right, bottom, top = panel.view
        height = max(top - bottom, (right - left) / ratio)
        ax.set_xlim((left + right - height * ratio) / 2, (left + right + height * ratio) / 2)
        ax.set_ylim((bottom + top - height) / 2, (bottom + top + height) / 2)
        ax.set_aspect("equal")
        for text, x, y in ((panel.left, 0.03, 0.5), (panel.top, 0.5, 0.97)):
            ax.text(x, y, text, transform=ax.transAxes, color=FAINT, fontsize=7, ha="center", va="center")
    axes[0].set_title(row.case, loc="left", color=INK, fontsize=10, fontweight="bold", pad=4)
    if row.dice is not None:
        _draw_dice(axes[len(panels) - 1], row.dice, row.prediction.structures)


def _draw_dice(ax: Axes, dice: dict[str, float | None], structures: Sequence[Structure]) -> None:
    """The mean above the case's last panel, and each structure's own value in its colour inside."""
    known = [value for value in dice.values() if value is not None]
    mean = f"Dice {sum(known) / len(known):.3f}" if known else "Dice –"
    ax.set_title(mean, loc="right", color=INK, fontsize=10, pad=4)
    shown = [s for s in structures if dice.get(s.name) is not None]
    for line, structure in enumerate(reversed(shown)):
        ax.text(
            0.97,
            0.03 + 0.065 * line,
            f"{dice[structure.name]:.2f}",
            transform=ax.transAxes,
            color=structure.colour,
            fontsize=8,
            fontweight="bold",
            ha="right",
            va="bottom",
        )


def _fill(ax: Axes, panel: Panel, structure: Structure) -> None:
    mask = panel.prediction.get(structure.name)
    if mask is not None and mask.any():
        ax.contourf(*_framed(panel, mask), levels=[0.5, 1.5], colors=[structure.colour], alpha=0.45)


def _outline(ax: Axes, panel: Panel, structure: Structure) -> None:
    mask = panel.reference.get(structure.name)
    if mask is not None and mask.any():
        x, y, framed = _framed(panel, mask)
        # A dark line under the coloured one keeps it visible on its own fill and on white cortex.
        ax.contour(x, y, framed, levels=[0.5], colors=["black"], linewidths=2.2, alpha=0.6)
        ax.contour(x, y, framed, levels=[0.5], colors=[structure.colour], linewidths=1.1)


def _framed(panel: Panel, mask: npt.NDArray[np.bool_]) -> tuple[Any, Any, Any]:
    """Pixel centres and the mask with a rim of zeros, so that every contour is closed."""
    left, right, bottom, top = panel.extent
    rows, columns = mask.shape
    dx, dy = (right - left) / columns, (top - bottom) / rows
    x = left + (np.arange(-1, columns + 1) + 0.5) * dx
    y = bottom + (np.arange(-1, rows + 1) + 0.5) * dy
    return x, y, np.pad(mask, 1).astype(np.float32)


def _draw_legend(figure: Figure, structures: Sequence[Structure], *, outlines: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(facecolor=s.colour, label=s.name) for s in structures]
    handles.append(Patch(facecolor="#ffffff55", label="filled: prediction"))
    if outlines:
        handles.append(Line2D([], [], color="#ffffff", linewidth=1.3, label="outline: reference"))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(handles), 8),
        frameon=False,
        labelcolor=INK,
        fontsize=9,
        handlelength=1.4,
        columnspacing=1.6,
    )
