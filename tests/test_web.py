"""What the app and the server share: folders of jobs, untrusted zips, counters of bytes, addresses."""

from __future__ import annotations

import io
import socket
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from osteon.core.errors import OsteonError, UsageError
from osteon.core.zip_files import UntrustedZip
from osteon.serving.guard import ServerRules
from osteon.web import uploads
from osteon.web.address import ServerAddress, host_name
from osteon.web.http_errors import RejectedError
from osteon.web.job_store import JobStore
from osteon.web.uploads import ByteCounter, write_body


@pytest.mark.parametrize(
    ("scheme", "origin", "rejected"),
    [
        ("http", "http://localhost:1", False),
        ("http", "https://LOCALHOST:1", False),  # through a proxy that speaks TLS
        ("wss", "https://localhost:1", False),
        ("https", "http://localhost:1", True),
        ("http", "http://localhost:2", True),
        ("http", "ftp://localhost:1", True),
        ("http", "http://[", True),
    ],
)
def test_a_page_of_the_server_itself_may_send(scheme: str, origin: str, rejected: bool) -> None:
    headers = [(b"host", b"localhost:1"), (b"origin", origin.encode())]
    scope = {"type": "http", "method": "POST", "scheme": scheme, "path": "/jobs", "headers": headers}
    assert (ServerRules().rejection(scope) is not None) == rejected


def test_a_job_appears_when_it_is_complete_and_goes_as_a_whole(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs", id_bytes=8)
    job_id = store.new_id()
    with store.incoming() as folder:
        (folder / "job.json").write_text("{}")
        assert store.ids() == []
        store.add(folder, job_id)
    assert store.ids() == [job_id]
    assert (store.path(job_id) / "job.json").is_file()
    store.remove(job_id)
    store.remove(job_id)  # somebody was quicker
    assert list(store.folder.iterdir()) == []


def test_a_job_that_is_not_made_leaves_nothing(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs")
    with store.incoming() as folder:
        (folder / "scan").mkdir()
    assert list(store.folder.iterdir()) == []


@pytest.mark.parametrize("name", ["", "..", "../x", "0" * 15, "0" * 17, "G" * 16, ".lock"])
def test_only_ids_are_jobs(tmp_path: Path, name: str) -> None:
    store = JobStore(tmp_path, id_bytes=8)
    (tmp_path / ".incoming-0").mkdir()
    (tmp_path / "notes").mkdir()
    assert not store.is_id(name)
    assert store.ids() == []


def test_a_folder_of_jobs_that_was_removed_is_made_again(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs")
    store.folder.rmdir()
    assert store.ids() == []
    with store.lock():
        assert store.folder.is_dir()


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/a", "\\a", "C:\\a", "c:/a", "x\\..\\a"])
def test_names_in_a_zip_that_lead_out_are_rejected(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr(name, b"x")
    with UntrustedZip(tmp_path / "a.zip", _error) as opened, pytest.raises(OsteonError, match="leads out"):
        opened.name(opened.files[0])


def test_bytes_of_a_zip_are_counted_over_all_its_files(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        for name in "abcd":
            made.writestr(name, bytes(1 << 20))
    (tmp_path / "a.zip").write_bytes(packed.getvalue())
    counted: list[int] = []
    with UntrustedZip(tmp_path / "a.zip", _error, slack=2 << 20) as opened:
        assert opened.budget < 3 << 20
        first, second, *_ = opened.files
        opened.extract(first, tmp_path / "out/a", counted.append)
        opened.extract(second, tmp_path / "out/b", counted.append)
        with pytest.raises(OsteonError, match="zip bomb"):
            opened.extract(second, tmp_path / "out/c", counted.append)
    assert sum(counted) == opened.size <= opened.budget + (1 << 20)
    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) <= opened.budget


def _error(problem: str, hint: str) -> OsteonError:
    return OsteonError(problem, hint=hint)


def test_a_counter_ends_what_is_too_much() -> None:
    counter = ByteCounter(10, "send less")
    counter.add(10)
    with pytest.raises(RejectedError) as rejected:
        counter.add(1)
    assert (rejected.value.status, rejected.value.hint) == (413, "send less")


def test_a_disk_that_fills_while_a_body_comes_in_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "BUFFER_BYTES", 1000)
    monkeypatch.setattr(uploads, "CHECK_EVERY", 2)
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(10):
            sent += 1000
            if sent == 3000:
                monkeypatch.setattr(uploads, "SPARE_BYTES", 1 << 60)
            yield bytes(1000)

    with pytest.raises(RejectedError, match="disk is nearly full"):
        anyio.run(write_body, body(), tmp_path / "a", ByteCounter(10**6, "").add)
    assert sent == 4000


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://localhost:80/"),
        ("::1", "http://localhost:80/"),
        ("10.0.0.1", "http://10.0.0.1:80/"),
        ("fd00::1", "http://[fd00::1]:80/"),
    ],
)
def test_an_address_says_where_clients_find_it(host: str, url: str) -> None:
    address = ServerAddress(host, 80)
    assert address.url() == url
    assert address.local is (host_name(url.split("/")[2]) == "localhost")


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match="cannot be listened on") as error:
            ServerAddress("127.0.0.1", port).check()
    assert error.value.hint.endswith(f"--port {port + 1}")
