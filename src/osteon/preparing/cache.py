"""The cache: prepared cases as memory-mapped arrays, so that a patch is read without its scan.

cache/<key>/<case id>.image.npy        [channel, i, j, k] float16
cache/<key>/<case id>.labels.npy       [i, j, k] or [structure, i, j, k]
cache/<key>/<case id>.pieces.npy       [i, j, k], where a structure has numbered pieces
cache/<key>/<case id>.foreground.npy   [n, 4] int32: structure number (from 0), i, j, k
cache/<key>/fine/<case id>.<n>.*.npy   the same of the n-th crop around the plan's zoom structures, at the finer spacing
cache/<key>/<case id>.json             written last: the case is complete, from which files it was made, and each
                                       array's checksum

Each array is read and compared with its checksum once in a process, when a training opens the cache; patches are not.

For a 2D plan image and labels lie in the file slice by slice (Fortran order), so that reading one reads no other.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from osteon.core.errors import DatasetError, FileError, OsteonError, PlanError
from osteon.core.file_stamps import file_times
from osteon.core.files import atomic_write, write_json
from osteon.core.gzip_files import crc32_of
from osteon.core.locks import exclusive_lock
from osteon.core.parallel import CASE_BYTES_PER_VOXEL, for_each, worker_count
from osteon.core.progress import status
from osteon.core.records import read_record
from osteon.dataset.case_stamps import read_stamp, renew_stamp, stamp_case, warn_changed
from osteon.dataset.checks import content_hash, present_structures
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case
from osteon.plan.schema import Plan
from osteon.preparing.case import prepare_pieces
from osteon.preparing.foreground import foreground_index
from osteon.preparing.strategies import grid_strategy
from osteon.preparing.zoomed import zoom_indices, zoomed_crops

logger = logging.getLogger(__name__)
ZOOMED = "fine"
"""The folder of the crops around the zoom structures, in the cache's own."""


@dataclass(frozen=True)
class CachedCase:
    """One prepared case. Arrays are memory-mapped and opened anew at each access: cheap, and safe across threads.

    Attributes:
        id: The case's, and the beginning of its files' names.
        folder: Where they lie.
        annotated: For each structure of the plan whether anybody looked for it.
        present: Numbers, from 0, of the structures that the foreground index lists.
        zoomed: The crops around the zoom structures, each like a case; their foreground lists these structures alone.
        structures: Names of the dataset's structures that have a voxel in the case, on its own grid.
        content: The image's hash (`dataset.checks.content_hash`).
    """

    id: str
    folder: Path
    annotated: tuple[bool, ...]
    present: tuple[int, ...]
    zoomed: tuple[CachedCase, ...] = ()
    structures: tuple[str, ...] = ()
    content: str = ""

    @property
    def image(self) -> npt.NDArray[np.float16]:
        """`[channel, i, j, k]`."""
        return _open(self.folder / f"{self.id}.image.npy")

    @property
    def labels(self) -> npt.NDArray[np.integer]:
        """Index `[i, j, k]` or multi-hot `[structure, i, j, k]`."""
        return _open(self.folder / f"{self.id}.labels.npy")

    @property
    def pieces(self) -> npt.NDArray[np.integer]:
        """`[i, j, k]`: of structures with `instances` which piece, from 0; 0 elsewhere."""
        return _open(self.folder / f"{self.id}.pieces.npy")

    @property
    def foreground(self) -> npt.NDArray[np.int32]:
        """`[n, 4]`: structure number from 0, i, j, k; sorted by structure."""
        return _open(self.folder / f"{self.id}.foreground.npy")


_OPENING = threading.Lock()
"""NumPy reads an array's header with `ast`, whose depth in Python 3.11 is one count for all threads: two at once raise
"AST constructor recursion depth mismatch", now and then (https://github.com/python/cpython/issues/106905)."""

_NOT_MAPPED = (errno.ENODEV, errno.EINVAL, errno.EOPNOTSUPP)
"""What disks of networks say whose files cannot be mapped (mmap(2)): an array is then read whole."""


