"""Reading, working and writing at the same time: while one item is worked on, the next is read, the last written."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")
Result = TypeVar("Result")


@dataclass(frozen=True)
class PipelineResult(Generic[Item]):
    """The outcome of one item.

    Attributes:
        item: As it was given.
        error: That reading, work or writing ended with.
        skipped: `read` returned None: there was nothing to do.
    """

    item: Item
    error: Exception | None = None
    skipped: bool = False


def run_pipeline(
    items: Iterable[Item],
    read: Callable[[Item], Loaded | None],
    work: Callable[[list[Loaded]], list[Result]],
    write: Callable[[Item, Result], None],
    *,
    batch_key: Callable[[Loaded], Hashable] = lambda _: None,
    batch_size: int = 1,
) -> Generator[PipelineResult[Item]]:
    """Take each item through three stages, and yield it when it is through, in order.

    Args:
        items: One after the other.
        read: In a thread of its own, one item ahead; None: there is nothing to do for it.
        work: In this thread, on a batch of items that share a `batch_key`; where that fails, on one item at a time.
        write: In a thread of its own, behind.
        batch_key: Items that follow one another and of which this is the same, and not None, are worked on together.
        batch_size: The most items in a batch.

    An error of a stage is handed on with its item, when that is its turn.
    """
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        reads = ((item, reader.submit(read, item)) for item in items)
        upcoming = next(reads, None)
        writing: list[tuple[Item, Future[None]]] = []
        while upcoming is not None:
            (item, reading), upcoming = upcoming, next(reads, None)
            group, loaded, key = [item], [], None
            outcome = PipelineResult(item)
            results: list[Result | Exception] = []
            try:
                first = reading.result()
                if first is None:
                    outcome = PipelineResult(item, skipped=True)
                else:
                    loaded, key = [first], batch_key(first)
                first = None
            except Exception as error:  # noqa: BLE001 (it is handed on with its item)
                outcome = PipelineResult(item, error)
            while key is not None and len(group) < batch_size and upcoming is not None:
                another = None if upcoming[1].exception() else upcoming[1].result()
                if another is None or batch_key(another) != key:
                    break
                group.append(upcoming[0])
                loaded.append(another)
                another, upcoming = None, next(reads, None)
            if loaded:
                results = _run_work(work, loaded)
            loaded = []  # their memory is free while the next one is waited for
            for earlier, future in writing:
                yield _await_write(earlier, future)
            writing = []
            if not results:
                yield outcome
            for item, result in zip(group, results, strict=False):
                if isinstance(result, Exception):
                    for earlier, future in writing:
                        yield _await_write(earlier, future)
                    writing = []
                    yield PipelineResult(item, result)
                else:
                    writing.append((item, writer.submit(write, item, result)))
            results = []
        for earlier, future in writing:
            yield _await_write(earlier, future)


def _await_write(item: Item, future: Future[None]) -> PipelineResult[Item]:
    """An item whose writing has ended, well or not."""
    try:
        future.result()
    except Exception as error:  # noqa: BLE001 (it is handed on with its item)
        return PipelineResult(item, error)
    return PipelineResult(item)


def _run_work(work: Callable[[list[Loaded]], list[Result]], loaded: list[Loaded]) -> list[Result | Exception]:
    """The result of each, or its error."""
    try:
        return list(work(loaded))
    except Exception as error:  # noqa: BLE001 (it is handed on with its item)
        if len(loaded) == 1:
            return [error]
    return [_run_work(work, [one])[0] for one in loaded]
