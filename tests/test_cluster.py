"""Work over cases on Dask's workers: outcomes, errors, and deaths of workers, scheduler and client."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import psutil
import pytest

from children import LONG_S, python, wait
from osteon.core import cluster_run
from osteon.core.cluster import open_cluster
from osteon.core.cluster_settings import SlurmSettings, parse_cluster
from osteon.core.errors import CaseError, DiskFullError, FileError, GeometryError, OsteonError, UsageError
from osteon.core.parallel import for_each, worker_count

distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
from dask import config as dask_config  # noqa: E402

from dask_processes import DaskProcesses, dask_processes  # noqa: E402


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskProcesses]:
    with dask_processes(tmp_path_factory.mktemp("dask")) as processes:
        yield processes


def square(number: int) -> int:
    if number == 3:
        raise GeometryError("case 3: does not fit", hint="--repair-geometry")
    if number == 4:
        raise MemoryError
    return number * number


def full(number: int) -> int:
    if number == 1:
        raise OSError(errno.ENOSPC, "No space left on device", "a.npy")
    return number


def break_down(number: int) -> int:
    raise ZeroDivisionError(f"a bug at {number}")


_here: list[int] = []


def prepare() -> None:
    _here.append(0)


def times_prepared(_: int) -> tuple[int, int, str]:
    return os.getpid(), len(_here), os.environ["OMP_NUM_THREADS"]


def test_every_item_has_its_outcome_and_errors_keep_their_hints(dask: DaskProcesses) -> None:
    with open_cluster(dask.address):
        outcomes = {o.item: o for o in for_each(square, range(40), "squares", name=str)}
        assert worker_count(100, 1 << 50) == 2
    assert {n: o.result for n, o in outcomes.items() if o.error is None} == {
        n: n * n for n in range(40) if n not in (3, 4)
    }
    wrong = outcomes[3].error
    assert type(wrong) is GeometryError
    assert (wrong.message, wrong.hint) == ("case 3: does not fit", "--repair-geometry")
    assert type(outcomes[4].error) is CaseError


def test_each_worker_is_prepared_once_for_a_work(dask: DaskProcesses) -> None:
    with open_cluster(dask.address):
        for _ in range(2):
            found = [o.result for o in for_each(times_prepared, range(20), "looking", name=str, setup=prepare)]
    processes = {result[0] for result in found if result}
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert {result[1:] for result in found if result} == {(2, "1")}


def test_bugs_and_a_full_disk_stop_the_work(dask: DaskProcesses) -> None:
    with open_cluster(dask.address):
        with pytest.raises(ZeroDivisionError, match="a bug"):
            list(for_each(break_down, [1, 2], "breaking", name=str))
        with pytest.raises(DiskFullError, match=r"a\.npy: the disk is full"):
            list(for_each(full, list(range(50)), "filling", name=str))
        assert [o.result for o in for_each(square, [1], "squares", name=str)] == [1]


def kill_once(marker: Path) -> int:
    """Kills the worker that takes it first."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 1


def kill_always(number: int) -> int:
    time.sleep(0.05)
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def pids(_: int) -> int:
    return os.getpid()


def test_what_a_killed_worker_leaves_is_done_by_another(dask: DaskProcesses, tmp_path: Path) -> None:
    marks = [tmp_path / f"{n}" for n in range(12)]
    for mark in marks[1:]:
        mark.touch()
    dask.start_worker("another")
    with open_cluster(dask.address):
        outcomes = list(for_each(kill_once, marks, "dying", name=str))
    assert sorted(o.item for o in outcomes) == sorted(marks)  # each once
    assert {o.result for o in outcomes} == {1}


def test_an_item_that_kills_every_worker_is_named_and_its_neighbours_are_done(tmp_path: Path) -> None:
    with dask_processes(tmp_path, workers=0) as own:
        own.start_worker("nursed", "--nworkers", 1)  # its nanny starts it again
        with open_cluster(own.address):
            outcomes = {o.item: o for o in for_each(kill_always, range(6), "dying", name=lambda n: f"case {n}")}
    assert {n: o.result for n, o in outcomes.items() if o.error is None} == {n: n for n in (0, 1, 3, 4, 5)}
    lost = outcomes[2].error
    assert type(lost) is CaseError
    assert lost.message.startswith("case 2: the workers that had it ended")
    assert "memory" in lost.hint


def wait_for_a_file(work: tuple[int, Path]) -> int:
    number, folder = work
    (folder / f"begun-{number}").touch()
    while not (folder / "go").exists():
        time.sleep(0.02)
    return number


