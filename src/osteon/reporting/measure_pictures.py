"""Pictures of measures: bones as a shadow, or the scan where it is a picture itself, with numbered lines over them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from osteon.core.labels import Segmentation, Structure
from osteon.core.pieces import split_pieces
from osteon.core.volume import Volume
from osteon.dataset.modality import Modality
from osteon.drawing.slices import grey_range, rgb
from osteon.formats.raster import has_unknown_sides
from osteon.reporting.measure_views import Direction, Floats, Marked, MeasureView

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box = tuple[float, float, float, float]
"""Left, right, bottom, top of a picture, in mm."""
COLOURS = ("#ffd166", "#4cc9f0", "#ff7b7b", "#80ed99", "#f4a4ff", "#ffa94d")
GROUND = "#0d1014"
PIXELS = 560
"""Of a picture's longer edge, before it is enlarged."""
HEIGHT_IN, DPI = 4.4, 130
_NARROWEST, _WIDEST = 0.55, 1.7
_MARGIN = 0.08
_LEAST_MM = 12.0
"""Of a view: what is smaller is not enlarged further."""
_AROUND, _OWN = 0.25, 1.0
"""How bright structures are that a picture is not about, and those that it is about."""


class CasePainter:
    """Paints the views of one case.

    Args:
        segmentation: What was measured.
        image: Of a picture: the picture; volumes are shown as shadows of their structures.
        modality: Of the image.
    """

    def __init__(self, segmentation: Segmentation, image: Volume | None = None, modality: Modality | None = None):
        self.segmentation, wholes = split_pieces(segmentation)
        self.image, self.modality = image, modality
        own = self.segmentation.structures
        self.points = {s.name: _points(self.segmentation, s) for s in own}
        self.wholes = {s.name: whole.name for s, whole in zip(own, wholes, strict=True)}

    def about(self, view: MeasureView) -> set[str]:
        """The structures and pieces that a view is about."""
        return {name for name, whole in self.wholes.items() if {name, whole} & set(view.structures)}

    def paint(self, view: MeasureView) -> bytes:
        """The PNG of a view."""
        return _paint(view, self)


def _paint(view: MeasureView, case: CasePainter) -> bytes:
    from matplotlib.figure import Figure

    segmentation, points, image = case.segmentation, case.points, case.image
    box = _box(view, [points[name] for name in case.about(view) if len(points[name])])
    width, height = box[1] - box[0], box[3] - box[2]
    figure = Figure(figsize=(HEIGHT_IN * width / height, HEIGHT_IN), facecolor=GROUND)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_facecolor(GROUND)
    if image is not None and image.geometry.singleton_axes:
        _show_picture(axes, view.direction, image, case.modality or "other")
        _show_outlines(axes, view.direction, case)
    else:
        axes.imshow(_shadow(view, case, box), extent=box, origin="lower", interpolation="bilinear")
    for one in view.marked:
        _mark(axes, view.direction, one, max(width, height))
    axes.set(xlim=box[:2], ylim=box[2:], aspect="equal")
    axes.set_axis_off()
    if not has_unknown_sides(segmentation.geometry):
        style: dict[str, Any] = {"color": "#aab4c3", "fontsize": 9, "transform": axes.transAxes}
        axes.text(0.015, 0.5, view.direction.letters[0], va="center", **style)
        axes.text(0.5, 0.985, view.direction.letters[1], ha="center", va="top", **style)
    kept = io.BytesIO()
    figure.savefig(kept, format="png", dpi=DPI, facecolor=GROUND)
    return kept.getvalue()


def _points(segmentation: Segmentation, structure: Structure) -> Floats:
    """The voxels' centres of a structure in the world, `[n, 3]`."""
    return segmentation.geometry.to_world(np.argwhere(segmentation.mask(structure)))


def _box(view: MeasureView, bodies: Sequence[Floats]) -> Box:
    """Left, right, bottom, top in mm: the structures and the lines with a margin, within reasonable proportions."""
    flat = np.concatenate([view.direction.flatten(points) for points in (*bodies, view.points)])
    low, high = flat.min(axis=0), flat.max(axis=0)
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, _LEAST_MM / 2) * (1 + 2 * _MARGIN)
    half[0] = max(half[0], half[1] * _NARROWEST)
    half[1] = max(half[1], half[0] / _WIDEST)
    left, bottom = (middle - half).tolist()
    right, top = (middle + half).tolist()
    return left, right, bottom, top


