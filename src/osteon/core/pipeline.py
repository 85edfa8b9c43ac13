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
class PipelineResult(Generic[Item]):
    """An item after its last stage.

    Attributes:
        item: It.
        error: What its reading, work or writing ended with.
        skipped: Its reading said that there is nothing to do.
    """

    item: Item
    error: Exception | None = None
    skipped: bool = False


def run_pipeline(
    items: Iterable[Item],
    read: Callable[[Item], Given | None],
    work: Callable[[list[Given]], list[Made]],
    write: Callable[[Item, Made], None],
    *,
    batch_key: Callable[[Given], Hashable] = lambda _: None,
    batch_size: int = 1,
) -> Generator[PipelineResult[Item]]:
    """Take each item through three stages, and yield it when it is through, in order.

    Args:
        items: One after the other.
        read: In a thread of its own, one item ahead; None: there is nothing to do for it.
        work: In this thread, on several at a time where they have one key; where that fails, on one after the other.
        write: In a thread of its own, behind.
        batch_key: Consecutive items of one key, other than None, are worked on together.
        batch_size: So many at most.

    What one of them raises is yielded with its item, in its turn.
    """
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        ahead = ((item, reader.submit(read, item)) for item in items)
        coming = next(ahead, None)
        writing: list[tuple[Item, Future[None]]] = []
        while coming is not None:
            (item, reading), coming = coming, next(ahead, None)
            group, given, key = [item], [], None
            passed = PipelineResult(item)
            made: list[Made | Exception] = []
            try:
                first = reading.result()
                if first is None:
                    passed = PipelineResult(item, skipped=True)
                else:
                    given, key = [first], batch_key(first)
                first = None
            except Exception as error:  # noqa: BLE001 (it is handed on with its item)
                passed = PipelineResult(item, error)
            while key is not None and len(group) < batch_size and coming is not None:
                another = None if coming[1].exception() else coming[1].result()
                if another is None or batch_key(another) != key:
                    break
                group.append(coming[0])
                given.append(another)
                another, coming = None, next(ahead, None)
            if given:
                made = _work_on(work, given)
            given = []  # their memory is free while the next one is waited for
            for earlier, future in writing:
                yield _wait_for_write(earlier, future)
            writing = []
            if not made:
                yield passed
            for item, result in zip(group, made, strict=False):
                if isinstance(result, Exception):
                    for earlier, future in writing:
                        yield _wait_for_write(earlier, future)
                    writing = []
                    yield PipelineResult(item, result)
                else:
                    writing.append((item, writer.submit(write, item, result)))
            made = []
        for earlier, future in writing:
            yield _wait_for_write(earlier, future)


def _wait_for_write(item: Item, future: Future[None]) -> PipelineResult[Item]:
    """An item whose writing has ended, well or not."""
    try:
        future.result()
    except Exception as error:  # noqa: BLE001 (it is handed on with its item)
        return PipelineResult(item, error)
    return PipelineResult(item)


def _work_on(work: Callable[[list[Given]], list[Made]], given: list[Given]) -> list[Made | Exception]:
    """The result of each, or its error."""
    try:
        return list(work(given))
    except Exception as error:  # noqa: BLE001 (it is handed on with its item)
        if len(given) == 1:
            return [error]
    return [_work_on(work, [one])[0] for one in given]