def _open(path: Path) -> Any:
    with _OPENING:
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except OSError as error:
            if error.errno not in _NOT_MAPPED:
                raise
        return np.load(path, allow_pickle=False)


def prepare_cases(
    dataset: Dataset, plan: Plan, cases: list[Case], *, workers: int | None = None
) -> tuple[dict[str, CachedCase], dict[str, OsteonError]]:
    """Prepare cases into the dataset's cache; complete ones whose files are unchanged are left as they are.

    Damaged ones are reported, and prepared again.

    Returns:
        The cached cases by id, and the errors of those that failed.
    """
    folder = dataset.folder / "cache" / plan.cache_key
    damaged: list[str] = []
    with status("comparing files"):  # those that were touched are read, and what is in the cache
        found = {case.id: _read_entry(dataset, folder, case, plan, damaged) for case in cases}
    ready = {case_id: entry for case_id, entry in found.items() if entry is not None}
    if damaged:
        logger.warning(
            f"{len(damaged)} prepared cases are damaged in the cache, and prepared again: {', '.join(damaged)}"
        )
    left = [case for case in cases if case.id not in ready]
    failed: dict[str, OsteonError] = {}
    if left:
        before = {case.id: mark for case in left if (mark := read_stamp(_read_facts(folder, case))) is not None}
        warn_changed(dataset, before, "prepared")
        voxels = [_voxels(dataset, case) for case in left]
        each = max(voxels) * len(plan.channels) * CASE_BYTES_PER_VOXEL
        count = workers or (worker_count(len(left), each) if sum(voxels) > 100e6 else 1)
        work = [(dataset.restrict_to(case), plan, case) for case in left]
        for outcome in for_each(
            _prepare_case, work, "preparing", name=lambda item: f"case {item[2].id}", workers=count
        ):
            case = outcome.item[2]
            if outcome.error is not None:
                failed[case.id] = outcome.error
                continue
            entry = _read_entry(dataset, folder, case, plan)
            if entry is None:
                failed[case.id] = DatasetError(
                    f"case {case.id}: its files were changed while it was prepared", hint="run the same command again"
                )
                continue
            ready[case.id] = entry
    return {case.id: ready[case.id] for case in cases if case.id in ready}, failed


def _voxels(dataset: Dataset, case: Case) -> int:
    try:
        return int(np.prod(dataset.geometry(case).shape))
    except OsteonError:
        return 0  # preparing it will say why


def _read_entry(
    dataset: Dataset, folder: Path, case: Case, plan: Plan, damaged: list[str] | None = None
) -> CachedCase | None:
    """The entry of a case; None where it has none that still holds. One that is `damaged` is put into that list."""
    facts = _read_facts(folder, case)
    before = read_stamp(facts)
    if before is None:
        return None
    now = renew_stamp(dataset, case, before)
    if now is None:
        return None
    if now != before:
        write_json(folder / f"{case.id}.json", facts | {"mark": now.model_dump()})
    known = case.annotated
    annotated = tuple(known is None or structure.name in known for structure in plan.structures)
    crops = facts.get("fine", [])
    if not all(_is_whole(folder / name, crc) for name, crc in facts["crc32"].items()):
        if damaged is not None:
            damaged.append(case.id)
        return None
    zoomed = [
        CachedCase(f"{case.id}.{n}", folder / ZOOMED, annotated, tuple(present)) for n, present in enumerate(crops)
    ]
    present = tuple(facts["present"])
    return CachedCase(case.id, folder, annotated, present, tuple(zoomed), tuple(facts["structures"]), facts["content"])


def _read_facts(folder: Path, case: Case) -> dict[str, Any]:
    """What was written when the case was complete; empty where it never was, or is damaged: it is prepared again."""
    try:
        facts: dict[str, Any] = read_record(folder / f"{case.id}.json", "the cache's record", _Facts, "prepare again")
    except FileError:
        return {}
    return facts


class _Facts(BaseModel):
    """What is relied on of a record. One of an earlier osteon's has no checksums."""

    mark: dict[str, Any]
    present: list[int]
    structures: list[str]
    content: str
    crc32: dict[str, int]
    fine: list[list[int]] = []


