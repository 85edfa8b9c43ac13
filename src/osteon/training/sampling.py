"""Which patches a network sees: drawn from (seed, iteration, rank) alone, so that a resumed run sees the same ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from osteon.core.random_streams import Stream, generator
from osteon.plan.outputs import encode_pieces
from osteon.plan.schema import Plan
from osteon.preparing.cache import CachedCase
from osteon.preparing.strategies import grid_strategy
from osteon.training import ranks
from osteon.training.foreground_index import ForegroundIndex

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class PatchDraw:
    """One patch, drawn.

    Attributes:
        case: The case's number.
        origin: The patch's first voxel (negative where it reaches beyond the scan).
        crop: Which of the case's enlarged crops it lies in; None: in the case itself.
    """

    case: int
    origin: Triple
    crop: int | None = None


@dataclass(frozen=True)
class Batch:
    """What the network sees in one iteration.

    Attributes:
        iteration: Number of the iteration, from 0.
        image: `[batch, channel, i, j, k]` float32.
        labels: Index `[batch, i, j, k]` int64 (with numbered pieces as `plan.outputs.encode_pieces` has them) or
            multi-hot `[batch, structure, i, j, k]` float32.
        annotated: `[batch, structure]` bool: whether anybody looked for the structure in that case. It stays on the
            host: what is to be computed depends on it.
        arrival: Where image and labels are still being copied to a GPU: the event at whose end they are there.
    """

    iteration: int
    image: torch.Tensor
    labels: torch.Tensor
    annotated: torch.Tensor
    arrival: torch.cuda.Event | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device, whose work from here on waits for it; the host does not."""
        if self.arrival is not None:
            stream = torch.cuda.current_stream(device)
            stream.wait_event(self.arrival)
            for part in (self.image, self.labels):
                part.record_stream(stream)  # else their memory might go to the next batch before the network is done
        image, labels = (part.to(device, non_blocking=True) for part in (self.image, self.labels))
        return Batch(self.iteration, image, labels, self.annotated)

    def pin(self) -> Batch:
        """The same batch in pinned memory, from which a GPU copies without the host."""
        return Batch(self.iteration, self.image.pin_memory(), self.labels.pin_memory(), self.annotated)


