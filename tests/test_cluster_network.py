"""Hosts of their own, as network namespaces: a worker that is cut off while it works, and joins again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from children import LONG_S, wait
from osteon.core.files import write_text

pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
from dask_processes import ENVIRONMENT, DaskProcesses

HOSTS = ("head", "one", "two")
QUICK_TIMEOUTS = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s", "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "3"}
AGAIN = 'while :; do "$@"; sleep 0.5; done'
"""A worker that loses its scheduler ends: whatever keeps services running starts it again."""
CLIENT = """
import json, sys
from pathlib import Path
from osteon.core.cluster import open_cluster
from osteon.core.parallel import for_each
from test_cluster_network import leave_a_trace

folder = Path(sys.argv[1])
with open_cluster(sys.argv[2]):
    outcomes = [o for o in for_each(leave_a_trace, [(n, folder) for n in range(2000)], "tracing", name=str)]
print(json.dumps({o.item[0]: [o.result, str(o.error)] for o in outcomes}))
"""


def leave_a_trace(work: tuple[int, Path]) -> int:
    number, folder = work
    if not (folder / "hurry").exists():
        time.sleep(0.1)
    write_text(folder / "traces" / f"{number}", os.environ["HOST_OF_TEST"])
    return number * number


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[dict[str, str]]:
    """The namespace of each host; those of the workers are joined with the head by cables of their own."""
    names = {host: f"osteon-{os.getpid()}-{host}" for host in HOSTS}
    made = []
    try:
        for name in names.values():
            try:
                ip("netns", "add", name)
            except (OSError, subprocess.CalledProcessError) as error:
                pytest.skip(f"no network namespaces can be made here ({error})")
            made.append(name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", names["head"], "link", "add", "bridge", "type", "bridge")
        ip("-n", names["head"], "addr", "add", "10.77.0.1/24", "dev", "bridge")
        ip("-n", names["head"], "link", "set", "bridge", "up")
        for number, host in enumerate(HOSTS[1:], 2):
            ip("-n", names["head"], "link", "add", host, "type", "veth", "peer", "name", "eth", "netns", names[host])
            ip("-n", names["head"], "link", "set", host, "master", "bridge", "up")
            ip("-n", names[host], "addr", "add", f"10.77.0.{number}/24", "dev", "eth")
            ip("-n", names[host], "link", "set", "eth", "up")
        yield names
    finally:
        for name in made:
            ip("netns", "del", name)


def traces(folder: Path, host: str) -> int:
    """How many items a host has done, as far as nobody did them again."""
    return sum(path.read_text() == host for path in (folder / "traces").glob("[0-9]*"))


def test_a_worker_that_is_cut_off_is_done_without_and_joins_again(
    hosts: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in QUICK_TIMEOUTS.items():
        monkeypatch.setitem(ENVIRONMENT, name, value)
    inside = {host: ["ip", "netns", "exec", name] for host, name in hosts.items()}
    start_again = {host: [*inside[host], "env", f"HOST_OF_TEST={host}", "sh", "-c", AGAIN, "sh"] for host in HOSTS[1:]}
    own = DaskProcesses(tmp_path, {"scheduler": inside["head"], **start_again})
    client = None
    try:
        own.start_scheduler("--host", "10.77.0.1")
        for number, host in enumerate(HOSTS[1:], 2):
            own.start_worker(host, "--host", f"10.77.0.{number}")
        command = [*inside["head"], sys.executable, "-c", CLIENT, str(tmp_path), own.address]
        client = subprocess.Popen(command, env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE)
        wait(lambda: traces(tmp_path, "one") > 5 and traces(tmp_path, "two") > 5, 5 * LONG_S)
        ip("-n", hosts["head"], "link", "set", "one", "down")
        worker, before = own.file.with_name("one.log"), traces(tmp_path, "two")
        wait(lambda: "Closing" in worker.read_text() or "closed" in worker.read_text().lower(), 5 * LONG_S)
        wait(lambda: traces(tmp_path, "two") > before + 20, 5 * LONG_S)
        alone = traces(tmp_path, "one")
        ip("-n", hosts["head"], "link", "set", "one", "up")
        wait(lambda: traces(tmp_path, "one") > alone + 10, 5 * LONG_S)
        (tmp_path / "hurry").touch()
        outcomes = json.loads(client.communicate(timeout=5 * LONG_S)[0])
    finally:
        for name in list(own.running):
            own.kill(name)
        if client is not None:
            client.kill()
            client.wait()
    assert outcomes == {str(n): [n * n, "None"] for n in range(2000)}
    assert len(list((tmp_path / "traces").glob("[0-9]*"))) == 2000
