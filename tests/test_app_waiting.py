"""Waiting, in a browser: what an upload says, what becomes of one that is broken off, who is told that a job ended."""

from __future__ import annotations

import dataclasses
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
from playwright.sync_api import Dialog, expect

from app_browser import Visitor, chromium, open_visitor, wait
from osteon.app import uploads as receiving
from osteon.app.jobs import Job, Jobs, JobState
from osteon.app.notifications import JobEndWatcher
from osteon.app.uploads import Uploads
from osteon.app.workspace import Workspace

SLOW = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 400_000}
"""Bytes a second, as the browser's own throttle takes them."""


@pytest.fixture(scope="module")
def visitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    chromium()
    with open_visitor(tmp_path_factory.mktemp("app") / "workspace") as made:
        yield made


def slowly(visitor: Visitor) -> None:
    session = visitor.context.new_cdp_session(visitor.page)
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", SLOW)


def incoming(visitor: Visitor) -> list[Path]:
    return list((visitor.server.root / "sources").glob(".incoming-*"))


def test_an_upload_says_how_far_it_is_and_the_page_is_not_left_unasked(visitor: Visitor, tmp_path: Path) -> None:
    scan = tmp_path / "scan.nii"
    scan.write_bytes(bytes(8_000_000))
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    visitor.open("/data")
    visitor.page.on("dialog", stay)
    slowly(visitor)
    visitor.upload(scan)
    expect(visitor.page.get_by_text(" MB of 8.0 MB · ")).to_contain_text("s left")
    visitor.page.get_by_role("link", name="Train").click()
    wait(lambda: asked == ["beforeunload"])
    assert visitor.page.url.endswith("/data")
    visitor.click("Cancel")
    wait(lambda: not incoming(visitor))
    asked.clear()
    visitor.follow("Train")
    visitor.page.wait_for_url("**/train")
    assert asked == [], "nothing is lost now"
    visitor.open("/data")
    expect(visitor.page.get_by_text("An upload was broken off")).to_have_count(0)


def test_an_upload_whose_server_is_killed_says_so_then_and_later(visitor: Visitor, tmp_path: Path) -> None:
    scan = tmp_path / "scan.nii"
    scan.write_bytes(bytes(8_000_000))
    visitor.open("/data")
    slowly(visitor)
    visitor.upload(scan)
    visitor.sees(" MB of 8.0 MB · ")
    visitor.server.kill()
    visitor.sees("the upload was broken off after")
    assert incoming(visitor)
    visitor.server.start()
    visitor.open("/segment")
    visitor.open("/data")
    visitor.sees("Nothing of it was kept: upload it again.")
    assert not incoming(visitor)
    visitor.click("Dismiss")
    expect(visitor.page.get_by_text("An upload was broken off")).to_have_count(0)
    visitor.open("/data")
    visitor.sees("Bring data")
    expect(visitor.page.get_by_text("An upload was broken off")).to_have_count(0)


def test_an_upload_whose_tab_is_closed_is_told_to_the_next_one(visitor: Visitor) -> None:
    with closing(HTTPConnection("localhost", visitor.server.port)) as begun:
        begun.request("POST", "/api/uploads")
        upload = json.loads(begun.getresponse().read())["id"]
    head = f"POST /api/uploads/{upload}/files HTTP/1.1\r\nHost: localhost\r\nX-Osteon-Name: a.nii\r\n"
    with socket.create_connection(("localhost", visitor.server.port)) as line:
        line.sendall(f"{head}Content-Length: 1000000\r\n\r\n".encode() + bytes(5000))
        wait(lambda: bool(incoming(visitor)))
    wait(lambda: not incoming(visitor))
    visitor.open("/data")
    visitor.sees("Nothing of it was kept: upload it again.")
    visitor.click("Dismiss")
    expect(visitor.page.get_by_text("An upload was broken off")).to_have_count(0)


