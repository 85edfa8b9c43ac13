"""Connections that would hold a server up: heads of requests that never end, and answers that nobody takes.

uvicorn has no limit for either (github.com/Kludex/uvicorn/issues/157): its keep-alive time ends with the first byte
that comes, and `limit_concurrency` refuses everybody once connections without a request are many.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, ClassVar, Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0
"""Within which the head of a request must be whole: from the connection on, or from the answer before."""
STALLED_S = 60.0
"""An answer of which nothing is read for so long is given up."""
MOST_PENDING_EACH, MOST_PENDING = 256, 384
"""Connections of one address, and of all, from which a request is awaited; beyond, the one that waits longest goes."""
MOST_CONNECTIONS = 768
"""Beyond it requests are answered with 503 unread. Most systems give a process 1024 files, and jobs need some."""
BACKLOG = 128
"""Connections that are accepted at once: so that there is a file for each while others are closed."""
TIMEOUT_RESPONSE = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Content-Length: 27\r\n\r\nthe request came too slowly"
)


class PendingConnections:
    """Connections from which a request is awaited, those that have waited longest first."""

    def __init__(self) -> None:
        self.all: dict[LimitedConnection, None] = {}
        self.by_address: dict[str, dict[LimitedConnection, None]] = {}

    def add(self, connection: LimitedConnection) -> None:
        """Add one. Where there are too many, the one of its address, or of all, that waits longest is closed."""
        if connection in self.all:
            return
        same = self.by_address.setdefault(connection.address, {})
        if len(same) >= MOST_PENDING_EACH:
            self._close(next(iter(same)))
        elif len(self.all) >= MOST_PENDING:
            self._close(next(iter(self.all)))
        self.all[connection] = self.by_address.setdefault(connection.address, same)[connection] = None

    def remove(self, connection: LimitedConnection) -> None:
        """Its request has come, or it is closed."""
        if connection in self.all:
            del self.all[connection]
            same = self.by_address[connection.address]
            del same[connection]
            if not same:
                del self.by_address[connection.address]

    def _close(self, connection: LimitedConnection) -> None:
        self.remove(connection)
        connection.transport.abort()


class LimitedConnection(H11Protocol):
    """uvicorn's connection, with limits."""

    pending: ClassVar[PendingConnections]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.address = ""
        self._timers: dict[Literal["head", "read"], asyncio.TimerHandle] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self.address = client_network(self.client[0] if self.client else "")
        self._update_head_timer()

    def data_received(self, data: bytes) -> None:
        """Only a whole head ends the waiting."""
        super().data_received(data)
        if self.transport.get_protocol() is self:  # else it has become a web socket
            self._update_head_timer()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of this one."""
        super().on_response_complete()
        self._update_head_timer()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Let it go: web sockets have pings of their own."""
        self._stop()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        self._stop()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client reads no more for now."""
        super().pause_writing()
        self._timers["read"] = self.loop.call_later(STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads on."""
        super().resume_writing()
        self._cancel("read")

    def _update_head_timer(self) -> None:
        """Run the timer while a request is awaited."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._cancel("head")
            self.pending.remove(self)
        elif "head" not in self._timers:
            self._timers["head"] = self.loop.call_later(HEAD_S, self._time_out)
            self.pending.add(self)

    def _time_out(self) -> None:
        if self.transport.is_closing():  # what was left to send is not read
            self.transport.abort()
            return
        if self.cycle is None:
            self.transport.write(TIMEOUT_RESPONSE)
        self.transport.close()
        self._timers["head"] = self.loop.call_later(STALLED_S, self.transport.abort)

    def _stop(self) -> None:
        self._cancel("head")
        self._cancel("read")
        self.pending.remove(self)

    def _cancel(self, name: Literal["head", "read"]) -> None:
        if name in self._timers:
            self._timers.pop(name).cancel()


def server_options() -> dict[str, Any]:
    """Options of uvicorn for one server: limits for its connections, and nothing of them in logs and headers."""
    return {
        "http": type("OneServersConnection", (LimitedConnection,), {"pending": PendingConnections()}),
        "backlog": BACKLOG,
        "limit_concurrency": MOST_CONNECTIONS,
        "access_log": False,  # addresses hold ids, which their owners alone may know
        "server_header": False,
    }


@lru_cache(maxsize=4096)
def client_network(address: str) -> str:
    """The address that limits count by: of IPv6 the network of 64 bits, of which one machine may have all."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return address if found.version == 4 else str(ip_network((found, 64), strict=False))
