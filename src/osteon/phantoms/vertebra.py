"""Lumbar vertebrae as signed distances, and the curve on which they stand.

A vertebra's own frame, in millimetres: x right, y anterior, z up, 0 in the middle of its body. Sizes follow Panjabi
et al., "Human lumbar vertebrae", Spine 17 (1992): bodies 41–52 mm wide, 34–35 mm deep, 24–28 mm high.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.phantoms.shapes import Field, Points, ellipsoid, rod, rotation, smooth_union

TILT_DEGREES = {"T11": -9, "T12": -12, "L1": -11, "L2": -7, "L3": 0, "L4": 9, "L5": 22}
"""How far each body leans forward: the lordosis. It is drawn steeper or flatter case by case."""


@dataclass(frozen=True)
class Vertebra:
    """One vertebra: where it stands, its half sizes in mm, its own proportions, and its disc's depth."""

    name: str
    centre_mm: npt.NDArray[np.float64]
    turn: npt.NDArray[np.float64]
    wide: float
    deep: float
    high: float
    process: float
    disc_mm: float = 16.0

    def to_local(self, points: Points) -> Points:
        """Points in the vertebra's own frame."""
        away = points - self.centre_mm.astype(np.float32)[:, None]
        return np.asarray(self.turn.T.astype(np.float32) @ away, dtype=np.float32)

    def radius(self, p: Points) -> Field:
        """0 on the body's axis, 1 on its wall; flat towards the canal."""
        behind = np.where(p[1] < 0, p[1] * np.float32(1.08), p[1])
        return np.asarray(
            ((np.abs(p[0]) / self.wide) ** 2.4 + (np.abs(behind) / self.deep) ** 2.4) ** (1 / 2.4), dtype=np.float32
        )

    def body(self, p: Points) -> Field:
        """Distance to the body: waisted, with hollow end plates."""
        around = self.radius(p)
        level = np.minimum(np.abs(p[2]) / self.high, 1)
        wall = (around - 1) * np.float32(self.deep) + 2.6 * (1 - level * level)
        ends = np.abs(p[2]) - self.high + 1.7 * np.maximum(1 - around * around, 0)
        return -smooth_union(-np.asarray(wall, np.float32), -np.asarray(ends, np.float32), 3)

    def arch(self, p: Points) -> Field:
        """Distance to pedicles, laminae, joints and processes."""
        p = np.stack([np.abs(p[0]), p[1], p[2]])
        long = self.process
        pedicle = rod(p, (13, -12, 5), (15, -28, 4), (6, 5.5), flat=(1.25, 1, 0.9))
        upper = rod(p, (16, -29, 4), (20, -30, 15), (5.5, 4))
        lower = rod(p, (14, -32, 0), (13, -40, -19), (5.5, 4.2))
        lamina = rod(p, (14, -32, 1), (1, -43, -5), (5, 5), flat=(1, 1.2, 0.8))
        spine = rod(p, (0, -43, -4), (0, -43 - 22 * long, -9), (6.5, 8), flat=(1.6, 1, 0.75))
        side = rod(p, (17, -27, 4), (18 + 25 * long, -31, 5), (5.5, 4), flat=(1, 1.3, 0.9))
        joined = smooth_union(smooth_union(pedicle, upper, 5), smooth_union(lamina, lower, 5), 5)
        return smooth_union(joined, np.minimum(spine, side), 6)

    def ribs(self, p: Points) -> Field | None:
        """Distance to the ribs beside it; None where there are none."""
        del p
        return None

    def distance(self, p: Points) -> Field:
        """Distance `[n]` to the whole vertebra at points `[3, n]` of its own frame; negative inside."""
        return smooth_union(self.body(p), self.arch(p), 4)


