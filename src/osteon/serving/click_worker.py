"""Points answered in the predicting process. Scans stay open: the next click reads no file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from osteon.core.clicks import Click, ClickAnswer, Mask
from osteon.core.errors import UsageError
from osteon.core.labels import Segmentation, Structure
from osteon.core.volume import Volume
from osteon.labelling.growth import grow_structure, usual_reach
from osteon.serving.click_tasks import ClickTask

if TYPE_CHECKING:
    from osteon.predicting.click_session import ClickSession
    from osteon.predicting.model import Model
    from osteon.predicting.scans import Scan

MAX_OPEN = 2
"""Scans that stay open, and on each of them structures whose first mask is kept."""
MAX_FOUND = 4
"""Scans of which is kept, packed, what the served model found."""


@dataclass
class _OpenScan:
    """A scan that points are answered on.

    Attributes:
        volume: On its own grid.
        begun: By structure its mask before the first point: the same array each time.
        asked: By structure the points of the last request, in the order in which they came.
        session: What answers with the model, once it was asked.
    """

    volume: Volume
    begun: OrderedDict[str, Mask] = field(default_factory=OrderedDict)
    asked: OrderedDict[str, list[Click]] = field(default_factory=OrderedDict)
    session: ClickSession | None = None


class ClickTools:
    """Points alone, and a model that answers clicks where there is one.

    Args:
        model: Trained with `--interactive`; None: there is none.
    """

    def __init__(self, model: Model | None = None) -> None:
        self.model = model
        self._open: OrderedDict[Hashable, _OpenScan] = OrderedDict()
        self._found: OrderedDict[Hashable, bytes] = OrderedDict()

    def keep_found(self, scan: Scan, mask: Path) -> None:
        """Keep a mask that the served model has made of a scan; points may correct it."""
        self._found[_identity(scan)] = mask.read_bytes()
        _keep_newest(self._found, _identity(scan), MAX_FOUND)

    def found(self, scan: Scan) -> bytes | None:
        """The file of such a mask; None where none is kept."""
        return self._found.get(_identity(scan))

    def answer(self, scan: Scan, task: ClickTask, find: Callable[[], Segmentation]) -> Segmentation:
        """The structures that points point at, as an index map on the scan's own grid.

        Args:
            scan: Some files, or a dataset's case.
            task: The points.
            find: Gives what the served model finds in the scan; asked where the points correct that.

        Raises:
            OsteonError: The scan cannot be read, or does not suit the model; a point lies outside it; no point lies
                inside a structure of which nothing is there to correct.
        """
        opened = self._open_scan(scan)
        shape = opened.volume.geometry.shape
        for at in (*task.outside, *(at for points in task.inside.values() for at in points)):
            if any(not 0 <= p < n for p, n in zip(at, shape, strict=True)):
                raise UsageError(
                    f"the point {list(at)} lies outside the scan, which has {' × '.join(map(str, shape))} voxels",
                    hint="points are voxels i, j, k of the scan's own file, from 0",
                )
        found = find() if task.correcting else None
        answer = np.zeros(shape, np.min_scalar_type(max(s.value for s in task.structures)))
        for structure in task.structures:
            clicks = task.clicks(structure)
            previous = None if found is None else _mask_at_beginning(opened, structure, found)
            if previous is not None:
                answer[previous] = structure.value
            own = bool(task.inside.get(structure.name))
            if found is not None and not own and (previous is None or not any(previous[c.at] for c in clicks)):
                continue  # nothing says anything else of it
            part = self._ask(opened, structure, clicks, task, previous)
            here = answer[part.box.slices]
            here[here == structure.value] = 0
            here[part.mask] = structure.value
        return Segmentation(answer, opened.volume.geometry, task.structures)

    def _ask(
        self, opened: _OpenScan, structure: Structure, clicks: list[Click], task: ClickTask, previous: Mask | None
    ) -> ClickAnswer:
        grid = opened.volume.geometry
        if task.tool == "points" or self.model is None:
            reach = usual_reach(grid) if task.reach is None else task.reach
            return grow_structure(opened.volume.array[0], clicks, grid.spacing_mm, reach=reach, previous=previous)
        if opened.session is None:
            from osteon.predicting.click_session import ClickSession  # torch: for who clicks with a model alone

            opened.session = ClickSession(self.model, opened.volume, name="the scan")
        before, now = opened.asked.get(structure.name, []), set(clicks)
        if set(before) <= now:  # it goes on: what came before stays first, as the session knows it
            clicks = before + [click for click in clicks if click not in set(before)]
        answer = opened.session.answer(clicks, previous=previous)
        opened.asked[structure.name] = clicks
        _keep_newest(opened.asked, structure.name, MAX_OPEN)
        return answer

    def _open_scan(self, scan: Scan) -> _OpenScan:
        key = _identity(scan)
        if key not in self._open:
            self._open[key] = _OpenScan(scan.load())
        return _keep_newest(self._open, key, MAX_OPEN)


def _mask_at_beginning(opened: _OpenScan, structure: Structure, found: Segmentation) -> Mask | None:
    """What the served model found of a structure, the same array each time; None where it found none."""
    if structure.name not in opened.begun:
        own = next(s for s in found.structures if s.name == structure.name)
        opened.begun[structure.name] = found.mask(own)
    mask: Mask = _keep_newest(opened.begun, structure.name, MAX_OPEN)
    return mask if mask.any() else None


def _identity(scan: Scan) -> Hashable:
    """Of the files, whatever they are called: a session's are linked into each job's folder."""
    stats = [path.stat() for path in scan.files if path.exists()]  # one that is missing fails where it is read
    return tuple((stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats)


def _keep_newest(kept: OrderedDict[Any, Any], key: Any, most: int) -> Any:
    """What is kept under a key, which is the newest now; the oldest are forgotten."""
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)
    return kept[key]
