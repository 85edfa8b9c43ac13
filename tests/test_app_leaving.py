"""Nothing of a page outlives it in the server's memory."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from nicegui import Client
from nicegui.testing.user import User

from app_pages import visit
from osteon.app import page_cleanup
from osteon.app.state import AppState
from test_app_pages import dataset_in, folder_of, model_in, result_in


def pages(app: AppState) -> list[str]:
    """One of every kind."""
    space = app.workspace
    dataset, run, result = space.item("datasets", "knees"), space.item("runs", "first"), space.item("results", "mine")
    source, case = space.item("sources", "knees"), app.case_id(dataset, "c0")
    of_result = app.case_id(result, "c0")
    return [
        "/",
        "/data",
        "/train",
        "/segment",
        f"/compare?a={dataset.id}&b={result.id}",
        "/runs",
        "/jobs",
        f"/source/{source.id}",
        f"/dataset/{dataset.id}",
        f"/look/{dataset.id}/{case}",
        f"/train/{run.id}",
        f"/result/{result.id}",
        f"/result/{result.id}/{of_result}",
        f"/compare/{dataset.id}/{result.id}/{of_result}",
    ]


def test_no_page_object_survives_its_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_cleanup, "CLEANUP_INTERVAL_S", 0.5)
    root = folder_of(tmp_path)
    dataset_in(root)
    dataset_in(root).folder.rename(root / "sources/knees")
    dataset_in(root)
    model_in(root)
    result_in(root)
    left: list[tuple[str, weakref.ref[Any]]] = []

    async def steps(user: User, app: AppState) -> None:
        for page in pages(app):
            await user.open(page)
            await asyncio.sleep(0.3)
            client = user.client
            assert client is not None
            left.extend((page, weakref.ref(element)) for element in (client, *client.elements.values()))
            answer = await user.http_client.post(f"/api/left/{client.id}")
            assert answer.status_code == 204
            assert client.id not in Client.instances
            assert (await user.http_client.post(f"/api/left/{client.id}")).status_code == 404
            del client
        await user.open("/jobs")  # so that the user holds none of the pages above
        kept: Counter[str] = Counter()
        for _ in range(60):  # timers notice that their page is gone, and it is swept up
            await asyncio.sleep(0.5)
            kept = Counter(page for page, reference in left if reference() is not None)
            if not kept:
                break
        assert not kept, kept

    visit(tmp_path / "w", steps)
    assert len(left) > 15 * len({page for page, _ in left})


def test_the_server_loads_no_torch() -> None:
    """Some 230 MB: what computes does so in processes of its own."""
    code = (
        "import pkgutil, sys\n"
        "import osteon.app.server, osteon.app.pages\n"
        "for row in pkgutil.iter_modules(osteon.app.pages.__path__, 'osteon.app.pages.'):\n"
        "    __import__(row.name)\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
