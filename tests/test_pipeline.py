"""Reading, working and writing at the same time: in order, each error with its item."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from osteon.core.pipeline import overlapped


def run(
    count: int,
    read: Callable[[int], int | None] = lambda n: n,
    work: Callable[[int], int] = lambda n: n,
    write: Callable[[int, int], None] = lambda *_: None,
) -> list[tuple[int, str, bool]]:
    return [(p.item, str(p.error or ""), p.skipped) for p in overlapped(range(count), read, work, write)]


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_items_pass_in_order(count: int) -> None:
    written = []
    assert run(count, lambda n: 10 * n, lambda n: n + 1, lambda n, made: written.append((n, made))) == [
        (n, "", False) for n in range(count)
    ]
    assert written == [(n, 10 * n + 1) for n in range(count)]


def test_the_next_is_read_while_one_is_worked_on_and_the_last_is_written() -> None:
    reading, writing = threading.Event(), threading.Event()

    def read(number: int) -> int:
        if number == 2:
            reading.set()
        return number

    def work(number: int) -> int:
        if number == 1:
            assert reading.wait(5)  # the third is read while the second is worked on
            assert writing.wait(5)  # and the first is written
        return number

    def write(number: int, _: int) -> None:
        if number == 0:
            writing.set()

    assert len(run(3, read, work, write)) == 3


def test_errors_stay_with_their_items_and_what_is_done_is_skipped() -> None:
    def read(number: int) -> int | None:
        if number == 1:
            raise ValueError("unreadable")
        return None if number == 3 else number

    def work(number: int) -> int:
        if number == 2:
            raise ValueError("unworkable")
        return number

    assert run(5, read, work) == [
        (0, "", False),
        (1, "unreadable", False),
        (2, "unworkable", False),
        (3, "", True),
        (4, "", False),
    ]


def test_what_cannot_be_written_stops_the_rest() -> None:
    worked = []

    def work(number: int) -> int:
        worked.append(number)
        return number

    def write(number: int, _: int) -> None:
        if number == 1:
            raise OSError("full")

    stages = overlapped(range(6), lambda n: n, work, write)
    assert next(stages).item == 0
    with pytest.raises(OSError, match="full"):
        next(stages)
    assert worked == [0, 1, 2]
