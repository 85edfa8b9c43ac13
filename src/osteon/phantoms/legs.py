"""A child's pelvis and legs as signed distances, in millimetres: x right, y anterior, z up, 0 between the hips.

Sizes are an adult's times the child's growth; ossified epiphyses are joined to their shafts by growth plates, which
belong to the bone. Each function gives the distance `[n]` at points `[3, n]`, negative inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osteon.phantoms.shapes import (
    Field,
    Points,
    RandomWaves,
    RigidTransform,
    chain,
    ellipsoid,
    rod,
    rotation,
    smooth_union,
)


@dataclass(frozen=True)
class Leg:
    """One leg: +1 right or −1 left, lengths in mm, how it lies, and the waves of its growth plates."""

    lateral: int
    growth: float
    femur_mm: float
    tibia_mm: float
    pose: RigidTransform
    wave: RandomWaves

    def to_local(self, points: Points) -> Points:
        """Points in the leg's own frame: lateral is +x on both sides, sizes are an adult's, the hip joint is still."""
        at = self.pose.undo(points)
        return np.asarray(at * np.array([[self.lateral], [1], [1]], dtype=np.float32) / np.float32(self.growth))

    @property
    def knee(self) -> float:
        """Height of the knee in the leg's own frame."""
        return -self.femur_mm / self.growth

    @property
    def ankle(self) -> float:
        """Height of the ankle in the leg's own frame."""
        return self.knee - self.tibia_mm / self.growth

    def femur(self, p: Points) -> Field:
        """Head, neck, trochanter, a shaft bowed forward, two condyles."""
        k = self.knee
        shaft = chain(
            p,
            [
                ((112, -2, -22), 14),
                ((106, 4, -90), 12.5),
                ((94, 8, k / 2), 12),
                ((81, 2, k + 60), 15),
                ((80, 0, k + 24), 25),
            ],
        )
        neck = chain(p, [((80, 0, 0), 15), ((98, -2, -6), 12), ((112, -4, -22), 15)])
        bone = smooth_union(smooth_union(shaft, neck, 10), ellipsoid(p, (119, -8, -10), (11, 14, 18)), 8)
        bone = np.minimum(bone, ellipsoid(p, (80, 0, 0), (22, 22, 22)))
        for x, depth in ((59, 25), (101, 24)):
            bone = smooth_union(bone, ellipsoid(p, (x, -6, k + 11), (16, depth, 20)), 9)
        return bone

    def tibia(self, p: Points) -> Field:
        """Plateau with tuberosity, a shaft that narrows, the inner malleolus."""
        k, a = self.knee, self.ankle
        shaft = chain(
            p,
            [
                ((80, -2, k - 34), 26),
                ((80, 0, k - 70), 16),
                ((79, -2, (k + a) / 2), 11.5),
                ((76, -4, a + 45), 11),
                ((75, -4, a + 12), 17),
            ],
        )
        plateau = ellipsoid(p, (80, -4, k - 26), (36, 25, 14))
        bone = smooth_union(smooth_union(shaft, plateau, 12), ellipsoid(p, (82, 18, k - 50), (8, 9, 15)), 8)
        return smooth_union(bone, ellipsoid(p, (60, -3, a + 2), (8, 11, 15)), 8)

    def fibula(self, p: Points) -> Field:
        """Thin, behind and beside the tibia, from below the knee to the outer malleolus."""
        k, a = self.knee, self.ankle
        return chain(
            p,
            [
                ((112, -20, k - 48), 10),
                ((111, -19, k - 72), 6.5),
                ((106, -16, (k + a) / 2), 6.2),
                ((99, -12, a + 30), 6.5),
                ((98, -12, a - 8), 9.5),
            ],
        )

    def unnamed(self, p: Points) -> Field:
        """Patella, talus and calcaneus: bones that nobody annotates."""
        k, a = self.knee, self.ankle
        foot = np.minimum(ellipsoid(p, (78, 2, a - 14), (17, 24, 12)), ellipsoid(p, (80, -22, a - 34), (15, 32, 17)))
        front = rod(p, (78, 26, a - 26), (80, 110, a - 46), (14, 9))
        return np.minimum(np.minimum(foot, front), ellipsoid(p, (80, 36, k + 18), (18, 8, 20)))

    def plates(self, p: Points) -> Field:
        """Distance to the nearest growth plate: a wavy sheet across each end of each bone."""
        x, _, z = p
        wave = self.wave(p)
        head = (
            np.abs((x - 86) * np.float32(0.75) - z * np.float32(0.66) + wave)
            + np.maximum(-z - 30, 0)
            + np.maximum(x - 108, 0)
        )
        ends = [np.abs(z - end + wave) for end in (self.knee + 27, self.knee - 38, self.ankle + 16)]
        outer = np.where(x > 95, np.abs(z - (self.knee - 60) + wave), np.float32(99))
        trochanter = np.abs(z - x + 127 + wave) + np.maximum(106 - x, 0)
        return np.asarray(np.minimum.reduce([head, *ends, outer, trochanter]), dtype=np.float32)

    def skin(self, p: Points) -> Field:
        """Distance to the leg's skin."""
        k, a = self.knee, self.ankle
        thigh = chain(p, [((96, -8, 20), 84), ((92, -4, -110), 74), ((82, -2, k + 40), 54), ((80, -4, k - 20), 51)])
        calf = chain(
            p, [((80, -4, k - 20), 51), ((82, -16, k - 105), 54), ((80, -10, a + 70), 37), ((78, -8, a - 10), 35)]
        )
        foot = rod(p, (79, -24, a - 34), (80, 120, a - 48), (32, 22))
        return smooth_union(smooth_union(thigh, calf, 15), foot, 25)


