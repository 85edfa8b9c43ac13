"""Probabilities kept by predicting, and votes over them."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import osteon
from helpers import FLAT, spacing_affine, two_boxes
from osteon.core.errors import FileError, UsageError
from osteon.core.geometry import AxisPermutation, Geometry
from osteon.core.labels import Structure, make_structures
from osteon.core.volume import Volume
from osteon.formats import read_segmentation, write_volume
from osteon.formats.probabilities import LEVELS, make_header, read_probabilities, write_probabilities
from osteon.predicting.model_folder import load_model
from osteon.predicting.predictor import predict
from osteon.predicting.records import RECORD
from osteon.predicting.scans import find_scans
from osteon.predicting.stages import PredictOptions
from osteon.runs.fit import train
from osteon.voting.members import open_folder
from osteon.voting.rules import VoteRules
from osteon.voting.soft import open_probabilities
from runs import CPU, cohort, command, learning_plan

SHAPE = (5, 4, 3)
GRID = Geometry(SHAPE, spacing_affine(1, 1.5, 2, origin=(-5, 7, 30)))
BONES = make_structures(["femur", "tibia"], [3, 5])
Floats = npt.NDArray[np.floating[Any]]
Captured = pytest.CaptureFixture[str]


def put(
    path: Path,
    probabilities: Floats,
    structures: tuple[Structure, ...] = BONES,
    geometry: Geometry = GRID,
) -> Path:
    """Write `[output, i, j, k]`: with the background where there is one output more than structures."""
    with write_probabilities(path) as writer:
        writer.begin(make_header(structures, geometry, overlapping=len(probabilities) == len(structures)))
        for share in probabilities:
            writer.add(share)
    return path


def softmax(seed: int, outputs: int = 3) -> Floats:
    raw = np.exp(np.random.default_rng(seed).normal(0, 1.5, (outputs, *SHAPE)))
    return np.round(raw / raw.sum(axis=0) * LEVELS) / LEVELS


# The file


@given(hnp.arrays(np.float32, (1, *SHAPE), elements=st.floats(0, 1, width=32)))
def test_a_half_stays_a_half(probabilities: Floats) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = read_probabilities(put(Path(folder) / "c.probabilities.npz", probabilities, BONES[:1]))
        read = found.output(0)
    assert abs(read / LEVELS - probabilities[0]).max() <= 0.5 / LEVELS + 1e-6
    np.testing.assert_array_equal(read / LEVELS > 0.5, probabilities[0] > 0.5)
    assert found.geometry.is_close(GRID)
    assert found.about.structures == BONES[:1]


def test_exactly_a_half_is_not_more_than_a_half(tmp_path: Path) -> None:
    probabilities = np.full((1, *SHAPE), 0.5, dtype=np.float32)
    probabilities[0, 0] = np.nextafter(np.float32(0.5), np.float32(1))
    above = read_probabilities(put(tmp_path / "c.probabilities.npz", probabilities, BONES[:1])).output(0) / LEVELS > 0.5
    assert above[0].all()
    assert not above[1:].any()


def test_numpy_reads_it_too_and_the_same_makes_the_same(tmp_path: Path) -> None:
    path = put(tmp_path / "c.probabilities.npz", softmax(0))
    with np.load(path, allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["2"] / LEVELS, softmax(0)[2])
    assert path.read_bytes() == put(tmp_path / "d.probabilities.npz", softmax(0)).read_bytes()
    found = read_probabilities(path)
    np.testing.assert_array_equal(found.of("tibia"), archive_level(softmax(0)[2]))
    assert found.of("hip") is None


def archive_level(share: Floats) -> npt.NDArray[np.uint8]:
    return np.rint(share * LEVELS).astype(np.uint8)


def test_a_file_is_there_only_when_all_outputs_have_come(tmp_path: Path) -> None:
    put(tmp_path / "few.probabilities.npz", softmax(0)[:1], BONES)
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyError), write_probabilities(tmp_path / "c.probabilities.npz"):
        raise KeyError
    assert not list(tmp_path.iterdir())


def tampered(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**content, **entries}.items():
            archive.writestr(name, data)
    return path


def npy(array: npt.NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    "entries",
    [
        {"about.json": b"{}"},
        {"about.json": b"["},
        {"0.npy": b"short"},
        {"0.npy": npy(np.zeros((5, 4, 4), np.uint8))},
        {"0.npy": npy(np.zeros(SHAPE, np.uint16))},
        {"0.npy": npy(np.asfortranarray(np.zeros(SHAPE, np.uint8)))},
        {"0.npy": npy(np.full(SHAPE, None, dtype=object))},
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, entries: dict[str, bytes]) -> None:
    path = tampered(put(tmp_path / "c.probabilities.npz", softmax(0)), entries)
    with pytest.raises(FileError, match=r"c\.probabilities\.npz: damaged, or no file of probabilities"):
        read_probabilities(path).output(0)


def test_files_that_claim_the_world_are_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "c.probabilities.npz", softmax(0))
    with zipfile.ZipFile(path) as archive:
        about = json.loads(archive.read("about.json"))
    for shape in ([100_000, 100_000, 100_000], [-5, 4, 3], [5, 4]):
        tampered(path, {"about.json": json.dumps({**about, "shape": shape}).encode()})
        with pytest.raises(FileError, match="damaged"):
            read_probabilities(path)
    path.write_bytes(b"PK")
    with pytest.raises(FileError, match="damaged"):
        read_probabilities(path)
    with pytest.raises(FileError, match="does not exist"):
        read_probabilities(tmp_path / "none.probabilities.npz")


# The vote


def soft(paths: list[Path], out: Path, **options: Any) -> Any:
    return osteon.vote(paths, out, method="soft", **options)


def folders(tmp_path: Path, probabilities: list[Floats], **options: Any) -> list[Path]:
    paths = [tmp_path / f"m{n}" for n in range(len(probabilities))]
    for path, own in zip(paths, probabilities, strict=True):
        put(path / "c.probabilities.npz", own, **options)
    return paths


@pytest.mark.parametrize("weights", [None, [1, 2, 5]])
def test_the_mean_of_the_probabilities_decides(tmp_path: Path, weights: list[float] | None) -> None:
    probabilities = [softmax(n) for n in range(3)]
    report = soft(folders(tmp_path, probabilities), tmp_path / "out", weights=weights)
    mean = np.average([np.rint(one * LEVELS) for one in probabilities], axis=0, weights=weights)
    made = read_segmentation(tmp_path / "out/c.nii.gz")
    np.testing.assert_array_equal(made.array, np.array([0, 3, 5])[mean.argmax(axis=0)])
    assert len(np.unique(made.array)) == 3
    assert [s.name for s in made.structures] == ["femur", "tibia"]
    assert report.cases["c"].voters == {"femur": 3, "tibia": 3}


def test_by_hand(tmp_path: Path) -> None:
    geometry = Geometry((3, 1, 1), np.eye(4))
    one = [[120, 60, 100], [60, 120, 104], [75, 75, 51]]  # background, femur, tibia at three voxels
    other = [[135, 42, 104], [93, 84, 100], [27, 129, 51]]
    probabilities = [np.array(levels).reshape(3, 3, 1, 1) / LEVELS for levels in (one, other)]
    soft(folders(tmp_path, probabilities, geometry=geometry), tmp_path / "out")
    # 255 153 102: background; 102 204 204: the first of two structures; 204 204 102: the background before it
    assert read_segmentation(tmp_path / "out/c.nii.gz").array.ravel().tolist() == [0, 3, 0]


def test_overlapping_structures_are_decided_each_by_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    levels = rng.integers(0, LEVELS + 1, (2, 2, *SHAPE))
    levels[:, 0, 0, 0, 0] = (100, 155)  # just a half: not more
    soft(folders(tmp_path, [one / LEVELS for one in levels]), tmp_path / "out")
    made = read_segmentation(tmp_path / "out/c.seg.nrrd")
    np.testing.assert_array_equal(made.array, levels.sum(axis=0) > LEVELS)
    assert not made.array[0, 0, 0, 0]
    assert made.overlapping


def test_a_structure_is_averaged_over_those_who_know_it(tmp_path: Path) -> None:
    geometry = Geometry((1, 1, 1), np.eye(4))
    two = np.array([0.1, 0.1, 0.8]).reshape(3, 1, 1, 1)
    one = np.array([0.7, 0.3]).reshape(2, 1, 1, 1)
    paths = folders(tmp_path, [two, two], geometry=geometry)
    paths.append(tmp_path / "third")
    put(paths[2] / "c.probabilities.npz", one, BONES[:1], geometry)
    report = soft(paths, tmp_path / "out")
    assert read_segmentation(tmp_path / "out/c.nii.gz").array.item() == 5
    assert report.cases["c"].voters == {"femur": 3, "tibia": 2}
    assert [(one.member, one.structure) for one in report.absences] == [(str(paths[2]), "tibia")]


def test_turned_files_are_turned_and_other_grids_refused(tmp_path: Path) -> None:
    probabilities = [softmax(n) for n in range(2)]
    paths = folders(tmp_path, probabilities)
    turn = AxisPermutation((2, 0, 1), (True, False, True))
    turned = np.stack([turn.apply(share) for share in probabilities[1]])
    put(paths[1] / "c.probabilities.npz", turned, geometry=turn.geometry(GRID))
    put(paths[0] / "d.probabilities.npz", probabilities[0])
    put(paths[1] / "d.probabilities.npz", probabilities[1], geometry=Geometry(SHAPE, np.eye(4)))
    report = soft(paths, tmp_path / "out")
    mean = sum(np.rint(one * LEVELS) for one in probabilities)
    np.testing.assert_array_equal(
        read_segmentation(tmp_path / "out/c.nii.gz").array, np.array([0, 3, 5])[mean.argmax(axis=0)]
    )
    assert "does not lie on the grid of" in str(report.failed["d"])
    assert GRID.describe() in str(report.failed["d"])


def test_what_is_missing_or_broken_is_told(tmp_path: Path, capsys: Captured) -> None:
    paths = folders(tmp_path, [softmax(n) for n in range(3)])
    for path in paths[:2]:
        put(path / "d.probabilities.npz", softmax(5))
    (paths[1] / "c.probabilities.npz").write_bytes(b"nothing")
    put(paths[0] / "e.probabilities.npz", softmax(0, 4), make_structures(["femur", "tibia", "hip"], [3, 5, 6]))
    assert command("vote", *paths, tmp_path / "out", "--method", "soft") == 1
    output = capsys.readouterr().err
    assert f"{paths[1]}/c.probabilities.npz: damaged" in output
    assert f"{paths[2]} has nothing of 2 cases: d, e" in output
    assert f"{paths[0]}/e.probabilities.npz: holds probabilities of hip, which no other member" in output
    mean = softmax(0) + softmax(2)
    np.testing.assert_array_equal(
        read_segmentation(tmp_path / "out/c.nii.gz").array, np.array([0, 3, 5])[mean.argmax(axis=0)]
    )


def test_folders_without_probabilities_are_refused(tmp_path: Path) -> None:
    paths = folders(tmp_path, [softmax(0), softmax(1)])
    (paths[1] / "c.probabilities.npz").unlink()
    with pytest.raises(UsageError, match=r"holds no <case>\.probabilities\.npz") as refused:
        soft(paths, tmp_path / "out")
    assert "--probabilities" in refused.value.hint


def test_memory_does_not_grow_with_members(tmp_path: Path) -> None:
    geometry = Geometry((256, 256, 8), np.eye(4))
    share = np.zeros((2, *geometry.shape), dtype=np.float32)
    peaks = []
    for count in (2, 10):
        paths = [put(tmp_path / f"{count}/m{n}/c.probabilities.npz", share, BONES[:1], geometry) for n in range(count)]
        maps = open_probabilities([open_folder(path.parent, probabilities=True) for path in paths], VoteRules("soft"))
        tracemalloc.start()
        maps.vote("c")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


# Predicting keeps them


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A 3D and a 2D run that have learned the two boxes, on grids of their own."""
    folder = tmp_path_factory.mktemp("runs")
    data = cohort(folder / "data")
    train(data, learning_plan({"grid.spacing_mm": [1.2, 1.0, 1.0]}), folder / "solid", CPU)
    train(
        data,
        learning_plan({**FLAT, "patch.size": [12, 8, 1], "grid.spacing_mm": [1.0, 1.3, 1.0]}),
        folder / "flat",
        CPU,
    )
    return [folder / "solid", folder / "flat"]


