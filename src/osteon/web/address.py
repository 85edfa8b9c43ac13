"""The address that a server listens on, and the names of hosts that lead to this machine alone."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from osteon.core.errors import UsageError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names under which only this machine itself is reached."""


@dataclass(frozen=True)
class ServerAddress:
    """Where a server listens.

    Attributes:
        host: The address that it binds to.
        port: The port.
    """

    host: str
    port: int

    @property
    def local(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in LOOPBACK

    def check(self) -> None:
        """Raise UsageError where the port is taken, or the address is none of this machine's."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((self.host, self.port))
        except OSError as error:
            raise UsageError(
                f"{self.host}:{self.port}: cannot be listened on ({error.strerror or error})",
                hint=f"another program may use it: --port {self.port + 1}",
            ) from error

    def url(self, host: str = "", *, tls: bool = False) -> str:
        """Where clients find it, by `host` where it listens on more than this machine alone; `tls`: by HTTPS."""
        host = "localhost" if self.local else host or self.host
        return f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{self.port}/"


def host_name(host: str) -> str:
    """`Localhost:8080` → `localhost`; `[::1]:80` → `::1`; empty for what is no host."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
