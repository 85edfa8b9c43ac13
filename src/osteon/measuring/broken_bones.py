"""Which bodies of a scan are pieces of one bone, and what that bone looked like before it broke."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from osteon.core.labels import Structure, side_of
from osteon.measuring.anatomy import kind_of, side_of_structure
from osteon.measuring.body import Body
from osteon.measuring.scene import Scene
from osteon.measuring.shape_model import mirrored_model
from osteon.measuring.spine_rows import is_in_row
from osteon.measuring.surface import Surface

MAX_PLACED = 24
"""Pieces of a bone that are measured one by one, the largest ones."""
MIN_POINTS = 60
"""Of a piece's surface: one with fewer (about 20 voxels) has no shape."""
_WORD = re.compile(r"[^\W\d_]{3,}")
Side = Literal["left", "right"]
_NUMBERED = re.compile(r"^(?P<bone>.*?)[\s_.-]*(?:fragment|piece|part)[\s_.-]*\d+$", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class BrokenBone:
    """A bone and its pieces.

    Attributes:
        structure: The whole.
        pieces: The largest first.
        intact: What it looked like: the other side mirrored, or a template; None where neither is there.
        why: Why there is none.
    """

    structure: Structure
    pieces: tuple[Body, ...]
    intact: Body | None = None
    why: str = ""

    @property
    def name(self) -> str:
        """The whole's."""
        return self.structure.name

    @property
    def side(self) -> Side | None:
        """The whole's, by the dataset or its name."""
        return side_of_structure(self.structure)

    @property
    def measured(self) -> tuple[Body, ...]:
        """The pieces that are measured one by one."""
        return self.pieces[:MAX_PLACED]


def broken_bones(scene: Scene) -> list[BrokenBone]:
    """The bones of a scene that have pieces: numbered ones, those that somebody names, and `BONE_fragment_1`, …"""
    groups: dict[str, tuple[Structure, list[Body]]] = {}
    named = {piece: bone for bone, pieces in scene.broken.items() for piece in pieces}
    for body in scene.bodies.values():
        whole = scene.wholes.get(body.name)
        bone = named.get(body.name) or (named.get(whole.name) if whole else None)
        if bone is None and whole is None and (match := _NUMBERED.match(body.name)):
            bone = match["bone"] or "bone"
        if bone is not None:
            whole = body.structure.model_copy(update={"name": bone, "side": side_of(bone)[0] or body.structure.side})
        if whole is not None and (bone is not None or not is_in_row(whole)):
            groups.setdefault(whole.name, (whole, []))[1].append(body)
    found = []
    for whole, bodies in groups.values():
        pieces = tuple(sorted(bodies, key=lambda body: -body.surface.enclosed))
        for piece in pieces:
            piece.siblings = pieces
        found.append(BrokenBone(whole, pieces, *_intact(scene, whole, groups)))
    return found


Groups = dict[str, tuple[Structure, list[Body]]]


def _intact(scene: Scene, whole: Structure, groups: Groups) -> tuple[Body | None, str]:
    """The other side mirrored, else the templates' best; else why there is neither."""
    other, why = _other_side(scene, whole, groups)
    if other is not None:
        return other.find(mirrored), ""
    for template in scene.templates:
        if len(scene.templates) == 1 or _same_bone(whole, template.structure):
            turn = {side_of_structure(whole), template.side} == {"left", "right"}
            return template.find(mirrored_model) if turn else template, ""
    given = f"no template is called {whole.name}" if scene.templates else "no template was given (--template)"
    return None, f"{why}, and {given}"


def _same_bone(one: Structure, other: Structure) -> bool:
    """By kind, else by a word that both names have."""
    kinds = kind_of(one), kind_of(other)
    if any(kinds):
        return kinds[0] == kinds[1]
    words, others = (set(_WORD.findall(structure.name.lower())) for structure in (one, other))
    return bool(words & others - {"left", "right", "template", "bone"})


def _other_side(scene: Scene, whole: Structure, groups: Groups) -> tuple[Body | None, str]:
    wanted = whole.counterpart or side_of(whole.name)[1]
    if wanted is None:
        return None, f"the name {whole.name} tells no side, so that nothing is its other one"
    name = next((name for name in groups if name.lower() == wanted.lower()), None)
    alone = [body for body in scene.bodies.values() if body.name.lower() == wanted.lower()]
    pieces = groups[name][1] if name is not None else alone
    if not pieces:
        return None, f"the other side, {wanted}, is not there"
    if len(pieces) > 1 or pieces[0].broken:
        return None, f"the other side, {wanted}, is broken as well"
    return pieces[0], ""


def mirrored(body: Body) -> Body:
    """A body mirrored from left to right, and its replicas."""
    own = _mirrored(body)
    own._replicas = tuple(replace(_mirrored(one), original=own) for one in body.replicas)
    return own


def _mirrored(body: Body) -> Body:
    flip = np.array([-1.0, 1.0, 1.0])
    surface = body.surface
    turned = Surface(surface.points * flip, surface.cells[:, ::-1].copy(), surface.normals * flip)
    structure = body.structure.model_copy(update={"side": _OTHER[body.side]})
    return replace(body, structure=structure, surface=turned, cut=body.cut * flip, _remembered={}, _replicas=None)


_OTHER: dict[Side | None, Side | None] = {"left": "right", "right": "left", None: None}


def too_small(bodies: Sequence[Body]) -> str:
    """Why a figure of these pieces means nothing; empty where it does."""
    small = [body.name for body in bodies if len(body.surface.points) < MIN_POINTS]
    return f"{' and '.join(small)} {'are' if len(small) > 1 else 'is'} too small" if small else ""
