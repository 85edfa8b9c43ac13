"""Reading, working and writing at the same time: while one item is worked on, the next is read, the last written."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Passed(Generic[Item]):
    """An item that has gone through.

    Attributes:
        item: It.
        error: What its reading, work or writing ended with.
        skipped: Its reading said that there is nothing to do.
    """

    item: Item
    error: Exception | None = None
    skipped: bool = False


def overlapped(
    items: Iterable[Item],
    read: Callable[[Item], Given | None],
    work: Callable[[list[Given]], list[Made]],
    write: Callable[[Item, Made], None],
    *,
    alike: Callable[[Given], Hashable] = lambda _: None,
    most: int = 1,
) -> Generator[Passed[Item]]:
    """Take each item through three stages, and yield it when it is through, in order.

    Args:
        items: One after the other.
        read: In a thread of its own, one item ahead; None: there is nothing to do for it.
        work: In this thread, on several at a time where they are alike. Where that fails they are worked on one by one.
        write: In a thread of its own, behind.
        alike: Items that follow one another and of which this is the same, and not None, are worked on together.
        most: So many at a time.

    What one of them raises is handed on with its item, when that is its turn.
    """
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        ahead = ((item, reader.submit(read, item)) for item in items)
        coming = next(ahead, None)
        writing: list[tuple[Item, Future[None]]] = []
        while coming is not None:
            (item, reading), coming = coming, next(ahead, None)
            group, given, key = [item], [], None
            passed = Passed(item)
            made: list[Made | Exception] = []
            try:
                first = reading.result()
                if first is None:
                    passed = Passed(item, skipped=True)
                else:
                    given, key = [first], alike(first)
                first = None
            except Exception as error:  # noqa: BLE001 (it is handed on with its item)
                passed = Passed(item, error)
            while key is not None and len(group) < most and coming is not None:
                another = None if coming[1].exception() else coming[1].result()
                if another is None or alike(another) != key:
                    break
                group.append(coming[0])
                given.append(another)
                another, coming = None, next(ahead, None)
            if given:
                made = _worked(work, given)
            given = []  # their memory is free while the next one is waited for
            for earlier, future in writing:
                yield _written(earlier, future)
            writing = []
            if not made:
                yield passed
            for item, result in zip(group, made, strict=False):
                if isinstance(result, Exception):
                    for earlier, future in writing:
                        yield _written(earlier, future)
                    writing = []
                    yield Passed(item, result)
                else:
                    writing.append((item, writer.submit(write, item, result)))
            made = []
        for earlier, future in writing:
            yield _written(earlier, future)


def _written(item: Item, future: Future[None]) -> Passed[Item]:
    """An item whose writing has ended, well or not."""
    try:
        future.result()
    except Exception as error:  # noqa: BLE001 (it is handed on with its item)
        return Passed(item, error)
    return Passed(item)


def _worked(work: Callable[[list[Given]], list[Made]], given: list[Given]) -> list[Made | Exception]:
    """What came of each, or its error."""
    try:
        return list(work(given))
    except Exception as error:  # noqa: BLE001 (it is handed on with its item)
        if len(given) == 1:
            return [error]
    return [_worked(work, [one])[0] for one in given]
