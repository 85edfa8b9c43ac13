"""What a training shows while it runs."""

from __future__ import annotations

import io
import threading
import time

import pytest
import torch
from rich.console import Console

from osteon.core import progress
from osteon.core.progress import format_duration
from osteon.core.text import shorten_list
from osteon.training import progress_display as module
from osteon.training.progress_display import TrainingDisplay, format_scores

ROW = {"epoch": 3, "iteration": 300, "loss": 0.25, "s_per_iteration": 0.125, "learning_rate": 1e-3}


def shown(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> str:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=100, no_color=True, highlight=False)
    for one in (module, progress):  # where the live view is drawn, and where messages are printed
        monkeypatch.setattr(one, "console", console)
    with TrainingDisplay() as display:
        display.update(0.1, 30.0, 100)
        display.row = dict(ROW)
        display.show_scores(0.5, 300, {"femur [left]": 0.875, "tibia": None})
        display.shown_at = 0.0  # half a second later
        display.update(0.5, 60.0, 301)
    return text.getvalue()


def test_a_terminal_sees_how_far_it_is_and_the_dice_of_each_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, terminal=True)
    for part in (
        "10%",
        "4:30 left",
        "iteration 100",
        "50%",
        "1:00 left",
        "loss 0.250",
        "0.125 s",
        "femur [left] 0.875",
    ):
        assert part in text


def test_a_log_gets_one_line_for_each_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, terminal=False)
    start, line = text.splitlines()
    assert start.startswith("training: 10 %, iteration 100")
    assert line == " 50%  iteration 300  validation Dice  mean 0.875 · femur [left] 0.875 · tibia –"


def test_a_tick_soon_after_another_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(module, "console", Console(file=text, force_terminal=True, width=100))
    with TrainingDisplay() as display:
        display.update(0.1, 1.0, 1)
        before = text.getvalue()
        display.update(0.2, 2.0, 2)
        assert text.getvalue() == before


def test_nothing_scored_is_no_mean() -> None:
    assert format_scores({"tibia": None}) == "tibia –"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")])
def test_clock(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_a_log_is_told_nothing_when_the_training_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=text, width=40))
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.005)
    monkeypatch.setattr(module, "now", lambda: 0.0)
    with TrainingDisplay() as display:
        display.update(0.0, 0.0, 0)
        display.update(0.25, 60.0, 100, torch.tensor(0.5))
    log = text.getvalue()
    time.sleep(0.05)
    assert text.getvalue() == log
    assert log.splitlines()[0] == "training: 0 %, iteration 0, ? left"
    assert display.line() == "training: 25 %, iteration 100, 3:00 left, 0.600 s an iteration, loss 0.500"


def test_no_line_is_begun_that_nobody_would_end(capsys: pytest.CaptureFixture[str]) -> None:
    TrainingDisplay().update(0.25, 1.0, 10)
    assert not capsys.readouterr().err
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_of_many_names_the_first_are_listed_and_the_rest_counted() -> None:
    assert shorten_list([]) == ""
    assert shorten_list(["a", "b"], 2) == "a, b"
    assert shorten_list(["a; b", "c", "d", "e"], 2, separator="; ") == "a; b; c and 2 more"
