"""Preparing: what lies in the cache, and what happens when it is interrupted."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from helpers import (
    FLAT,
    SIDES,
    add_hashes,
    box,
    correct_in_place,
    plan_data,
    tiny_plan,
    two_boxes,
    unpack_label,
    write_dataset,
)
from osteon.core import file_stamps
from osteon.core.errors import PlanError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case, write_manifest
from osteon.formats import write_volume
from osteon.plan.schema import Plan, parse_plan, write_plan
from osteon.preparing import cache as module
from osteon.preparing import foreground
from osteon.preparing.cache import prepare_cases
from osteon.preparing.case import prepare_image, prepare_labels
from osteon.preparing.foreground import foreground_index
from osteon.preparing.normalisation import normalise
from osteon.preparing.resample import resample_image
from osteon.preparing.strategies import grid_strategy

NAMES = ("a", "b", "c")


def three(folder: Path) -> Dataset:
    return write_dataset(folder, {name: two_boxes(seed=n) for n, name in enumerate(NAMES)})


def with_air_and_metal(shape: tuple[int, int, int] = (12, 10, 8)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two boxes, and voxels on both sides of what the plan clips to (−100 … 300)."""
    image, labels, affine = two_boxes(shape)
    image[0, 0, :3], image[-1, -1, -3:] = (-1000, -101, -100), (300, 301, 3000)
    return image, labels, affine


def contents(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir()) if p.suffix == ".npy"}


def test_the_arrays_are_the_scan_on_the_plans_grid(tmp_path: Path) -> None:
    image, labels, affine = with_air_and_metal()
    dataset = write_dataset(tmp_path, {"a": (image, labels, affine)}, annotated={"a": ["tibia"]})
    plan = tiny_plan()
    ready, failed = prepare_cases(dataset, plan, dataset.manifest.trainable)
    assert failed == {}
    case = ready["a"]
    expected = (image.clip(-100, 300) - 100) / 50
    assert case.image.dtype == np.float16
    np.testing.assert_allclose(case.image[0], expected, atol=2e-3)
    assert np.array_equal(case.labels, np.select([labels == 3, labels == 5], [1, 2]))
    assert case.annotated == (False, True)
    assert case.present == (0, 1)
    for number, value in enumerate((3, 5)):
        rows = case.foreground[case.foreground[:, 0] == number][:, 1:]
        assert np.array_equal(rows, np.argwhere(labels == value))


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("b.image.npy", -100),
        ("b.labels.npy", -100),
        ("b.labels.npy", 3),
        ("b.foreground.npy", -100),
        ("b.foreground.npy", 20),
        ("b.json", 0),
        ("b.json", 5),
    ],
)
def test_a_damaged_entry_is_told_and_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, place: int
) -> None:
    dataset = three(tmp_path)
    prepare_cases(dataset, tiny_plan(), dataset.manifest.trainable)
    folder = next((tmp_path / "cache").iterdir())
    before = contents(folder)
    data = bytearray((folder / file).read_bytes())
    data[place] ^= 0x10
    (folder / file).write_bytes(data)
    times = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npy")}
    capsys.readouterr()
    ready, failed = prepare_cases(dataset, tiny_plan(), dataset.manifest.trainable)
    assert (list(ready), failed) == (["a", "b", "c"], {})
    assert contents(folder) == before
    changed = {name for name, at in times.items() if (folder / name).stat().st_mtime_ns != at}
    assert changed == {"b.image.npy", "b.labels.npy", "b.foreground.npy"}
    message = "1 prepared cases are damaged in the cache, and prepared again: b"
    assert (message in capsys.readouterr().err) == (file != "b.json")


