"""The 29 bones of a hand and wrist as flat outlines, in millimetres: x to the thumb, y to the finger tips.

0 is the middle of the capitate. Lengths of metacarpals and phalanges follow Buryanov & Kotiuk, "Proportions of hand
segments", Int J Morphol 28 (2010). Distances are negative inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.phantoms.shapes import Field, Points, ellipsoid, rod, smooth_union

CARPALS = ("Trapezium", "Trapezoid", "Capitate", "Hamate", "Scaphoid", "Lunate", "Triquetrum", "Pisiform")
NAMES = (*(f"finger-{n}" for n in range(1, 20)), *CARPALS, "Radius", "Ulna")
"""As the hand-bone challenge has them: from the thumb's tip to its metacarpal, then finger by finger."""

_RAYS = (
    # where the metacarpal begins, its direction (degrees to the thumb), lengths from metacarpal to tip, widths
    ((25.5, 1.5), 40.0, (46.0, 32.0, 22.0), (10.0, 9.0, 7.5)),
    ((13.0, 14.5), 9.0, (66.0, 40.0, 23.0, 16.0), (9.0, 9.5, 8.3, 6.5)),
    ((2.5, 15.0), 1.0, (63.0, 44.0, 27.0, 17.5), (9.2, 9.8, 8.6, 6.8)),
    ((-8.0, 12.5), -8.0, (56.0, 41.0, 26.0, 17.5), (8.0, 9.2, 8.2, 6.6)),
    ((-17.5, 9.0), -18.0, (52.0, 33.0, 18.5, 15.5), (8.2, 8.3, 7.2, 5.8)),
)
_CARPALS = {
    "Trapezium": ((21.0, 2.0), (7.6, 8.8), 35.0),
    "Trapezoid": ((12.0, 6.5), (6.2, 7.2), 10.0),
    "Capitate": ((0.5, 1.0), (7.4, 12.6), -4.0),
    "Hamate": ((-11.5, 1.5), (8.2, 10.4), -14.0),
    "Scaphoid": ((12.5, -9.5), (7.0, 12.2), 40.0),
    "Lunate": ((-0.5, -15.5), (8.6, 7.4), 8.0),
    "Triquetrum": ((-14.5, -11.5), (8.0, 6.6), -35.0),
    "Pisiform": ((-17.0, -9.0), (5.0, 6.4), -10.0),
}


@dataclass(frozen=True)
class FlatBone:
    """One bone: rods and an end or two, joined.

    Attributes:
        name: One of `NAMES`; empty for a bone that nobody outlines.
        rods: Start, end and the two radii of each, mm.
        lumps: Middle, half sizes and turn in degrees of each.
        blend_mm: Width of the fillets.
        half_mm: Half of the bone's depth along the ray, where it is thickest.
        cortex_mm: Of the wall half-way along a shaft, and at its ends.
        axis: Two places, for the wall's thickness between them.
    """

    name: str
    rods: tuple[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], tuple[float, float]], ...]
    lumps: tuple[tuple[npt.NDArray[np.float64], tuple[float, float], float], ...]
    blend_mm: float
    half_mm: float
    cortex_mm: tuple[float, float]
    axis: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]

    def box(self, margin_mm: float) -> npt.NDArray[np.float64]:
        """`[2, 2]`: the lowest and the highest x, y that the bone may reach."""
        ends = [(p, max(r)) for a, b, r in self.rods for p in (a, b)] + [(m, max(s)) for m, s, _ in self.lumps]
        low = np.min([p - r for p, r in ends], axis=0) - margin_mm - self.blend_mm
        high = np.max([p + r for p, r in ends], axis=0) + margin_mm + self.blend_mm
        return np.stack([low, high])

    def distance(self, points: Points) -> Field:
        """Distance `[n]` to the outline at `[3, n]`, whose third row is 0."""
        parts = [rod(points, [*a, 0], [*b, 0], radii) for a, b, radii in self.rods]
        for middle, (across, along), degrees in self.lumps:
            turn = np.radians(degrees)
            cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
            x, y = points[0] - np.float32(middle[0]), points[1] - np.float32(middle[1])
            # A positive turn leans to the thumb.
            own = np.stack([x * cos - y * sin, x * sin + y * cos, np.zeros_like(x)])
            parts.append(ellipsoid(own, (0, 0, 0), (across, along, max(across, along))))
        whole = parts[0]
        for part in parts[1:]:
            whole = smooth_union(whole, part, self.blend_mm)
        return whole

    def wall(self, points: Points) -> Field:
        """Thickness of the cortex in mm at `[3, n]`."""
        start, end = (np.asarray(p, dtype=np.float32) for p in self.axis)
        way = end - start
        t = np.clip((way @ (points[:2] - start[:, None])) / max(float(way @ way), 1e-6), 0, 1)
        shaft = np.clip(1 - (2 * t - 1) ** 4 * 1.15, 0, 1)
        return np.asarray(self.cortex_mm[1] + (self.cortex_mm[0] - self.cortex_mm[1]) * shaft, dtype=np.float32)


