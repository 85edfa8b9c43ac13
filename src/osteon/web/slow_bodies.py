"""Bodies of requests that come too slowly: they would hold a place for as long as they like."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import anyio

from osteon.core.errors import CaseError

SILENCE_S = 30.0
"""How long nothing may come; likewise how far a body may fall behind `SLOWEST`."""
SLOWEST = 1_000
"""Bytes a second that a body must bring."""
SLOW = 64_000
"""Bytes a second below which a body gives way to others where places are short."""


class SlowError(CaseError):
    """A body that came too slowly, and was given up."""


class Lag:
    """How far a body is behind a pace: what it once brought ahead of it does not count for later."""

    def __init__(self, rate: float) -> None:
        self.rate, self.seconds = rate, 0.0

    def add(self, waited_s: float, size: int) -> None:
        """So many bytes came after so long."""
        self.seconds = max(0.0, self.seconds + waited_s - size / self.rate)


class Paced:
    """A body as it comes; only the time counts for which the server waits for the client.

    Args:
        body: The bytes, in pieces.
    """

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self.body = body
        self.whole = False
        self._slowest, self._slow = Lag(SLOWEST), Lag(SLOW)
        self._since: float | None = None

    @property
    def behind_s(self) -> float:
        """Seconds that it is behind `SLOW`, with those for which it has brought nothing now."""
        return self._slow.seconds + (0.0 if self._since is None else time.monotonic() - self._since)

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Itself."""
        return self

    async def __anext__(self) -> bytes:
        """The next piece. Raises SlowError where it does not come in time."""
        self._since = began = time.monotonic()
        chunk = None
        try:
            with anyio.move_on_after(SILENCE_S - self._slowest.seconds) as patience:
                chunk = await anext(self.body, None)
        finally:
            self._since = None
        waited = time.monotonic() - began
        for lag in (self._slowest, self._slow):
            lag.add(waited, len(chunk or b""))
        if patience.cancelled_caught or self._slowest.seconds > SILENCE_S:
            raise SlowError(
                f"the upload came too slowly: less than {SLOWEST / 1000:.3g} kB/s for {SILENCE_S:.0f} s",
                hint="send it again, over a better connection",
            )
        if chunk is None:
            self.whole = True
            raise StopAsyncIteration
        return chunk