def test_an_entry_is_compared_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = three(tmp_path)
    prepare_cases(dataset, tiny_plan(), dataset.manifest.trainable)
    read = []
    crc32_of = module.crc32_of
    monkeypatch.setattr(module, "crc32_of", lambda path: [read.append(path.name), crc32_of(path)][1])
    prepare_cases(dataset, tiny_plan(), dataset.manifest.trainable)
    assert read == []
    os.utime(next((tmp_path / "cache").iterdir()) / "a.image.npy")
    monkeypatch.setattr(module, "_CHECKED", {})  # another process
    for _ in range(2):
        prepare_cases(dataset, tiny_plan(), dataset.manifest.trainable)
    assert sorted(read) == [f"{case}.{kind}.npy" for case in "abc" for kind in ("foreground", "image", "labels")]


def test_threads_read_headers_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = module.CachedCase("a", tmp_path, (True,), (0,))
    reading, most = 0, 0

    def load(*_: object, **__: object) -> object:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        time.sleep(0.02)  # as long as the collector takes that lets another thread into `ast`
        reading -= 1
        return None

    monkeypatch.setattr(module.np, "load", load)
    threads = [Thread(target=lambda: case.image) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_disk_whose_files_cannot_be_mapped_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached, _ = prepare_cases(three(tmp_path), tiny_plan(), Dataset.open(tmp_path).manifest.trainable[:1])
    case = cached["a"]
    mapped, load = case.image, np.load

    def refuse(path: Path, mmap_mode: str | None = None, **options: object) -> object:
        if mmap_mode is not None:
            raise OSError(errno.ENODEV, "No such device", str(path))
        return load(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module.np, "load", refuse)
    assert not isinstance(case.image, np.memmap)
    assert np.array_equal(case.image, mapped)


def test_a_permuted_grid_holds_the_same_voxels(tmp_path: Path) -> None:
    image, labels, affine = with_air_and_metal()
    plan = tiny_plan({**FLAT, "grid.axes": ["A", "S", "R"], "grid.spacing_mm": [1, 1, 9]})
    dataset = write_dataset(tmp_path, {"a": (image[::-1], labels[::-1], affine @ np.diag([-1, 1, 1, 1]))})
    case = prepare_cases(dataset, plan, dataset.manifest.trainable)[0]["a"]
    assert case.image.shape == (1, 10, 8, 12)  # slices across R are never mixed, whatever their thickness
    np.testing.assert_allclose(case.image[0], (image.transpose(1, 2, 0).clip(-100, 300) - 100) / 50, atol=2e-3)
    assert np.array_equal(case.labels > 0, labels.transpose(1, 2, 0) > 0)


def test_image_and_labels_are_resampled_to_the_same_grid(tmp_path: Path) -> None:
    plan = tiny_plan({"grid.spacing_mm": [2, 1, 0.5]})
    dataset = write_dataset(tmp_path, {"a": two_boxes((12, 10, 8))})
    case = prepare_cases(dataset, plan, dataset.manifest.trainable)[0]["a"]
    assert case.image.shape == (1, 6, 10, 16)
    assert case.labels.shape == (6, 10, 16)
    image = np.asarray(case.image[0], dtype=float)
    assert image[case.labels == 2].mean() > 1  # 2 in the box, −2 outside, the border blurred
    assert image[case.labels == 0].mean() < -1


def test_overlapping_structures_stay_apart(tmp_path: Path) -> None:
    image, labels, affine = two_boxes()
    both = np.stack([labels > 0, labels == 5]).astype(np.uint8)
    dataset = write_dataset(tmp_path, {"a": (image, both, affine)}, overlapping=True)
    plan = tiny_plan({"overlapping": True})
    case = prepare_cases(dataset, plan, dataset.manifest.trainable)[0]["a"]
    assert np.array_equal(case.labels, both)
    assert np.count_nonzero(case.foreground[:, 0] == 0) == both[0].sum()
    # A plan that lists them the other way round gets them the other way round.
    swapped = tiny_plan({"overlapping": True, "structures": plan_data()["structures"][::-1]})
    assert np.array_equal(prepare_labels(dataset.load_segmentation(dataset.case("a")), swapped), both[::-1])


def test_structures_are_told_by_name_and_those_left_out_are_background() -> None:
    structures = make_structures(["femur", "skin", "tibia"], [3, 9, 5])
    labels = np.array([3, 9, 5, 0], dtype=np.uint8).reshape(4, 1, 1)
    segmentation = Segmentation(labels, Geometry((4, 1, 1), np.eye(4)), structures)
    plan = tiny_plan({"structures.0.value": 77})
    assert prepare_labels(segmentation, plan).ravel().tolist() == [1, 0, 2, 0]
    both = Segmentation(
        (np.array([3, 9, 5])[:, None, None, None] == labels).astype(np.uint8), segmentation.geometry, structures
    )
    multi = prepare_labels(both, tiny_plan({"overlapping": True}))
    assert multi[:, :, 0, 0].tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]
    with pytest.raises(PlanError, match="structures: the dataset has no femur_left"):
        prepare_labels(segmentation, tiny_plan({"structures": SIDES}))
    with pytest.raises(PlanError, match="overlapping"):
        prepare_labels(both, tiny_plan())