def test_a_tab_in_the_background_shows_that_a_job_has_ended(visitor: Visitor) -> None:
    visitor.open("/jobs")
    page = visitor.page
    icon = "document.querySelector('link[rel~=icon]').href"
    before = page.evaluate(icon)
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => true, configurable: true })")
    Jobs(visitor.server.root).submit("import", ["nowhere", "datasets/none"], "Import a patient's name")
    page.wait_for_function("document.title === '(1) Jobs · osteon'")
    assert page.evaluate(icon) != before
    expect(page.get_by_role("status").filter(has_text="An import has failed")).to_have_count(1)
    page.evaluate("delete document.hidden; dispatchEvent(new Event('focus'))")
    page.wait_for_function("document.title === 'Jobs · osteon'")
    assert page.evaluate(icon) == before


def test_the_system_s_notice_is_asked_for_where_it_is_allowed(visitor: Visitor) -> None:
    visitor.tab()
    visitor.page.add_init_script(
        "window.told = []; window.Notification = class { static permission = 'default';"
        " static async requestPermission() { this.permission = 'granted'; }"
        " constructor(title, { body }) { told.push(body); } };"
        " Object.defineProperty(document, 'hidden', { get: () => true });"
    )
    visitor.open("/jobs")
    visitor.click("Tell me when a job ends")
    expect(visitor.page.get_by_role("button", name="Tell me when a job ends")).to_have_count(0)
    Jobs(visitor.server.root).submit("import", ["nowhere", "datasets/none"], "Import a patient's name")
    visitor.page.wait_for_function("told.length")
    assert visitor.page.evaluate("told") == ["An import has failed"]
    visitor.tab()


def test_a_page_that_is_left_says_so_and_one_can_go_back(visitor: Visitor) -> None:
    visitor.open("/jobs")
    client_id = visitor.page.evaluate("window.clientId")
    visitor.follow("Train")
    visitor.sees("There is nothing to learn from yet")
    with closing(HTTPConnection("localhost", visitor.server.port)) as line:
        line.request("POST", f"/api/left/{client_id}")
        assert line.getresponse().status == 404, "the server still holds the page"
    visitor.page.go_back()
    visitor.sees("Jobs continue when this page is closed")
    assert visitor.page.evaluate("window.clientId") != client_id
    assert not (visitor.server.root / "errors.log").exists(), (visitor.server.root / "errors.log").read_text()


def test_each_end_is_notified_once_and_a_cancelled_job_not(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path)

    def put(command: str, state: JobState) -> Job:
        job = Job(f"{len(jobs.all()):016x}", command, (), "Somebody", {}, created=time.time())
        (jobs.store.folder / job.id).mkdir(parents=True)
        (jobs.store.folder / job.id / "job.json").write_text(json.dumps(dataclasses.asdict(job)))
        jobs.write_state(job, state)
        return job

    old = put("train", JobState("done"))
    watcher = JobEndWatcher(jobs)
    put("train", JobState("queued"))
    assert watcher.end_sentences() == []
    new = put("predict", JobState("partly"))
    put("sweep", JobState("cancelled"))
    put("export", JobState("done"))
    assert watcher.end_sentences() == ["A segmentation is done, with some cases left out"]
    assert watcher.end_sentences() == []
    jobs.write_state(new, JobState("queued"))
    jobs.write_state(old, JobState("queued"))
    assert watcher.end_sentences() == []
    jobs.write_state(old, JobState("failed", why="it ended without a word"))
    assert watcher.end_sentences() == ["A training has failed"]


def test_a_page_that_sends_no_more_is_taken_for_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads = Uploads(Workspace.open(tmp_path))
    silent, working = uploads.start(), uploads.start()
    working.finishing = True
    uploads.interrupt_idle()
    assert len(uploads.open) == 2
    monkeypatch.setattr(receiving, "IDLE_S", -1.0)
    uploads.interrupt_idle()
    assert list(uploads.open) == [working.id]
    assert list(uploads.interrupted) == [silent.id]
    assert not silent.folder.exists()
