"""A request that is rejected: a status of HTTP, beside the message and the hint that every error has."""

from __future__ import annotations

from collections.abc import Mapping

from osteon.core.errors import OsteonError


class RejectedError(OsteonError):
    """A request that is not carried out.

    Args:
        status: Of HTTP.
        message: What is wrong; it never holds a file's name, which may be a patient's.
        hint: The way out.
        headers: Of the answer, beside the usual ones.
    """

    def __init__(self, status: int, message: str, *, hint: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.headers = dict(headers or {})
