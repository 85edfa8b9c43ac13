"""Smooth fields over a patch from few numbers: the product of one small matrix along each axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from osteon.training.host_to_device import send_like

Floats = npt.NDArray[np.float64]

POLYNOMIALS = 4
"""Degrees 0 to 3 of a bias field along an axis, as in Van Leemput et al., IEEE TMI 18(10), 1999."""


def expand_field(weights: torch.Tensor, bases: Sequence[Floats]) -> torch.Tensor:
    """The field of given weights.

    Args:
        weights: `[batch, component, a, b, c]`.
        bases: For each axis `[size, a]`, `[size, b]`, `[size, c]`: what each weight contributes to each voxel.

    Returns:
        `[batch, component, i, j, k]`.
    """
    along_i, along_j, along_k = (send_like(basis, weights) for basis in bases)
    field = along_j @ (weights @ along_k.T)
    return (along_i @ field.flatten(3)).unflatten(3, (len(along_j), len(along_k)))


def count_control_points(size: Sequence[int], spacing_mm: Sequence[float], grain_mm: float) -> tuple[int, ...]:
    """How many of a spline's points lie along each axis of a patch."""
    bases = [spline_basis(count, edge, grain_mm) for count, edge in zip(size, spacing_mm, strict=True)]
    return tuple(basis.shape[1] for basis in bases)


def spline_basis(size: int, spacing_mm: float, grain_mm: float) -> Floats:
    """`[size, points]` of the uniform cubic B-spline with a point every `grain_mm`; an axis of one voxel has one.

    Rueckert et al., IEEE TMI 18(8), 1999. Each voxel's weights are positive and sum to 1, so nowhere does the field
    leave the range of its points.
    """
    if size == 1:
        return np.ones((1, 1))
    place = (np.arange(size) - (size - 1) / 2) * spacing_mm / grain_mm
    cell = np.floor(place).astype(int)
    t = place - cell
    near = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6
    basis = np.zeros((size, cell[-1] - cell[0] + 4))
    np.put_along_axis(basis, (cell - cell[0])[:, None] + np.arange(4), near, axis=1)
    return basis


def legendre_bases(size: Sequence[int], spacing_mm: Sequence[float]) -> list[Floats]:
    """For each axis `[size, POLYNOMIALS]` Legendre polynomials; −1 … 1 is the patch's longest extent in mm."""
    longest = max((count - 1) * edge for count, edge in zip(size, spacing_mm, strict=True)) or 1.0
    places = [(2 * np.arange(n) - (n - 1)) * edge / longest for n, edge in zip(size, spacing_mm, strict=True)]
    return [np.polynomial.legendre.legvander(place, POLYNOMIALS - 1) for place in places]