def test_a_scheduler_that_is_killed_ends_the_work_with_a_way_out(tmp_path: Path) -> None:
    work = [(n, tmp_path) for n in range(9)]
    with dask_processes(tmp_path, workers=1) as own:
        thread = Thread(target=lambda: (wait(lambda: any(tmp_path.glob("begun-*"))), own.kill("scheduler")))
        thread.start()
        with pytest.raises(OsteonError, match="scheduler has gone") as raised, open_cluster(own.address):
            list(for_each(wait_for_a_file, work, "waiting", name=str))
        thread.join()
        assert "give the same command" in raised.value.hint


CLIENT = """
import sys
from pathlib import Path
from osteon.core.cluster import open_cluster
from osteon.core.parallel import for_each
from osteon.core.processes import received_signal, handle_termination_signals
from test_cluster import wait_for_a_file

if __name__ == "__main__":
    handle_termination_signals()
    folder = Path(sys.argv[1])
    try:
        with open_cluster(sys.argv[2]):
            list(for_each(wait_for_a_file, [(n, folder) for n in range(100)], "waiting", name=str))
    except KeyboardInterrupt:
        sys.exit(128 + received_signal())
"""


@pytest.mark.parametrize(("name", "ends_with"), [("SIGKILL", -9), ("SIGINT", 130)])
def test_what_has_not_begun_when_the_client_is_ended_is_not_begun(
    dask: DaskProcesses, tmp_path: Path, name: str, ends_with: int
) -> None:
    client = python(f"import sys\nsys.argv[1:] = {[str(tmp_path), dask.address]}\n{CLIENT}")
    try:
        wait(lambda: any(tmp_path.glob("begun-*")))
        client.send_signal(signal.Signals[name])
        assert client.wait(LONG_S) == ends_with
    finally:
        client.kill()
        client.communicate()
    with distributed.Client(dask.address, set_as_default=False) as look:
        wait(lambda: sum(map(len, look.processing().values())) == 0)
    (tmp_path / "go").touch()
    with open_cluster(dask.address):
        assert [o.result for o in for_each(square, [5], "squares", name=str)] == [25]
    assert len(list(tmp_path.glob("begun-*"))) <= 3


def test_workers_of_another_osteon_or_with_several_threads_are_refused(
    dask: DaskProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_run, "VERSIONS", ("0.0.1", "3.9"))
    told = r"worker on .* runs osteon .*, and this command osteon 0\.0\.1 with Python 3\.9"
    with pytest.raises(UsageError, match=told), open_cluster(dask.address):
        list(for_each(square, [1], "squares", name=str))
    broad = cluster_run.Scheduler(SimpleNamespace(nthreads=lambda: {"tcp://narrow:1": 1, "tcp://broad:1": 2}))
    with pytest.raises(UsageError, match="tcp://broad:1 has 2 threads") as raised:
        broad.check()
    assert "--nthreads 1" in raised.value.hint


def test_a_cluster_that_is_not_there_is_an_error_and_nothing_is_asked_of_it_without_work() -> None:
    with open_cluster("tcp://127.0.0.1:1"):
        assert list(for_each(square, [], "squares", name=str)) == []
    with (
        dask_config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(OsteonError, match="there is no scheduler") as raised,
        open_cluster("tcp://127.0.0.1:1"),
    ):
        list(for_each(square, [1], "squares", name=str))
    assert "dask scheduler" in raised.value.hint


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match="needs distributed") as raised, open_cluster("local"):
        pass
    assert "osteon[cluster]" in raised.value.hint


def test_a_cluster_of_this_machine_is_started_and_ended(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("kind: local\nworkers: 1\n")
    environment = dict(os.environ)
    with open_cluster(str(tmp_path / "one.yaml")):
        found = {o.result for o in for_each(pids, range(20), "looking", name=str)}
        assert dict(os.environ) == environment
    assert found
    assert dict(os.environ) == environment, "what Dask sets for its workers is not this process's"
    assert os.getpid() not in found
    wait(lambda: not any(map(psutil.pid_exists, found)))


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("jobs: 2", "kind"),
        ("kind: slurm\nmemmory: 2GB", "memmory"),
        ("kind: slurm\njobs: 0", "jobs"),
        ("kind: address\naddress: here", "address"),
        ("- a", "kind"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_by_its_key(tmp_path: Path, text: str, wrong: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(FileError, match=rf"c\.yaml: {wrong}: "):
        parse_cluster(str(tmp_path / "c.yaml"))


def test_a_walltime_without_quotes_is_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("kind: slurm\nwalltime: 10:30:00\ncores: 2\n")
    settings = parse_cluster(str(tmp_path / "c.yaml"))
    assert isinstance(settings, SlurmSettings)
    assert settings.walltime == "10:30:00"
    with pytest.raises(UsageError, match="is no cluster"):
        parse_cluster("remote")
