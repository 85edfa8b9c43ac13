"""What is done for each case does not grow with the number of cases: counted, never timed."""

from __future__ import annotations

import itertools
import pickle
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

from helpers import spacing_affine, write_dataset
from osteon.auditing.cohort import Cohort
from osteon.auditing.run import audit
from osteon.core.boxes import Box
from osteon.core.geometry import AxisPermutation, Geometry, reorient_like
from osteon.core.labels import make_structures
from osteon.dataset.case_ids import unique_ids
from osteon.dataset.dataset import Dataset
from osteon.dataset.folds import make_folds
from osteon.dataset.label_placement import lies_within
from osteon.dataset.manifest import Case, Channel, Manifest, _unique
from osteon.formats.dicom import series_titles
from osteon.formats.dicom_inventory import Series
from osteon.importing.masks.files import MaskFile, Scan, SourceInventory
from osteon.importing.masks.grids import GridIndex
from osteon.importing.masks.groups import ScanGroup, group_scans
from osteon.importing.masks.owners import GroupNames, NameSimilarity
from osteon.importing.masks.pairing import UNFIT, pair_files
from osteon.importing.pseudonyms import Patient, Pseudonyms
from osteon.planning import fingerprint
from osteon.predicting.training_cases import TRAINED, UNSEEN, SeenScans


def manifest(count: int) -> Manifest:
    return Manifest(
        name="many",
        channels=[Channel(name="ct", modality="ct")],
        structures=list(make_structures(["femur", "patella"])),
        cases=[Case(id=f"c{n}", images=[f"{n}.nii.gz"], segmentation=f"l{n}.nii.gz") for n in range(count)],
    )


def calls(work: Callable[[], Any]) -> int:
    """How many functions are called in it, those in C too."""
    counted = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted


class Word(str):
    """A string whose comparisons are counted."""

    __slots__ = ()
    __hash__ = str.__hash__
    compared = itertools.count()

    def __eq__(self, other: object) -> bool:
        next(Word.compared)
        return super().__eq__(other)


def test_ids_given_twice_are_found_without_comparing_all_pairs() -> None:
    names = [Word(n) for n in range(300)]
    compared = Word.compared = itertools.count()
    _unique("case id", names)
    assert next(compared) < 3 * len(names)
    with pytest.raises(ValueError, match=r"case id given twice: 7$"):
        _unique("case id", [*names, Word(7)])


def test_whether_a_scan_was_seen_is_found_without_going_through_all() -> None:
    seen = SeenScans({f"c{n}": Word(f"hash {n}") for n in range(300)}, {"v": Word("other")})
    compared = Word.compared = itertools.count()
    assert [seen.role_of(f"x{n}", f"hash {n}") for n in (0, 150, 299)] == [TRAINED] * 3
    assert seen.role_of("c0", "another") == UNSEEN
    assert next(compared) < 50


def test_a_case_is_found_without_going_through_all() -> None:
    looked = itertools.count()

    class Counted(list[Case]):
        def __iter__(self) -> Any:
            next(looked)
            return super().__iter__()

    whole = manifest(50)
    counted = whole.model_copy(update={"cases": Counted(whole.cases)})
    dataset, cohort = Dataset(Path("x"), counted), Cohort(counted, [], {})
    for case in whole.cases:
        assert dataset.case(case.id) is case
        assert cohort.annotated(case) == ["femur", "patella"]  # type: ignore[arg-type]
    assert next(looked) == 2


def test_folds_of_twice_the_cases_take_twice_the_work() -> None:
    def folds(count: int) -> int:
        many = manifest(count)
        held = {case.id: ["femur"] for case in many.cases}
        first = make_folds(many, 2, seed=1)[0]
        held |= {case: ["femur", "patella"] for case in first[:3]}  # all in one fold: one of them is exchanged
        return calls(lambda: make_folds(many, 2, seed=1, present=held))

    assert folds(400) < 2.5 * folds(200)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    rng = np.random.default_rng(0)
    labels = np.zeros((9, 8, 7), np.uint8)
    labels[2:5, 2:5, 2:5] = 1
    arrays = {
        f"c{n}": (rng.integers(0, 99, labels.shape, dtype=np.int16), labels, spacing_affine(1, 1, 1)) for n in range(6)
    }
    return write_dataset(tmp_path, arrays, make_structures(["femur"]))


