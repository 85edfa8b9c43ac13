"""What is measured: a figure with its unit, its interval, what speaks against it, and what can be drawn of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Unit = Literal["mm", "px", "mm2", "px2", "cm3", "deg", "hu", "ratio", "grade"]
IN_PIXELS: dict[str, Unit] = {"mm": "px", "mm2": "px2"}
"""The unit of a length or an area in a picture without a pixel spacing."""
CONFIDENCE_LEVEL = 0.95


class Drawing(BaseModel):
    """What is drawn of a figure, in the world that the scan's affine leads to: RAS, mm (px in pictures without
    spacing).

    Attributes:
        kind: `point`; `line` from the first to the last of two points or more; `angle` with the corner in the middle of
            three points; `sphere` with its centre and a point on it.
        name: What it is, such as `head centre`; a person who moves a landmark finds it by this name.
        points: `[n, 3]`.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["point", "line", "angle", "sphere"]
    name: str
    points: tuple[tuple[float, float, float], ...]

    @classmethod
    def of(cls, kind: Literal["point", "line", "angle", "sphere"], name: str, *points: npt.ArrayLike) -> Drawing:
        """From points of three numbers each."""
        rows = [tuple(round(float(x), 3) for x in np.asarray(point, dtype=np.float64)) for point in points]
        return cls(kind=kind, name=name, points=tuple((x, y, z) for x, y, z in rows))


class Figure(BaseModel):
    """One figure of one case.

    Attributes:
        case: Its id.
        structures: What it is about, by name; the first counts in tables.
        measure: Name of the row in `registry.MEASURES`.
        unit: The row's, or that of pixels where the picture has no spacing.
        value: None where it could not be measured; then `not_measured` says why.
        low: Lower end of the 95 % interval; None where no interval is known.
        high: Its upper end.
        side: Of the body, where it is all of one.
        flags: What speaks against it; empty: nothing.
        not_measured: Why there is no value.
        drawings: What a picture shows.
    """

    model_config = ConfigDict(frozen=True)

    case: str
    structures: tuple[str, ...]
    measure: str
    unit: Unit
    value: float | None = None
    low: float | None = None
    high: float | None = None
    side: Literal["left", "right"] | None = None
    flags: tuple[str, ...] = ()
    not_measured: str = ""
    drawings: tuple[Drawing, ...] = ()

    @property
    def name(self) -> str:
        """With its unit: `volume_cm3`; a ratio has none."""
        return self.measure if self.unit == "ratio" else f"{self.measure}_{self.unit}"

    @property
    def about(self) -> str:
        """The structures as one text."""
        return " + ".join(self.structures)

    def to_row(self) -> dict[str, Any]:
        """As the table has it."""
        return {
            "case": self.case,
            "structure": self.about,
            "side": self.side,
            "measure": self.name,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "unit": self.unit,
            "flagged": "; ".join(self.flags),
            "not_measured": self.not_measured,
        }


class NotMeasuredError(Exception):
    """A figure that this scan does not give; the text says why. It never leaves `measuring`."""


class Reading(BaseModel):
    """What a row reads from bodies.

    Attributes:
        value: In the row's unit.
        drawings: What a picture shows.
        flags: What speaks against it.
        sd: Standard deviation of errors that replicas of the surface do not show.
    """

    model_config = ConfigDict(frozen=True)

    value: float
    sd: float = 0.0
    drawings: tuple[Drawing, ...] = ()
    flags: tuple[str, ...] = ()

    @classmethod
    def of(cls, value: float, drawings: Iterable[Drawing] = (), flags: Sequence[str] = (), sd: float = 0.0) -> Reading:
        """A reading; NumPy's numbers too."""
        return cls(value=float(value), sd=float(sd), drawings=tuple(drawings), flags=tuple(flags))
