"""A server that others watch over: readiness, metrics, its jobs, what it keeps, and TLS."""

from __future__ import annotations

import ssl
import threading
import urllib.request
from pathlib import Path

import pytest

from certificates import make_certificate
from osteon.core.errors import UsageError
from osteon.serving.dispatcher import Dispatcher, DispatcherGroup
from osteon.serving.guard import ServerRules
from osteon.serving.job_record import Job
from osteon.serving.jobs import RESULT, JobQueue
from osteon.serving.server import create_server, read_tls
from osteon.web.address import ServerAddress
from serving import TOKEN, FakePredictor, free_port, serving, wait_until
from test_serve import upload


def metrics(text: bytes) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in text.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_a_server_is_ready_unless_its_process_is_stuck_or_gone(tmp_path: Path) -> None:
    with serving(tmp_path, limit_s=0.8, rules=ServerRules(TOKEN)) as running:
        assert running.client.ask("GET", "/ready").status == 200  # without the token
        assert running.client.ask("GET", "/metrics").status == running.client.ask("GET", "/jobs").status == 401
        running.client.headers["Authorization"] = f"Bearer {TOKEN}"
        hung = running.client.send().data["id"]
        wait_until(lambda: running.client.ask("GET", "/ready").status == 503)  # after half of the limit
        assert running.client.ask("GET", "/ready").data["why"][0].startswith("a job has been worked on for")
        assert running.client.wait_for(hung)["state"] == "failed"
        wait_until(lambda: running.client.ask("GET", "/ready").status == 200)
        running.predictor.go.set()
        done = running.client.send().data["id"]
        assert running.client.wait_for(done)["state"] == "done"
        found = metrics(running.client.ask("GET", "/metrics").body)
        assert found['osteon_serve_jobs{model="model",state="done"}'] == 1
        assert found['osteon_serve_jobs_ended_total{model="model",state="failed"}'] == 1
        assert found['osteon_serve_job_seconds_count{model="model"}'] == 2
        assert found['osteon_serve_job_seconds_sum{model="model"}'] > 0.7
        assert found['osteon_serve_predictor_restarts_total{model="model"}'] == 1
        assert found['osteon_serve_ready{model="model"}'] == 1
        assert found["osteon_serve_memory_bytes"] > 10**6
        assert found["osteon_serve_kept_bytes"] > 0
        assert found['osteon_serve_predictor_memory_bytes{model="model"}'] == 0  # the tests' own has no process
        running.predictor.up = False
        assert running.client.ask("GET", "/ready").status == 503
        running.predictor.up = True


def test_jobs_are_listed_the_newest_first(tmp_path: Path) -> None:
    with serving(tmp_path / "open") as running:
        assert running.client.ask("GET", "/jobs").status == 403
    with serving(tmp_path, rules=ServerRules(TOKEN)) as running:
        running.client.headers["Authorization"] = f"Bearer {TOKEN}"
        ids = [running.client.send().data["id"] for _ in range(3)]
        wait_until(lambda: running.predictor.tasks)
        assert [job["id"] for job in running.client.ask("GET", "/jobs").data] == ids[::-1]
        waiting = running.client.ask("GET", "/jobs?state=queued&limit=1").data
        assert [(job["id"], job["ahead"]) for job in waiting] == [(ids[2], 1)]
        assert running.client.ask("GET", "/jobs?state=lost").status == running.client.ask("GET", "/jobs?limit=0").status
        assert running.client.ask("GET", "/jobs?limit=0").status == 422
        running.predictor.go.set()


def test_what_takes_too_much_goes_the_oldest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = JobQueue(tmp_path, 8)
    ids = []
    for _ in range(3):
        with queue.incoming(upload()) as incoming:
            ids.append(queue.submit(incoming, ()).id)
        queue.start_next(0)
        (queue.store.path(ids[-1]) / RESULT).mkdir()
        (queue.store.path(ids[-1]) / RESULT / "mask").write_bytes(bytes(100_000))
        queue.complete(ids[-1])
    assert queue.expire(1000, 0) == 0  # there is time to fetch it
    monkeypatch.setattr("osteon.serving.jobs.FETCH_S", 0)
    assert queue.expire(1000, 350_000) == 0
    assert JobQueue(tmp_path, 8).sizes == queue.sizes  # the next server knows it, too
    assert queue.expire(1000, 250_000) == 1
    assert set(queue.jobs) == set(ids[1:]) == set(queue.sizes)
    assert queue.expire(1000, 0) == 2


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(tmp_path)


def test_a_server_speaks_https(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    address = ServerAddress("127.0.0.1", free_port())
    dispatchers = DispatcherGroup([Dispatcher(JobQueue(tmp_path / "jobs", 4), FakePredictor(), 100, 30)])
    server = create_server(dispatchers, address, "", 10_000, tls=read_tls(*certificate))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    try:
        trusted = ssl.create_default_context(cafile=str(certificate[0]))
        with urllib.request.urlopen(address.url(tls=True) + "ready", context=trusted, timeout=30) as answer:
            assert answer.status == 200
        with pytest.raises(OSError):  # noqa: PT011 (which one it is, is the client's affair)
            urllib.request.urlopen(address.url() + "ready", timeout=30)
    finally:
        server.should_exit = True
        thread.join(20)
        dispatchers.join(20)


def test_what_is_no_certificate_is_said(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    assert read_tls(None, None) is None
    for given, words in (((cert, None), "a certificate and its key"), ((key, cert), "are no certificate")):
        with pytest.raises(UsageError, match=words):
            read_tls(*given)
    with pytest.raises(UsageError, match="are no certificate"):
        read_tls(tmp_path / "nothing.pem", key)


def test_a_result_that_is_removed_while_it_is_asked_for_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path) as running:
        running.predictor.go.set()
        done = running.client.send().data["id"]
        assert running.client.wait_for(done)["state"] == "done"
        get, asked = running.queue.get, []

        def later(job_id: str) -> Job:
            job = get(job_id)
            if not asked:
                asked.append(job_id)
                running.queue.remove(job_id)
            return job

        monkeypatch.setattr(running.queue, "get", later)
        assert running.client.ask("GET", f"/jobs/{done}").status == 404
