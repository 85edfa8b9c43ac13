"""What every request must satisfy before a route sees it: the host it was sent to, its origin, and the token."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from osteon.core.errors import UsageError
from osteon.core.files import read_text
from osteon.web.hosts import LOOPBACK, host_name

OPEN = ("/", "/health", "/openapi.json")
"""What is answered without a token: it is the same for everybody, and says nothing of any scan."""
SHORTEST = 16
"""Characters of a token: nobody guesses so many."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Rules:
    """What is asked of a request.

    Attributes:
        token: Empty where none is needed.
        local: Whether only names of this machine are answered to.
    """

    token: str = ""
    local: bool = True

    def refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that is let go no further; None for one that is."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.local and host_name(host) not in LOOPBACK:
            return answer(421, "this server answers to localhost alone", "send the request to localhost")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return answer(403, "this request comes from a page of another site", "send it from a program")
        if not self.token or scope["path"] in OPEN:
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self.token.encode()):
            return None
        return answer(
            401,
            "the token is missing or wrong",
            "send the header `Authorization: Bearer TOKEN`, with the token that `osteon serve` was started with",
            {"WWW-Authenticate": "Bearer"},
        )


class Guard:
    """The middleware that holds the rules."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self.app, self.rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self.rules.refusal(scope)
        await (self.app if refusal is None else refusal)(scope, receive, with_headers)


def answer(status: int, error: str, hint: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error as every client of the server gets it."""
    return JSONResponse({"error": error, "hint": hint}, status, headers)


def find_token(file: Path | None, variable: str, folder: Path, *, local: bool) -> tuple[str, bool]:
    """The token that is asked for, and whether it was made now.

    Args:
        file: `--token-file`; it goes before the variable.
        variable: What OSTEON_TOKEN holds.
        folder: Of the jobs; a token that is made is kept there.
        local: Whether only this machine reaches the server: then none is needed.

    Raises:
        FileError: The file cannot be read.
        UsageError: The token is too short.
    """
    given = read_text(file, "the token").strip() if file is not None else variable.strip()
    if given or file is not None:
        if len(given) < SHORTEST or not given.isascii():
            raise UsageError(
                f"the token is shorter than {SHORTEST} characters, or not ASCII", hint="openssl rand -hex 16 makes one"
            )
        return given, False
    if local:
        return "", False
    kept = folder / "token"
    if kept.is_file():
        return read_text(kept, "the token").strip(), False
    made = secrets.token_hex(16)
    kept.touch(mode=0o600)
    kept.write_text(made, encoding="ascii")
    return made, True