def _is_whole(path: Path, crc: int) -> bool:
    """Whether an array is there as it was written; read once in a process, and again only where it was touched."""
    times = file_times(path)
    if _CHECKED.get(path) == (times, crc):
        return True
    try:
        whole = crc32_of(path) == crc
    except OSError:
        return False
    if whole:
        _CHECKED[path] = times, crc
    return whole


_CHECKED: dict[Path, tuple[str, int]] = {}
"""Arrays that were compared with their checksum in this process, with their times then."""


def _prepare_case(work: tuple[Dataset, Plan, Case]) -> None:
    dataset, plan, case = work
    folder = dataset.folder / "cache" / plan.cache_key
    with exclusive_lock(folder / f".{case.id}.lock"):
        if _read_entry(dataset, folder, case, plan) is None:  # another training may have prepared it meanwhile
            _write_case(dataset, plan, case, folder)


def _write_case(dataset: Dataset, plan: Plan, case: Case, folder: Path) -> None:
    mark = stamp_case(dataset, case)
    volume, segmentation = dataset.load_image(case), dataset.load_segmentation(case, pieces=True)
    strategy = grid_strategy(plan)
    box = strategy.crop_box(volume.array) if plan.grid.drop_slices is None else None  # slices are counted in the whole
    if box is not None:
        volume, segmentation = volume.crop(box), segmentation.crop(box)
    image, intensities = strategy.prepare(volume)
    labels, pieces = prepare_pieces(segmentation, plan)
    kept = plan.grid.kept_slices(image.shape[3])
    if not kept:
        raise PlanError(
            f"case {case.id}: grid.drop_slices leaves none of its {image.shape[3]} slices",
            hint="drop fewer slices in plan.yaml, or leave the case out",
        )
    (folder / f"{case.id}.json").unlink(missing_ok=True)  # while arrays change, the case is not complete
    crc32: dict[str, int] = {}
    present = _write_arrays(folder, case.id, plan, image, labels, kept, range(len(plan.structures)), crc32, pieces)
    facts: dict[str, Any] = {
        "mark": mark.model_dump(),
        "crc32": crc32,
        "shape": image.shape[1:],
        "present": present,
        "structures": present_structures(segmentation.merged()),
        "content": case.content or content_hash(volume),
    }
    if plan.zoom is not None:
        closely = zoom_indices(plan, plan.zoom)
        facts["fine"] = []
        for number, crop in enumerate(zoomed_crops(volume, segmentation, plan, plan.zoom, intensities)):
            shown = [k - crop.first_slice for k in kept] if plan.grid.dimensions == 2 else range(crop.image.shape[3])
            name = f"{ZOOMED}/{case.id}.{number}"
            facts["fine"].append(_write_arrays(folder, name, plan, crop.image, crop.labels, shown, closely, crc32))
    write_json(folder / f"{case.id}.json", facts)


def _write_arrays(
    folder: Path,
    name: str,
    plan: Plan,
    image: npt.NDArray[np.float32],
    labels: npt.NDArray[np.integer],
    kept: Sequence[int],
    structures: Iterable[int],
    crc32: dict[str, int],
    pieces: npt.NDArray[np.integer] | None = None,
) -> list[int]:
    """Write one case or crop; the numbers of the `structures` that `kept` slices show. Checksums go into `crc32`."""
    foreground = foreground_index(labels, structures)
    foreground = foreground[np.isin(foreground[:, 3], kept)]
    in_slices = np.asfortranarray if plan.grid.dimensions == 2 else np.asarray  # one slice then lies in one piece
    arrays = {"image": in_slices(image.astype(np.float16)), "labels": in_slices(labels), "foreground": foreground}
    if pieces is not None:
        arrays["pieces"] = in_slices(pieces)
    for kind, array in arrays.items():
        with atomic_write(folder / f"{name}.{kind}.npy") as temporary:
            np.save(temporary, array, allow_pickle=False)
            crc32[f"{name}.{kind}.npy"] = crc32_of(temporary)
    return sorted({int(number) for number in foreground[:, 0]})
