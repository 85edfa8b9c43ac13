"""What the channels of a network's output mean.

Usually a class for each structure, the background first where they exclude one another. Where a plan has a sequence
whose bodies are found before they are named (`series.bodies`), its structures are one class, and further channels
follow: the bodies' cores, and how far along the sequence a place lies.
"""

from __future__ import annotations

from dataclasses import dataclass

from osteon.plan.schema import Plan


@dataclass(frozen=True)
class OutputLayout:
    """The channels of a network's output, in their order.

    Attributes:
        class_of: For each structure of the plan its class, from 1 (multi-hot: its channel, from 0).
        classes: Channels that exclude one another by a softmax, or (multi-hot) have a sigmoid each.
        members: Positions, among the plan's structures, of the sequence whose structures are one class, in its order.
        levels: Channels of a softmax: before the sequence, each of its members, beyond it; 0 where there are none. One
            channel for the cores of bodies goes before them.
    """

    class_of: tuple[int, ...]
    classes: int
    members: tuple[int, ...] = ()
    levels: int = 0

    @property
    def total(self) -> int:
        """Channels of the network."""
        return self.classes + (1 + self.levels if self.levels else 0)

    @property
    def core(self) -> int:
        """The channel of the cores."""
        return self.classes

    @property
    def first_level(self) -> int:
        """The first channel of the levels."""
        return self.classes + 1

    @property
    def body(self) -> int:
        """The class of the sequence's bodies."""
        return self.class_of[self.members[0]]

    def mirror_partners(self, plan: Plan) -> list[int]:
        """For each channel the one that it becomes when left and right are mirrored."""
        partners = list(range(self.total))
        for structure, partner in enumerate(plan.mirror_partners):
            partners[self.class_of[structure]] = self.class_of[partner]
        return partners


def output_layout(plan: Plan) -> OutputLayout:
    """The layout of a plan's network."""
    count, sequence = len(plan.structures), plan.sequence
    if plan.overlapping:
        return OutputLayout(tuple(range(count)), count)
    if sequence is None or not sequence.bodies:
        return OutputLayout(tuple(range(1, count + 1)), count + 1)
    names = [structure.name for structure in plan.structures]
    members = tuple(names.index(name) for name in sequence.names)
    others = [number for number in range(count) if number not in members]
    body = len(others) + 1
    class_of = tuple(body if number in members else 1 + others.index(number) for number in range(count))
    return OutputLayout(class_of, body + 1, members, len(members) + 2)
