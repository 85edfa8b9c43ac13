"""The routes, over real sockets: what is taken, what is refused and how, and what becomes of jobs."""

from __future__ import annotations

import errno
import io
import json
import socket
import time
import zipfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from osteon.core.files import write_error, write_json
from osteon.exporting import registry
from osteon.serving import descriptions, job_ages
from osteon.serving import uploads as receiving
from osteon.serving.click_tasks import CLICKS_JSON
from osteon.serving.guard import ServerRules
from osteon.serving.job_work import PredictionTask, TaskResult
from osteon.serving.jobs import JOB, SCAN, JobQueue
from osteon.serving.predictor import ProcessDiedError
from osteon.serving.upload_slots import UploadSlot
from osteon.web import slow_bodies
from osteon.web.slow_bodies import PacedBody
from serving import NIFTI, TOKEN, FakePredictor, RunningServer, serving, wait_until, write_mask


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    with serving(tmp_path) as made:
        yield made


async def nothing() -> AsyncIterator[bytes]:
    yield b""


def upload(address: str = "") -> UploadSlot:
    return UploadSlot(address, PacedBody(nothing()), lambda: None)


def archive(names: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in names.items():
            opened.writestr(name, content)
    return made.getvalue()


def test_a_scan_goes_in_and_its_mask_comes_out(running: RunningServer) -> None:
    client = running.client
    sent = client.send(query="?forms=stl,ply,stl")
    assert (sent.status, sent.headers["location"]) == (202, f"/jobs/{sent.data['id']}")
    address = sent.headers["location"]
    wait_until(lambda: running.predictor.tasks)
    task = running.predictor.tasks[0]
    assert (task.folder / SCAN / "scan.nii").read_bytes() == NIFTI
    assert task.forms == ("stl", "ply")
    assert client.ask("GET", f"{address}/mask.nii.gz").data["error"] == "the job is running"
    running.predictor.go.set()
    job = client.wait_for(sent.data["id"])
    assert (job["state"], job["result"]["confidence"]) == ("done", {"femur": 0.9})
    fetched = client.ask("GET", f"{address}/mask.nii.gz")
    assert (fetched.status, fetched.body) == (200, b"a mask")
    assert not (task.folder / SCAN).exists()
    assert client.ask("GET", f"{address}/stl.zip").data["hint"] == "it has mask.nii.gz"
    assert client.ask("GET", "/model").data == {"name": "model", "structures": ["femur"]}
    assert client.ask("DELETE", address).status == 204
    assert client.ask("GET", address).status == 404
    assert not task.folder.exists()


def test_a_zip_of_a_series_is_unpacked_under_numbers(running: RunningServer) -> None:
    running.predictor.go.set()
    seen = []
    running.predictor.behave = lambda task: (
        seen.extend(sorted(p.name for p in (task.folder / SCAN / "scan").iterdir())) or write_mask(task)
    )
    sent = running.client.send(archive({"Doe^Jane/im1": b"a", "Doe^Jane/im2.DCM": b"b", "__MACOSX/im1": b"c"}))
    assert running.client.wait_for(sent.data["id"])["state"] == "done"
    assert seen == ["000000", "000001.dcm"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 415, "is empty"),
        (b"no scan at all", 415, "is not a scan"),
        (b"PK\x03\x04 cut off", 422, "is damaged"),
        (archive({}), 422, "is empty"),
        (archive({"../../etc/passwd": b"x"}), 422, "leads out"),
        (archive({"/etc/passwd": b"x"}), 422, "leads out"),
        (archive({"C:\\x": b"x"}), 422, "leads out"),
        (archive({"a.dcm": bytes(500_000)}), 413, "has more than 50 kB"),
    ],
    ids=["empty", "text", "cut", "nothing", "up", "root", "drive", "bomb"],
)
def test_what_is_no_scan_is_refused_and_leaves_nothing(
    tmp_path: Path, body: bytes, status: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "UNPACKED", 0.5)
    with serving(tmp_path) as running:
        refused = running.client.send(body)
        assert (refused.status, set(refused.data)) == (status, {"error", "hint"})
        assert message in refused.data["error"]
        assert refused.data["hint"]
        wait_until(lambda: not running.queue.of("").slots.held)
        assert list(running.queue.store.folder.iterdir()) == []
        health = running.client.ask("GET", "/health").data
        assert (health["status"], health["waiting"], health["receiving"], health["free"]) == ("ok", 0, 0, 4)