def test_mr_is_normalised_by_its_own_mean_and_sd() -> None:
    plan = tiny_plan({"intensities.0": {"channel": "ct"}})
    image = np.random.default_rng(0).normal(900, 40, (1, 6, 6, 6))
    made = prepare_image(Volume(image, Geometry((6, 6, 6), np.eye(4))), plan)
    assert made.mean() == pytest.approx(0, abs=1e-5)
    assert made.std() == pytest.approx(1, abs=1e-5)
    flat = normalise(np.full((3, 3, 3), 5, dtype=np.float32), plan.intensities[0])
    assert np.array_equal(flat, np.zeros((3, 3, 3)))


def test_oblique_scans_keep_their_extent() -> None:
    c, s = np.cos(0.4), np.sin(0.4)
    affine = np.array([[0, -2 * c, s, 5], [0, 2 * s, c, 6], [-1.5, 0, 0, 7], [0, 0, 0, 1.0]])
    geometry = Geometry((10, 12, 14), affine)
    transform = grid_strategy(tiny_plan()).transform(geometry)
    assert transform.reoriented.shape == (12, 14, 10)
    assert transform.shape == (24, 14, 15)
    image = np.random.default_rng(0).normal(100, 200, size=(1, 10, 12, 14))
    expected = resample_image(image[:, ::-1, ::-1].transpose(0, 2, 3, 1), transform.shape)
    np.testing.assert_allclose(
        prepare_image(Volume(image, geometry), tiny_plan())[0], (expected[0].clip(-100, 300) - 100) / 50, atol=1e-5
    )


def test_the_foreground_keeps_some_voxels_of_each_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreground, "FOREGROUND_SAMPLES", 20)
    labels = box((8, 8, 8), (1, (slice(0, 4),)), (3, (slice(7, 8), slice(0, 1), slice(0, 3))))
    index = foreground_index(labels, range(3))
    assert np.bincount(index[:, 0], minlength=3).tolist() == [20, 0, 3]
    assert len(np.unique(index, axis=0)) == 23
    assert (labels[tuple(index[:, 1:].T)] == index[:, 0] + 1).all()
    assert np.array_equal(index, foreground_index(labels, range(3)))


def test_a_second_run_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, plan = three(tmp_path), tiny_plan()
    before = prepare_cases(dataset, plan, dataset.manifest.trainable)[0]

    def never(work: object) -> None:
        raise AssertionError(work)

    monkeypatch.setattr(module, "_prepare_case", never)
    assert prepare_cases(dataset, plan, dataset.manifest.trainable)[0] == before


