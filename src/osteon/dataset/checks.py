"""What an image and its labels must satisfy before anything is learned from them."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import numpy.typing as npt

from osteon.core.errors import DatasetError, GeometryError, ImageError, LabelError
from osteon.core.geometry import Geometry, reorient_like, reorient_to_ras
from osteon.core.label_values import bounding_boxes
from osteon.core.labels import Segmentation
from osteon.core.volume import Volume

_TIE = 1e-6
"""Voxel edges. A point midway between two voxels goes to the upper one, also where rounding moved it by 1e-9."""

_FRAMED = 0.8
"""What covers this part of a volume's sides, and half of it, is its background."""


def check_image(volume: Volume, name: str) -> None:
    """Raise ImageError, naming the image by `name`, where a channel holds NaN or Inf, or one value everywhere."""
    for number, channel in enumerate(volume.array):
        where = f"{name}, channel {number}" if len(volume.array) > 1 else name
        if channel.dtype.kind == "f" and not all(np.isfinite(plane).all() for plane in channel):
            broken = ~np.isfinite(channel)
            first = tuple(int(n) for n in np.unravel_index(int(np.argmax(broken)), channel.shape))
            nan = int(np.isnan(channel).sum())
            raise ImageError(
                f"{where}: {nan} voxels are NaN and {int(broken.sum()) - nan} are infinite, the first at {first}",
                hint="export the image again, or replace these voxels by the value of air or background",
            )
        if channel.min() == channel.max():
            raise ImageError(
                f"{where}: every voxel is {channel.flat[0]:g}; the image shows nothing",
                hint="check that the file is the scan, and export it again",
            )


def present_structures(segmentation: Segmentation) -> tuple[str, ...]:
    """Names of the structures that have a voxel, in the segmentation's order."""
    structures, array = segmentation.structures, segmentation.array
    if segmentation.overlapping:
        there = [layer.any() for layer in array]
    else:
        there = [box is not None for box in bounding_boxes(array, [s.value for s in structures])]
    return tuple(structure.name for structure, shown in zip(structures, there, strict=True) if shown)


def find_background_like(segmentation: Segmentation) -> list[str]:
    """Names of the structures that cover more than half of a volume and most of its six sides, as a background does."""
    if min(segmentation.geometry.shape) == 1:
        return []
    array = segmentation.array
    sides = [np.take(array, n, axis) for axis in (-3, -2, -1) for n in (0, -1)]
    found = []
    for n, structure in enumerate(segmentation.structures):
        covered = [side[n] > 0 if segmentation.overlapping else side == structure.value for side in sides]
        framed = sum(int(np.count_nonzero(side)) for side in covered) > _FRAMED * sum(side.size for side in covered)
        if framed and np.count_nonzero(segmentation.mask(structure)) > 0.5 * np.prod(segmentation.geometry.shape):
            found.append(structure.name)
    return found


def check_labels(segmentation: Segmentation, name: str) -> tuple[str, ...]:
    """Names of the structures that have a voxel. Raises LabelError where none has."""
    present = present_structures(segmentation)
    if not present:
        raise LabelError(
            f"{name}: the label is empty, no voxel belongs to any structure",
            hint="remove the label from the list, or pass --allow-empty where there is truly nothing to see",
        )
    return present


def reorient_array(
    array: npt.NDArray[np.generic], source: Geometry, target: Geometry
) -> npt.NDArray[np.generic] | None:
    """The array `[..., i, j, k]` with its axes as `target` has them; None where the grids are not the same.

    Axes are permuted and mirrored, no voxel changes its value or its place in the world.
    """
    if target.is_close(source):
        return array
    turn = reorient_like(source, target)
    if not target.is_close(turn.geometry(source)):
        return None
    return np.ascontiguousarray(turn.apply(array))


def align_segmentation(
    segmentation: Segmentation, geometry: Geometry, *, name: str, image_name: str, hint: str = ""
) -> Segmentation:
    """The segmentation on the image's axes; nothing is resampled.

    Args:
        segmentation: Labels on the image's voxels, the axes in any order and direction.
        geometry: The image's grid.
        name: The label file, for messages.
        image_name: The image file, for messages.
        hint: The way out; as `grid_mismatch` says it where empty.

    Raises:
        GeometryError: The grids differ by more than a turn of the axes; the message shows both.
    """
    turned = reorient_array(segmentation.array, segmentation.geometry, geometry)
    if turned is None:
        raise grid_mismatch(geometry, segmentation.geometry, name=name, image_name=image_name, hint=hint)
    labels: npt.NDArray[np.integer] = turned  # type: ignore[assignment]
    return Segmentation(labels, geometry, segmentation.structures)


