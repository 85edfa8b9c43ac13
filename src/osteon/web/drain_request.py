"""Reading on after an early answer: a client that is rejected while it still sends would find the connection broken."""

from __future__ import annotations

from dataclasses import dataclass

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES, MOST_S = 16 << 20, 5.0
"""What is read and thrown away after an answer, and for how long, before the connection is closed."""


@dataclass
class DrainRequestMiddleware:
    """The middleware: after an answer given before the request was read, it reads on for a while, keeping nothing."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, and see to the rest of it."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        waiting = "100-continue" in Headers(scope=scope).get("expect", "").lower()
        ended = False  # the whole request was read
        begun = False  # some of it was asked for, so that a waiting client sends

        async def receive_and_note() -> Message:
            nonlocal ended, begun
            begun = True
            message = await receive()
            ended = ended or message["type"] != "http.request" or not message.get("more_body", False)
            return message

        async def send_and_drain(message: Message) -> None:
            if ended:
                await send(message)
            elif message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Connection"] = "close"
                await send(message)
            elif message.get("more_body", False) or (waiting and not begun):
                await send(message)
            else:
                await send({**message, "more_body": True})
                await _drain(receive_and_note)
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self.app(scope, receive_and_note, send_and_drain)


async def _drain(receive: Receive) -> None:
    left = MOST_BYTES
    with anyio.move_on_after(MOST_S):
        while left > 0:
            message = await receive()
            left -= len(message.get("body", b""))
            if message["type"] != "http.request" or not message.get("more_body", False):
                return
