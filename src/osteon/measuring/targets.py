"""To which bodies of a scan a measure is applied."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from osteon.core.labels import Structure
from osteon.measuring.anatomy import kind_of, side_of_structure
from osteon.measuring.body import Body
from osteon.measuring.broken_bones import BrokenBone, broken_bones
from osteon.measuring.measure import Target
from osteon.measuring.scene import Scene

SIDES: tuple[Literal["left", "right"] | None, ...] = ("left", "right", None)


def each_body(scene: Scene) -> Iterator[Target]:
    """Every structure; those that were looked for and not found, too."""
    for body in scene.bodies.values():
        yield Target((body.name,), (body,), side=body.side)
    for name in scene.absent:
        yield Target((name,), missing=f"{name} is not there")


def each_bone(scene: Scene) -> Iterator[Target]:
    """As `each_body`, without tumours."""
    yield from (target for target in each_body(scene) if not any(body.kind == "tumour" for body in target.bodies))


def _whole(scene: Scene, kind: str, side: str | None = None) -> list[Body]:
    """The bodies of a kind, of a side where one is given, that are no pieces of a broken bone."""
    pieces = {id(piece) for bone in _broken(scene) for piece in bone.pieces}
    return [body for body in scene.of_kind(kind, side) if id(body) not in pieces]


def _broken(scene: Scene, kind: str | None = None) -> list[BrokenBone]:
    """The bones in several pieces, of a kind where one is given."""
    found = [bone for bone in scene.find(broken_bones) if len(bone.pieces) > 1]
    return [bone for bone in found if kind in (None, kind_of(bone.structure))]


def _explain_broken(bone: BrokenBone) -> str:
    return f"{bone.name} is broken into {len(bone.pieces)} pieces"


def each(kind: str) -> Callable[[Scene], Iterator[Target]]:
    """Every body of a kind (`anatomy.KINDS`), those that were looked for and not found, and bones in pieces once."""

    def targets(scene: Scene) -> Iterator[Target]:
        for body in _whole(scene, kind):
            yield Target((body.name,), (body,), side=body.side)
        for bone in _broken(scene, kind):
            yield Target((bone.name,), missing=_explain_broken(bone), side=bone.side)
        for name in scene.absent:
            structure = Structure(name=name, value=1, colour="#000000")
            if kind_of(structure) == kind:
                yield Target((name,), missing=f"{name} is not there", side=side_of_structure(structure))

    return targets


@dataclass(frozen=True)
class _Part:
    """The bone of a kind and a side that is measured with others: its name, its body, or why there is none."""

    name: str
    body: Body | None = None
    broken: str = ""
    several: bool = False

    @property
    def there(self) -> bool:
        return self.body is not None or bool(self.broken)


def _find_part(scene: Scene, kind: str, side: Literal["left", "right"] | None) -> _Part:
    found = [body for body in _whole(scene, kind) if body.side == side]
    if found:
        return _Part(found[0].name, found[0], several=len(found) > 1)
    for bone in _broken(scene, kind):
        if bone.side == side:
            return _Part(bone.name, broken=_explain_broken(bone))
    return _Part(f"{kind}_{side}" if side else kind)


def _combine(parts: Sequence[_Part], kinds: Sequence[str], side: Literal["left", "right"] | None = None) -> Target:
    """What is measured of bones together, or why it is not."""
    missing = [part.name for part in parts if not part.there]
    several = [kind for part, kind in zip(parts, kinds, strict=True) if part.several]
    reasons = [f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not there"] if missing else []
    reasons += [part.broken for part in parts if part.broken]
    reasons += [f"there are several of {' and '.join(dict.fromkeys(several))}"] if several else []
    bodies = tuple(part.body for part in parts if part.body is not None)
    return Target(tuple(part.name for part in parts), () if reasons else bodies, "; ".join(reasons), side)


def together(*kinds: str) -> Callable[[Scene], Iterator[Target]]:
    """One body of each kind, of one side; of every side that has the first kind."""

    def targets(scene: Scene) -> Iterator[Target]:
        for side in SIDES:
            parts = [_find_part(scene, kind, side) for kind in kinds]
            if parts[0].there:
                yield _combine(parts, kinds, side)

    return targets


def both_sides(*kinds: str) -> Callable[[Scene], Iterator[Target]]:
    """One body of each kind of the left side, then of the right; where either side has the first kind."""

    def targets(scene: Scene) -> Iterator[Target]:
        asked = [(kind, side) for side in SIDES if side for kind in kinds]
        parts = [_find_part(scene, kind, side) for kind, side in asked]
        if any(part.there for part, (kind, _) in zip(parts, asked, strict=True) if kind == kinds[0]):
            yield _combine(parts, [kind for kind, _ in asked])

    return targets
