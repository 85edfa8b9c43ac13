"""To which bodies of a scan a measure is applied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

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


def each(kind: str) -> Callable[[Scene], Iterator[Target]]:
    """Every body of a kind (`anatomy.KINDS`)."""

    def targets(scene: Scene) -> Iterator[Target]:
        for body in scene.of_kind(kind):
            yield Target((body.name,), (body,), side=body.side)

    return targets


def together(*kinds: str) -> Callable[[Scene], Iterator[Target]]:
    """One body of each kind, of one side; of every side that has the first kind."""

    def targets(scene: Scene) -> Iterator[Target]:
        for side in SIDES:
            groups = [[body for body in scene.of_kind(kind) if body.side == side] for kind in kinds]
            if not groups[0]:
                continue
            named = zip(groups, kinds, strict=True)
            names = tuple(group[0].name if group else f"{kind}_{side}" if side else kind for group, kind in named)
            missing = [name for group, name in zip(groups, names, strict=True) if not group]
            several = [kind for group, kind in zip(groups, kinds, strict=True) if len(group) > 1]
            why = f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not there" if missing else ""
            why = f"there are several of {' and '.join(several)}" if several and not why else why
            yield Target(names, () if why else tuple(group[0] for group in groups), why, side)

    return targets


def both_sides(*kinds: str) -> Callable[[Scene], Iterator[Target]]:
    """One body of each kind of the left side, then of the right; where either side has the first kind."""

    def targets(scene: Scene) -> Iterator[Target]:
        bodies = [(scene.of_kind(kind, side), kind, side) for side in ("left", "right") for kind in kinds]
        if not any(group for group, kind, _ in bodies if kind == kinds[0]):
            return
        names = tuple(group[0].name if group else f"{kind}_{side}" for group, kind, side in bodies)
        missing = [name for (group, *_), name in zip(bodies, names, strict=True) if len(group) != 1]
        why = f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not there" if missing else ""
        yield Target(names, () if why else tuple(group[0] for group, *_ in bodies), why)

    return targets
