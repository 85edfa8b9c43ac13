"""The stream of batches: each is read, and on a GPU already copied there, while the network works on the one before."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch
from torch.utils.data import IterableDataset

from osteon.core.devices import device_kind
from osteon.training.sampling import Batch, PatchSampler


class BatchStream(IterableDataset[Batch]):
    """An endless stream of batches from a given iteration on.

    Args:
        sampler: Reads them.
        start: The first iteration's number.
        device: Where they are needed. On a CUDA device they arrive there, on the CPU they stay.

    Attributes:
        waited_s: How long the training has waited for batches that were not read yet.
    """

    def __init__(self, sampler: PatchSampler, start: int, device: str = "cpu") -> None:
        self.sampler, self.start, self.device = sampler, start, device
        self.waited_s = 0.0

    def __iter__(self) -> Iterator[Batch]:
        read: Callable[[int], Batch] = self.sampler.read
        if device_kind(self.device) == "cuda":
            read = _CudaUpload(read, torch.device(self.device))
        with ThreadPoolExecutor(1) as reader:
            number = self.start
            coming = reader.submit(read, number)
            while True:
                began = time.perf_counter()
                batch = coming.result()
                self.waited_s += time.perf_counter() - began
                number += 1
                coming = reader.submit(read, number)
                yield batch


class _CudaUpload:
    """Reads a batch into pinned memory, from where a stream of its own copies it beside the network's work."""

    def __init__(self, read: Callable[[int], Batch], device: torch.device) -> None:
        self.read, self.device = read, device
        self.stream = torch.cuda.Stream(device)

    def __call__(self, number: int) -> Batch:
        batch = self.read(number)
        with torch.cuda.stream(self.stream):
            moved = batch.pin().to(self.device)
            return replace(moved, arrival=self.stream.record_event())
