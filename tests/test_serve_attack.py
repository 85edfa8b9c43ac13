"""Clients that would hold the server up: half a head, a trickle, an answer nobody takes. Real sockets throughout."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import psutil
import pytest

from osteon.core.files import write_json
from osteon.serving import upload_slots
from osteon.serving.job_work import PredictionTask, TaskResult
from osteon.serving.jobs import RESULT, RESULT_JSON
from osteon.serving.upload_slots import UploadSlot, UploadSlots
from osteon.web import connections, slow_bodies
from osteon.web.connections import client_network
from osteon.web.http_errors import RejectedError
from osteon.web.slow_bodies import Lag, PacedBody
from serving import NIFTI, FakePredictor, RunningServer, serving, wait_until

HALF = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
UPLOAD = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningServer]:
    with serving(tmp_path) as made:
        yield made


@contextmanager
def slow(running: RunningServer, begin: bytes, more: bytes = b"", every_s: float = 0.05) -> Iterator[socket.socket]:
    """A connection that begins as told, and then brings a little now and then."""
    ended = threading.Event()
    with socket.create_connection(("127.0.0.1", running.client.port)) as made:
        made.settimeout(10)
        made.sendall(begin)

        def trickle() -> None:
            try:
                while not ended.wait(every_s):
                    made.sendall(more)
            except OSError:  # the server has closed it
                pass

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            ended.set()
            thread.join()


def read_to_end(made: socket.socket) -> bytes:
    """All that the server says until it closes the connection."""
    answer = b""
    try:
        while part := made.recv(1 << 16):
            answer += part
    except ConnectionError:
        pass
    return answer


# Heads


@pytest.mark.parametrize("begin", [b"", HALF], ids=["nothing", "half"])
def test_an_endless_head_is_given_up(running: RunningServer, monkeypatch: pytest.MonkeyPatch, begin: bytes) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.3)
    began = time.monotonic()
    with slow(running, begin, b"X: y\r\n" if begin else b"") as made:
        assert read_to_end(made).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "begin",
    [
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" + HALF,
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n",
    ],
    ids=["next head", "rest of a body"],
)
def test_what_trickles_after_an_answer_is_given_up(
    running: RunningServer, monkeypatch: pytest.MonkeyPatch, begin: bytes
) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.3)
    with slow(running, begin, b"X: y\r\n") as made:
        assert read_to_end(made).startswith(b"HTTP/1.1 200 ")


def test_a_request_that_is_worked_on_has_all_its_time(running: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.2)
    with slow(running, UPLOAD + NIFTI) as made:
        time.sleep(0.6)
        made.sendall(bytes(5000 - len(NIFTI)))
        assert made.recv(12) == b"HTTP/1.1 202"


def test_connections_without_a_request_leave_room_for_those_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_PENDING_EACH", 20)
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 40)
    with serving(tmp_path) as running, ExitStack() as held:
        made = [held.enter_context(socket.create_connection(("127.0.0.1", running.client.port))) for _ in range(100)]
        for one in made:
            one.sendall(HALF)
        for _ in range(5):
            assert running.client.ask("GET", "/health").status == 200
            assert running.client.send().status in (202, 429)
        made[0].settimeout(10)
        assert read_to_end(made[0]) == b"", "the one that waited longest was closed"


def test_an_address_closes_none_of_another(running: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_PENDING_EACH", 3)
    here = ("127.0.0.1", running.client.port)
    with socket.create_connection(here, source_address=("127.0.0.2", 0)) as other, ExitStack() as held:
        time.sleep(0.05)
        for _ in range(10):
            held.enter_context(socket.create_connection(here))
        time.sleep(0.1)
        other.sendall(HALF + b"\r\n")
        assert other.recv(12) == b"HTTP/1.1 200"


def test_a_network_of_64_bits_is_one_address() -> None:
    assert client_network("2001:db8::1") == client_network("2001:db8::ffff:1") != client_network("2001:db8:0:1::1")
    assert (client_network("10.0.0.1"), client_network("x"), client_network("fe80::1%eth0")) == (
        "10.0.0.1",
        "x",
        "fe80::/64",
    )


def test_an_answer_that_nobody_takes_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def large(task: PredictionTask) -> TaskResult:
        write_json(task.folder / RESULT / RESULT_JSON, {"files": ["mask.nii.gz"]})
        (task.folder / RESULT / "mask.nii.gz").write_bytes(bytes(64 << 20))
        return TaskResult()

    monkeypatch.setattr(connections, "STALLED_S", 1.0)
    predictor = FakePredictor(large)
    predictor.go.set()
    with serving(tmp_path, predictor=predictor) as running:
        job_id = running.client.send().data["id"]
        running.client.wait_for(job_id)
        with socket.socket() as made:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            made.connect(("127.0.0.1", running.client.port))
            made.sendall(f"GET /jobs/{job_id}/mask.nii.gz HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            ports = (running.client.port, made.getsockname()[1])
            wait_until(lambda: is_connected(*ports))
            wait_until(lambda: not is_connected(*ports), 20)


def is_connected(port: int, client: int) -> bool:
    """Whether the server, which is this process, has a connection with a client's port."""
    ends = [(one.laddr, one.raddr) for one in psutil.Process().net_connections("tcp") if one.raddr]
    return any((here.port, there.port) == (port, client) for here, there in ends)