def test_a_bomb_is_told_by_what_comes_out_for_each_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("osteon.serving.uploads.SLACK", 0)
    with serving(tmp_path, max_upload=10**9) as running:
        refused = running.client.send(archive({"a.dcm": bytes(5_000_000)}))
        assert (refused.status, refused.data["error"]) == (
            422,
            "the archive unpacks to far more than it holds: a zip bomb",
        )


def test_links_and_passwords_are_refused(running: RunningServer) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        link = zipfile.ZipInfo("a.dcm")
        link.external_attr = 0o120777 << 16
        opened.writestr(link, "/etc/passwd")
    assert "links" in running.client.send(made.getvalue()).data["error"]
    locked = bytearray(archive({"a.dcm": b"x"}))
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    assert "encrypted" in running.client.send(bytes(locked)).data["error"]


def test_forms_of_browsers_and_unknown_forms_of_export_are_refused(running: RunningServer) -> None:
    assert running.client.send(content_type="multipart/form-data; boundary=x").status == 415
    refused = running.client.send(query="?forms=stl,exe")
    assert (refused.status, refused.data["error"]) == (422, "forms: exe is none")


def test_forms_are_those_of_a_single_scan() -> None:
    assert {form.name for form in registry.FORMS if not form.of_dataset} - {"table"} == set(descriptions.EXPORT_FORMS)


# Sizes


def test_too_much_is_refused_before_it_is_read_where_it_is_announced(running: RunningServer) -> None:
    """The client is one that sends all before it listens: it hears the answer nevertheless."""
    refused = running.client.send(bytes(8_000_000))
    assert (refused.status, refused.data["error"]) == (413, "the upload has more than 100 kB")


