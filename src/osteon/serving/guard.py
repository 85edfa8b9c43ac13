"""What `osteon serve` asks of every request, and the token that it asks for."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from osteon.core.errors import UsageError
from osteon.core.files import read_text
from osteon.web.guard import SECURITY_HEADERS, AccessRules, secrets_match

OPEN_PATHS = ("/", "/health", "/ready", "/openapi.json")
"""What is answered without a token: it is the same for everybody, and says nothing of any scan."""
LEAST_CHARACTERS = 16
"""Of a token: nobody guesses so many."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    **SECURITY_HEADERS,
    "Cache-Control": "no-store",
}


@dataclass
class ServerRules(AccessRules):
    """What `osteon serve` asks of a request: the token in a header, but for what is the same for everybody.

    Attributes:
        open_paths: What is answered without a token.
    """

    open_paths: tuple[str, ...] = OPEN_PATHS

    def check_token(self, scope: Scope) -> Response | None:
        """The answer to a request without the token; None for one that has it, or needs none."""
        scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        if scope["path"] in self.open_paths or (
            scheme.lower() == "bearer" and secrets_match(given.strip(), self.token)
        ):
            return None
        return error_response(
            401,
            "the token is missing or wrong",
            "send the header `Authorization: Bearer TOKEN`, with the token that `osteon serve` was started with",
            {"WWW-Authenticate": "Bearer"},
        )

    def error(self, status: int, message: str, hint: str) -> Response:
        """JSON."""
        return error_response(status, message, hint)

    def response_headers(self, scope: Scope) -> Mapping[str, str]:  # noqa: ARG002 (they are the same for all)
        """Headers that let browsers do no more than needed."""
        return HEADERS


def error_response(status: int, error: str, hint: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
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
        if len(given) < LEAST_CHARACTERS or not given.isascii():
            raise UsageError(
                f"the token is shorter than {LEAST_CHARACTERS} characters, or not ASCII",
                hint="openssl rand -hex 16 makes one",
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
