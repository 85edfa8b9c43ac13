"""The host that a request was sent to, by name: which names are this machine's own."""

from __future__ import annotations

from urllib.parse import urlsplit

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names under which only this machine itself is reached."""


def host_name(host: str) -> str:
    """`Localhost:8080` → `localhost`; `[::1]:80` → `::1`; empty for what is no host."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