# Bodies


def test_a_body_that_trickles_is_given_up(running: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_bodies, "SILENCE_S", 0.5)
    monkeypatch.setattr("osteon.web.drain_request.MOST_S", 0.2)
    with slow(running, UPLOAD + NIFTI, b"x") as made:
        answer = read_to_end(made)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"was too slow" in answer
    wait_until(lambda: not running.queue.of("").slots.held)
    assert list(running.queue.store.folder.iterdir()) == []


def test_a_slow_upload_gives_its_place_to_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_slots, "PATIENCE_S", 0.2)
    monkeypatch.setattr("osteon.web.drain_request.MOST_S", 0.2)
    with serving(tmp_path, queue=4) as running, ExitStack() as held:
        made = [held.enter_context(slow(running, UPLOAD + NIFTI, b"x")) for _ in range(2)]
        wait_until(lambda: len(running.queue.of("").slots.held) == 2)
        full = running.client.send()
        assert (full.status, full.data["error"]) == (429, "too many uploads from this address are in progress")
        time.sleep(0.5)
        assert running.client.send().status == 202
        answered, _, _ = select.select(made, [], [], 10)
        answer = read_to_end(answered[0])
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"others were waiting" in answer
        assert len(running.queue.of("").slots.held) == 1, "no more than one gave way"


async def nothing() -> AsyncIterator[bytes]:
    yield b""


def upload(address: str, lag_s: float = 0.0) -> UploadSlot:
    made = UploadSlot(address, PacedBody(nothing()), lambda: None)
    made.body._slow.seconds = lag_s
    return made


def test_an_address_has_half_of_the_places_and_quick_uploads_keep_theirs() -> None:
    taken = UploadSlots(4)
    for address in ("a", "a", "b"):
        taken.acquire(upload(address), 0, 5)
    with pytest.raises(RejectedError, match="from this address"):
        taken.acquire(upload("a"), 0, 5)
    taken.acquire(upload("c"), 0, 5)
    with pytest.raises(RejectedError, match="the queue is full: 4"):
        taken.acquire(upload("d"), 0, 5)
    slowest = taken.held[2] = upload("b", 9.0)
    taken.held[3] = upload("c", 8.0)
    taken.acquire(upload("d"), 0, 5)
    assert slowest not in taken.held
    taken.held[:] = [upload("a", 9.0)]
    taken.held[0].body.complete = True
    with pytest.raises(RejectedError):
        taken.acquire(upload("b"), 3, 5)


def test_what_came_quickly_at_first_does_not_pay_for_a_trickle() -> None:
    lag = Lag(1000.0)
    lag.add(1.0, 10**9)
    lag.add(20.0, 1000)
    assert lag.seconds == 19.0


def test_only_the_clients_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_bodies, "SILENCE_S", 0.2)

    async def quick() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x"

    async def silent() -> AsyncIterator[bytes]:
        yield b"x"
        await anyio.sleep(60)

    async def read(body: AsyncIterator[bytes]) -> int:
        count = 0
        async for _ in PacedBody(body):
            await anyio.sleep(0.1)  # a disk that is slow
            count += 1
        return count

    assert anyio.run(read, quick()) == 4
    with pytest.raises(RejectedError, match="was too slow"):
        anyio.run(read, silent())


# Jobs


def test_a_job_that_hangs_is_ended_and_loses_no_other(tmp_path: Path) -> None:
    with serving(tmp_path, limit_s=0.8) as running:
        hung, other = running.client.send(), running.client.send()
        wait_until(lambda: running.predictor.tasks)
        time.sleep(0.5)
        health = running.client.ask("GET", "/health").data
        assert (health["status"], health["waiting"], health["job_limit_s"]) == ("degraded", 1, 0.8)
        assert health["why"][0].startswith("a job has been worked on for")
        assert health["busy_s"] > 0.4
        assert health["busy_since"] == running.client.ask("GET", f"/jobs/{hung.data['id']}").data["started"]
        job = running.client.wait_for(hung.data["id"])
        assert (job["state"], job["error"]) == ("failed", "the job took longer than 0.8 s")
        running.predictor.go.set()
        assert running.client.wait_for(other.data["id"])["state"] == "done"
        health = running.client.ask("GET", "/health").data
        assert (health["status"], health["why"], health["busy_since"]) == ("ok", [], None)
        assert running.predictor.starts == 1


def test_a_full_queue_and_a_process_that_is_not_ready_are_told(tmp_path: Path) -> None:
    with serving(tmp_path, queue=1) as running:
        assert running.client.send().status == 202
        wait_until(lambda: running.predictor.tasks)
        assert running.client.send().status == 202
        health = running.client.ask("GET", "/health").data
        assert (health["status"], health["why"]) == ("degraded", ["the queue is full"])
        running.predictor.up = False
        assert "the predicting process is not ready" in running.client.ask("GET", "/health").data["why"]
        running.predictor.up = True