@dataclass(frozen=True)
class FlatHand:
    """All bones, and the rods that make the skin: places from wrist to tip with the flesh's radii."""

    bones: tuple[FlatBone, ...]
    flesh: tuple[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], tuple[float, float]], ...]


def _at(origin: npt.ArrayLike, degrees: float, length: float) -> npt.NDArray[np.float64]:
    turn = np.radians(degrees)
    return np.asarray(origin) + length * np.array([np.sin(turn), np.cos(turn)])


def _long(name: str, base: npt.NDArray[np.float64], lean: float, length: float, width: float, kind: str) -> FlatBone:
    """A metacarpal (`m`), phalanx (`p`) or finger tip (`t`): a broad base, a narrow shaft, a head."""
    half = width / 2
    foot = {"m": (0.92, 0.78), "p": (0.86, 0.5), "t": (0.95, 0.45)}[kind]
    top = {"m": (0.86, 0.95), "p": (0.68, 0.6), "t": (0.66, 0.5)}[kind]
    low, high = _at(base, lean, foot[1] * width), _at(base, lean, length - top[1] * width)
    middle = _at(base, lean, length * 0.55)
    waist = half * {"m": 0.86, "p": 0.92, "t": 0.6}[kind]
    lumps = (
        (low, (foot[0] * width, foot[1] * width), lean),
        (high, (top[0] * width, top[1] * width), lean),
    )
    rods = ((low, middle, (half * 1.05, waist)), (middle, high, (waist, half * (0.95 if kind != "t" else 0.7))))
    wall = {"m": (1.9, 0.5), "p": (1.7, 0.45), "t": (1.1, 0.4)}[kind]
    return FlatBone(name, rods, lumps, width * 0.55, half * 1.05, wall, (low, high))


