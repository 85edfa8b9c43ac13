"""How far a work is: lines in a log, a bar on a terminal, silence on request."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from helpers import tiny_plan
from osteon.core import parallel, progress
from osteon.core.progress import progress_bar, show_progress, status, track
from osteon.plan.schema import write_plan
from runs import cohort, command

Say = pytest.CaptureFixture[str]
DEADLINE_S = 60.0
PLACE = re.compile(r"training: +\d+ %, iteration \d+, (\d+:\d\d|\?) left")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a console without a terminal is told."""
    text = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=text, force_terminal=False, width=40, highlight=False))
    monkeypatch.setattr(progress, "_active", [])  # what other tests were interrupted at
    return text


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    chosen = Clock()
    monkeypatch.setattr(progress, "now", chosen)
    return chosen


def read_log(log: io.StringIO, what: Callable[[list[str]], bool]) -> list[str]:
    """The log's lines, once they are as wanted."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        lines = log.getvalue().splitlines()
        if what(lines):
            return lines
        time.sleep(0.005)
    raise AssertionError(log.getvalue())


def test_quick_items_are_one_line(log: io.StringIO) -> None:
    assert list(track("abc", "measuring")) == list("abc")
    assert log.getvalue() == "measuring: 0 of 3\n"


def test_nothing_to_do_is_no_line(log: io.StringIO) -> None:
    assert list(track([], "measuring")) == []
    assert log.getvalue() == ""


def test_a_line_comes_while_an_item_blocks(log: io.StringIO, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.02)
    for item in track(range(4), "measuring"):
        if item == 0:
            read_log(log, lambda lines: lines.count("measuring: 0 of 4 (0 %), ? left") >= 2)
            clock.seconds += 80.0
        elif item == 1:
            clock.seconds += 20.0
            read_log(log, lambda lines: lines[-1] == "measuring: 1 of 4 (25 %), 45.0 an hour, 3:40 left")
    assert log.getvalue().splitlines()[0] == "measuring: 0 of 4"
    assert log.getvalue().splitlines()[-1] == "measuring: 4 of 4 in 1:40"


def test_an_unknown_total(log: io.StringIO, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.02)
    for item in track((n for n in range(2)), "reading"):
        clock.seconds += 42.0
        read_log(log, lambda lines, n=item: lines[-1] == f"reading: {n}, {('0:42', '1:24')[n]} so far")
    assert log.getvalue().splitlines()[0] == "reading: 0"
    assert log.getvalue().splitlines()[-1] == "reading: 2 in 1:24"


def test_a_status_says_how_long_it_has_been(log: io.StringIO, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    with status("quantising [x]"):
        pass
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.02)
    with status("quantising [x]"):
        clock.seconds += 90.0
        read_log(log, lambda lines: "quantising [x]: 1:30 so far" in lines)
    lines = log.getvalue().splitlines()
    assert lines[:2] == ["quantising [x]", "quantising [x]"]
    assert lines[-1] == "quantising [x]: done in 1:30"


@contextmanager
def failing() -> Iterator[None]:
    with pytest.raises(ValueError, match="broken"):
        yield


@pytest.mark.parametrize("ends", ["well", "in an error", "unfinished"])
def test_nothing_is_said_after_the_end(log: io.StringIO, monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.005)
    before = set(threading.enumerate())
    if ends == "in an error":
        with failing():
            for _ in track(range(3), "measuring"):
                raise ValueError("broken")
    else:
        for _ in track(range(3), "measuring"):
            if ends == "unfinished":
                read_log(log, lambda lines: len(lines) > 2)
                break
            time.sleep(0.01)
    text = log.getvalue()
    assert set(threading.enumerate()) <= before
    time.sleep(0.05)
    assert log.getvalue() == text
    assert ("3 of 3 in" in text) == (ends == "well")


def test_lines_have_no_codes_and_are_not_broken(log: io.StringIO) -> None:
    what = "measuring [bold]" + "x" * 60
    list(track([1], what))
    assert log.getvalue() == f"{what}: 0 of 1\n"


@pytest.mark.parametrize("colour", [False, True])
def test_a_terminal_has_a_bar_and_no_lines(monkeypatch: pytest.MonkeyPatch, colour: bool) -> None:
    for name in ("NO_COLOR", "TERM", "COLORTERM", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    text = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=text, force_terminal=True, width=80))
    with progress_bar("measuring [x]", 2) as advance:
        advance()
        advance()
    shown = text.getvalue()
    assert "measuring [x]" in shown
    assert "2/2" in shown
    assert "0 of 2" not in shown
    assert bool(re.search(r"\x1b\[[\d;]*3[0-9]", shown)) == colour


def test_quiet_is_silent_and_ends(log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.005)
    with show_progress(False):
        for _ in track(range(3), "measuring"):
            time.sleep(0.02)
        with status("quantising"):
            time.sleep(0.02)
    assert log.getvalue() == ""
    monkeypatch.setattr(progress, "LOG_EVERY_S", 30.0)
    list(track([1], "measuring"))
    assert log.getvalue() == "measuring: 0 of 1\n"


def test_quiet_has_no_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=text, force_terminal=True, width=80))
    with show_progress(False):
        list(track([1], "measuring"))
        with status("quantising"):
            pass
    assert text.getvalue() == ""


def work_with_progress(item: int) -> int:
    """What a worker does that shows progress of its own."""
    with status("in a worker"):
        return sum(track([item, item], "in a worker"))


def test_workers_leave_progress_to_their_parent(capfd: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_S", 10 * DEADLINE_S)  # a busy machine is slow to begin them
    outcomes = list(parallel.for_each(work_with_progress, [1, 2], "working", name=str, workers=2))
    assert sorted(out.result or 0 for out in outcomes) == [2, 4]
    output = capfd.readouterr().err
    assert output == "working: 0 of 2\n"


# Commands


def train_command(folder: Path, *options: str, before: tuple[str, ...] = ()) -> int:
    dataset = cohort(folder / "data")
    write_plan(dataset.folder / "plan.yaml", tiny_plan())
    return command(*before, "train", dataset.folder, folder / "run", "--device", "cpu", "--workers", "1", *options)


def test_a_training_tells_a_log_where_it_stands(tmp_path: Path, capfd: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = cohort(tmp_path / "data")
    write_plan(dataset.folder / "plan.yaml", tiny_plan({"training.epoch_iterations": 15}))
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.05)
    arguments = ["train", dataset.folder, tmp_path / "run", "--budget", "4s", "--device", "cpu", "--workers", "1"]
    assert command(*arguments) == 0
    output = capfd.readouterr()
    text = output.err + output.out
    assert "\x1b" not in text
    lines = text.splitlines()
    assert "preparing: 0 of 6" in lines
    start = lines.index("training: 0 %, iteration 0, ? left")
    places = [line for line in lines[start + 1 :] if PLACE.match(line)]
    assert len({re.search(r"\d+ %", line)[0] for line in places}) > 5  # type: ignore[index]
    assert any(re.search(r"\d s an iteration, loss \d\.\d{3}$", line) for line in places)  # in the first epoch
    full = [line for line in places if "validation Dice" in line]
    assert re.search(
        r"^training: \d+ %, iteration \d+, 0:0\d left, \d\.\d{3} s an iteration, loss \d\.\d{3} in epoch \d+, "
        r"learning rate \d\.\de-\d\d, validation Dice \d\.\d{3}$",
        full[-1],
    )
    assert any(re.match(r" *\d+%  iteration \d+  validation Dice  mean", line) for line in lines)
    assert not any(PLACE.match(line) for line in lines[lines.index("validating: 0 of 2") :])


@pytest.mark.parametrize("before", [True, False])
def test_a_quiet_training_says_its_results_alone(tmp_path: Path, capfd: Say, before: bool) -> None:
    assert train_command(tmp_path, *([] if before else ["--quiet"]), before=("--quiet",) if before else ()) == 0
    output = capfd.readouterr()
    assert output.err == ""
    assert "validation Dice  mean" in output.out
    assert not progress.is_quiet()


def test_a_quiet_command_still_names_what_it_leaves_out(tmp_path: Path, capfd: Say) -> None:
    data = cohort(tmp_path / "data")
    image = data.folder / data.manifest.cases[0].images[0]
    image.write_bytes(image.read_bytes()[:100])
    write_plan(data.folder / "plan.yaml", tiny_plan())
    run = tmp_path / "run"
    assert command("train", data.folder, run, "--device", "cpu", "--workers", "1", "--fold", "none", "--quiet") == 1
    output = capfd.readouterr().err
    assert "left out" in output
    assert " of " not in output.partition("left out")[0]


@pytest.mark.parametrize("place", ["none", "before", "after"])
@pytest.mark.parametrize("name", ["plan", "audit", "phantom"])
def test_every_long_command_can_be_quiet(tmp_path: Path, capfd: Say, name: str, place: str) -> None:
    data = cohort(tmp_path / "data").folder
    arguments = {
        "plan": ["plan", data, "--no-cost"],
        "audit": ["audit", data],
        "phantom": ["phantom", "humerus", tmp_path / "made", "--cases", "2", "--size", "24"],
    }[name]
    line = {"none": arguments, "before": ["--quiet", *arguments], "after": [*arguments, "--quiet"]}[place]
    assert command(*line) == 0
    output = capfd.readouterr()
    assert output.out
    assert bool(re.search(r": 0 of \d+$", output.err, re.MULTILINE)) == (place == "none")


def test_whoever_waits_reads_what_is_done_just_now(
    log: io.StringIO, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "progress.txt"
    monkeypatch.setenv(progress.PROGRESS_FILE_VARIABLE, str(path))
    monkeypatch.setattr(progress, "POST_EVERY_S", 0.01)

    def posted(wanted: str) -> None:
        end = time.monotonic() + DEADLINE_S
        while not path.is_file() or path.read_text() != wanted:
            assert time.monotonic() < end, path.read_text() if path.is_file() else "nothing"
            time.sleep(0.005)

    with status("preparing"):
        posted("preparing: 0:00 so far")
        for item in track(range(4), "measuring"):
            if item == 2:
                posted("preparing: 0:20 so far\nmeasuring: 2 of 4 (50 %), 6.0 a minute, 0:20 left")
            clock.seconds += 10
        posted("preparing: 0:40 so far")
    posted("")
    assert log.getvalue().splitlines() == [
        "preparing",
        "measuring: 0 of 4",
        "measuring: 4 of 4 in 0:40",
        "preparing: done in 0:40",
    ], "the log is told no more often for it"
