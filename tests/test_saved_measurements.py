"""Lengths and angles that people saved: computed here, whatever the browser said, and nobody's are lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from helpers import two_boxes, write_dataset
from osteon.core.errors import FileError, UsageError
from osteon.dataset.saved_measurements import (
    MAX_MEASUREMENTS,
    read_measurements,
    remove_measurement,
    save_angle,
    save_lengths,
)
from osteon.reporting.case_page import case_html
from osteon.reporting.case_report import report_dataset_case

ALONG, ACROSS, SLANTED = [[0, 0, 0], [3, 0, 4]], [[1, 5, 0], [1, 9, 0]], [[0, 0, 0], [0, 2, 2]]


def test_lengths_and_the_angle_between_two(tmp_path: Path) -> None:
    new = save_lengths(tmp_path, "a", [ALONG, ACROSS, SLANTED], "mm", "Ada")
    assert [(one.number, one.describe(), one.author) for one in new] == [
        *((1, "5.0 mm", "Ada"), (2, "4.0 mm", "Ada"), (3, "2.8 mm", "Ada"))
    ]
    assert save_angle(tmp_path, "a", [1, 2], "Bo").describe() == "90.0°"
    assert save_angle(tmp_path, "a", [2, 3], "Bo").value == pytest.approx(45)
    assert [one.kind for one in read_measurements(tmp_path, "a")] == ["length"] * 3 + ["angle"] * 2
    assert read_measurements(tmp_path, "b") == []


def test_what_is_saved_already_is_not_saved_again(tmp_path: Path) -> None:
    save_lengths(tmp_path, "a", [ALONG], "mm", "Ada")
    assert [one.number for one in save_lengths(tmp_path, "a", [ALONG, ACROSS, ACROSS], "mm", "Bo")] == [2]
    remove_measurement(tmp_path, "a", 2)
    assert [one.number for one in save_lengths(tmp_path, "a", [ACROSS], "mm", "Bo")] == [3], "no number comes again"


@pytest.mark.parametrize(
    "line",
    [
        *([[0, 0, 0]], [[0, 0, 0], [1, 1]], [[0], [1]], [[0, 0], [float("nan"), 1]], [[0, 0], [1e9, 1]]),
        [[0, 0, 0], [1, 1, 1], [2, 2, 2]],
    ],
)
def test_lines_that_are_none(tmp_path: Path, line: Any) -> None:
    with pytest.raises(UsageError):
        save_lengths(tmp_path, "a", [line], "mm", "Ada")
    assert read_measurements(tmp_path, "a") == []


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    assert save_lengths(tmp_path, "a", [[[1, 1], [1, 1]]], "px", "Ada") == [], "a click draws nothing"
    save_lengths(tmp_path, "a", [ALONG], "mm", "Ada")
    for numbers in ([1], [1, 1], [1, 7]):
        with pytest.raises(UsageError, match="between two lengths"):
            save_angle(tmp_path, "a", numbers, "Ada")
    with pytest.raises(UsageError, match=f"{MAX_MEASUREMENTS} measurements at most"):
        save_lengths(tmp_path, "a", [[[n, 0], [0, 1]] for n in range(MAX_MEASUREMENTS)], "mm", "Ada")
    assert len(read_measurements(tmp_path, "a")) == 1, "none of too many"
    (tmp_path / "annotations/a/measurements.json").write_text('{"measurements": 3}')
    with pytest.raises(FileError, match="what was measured"):
        read_measurements(tmp_path, "a")


def test_the_report_has_them(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "d", {"a": two_boxes()})
    save_lengths(dataset.folder, "a", [ALONG], "mm", "Ada")
    page = case_html(report_dataset_case(dataset.folder, "a")).decode()
    assert "Lengths and angles" in page
    assert "5.0 mm" in page
