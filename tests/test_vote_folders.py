"""Votes over folders of label maps: names, grids, missing files, and what is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK

import osteon
from helpers import box, spacing_affine, write_dataset
from osteon.core.errors import UsageError
from osteon.core.geometry import AxisPermutation, Geometry
from osteon.core.labels import Segmentation, Structure, make_structures
from osteon.core.locks import lock_folder
from osteon.core.volume import Volume
from osteon.formats import read_segmentation, write_segmentation, write_volume
from osteon.voting.label_maps import open_label_maps
from osteon.voting.members import open_folder
from osteon.voting.rules import VoteRules
from runs import command

SHAPE = (9, 8, 7)
GRID = Geometry(SHAPE, spacing_affine(1, 1.5, 2, origin=(-5, 7, 30)))
BONES = make_structures(["femur", "tibia"], [3, 5])
Labels = npt.NDArray[np.integer[Any]]
Captured = pytest.CaptureFixture[str]


def labels(seed: int) -> Labels:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 3, 2)
    return box(SHAPE, (3, (slice(a, a + 4), slice(1, 6), slice(1, 5))), (5, (slice(a + 4, 9), slice(b, b + 4))))


def put(path: Path, array: Labels, structures: Sequence[Structure] = BONES, geometry: Geometry = GRID) -> Path:
    write_segmentation(path, Segmentation(array, geometry, tuple(structures)))
    return path


def members(folder: Path, count: int = 3, cases: int = 2) -> list[Path]:
    for member in range(count):
        for case in range(cases):
            put(folder / f"m{member}/c{case}.nii.gz", labels(10 * member + case))
    return [folder / f"m{member}" for member in range(count)]


def by_hand(votes: Sequence[Labels], least: int) -> Labels:
    """Voxel by voxel: the structure with the most votes; of equal ones that of the earliest member."""
    made = np.zeros(SHAPE, dtype=np.uint8)
    for place in np.ndindex(SHAPE):
        member_values = [int(one[place]) for one in votes]
        counts = {v: member_values.count(v) for v in member_values if v and member_values.count(v) >= least}
        made[place] = next((v for v in member_values if counts.get(v) == max(counts.values(), default=0)), 0)
    return made


def vote(paths: Sequence[Path], out: Path, **options: Any) -> Any:
    return osteon.vote(paths, out, **options)


# What is decided


@pytest.mark.parametrize("least", [1, 2, 3])
def test_index_maps_are_counted_voxel_by_voxel(tmp_path: Path, least: int) -> None:
    paths, out = members(tmp_path), tmp_path / "out"
    report = vote(paths, out, threshold=least)
    for case in range(2):
        made = read_segmentation(out / f"c{case}.nii.gz")
        expected = by_hand([labels(10 * m + case) for m in range(3)], least)
        np.testing.assert_array_equal(made.array, expected)
        assert made.geometry.is_close(GRID)
        assert [(s.name, s.value, s.colour) for s in made.structures] == [(s.name, s.value, s.colour) for s in BONES]
    assert set(np.unique(expected)) == {0, 3, 5} or least == 3
    assert list(report.cases) == ["c0", "c1"]
    assert report.cases["c0"].voters == {"femur": 3, "tibia": 3}


def test_two_members_that_disagree_the_first_decides(tmp_path: Path) -> None:
    paths = [tmp_path / "m0", tmp_path / "m1"]
    everything = tuple(slice(None) for _ in range(3))
    for path, value in zip(paths, (5, 3), strict=True):
        put(path / "c.nii.gz", box(SHAPE, (value, everything)))
    vote(paths, tmp_path / "a", threshold=1)
    assert (read_segmentation(tmp_path / "a/c.nii.gz").array == 5).all()
    vote(paths[::-1], tmp_path / "b", threshold=1)
    assert (read_segmentation(tmp_path / "b/c.nii.gz").array == 3).all()
    vote(paths, tmp_path / "c")  # one of two is not more than half
    assert not read_segmentation(tmp_path / "c/c.nii.gz").array.any()


def test_overlapping_structures_are_voted_on_each_by_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    votes = rng.integers(0, 2, (3, 2, *SHAPE)).astype(np.uint8)
    paths = [tmp_path / f"m{n}" for n in range(3)]
    for path, layers in zip(paths, votes, strict=True):
        put(path / "c.seg.nrrd", layers)
    vote(paths, tmp_path / "out")
    made = read_segmentation(tmp_path / "out/c.seg.nrrd")
    np.testing.assert_array_equal(made.array, votes.sum(axis=0) >= 2)
    assert made.overlapping
    assert [s.name for s in made.structures] == ["femur", "tibia"]


def test_staple_of_label_maps_is_itks_for_each_structure(tmp_path: Path) -> None:
    paths = members(tmp_path, 4, 1)
    report = vote(paths, tmp_path / "out", method="staple")
    made = read_segmentation(tmp_path / "out/c0.nii.gz")
    votes = [labels(10 * m) for m in range(4)]
    probabilities = []
    for structure in BONES:
        staple = SimpleITK.STAPLEImageFilter()
        images = [SimpleITK.GetImageFromArray((one == structure.value).astype(np.uint8)) for one in votes]
        probabilities.append(SimpleITK.GetArrayFromImage(staple.Execute(images)))
        estimates = report.cases["c0"].estimates[structure.name]
        np.testing.assert_allclose(estimates["sensitivity"], staple.GetSensitivity(), atol=1e-4)
        np.testing.assert_allclose(estimates["specificity"], staple.GetSpecificity(), atol=1e-4)
    best = np.array(probabilities)
    expected = np.where(best.max(axis=0) >= 0.5, np.array([3, 5])[best.argmax(axis=0)], 0)
    clear = (abs(best - 0.5) > 1e-3).all(axis=0) & (abs(best[0] - best[1]) > 1e-3)
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(made.array[clear], expected[clear])


# Names


def test_structures_are_matched_by_name_and_never_by_value(tmp_path: Path) -> None:
    paths = [tmp_path / f"m{n}" for n in range(3)]
    swapped = make_structures(["tibia", "femur"], [3, 5])
    votes = [labels(n) for n in range(3)]
    put(paths[0] / "c.nii.gz", votes[0])
    put(paths[1] / "c.nii.gz", np.array([0, 0, 0, 5, 0, 3], np.uint8)[votes[1]], swapped)
    put(paths[2] / "c.seg.nrrd", np.array([0, 0, 0, 1, 0, 2], np.uint8)[votes[2]], make_structures(["femur", "tibia"]))
    vote(paths, tmp_path / "out")
    np.testing.assert_array_equal(read_segmentation(tmp_path / "out/c.nii.gz").array, by_hand(votes, 2))


def test_a_name_that_one_member_alone_has_is_told_and_left_out(tmp_path: Path, capsys: Captured) -> None:
    paths = members(tmp_path)
    for case in range(2):
        put(paths[2] / f"c{case}.nii.gz", labels(20 + case), make_structures(["femur", "shin"], [3, 5]))
    assert command("vote", *paths, tmp_path / "out") == 1
    output = capsys.readouterr().err
    assert f"{paths[2]}/c0.nii.gz: holds shin in " in output
    assert "which no other member and no dataset knows (and 1 more like it)" in output
    assert f"{paths[2]} does not vote on 1 structure, in cases: tibia in 2" in output
    made = read_segmentation(tmp_path / "out/c0.nii.gz")
    assert [s.name for s in made.structures] == ["femur", "tibia"]
    votes = [labels(10 * m) for m in range(3)]
    tibia = (votes[0] == 5) & (votes[1] == 5)  # the majority of the two that vote on it
    np.testing.assert_array_equal(made.array == 5, tibia)


def test_a_value_that_is_taken_is_replaced_by_the_next_free_one(tmp_path: Path) -> None:
    paths = [tmp_path / f"m{n}" for n in range(2)]
    hip = make_structures(["hip"], [3])
    for path in paths:
        put(path / "a.nii.gz", labels(0))
        put(path / "b.nii.gz", np.where(labels(0) == 3, 3, 0).astype(np.uint8), hip)
    vote(paths, tmp_path / "out")
    made = read_segmentation(tmp_path / "out/b.nii.gz")
    assert {s.name: s.value for s in made.structures} == {"femur": 3, "tibia": 5, "hip": 4}
    np.testing.assert_array_equal(made.array == 4, labels(0) == 3)


def plain(path: Path, array: Labels) -> None:
    """A label map without names, as nnU-Net writes it."""
    write_volume(path, Volume(array[None], GRID))


def test_files_without_names_are_matched_by_what_the_dataset_says(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(0, 1, SHAPE).astype(np.float32)
    dataset = write_dataset(tmp_path / "set", {"c": (image, labels(0), GRID.affine_ras)})
    paths = [tmp_path / f"m{n}" for n in range(3)]
    votes = [labels(n) for n in range(3)]
    put(paths[0] / "c.nii.gz", votes[0])
    plain(paths[1] / "c.nii.gz", votes[1])
    plain(paths[2] / "c.nii", votes[2])
    report = vote(paths, tmp_path / "out", dataset=dataset.folder)
    assert not report.all_problems
    np.testing.assert_array_equal(read_segmentation(tmp_path / "out/c.nii.gz").array, by_hand(votes, 2))
    report = vote(paths, tmp_path / "without")
    assert sorted(one.structure for one in report.all_problems if one.structure) == ["femur", "tibia"]
    assert "no other member" in report.all_problems[0].what
    nameless = vote(paths[1:], tmp_path / "nameless", threshold=1)
    assert not nameless.all_problems
    np.testing.assert_array_equal(read_segmentation(tmp_path / "nameless/c.nii.gz").array, by_hand(votes[1:], 1))


def test_a_file_without_names_says_no_to_what_it_does_not_hold(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(0, 1, SHAPE).astype(np.float32)
    dataset = write_dataset(tmp_path / "set", {"c": (image, labels(0), GRID.affine_ras)})
    paths = [tmp_path / f"m{n}" for n in range(3)]
    femur = np.where(labels(0) == 3, 3, 0).astype(np.uint8)
    for path, votes in zip(paths, (labels(0), femur, femur), strict=True):
        plain(path / "c.nii.gz", votes)
    report = vote(paths, tmp_path / "out", dataset=dataset.folder)
    assert report.cases["c"].voters == {"femur": 3, "tibia": 3}
    np.testing.assert_array_equal(read_segmentation(tmp_path / "out/c.nii.gz").array, femur)


# Grids

TURNS = [AxisPermutation((1, 0, 2), (False, True, False)), AxisPermutation((2, 0, 1), (True, True, False))]


@pytest.mark.parametrize("turn", TURNS)
def test_files_that_are_turned_are_turned_back(tmp_path: Path, turn: AxisPermutation) -> None:
    paths = members(tmp_path, cases=1)
    votes = [labels(10 * m) for m in range(3)]
    turned = np.ascontiguousarray(turn.apply(votes[1]))
    put(paths[1] / "c0.nii.gz", turned.astype(np.uint8), geometry=turn.geometry(GRID))
    vote(paths, tmp_path / "out")
    made = read_segmentation(tmp_path / "out/c0.nii.gz")
    assert made.geometry.is_close(GRID)
    np.testing.assert_array_equal(made.array, by_hand(votes, 2))


def test_another_grid_fails_that_case_and_shows_both(tmp_path: Path, capsys: Captured) -> None:
    paths = members(tmp_path)
    moved = Geometry(SHAPE, spacing_affine(1, 1.5, 2, origin=(-5, 7, 33)))
    put(paths[1] / "c0.nii.gz", labels(10), geometry=moved)
    assert command("vote", *paths, tmp_path / "out") == 1
    output = capsys.readouterr().err
    assert "1 case could not be voted on" in output
    assert f"{paths[1]}/c0.nii.gz does not lie on the grid of {paths[0]}/c0.nii.gz" in output
    assert "position of the first voxel 3.00 mm apart" in output
    assert GRID.describe() in output
    assert moved.describe() in output
    assert "predict with every member on the very same scan" in output
    assert [path.name for path in sorted((tmp_path / "out").glob("*.nii.gz"))] == ["c1.nii.gz"]
    record = json.loads((tmp_path / "out/votes.json").read_text())
    assert list(record["cases"]) == ["c1"]
    assert list(record["failed"]) == ["c0"]


def test_the_datasets_image_says_whose_grid_is_wrong(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(0, 1, SHAPE).astype(np.float32)
    dataset = write_dataset(tmp_path / "set", {"c0": (image, labels(0), GRID.affine_ras)})
    paths = members(tmp_path)
    put(paths[0] / "c0.nii.gz", labels(0), geometry=Geometry(SHAPE, spacing_affine(1, 1.5, 2)))
    report = vote(paths, tmp_path / "out", dataset=dataset.folder)
    assert f"{paths[0]}/c0.nii.gz does not lie on the grid of {dataset.folder}/images/c0.nii.gz" in str(
        report.failed["c0"]
    )
    assert list(report.cases) == ["c1"]  # the dataset does not have it; its members agree


# Files that are missing or broken


def test_a_member_without_a_case_does_not_vote_there(tmp_path: Path, capsys: Captured) -> None:
    paths = members(tmp_path)
    (paths[2] / "c1.nii.gz").unlink()
    put(paths[0] / "extra.nii.gz", labels(0))
    assert command("vote", *paths, tmp_path / "out") == 0
    output = capsys.readouterr().err
    assert f"{paths[2]} has nothing of 2 cases: c1, extra" in output
    assert f"{paths[1]} has nothing of 1 case: extra" in output
    votes = [labels(1), labels(11)]
    np.testing.assert_array_equal(read_segmentation(tmp_path / "out/c1.nii.gz").array, by_hand(votes, 2))
    np.testing.assert_array_equal(read_segmentation(tmp_path / "out/extra.nii.gz").array, labels(0))
    record = json.loads((tmp_path / "out/votes.json").read_text())
    assert record["cases"]["c1"]["voters"] == {"femur": 2, "tibia": 2}
    assert record["cases"]["extra"]["voters"] == {"femur": 1, "tibia": 1}


def test_a_broken_file_is_told_and_the_others_vote(tmp_path: Path, capsys: Captured) -> None:
    paths = members(tmp_path, cases=3)
    whole = (paths[1] / "c0.nii.gz").read_bytes()
    (paths[1] / "c0.nii.gz").write_bytes(whole[: len(whole) - 20])
    shutil.copy(paths[1] / "c1.nii.gz", paths[1] / "c1.seg.nrrd")
    for path in paths:
        (path / "c2.nii.gz").write_bytes(b"nothing")
    (paths[0] / ".part-1-c0.nii.gz").write_bytes(b"half")
    (paths[0] / "overview.png").write_bytes(b"picture")
    assert command("vote", *paths, tmp_path / "out") == 1
    output = capsys.readouterr().err
    assert f"{paths[1]}/c0.nii.gz: truncated or damaged" in output
    assert f"c1: is in {paths[1]} twice, as c1.nii.gz and c1.seg.nrrd" in output
    assert "c2: c2: no member's file can be used" in output
    for case in range(2):
        votes = [labels(case), labels(20 + case)]
        np.testing.assert_array_equal(read_segmentation(tmp_path / f"out/c{case}.nii.gz").array, by_hand(votes, 2))


def test_a_folder_without_label_maps_is_refused(tmp_path: Path) -> None:
    paths = members(tmp_path, 2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"empty: holds no file that ends in \.nii\.gz"):
        vote([*paths, tmp_path / "empty"], tmp_path / "out")
    with pytest.raises(UsageError, match="folders vote for a folder"):
        vote(paths, tmp_path / "out.csv")
    with pytest.raises(UsageError, match="--image-size is for tables"):
        vote(paths, tmp_path / "out", image_size=(3, 4))


# Done, and other people's files


def test_what_is_done_is_skipped_and_what_has_changed_is_done_again(tmp_path: Path, capsys: Captured) -> None:
    paths, out = members(tmp_path), tmp_path / "out"
    assert command("vote", *paths, out) == 0
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")}
    put(paths[0] / "c1.nii.gz", labels(99))
    capsys.readouterr()
    assert command("vote", *paths, out) == 0
    assert "2 cases, 2 structures, 3 members, 1 were done already" in capsys.readouterr().out
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")}
    assert after["c0.nii.gz"] == before["c0.nii.gz"]
    assert after["c1.nii.gz"] != before["c1.nii.gz"]
    votes = [labels(99), labels(11), labels(21)]
    np.testing.assert_array_equal(read_segmentation(out / "c1.nii.gz").array, by_hand(votes, 2))
    assert len(vote(paths, out, threshold=1).skipped) == 0
    assert len(vote(paths, out, threshold=1).skipped) == 2
    assert len(vote(paths, out, threshold=1, overwrite=True).skipped) == 0


def test_a_folder_that_another_vote_works_in_is_refused(tmp_path: Path, capsys: Captured) -> None:
    paths, out = members(tmp_path), tmp_path / "out"
    with lock_folder(out, "x", "y"):
        assert command("vote", *paths, out) == 2
    assert "another vote works in it" in capsys.readouterr().err
    assert command("vote", *paths, out) == 0


def test_what_was_wrong_is_told_again_when_it_is_skipped(tmp_path: Path) -> None:
    paths, out = members(tmp_path), tmp_path / "out"
    (paths[1] / "c0.nii.gz").write_bytes(b"nothing")
    (paths[2] / "c1.nii.gz").unlink()
    first, second = vote(paths, out), vote(paths, out)
    assert second.skipped == ["c0", "c1"]
    assert second.all_problems == first.all_problems
    assert second.absences == first.absences
    assert len(first.all_problems) == 1


def test_a_forgotten_output_replaces_no_members_file(tmp_path: Path, capsys: Captured) -> None:
    paths = members(tmp_path)
    before = (paths[2] / "c0.nii.gz").read_bytes()
    assert command("vote", *paths) == 2
    assert "is there already" in capsys.readouterr().err
    assert (paths[2] / "c0.nii.gz").read_bytes() == before
    assert not (paths[2] / "votes.json").exists()


def test_a_killed_vote_leaves_no_older_result_beside_a_new_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, out = members(tmp_path, cases=1), tmp_path / "out"
    vote(paths, out)
    put(paths[0] / "c0.nii.gz", labels(99))
    replace = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if Path(target).name == "c0.nii.gz":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        vote(paths, out)
    monkeypatch.undo()
    assert not vote(paths, out).skipped
    votes = [labels(99), labels(10), labels(20)]
    np.testing.assert_array_equal(read_segmentation(out / "c0.nii.gz").array, by_hand(votes, 2))


def test_no_more_than_one_members_map_is_held(tmp_path: Path) -> None:
    """Memory does not grow with the members by what their maps take."""
    import tracemalloc

    shape = (16, 256, 256)
    geometry = Geometry(shape, np.eye(4))
    peaks = []
    for count in (2, 12):
        paths = [tmp_path / f"{count}/m{n}" for n in range(count)]
        for number, path in enumerate(paths):
            where = (slice(2, 14), slice(50 + number, 150), slice(40, 200 - number))
            put(path / "c.nii.gz", box(shape, (3, where)), geometry=geometry)
        maps = open_label_maps([open_folder(path) for path in paths], VoteRules())
        tracemalloc.start()
        maps.vote("c")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2 * np.prod(shape)  # ten maps more
