"""Jobs: the commands in processes of their own, on disk, killed and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from osteon.app import jobs as jobs_module
from osteon.app.job_errors import find_error, job_error
from osteon.app.job_texts import progress_fraction
from osteon.app.jobs import Job, Jobs, JobState
from osteon.app.runner import outcome
from osteon.core.errors import UsageError
from osteon.core.file_stamps import modification_stamp
from osteon.plan.schema import write_plan
from runs import cohort, learning_plan

LONG_S = 150


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    made = Jobs(tmp_path)
    yield made
    for job in made.all():
        made.cancel(job, grace_s=1)


def wait(met: Callable[[], bool], seconds: float = LONG_S) -> None:
    until = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def phase(jobs: Jobs, job: Job) -> str:
    return jobs.state(job).phase


def version(jobs: Jobs, title: str = "version") -> Job:
    """The quickest command there is."""
    return jobs.submit("--version", [], title)


def long_one(jobs: Jobs) -> Job:
    """A command that takes an hour, and begins at once."""
    return jobs.submit("phantom", ["lung", "many", "--cases", "9999"], "Phantoms")


def is_training(jobs: Jobs) -> bool:
    return (jobs.root / "run/metrics.csv").is_file()


def iterations(jobs: Jobs) -> int:
    return int((jobs.root / "run/metrics.csv").read_text().splitlines()[-1].split(",")[1])


def group(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-eo", "pid,pgid,stat"], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in found.splitlines()[1:]]
    return [int(row[0]) for row in rows if int(row[1]) == pid and not row[2].startswith("Z")]


def test_a_command_runs_and_says_how_it_ended(jobs: Jobs) -> None:
    job = version(jobs)
    wait(lambda: phase(jobs, job) == "done")
    assert jobs.log(job).startswith("osteon ")
    assert jobs.state(job).code == 0


def test_a_clock_that_is_set_back_changes_no_order(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    long_one(jobs)
    first = version(jobs, "first")
    monkeypatch.setattr("osteon.app.jobs.time.time", lambda: 1000.0)
    second = version(jobs, "second")
    assert [job.title for job in jobs.all()][:2] == ["second", "first"]
    assert second.created > first.created


@pytest.mark.parametrize(("stamp", "expected"), [(None, "failed"), (1000.0, "partly")], ids=["untouched", "set back"])
def test_what_came_of_a_command_is_seen_whatever_the_clock_says(
    tmp_path: Path, stamp: float | None, expected: str
) -> None:
    product = tmp_path / "predictions.json"
    product.write_text("before")
    before = modification_stamp(product)
    if stamp is not None:
        product.write_text("written while the clock was wrong")
        os.utime(product, (stamp, stamp))
    job = Job("0" * 16, "predict", (), "Predict", {}, product.name)
    assert outcome(tmp_path, job, JobState("running", began=time.time()), 1, before) == expected


def test_what_failed_says_why_in_words(jobs: Jobs) -> None:
    job = jobs.submit("evaluate", ["nowhere", "no/where"], "Evaluate")
    wait(lambda: phase(jobs, job) == "failed")
    error = job_error(job, jobs.state(job), jobs.log(job))
    assert error.message == "nowhere: the prediction does not exist"
    assert error.hint


def test_another_server_sees_the_same(jobs: Jobs) -> None:
    job = version(jobs)
    wait(lambda: phase(jobs, job) == "done")
    other = Jobs(jobs.root)
    assert other.all() == [job]
    assert other.state(job) == jobs.state(job)


def test_the_queue_goes_on_without_a_server(tmp_path: Path) -> None:
    """Two jobs of one lane: whoever ends the first begins the second, though the server that took them is gone."""
    code = (
        "from pathlib import Path\nfrom osteon.app.jobs import Jobs\n"
        f"jobs = Jobs(Path({str(tmp_path)!r}))\n"
        "a = jobs.submit('--version', [], 'a')\nb = jobs.submit('--version', [], 'b', after=[a.id])\n"
        "assert jobs.state(b).phase == 'queued'\nimport os\nos._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    jobs = Jobs(tmp_path)
    wait(lambda: [phase(jobs, job) for job in jobs.all()] == ["done", "done"])
    later, earlier = jobs.all()
    assert jobs.state(later).began >= jobs.state(earlier).ended - 0.1


def test_what_needs_a_failed_job_never_begins(jobs: Jobs) -> None:
    first = jobs.submit("evaluate", ["nowhere", "nowhere"], "first")
    second = jobs.submit("--version", [], "second", after=[first.id])
    wait(lambda: phase(jobs, second) == "cancelled")
    assert jobs.state(second).why == "what it needs came to nothing"
    assert jobs.log(second) == ""


def test_a_training_outlives_its_server_is_paused_resumed_and_cancelled(jobs: Jobs) -> None:
    dataset = cohort(jobs.root / "data").folder
    write_plan(dataset / "plan.yaml", learning_plan({"training.epochs": 100_000, "training.epoch_iterations": 5}))
    code = (
        "from pathlib import Path\nfrom osteon.app.jobs import Jobs\nimport time\n"
        f"jobs = Jobs(Path({str(jobs.root)!r}))\n"
        "jobs.submit('train', ['data', 'run', '--device', 'cpu', '--workers', '1'], 'Train')\ntime.sleep(600)"
    )
    server = subprocess.Popen([sys.executable, "-c", code])
    wait(lambda: is_training(jobs))
    server.kill()
    server.wait()
    job, before = jobs.all()[0], iterations(jobs)
    wait(lambda: iterations(jobs) > before)
    assert phase(jobs, job) == "running", "the server that began it is gone"

    waiting = jobs.submit("train", ["data", "other"], "Train another")
    assert phase(jobs, waiting) == "queued", "one training at a time"
    segmenting = jobs.submit("predict", ["run", "data", "out"], "Predict")
    assert phase(jobs, segmenting) == "running", "a segmentation waits for no training"
    jobs.cancel(segmenting)
    beside = version(jobs)
    wait(lambda: phase(jobs, beside) == "done")
    jobs.cancel(waiting)
    assert phase(jobs, waiting) == "cancelled"

    jobs.pause(job)
    wait(lambda: phase(jobs, job) == "paused")
    done = iterations(jobs)
    jobs.resume(job)
    wait(lambda: phase(jobs, job) == "running" and iterations(jobs) > done)
    assert "continuing from iteration" in jobs.log(job)

    pid = jobs.state(job).pid
    assert len(group(pid)) >= 2
    jobs.cancel(job)
    assert phase(jobs, job) == "cancelled"
    assert group(pid) == []


def test_a_running_job_says_what_it_does_just_now(jobs: Jobs) -> None:
    job = long_one(jobs)
    wait(lambda: "making phantoms: lung: " in jobs.progress(job))
    assert progress_fraction(jobs.progress(job)) == 0.0
    pid = jobs.state(job).pid
    os.killpg(pid, signal.SIGKILL)
    wait(lambda: phase(jobs, job) == "failed")
    jobs.resume(job)
    assert jobs.progress(job) == "", "what the killed one said last"


@pytest.mark.parametrize(
    ("doing", "part"),
    [
        ("", None),
        ("comparing files: 0:12 so far", None),
        ("preparing: 3 of 10 (30 %), 0:20 left", 0.3),
        ("training: 34 %, iteration 80, 5:02 left", 0.34),
        ("trials: 1 of 2 (50 %), 1:00 left · training: 7 %, iteration 9, 0:30 left", 0.07),
    ],
)
def test_how_far_a_job_is_is_read_from_what_it_says(doing: str, part: float | None) -> None:
    assert progress_fraction(doing) == part


def test_a_group_that_is_killed_is_noticed_and_begun_again(jobs: Jobs) -> None:
    job = long_one(jobs)
    wait(lambda: len(group(jobs.state(job).pid)) >= 2)
    os.killpg(jobs.state(job).pid, signal.SIGKILL)
    wait(lambda: phase(jobs, job) == "failed")
    assert "without a word" in jobs.state(job).why
    jobs.resume(job)
    assert phase(jobs, job) == "running"


def test_a_number_that_another_process_has_now_is_not_taken_for_the_job(jobs: Jobs) -> None:
    job = version(jobs)
    wait(lambda: phase(jobs, job) == "done")
    jobs.write_state(job, JobState("running", pid=os.getpid(), pid_since=1.0))
    assert phase(jobs, job) == "failed"


def test_only_what_goes_on_can_be_paused(jobs: Jobs) -> None:
    job = version(jobs)
    with pytest.raises(UsageError, match="cannot be paused"):
        jobs.pause(job)


@pytest.mark.parametrize("wrong", ["", "..", "../../etc", "0" * 16, "x" * 16])
def test_what_is_no_id_finds_no_job(jobs: Jobs, wrong: str) -> None:
    version(jobs)
    assert jobs.get(wrong) is None


def test_damaged_files_of_a_job_harm_no_other(jobs: Jobs) -> None:
    first, second = version(jobs), version(jobs)
    wait(lambda: {phase(jobs, first), phase(jobs, second)} == {"done"})
    (jobs.store.folder / first.id / "job.json").write_text("{")
    (jobs.store.folder / second.id / "state.json").write_text("[]")
    assert jobs.all() == [second]
    assert jobs.state(second).why == "its state on disk is damaged"


def test_errors_are_found_in_logs() -> None:
    log = "Reading\nerror: a.nii.gz: truncated\n  → copy it again\nbye\n"
    assert find_error(log) == ("a.nii.gz: truncated", "copy it again")
    assert find_error("all is well: no error: none\n") == ("", "")
    killed = job_error(Job("0" * 16, "train", (), "Train", {}), JobState("failed", code=-9), "")
    assert "not enough memory" in killed.message


def test_what_a_job_is_to_do_is_read_once(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    for title in ("first", "second"):
        version(jobs, title)
    files, read = [], jobs_module.read_json

    def counted(path: Path, what: str) -> Any:
        files.append(path.name)
        return read(path, what)

    monkeypatch.setattr(jobs_module, "read_json", counted)
    for _ in range(5):
        assert [job.title for job in jobs.all()] == ["second", "first"]
    assert files.count("job.json") <= 2