def draw_leg(rng: np.random.Generator, lateral: int, growth: float) -> Leg:
    """Draw one leg of a child who has `growth` (about 0.6 to 0.8) of an adult's size."""
    turn = rotation((rng.uniform(-3, 4), lateral * rng.uniform(-4, 1), lateral * rng.uniform(-6, 6)))
    pose = RigidTransform(turn, np.array([lateral * 80.0 * growth, 0, 0]), np.zeros(3))
    return Leg(
        lateral,
        growth,
        growth * rng.uniform(385, 400),
        growth * rng.uniform(315, 330),
        pose,
        RandomWaves.draw(rng, wavelengths_mm=[60, 35, 22], sd=1.1),
    )


def pelvis(points: Points, growth: float) -> Field:
    """Distance `[n]` to both hip bones and the sacrum, which one mask holds together."""
    p = np.asarray(points / np.float32(growth), dtype=np.float32)
    p = np.stack([np.abs(p[0]), p[1], p[2]])
    x = p[0]
    # The wing is a patch of a basin's wall, thicker at the crest.
    wall = np.abs(ellipsoid(p, (0, 15, 45), (112, 88, 190)))
    patch = ellipsoid(p, (98, -14, 72), (48, 62, 56))
    crest = np.exp(-((patch / 9) ** 2)) * np.float32(4)
    wing = np.maximum(wall - 5.5 - crest, patch)
    column = chain(p, [((82, -6, 14), 20), ((88, -22, 44), 13), ((70, -44, 62), 13), ((40, -52, 66), 15)])
    bone = smooth_union(wing, column, 14)
    bone = smooth_union(bone, ellipsoid(p, (82, 0, 4), (33, 31, 32)), 8)
    pubis = chain(p, [((64, 14, -2), 13), ((36, 30, -12), 8), ((11, 34, -26), 10), ((11, 30, -42), 9)])
    seat = chain(p, [((78, -26, -6), 16), ((66, -32, -48), 13), ((52, -24, -66), 10), ((12, 28, -46), 7)])
    bone = smooth_union(bone, np.minimum(pubis, seat), 8)
    bone = np.maximum(bone, 3 - x)  # the symphysis
    socket = ellipsoid(p, (80, 0, 0), (26, 26, 26))
    opening = 0.82 * (x - 88) + 0.15 * p[1] - 0.55 * (p[2] + 4)
    rim = ellipsoid(p, (82, 0, 0), (40, 40, 40))
    bone = np.maximum(np.maximum(bone, -socket), np.minimum(opening, -rim))
    sacrum = rod(p, (0, -56, 74), (0, -84, -14), (38, 11), flat=(0.8, 1.5, 1))
    joint = np.asarray(smooth_union(bone, sacrum, 3), dtype=np.float32)
    return np.asarray(joint * np.float32(growth), dtype=np.float32)