def scan(path: Path, seed: int) -> Path:
    image, _, affine = two_boxes(seed=seed)
    write_volume(path, Volume(image[None].astype(np.float32), Geometry(image.shape, affine)))
    return path


@pytest.fixture
def predicted(runs: list[Path], tmp_path: Path) -> list[Path]:
    for number in range(2):
        scan(tmp_path / f"scans/s{number}.nii.gz", 70 + number)
    outs = [tmp_path / run.name for run in runs]
    for run, out in zip(runs, outs, strict=True):
        assert command("predict", run, tmp_path / "scans", out, "--device", "cpu", "--probabilities") == 0
    return outs


def test_a_model_of_two_and_one_of_three_dimensions_vote_together(predicted: list[Path], tmp_path: Path) -> None:
    assert command("vote", *predicted, tmp_path / "out", "--method", "soft") == 0
    truth = two_boxes(seed=70)[1]
    made = read_segmentation(tmp_path / "out/s0.nii.gz")
    assert (made.array == truth).mean() > 0.9
    members = [read_probabilities(path / "s0.probabilities.npz") for path in predicted]
    sums = [sum(member.output(n).astype(int) for member in members) for n in range(3)]
    np.testing.assert_array_equal(made.array, np.array([0, 3, 5])[np.argmax(sums, axis=0)])
    for path, member in zip(predicted, members, strict=True):
        own = read_segmentation(path / "s0.nii.gz")
        assert own.geometry.is_close(member.geometry)
        levels = np.array([member.output(n) for n in range(3)], dtype=int)
        two = np.sort(levels, axis=0)[-2:]
        clear = two[1] - two[0] > 1
        assert clear.mean() > 0.9
        np.testing.assert_array_equal(own.array[clear], np.array([0, 3, 5])[levels.argmax(axis=0)][clear])


