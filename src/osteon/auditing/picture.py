"""The picture of a case: three slices with the structures outlined, small enough for a page of hundreds."""

from __future__ import annotations

import numpy as np

from osteon.auditing.measure import MeasuredCase
from osteon.dataset.modality import Modality
from osteon.drawing.slices import Layer, encode_picture, grey_range, paint_slice, planes_of, side_by_side
from osteon.formats.raster import has_unknown_sides

HEIGHT, FLAT_HEIGHT = 300, 420
"""Pixels of a panel's longer side: of three slices, and of a picture."""
GAP = 6
QUALITY = 78


def case_picture(measured: MeasuredCase, modality: Modality) -> bytes:
    """A JPEG of the slices where most of the structures show, outlined; the patient's right is on the left."""
    image, segmentation = measured.image, measured.segmentation
    window = grey_range(image[tuple(slice(None, None, max(1, size // 256)) for size in image.shape)], modality)
    planes, known = planes_of(image.shape), not has_unknown_sides(measured.geometry)
    panels = []
    for plane in planes:
        grey = np.take(image, measured.best[plane.axis], axis=plane.axis)
        labels = np.take(segmentation.array, measured.best[plane.axis], axis=plane.axis - 3)
        layers = [
            Layer(labels[number] > 0 if segmentation.overlapping else labels == structure.value, structure.colour)
            for number, structure in enumerate(segmentation.structures)
            if structure.name in measured.facts.structures
        ]
        edges = measured.geometry.spacing_mm[plane.right], measured.geometry.spacing_mm[plane.up]
        scale = (HEIGHT if len(planes) > 1 else FLAT_HEIGHT) / max(np.multiply(grey.shape, edges))
        letters = (plane.left_letter, plane.top_letter) if known else ("", "")
        panels.append(paint_slice(grey, layers, edges, window=window, scale=scale, letters=letters))
    return encode_picture(side_by_side(panels, GAP), quality=QUALITY, optimize=True)
