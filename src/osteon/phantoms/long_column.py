"""Columns from the lower neck to the sacrum, with more or fewer vertebrae than usual and with transitional ones.

Sizes follow Panjabi et al., "Thoracic human vertebrae", Spine 16 (1991), and "Human lumbar vertebrae", Spine 17 (1992).
Exceptions: Konin & Walz, "Lumbosacral transitional vertebrae", AJNR 31 (2010).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from osteon.phantoms.shapes import Field, Points, chain, rod, rotation, smooth_union
from osteon.phantoms.vertebra import Column, Vertebra, place_sacrum

NECK = 3
"""Cervical vertebrae that are drawn; they have no label."""
PROPORTIONS = {
    "C": ((6.5, 7.2), (11, 12.5), (7.6, 8.2), (4, 4), (12, 22)),
    "T": ((8.2, 12.3), (13.5, 20.5), (8.8, 16), (3.6, 5.8), (24, -12)),
    "L": ((12.9, 13.9), (21.5, 25), (16.6, 17.6), (7.5, 11), (-11, -7, 0, 9, 22)),
}
"""Half height, half width, half depth, disc (mm), forward lean (degrees), from a region's first vertebra down."""


@dataclass(frozen=True)
class Anatomy:
    """How many vertebrae there are, whether L1 has ribs, and whether half of the last one has grown into the sacrum."""

    thoracic: int = 12
    lumbar: int = 5
    ribs_on_l1: bool = False
    half_fused: bool = False

    @property
    def names(self) -> list[str]:
        """Of the labelled vertebrae, from above."""
        return [f"T{n + 1}" for n in range(self.thoracic)] + [f"L{n + 1}" for n in range(self.lumbar)]


ANATOMIES = {
    "": Anatomy(),
    "11 thoracic": Anatomy(thoracic=11),
    "13 thoracic": Anatomy(thoracic=13),
    "4 lumbar": Anatomy(lumbar=4),
    "6 lumbar": Anatomy(lumbar=6),
    "ribs on L1": Anatomy(ribs_on_l1=True),
    "half fused": Anatomy(half_fused=True),
}
"""The usual column and its exceptions, by the name that the truth has for them."""


@dataclass(frozen=True)
class Level(Vertebra):
    """A vertebra of any region.

    Attributes:
        arch_scale: Size of its arch and processes, 1 for a lumbar one.
        droop: How steeply its spinous process runs down.
        rib_mm: How far a rib reaches from the body's side; 0 where there is none.
        wedge: By which part it is higher in front than in the middle.
        fused_side: 1 right or -1 left, where its transverse process has grown into the sacrum; else 0.
    """

    arch_scale: float = 1.0
    droop: float = 0.0
    rib_mm: float = 0.0
    wedge: float = 0.0
    fused_side: int = 0

    def body(self, p: Points) -> Field:
        """Distance to the body, higher in front where it is a wedge."""
        taper = 1 + np.float32(self.wedge) * np.clip(p[1] / np.float32(self.deep), -1, 1)
        return super().body(np.stack([p[0], p[1], p[2] / taper]))

    def arch(self, p: Points) -> Field:
        """Distance to pedicles, laminae, joints and processes."""
        lower = p[2] + np.float32(self.droop) * np.maximum(-40 * np.float32(self.arch_scale) - p[1], 0)
        own = np.asarray(np.stack([p[0], p[1], lower]) / np.float32(self.arch_scale), dtype=np.float32)
        arch = np.asarray(super().arch(own) * np.float32(self.arch_scale), dtype=np.float32)
        if not self.fused_side:
            return arch
        mass = rod(np.stack([p[0] * self.fused_side, p[1], p[2]]), (20, -24, 2), (36, -16, -26), (9, 13))
        return smooth_union(arch, mass, 8)

    def ribs(self, p: Points) -> Field | None:
        """Distance to both ribs as far as they are drawn: from the body's upper edge outward, back and round."""
        if not self.rib_mm:
            return None
        p = np.stack([np.abs(p[0]), p[1], p[2]])
        wide, back, top = self.wide, -self.deep, 0.45 * self.high
        knots = [
            ((wide - 1, back + 3, top), 4.6),
            ((wide + 16, back - 4, top - 1), 4.0),
            ((wide + 32, back - 3, top - 6), 4.4),
            ((wide + 60, back + 18, top - 20), 4.4),
        ]
        return np.asarray(np.maximum(chain(p, knots), p[0] - np.float32(wide + self.rib_mm)), dtype=np.float32)


