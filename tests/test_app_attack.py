"""The app's own server beside connections that never ask for anything, and uploads that trickle."""

from __future__ import annotations

import asyncio
import os
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app_browser import Server
from osteon.app import reader
from osteon.app.reader import ReaderProcess
from osteon.app.routes import routes
from osteon.app.state import AppState
from osteon.app.workspace import Workspace
from osteon.core.errors import OsteonError
from osteon.web import slow_bodies
from osteon.web.connections import MOST_CONNECTIONS, MOST_PENDING_EACH


def test_a_page_is_shown_beside_connections_that_ask_for_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Server(tmp_path / "w", port)
    server.start()
    try:
        with ExitStack() as held:
            made = []
            for _ in range(MOST_CONNECTIONS + 50):
                made.append(held.enter_context(socket.create_connection(("127.0.0.1", port))))
                made[-1].sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
            with urllib.request.urlopen(f"{server.url}/", timeout=30) as answer:
                assert answer.status == 200
            closed = 0
            for one in made:
                one.settimeout(0.01)
                try:
                    closed += one.recv(1) == b""
                except ConnectionError:
                    closed += 1
                except TimeoutError:
                    pass
            assert len(made) - closed <= MOST_PENDING_EACH
    finally:
        server.kill()


def test_a_scan_that_hangs_is_ended_and_others_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "TIMEOUT_S", 6.0)

    async def read() -> list[object]:
        made = ReaderProcess()
        try:
            await made.run(os.getpid)
            asked = [made.run(time.sleep, 60.0), made.run(os.path.basename, "a/b")]
            return list(await asyncio.gather(*asked, return_exceptions=True))
        finally:
            made.close()

    hung, other = asyncio.run(read())
    assert isinstance(hung, OsteonError)
    assert hung.message == "reading it took longer than 6 s"
    assert other == "b"


def test_an_upload_that_trickles_is_given_up_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_bodies, "SILENCE_S", 0.1)
    app = AppState(Workspace.open(tmp_path / "w"))
    http = TestClient(Starlette(routes=routes(app)), base_url="http://localhost")

    def trickle() -> Iterator[bytes]:
        for _ in range(20):
            time.sleep(0.05)
            yield b"x"

    upload = http.post("/api/uploads").json()["id"]
    answer = http.post(f"/api/uploads/{upload}/files", content=trickle(), headers={"X-Osteon-Name": "a.nii"})
    assert answer.status_code == 408
    assert "too slow" in answer.json()["message"]
    assert [path for path in (tmp_path / "w/sources").rglob("*") if path.is_file()] == []
