"""Clients that would hold the server up: half a head, a trickle, an answer nobody takes. Real sockets throughout."""

from __future__ import annotations

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
from osteon.serving.http_errors import RefusedError
from osteon.serving.jobs import RESULT, RESULT_JSON
from osteon.serving.upload_slots import Held, Places
from osteon.serving.worker import Answer, Task
from osteon.web import connections, slow_bodies
from osteon.web.connections import neighbourhood
from osteon.web.slow_bodies import Lag, Paced, SlowError
from serving import NIFTI, Pretending, Running, serving, until

HALF = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
UPLOAD = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with serving(tmp_path) as made:
        yield made


@contextmanager
def slow(running: Running, begin: bytes, more: bytes = b"", every_s: float = 0.05) -> Iterator[socket.socket]:
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


def heard(made: socket.socket) -> bytes:
    """All that the server says until it closes the connection."""
    said = b""
    try:
        while part := made.recv(1 << 16):
            said += part
    except ConnectionError:
        pass
    return said


# Heads


@pytest.mark.parametrize("begin", [b"", HALF], ids=["nothing", "half"])
def test_a_head_that_never_ends_is_given_up(running: Running, monkeypatch: pytest.MonkeyPatch, begin: bytes) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.3)
    began = time.monotonic()
    with slow(running, begin, b"X: y\r\n" if begin else b"") as made:
        assert heard(made).startswith(b"HTTP/1.1 408 ")
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
    running: Running, monkeypatch: pytest.MonkeyPatch, begin: bytes
) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.3)
    with slow(running, begin, b"X: y\r\n") as made:
        assert heard(made).startswith(b"HTTP/1.1 200 ")


def test_a_request_that_is_worked_on_has_all_its_time(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.2)
    with slow(running, UPLOAD + NIFTI) as made:
        time.sleep(0.6)
        made.sendall(bytes(5000 - len(NIFTI)))
        assert made.recv(12) == b"HTTP/1.1 202"


def test_connections_without_a_request_leave_room_for_those_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_EACH", 20)
    monkeypatch.setattr("serving.MOST_CONNECTIONS", 40)
    with serving(tmp_path) as running, ExitStack() as held:
        made = [held.enter_context(socket.create_connection(("127.0.0.1", running.client.port))) for _ in range(100)]
        for one in made:
            one.sendall(HALF)
        for _ in range(5):
            assert running.client.ask("GET", "/health").status == 200
            assert running.client.send().status in (202, 429)
        made[0].settimeout(10)
        assert heard(made[0]) == b"", "the one that waited longest was closed"