def grid_mismatch(geometry: Geometry, other: Geometry, *, name: str, image_name: str, hint: str = "") -> GeometryError:
    """The error for a file `name` on the grid `other` that should be on that of `image_name`."""
    turned = reorient_like(other, geometry).geometry(other)
    what = "; ".join(geometry.explain_mismatch(turned)) or "position"
    advice = "correct the header that is wrong; where both are right, --repair-geometry resamples the label"
    if fitting := _forms_that_fit(geometry, other, image_name, name):
        what += f"; {fitting}"
        advice = "make the header's forms say the same: write the one that is right into both"
    if geometry.unit != other.unit:
        advice = "write the voxels' size in millimetres into the header that does not say it (px)"
    return GeometryError(
        f"{name} does not lie on the grid of {image_name}: {what}\n"
        f"  {image_name}: {geometry.describe()}\n  {name}: {other.describe()}",
        hint=hint or advice,
    )


def _forms_that_fit(geometry: Geometry, other: Geometry, image_name: str, name: str) -> str:
    """By which other form of their headers two grids would be the same; empty where there is none."""
    first_grids, second_grids = (
        [
            ("", grid),
            *((first_form, Geometry(grid.shape, affine, grid.unit)) for first_form, affine in grid.alternative_affines),
        ]
        for grid in (geometry, other)
    )
    for (first_form, first), (second_form, second) in itertools.product(first_grids, second_grids):
        if (first_form or second_form) and first.is_close(reorient_like(second, first).geometry(second)):
            names = [f"the {f} of {whose}" for f, whose in ((first_form, image_name), (second_form, name)) if f]
            return f"by {' and '.join(names)} they would be the same"
    return ""


def resample_labels(segmentation: Segmentation, geometry: Geometry) -> Segmentation:
    """The labels on another grid: each voxel takes the nearest one in index space, 0 outside.

    Exact for any affine, sheared ones too; where the grids' voxels coincide, nothing is lost.

    Args:
        segmentation: Index map or multi-hot.
        geometry: The grid wanted, in the same world.
    """
    source = segmentation.geometry
    to_source = np.linalg.inv(source.affine_ras) @ geometry.affine_ras
    labels = segmentation.array if segmentation.overlapping else segmentation.array[None]
    result = np.zeros((len(labels), *geometry.shape), dtype=labels.dtype)
    j, k = np.arange(geometry.shape[1])[:, None], np.arange(geometry.shape[2])[None]
    for i in range(geometry.shape[0]):  # slab by slab: the coordinates of a whole CT would take gigabytes
        index, inside = [], np.ones((geometry.shape[1], geometry.shape[2]), dtype=bool)
        for row, size in zip(to_source[:3], source.shape, strict=True):
            nearest = np.floor(row[0] * i + row[1] * j + row[2] * k + row[3] + 0.5 + _TIE).astype(np.int64)
            inside &= (nearest >= 0) & (nearest < size)
            index.append(nearest)
        a, b, c = (axis[inside] for axis in index)
        result[:, i, inside] = labels[:, a, b, c]
    array = result if segmentation.overlapping else result[0]
    return Segmentation(array, geometry, segmentation.structures)


def content_hash(volume: Volume) -> str:
    """SHA-256 of an image's shape and voxels, as 64 hexadecimal digits.

    The axes are turned to RAS and the values taken as float32 first, so that a scan that was saved again mirrored or
    as another type is still the same scan. The affine is taken as float32 too, as NIfTI keeps it: an image that lies
    at 45 degrees is not turned otherwise when it is read again.
    """
    grid = volume.geometry
    turn = reorient_to_ras(Geometry(grid.shape, grid.affine_ras.astype(np.float32).astype(np.float64), grid.unit))
    digest = hashlib.sha256()
    turned = turn.apply(volume.array)
    digest.update(repr(tuple(turned.shape)).encode())
    for channel in turned:
        for slab in channel:
            digest.update((slab.astype("<f4") + np.float32(0)).tobytes())  # adding 0 turns -0 into 0
    return digest.hexdigest()


def check_content(volume: Volume, content: str, name: str) -> None:
    """Raise DatasetError, naming the image by `name`, where its hash is not `content`."""
    now = content_hash(volume)
    if now != content:
        raise DatasetError(
            f"{name}: is not the image that was imported: its voxels have changed since (content {content[:8]}… in "
            f"dataset.yaml, now {now[:8]}…)",
            hint="restore the file, or import the data again with --overwrite; if the new image is correct and its "
            f"label belongs to it, write `content: {now}` into the case in dataset.yaml",
        )