@dataclass(frozen=True)
class LongColumn(Column):
    """Bones from the lower neck to the sacrum, 0 in the middle of a lumbar vertebra."""

    def straighten(self, points: Points) -> Points:
        """Points where they would lie if the bodies stood one upon another."""
        places = np.array([v.centre_mm for v in self.vertebrae[::-1]])
        shift = [np.interp(points[2], places[:, 2], places[:, axis]).astype(np.float32) for axis in (0, 1)]
        return np.stack([points[0] - shift[0], points[1] - shift[1], points[2]])


def draw_long_column(rng: np.random.Generator, anatomy: Anatomy) -> LongColumn:
    """Draw an adult's column: its sizes, curves, a slight scoliosis, and small disorder from level to level."""
    growth, curve, thickness = rng.uniform(0.9, 1.08), rng.uniform(0.75, 1.2), rng.uniform(0.88, 1.12)
    bend, twist = rng.normal(0, 2, 2)
    names = [f"C{8 - NECK + n}" for n in range(NECK)] + anatomy.names
    counts = {"C": NECK, "T": anatomy.thoracic, "L": anatomy.lumbar}
    levels: list[Level] = []
    place, gap = np.zeros(3), 0.0
    for n, name in enumerate(names):
        count = counts[name[0]]
        part = [name[0] == other[0] for other in names[:n]].count(True) / (count - 1)
        high, wide, deep, disc, lean = (
            float(np.interp(part, np.linspace(0, 1, len(row)), row)) for row in PROPORTIONS[name[0]]
        )
        high, wide, deep = (growth * size * rng.normal(1, 0.012) for size in (high, wide, deep))
        level = (n - len(names) / 2) / 6
        turn = rotation((-lean * curve + rng.normal(0, 1.2), bend * level + rng.normal(0, 1), twist * level))
        if levels:
            place = place - levels[-1].turn[:, 2] * (levels[-1].high + gap / 2) - turn[:, 2] * (high + gap / 2)
        last = n == len(names) - 1
        fused = anatomy.half_fused and last
        gap = disc * thickness * (0.45 if fused else 1.0)
        levels.append(
            Level(
                name,
                place,
                turn,
                wide,
                deep,
                high,
                process=(0.75 if name[0] != "L" else 1.0) * rng.uniform(0.85, 1.15),
                disc_mm=gap + 6,
                arch_scale=(deep / 1.08 + 10) / 25,
                droop=0.8 if name[0] == "T" and part < 0.85 else 0.0,
                rib_mm=_rib(rng, name, anatomy),
                wedge=0.12 if last else 0.0,
                fused_side=int(rng.choice([-1, 1])) if fused else 0,
            )
        )
    middle = levels[-1 - anatomy.lumbar // 2].centre_mm
    moved = tuple(replace(level, centre_mm=level.centre_mm - middle) for level in levels)
    promontory, slope = place_sacrum(rng, moved[-1], gap)
    canal = [v.centre_mm + v.turn @ (0, -25 * v.arch_scale, z) for v in moved for z in (v.high, -v.high)]
    canal += [promontory + slope @ (0, -26.0, 0), promontory + slope @ (0, -23.0, -60.0)]
    return LongColumn(moved, promontory, slope, np.array(canal))


def _rib(rng: np.random.Generator, name: str, anatomy: Anatomy) -> float:
    """How far a vertebra's ribs reach: out of the field, but for the last two pairs; a stump on a transitional L1."""
    reach = {f"T{anatomy.thoracic - 1}": (36, 50), f"T{anatomy.thoracic}": (22, 34)}
    if anatomy.ribs_on_l1:
        reach["L1"] = (11, 18)
    return float(rng.uniform(*reach.get(name, (100, 110) if name[0] == "T" else (0, 0))))
