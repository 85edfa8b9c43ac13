"""Speed against accuracy: how densely patches follow one another, and whether mirror images are averaged."""

from __future__ import annotations

from dataclasses import dataclass

from osteon.core.errors import UsageError


@dataclass(frozen=True)
class SpeedPreset:
    """One trade-off.

    Attributes:
        name: As `--speed` names it.
        step: Patches follow one another by this part of their size.
        mirror: Average over the mirror images that the plan allows.
        region: Where structures fill a small part of a scan, find that part first, and predict nowhere else.
    """

    name: str
    step: float
    mirror: bool
    region: bool


FAST = SpeedPreset("fast", 0.75, mirror=False, region=True)
BALANCED = SpeedPreset("balanced", 0.5, mirror=False, region=True)
BEST = SpeedPreset("best", 0.5, mirror=True, region=False)
SPEEDS = (FAST, BALANCED, BEST)


def find_speed(name: str) -> SpeedPreset:
    """The preset of a name. Raises UsageError where there is none."""
    for speed in SPEEDS:
        if speed.name == name:
            return speed
    raise UsageError(f"there is no speed {name}", hint=f"one of {', '.join(speed.name for speed in SPEEDS)}")