def test_a_process_is_sent_its_case_and_not_the_whole_dataset(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from osteon.core.parallel import for_each

    sent: list[list[str]] = []

    def watched(function: Any, items: Any, *arguments: Any, **options: Any) -> Any:
        for item in items:
            own = pickle.loads(pickle.dumps(item))
            sent.extend([case.id for case in part.manifest.cases] for part in own if isinstance(part, Dataset))
        return for_each(function, items, *arguments, **options)

    for module in ("auditing.run", "planning.fingerprint"):
        sent.clear()
        monkeypatch.setattr(f"osteon.{module}.for_each", watched)
        (audit if module == "auditing.run" else fingerprint.measure_fingerprint)(dataset)
        assert sent == [[f"c{n}"] for n in range(6)]


@pytest.mark.parametrize(("step_s", "writes"), [(0.0, 1), (11.0, 2)])
def test_measurements_are_kept_as_time_passes_and_not_for_every_so_many_cases(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, step_s: float, writes: int
) -> None:
    kept: list[int] = []
    clock = itertools.count(0.0, step_s)
    write = fingerprint._write_facts

    def watched(path: Path, found: Any) -> None:
        kept.append(len(found))
        write(path, found)

    monkeypatch.setattr("osteon.planning.fingerprint._write_facts", watched)
    monkeypatch.setattr("osteon.planning.fingerprint.time.monotonic", lambda: next(clock))
    fingerprint.measure_fingerprint(dataset)
    assert len(kept) == writes


def flat(count: int) -> tuple[SourceInventory, list[ScanGroup]]:
    """A folder in which the series of many patients lie together, and masks that are called after the folder."""
    folder = Path("flat")
    scans = [
        Scan(
            folder,
            PurePosixPath("flat"),
            Series((folder / f"{n}",), f"1.{n}", "CT", "bone", 3, "", f"p{n}", f"id{n}", folder, "volume"),
        )
        for n in range(count)
    ]
    heap = SourceInventory(
        scans, masks=[MaskFile(folder / f"m{n}.nii.gz", PurePosixPath(f"flat/flat_m{n}.nii.gz")) for n in range(9)]
    )
    return heap, group_scans({PurePosixPath(): scans}, {PurePosixPath(): []})[PurePosixPath()]


def test_series_of_one_folder_are_called_with_work_that_grows_as_they_do() -> None:
    def work(count: int) -> int:
        heap, groups = flat(count)
        names, likeness = GroupNames(groups), NameSimilarity(groups)
        series = [scan.series for scan in heap.scans if scan.series is not None]
        assert len(set(series_titles(series))) == count

        def each() -> None:
            warnings: list[str] = []
            Pseudonyms(Path("nowhere"), [Patient(f"id{n}", f"name{n}") for n in range(count)])
            assert len(set(unique_ids([["flat"] * count], warnings))) == count == len(warnings) + 1
            for mask in heap.masks:
                names.find_owners(mask)
                likeness.shares_unique_word(mask, groups[0])
                likeness.names_other_case(mask)

        return calls(each)

    assert work(400) < 2.3 * work(200)


def test_titles_of_many_series_are_not_compared_with_each_other() -> None:
    series = [scan.series for scan in flat(300)[0].scans if scan.series is not None]
    titles = [str(one) for one in series_titles(series)]
    assert titles[7] == "0 CT images, series 3, bone, SeriesInstanceUID 1.7"
    compared = Word.compared = itertools.count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("osteon.formats.dicom.series_title", lambda one: Word(f"series {one.uid}"))
        series_titles(series)
    assert next(compared) < 5 * len(series)


def heap_on(grids: Sequence[Geometry], masks: Sequence[Geometry]) -> SourceInventory:
    """Scans and masks on grids, without files and named after nothing."""
    heap = SourceInventory()
    for n, grid in enumerate(grids):
        heap.scans.append(Scan(Path(f"s{n}"), PurePosixPath(f"scans/s{n}.nii.gz")))
        heap.scans[-1].__dict__["geometry"] = grid
    for n, grid in enumerate(masks):
        heap.masks.append(
            MaskFile(Path(f"m{n}"), PurePosixPath(f"masks/{'abcdefghij'[n % 10]}{'klmnopqrst'[n // 10]}.nii.gz"))
        )
        heap.masks[-1].__dict__["geometry"] = grid
    return heap


def placed(x: float, *, size: int = 20) -> Geometry:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[:3, 3] = x, 5, 7
    return Geometry((size, 16, 12), affine)


TURNS = [
    AxisPermutation(order, flipped)
    for order in itertools.permutations(range(3))
    for flipped in product((False, True), repeat=3)
]


@pytest.mark.parametrize(("apart", "most"), [(3.0, 1), (0.0, 1 / 20)], ids=["each its own grid", "one grid"])
def test_grids_are_compared_with_those_that_may_be_the_same(
    apart: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = itertools.count()

    def counted(self: Geometry, other: Geometry, **how: float) -> bool:
        next(compared)
        return not self.explain_mismatch(other, **how)

    monkeypatch.setattr(Geometry, "is_close", counted)
    grids = [placed(apart * n) for n in range(60)]
    heap = heap_on(grids, [TURNS[n % 48].geometry(grid) for n, grid in enumerate(grids)])
    groups = pair_files(heap, None)
    assert len(groups) == len(heap.unmatched) == 60
    cause = "its grid alone is no proof" if apart else "its grid fits several"
    assert all(cause in stray.cause for stray in heap.unmatched)
    assert next(compared) <= max(48, most * 60)


def test_masks_of_no_grid_are_compared_with_none(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = itertools.count()
    monkeypatch.setattr(Geometry, "is_close", lambda *_: next(compared) < 0)
    heap = heap_on([placed(3.0 * n) for n in range(60)], [placed(3.0 * n + 0.4, size=9) for n in range(60)])
    pair_files(heap, None)
    assert {stray.cause for stray in heap.unmatched} == {UNFIT}
    assert next(compared) == 0


def test_grids_that_are_looked_up_are_those_that_comparing_each_pair_finds() -> None:
    rng = np.random.default_rng(0)
    shears = [np.eye(3), np.array([[1, 0, 0.6], [0, 1, 0], [0, 0, 1]]), np.linalg.qr(rng.normal(size=(3, 3)))[0]]
    grids, masks = [], []
    for n in range(60):
        affine = np.eye(4)
        affine[:3, :3] = shears[n % 3] @ np.diag([(1.0, 0.5, 3.0)[n % 3], 1.0, 2.0])
        affine[:3, 3] = rng.integers(1, 4, 3) * 7.3
        grid = Geometry((9 + n % 2, 8, 7), affine, "px" if n % 7 == 0 else "mm")
        box = Box((1, 2, 3), (6, 6, 6)) if n % 4 == 1 else Box((0, 0, 0), grid.shape)
        own = grid.crop(box)
        moved = own.affine_ras.copy()
        moved[:3, 3] += rng.normal(size=3) * min(own.spacing_mm) * 0.06  # about as far as grids may differ
        grids.append(grid)
        masks.append(TURNS[n % 48].geometry(Geometry(own.shape, moved, own.unit)))
    heap = heap_on(grids, masks)
    groups = [ScanGroup(PurePosixPath(), f"{n}", [scan]) for n, scan in enumerate(heap.scans)]
    found, same, boxes = GridIndex(groups), 0, 0
    for mask, own in zip(heap.masks, masks, strict=True):
        on = [
            group
            for group, grid in zip(groups, grids, strict=True)
            if grid.is_close(reorient_like(own, grid).geometry(own))
        ]
        within = [group for group, grid in zip(groups, grids, strict=True) if lies_within(grid, own)]
        same, boxes = same + len(on), boxes + bool(within and not on)
        assert found.find_matching(mask, groups) == (on or within)
    assert 20 < same < 60 * 59
    assert boxes > 5