def test_probabilities_lie_on_their_scan_whatever_its_axes(runs: list[Path], tmp_path: Path) -> None:
    image, _, affine = two_boxes(seed=70)
    geometry = Geometry(image.shape, affine)
    turn = AxisPermutation((2, 0, 1), (True, True, False))
    turned = Volume(np.ascontiguousarray(turn.apply(image.astype(np.float32)))[None], turn.geometry(geometry))
    write_volume(tmp_path / "scan.nii.gz", turned)
    predict(
        load_model(runs[0]),
        find_scans([tmp_path / "scan.nii.gz"]),
        tmp_path / "out",
        PredictOptions(probabilities=True),
    )
    kept = read_probabilities(tmp_path / "out/scan.probabilities.npz")
    assert kept.geometry.is_close(turned.geometry)
    levels = np.array([kept.output(n) for n in range(3)], dtype=int)
    own = read_segmentation(tmp_path / "out/scan.nii.gz")
    assert (own.array == np.array([0, 3, 5])[levels.argmax(axis=0)]).mean() > 0.99


def test_votes_of_two_equal_members_are_what_they_say(predicted: list[Path], tmp_path: Path) -> None:
    shutil.copytree(predicted[0], tmp_path / "copy")
    soft([predicted[0], tmp_path / "copy"], tmp_path / "out")
    for number in range(2):
        name = f"s{number}.nii.gz"
        same = read_segmentation(tmp_path / "out" / name).array == read_segmentation(predicted[0] / name).array
        assert same.mean() > 0.995  # what differs by less than a 255th may change places