def test_two_trainings_prepare_each_case_once_and_both_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, plan = three(tmp_path), tiny_plan()
    written: list[str] = []
    write = module._write_case

    def slowly(dataset: Dataset, plan: Plan, case: Case, folder: Path) -> None:
        written.append(case.id)
        time.sleep(0.1)
        write(dataset, plan, case, folder)

    monkeypatch.setattr(module, "_write_case", slowly)
    found: list[tuple[object, object]] = []
    threads = [
        Thread(target=lambda: found.append(prepare_cases(dataset, plan, dataset.manifest.trainable))) for _ in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(written) == sorted(case.id for case in dataset.manifest.trainable)
    (ready, failed), other = found
    assert (ready, failed) == other
    assert len(ready) == len(written)  # type: ignore[arg-type]
    assert failed == {}
    assert not list((tmp_path / "cache").rglob(".*.lock"))


@pytest.mark.parametrize("harm", ["marker gone", "marker damaged", "array gone", "label corrected"])
def test_an_incomplete_or_outdated_case_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    dataset, plan = three(tmp_path), tiny_plan()
    folder = tmp_path / "cache" / plan.cache_key
    prepare_cases(dataset, plan, dataset.manifest.trainable)
    before = contents(folder)
    if harm == "marker gone":
        (folder / "b.json").unlink()
    elif harm == "marker damaged":
        (folder / "b.json").write_text('{"key"')
    elif harm == "array gone":
        (folder / "b.labels.npy").unlink()
    else:
        image, labels, affine = two_boxes(seed=1)
        write_dataset(tmp_path / "new", {"b": (image, np.where(labels == 5, 3, labels).astype(np.uint8), affine)})
        (tmp_path / "new/labels/b.nii.gz").replace(tmp_path / "labels/b.nii.gz")
    done = []
    plain = module._prepare_case
    monkeypatch.setattr(module, "_prepare_case", lambda work: done.append(work[2].id) or plain(work))
    ready, failed = prepare_cases(dataset, plan, dataset.manifest.trainable)
    assert (list(ready), failed, done) == (list(NAMES), {}, ["b"])
    if harm == "label corrected":
        assert ready["b"].present == (0,)
        assert not (ready["b"].labels == 2).any()
    else:
        assert contents(folder) == before


def unnamed(folder: Path) -> Dataset:
    """Three cases whose label files say no names, so that dataset.yaml alone says what 3 and 5 mean."""
    dataset = three(folder)
    for case in dataset.manifest.cases:
        labels = dataset.load_segmentation(case)
        write_volume(dataset.resolve(case.segmentation or ""), Volume(labels.array[None], labels.geometry))
    return dataset


def test_when_two_structures_swap_their_values_the_labels_are_prepared_anew(tmp_path: Path) -> None:
    dataset, plan = unnamed(tmp_path), tiny_plan()
    before = np.array(prepare_cases(dataset, plan, dataset.manifest.trainable)[0]["a"].labels)
    swapped = [s.model_copy(update={"value": 8 - s.value}) for s in dataset.structures]
    write_manifest(tmp_path, dataset.manifest.model_copy(update={"structures": swapped}))
    dataset = Dataset.open(tmp_path)
    after = prepare_cases(dataset, plan, dataset.manifest.trainable)[0]["a"].labels
    assert np.array_equal(after, np.select([before == 1, before == 2], [2, 1]))


def test_when_a_dataset_becomes_overlapping_its_cases_are_read_again(tmp_path: Path) -> None:
    dataset, plan = unnamed(tmp_path), tiny_plan()
    prepare_cases(dataset, plan, dataset.manifest.trainable)
    write_manifest(tmp_path, dataset.manifest.model_copy(update={"overlapping": True}))
    dataset = Dataset.open(tmp_path)
    ready, failed = prepare_cases(dataset, plan, dataset.manifest.trainable)
    assert ready == {}
    assert all("overlapping: False in the plan, True in the dataset" in error.message for error in failed.values())


def test_while_arrays_change_a_case_is_not_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, plan = three(tmp_path), tiny_plan()
    prepare_cases(dataset, plan, dataset.manifest.trainable)
    marker = tmp_path / "cache" / plan.cache_key / "a.json"
    old = marker.read_text()
    marker.write_text(json.dumps({**json.loads(old), "mark": {"meaning": "outdated", "files": {}}}))
    seen = []
    plain = module.atomic_write
    monkeypatch.setattr(module, "atomic_write", lambda path: seen.append(marker.exists()) or plain(path))
    prepare_cases(dataset, plan, dataset.manifest.trainable)
    assert seen == [False, False, False]
    assert marker.read_text() == old


def test_a_label_that_was_corrected_is_prepared_anew_also_where_size_and_time_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, label = unpack_label(three(tmp_path), "b")
    plan = tiny_plan()
    prepare_cases(dataset, plan, dataset.manifest.trainable)
    before = dataset.load_segmentation(dataset.case("b")).array
    correct_in_place(label, np.where(before == 3, 5, np.where(before == 5, 3, 0)))
    capsys.readouterr()
    ready, failed = prepare_cases(dataset, plan, dataset.manifest.trainable)
    assert failed == {}
    assert np.array_equal(ready["b"].labels, np.select([before == 5, before == 3], [1, 2]))
    assert "prepared again, since the files have changed: b (labels/b.nii)" in capsys.readouterr().err
    prepare_cases(dataset, plan, dataset.manifest.trainable)
    assert "anew" not in capsys.readouterr().err


def test_files_that_were_only_touched_are_not_prepared_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, plan = three(tmp_path), tiny_plan()
    prepare_cases(dataset, plan, dataset.manifest.trainable)
    os.utime(tmp_path / "labels/a.nii.gz", ns=(1, 1))
    monkeypatch.setattr(module, "_prepare_case", lambda work: pytest.fail(f"{work[2].id} is prepared again"))
    prepare_cases(dataset, plan, dataset.manifest.trainable)
    monkeypatch.setattr(file_stamps, "_digest", lambda path: pytest.fail(f"{path} is read again"))
    prepare_cases(dataset, plan, dataset.manifest.trainable)  # the new time has been noted


def test_an_image_that_was_replaced_after_the_import_is_left_out(tmp_path: Path) -> None:
    dataset = add_hashes(three(tmp_path))
    plan = tiny_plan()
    assert prepare_cases(dataset, plan, dataset.manifest.trainable)[1] == {}
    shutil.copyfile(tmp_path / "images/c.nii.gz", tmp_path / "images/a.nii.gz")
    ready, failed = prepare_cases(dataset, plan, dataset.manifest.trainable)
    assert list(ready) == ["b", "c"]
    assert "a.nii.gz: is not the image that was imported" in failed["a"].message


def test_a_case_that_has_no_hash_gets_one_in_the_cache(tmp_path: Path) -> None:
    dataset = three(tmp_path)
    ready, _ = prepare_cases(dataset, tiny_plan(), dataset.manifest.trainable)
    imported = add_hashes(dataset)
    assert [case.content for case in ready.values()] == [case.content for case in imported.manifest.cases]
    assert ready["a"].structures == ("femur", "tibia")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_case_is_named_and_the_others_go_on(tmp_path: Path, workers: int) -> None:
    dataset = three(tmp_path)
    (tmp_path / "images/b.nii.gz").write_bytes(b"\x1f\x8b nothing")
    ready, failed = prepare_cases(dataset, tiny_plan(), dataset.manifest.trainable, workers=workers)
    assert list(ready) == ["a", "c"]
    assert list(failed) == ["b"]
    assert "b.nii.gz" in str(failed["b"])


def test_workers_make_the_same_bytes(tmp_path: Path) -> None:
    plan = tiny_plan({"grid.spacing_mm": [1.5, 0.8, 1]})
    one, two = three(tmp_path / "one"), three(tmp_path / "two")
    prepare_cases(one, plan, one.manifest.trainable)
    prepare_cases(two, plan, two.manifest.trainable, workers=2)
    place = Path("cache") / plan.cache_key
    assert contents(one.folder / place) == contents(two.folder / place)


def test_what_is_annotated_is_read_from_the_manifest_each_time(tmp_path: Path) -> None:
    dataset, plan = three(tmp_path), tiny_plan()
    prepare_cases(dataset, plan, dataset.manifest.trainable)
    changed = [case.model_copy(update={"annotated": ["femur"]}) for case in dataset.manifest.cases]
    write_manifest(tmp_path, dataset.manifest.model_copy(update={"cases": changed}))
    dataset = Dataset.open(tmp_path)
    assert prepare_cases(dataset, plan, dataset.manifest.trainable)[0]["a"].annotated == (True, False)


PREPARE = """
import sys, time
from pathlib import Path
from osteon.dataset.dataset import Dataset
from osteon.plan.schema import read_plan
from osteon.preparing import cache
plain = cache.np.save
def slowly(path, array, **more):
    plain(path, array, **more)
    time.sleep(0.3)  # so that the signal finds a case half written
cache.np.save = slowly
dataset = Dataset.open(Path(sys.argv[1]))
cache.prepare_cases(dataset, read_plan(Path(sys.argv[1]) / "plan.yaml"), dataset.manifest.trainable, workers=1)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_killed_in_the_middle_it_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    plan: Plan = parse_plan(plan_data({"grid.spacing_mm": [1.5, 0.8, 1]}), Path("plan.yaml"))
    place = Path("cache") / plan.cache_key
    for name in ("whole", "killed"):
        three(tmp_path / name)
        write_plan(tmp_path / name / "plan.yaml", plan)
    whole = Dataset.open(tmp_path / "whole")
    prepare_cases(whole, plan, whole.manifest.trainable)

    process = subprocess.Popen([sys.executable, "-c", PREPARE, str(tmp_path / "killed")], cwd=tmp_path)
    folder = tmp_path / "killed" / place
    deadline = time.monotonic() + 60
    while not (folder / "a.json").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.4)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    markers = {p.name for p in folder.glob("*.json")}
    assert "a.json" in markers
    assert "c.json" not in markers

    killed = Dataset.open(tmp_path / "killed")
    ready, failed = prepare_cases(killed, plan, killed.manifest.trainable)
    assert (list(ready), failed) == (list(NAMES), {})
    finished = {name: digest for name, digest in contents(folder).items() if not name.startswith(".part-")}
    assert finished == contents(whole.folder / place)


def slices_plan(*drop: int | None) -> Plan:
    return tiny_plan({**FLAT, **({"grid.drop_slices": list(drop)} if drop else {})})


def test_a_slice_of_a_2d_plan_lies_in_one_piece(tmp_path: Path) -> None:
    dataset = three(tmp_path)
    plan = slices_plan()
    case = prepare_cases(dataset, plan, dataset.manifest.trainable)[0]["a"]
    for array in (case.image, case.labels):
        assert array[..., 3].flags.f_contiguous
        assert not array[..., 3].flags.c_contiguous
    whole = prepare_image(dataset.load_image(dataset.case("a")), plan)
    np.testing.assert_array_equal(case.image, whole.astype(np.float16))


def test_nothing_is_drawn_from_dropped_slices(tmp_path: Path) -> None:
    dataset = three(tmp_path)
    whole, cut = (
        prepare_cases(dataset, p, dataset.manifest.trainable)[0]["a"] for p in (slices_plan(), slices_plan(0, 5))
    )
    assert whole.folder != cut.folder
    np.testing.assert_array_equal(cut.image, whole.image)  # validation sees all of it
    np.testing.assert_array_equal(cut.foreground, whole.foreground[whole.foreground[:, 3] >= 5])
    assert whole.foreground[:, 3].min() < 5


def test_a_scan_without_a_slice_left_is_named(tmp_path: Path) -> None:
    dataset = three(tmp_path)
    ready, failed = prepare_cases(dataset, slices_plan(None, None), dataset.manifest.trainable)
    assert ready == {}
    assert "case a: grid.drop_slices leaves none of its" in str(failed["a"])
