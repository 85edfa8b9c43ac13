"""What the channels of a network's output mean.

Usually a class for each structure, the background first where they exclude one another. Where a plan has a sequence
whose bodies are found before they are named (`series.bodies`), its structures are one class, and how far along the
sequence a place lies has further channels. Where bodies, or the numbered pieces of a structure, are to be parted, one
channel between these is for their cores: the part of each that keeps away from the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.plan.schema import Plan


@dataclass(frozen=True)
class OutputLayout:
    """The channels of a network's output, in their order.

    Attributes:
        class_of: For each structure of the plan its class, from 1 (multi-hot: its channel, from 0).
        classes: Channels that exclude one another by a softmax, or (multi-hot) have a sigmoid each.
        members: Positions, among the plan's structures, of the sequence whose structures are one class, in its order.
        levels: Channels of a softmax: before the sequence, each of its members, beyond it; 0 where there are none.
        instances: Positions, among the plan's structures, of those whose pieces are numbered.
    """

    class_of: tuple[int, ...]
    classes: int
    members: tuple[int, ...] = ()
    levels: int = 0
    instances: tuple[int, ...] = ()

    @property
    def has_cores(self) -> bool:
        """Whether a channel is for cores."""
        return bool(self.levels or self.instances)

    @property
    def total(self) -> int:
        """Channels of the network."""
        return self.classes + self.has_cores + self.levels

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


def encode_pieces(labels: npt.NDArray[np.integer], pieces: npt.NDArray[np.integer], structures: int) -> Any:
    """Labels and pieces in one number, for augmentation to take them together: number + (structures + 1) × piece.

    Args:
        labels: n for the n-th structure, 0 elsewhere.
        pieces: The pieces of a structure, counted from 0; 0 elsewhere.
        structures: How many there are.
    """
    return labels + (structures + 1) * pieces


def output_layout(plan: Plan) -> OutputLayout:
    """The layout of a plan's network."""
    count, sequence = len(plan.structures), plan.sequence
    if plan.clicks is not None:  # what is pointed at, whatever it is
        return OutputLayout((1,) * count, 2)
    if plan.overlapping:
        return OutputLayout(tuple(range(count)), count)
    instances = tuple(number for number, structure in enumerate(plan.structures) if structure.instances)
    if sequence is None or not sequence.bodies:
        return OutputLayout(tuple(range(1, count + 1)), count + 1, instances=instances)
    names = [structure.name for structure in plan.structures]
    members = tuple(names.index(name) for name in sequence.names)
    others = [number for number in range(count) if number not in members]
    body = len(others) + 1
    class_of = tuple(body if number in members else 1 + others.index(number) for number in range(count))
    return OutputLayout(class_of, body + 1, members, len(members) + 2, instances)
