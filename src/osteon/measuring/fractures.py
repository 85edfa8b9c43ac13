"""Fractures: fragments, gap and step-off between them, how far each has moved and turned from where it belongs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from osteon.measuring.body import Body
from osteon.measuring.bones import volume
from osteon.measuring.broken_bones import MAX_PLACED, broken_bones, too_small
from osteon.measuring.contact import contact, facing_pairs
from osteon.measuring.figure import Drawing, NotMeasuredError, Reading, Unit
from osteon.measuring.measure import Measure, Target
from osteon.measuring.placement import Placed, placed
from osteon.measuring.registration_pairs import Floats, apply
from osteon.measuring.scene import Scene

VOLUME = frozenset({"volume"})
_MOST = 95
"""Percentile that stands for the maximum: a single point is noise."""
_AXIS_MM = 25.0


def _bones(scene: Scene) -> Iterator[Target]:
    for bone in scene.find(broken_bones):
        yield Target((bone.name,), bone.pieces, side=bone.side)


def _every_piece(scene: Scene) -> Iterator[Target]:
    for bone in scene.find(broken_bones):
        for piece in bone.pieces:
            yield Target((piece.name,), (piece,), side=bone.side)


def _pairs(scene: Scene) -> Iterator[Target]:
    for bone in scene.find(broken_bones):
        if len(bone.pieces) > 1:
            pairs = [
                Target((one.name, other.name), (one, other), side=bone.side)
                for one, other in facing_pairs(bone.measured)
            ]
            yield from pairs or [
                Target((bone.name,), missing=f"no two pieces of {bone.name} face each other", side=bone.side)
            ]


def _moved(scene: Scene) -> Iterator[Target]:
    """Each piece but the largest, which stays where it is, with that one and the intact bone."""
    for bone in scene.find(broken_bones):
        main, *others = bone.measured
        for piece in others:
            why = too_small([piece]) or ("" if bone.intact else f"{bone.why}: only gap and step-off are known")
            bodies = (piece, main, bone.intact) if bone.intact and not why else ()
            yield Target((piece.name,), bodies, why, bone.side)


def count(*pieces: Body) -> Reading:
    """How many."""
    small = [piece.name for piece in pieces if too_small([piece])]
    cut = [piece.name for piece in pieces if len(piece.cut)]
    flags = [f"{len(small)} of them are too small to be measured"] if small else []
    flags += [f"{' and '.join(cut)} {'are' if len(cut) > 1 else 'is'} cut by the field of view"] if cut else []
    left = len(pieces) - MAX_PLACED
    flags += [f"the {left} smallest are not measured one by one"] if left > 0 else []
    return Reading.of(len(pieces), flags=flags)


def _widest(values: Floats, name: str, pairs: Floats) -> list[Drawing]:
    most = int(np.argmin(np.abs(values - np.percentile(values, _MOST))))
    return [Drawing.of("line", name, *pairs[most])]


def gap_mean(one: Body, other: Body) -> Reading:
    """Millimetres."""
    found = contact(one, other)
    typical = int(np.argmin(np.abs(found.gaps - found.gaps.mean())))
    return Reading.of(found.gaps.mean(), [Drawing.of("line", "gap", found.places[typical], found.across[typical])])


def gap_max(one: Body, other: Body) -> Reading:
    """Millimetres."""
    found = contact(one, other)
    ends = np.stack([found.places, found.across], axis=1)
    return Reading.of(np.percentile(found.gaps, _MOST), _widest(found.gaps, "widest gap", ends))


def step_off(one: Body, other: Body) -> Reading:
    """Millimetres."""
    found = contact(one, other)
    if not len(found.steps):
        raise NotMeasuredError("the outer surfaces do not go on in each other across the fracture")
    steps = np.abs(found.steps)
    return Reading.of(np.percentile(steps, _MOST), _widest(steps, "step-off", found.rim))


def anatomical(side: str | None) -> Floats:
    """`[3, 3]` rows: the directions lateral (without a side: to the right), anterior and superior in RAS."""
    return np.diag([-1.0 if side == "left" else 1.0, 1.0, 1.0])


Taken = Callable[[Placed, Floats], float]
"""A figure of a piece: from where it belongs, and the anatomical directions."""


class Moved:
    """Reads one figure of how a piece has moved; `value` takes it."""

    def __init__(self, value: Taken, *, turn: bool = False) -> None:
        self.value, self.turn = value, turn

    def __call__(self, piece: Body, main: Body, intact: Body) -> Reading:
        """Millimetres or degrees."""
        found = placed(piece, main, intact)
        axes = anatomical(piece.side or main.side or intact.side)
        home = apply(found.reduction, found.centre[None])[0]
        drawn = Drawing.of("line", f"displacement of {piece.name} against {intact.name}", home, found.centre)
        if self.turn:
            along = _AXIS_MM * found.rotation / max(float(np.linalg.norm(found.rotation)), 1e-9)
            drawn = Drawing.of("line", f"rotation axis of {piece.name}", found.centre - along, found.centre + along)
        return Reading.of(self.value(found, axes), [drawn], found.flags)


def _turns(found: Placed, axes: Floats) -> Floats:
    """Degrees: its top forwards, its top laterally, its front laterally."""
    x, y, z = found.rotation
    outwards = axes[0, 0]
    return np.array([-x, outwards * y, -outwards * z])


_PLACED = (
    "the intact bone (the other side mirrored, else a template) is registered to all pieces, then to the largest, "
    "which stays; each piece is registered to it; "
)
_GAP = "gap and step-off: Cole et al., J Hand Surg Am 22, 1997; here over the whole surface"
_ICP = (
    "mirrored side: Okada et al., IEEE Trans Biomed Eng 56, 2009; "
    "trimmed ICP: Chetverikov et al., Image Vis Comput 23, 2005"
)
_MOVES: Sequence[tuple[str, str, Taken]] = (
    ("displacement", "how far its centre has moved", lambda found, _: float(np.linalg.norm(found.displacement))),
    ("displacement_lateral", "of it, outwards", lambda found, axes: float(axes[0] @ found.displacement)),
    ("displacement_anterior", "of it, forwards", lambda found, axes: float(axes[1] @ found.displacement)),
    ("displacement_superior", "of it, upwards", lambda found, axes: float(axes[2] @ found.displacement)),
)
_TURNS: Sequence[tuple[str, str, Taken]] = (
    ("rotation", "how far it has turned", lambda found, _: float(np.linalg.norm(found.rotation))),
    ("rotation_sagittal", "of it, its top forwards", lambda found, axes: float(_turns(found, axes)[0])),
    ("rotation_coronal", "of it, its top outwards", lambda found, axes: float(_turns(found, axes)[1])),
    ("rotation_axial", "of it, its front outwards", lambda found, axes: float(_turns(found, axes)[2])),
)
_PLACES: Sequence[tuple[Sequence[tuple[str, str, Taken]], Unit, str, str]] = (
    (_MOVES, "mm", "the centre of its surface, from where it belongs to where it lies", "the way of its centre"),
    (_TURNS, "deg", "the rotation from where it belongs, along its axis", "the axis"),
)

MEASURES = (
    Measure(
        "fragments",
        "fractures",
        "ratio",
        "number of pieces of a bone",
        "numbered pieces of one structure, or structures that are pieces of one bone",
        "counting",
        "nothing",
        _bones,
        count,
        needs=VOLUME,
        whole=False,
    ),
    Measure(
        "fragment_volume",
        "fractures",
        "cm3",
        "what a piece fills",
        "as volume",
        "voxel counting (Cavalieri)",
        "nothing",
        _every_piece,
        volume,
        needs=VOLUME,
    ),
    *(
        Measure(
            name,
            "fractures",
            "mm",
            what,
            definition,
            source,
            drawn,
            _pairs,
            read,
            needs=VOLUME,
            whole=False,
        )
        for name, what, definition, source, drawn, read in (
            (
                "gap_mean",
                "between two pieces, where they face each other",
                "mean distance along the normals from the larger piece's surface to the nearest of the other's that "
                "looks back at it, within 15 mm; 0 where they touch",
                _GAP,
                "a place with the mean gap",
                gap_mean,
            ),
            (
                "gap_max",
                "where the two lie furthest apart",
                "95th percentile of those distances",
                _GAP,
                "the widest gap",
                gap_max,
            ),
            (
                "step_off",
                "of the outer surface across the fracture",
                "parallel planes of least squares through both outer surfaces at each place of the rim: 95th "
                "percentile of their distances",
                _GAP,
                "the largest step",
                step_off,
            ),
        )
    ),
    *(
        Measure(
            name,
            "fractures",
            unit,
            what,
            _PLACED + definition,
            _ICP,
            drawn,
            _moved,
            Moved(value, turn=unit == "deg"),
            "patient",
            needs=VOLUME,
            whole=False,
            positive=name in ("displacement", "rotation"),
        )
        for rows, unit, definition, drawn in _PLACES
        for name, what, value in rows
    ),
)
