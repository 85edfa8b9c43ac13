"""The vertebrae of a scan as rows, from top to bottom: by their names, and by where they lie."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from osteon.core.labels import Structure
from osteon.dataset.name_rows import REGIONS, split_vertebra
from osteon.measuring.body import Body
from osteon.measuring.figure import NotMeasuredError
from osteon.measuring.measure import Target
from osteon.measuring.scene import Scene
from osteon.measuring.shape import unit
from osteon.measuring.vertebra_parts import SUPERIOR, find_centre

Floats = npt.NDArray[np.float64]

_LAST = {0: (7,), 1: (12, 13), 2: (5, 6), 3: (5,)}
"""Region → its last vertebra, in most people and in others (Tins and Balain, Insights into Imaging 7, 2016)."""
_DISC = re.compile(r"\b(disc|discs|disk|disks|ivd|ivds)\b")
_VERTEBRA = re.compile(r"\b(vertebra|vertebrae|vertebral body|vertebral bodies)\b")
_WORDS = re.compile(r"[^\W\d_]+")
_ACROSS = 0.5
"""Cosine of the angle with the patient's long axis beyond which a row lies across."""


class Level(NamedTuple):
    """A vertebra's place by its name: `Level(2, 1)` is L1. They compare as they follow downwards."""

    region: int
    number: int

    def __str__(self) -> str:
        return f"{REGIONS[self.region]}{self.number}"


@dataclass(frozen=True, eq=False)
class Member:
    """A vertebra of a row: its body, its place by name (None where the name tells none), its body's middle `[3]`."""

    body: Body
    level: Level | None
    centre: Floats


@dataclass(frozen=True, eq=False)
class Spine:
    """A row of vertebrae.

    Attributes:
        members: From top to bottom by where they lie.
        discs: Structures that are called discs.
        prefix: What stands before the levels in names.
        flags: What speaks against what is measured of it.
    """

    members: tuple[Member, ...]
    discs: tuple[Body, ...]
    prefix: str
    flags: tuple[str, ...]

    @property
    def bodies(self) -> tuple[Body, ...]:
        """From top to bottom."""
        return tuple(member.body for member in self.members)

    def at(self, level: Level) -> Member | None:
        """The vertebra of a name; None where there is none."""
        return next((member for member in self.members if member.level == level), None)


def level_of(structure: Structure) -> Level | None:
    """The vertebra that a name tells: `L1`, `vertebrae_L1`; the sacrum is S1 by its upper end plate."""
    if is_disc(structure):
        return None
    parts = split_vertebra(structure.name)
    if parts is not None:
        return Level(REGIONS.index(parts[1]), parts[2])
    return Level(3, 1) if _words(structure.name) == "sacrum" else None


def is_disc(structure: Structure) -> bool:
    """Whether it is called a disc."""
    return bool(_DISC.search(_words(structure.name)))


def is_in_row(structure: Structure) -> bool:
    """Whether its numbered pieces are vertebrae or discs, and no fragments."""
    return is_disc(structure) or bool(_VERTEBRA.search(_words(structure.name)))


def _words(name: str) -> str:
    return " ".join(_WORDS.findall(name.lower()))


def find_spines(scene: Scene) -> tuple[Spine, ...]:
    """All rows of a scan: labels of whole vertebrae and of bodies alone are two. Each member's `up` is set."""
    groups: dict[str, list[tuple[Body, Level | None]]] = {}
    discs = [body for body in scene.bodies.values() if is_disc(body.structure)]
    sacra = []
    for body in scene.bodies.values():
        level = level_of(body.structure)
        parts = split_vertebra(body.structure.name)
        if level is not None and (level.region, level.number) > (3, 1):
            continue  # the sacrum's own segments have no discs
        if level is not None and parts is None:
            sacra.append((body, level))
        elif level is not None and parts is not None:
            groups.setdefault(parts[0], []).append((body, level))
        elif body not in discs and _VERTEBRA.search(_words(body.name)):
            groups.setdefault(" ", []).append((body, None))
    for found in groups.values():
        if found[0][1] is not None and not any(level == Level(3, 1) for _, level in found):
            found.extend(sacra[:1])
    return tuple(_make_spine(prefix.strip(" "), found, discs) for prefix, found in groups.items())


def _make_spine(prefix: str, found: Sequence[tuple[Body, Level | None]], discs: Sequence[Body]) -> Spine:
    members = []
    for body, level in found:
        try:
            members.append(Member(body, level, body.find_shared(find_centre)))
        except NotMeasuredError:
            members.append(Member(body, level, body.surface.points.mean(axis=0)))
    axis, flags = SUPERIOR, []
    if len(members) > 1:
        centres = np.array([member.centre for member in members])
        axis = np.linalg.svd(centres - centres.mean(axis=0))[2][0]
        axis = axis * (1 if axis @ SUPERIOR >= 0 else -1)
        if axis @ SUPERIOR < _ACROSS:
            flags.append("the row of vertebrae lies across the patient's long axis: is the scan's orientation right?")
            named = [(member.level, float(member.centre @ axis)) for member in members if member.level]
            if len(named) > 1 and min(named)[1] < max(named)[1]:
                axis = -axis
    members.sort(key=lambda member: -float(member.centre @ axis))
    flags += [
        f"names and positions contradict each other: {lower.body.name} lies below {upper.body.name}"
        for upper, lower in itertools.pairwise(members)
        if upper.level and lower.level and upper.level >= lower.level
    ]
    for n, member in enumerate(members):
        above, below = members[max(n - 1, 0)].centre, members[min(n + 1, len(members) - 1)].centre
        member.body.up = unit(above - below) if len(members) > 1 else axis
    return Spine(tuple(members), tuple(discs), prefix, tuple(flags))


