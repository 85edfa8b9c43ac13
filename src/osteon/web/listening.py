"""Ports to listen on."""

from __future__ import annotations

import socket

from osteon.core.errors import UsageError


def check_port(host: str, port: int) -> None:
    """Raise UsageError where the port is taken, or the address is none of this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise UsageError(
            f"{host}:{port}: cannot be listened on ({error.strerror or error})",
            hint=f"another program may use it: --port {port + 1}",
        ) from error
