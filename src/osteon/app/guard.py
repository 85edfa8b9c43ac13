"""What the app asks of every request: where it needs a token, that once in `/?token=…`, then a cookie."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode

from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Scope

from osteon.web.connections import client_network
from osteon.web.guard import SECURITY_HEADERS, AccessRules, secrets_match

COOKIE = "osteon"
COOKIE_S = 30 * 24 * 3600
MAX_WRONG_TOKENS, WRONG_TOKENS_S = 10, 60.0
"""After so many wrong tokens within so many seconds an address has to wait. The right one lets in from there, too: of
128 bits nobody guesses it, and whoever tries must lock nobody out."""
MAX_ADDRESSES = 1000
"""Addresses that are remembered; those whose wrong tokens are the oldest are forgotten first."""
NONCE = "nonce"
"""In a request's state: the nonce of an answer's own scripts."""
POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
"""The browser itself refuses to ask another host, and to run what a page's own template did not bring (docs/app.md)."""
HEADERS = {
    **SECURITY_HEADERS,
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}
LOGIN_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>osteon</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:28rem;margin:15vh auto;padding:0 1rem;color-scheme:light dark}
input,button{font:inherit;padding:.5rem;width:100%;box-sizing:border-box;margin:.4rem 0}</style>
<main><h1>osteon</h1><p>TEXT</p><form><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="off" autofocus required>
<button>Open</button></form></main></html>"""
FIRST = "Enter the token that <code>osteon app</code> printed when it started."
WRONG = "This token is not the right one. It is the one that <code>osteon app</code> printed when it started."
TOO_MANY = "Too many wrong tokens. Wait a minute, then try again."


@dataclass
class AppRules(AccessRules):
    """What the app asks of a request: the token once in the address, then a cookie.

    Attributes:
        cookie: What the cookie holds once the token was given.
        wrong: When wrong tokens came last, for each address that they came from.
    """

    SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

    cookie: str = ""
    wrong: dict[str, deque[float]] = field(default_factory=dict)

    def check_token(self, scope: Scope) -> Response | None:
        """The page that asks for the token, the way on from there with a cookie, or None for who has the cookie."""
        if secrets_match(HTTPConnection(scope).cookies.get(COOKIE, ""), self.cookie):
            return None
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        given = [value for key, value in query if key == "token"]
        if scope["type"] == "websocket" or not given:
            return HTMLResponse(LOGIN_PAGE.replace("TEXT", FIRST), 401)
        if not secrets_match(given[0].strip(), self.token):
            if self._is_limited(client_network((scope.get("client") or ("", 0))[0])):
                return HTMLResponse(LOGIN_PAGE.replace("TEXT", TOO_MANY), 429, {"Retry-After": f"{WRONG_TOKENS_S:.0f}"})
            return HTMLResponse(LOGIN_PAGE.replace("TEXT", WRONG), 401)
        rest = urlencode([(key, value) for key, value in query if key != "token"])
        path = "/" + scope["path"].lstrip("/")  # `//other.site` would lead there
        response = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
        response.set_cookie(COOKIE, self.cookie, max_age=COOKIE_S, httponly=True, samesite="strict")
        return response

    def error(self, status: int, message: str, hint: str) -> Response:  # noqa: ARG002 (a browser shows the message alone)
        """Plain text."""
        return Response(message, status)

    def response_headers(self, scope: Scope) -> Mapping[str, str]:
        """Headers that let browsers do no more than needed, with another nonce for each answer."""
        nonce = scope.setdefault("state", {})[NONCE] = secrets.token_urlsafe(16)
        return {**HEADERS, "Content-Security-Policy": POLICY.format(nonce=nonce)}

    def _is_limited(self, address: str) -> bool:
        """Note a wrong token; whether too many came from there lately."""
        times = self.wrong.pop(address, deque(maxlen=MAX_WRONG_TOKENS))
        self.wrong[address] = times  # the newest last
        if len(self.wrong) > MAX_ADDRESSES:
            del self.wrong[next(iter(self.wrong))]
        if len(times) == MAX_WRONG_TOKENS and time.monotonic() - times[0] < WRONG_TOKENS_S:
            return True
        times.append(time.monotonic())
        return False
