"""Labels that lie elsewhere than what they outline: shifted, or mirrored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.auditing.border import MOVES, LabelMove
from osteon.auditing.cohort import MIN_CASES, Cohort, strength_of
from osteon.auditing.finding import Finding
from osteon.core.statistics import MAD_TO_SD, robust_z

Floats = npt.NDArray[np.float64]

MIN_SPREAD = 0.02
"""Spread of the intensities at one place of the border that is believed, as a part of the image's range."""
MIN_SHIFT = 2
"""Steps. Labels are often off by one."""
BETTER = 0.85
"""Another place must fit so much better: its distance from the other cases' borders over the label's own."""
BETTER_MIRRORED = 0.85
"""The same for the mirror image, of which there is only one to choose, on the borders that face the mirror."""
MIN_MIRROR_RATIO = 1.1
"""In the mirror, the other cases' borders must be so much further away, or the image is as symmetric as its label."""
STANDS_OUT = 4.0
"""Robust standard deviations by which that ratio must differ from the other cases'."""
MIN_CONTRAST = 0.2
"""Of a border, as a part of the usual one's."""
SHARE = 0.6
"""Part of the label's own border that must lie in the image after the move."""
AXES = (("left", "right"), ("back", "front"), ("down", "up"))
MIRRORS = ("left and right", "front and back", "top and bottom")


@dataclass(frozen=True, eq=False)
class _Fit:
    """How well each move of a case's label fits: distance over that of the label as it is.

    `facing` is taken over the borders that face the mirror alone, which tell most of it.
    """

    case: str
    ratio: dict[LabelMove, float]
    facing: dict[int, float]


def find_moved_labels(cohort: Cohort) -> Iterator[Finding]:
    """Labels whose image fits the other cases' borders better after a shift or in the mirror."""
    fits = _fits(cohort)
    if len(fits) < MIN_CASES:
        return
    shifts = [min((fit.ratio[move], move.axis, move.steps) for move in fit.ratio if not move.mirrored) for fit in fits]
    shift_z = robust_z([np.log(ratio) for ratio, _, _ in shifts], floor=0.04)[0]
    decisive = {axis for axis in range(3) if np.median([fit.facing.get(axis, 1.0) for fit in fits]) >= MIN_MIRROR_RATIO}
    units = {case.id: case.unit for case in cohort.cases}
    for number, (fit, (ratio, axis, steps)) in enumerate(zip(fits, shifts, strict=True)):
        mirrored = [
            (near, mirror)
            for mirror, near in fit.facing.items()
            if mirror in decisive
            and near < BETTER_MIRRORED
            and fit.ratio[LabelMove(mirror, mirrored=True)] < ratio * 1.05
        ]
        if mirrored:
            yield _mirrored(fit, *min(mirrored), len(fits))
        elif ratio < BETTER and abs(steps) >= MIN_SHIFT and shift_z[number] < -STANDS_OUT:
            unit = units[fit.case]
            distance = abs(steps) * cohort.step
            yield Finding(
                severity="error",
                kind="shifted",
                cases=[fit.case],
                what=f"the label seems to lie {distance:g} {unit} too far {AXES[axis][steps < 0]}: moved "
                f"{distance:g} {unit} {AXES[axis][steps > 0]}, the image along its borders comes "
                f"{1 / max(ratio, 0.01):.1f} times closer to the other cases'",
                against=f"the borders of {len(fits)} labels; moves up to {6 * cohort.step:g} {unit} along each axis",
                action="look at its picture; correct the origin in the header of label or image, or label it again",
                strength=0.5 + 0.5 * strength_of(float(np.log(ratio)), -float(np.log(BETTER))),
            )


def _mirrored(fit: _Fit, ratio: float, axis: int, count: int) -> Finding:
    return Finding(
        severity="error",
        kind="mirrored",
        cases=[fit.case],
        what=f"the label seems to be mirrored, {MIRRORS[axis]} exchanged: in the mirror, the image along its borders "
        f"comes {1 / max(ratio, 0.01):.1f} times closer to the other cases'",
        against=f"the borders of {count} labels",
        action="look at its picture; correct the direction in the header of label or image, or label it again",
        strength=0.5 + 0.5 * strength_of(float(np.log(ratio)), -float(np.log(BETTER_MIRRORED))),
    )


def _fits(cohort: Cohort) -> list[_Fit]:
    """The fit of each case whose border can be compared."""
    if len(cohort.profiles) < MIN_CASES:
        return []
    rows = {move: number for number, move in enumerate(MOVES)}
    own = {case: _own(profiles) for case, profiles in cohort.profiles.items()}
    stack = np.stack(list(own.values()))
    known = np.isfinite(stack).sum(axis=0) >= MIN_CASES
    usual = np.full(stack.shape[1:], np.nan)
    usual[known] = np.nanmedian(stack[:, known], axis=0)
    spread = np.full(stack.shape[1:], np.nan)
    spread[known] = MAD_TO_SD * np.nanmedian(np.abs(stack[:, known] - usual[known]), axis=0) + MIN_SPREAD
    fits = []
    for case, profiles in cohort.profiles.items():
        here = np.isfinite(own[case]) & known
        first = _distance(own[case], usual, spread, here)
        if first is None:
            continue
        ratio, facing = {}, {}
        for move, row in rows.items():
            there = profiles[row].astype(np.float64)
            both = np.isfinite(there) & known
            distance = _distance(there, usual, spread, both) if both.sum() >= SHARE * here.sum() else None
            if distance is None:
                continue
            ratio[move] = distance / first
            if move.mirrored:
                side = np.isin(np.arange(len(usual)) % 6, (2 * move.axis, 2 * move.axis + 1))[:, None]
                unmoved = _distance(own[case], usual, spread, here & side)
                mirrored = _distance(there, usual, spread, both & side)
                if unmoved is not None and mirrored is not None:
                    facing[move.axis] = mirrored / unmoved
        fits.append(_Fit(case, ratio, facing))
    return fits


def _own(profiles: npt.NDArray[np.float16]) -> Floats:
    """The label where it is: any of the moves by nothing, whose axis the grid has."""
    still = [row for row, move in enumerate(MOVES) if not move.mirrored and move.steps == 0]
    counts = [np.isfinite(profiles[row]).sum() for row in still]
    return profiles[still[int(np.argmax(counts))]].astype(np.float64)


def _distance(profile: Floats, usual: Floats, spread: Floats, where: npt.NDArray[np.bool_]) -> float | None:
    """Root mean square distance from the usual profile, after the brightness and contrast that fit best.

    Contrast is at least a fifth of the usual, in the fit too: any shape fits a flat line, and where the image is flat,
    as outside what a cut-out keeps, there is no border at all.
    """
    if where.sum() < 12:
        return None
    weight = 1 / spread[where]
    design = np.stack([usual[where], np.ones(int(where.sum()))], axis=1)
    (contrast, brightness), *_ = np.linalg.lstsq(design * weight[:, None], profile[where] * weight, rcond=None)
    if abs(contrast) < MIN_CONTRAST:
        contrast = np.copysign(MIN_CONTRAST, contrast)
        brightness = np.average(profile[where] - contrast * usual[where], weights=weight**2)
    rest = (profile[where] - contrast * usual[where] - brightness) * weight
    return max(float(np.sqrt((rest**2).mean()) / abs(contrast)), 1e-3)