@dataclass(frozen=True)
class Column:
    """The bones from T11 to the sacrum, 0 in the middle of L3.

    Attributes:
        vertebrae: From T11 to L5.
        promontory_mm: The middle of the sacrum's upper end plate.
        slope: `[3, 3]` the sacrum's frame there.
        canal_mm: `[n, 3]` the middle of the spinal canal, from top to bottom.
    """

    vertebrae: tuple[Vertebra, ...]
    promontory_mm: npt.NDArray[np.float64]
    slope: npt.NDArray[np.float64]
    canal_mm: npt.NDArray[np.float64]

    def straighten(self, points: Points) -> Points:
        """Points where they would lie about a straight column; a short one is taken as straight."""
        return points

    def sacrum(self, points: Points) -> Field:
        """Distance `[n]` to the sacrum: a wedge that bends backward, with wings."""
        p = np.asarray(
            self.slope.T.astype(np.float32) @ (points - self.promontory_mm.astype(np.float32)[:, None]),
            dtype=np.float32,
        )
        wedge = rod(p, (0, -3, -17), (0, -6, -52), (17, 12), flat=(0.62, 1, 1))
        tail = rod(p, (0, -6, -52), (0, 6, -95), (12, 7), flat=(0.6, 1, 1))
        wings = ellipsoid(np.stack([np.abs(p[0]), p[1], p[2]]), (34, -10, -26), (22, 18, 26))
        crest = rod(p, (0, -36, -20), (0, -32, -60), (6, 5), flat=(1.4, 1, 1))
        whole = smooth_union(np.minimum(wedge, tail), wings, 12)
        arch = rod(np.stack([np.abs(p[0]), p[1], p[2]]), (20, -20, -24), (2, -36, -26), (7, 6))
        whole = smooth_union(whole, np.minimum(crest, arch), 5)
        canal = rod(p, (0, -26, 8), (0, -22, -75), (8, 4), flat=(0.7, 1, 1))
        return np.asarray(np.maximum(np.maximum(whole, p[2] + 1.0 * (np.abs(p[0]) < 26)), -canal), dtype=np.float32)


def draw_column(rng: np.random.Generator) -> Column:
    """Draw an adult's lumbar spine: its sizes, lordosis, a slight scoliosis, and small disorder from level to level."""
    growth, lordosis = rng.uniform(0.9, 1.08), rng.uniform(0.7, 1.25)
    bend, twist = rng.normal(0, 3), rng.normal(0, 3)
    disc = rng.uniform(8.5, 11)
    stations: list[tuple[str, npt.NDArray[np.float64], float]] = []
    frames: list[npt.NDArray[np.float64]] = []
    place, before = np.zeros(3), None
    for n, (name, tilt) in enumerate(TILT_DEGREES.items()):
        level = (n - 4) / 3  # 0 at L3
        turn = rotation((-tilt * lordosis + rng.normal(0, 1.2), bend * level + rng.normal(0, 1), twist * level))
        high = growth * (12.6 + 0.25 * n)
        if before is not None:
            up, above = before
            gap = disc * (0.62 + 0.07 * n)
            place = place - up[:, 2] * (above + gap / 2) - turn[:, 2] * (high + gap / 2)
        stations.append((name, place, high))
        before = (turn, high)
        if name == "L3":
            middle = place
        frames.append(turn)
    vertebrae = tuple(
        Vertebra(
            name,
            at - middle,
            turn,
            growth * (20.5 + 0.75 * n),
            growth * (16.2 + 0.22 * n),
            high,
            (0.75 if name.startswith("T") else 1.0) * rng.uniform(0.85, 1.15),
        )
        for n, ((name, at, high), turn) in enumerate(zip(stations, frames, strict=True))
    )
    promontory, slope = place_sacrum(rng, vertebrae[-1], disc)
    canal = [v.centre_mm + v.turn @ (0, -25.0, z) for v in vertebrae for z in (14.0, -14.0)]
    canal += [promontory + slope @ (0, -26.0, 0), promontory + slope @ (0, -23.0, -60.0)]
    return Column(vertebrae, promontory, slope, np.array(canal))


def place_sacrum(
    rng: np.random.Generator, last: Vertebra, disc: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The middle of the sacrum's upper end plate, `disc` mm below the last vertebra, and its frame `[3, 3]`."""
    slope = last.turn @ rotation((-rng.uniform(11, 17), 0, 0))
    promontory = last.centre_mm - last.turn[:, 2] * (last.high + disc * 0.55) - slope[:, 2] * disc * 0.5
    return promontory, slope
