"""Around which voxel a patch lies: a structure is chosen, a case or slice that shows it, and one of its voxels."""

from __future__ import annotations

from collections.abc import Sequence, Sized

import numpy as np
import numpy.typing as npt

from osteon.plan.schema import Plan
from osteon.preparing.cache import CachedCase

Triple = tuple[int, int, int]
Rows = npt.NDArray[np.int32]
CaseSlice = tuple[int, int | None]
"""A case's number, and one of its slices; None: all of it."""


PatchTarget = tuple[int, Triple, int | None]
"""A case's number, a voxel that a patch is centred on, and in which of its enlarged crops (None: the case itself)."""


class ForegroundIndex:
    """What the plan's sections `sampling` and `zoom` let one draw from some cases.

    Args:
        cases: The cases.
        plan: The plan.
        turns: The number of each case, as often as it is drawn where others are drawn once; None: all once.
    """

    def __init__(self, cases: Sequence[CachedCase], plan: Plan, turns: Sequence[int] | None = None) -> None:
        self.cases = cases
        turns = range(len(cases)) if turns is None else turns
        self._showing = [number for number in turns if cases[number].present]
        self._with_crops = [number for number in turns if any(crop.present for crop in cases[number].zoomed)]
        self._in_turn = plan.sampling.weights == "case"
        self._shown = {} if self._in_turn else _index_structures(cases, turns, slices=plan.grid.dimensions == 2)
        weights = {number: _structure_weight(plan, number, len(views)) for number, views in self._shown.items()}
        self._structures = sorted(number for number, weight in weights.items() if weight > 0)
        total = np.cumsum([weights[number] for number in self._structures])
        self._up_to = total / total[-1] if len(total) else total

    def draw_target(self, case: int, pick: npt.NDArray[np.float64], rng: np.random.Generator) -> PatchTarget | None:
        """A voxel of a structure; None where no case shows one.

        Args:
            case: The number of the case whose turn it is. Another stands in for it where it shows no structure, or
                where structures have weights.
            pick: Two numbers in 0 … 1, for structure and voxel.
            rng: For what else is to be drawn.
        """
        if self._in_turn:
            if not self._showing:
                return None
            if not self.cases[case].present:
                case = self._showing[_pick(rng.random(), self._showing)]
            present = self.cases[case].present
            voxels = _structure_voxels(self.cases[case], present[_pick(pick[0], present)])
        else:
            if not self._structures:
                return None
            structure = self._structures[int(np.searchsorted(self._up_to, pick[0], side="right"))]
            views = self._shown[structure]
            case, k = views[_pick(rng.random(), views)]
            voxels = _structure_voxels(self.cases[case], structure)
            voxels = voxels if k is None else voxels[voxels[:, 2] == k]
        return case, _pick_voxel(voxels, pick[1]), None

    def draw_zoomed_target(self, case: int, rng: np.random.Generator) -> PatchTarget | None:
        """A voxel of a zoom structure in one of a case's enlarged crops; another case's where this one has none."""
        if not self._with_crops:
            return None
        pick = rng.random(4)
        if case not in self._with_crops:
            case = self._with_crops[_pick(pick[0], self._with_crops)]
        crops = self.cases[case].zoomed
        structures = sorted({number for crop in crops for number in crop.present})
        structure = structures[_pick(pick[1], structures)]
        showing = [number for number, crop in enumerate(crops) if structure in crop.present]
        chosen = showing[_pick(pick[2], showing)]
        return case, _pick_voxel(_structure_voxels(crops[chosen], structure), pick[3]), chosen


def _structure_weight(plan: Plan, structure: int, views: int) -> float:
    weights = plan.sampling.weights
    return weights.get(plan.structures[structure].name, 1.0) if isinstance(weights, dict) else 1 / views


def _index_structures(cases: Sequence[CachedCase], turns: Sequence[int], *, slices: bool) -> dict[int, list[CaseSlice]]:
    """For each structure that any case shows the cases, or slices, that show it, each as often as it has its turn."""
    shown: dict[int, list[CaseSlice]] = {}
    for number in turns:
        case = cases[number]
        for structure in case.present:
            seen: list[int | None] = [None]
            if slices:
                seen = [int(k) for k in np.unique(_structure_voxels(case, structure)[:, 2])]
            shown.setdefault(structure, []).extend((number, k) for k in seen)
    return shown


def _structure_voxels(case: CachedCase, structure: int) -> Rows:
    """`[n, 3]` voxels of a structure that the case's foreground index lists."""
    index = case.foreground
    first, last = np.searchsorted(index[:, 0], [structure, structure + 1])
    return index[first:last, 1:]


def _pick_voxel(voxels: Rows, pick: float) -> Triple:
    i, j, k = voxels[_pick(pick, voxels)]
    return int(i), int(j), int(k)


def _pick(pick: float, choices: Sized) -> int:
    return int(pick * len(choices))
