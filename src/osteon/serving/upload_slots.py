"""The places of the queue that uploads hold while they come in, and who gives way where there are not enough."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from starlette.requests import Request

from osteon.web.connections import client_network
from osteon.web.http_errors import RejectedError
from osteon.web.slow_bodies import PacedBody

PATIENCE_S = 2.0
"""So far behind `web.slow_bodies.SLOW_RATE` an upload must be before it gives way to another."""


@dataclass(eq=False)
class UploadSlot:
    """A place that an upload holds.

    Attributes:
        address: From which it comes.
        body: The bytes, as they come.
        cancel: Ends what is done for it.
    """

    address: str
    body: PacedBody
    cancel: Callable[[], None]


class UploadSlots:
    """The places of all uploads that come in; all is done in the event loop.

    Args:
        most: Limit for current uploads and waiting jobs together. Half of them may come in from one address.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.held: list[UploadSlot] = []

    def acquire(self, slot: UploadSlot, waiting: int, wait_s: int) -> None:
        """Hold a place. Where there is none, the upload that lags most gives its own up.

        Args:
            slot: To be held.
            waiting: Jobs that hold places.
            wait_s: What a client is told that cannot have one.

        Raises:
            RejectedError: 429; none lags.
        """
        same = [held for held in self.held if held.address == slot.address]
        share = max(1, self.most // 2)
        if len(same) >= share or len(self.held) + waiting >= self.most:
            rivals = [held for held in (same if len(same) >= share else self.held) if not held.body.complete]
            slowest = max(rivals, key=lambda held: held.body.behind_s, default=None)
            if slowest is None or slowest.body.behind_s < PATIENCE_S:
                full = len(self.held) + waiting >= self.most
                raise RejectedError(
                    429,
                    f"the queue is full: {self.most} uploads and jobs wait"
                    if full
                    else "too many uploads from this address are in progress",
                    hint=f"try again in {wait_s} s",
                    headers={"Retry-After": str(wait_s)},
                )
            slowest.cancel()
            self.release(slowest)
        self.held.append(slot)

    def release(self, slot: UploadSlot) -> None:
        """Free a slot."""
        if slot in self.held:
            self.held.remove(slot)


@asynccontextmanager
async def incoming_upload(
    request: Request, hold: Callable[[UploadSlot], AbstractContextManager[Path]]
) -> AsyncIterator[tuple[Path, PacedBody]]:
    """The folder for an upload, and its bytes as they come; a place of the queue is held meanwhile.

    Args:
        request: That brings it.
        hold: `JobQueue.incoming`.

    Raises:
        RejectedError: 429 where no place is free; 408 where it gave way to another upload.
    """
    address = client_network(request.client.host if request.client else "")
    body, scope = PacedBody(request.stream()), anyio.CancelScope()
    with hold(UploadSlot(address, body, scope.cancel)) as folder:
        with scope:
            yield folder, body
        if scope.cancelled_caught:
            raise RejectedError(
                408,
                "the upload was slow, the queue was full, and others were waiting",
                hint="send it again, over a better connection, or when less is going on",
            )
