"""The places of the queue that uploads hold while they come in, and who gives way where there are not enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from osteon.serving.http_errors import RefusedError, queue_full
from osteon.web.slow_bodies import Paced

PATIENCE_S = 2.0
"""So far behind `web.slow_bodies.SLOW` an upload must be before it gives way to another."""


@dataclass(eq=False)
class Held:
    """A place that an upload holds.

    Attributes:
        address: From which it comes.
        body: The bytes, as they come.
        give_up: Ends what is done for it.
    """

    address: str
    body: Paced
    give_up: Callable[[], None]


class Places:
    """Those of uploads coming in; all is done in the event loop.

    Args:
        most: Uploads coming in and jobs waiting, together, at most. Half of them may come in from one address.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.held: list[Held] = []

    def take(self, place: Held, waiting: int, wait_s: int) -> None:
        """Hold a place. Where there is none, the upload that lags most gives its own up.

        Args:
            place: To be held.
            waiting: Jobs that hold places.
            wait_s: What a client is told that cannot have one.

        Raises:
            RefusedError: 429; none lags.
        """
        same = [held for held in self.held if held.address == place.address]
        share = max(1, self.most // 2)
        if len(same) >= share or len(self.held) + waiting >= self.most:
            rivals = [held for held in (same if len(same) >= share else self.held) if not held.body.whole]
            last = max(rivals, key=lambda held: held.body.behind_s, default=None)
            if last is None or last.body.behind_s < PATIENCE_S:
                raise queue_full(len(self.held) + waiting, self.most, wait_s)
            last.give_up()
            self.leave(last)
        self.held.append(place)

    def leave(self, place: Held) -> None:
        """It is free again."""
        if place in self.held:
            self.held.remove(place)


def gave_way() -> RefusedError:
    """An upload that lagged while others found no place."""
    return RefusedError(
        408,
        "the upload came slowly, the queue was full, and others came for its place",
        hint="send it again, over a better connection, or when less is going on",
    )
