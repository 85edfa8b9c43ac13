"""What a row of the table of measures says, and to which bodies of a scan it is applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from osteon.measuring.body import Body
from osteon.measuring.figure import Reading, Unit
from osteon.measuring.scene import Scene

Frame = Literal["none", "bone", "patient", "picture"]


@dataclass(frozen=True)
class Target:
    """The bodies that one figure is about.

    Attributes:
        structures: Their names, the first the most important; also of those that are missing.
        bodies: In the order that the row's `read` takes; empty where something is missing.
        missing: What is missing, such as `femur_right is not there`; empty: nothing.
        side: Of the patient, where it is all of one.
        flags: What speaks against all that is measured of these bodies together.
    """

    structures: tuple[str, ...]
    bodies: tuple[Body, ...] = ()
    missing: str = ""
    side: Literal["left", "right"] | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measure:
    """One row of `registry.MEASURES`. A new measure is a function that reads it and a row; a new family is one file.

    Attributes:
        name: As commands and tables have it, without the unit.
        family: The name of the file it stands in, which `--what` takes for all of its rows.
        unit: Of its values. `mm` and `mm2` become `px` and `px2` in pictures without a spacing, if `pixels`.
        what: One line for people.
        definition: How it is computed, exactly.
        source: Where the definition is from.
        frame: What angles and directions refer to: the bone's own axes, the patient's, or the picture's.
        drawn: What a picture of it shows.
        targets: The bodies of a scan that it is about.
        read: `read(*bodies)` → the reading. Raises NotMeasuredError. It is called for the bodies as they are, and for
            replicas of them whose surfaces are displaced, from which the interval follows: what several rows need
            belongs into a function of one body, asked for by `body.find(function)`, which remembers.
        needs: `ct`: an image in Hounsfield units; `volume`: no picture; `picture`: a picture.
        pixels: Whether it means something in pixels.
        whole: Whether it means nothing where the field of view cuts a body; else `read` decides.
        positive: Whether it cannot be below 0: its interval is cut there.
    """

    name: str
    family: str
    unit: Unit
    what: str
    definition: str
    source: str
    drawn: str
    targets: Callable[[Scene], Iterable[Target]]
    read: Callable[..., Reading]
    frame: Frame = "none"
    needs: frozenset[str] = frozenset()
    pixels: bool = False
    whole: bool = True
    positive: bool = True
