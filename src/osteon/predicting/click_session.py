"""A scan open for clicks: prepared once, so that each click costs no more than the window that the network looks at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from osteon.core.boxes import Box, Index3
from osteon.core.clicks import Click, ClickAnswer, Mask
from osteon.core.errors import UsageError
from osteon.core.volume import Volume
from osteon.formats.io import read_volume
from osteon.predicting.click_windows import answer_click
from osteon.predicting.model import Model
from osteon.predicting.prepared_scan import check_scan, prepare_scan
from osteon.predicting.sparse_resampling import interpolate_box
from osteon.preparing.strategies import grid_strategy


class ClickSession:
    """Finds structures of a scan by clicks, with a model that was trained to answer them.

    Positions and masks are on the scan's own grid, `[i, j, k]`.

    Args:
        model: Trained with `--interactive`.
        scan: A file, or a Volume with the channels of the plan.
        name: The scan's, for messages.

    Raises:
        UsageError: The model answers no clicks.
        OsteonError: As `Model.examine`: the scan cannot be read, or does not suit the model.

    Example:
        session = osteon.ClickSession(osteon.load_model("clicks-run"), "scan.nii.gz")
        answer = session.answer([osteon.Click((90, 110, 60))])
        answer.box, answer.mask
    """

    def __init__(self, model: Model, scan: Path | str | Volume, *, name: str = "") -> None:
        if model.plan.clicks is None:
            raise UsageError("this model answers no clicks", hint="train one: osteon train DATASET RUN --interactive")
        volume = scan if isinstance(scan, Volume) else read_volume(Path(scan))
        check_scan(volume, model.plan, name or ("the volume" if isinstance(scan, Volume) else str(scan)))
        self.model, self.geometry = model, volume.geometry
        self._image = torch.from_numpy(prepare_scan(volume, model.plan).image)
        self._transform = grid_strategy(model.plan).transform(volume.geometry)
        self._asked: tuple[Click, ...] = ()
        self._begun: Mask | None = None
        self._probability = torch.zeros(self._image.shape[1:])

    def answer(
        self, clicks: Sequence[Click], *, previous: Mask | None = None, protected: Mask | None = None
    ) -> ClickAnswer:
        """The structure that clicks point at.

        Clicks that go on from those of the last call are answered from its answer; else all are answered at once.

        Args:
            clicks: All of this structure so far, the newest last.
            previous: `[i, j, k]`: its mask before the first of them, such as a model's; the same array each time.
            protected: `[i, j, k]`: what belongs to other structures, and stays theirs.

        Returns:
            The part of the scan that may have changed, and its mask. Without clicks `previous` itself.

        Raises:
            UsageError: A click lies outside the scan; there is neither a click inside nor a mask.
        """
        for click in clicks:
            if any(not 0 <= a < n for a, n in zip(click.at, self.geometry.shape, strict=True)):
                raise UsageError("a point lies outside the image", hint="click into the image")
        if not any(click.positive for click in clicks) and (previous is None or not previous.any()):
            raise UsageError("there is no point inside the structure", hint="click into the structure first")
        asked = tuple(clicks)
        goes_on = previous is self._begun and asked[: len(self._asked)] == self._asked and bool(self._asked)
        if not goes_on:
            self._begin(previous)
        changed: Box | None = None
        for count in range(len(self._asked) + 1, len(asked) + 1) if goes_on else [len(asked)]:
            placed = [Click(self._to_grid(click.at), click.positive) for click in asked[:count]]
            if placed:
                box = answer_click(self.model.network, self._image, self.model.plan, placed, self._probability)
                changed = box if changed is None else changed.union(box)
        self._asked = asked
        if previous is not None and not goes_on:
            changed = None  # the whole mask is the model's now
        return self._restore(changed, protected)

    def _begin(self, previous: Mask | None) -> None:
        self._asked, self._begun = (), previous
        self._probability.zero_()
        if previous is not None:
            turned = self._transform.permutation.apply(previous)
            nearest = [
                np.minimum((np.arange(n) + 0.5) * m / n, m - 1).astype(int)
                for n, m in zip(self._transform.shape, turned.shape, strict=True)
            ]
            self._probability += torch.from_numpy(turned[np.ix_(*nearest)].astype(np.float32))

    def _to_grid(self, at: Index3) -> Index3:
        """The voxel of the plan's grid in which one of the scan's lies."""
        order, flipped = self._transform.permutation.order, self._transform.permutation.flipped
        turned = [self.geometry.shape[old] - 1 - at[old] if flipped[old] else at[old] for old in order]
        sizes = zip(turned, self._transform.shape, self._transform.reoriented.shape, strict=True)
        i, j, k = (int((place + 0.5) * new / old) for place, new, old in sizes)
        return i, j, k

    def _restore(self, part: Box | None, protected: Mask | None) -> ClickAnswer:
        """The answer on the scan's grid, in a part of the plan's."""
        permutation, shape = self._transform.permutation, self._transform.reoriented.shape
        grid = self._probability.shape
        box = Box((0, 0, 0), shape)
        if part is not None:
            scale = [new / old for new, old in zip(shape, grid, strict=True)]
            first = [max(0, math.floor(a * s)) for a, s in zip(part.first, scale, strict=True)]
            stop = [min(n, math.ceil(b * s)) for b, s, n in zip(part.stop, scale, shape, strict=True)]
            box = Box((first[0], first[1], first[2]), (stop[0], stop[1], stop[2]))
        values = interpolate_box(self._probability[None], box, shape)[0].numpy()
        mask = np.ascontiguousarray(permutation.undo(values)) > 0.5
        first, stop = [0, 0, 0], [0, 0, 0]
        for new, old in enumerate(permutation.order):
            a, b, n = box.first[new], box.stop[new], self.geometry.shape[old]
            first[old], stop[old] = (n - b, n - a) if permutation.flipped[old] else (a, b)
        here = Box((first[0], first[1], first[2]), (stop[0], stop[1], stop[2]))
        if protected is not None:
            mask &= ~protected[here.slices]
        return ClickAnswer(here, mask)
