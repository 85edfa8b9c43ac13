"""The figures of a scene: each row read from its bodies, and again from their replicas for the interval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats

from osteon.measuring.figure import CONFIDENCE_LEVEL, IN_PIXELS, Figure, NotMeasuredError, Reading
from osteon.measuring.measure import Measure, Target
from osteon.measuring.scene import Scene

MIN_READ = 0.75
"""Part of the replicas that must give a value, else no interval is known."""


def measure_scene(scene: Scene, measures: Sequence[Measure]) -> list[Figure]:
    """All figures of a scene, in the rows' order."""
    return [figure for row in measures for figure in measure_targets(scene, row)]


def measure_targets(scene: Scene, row: Measure) -> Iterator[Figure]:
    """The figures of one row: one for each of its targets. A row that means nothing for this kind of scan has none."""
    kind = "picture" if scene.picture else "volume"
    if not row.needs & {"picture", "volume"} <= {kind} or ("ct" in row.needs and scene.modality not in (None, "ct")):
        return
    for target in row.targets(scene):
        yield _measure(scene, row, target)


def _measure(scene: Scene, row: Measure, target: Target) -> Figure:
    unit = IN_PIXELS.get(row.unit, row.unit) if scene.geometry.unit == "px" else row.unit
    asked = dict.fromkeys([*target.structures, *(body.name for body in target.bodies)])
    told = [*(flag for name in asked for flag in scene.flags.get(name, ())), *target.flags]
    figure = Figure(
        case=scene.case, structures=target.structures, measure=row.name, unit=unit, side=target.side, flags=tuple(told)
    )
    try:
        _check(scene, row, target)
        reading = row.read(*target.bodies)
        if not np.isfinite(reading.value):
            raise NotMeasuredError("its shape does not allow it")
    except NotMeasuredError as error:
        return figure.model_copy(update={"not_measured": str(error)})
    low, high = _interval(row, target, reading)
    flags = dict.fromkeys([*told, *(flag for body in target.bodies for flag in body.flags), *reading.flags])
    if low is None:
        flags["without an interval: small changes of the surface change what is found"] = None
    values = {"value": reading.value, "low": low, "high": high, "flags": tuple(flags), "drawings": reading.drawings}
    return figure.model_copy(update=values)


def _check(scene: Scene, row: Measure, target: Target) -> None:
    """Raise NotMeasuredError where the row means nothing of these bodies."""
    if target.missing:
        raise NotMeasuredError(target.missing)
    if scene.geometry.unit == "px" and not row.pixels:
        raise NotMeasuredError("the picture has no pixel spacing in mm")
    if "ct" in row.needs and scene.modality is None:
        raise NotMeasuredError("it is unknown whether the scan is a CT (--modality)")
    cut = [body.name for body in target.bodies if len(body.cut)]
    if row.whole and cut:
        raise NotMeasuredError(f"{' and '.join(cut)} {'are' if len(cut) > 1 else 'is'} cut by the field of view")


def _interval(row: Measure, target: Target, reading: Reading) -> tuple[float | None, float | None]:
    """The value ± Student's t × the root mean square of how far the replicas' values lie from it.

    From it, and not from their mean: a rough surface has a larger area and a longer diameter than a smooth one, and
    errors of the border make it rough.
    """
    values = []
    together = zip(*(body.replicas for body in target.bodies), strict=True)
    for bodies in together:
        try:
            values.append(row.read(*bodies).value)
        except NotMeasuredError:
            values.append(np.nan)
    known = np.array(values)[np.isfinite(values)]
    if len(known) < MIN_READ * len(values) or len(known) < 2:
        return None, None
    spread = np.sqrt(((known - reading.value) ** 2).mean() + reading.sd**2)
    reach = float(stats.t.ppf((1 + CONFIDENCE_LEVEL) / 2, len(known) - 1) * spread)
    low = reading.value - reach
    return max(low, 0.0) if row.positive else low, reading.value + reach