def _shadow(view: MeasureView, case: CasePainter, box: Box) -> npt.NDArray[np.float64]:
    """`[row, column, 3]`: how deep each structure is along the line of sight, in its colour."""
    from scipy.ndimage import gaussian_filter

    edge = max(case.segmentation.geometry.spacing_mm)
    pixel = max(box[1] - box[0], box[3] - box[2]) / PIXELS
    if pixel < 1.4 * edge:  # else grid and pixels make a pattern
        pixel = edge / min(2, max(1, round(edge / pixel)))
    shape = max(1, round((box[3] - box[2]) / pixel)), max(1, round((box[1] - box[0]) / pixel))
    ranges = ((box[2], box[3]), (box[0], box[1]))
    whole, about = np.zeros((*shape, 3)), case.about(view)
    for structure in case.segmentation.structures:
        flat = view.direction.flatten(case.points[structure.name])
        counts = np.histogram2d(flat[:, 1], flat[:, 0], bins=shape, range=ranges)[0] if len(flat) else np.zeros(shape)
        depth = gaussian_filter(counts, 0.85 * edge / pixel)
        if not depth.any():
            continue
        shade = np.sqrt(np.minimum(depth / np.percentile(depth[depth > depth.max() / 100], 98), 1))
        part = _OWN if structure.name in about or not about else _AROUND
        colour = 0.55 + 0.45 * np.array(rgb(structure.colour)) / 255
        whole = np.maximum(whole, 0.75 * part * shade[..., None] * colour)
    return whole + np.array(rgb(GROUND)) / 255 * (1 - whole)


def _show_picture(axes: Axes, direction: Direction, image: Volume, modality: Modality) -> None:
    """The picture's own pixels where they lie."""
    grid = image.geometry
    (axis,) = grid.singleton_axes[:1]
    pixels = np.take(image.array[0], 0, axis)
    first, second = (other for other in range(3) if other != axis)
    corners = direction.flatten(grid.to_world(np.eye(3)[[first, second]] * np.array(grid.shape) - 0.5))
    start = direction.flatten(grid.to_world(np.full(3, -0.5)[None] + 0.5 * np.eye(3)[axis]))[0]
    across = abs(corners[0][0] - start[0]) > abs(corners[0][1] - start[1])
    shown = pixels.T if across else pixels  # rows go up
    end = start + (corners - start).sum(axis=0)
    low, high = grey_range(image.array[0], modality)
    extent = (float(start[0]), float(end[0]), float(start[1]), float(end[1]))
    axes.imshow(shown, cmap="gray", vmin=low, vmax=high, extent=extent, origin="lower", interpolation="bilinear")


def _show_outlines(axes: Axes, direction: Direction, case: CasePainter) -> None:
    """The outlines of a picture's structures."""
    grid = case.segmentation.geometry
    (axis,) = grid.singleton_axes[:1]
    for structure in case.segmentation.structures:
        places = np.argwhere(case.segmentation.mask(structure))
        if not len(places):
            continue
        low, high = np.maximum(places.min(axis=0) - 1, -1), places.max(axis=0) + 2
        low[axis], high[axis] = 0, 1
        inside = np.zeros(high - low)
        inside[tuple((places - low).T)] = 1
        flat = direction.flatten(grid.to_world(np.indices(inside.shape).reshape(3, -1).T + low))
        x, y = (np.take(flat[:, n].reshape(inside.shape), 0, axis) for n in (0, 1))
        axes.contour(
            x, y, np.take(inside, 0, axis), levels=[0.5], colors=[structure.colour], linewidths=0.8, alpha=0.85
        )


def _mark(axes: Axes, direction: Direction, one: Marked, size: float) -> None:
    """A line, angle, point or circle with its number beside it."""
    from matplotlib.patches import Circle
    from matplotlib.patheffects import withStroke

    colour, halo = COLOURS[(one.number - 1) % len(COLOURS)], [withStroke(linewidth=2.8, foreground=GROUND)]
    flat = direction.flatten(one.drawing.points)
    style: dict[str, Any] = {"color": colour, "path_effects": halo}
    if one.drawing.kind == "sphere":
        centre, edge = np.asarray(one.drawing.points, dtype=np.float64)
        radius = float(np.linalg.norm(edge - centre))
        axes.add_patch(Circle((flat[0][0], flat[0][1]), radius, fill=False, edgecolor=colour, linewidth=1.4))
        at = flat[0] + radius * np.array([0.71, 0.71])
    elif one.drawing.kind == "point" or np.ptp(flat, axis=0).max() < size / 300:
        axes.plot(flat[:, 0], flat[:, 1], "o", markersize=4, markeredgecolor=GROUND, color=colour)
        at = flat[0]
    else:
        axes.plot(flat[:, 0], flat[:, 1], "-", linewidth=1.5, marker=".", markersize=4, **style)
        at = flat[1] if one.drawing.kind == "angle" else flat[0] + (flat[-1] - flat[0]) * _place(one.number)
    axes.annotate(
        str(one.number),
        (at[0], at[1]),
        xytext=(4, 3),
        textcoords="offset points",
        fontsize=8,
        fontweight="bold",
        color=colour,
        path_effects=halo,
        annotation_clip=True,
    )


def _place(number: int) -> float:
    """Where along a line its number stands: of lines beside each other in different places."""
    return (0.5, 0.35, 0.65, 0.25, 0.75)[number % 5]
