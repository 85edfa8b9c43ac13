"""Memory that scans share which are worked on at a time."""

from __future__ import annotations

import threading

from osteon.predicting.memory import Room


class Allowance:
    """Memory that scans share which are worked on at a time: one that is read ahead waits until it fits beside them.

    Args:
        most: Bytes; None: nobody waits.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._taken: dict[str, int] = {}
        self._changed = threading.Condition()

    def take(self, room: Room) -> None:
        """Take a scan's own bytes, as soon as they are there; where nobody has any they are always."""
        with self._changed:
            self._changed.wait_for(lambda: self._fits(room))
            self._taken[room.name] = room.own_bytes

    def _fits(self, room: Room) -> bool:
        others = sum(count for name, count in self._taken.items() if name != room.name)
        return self._most is None or not others or others + room.bytes <= self._most

    def give(self, name: str, left: int = 0) -> None:
        """Give a scan's bytes back; where some are still needed, all but these."""
        with self._changed:
            if self._taken.pop(name, None) is not None and left:
                self._taken[name] = left
            self._changed.notify_all()

    def open(self) -> None:
        """Let everybody through: the work was stopped."""
        with self._changed:
            self._most = None
            self._changed.notify_all()
