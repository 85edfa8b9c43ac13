"""Reading, working and writing at the same time: while one item is worked on, the next is read, the last written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
        error: What its reading or work ended with.
        skipped: Its reading said that there is nothing to do.
        read: Its reading had ended well.
    """

    item: Item
    error: Exception | None = None
    skipped: bool = False
    read: bool = True


def overlapped(
    items: Iterable[Item],
    read: Callable[[Item], Given | None],
    work: Callable[[Given], Made],
    write: Callable[[Item, Made], None],
) -> Iterator[Passed[Item]]:
    """Take each item through three stages, and yield it when it is through, in order.

    Args:
        items: One after the other.
        read: In a thread of its own, one item ahead; None: there is nothing to do for it.
        work: In this thread.
        write: In a thread of its own, one item behind.

    Raises:
        What `write` raises, when the next item is through: what cannot be written stops the rest.
    """
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        ahead = ((item, reader.submit(read, item)) for item in items)
        coming = next(ahead, None)
        writing: tuple[Item, Future[None]] | None = None
        while coming is not None:
            (item, reading), coming = coming, next(ahead, None)
            given = made = None
            try:
                given = reading.result()
                passed = Passed(item, skipped=given is None)
                if given is not None:
                    made = work(given)
            except Exception as error:  # noqa: BLE001 (it is handed on with its item)
                passed = Passed(item, error, read=given is not None)
            given = None  # its memory is free while the next one is waited for
            if writing is not None:
                writing[1].result()
                yield Passed(writing[0])
            writing = None if made is None else (item, writer.submit(write, item, made))
            if made is None:
                yield passed
            made = None
        if writing is not None:
            writing[1].result()
            yield Passed(writing[0])
