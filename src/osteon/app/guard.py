"""What every request must satisfy before any page sees it: the host it was sent to, its origin, and the token.

Bound to this machine alone, the app answers only to names of this machine: a web site that lets its own name lead here
(DNS rebinding) is refused. Bound elsewhere, it asks for the token: once, in `/?token=…`, then by a cookie.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import time
from collections import deque
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
COOKIE = "osteon"
COOKIE_S = 30 * 24 * 3600
MOST_WRONG, WRONG_S = 10, 60.0
"""After so many wrong tokens within so many seconds an address is told to wait. The right one lets in from there, too:
of 128 bits nobody guesses it, and whoever tries must lock nobody out."""
MOST_ADDRESSES = 1000
"""That are remembered; those whose wrong tokens are the oldest are forgotten first."""
NONCE = "nonce"
"""In a request's state: what an answer's own scripts bear, another one each time."""
POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
"""The browser itself refuses to ask another host, and to run what a page's own template did not bring (docs/app.md)."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
ASK = """<!doctype html><html lang="en"><meta charset="utf-8"><title>osteon</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:28rem;margin:15vh auto;padding:0 1rem;color-scheme:light dark}
input,button{font:inherit;padding:.5rem;width:100%;box-sizing:border-box;margin:.4rem 0}</style>
<main><h1>osteon</h1><p>WHY</p><form><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="off" autofocus required>
<button>Open</button></form></main></html>"""
FIRST = "Enter the token that <code>osteon app</code> printed when it started."
WRONG = "This token is not the right one. It is the one that <code>osteon app</code> printed when it started."
TOO_MANY = "Too many wrong tokens. Wait a minute, then try again."


@dataclass
class Rules:
    """What is asked of a request.

    Attributes:
        token: Empty where none is needed.
        cookie: What the cookie holds once the token was given.
        local: Whether only names of this machine are answered to.
        wrong: When wrong tokens came last, for each address that they came from.
    """

    token: str = ""
    cookie: str = ""
    local: bool = True
    wrong: dict[str, deque[float]] = field(default_factory=dict)

    def refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that is let go no further; None for one that is."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.local and _name(host) not in LOOPBACK:
            return Response("osteon answers to localhost alone", 421)
        origin = headers.get("origin")
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD", "OPTIONS")
        if changes and origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return Response("this request comes from another site", 403)
        if not self.token or hmac.compare_digest(_cookie(headers).encode(), self.cookie.encode()):
            return None
        return self._asked(scope)

    def _asked(self, scope: Scope) -> Response:
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        given = [value for key, value in query if key == "token"]
        if scope["type"] == "websocket" or not given:
            return HTMLResponse(ASK.replace("WHY", FIRST), 401)
        if not hmac.compare_digest(given[0].strip().encode(), self.token.encode()):
            if self._too_many(_address(scope)):
                return HTMLResponse(ASK.replace("WHY", TOO_MANY), 429, {"Retry-After": f"{WRONG_S:.0f}"})
            return HTMLResponse(ASK.replace("WHY", WRONG), 401)
        rest = urlencode([(key, value) for key, value in query if key != "token"])
        path = "/" + scope["path"].lstrip("/")  # `//other.site` would lead there
        answer = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
        answer.set_cookie(COOKIE, self.cookie, max_age=COOKIE_S, httponly=True, samesite="strict")
        return answer

    def _too_many(self, address: str) -> bool:
        """Note a wrong token; whether too many came from there lately."""
        times = self.wrong.pop(address, deque(maxlen=MOST_WRONG))
        self.wrong[address] = times  # the newest last
        if len(self.wrong) > MOST_ADDRESSES:
            del self.wrong[next(iter(self.wrong))]
        if len(times) == MOST_WRONG and time.monotonic() - times[0] < WRONG_S:
            return True
        times.append(time.monotonic())
        return False


class Guard:
    """The middleware that holds the rules, and adds headers that keep browsers from doing more than needed."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self.app, self.rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand the request on."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        refusal = self.rules.refusal(scope)
        if refusal is not None and scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return

        nonce = scope.setdefault("state", {})[NONCE] = secrets.token_urlsafe(16)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                policy = POLICY.format(nonce=nonce)
                MutableHeaders(scope=message).update({**HEADERS, "Content-Security-Policy": policy})
            await send(message)

        answer: Any = self.app if refusal is None else refusal
        await answer(scope, receive, with_headers)


def _address(scope: Scope) -> str:
    """Where a request comes from: of an IPv6 address the network, of which one machine has all addresses."""
    host = (scope.get("client") or ("", 0))[0]
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else host


def _name(host: str) -> str:
    """`Localhost:8080` → `localhost`; `[::1]:80` → `::1`."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _cookie(headers: Headers) -> str:
    held: SimpleCookie = SimpleCookie()
    try:
        held.load(headers.get("cookie", ""))
    except CookieError:
        return ""
    return held[COOKIE].value if COOKIE in held else ""
