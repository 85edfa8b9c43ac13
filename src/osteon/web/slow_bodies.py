"""Bodies of requests that come too slowly: without a limit each would hold a place of the queue for hours."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import anyio

from osteon.web.http_errors import RejectedError

SILENCE_S = 30.0
"""How long nothing may come, and how far a body may fall behind `LEAST_RATE`."""
LEAST_RATE = 1_000
"""Bytes a second that a body must bring."""
SLOW_RATE = 64_000
"""Bytes a second below which a body gives way to others where places are short."""


class Lag:
    """How far a body is behind a rate, in seconds: what it once brought ahead of it does not count for later."""

    def __init__(self, rate: float) -> None:
        self.rate, self.seconds = rate, 0.0

    def add(self, waited_s: float, size: int) -> None:
        """Note that `size` bytes came after `waited_s`."""
        self.seconds = max(0.0, self.seconds + waited_s - size / self.rate)


class PacedBody:
    """A body as it comes in, held to a pace: only the time counts for which the server waits for the client.

    Args:
        body: The bytes, in pieces.

    Attributes:
        complete: Whether all of it has come.
    """

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self.body = body
        self.complete = False
        self._least, self._slow = Lag(LEAST_RATE), Lag(SLOW_RATE)
        self._waiting_since: float | None = None

    @property
    def behind_s(self) -> float:
        """Seconds that it is behind `SLOW_RATE`, those included for which nothing comes just now."""
        return self._slow.seconds + (0.0 if self._waiting_since is None else time.monotonic() - self._waiting_since)

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Itself."""
        return self

    async def __anext__(self) -> bytes:
        """The next piece. Raises RejectedError (408) where it does not come in time."""
        self._waiting_since = began = time.monotonic()
        chunk = None
        try:
            with anyio.move_on_after(SILENCE_S - self._least.seconds) as patience:
                chunk = await anext(self.body, None)
        finally:
            self._waiting_since = None
        waited = time.monotonic() - began
        for lag in (self._least, self._slow):
            lag.add(waited, len(chunk or b""))
        if patience.cancelled_caught or self._least.seconds > SILENCE_S:
            raise RejectedError(
                408,
                f"the upload was too slow: less than {LEAST_RATE / 1000:.3g} kB/s for {SILENCE_S:.0f} s",
                hint="send it again, over a better connection",
            )
        if chunk is None:
            self.complete = True
            raise StopAsyncIteration
        return chunk
