"""A server that is asked to end, as a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from osteon.core.processes import REPEAT_S
from osteon.serving.jobs import JobQueue
from serving import Client, free_port, is_listening, wait_until


@contextmanager
def working(folder: Path, grace_s: float) -> Iterator[tuple[Client, subprocess.Popen[bytes], list[str]]]:
    """A server that works on the first of two jobs, and their ids."""
    client = Client(free_port())
    line = [sys.executable, Path(__file__).with_name("serve_main.py"), folder, client.port, grace_s]
    process = subprocess.Popen([str(word) for word in line])
    try:
        wait_until(lambda: is_listening(client.port))
        ids = [client.send().data["id"] for _ in range(2)]
        wait_until(lambda: client.ask("GET", f"/jobs/{ids[0]}").data["state"] == "running")
        yield client, process, ids
    finally:
        process.kill()
        process.wait()


def states(folder: Path, ids: list[str]) -> list[str]:
    """What the next server finds."""
    queue = JobQueue(folder, 4)
    return [queue.get(job_id).state for job_id in ids]


def test_what_runs_is_finished_and_what_waits_is_kept(tmp_path: Path) -> None:
    with working(tmp_path, 60) as (client, process, ids):
        process.terminate()
        wait_until(lambda: client.ask("GET", "/ready").status == 503)
        ready = client.ask("GET", "/ready").data
        assert (ready["status"], ready["why"]) == ("ending", ["the server is ending"])
        refused = client.send()
        assert (refused.status, refused.data["error"]) == (503, "the server is ending, and takes no more jobs")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert client.ask("GET", f"/jobs/{ids[0]}").data["state"] == "running"
        (tmp_path / "go").touch()
        assert process.wait(30) == 0
    assert states(tmp_path, ids) == ["done", "queued"]


def test_what_runs_for_too_long_is_begun_again_by_the_next_server(tmp_path: Path) -> None:
    with working(tmp_path, 0.3) as (_, process, ids):
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert states(tmp_path, ids) == ["queued", "queued"]


def test_asked_twice_it_ends_at_once(tmp_path: Path) -> None:
    with working(tmp_path, 60) as (client, process, ids):
        process.terminate()
        process.terminate()  # a service manager's and its own, of the same moment
        wait_until(lambda: client.ask("GET", "/ready").status == 503)
        time.sleep(REPEAT_S)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 128 + signal.SIGINT
    assert states(tmp_path, ids) == ["queued", "queued"]
