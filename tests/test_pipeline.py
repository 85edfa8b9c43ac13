"""Reading, working and writing at the same time: in order, each error with its item."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from osteon.core.pipeline import run_pipeline


def run(
    count: int,
    read: Callable[[int], int | None] = lambda n: n,
    work: Callable[[int], int] = lambda n: n,
    write: Callable[[int, int], None] = lambda *_: None,
) -> list[tuple[int, str, bool]]:
    stages = run_pipeline(range(count), read, one_by_one(work), write)
    return [(p.item, str(p.error or ""), p.skipped) for p in stages]


def one_by_one(work: Callable[[int], int]) -> Callable[[list[int]], list[int]]:
    return lambda given: [work(one) for one in given]


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


def test_what_cannot_be_written_is_handed_on_and_whoever_listens_may_stop() -> None:
    worked = []

    def work(number: int) -> int:
        worked.append(number)
        return number

    def write(number: int, _: int) -> None:
        if number == 1:
            raise OSError("full")

    assert run(4, write=write) == [(0, "", False), (1, "full", False), (2, "", False), (3, "", False)]
    stages = run_pipeline(range(6), lambda n: n, one_by_one(work), write)
    assert next(stages).item == 0
    assert str(next(stages).error) == "full"
    stages.close()
    assert worked == [0, 1, 2]


def test_what_is_alike_is_worked_on_together() -> None:
    together, written = [], []

    def work(given: list[int]) -> list[int]:
        together.append(given)
        if 7 in given:
            raise ValueError(f"not {given}")
        return [10 * n for n in given]

    kinds = "aaaab-bbcc"  # "-" is never worked on with others, c is done already, and 7 cannot be worked on

    def read(number: int) -> int | None:
        return None if kinds[number] == "c" else number

    def same_batch(number: int) -> str | None:
        return None if kinds[number] == "-" else kinds[number]

    stages = run_pipeline(
        range(10), read, work, lambda n, made: written.append((n, made)), batch_key=same_batch, batch_size=3
    )
    passed = [(p.item, str(p.error or ""), p.skipped) for p in stages]
    assert together == [[0, 1, 2], [3], [4], [5], [6, 7], [6], [7]]
    assert [item for item, _, _ in passed] == list(range(10))
    assert [(n, error) for n, error, _ in passed if error] == [(7, "not [7]")]
    assert [n for n, _, skipped in passed if skipped] == [8, 9]
    assert written == [(n, 10 * n) for n in range(7)]


def test_a_reading_that_fails_ends_a_group() -> None:
    def read(number: int) -> int:
        if number == 1:
            raise ValueError("unreadable")
        return number

    stages = run_pipeline(range(3), read, lambda given: given, lambda *_: None, batch_key=lambda _: "a", batch_size=3)
    assert [(p.item, str(p.error or "")) for p in stages] == [(0, ""), (1, "unreadable"), (2, "")]