class PatchSampler:
    """Draws patches from cached cases.

    Args:
        cases: The cases to draw from.
        plan: Patch, batch, the shares of patches around a structure and of enlarged ones, and the sampling's weights.
        seed: With the iteration's number it decides all that is drawn.
        repeats: Case id → how often it has its turn where others have it once; None: all once.
    """

    def __init__(
        self, cases: Sequence[CachedCase], plan: Plan, seed: int, repeats: Mapping[str, int] | None = None
    ) -> None:
        self.cases = list(cases)
        self.plan = plan
        self.seed = seed
        self.turns = [number for number, case in enumerate(cases) for _ in range((repeats or {}).get(case.id, 1))]
        self.targets = ForegroundIndex(self.cases, plan, self.turns)

    def draw(self, iteration: int) -> list[PatchDraw]:
        """Draw the patches of one iteration.

        Cases take turns: each once (or as often as `repeats` has it) before any more often, in a new order each time.
        Where the one whose turn it is cannot show what the shares ask for, or structures have weights of their own,
        another stands in for it.

        All ranks draw the patches of all of them, as one alone would with that batch; each takes its own.
        """
        rng = generator(self.seed, Stream.PATCH, iteration)
        count = ranks.whole_batch(self.plan).patch.batch
        numbers = range(iteration * count, (iteration + 1) * count)
        return [self._draw_patch(number, rng) for number in numbers][ranks.own_rows(self.plan)]

    def _case_at(self, number: int) -> int:
        round_, place = divmod(number, len(self.turns))
        order = generator(self.seed, Stream.CASE_ORDER, round_).permutation(len(self.turns))
        return self.turns[order[place]]

    def _draw_patch(self, number: int, rng: np.random.Generator) -> PatchDraw:
        case = self._case_at(number)
        around = rng.random() < self.plan.training.foreground_share
        anywhere = rng.random(3)
        pick = rng.random(2)
        more = generator(self.seed, Stream.TARGET, number)  # only some plans need it, and others draw as before
        if self.plan.zoom is not None and more.random() < self.plan.zoom.share:
            target = self.targets.draw_zoomed_target(case, more)
        else:
            target = self.targets.draw_target(case, pick, more) if around else None
        if target is None:
            shape = self.cases[case].image.shape[1:]
            return PatchDraw(case, self._clamp_origin(self._random_origin(anywhere, shape), shape))
        case, centre, crop = target
        shape = (self.cases[case] if crop is None else self.cases[case].zoomed[crop]).image.shape[1:]
        place = [c - s // 2 for c, s in zip(centre, self.plan.patch.size, strict=True)]
        return PatchDraw(case, self._clamp_origin(place, shape), crop)

    def _random_origin(self, where: npt.NDArray[np.float64], shape: Sequence[int]) -> list[int]:
        size = self.plan.patch.size
        place = [round(float(u) * (n - s)) for u, n, s in zip(where, shape, size, strict=True)]
        if self.plan.grid.dimensions == 2:
            slices = self.plan.grid.kept_slices(shape[2])
            place[2] = slices[round(float(where[2]) * (len(slices) - 1))]
        return place

    def _clamp_origin(self, place: Sequence[int], shape: Sequence[int]) -> Triple:
        """Moved into the scan, or to its middle along axes on which it is smaller than the patch."""
        i, j, k = (
            min(max(p, 0), n - s) if n > s else -((s - n) // 2)
            for p, n, s in zip(place, shape, self.plan.patch.size, strict=True)
        )
        return i, j, k

    def read(self, iteration: int) -> Batch:
        """Draw and read one batch. Beyond a scan's edge its outermost voxels repeat, in image and labels.

        In nnU-Net's way there is 0, and background, instead.
        """
        plan = self.plan
        draws = self.draw(iteration)
        cases = [self.cases[d.case] if d.crop is None else self.cases[d.case].zoomed[d.crop] for d in draws]
        image = np.zeros((len(draws), len(plan.channels), *plan.patch.size), dtype=np.float32)
        lead = (len(plan.structures),) if plan.overlapping else ()
        repeat = grid_strategy(plan).padding == "replicate"
        has_pieces = any(structure.instances for structure in plan.structures)
        labels = np.zeros((len(draws), *lead, *plan.patch.size), dtype=np.float32 if plan.overlapping else np.int64)
        for number, (draw, case) in enumerate(zip(draws, cases, strict=True)):
            for source, target in ((case.image, image[number]), (case.labels, labels[number])):
                copy_patch(source, draw.origin, target, repeat=repeat)
            if has_pieces:
                pieces = np.zeros(plan.patch.size, dtype=np.int64)
                copy_patch(case.pieces, draw.origin, pieces, repeat=repeat)
                labels[number] = encode_pieces(labels[number], pieces, len(plan.structures))
        annotated = torch.tensor([case.annotated for case in cases], dtype=torch.bool)
        return Batch(iteration, torch.from_numpy(image), torch.from_numpy(labels), annotated)


def copy_patch(
    source: npt.NDArray[np.generic], origin: Triple, target: npt.NDArray[np.generic], *, repeat: bool = True
) -> None:
    """Copy the patch of `source` `[…, i, j, k]` from `origin` on.

    Beyond its edge the outermost voxels repeat, or (`repeat` false) the target stays as it is.
    """
    here: tuple[slice, ...] = (slice(None),) * (source.ndim - 3)
    there = here
    for first, count, size in zip(origin, source.shape[-3:], target.shape[-3:], strict=True):
        start, stop = max(first, 0), min(first + size, count)
        there = (*there, slice(start, stop))
        here = (*here, slice(start - first, stop - first))
    target[here] = source[there]
    if not repeat:
        return
    for axis in range(-3, 0):
        inside = here[axis]
        along = target.swapaxes(axis, 0)  # a view
        along[: inside.start] = along[inside.start]
        along[inside.stop :] = along[inside.stop - 1]