def test_probabilities_follow_their_result(runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = find_scans([scan(tmp_path / "s.nii.gz", 70)])
    first, second = load_model(runs[0]), load_model(runs[1])
    kept = out / "s.probabilities.npz"
    assert predict(first, found, out).done == ["s"]
    assert not kept.exists()
    assert predict(first, found, out, PredictOptions(probabilities=True)).done == ["s"]  # they were not kept before
    assert read_probabilities(kept).about.model == first.sha256
    assert json.loads((out / RECORD).read_text())["s"]["probabilities"] == kept.name
    assert predict(first, found, out, PredictOptions(probabilities=True)).skipped == ["s"]
    assert predict(first, found, out).skipped == ["s"]
    assert kept.is_file()
    assert predict(second, found, out).done == ["s"]  # another model's would be taken for this one's
    assert not kept.exists()
    assert predict(second, found, out, PredictOptions(probabilities=True)).done == ["s"]
    kept.unlink()
    assert predict(second, found, out, PredictOptions(probabilities=True)).done == ["s"]
    assert find_scans([out])[0].id == "s"
    assert len(find_scans([out])) == 1


def test_a_scan_that_fails_leaves_no_probabilities(runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans/bad.nii.gz").write_bytes(b"no scan")
    scan(tmp_path / "scans/good.nii.gz", 70)
    report = predict(load_model(runs[0]), find_scans([tmp_path / "scans"]), out, PredictOptions(probabilities=True))
    assert (report.done, list(report.failed)) == (["good"], ["bad"])
    assert sorted(path.name for path in out.glob("[!.]*")) == ["good.nii.gz", "good.probabilities.npz", RECORD]


def test_a_full_disk_stops_the_batch(runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        scan(tmp_path / f"scans/s{number}.nii.gz", number)
    out = tmp_path / "out"
    write = zipfile.ZipFile.writestr

    def full(self: zipfile.ZipFile, *arguments: Any) -> None:
        if "s1" in str(self.filename):
            raise OSError(28, "No space left on device")
        write(self, *arguments)

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(FileError, match="the disk is full"):
        predict(load_model(runs[0]), find_scans([tmp_path / "scans"]), out, PredictOptions(probabilities=True))
    assert sorted(path.name for path in out.glob("[!.]*")) == [RECORD, "s0.nii.gz", "s0.probabilities.npz"]
