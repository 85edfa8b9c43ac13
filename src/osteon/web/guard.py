"""What every request must satisfy before anything else sees it: the host it was sent to, its origin, and the token.

Bound to this machine alone, a server answers only to names of this machine: a web site that lets its own name lead here
(DNS rebinding) is rejected.
"""

from __future__ import annotations

import hmac
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from osteon.web.address import LOOPBACK, host_name

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass
class AccessRules(ABC):
    """What is asked of a request; a server says how a token is given, and how it answers.

    Attributes:
        token: Empty where none is needed.
        local: Whether only names of this machine are answered to.
    """

    SAFE_METHODS: ClassVar[frozenset[str]] = frozenset()
    """With which other sites may ask."""

    token: str = ""
    local: bool = True

    def rejection(self, scope: Scope) -> Response | None:
        """The answer to a request that goes no further; None for one that does."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.local and host_name(host) not in LOOPBACK:
            return self.error(421, "osteon answers to localhost alone", "send the request to localhost")
        safe = scope["type"] == "http" and scope["method"] in self.SAFE_METHODS
        if not safe and origin is not None and not _is_own(origin, host, scope["scheme"]):
            return self.error(403, "this request comes from another site", "send it from a program")
        return self.check_token(scope) if self.token else None

    @abstractmethod
    def check_token(self, scope: Scope) -> Response | None:
        """The answer to a request without the token; None for one that has it."""

    @abstractmethod
    def error(self, status: int, message: str, hint: str) -> Response:
        """The answer to a request that is rejected."""

    @abstractmethod
    def response_headers(self, scope: Scope) -> Mapping[str, str]:
        """The headers of every answer; a nonce that they name is put into the request's state."""


def _is_own(origin: str, host: str, scheme: str) -> bool:
    """Whether an origin is that of the server's own pages.

    A server that speaks TLS has no page without it; one that does not may have them through a proxy which does.
    """
    schemes = ("https",) if scheme in ("https", "wss") else ("http", "https")
    return origin.lower() in {f"{own}://{host.lower()}" for own in schemes}


class Guard:
    """The ASGI middleware that holds requests to the rules, and adds headers to what is answered."""

    def __init__(self, app: ASGIApp, rules: AccessRules) -> None:
        self.app, self.rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand the request on."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        rejection = self.rules.rejection(scope)
        if rejection is not None and scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = self.rules.response_headers(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        await (self.app if rejection is None else rejection)(scope, receive, send_with_headers)


def secrets_match(given: str, expected: str) -> bool:
    """Whether two secrets are the same; how long that takes tells nothing of them."""
    return hmac.compare_digest(given.encode(), expected.encode())