def draw_hand(subject: np.random.Generator, pose: np.random.Generator) -> FlatHand:
    """Draw a hand.

    Args:
        subject: What is the same in both hands: sizes.
        pose: What differs from picture to picture: how the fingers lie.
    """
    grown, stout = subject.uniform(0.88, 1.06), subject.uniform(0.92, 1.1)
    lengths = subject.normal(1, 0.025, (5, 4))
    spread = pose.uniform(0.7, 1.5)
    bones: list[FlatBone] = []
    flesh = []
    number = 0
    for ray, (start, lean, sizes, widths) in enumerate(_RAYS):
        place = grown * (np.array(start) + pose.normal(0, 0.5, 2))
        direction = lean * (spread if ray else 1) + pose.normal(0, 2 if ray else 6)
        chain = []
        knots = [place.copy()]
        for n, (size, width) in enumerate(zip(sizes, widths, strict=True)):
            length, wide = grown * size * lengths[ray, n], grown * stout * width
            kind = "m" if n == 0 else "t" if n == len(sizes) - 1 else "p"
            chain.append(_long(f"finger-{number + len(sizes) - n}", place, direction, length, wide, kind))
            # A bent finger is seen from its end: its bones cover one another.
            place = _at(place, direction, length + pose.uniform(-1.2, 1.5))
            knots.append(place.copy())
            direction += pose.normal(0, 3) - (0.25 * direction if n == 0 and ray else 12 if n == 0 else 0)
        number += len(sizes)
        bones += chain[::-1]
        radii = [13.0, 10.0 if ray else 12.5, 8.8 if ray else 10.5, 8.0, 6.8]
        flesh += [
            (a, b, (grown * stout * r, grown * stout * s))
            for a, b, r, s in zip(knots, knots[1:], radii, radii[1:], strict=False)
        ]
        if ray < 2:  # sesamoids
            beside = _at(knots[1], direction + 90 * (1 if ray == 0 else -1), 4.5)
            bones.append(_lump("", beside, (2.2, 2.6), 0, 2.0))
    for name, (middle, sizes, lean) in _CARPALS.items():
        at = grown * (np.array(middle) + pose.normal(0, 0.5, 2))
        half = (grown * sizes[0] * subject.normal(1, 0.03), grown * sizes[1] * subject.normal(1, 0.03))
        bones.append(_lump(name, at, half, lean + pose.normal(0, 3), min(half)))
    bones += _forearm(grown, pose)
    flesh += _palm(grown, stout)
    order = {name: n for n, name in enumerate(NAMES)}
    return FlatHand(tuple(sorted(bones, key=lambda bone: order.get(bone.name, len(order)))), tuple(flesh))


def _lump(name: str, middle: npt.NDArray[np.float64], half: tuple[float, float], lean: float, depth: float) -> FlatBone:
    """A carpal bone: two ellipses that make a bean."""
    side = _at(middle, lean + 90, half[0] * 0.35)
    lumps = ((middle, half, lean), (side, (half[0] * 0.75, half[1] * 0.7), lean + 25))
    return FlatBone(name, (), lumps, half[0] * 0.5, depth, (0.9, 0.9), (middle, middle))


def _forearm(grown: float, pose: np.random.Generator) -> list[FlatBone]:
    lean = pose.normal(0, 2.5)
    found = []
    for name, top, width, head, styloid in (
        ("Radius", (7.5, -31.0), 14.0, (16.0, 9.0), ((19.0, -24.0), 4.5)),
        ("Ulna", (-15.0, -33.0), 11.0, (8.6, 8.0), ((-21.5, -25.5), 2.6)),
    ):
        at = grown * (np.array(top) + pose.normal(0, 0.6, 2))
        neck, end = _at(at, lean + 180, grown * 20), _at(at, lean + 180, grown * 90)
        half = grown * width / 2
        tip, radius = grown * np.array(styloid[0]), grown * styloid[1]
        rods = ((at, neck, (grown * head[0] * 0.62, half)), (neck, end, (half, half * 0.95)), (at, tip, (half, radius)))
        lumps = ((at, (grown * head[0], grown * head[1]), lean),)
        found.append(FlatBone(name, rods, lumps, grown * 6, half * 1.1, (2.4, 0.6), (at, _at(end, lean + 180, 60))))
    return found


def _palm(
    grown: float, stout: float
) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], tuple[float, float]]]:
    knots = [
        ((2, -120), (2, -45), (27, 25)),
        ((2, -45), (2, -5), (25, 27)),
        ((2, -5), (-4, 45), (27, 32)),
        ((-4, 45), (-2, 62), (32, 30)),
        ((10, 5), (30, 28), (22, 15)),
        ((-22, 5), (-30, 50), (13, 11)),
    ]
    return [
        (grown * np.array(a, float), grown * np.array(b, float), (grown * stout * r, grown * stout * s))
        for a, b, (r, s) in knots
    ]
