"""Connections that would hold a server up: heads of requests that never end, and answers that nobody takes.

uvicorn has no limit for either (github.com/Kludex/uvicorn/issues/157): its keep-alive time ends with the first byte
that comes, and `limit_concurrency` refuses everybody once connections without a request are many.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0
"""Within which the head of a request must be whole: from the connection on, or from the answer before."""
STALLED_S = 60.0
"""An answer of which nothing is taken for so long is given up."""
MOST_EACH, MOST_WAITING = 256, 384
"""Connections of one address, and of all, from which a request is awaited; beyond, the one that waits longest goes."""
MOST_CONNECTIONS = 768
"""Beyond it requests are answered with 503 unheard. Most systems give a process 1024 files, and jobs need some."""
BACKLOG = 128
"""Connections that are taken at once: so that there is a file for each while others are closed."""
LATE = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Content-Length: 27\r\n\r\nthe request came too slowly"
)


class Waiting:
    """Connections from which a request is awaited, those that have waited longest first."""

    def __init__(self) -> None:
        self.all: dict[Watched, None] = {}
        self.each: dict[str, dict[Watched, None]] = {}

    def add(self, connection: Watched) -> None:
        """Take one up. Where there are too many, the one of its address, or of all, that waits longest is closed."""
        if connection in self.all:
            return
        same = self.each.setdefault(connection.address, {})
        if len(same) >= MOST_EACH:
            self._close(next(iter(same)))
        elif len(self.all) >= MOST_WAITING:
            self._close(next(iter(self.all)))
        self.all[connection] = self.each.setdefault(connection.address, same)[connection] = None

    def drop(self, connection: Watched) -> None:
        """Its request has come, or it is closed."""
        if connection in self.all:
            del self.all[connection]
            same = self.each[connection.address]
            del same[connection]
            if not same:
                del self.each[connection.address]

    def _close(self, connection: Watched) -> None:
        self.drop(connection)
        connection.transport.abort()


class Watched(H11Protocol):
    """uvicorn's connection, with limits."""

    waiting: ClassVar[Waiting]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.address = ""
        self._head: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self.address = neighbourhood(self.client[0] if self.client else "")
        self._look()

    def data_received(self, data: bytes) -> None:
        """Whatever comes, only a whole head ends the waiting."""
        super().data_received(data)
        if self.transport.get_protocol() is self:  # else it has become a web socket
            self._look()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of this one."""
        super().on_response_complete()
        self._look()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Let it go: web sockets have pings of their own."""
        self._leave()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the watch."""
        self._leave()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client takes no more for now."""
        super().pause_writing()
        self._taking = self.loop.call_later(STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It goes on."""
        super().resume_writing()
        self._stop_taking()

    def _look(self) -> None:
        """Whether a request is awaited, and since when."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_head()
            self.waiting.drop(self)
        elif self._head is None:
            self._head = self.loop.call_later(HEAD_S, self._late)
            self.waiting.add(self)

    def _late(self) -> None:
        if self.transport.is_closing():  # what was left to send is not taken
            self.transport.abort()
            return
        if self.cycle is None:
            self.transport.write(LATE)
        self.transport.close()
        self._head = self.loop.call_later(STALLED_S, self.transport.abort)

    def _leave(self) -> None:
        self._stop_head()
        self._stop_taking()
        self.waiting.drop(self)

    def _stop_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _stop_taking(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None


def watched() -> type[Watched]:
    """The class of connections for one server: `uvicorn.Config(http=watched())`."""
    return type("WatchedHere", (Watched,), {"waiting": Waiting()})


@lru_cache(maxsize=4096)
def neighbourhood(address: str) -> str:
    """What counts as one address: of IPv6 the network of 64 bits, of which one machine may have all."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return address if found.version == 4 else str(ip_network((found, 64), strict=False))