def explain_gap(upper: Member, lower: Member) -> str:
    """Why two that follow each other in a row are no neighbours; empty where they are, as far as names tell."""
    if upper.level is None or lower.level is None:
        return ""
    if upper.level >= lower.level:
        return f"names and positions contradict each other: {lower.body.name} lies below {upper.body.name}"
    (region, number), (below, first) = upper.level, lower.level
    if (region == below and first == number + 1) or (below == region + 1 and first == 1 and number in _LAST[region]):
        return ""
    return f"between {upper.body.name} and {lower.body.name} vertebrae are missing: nothing is measured across a gap"


def each_vertebra(scene: Scene) -> Iterator[Target]:
    """Every vertebra, but for the sacrum and C1, which have no two end plates; those looked for and not there, too."""
    for spine in scene.find(find_spines):
        for member in spine.members:
            if member.level not in (Level(3, 1), Level(0, 1)):
                yield Target((member.body.name,), (member.body,), flags=spine.flags)
    for name in scene.absent:
        level = level_of(Structure(name=name, value=1, colour="#000000"))
        if level is not None and Level(0, 1) < level < Level(3, 1):
            yield Target((name,), missing=f"{name} is not there")


def with_neighbours(scene: Scene) -> Iterator[Target]:
    """Every vertebra that has a neighbour, and its neighbours."""
    for spine in scene.find(find_spines):
        for n, member in enumerate(spine.members):
            if member.level in (Level(3, 1), Level(0, 1)):
                continue
            above = [m for m in spine.members[max(n - 1, 0) : n] if not explain_gap(m, member)]
            below = [m for m in spine.members[n + 1 : n + 2] if not explain_gap(member, m)]
            beside = [m.body for m in above + below if m.level != Level(3, 1)]
            if beside:
                yield Target((member.body.name,), (member.body, *beside), flags=spine.flags)
            else:
                yield Target((member.body.name,), missing=f"no neighbour of {member.body.name} is there")


def neighbours(scene: Scene) -> Iterator[Target]:
    """Each two that follow each other, the upper first; where something is between them, that is said."""
    for spine in scene.find(find_spines):
        for upper, lower in itertools.pairwise(spine.members):
            names = (upper.body.name, lower.body.name)
            yield Target(names, (upper.body, lower.body), explain_gap(upper, lower), flags=spine.flags)


def with_disc(scene: Scene) -> Iterator[Target]:
    """As `neighbours`, and their disc, where a label of discs has a body between them."""
    for spine in scene.find(find_spines):
        for upper, lower in itertools.pairwise(spine.members):
            middle, reach = (upper.centre + lower.centre) / 2, np.linalg.norm(upper.centre - lower.centre) / 3
            near = [disc for disc in spine.discs if np.linalg.norm(_middle(disc) - middle) < reach]
            for disc in near[:1]:
                disc.up = unit(upper.centre - lower.centre)
            names = (upper.body.name, lower.body.name)
            yield Target(names, (upper.body, lower.body, *near[:1]), explain_gap(upper, lower), flags=spine.flags)


def _middle(body: Body) -> Floats:
    return np.asarray(np.average(body.surface.points, axis=0, weights=body.surface.weights))


def whole_row(scene: Scene) -> Iterator[Target]:
    """All vertebrae of a row of two at least."""
    for spine in scene.find(find_spines):
        if len(spine.members) > 1:
            names = (spine.members[0].body.name, spine.members[-1].body.name)
            wrong = next((flag for flag in spine.flags if flag.startswith("names")), "")
            yield Target(names, spine.bodies, wrong, flags=spine.flags)


class Between:
    """Both ends of each of some named stretches: (`L1`, `S1`), of rows that have them."""

    def __init__(self, *stretches: tuple[str, str]) -> None:
        self.stretches = [(_level(upper), _level(lower)) for upper, lower in stretches]

    def __call__(self, scene: Scene) -> Iterator[Target]:
        """Where one end is there and the other was looked for, that is said."""
        absent = {level_of(Structure(name=name, value=1, colour="#000000")) for name in scene.absent}
        for spine in scene.find(find_spines):
            for levels in self.stretches:
                ends = [spine.at(level) for level in levels]
                names = tuple(
                    end.body.name if end else f"{spine.prefix}{level}" for end, level in zip(ends, levels, strict=True)
                )
                wrong = [flag for flag in spine.flags if flag.startswith("names")]
                if ends[0] is not None and ends[1] is not None:
                    yield Target(names, (ends[0].body, ends[1].body), wrong[0] if wrong else "", flags=spine.flags)
                elif any(ends) and any(level in absent for level in levels):
                    missing = [name for end, name in zip(ends, names, strict=True) if end is None]
                    yield Target(names, missing=f"{missing[0]} is not there")


def _level(name: str) -> Level:
    return Level(REGIONS.index(name[0]), int(name[1:]))