def test_no_more_than_the_limit_is_read_where_nothing_is_announced(
    running: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("osteon.web.drain_request.MOST_BYTES", 1 << 20)
    monkeypatch.setattr("osteon.web.drain_request.MOST_S", 0.5)
    sent = 0
    with socket.create_connection(("localhost", running.client.port)) as connection:
        connection.sendall(b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
        try:
            for _ in range(1000):
                connection.sendall(chunk)
                sent += 1 << 16
        except OSError:  # the server closed the connection
            pass
    assert sent < 30 << 20
    wait_until(lambda: not running.queue.of("").slots.held)
    assert list(running.queue.store.folder.iterdir()) == []


def test_a_client_that_waits_sends_nothing_where_it_is_refused(running: RunningServer) -> None:
    with socket.create_connection(("localhost", running.client.port)) as connection:
        connection.sendall(
            b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\nExpect: 100-continue\r\n\r\n"
        )
        connection.settimeout(10)
        response = b""
        while part := connection.recv(1 << 16):
            response += part
    assert response.startswith(b"HTTP/1.1 413 ")


def test_an_upload_that_breaks_off_or_falls_silent_frees_its_place(
    running: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n" + NIFTI
    with socket.create_connection(("localhost", running.client.port)) as connection:
        connection.sendall(head)
        wait_until(lambda: running.queue.of("").slots.held)
    wait_until(lambda: not running.queue.of("").slots.held)
    monkeypatch.setattr(slow_bodies, "SILENCE_S", 0.1)
    monkeypatch.setattr("osteon.web.drain_request.MOST_S", 0.1)
    with socket.create_connection(("localhost", running.client.port)) as connection:
        connection.sendall(head)
        connection.settimeout(10)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 408 ")
    wait_until(lambda: not running.queue.of("").slots.held)
    assert list(running.queue.store.folder.iterdir()) == []


def test_a_full_queue_says_when_to_come_again(tmp_path: Path) -> None:
    with serving(tmp_path, queue=2) as running:
        jobs = [running.client.send() for _ in range(1)]
        wait_until(lambda: running.predictor.tasks)  # it is worked on, and no longer in the queue
        jobs += [running.client.send() for _ in range(2)]
        assert [job.status for job in jobs] == [202] * 3
        refused = running.client.send(NIFTI + bytes(90_000))
        assert (refused.status, refused.headers["retry-after"]) == (429, "5")
        assert refused.data["hint"] == "try again in 5 s"
        assert running.client.ask("GET", f"/jobs/{jobs[2].data['id']}").data["ahead"] == 1
        assert running.client.ask("DELETE", f"/jobs/{jobs[2].data['id']}").status == 204
        assert running.client.send().status == 202
        running.predictor.go.set()
        assert running.client.wait_for(jobs[1].data["id"])["state"] == "done"


def test_a_full_disk_is_said_before_anything_is_written(
    running: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("osteon.web.uploads.SPARE_BYTES", 10**18)
    assert running.client.send().status == 507


# Who may ask


def test_the_token_is_asked_for(tmp_path: Path) -> None:
    with serving(tmp_path, rules=ServerRules(TOKEN, local=False)) as running:
        client = running.client
        for wrong in ({}, {"authorization": f"Bearer {TOKEN}x"}, {"authorization": f"Basic {TOKEN}"}):
            refused = client.send(bytes(1_000_000), **wrong)
            assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert [client.ask("GET", path).status for path in ("/", "/health", "/openapi.json", "/model")] == [
            200,
            200,
            200,
            401,
        ]
        assert client.ask("GET", "/model", authorization=f"bearer {TOKEN}").status == 200
        assert client.ask("GET", "/model", authorization=f"Bearer {TOKEN}", host="osteon.example").status == 200


def test_pages_of_other_sites_are_refused(running: RunningServer) -> None:
    assert running.client.ask("GET", "/health", host="rebound.example").status == 421
    assert running.client.send(origin="https://elsewhere.example").status == 403
    assert running.client.send(origin=f"http://localhost:{running.client.port}").status == 202


def test_the_page_names_every_route_and_asks_no_other_host(running: RunningServer) -> None:
    shown = running.client.ask("GET", "/")
    text = shown.body.decode()
    described = running.client.ask("GET", "/openapi.json").data
    assert all(path in text for path in described["paths"])
    jobs = {"/jobs", "/jobs/{job_id}", "/jobs/{job_id}/{file}"}
    assert {*described["paths"]} == {*jobs, "/health", "/ready", "/metrics", "/model", "/models"}
    assert "422" not in described["paths"]["/jobs/{job_id}"]["get"]["responses"]
    assert not any(word in text for word in ("<script", "src=", "@import", "https://", "<link"))
    assert "default-src 'none'" in shown.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/jobs/x", "/jobs/..%2f..", f"/jobs/{'0' * 32}/job.json"])
def test_what_is_not_there_is_said_in_json(running: RunningServer, path: str) -> None:
    reply = running.client.ask("GET", path)
    assert reply.status in (404, 405)
    assert set(reply.data) == {"error", "hint"}


def test_what_a_path_can_be_asked_with_is_said_in_full(running: RunningServer) -> None:
    refused = running.client.ask("PUT", f"/jobs/{'0' * 32}")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, DELETE")
    described = running.client.ask("GET", "/openapi.json").data["paths"]["/jobs"]["post"]
    assert described["requestBody"]["required"]


# Jobs


def test_a_scan_that_kills_the_process_is_tried_twice_and_stops_no_other(tmp_path: Path) -> None:
    def behave(task: PredictionTask) -> TaskResult:
        if b"deadly" in next((task.folder / SCAN).iterdir()).read_bytes():
            predictor.up = False
            raise ProcessDiedError("Killed")
        return write_mask(task)

    predictor = FakePredictor(behave)
    predictor.go.set()
    with serving(tmp_path, predictor=predictor) as running:
        deadly, harmless = running.client.send(NIFTI + b"deadly"), running.client.send()
        job = running.client.wait_for(deadly.data["id"])
        assert (job["state"], job["crashes"]) == ("failed", 2)
        assert job["error"] == "the predicting process died 2 times over this scan (Killed)"
        assert running.client.wait_for(harmless.data["id"])["state"] == "done"
        assert predictor.starts == 2


def test_a_scan_that_fails_says_why_and_stops_no_other(tmp_path: Path) -> None:
    answers = iter([TaskResult("the scan: holds NaN", "look at it")])
    predictor = FakePredictor(lambda task: next(answers, None) or write_mask(task))
    predictor.go.set()
    with serving(tmp_path, predictor=predictor) as running:
        bad, good = running.client.send(), running.client.send()
        job = running.client.wait_for(bad.data["id"])
        assert (job["state"], job["error"], job["hint"]) == ("failed", "the scan: holds NaN", "look at it")
        assert running.client.wait_for(good.data["id"])["state"] == "done"


def test_a_full_disk_loses_no_job(running: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = running.client.send()
    wait_until(lambda: running.predictor.tasks)
    waiting = running.client.send()
    left = [3]

    def write(path: Path, data: object) -> None:
        if left[0]:
            left[0] -= 1
            raise write_error(path, OSError(errno.ENOSPC, "full"))
        write_json(path, data)

    monkeypatch.setattr("osteon.serving.jobs.write_json", write)
    monkeypatch.setattr("osteon.serving.dispatcher.FIRST_PAUSE_S", 0.01)
    running.predictor.go.set()
    assert running.client.wait_for(sent.data["id"])["state"] == "done"
    assert running.client.wait_for(waiting.data["id"])["state"] == "done"
    assert left == [0]


def test_a_job_that_runs_can_be_deleted(running: RunningServer) -> None:
    sent = running.client.send()
    wait_until(lambda: running.predictor.tasks)
    assert running.client.ask("DELETE", f"/jobs/{sent.data['id']}").status == 204
    assert running.client.wait_for(running.client.send().data["id"])["state"] == "done"
    assert len(list(running.queue.store.folder.iterdir())) == 1


def test_what_was_accepted_is_there_after_a_restart(tmp_path: Path) -> None:
    store = JobQueue(tmp_path, 8)
    ids = []
    for content in (b"1", b"2", b"3"):
        with store.incoming(upload()) as incoming:
            (incoming / SCAN).mkdir()
            (incoming / SCAN / "scan.nii").write_bytes(content)
            ids.append(store.submit(incoming, ()).id)
    assert store.start_next(0) is not None
    store.complete(ids[0])
    assert store.start_next(0) is not None  # it runs when the server is killed
    (store.store.folder / ".incoming-1").mkdir()
    (store.store.folder / "damaged").mkdir()
    (store.store.folder / "damaged" / JOB).write_text("{")
    again = JobQueue(tmp_path, 8)
    assert [again.get(i).state for i in ids] == ["done", "queued", "queued"]
    assert (list(again.of("").waiting), again.damaged) == (ids[1:], 1)
    assert not (again.store.path(ids[0]) / SCAN).exists()
    assert not (again.store.folder / ".incoming-1").exists()


def three_done(folder: Path) -> tuple[JobQueue, list[str]]:
    """A store with jobs that are over, and their ids."""
    store, ids = JobQueue(folder, 8), []
    for _ in range(3):
        with store.incoming(upload()) as incoming:
            ids.append(store.submit(incoming, ()).id)
        store.start_next(0)
        store.complete(ids[-1])
    return store, ids


def test_jobs_are_kept_for_their_time(tmp_path: Path) -> None:
    store = JobQueue(tmp_path, 8)
    with store.incoming(upload()) as incoming:
        job = store.submit(incoming, ())
    assert store.expire(-10) == 0  # it is not over
    store.start_next(0)
    store.fail(job.id, "why", "")
    time.sleep(0.01)
    assert store.expire(60) == 0
    assert store.expire(0) == 1
    assert list(store.store.folder.iterdir()) == []


def test_a_job_that_is_deleted_while_it_expires_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, ids = three_done(tmp_path)
    remove = store.remove

    def later(job_id: str) -> None:
        if job_id == ids[0]:
            remove(job_id)  # the client's own request came first
        remove(job_id)

    monkeypatch.setattr(store, "remove", later)
    assert store.expire(0) == 2
    assert list(store.store.folder.iterdir()) == []


def test_a_clock_that_is_set_ahead_removes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    week = 7 * 24 * 3600.0
    ran = [0.0]
    monkeypatch.setattr(job_ages, "time", SimpleNamespace(monotonic=lambda: ran[0]))
    store, ids = three_done(tmp_path)
    later = datetime.now(UTC) + timedelta(days=8)
    monkeypatch.setattr("osteon.serving.jobs.datetime", SimpleNamespace(now=lambda _: later))
    assert store.expire(week) == 0
    ran[0] = week - 1
    assert store.expire(week) == 0
    again = JobQueue(tmp_path, 8)  # with the clock still set ahead; ages go on where the other server left them
    assert again.expire(week) == 0
    assert [again.ages.of(job_id) for job_id in ids] == [week - 1] * 3
    ran[0] += 2
    assert again.expire(week) == 3
    assert again.jobs == {}


def test_ages_that_cannot_be_read_begin_anew(tmp_path: Path) -> None:
    (tmp_path / job_ages.FILE_NAME).write_text('{"ran_s": NaN}')
    begun = job_ages.JobAges(tmp_path)
    begun.start("x")
    assert begun.of("x") < 5


def test_a_state_that_is_no_job_is_passed_over(tmp_path: Path) -> None:
    write_json(tmp_path / "jobs/x" / JOB, {"id": "../x"})
    assert json.loads((tmp_path / "jobs/x" / JOB).read_text())
    assert JobQueue(tmp_path, 1).damaged == 1


def test_answered_clicks_say_nothing_of_how_long_scans_take(tmp_path: Path) -> None:
    queue = JobQueue(tmp_path, 8)
    for clicked in (True, False):
        with queue.store.incoming() as folder:
            if clicked:
                (folder / CLICKS_JSON).write_text("{}")
            job = queue.submit(folder, ())
        assert queue.start_next(1) is not None
        queue.complete(job.id)
        assert (queue.of("").mean_s is None) == clicked