def test_an_address_closes_none_of_another(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_EACH", 3)
    here = ("127.0.0.1", running.client.port)
    with socket.create_connection(here, source_address=("127.0.0.2", 0)) as other, ExitStack() as held:
        time.sleep(0.05)
        for _ in range(10):
            held.enter_context(socket.create_connection(here))
        time.sleep(0.1)
        other.sendall(HALF + b"\r\n")
        assert other.recv(12) == b"HTTP/1.1 200"


def test_a_network_of_64_bits_is_one_address() -> None:
    assert neighbourhood("2001:db8::1") == neighbourhood("2001:db8::ffff:1") != neighbourhood("2001:db8:0:1::1")
    assert (neighbourhood("10.0.0.1"), neighbourhood("x"), neighbourhood("fe80::1%eth0")) == (
        "10.0.0.1",
        "x",
        "fe80::/64",
    )


def test_an_answer_that_nobody_takes_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def large(task: Task) -> Answer:
        write_json(task.folder / RESULT / RESULT_JSON, {"files": ["mask.nii.gz"]})
        (task.folder / RESULT / "mask.nii.gz").write_bytes(bytes(64 << 20))
        return Answer()

    monkeypatch.setattr(connections, "STALLED_S", 1.0)
    predictor = Pretending(large)
    predictor.go.set()
    with serving(tmp_path, predictor=predictor) as running:
        job_id = running.client.send().data["id"]
        running.client.ended(job_id)
        with socket.socket() as made:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            made.connect(("127.0.0.1", running.client.port))
            made.sendall(f"GET /jobs/{job_id}/mask.nii.gz HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            ports = (running.client.port, made.getsockname()[1])
            until(lambda: held(*ports))
            until(lambda: not held(*ports), 20)


def held(port: int, client: int) -> bool:
    """Whether the server, which is this process, has a connection with a client's port."""
    ends = [(one.laddr, one.raddr) for one in psutil.Process().net_connections("tcp") if one.raddr]
    return any((here.port, there.port) == (port, client) for here, there in ends)


# Bodies


def test_a_body_that_trickles_is_given_up(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_bodies, "SILENCE_S", 0.5)
    monkeypatch.setattr("osteon.serving.drain_request.MOST_S", 0.2)
    with slow(running, UPLOAD + NIFTI, b"x") as made:
        said = heard(made)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"came too slowly" in said
    until(lambda: not running.store.places.held)
    assert list(running.store.folder.iterdir()) == []


def test_a_slow_upload_gives_its_place_to_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_slots, "PATIENCE_S", 0.2)
    monkeypatch.setattr("osteon.serving.drain_request.MOST_S", 0.2)
    with serving(tmp_path, queue=4) as running, ExitStack() as held:
        made = [held.enter_context(slow(running, UPLOAD + NIFTI, b"x")) for _ in range(2)]
        until(lambda: len(running.store.places.held) == 2)
        full = running.client.send()
        assert (full.status, full.data["error"]) == (429, "many uploads already come in from this address")
        time.sleep(0.5)
        assert running.client.send().status == 202
        said = heard(made[0])
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b"others came for its place" in said
        assert len(running.store.places.held) == 1, "no more than one gave way"


async def nothing() -> AsyncIterator[bytes]:
    yield b""


def upload(address: str, lag_s: float = 0.0) -> Held:
    made = Held(address, Paced(nothing()), lambda: None)
    made.body._slow.seconds = lag_s
    return made


def test_an_address_has_half_of_the_places_and_quick_uploads_keep_theirs() -> None:
    taken = Places(4)
    for address in ("a", "a", "b"):
        taken.take(upload(address), 0, 5)
    with pytest.raises(RefusedError, match="from this address"):
        taken.take(upload("a"), 0, 5)
    taken.take(upload("c"), 0, 5)
    with pytest.raises(RefusedError, match="the queue is full: 4"):
        taken.take(upload("d"), 0, 5)
    slowest = taken.held[2] = upload("b", 9.0)
    taken.held[3] = upload("c", 8.0)
    taken.take(upload("d"), 0, 5)
    assert slowest not in taken.held
    taken.held[:] = [upload("a", 9.0)]
    taken.held[0].body.whole = True
    with pytest.raises(RefusedError):
        taken.take(upload("b"), 3, 5)


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
        async for _ in Paced(body):
            await anyio.sleep(0.1)  # a disk that is slow
            count += 1
        return count

    assert anyio.run(read, quick()) == 4
    with pytest.raises(SlowError, match="came too slowly"):
        anyio.run(read, silent())


# Jobs


def test_a_job_that_hangs_is_ended_and_loses_no_other(tmp_path: Path) -> None:
    with serving(tmp_path, limit_s=0.8) as running:
        hung, other = running.client.send(), running.client.send()
        until(lambda: running.predictor.tasks)
        time.sleep(0.5)
        health = running.client.ask("GET", "/health").data
        assert (health["status"], health["waiting"], health["job_limit_s"]) == ("degraded", 1, 0.8)
        assert health["why"][0].startswith("a job has been worked on for")
        assert health["busy_s"] > 0.4
        assert health["busy_since"] == running.client.ask("GET", f"/jobs/{hung.data['id']}").data["started"]
        job = running.client.ended(hung.data["id"])
        assert (job["state"], job["error"]) == ("failed", "the job took longer than 0.8 s")
        running.predictor.go.set()
        assert running.client.ended(other.data["id"])["state"] == "done"
        health = running.client.ask("GET", "/health").data
        assert (health["status"], health["why"], health["busy_since"]) == ("ok", [], None)
        assert running.predictor.starts == 1


def test_a_full_queue_and_a_process_that_is_not_ready_are_told(tmp_path: Path) -> None:
    with serving(tmp_path, queue=1) as running:
        assert running.client.send().status == 202
        until(lambda: running.predictor.tasks)
        assert running.client.send().status == 202
        health = running.client.ask("GET", "/health").data
        assert (health["status"], health["why"]) == ("degraded", ["the queue is full"])
        running.predictor.up = False
        assert "the predicting process is not ready" in running.client.ask("GET", "/health").data["why"]
        running.predictor.up = True
