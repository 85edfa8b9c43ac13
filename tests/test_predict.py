"""Predicting many scans: what is done stays done, and what fails never stops the rest."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

import osteon
from children import finish, python
from helpers import spacing_affine, two_boxes
from osteon.core import file_stamps
from osteon.core.case_records import RECORDS_FOLDER
from osteon.core.errors import CaseError, FileError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.dataset.manifest import Channel, write_manifest
from osteon.formats import read_segmentation, read_volume, write_volume
from osteon.predicting import predictor
from osteon.predicting.model import Model
from osteon.predicting.model_folder import load_model
from osteon.predicting.predictor import predict
from osteon.predicting.prepared_scan import PreparedScan
from osteon.predicting.records import RECORD, VOTES, prediction_records
from osteon.predicting.reference_statistics import write_reference
from osteon.predicting.scans import Scan, find_scans
from osteon.predicting.speed import BEST
from osteon.predicting.stages import PredictOptions
from osteon.runs.fit import train
from runs import CPU, cohort, command, learning_plan, two_channels


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned the two boxes."""
    folder = tmp_path_factory.mktemp("trained")
    assert train(cohort(folder / "data"), learning_plan(), folder / "run", CPU).validation["dice"] > 0.8
    return folder / "run"


@pytest.fixture(scope="module")
def model(trained: Path) -> Model:
    return load_model(trained)


def scan(path: Path, seed: int = 0, *, channels: int = 1) -> Path:
    image, _, affine = two_boxes(seed=seed)
    write_volume(path, Volume(np.stack([image.astype(np.float32)] * channels), Geometry(image.shape, affine)))
    return path


def scans(folder: Path, count: int = 4) -> Path:
    for number in range(count):
        scan(folder / f"s{number}.nii.gz", number)
    return folder


def results(out: Path) -> dict[str, tuple[bytes, bytes]]:
    found = {path.name: read_segmentation(path) for path in sorted(out.glob("[!.]*.nii.gz"))}
    return {name: (s.array.tobytes(), s.geometry.affine_ras.tobytes()) for name, s in found.items()}


# Sources


def test_a_file_a_folder_and_a_dataset_are_sources(tmp_path: Path) -> None:
    folder = scans(tmp_path / "scans", 2)
    scan(folder / ".part-1-s9.nii.gz")
    (folder / "notes.txt").write_text("not a scan")
    (folder / "old.seg.nrrd").write_text("not a scan either")
    single = scan(tmp_path / "single.nrrd")
    dataset = cohort(tmp_path / "data", 3)
    found = find_scans([single, folder, dataset.folder])
    assert [s.id for s in found] == ["single", "s0", "s1", "c0", "c1", "c2"]
    assert found[0].files == (single,)
    held = [c.model_copy(update={"held_out": c.id == "c1"}) for c in dataset.manifest.cases]
    held[2] = held[2].model_copy(update={"segmentation": None})
    write_manifest(dataset.folder, dataset.manifest.model_copy(update={"cases": held}))
    assert [s.id for s in find_scans([dataset.folder])] == ["c1", "c2"]


def test_a_case_of_a_dataset_has_all_its_channels(tmp_path: Path) -> None:
    dataset = cohort(tmp_path / "data", 1)
    scan(dataset.folder / "images/second.nii.gz", 5)
    case = dataset.manifest.cases[0]
    case = case.model_copy(update={"images": [*case.images, "images/second.nii.gz"]})
    channels = [Channel(name="t1", modality="mr"), Channel(name="t2", modality="mr")]
    changes = {"channels": channels, "cases": [case]}
    write_manifest(dataset.folder, dataset.manifest.model_copy(update=changes))
    (found,) = find_scans([dataset.folder])
    array = found.load().array
    assert array.shape == (2, 12, 10, 8)
    assert not np.array_equal(array[0], array[1])
    before = found.fingerprint()
    scan(dataset.folder / "images/second.nii.gz", 6)
    assert found.fingerprint() != before


def test_sources_that_hold_nothing_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="nowhere: the scan does not exist"):
        find_scans([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty: no image lies in this folder"):
        find_scans([tmp_path / "empty"])


def test_two_scans_of_one_name_are_refused(tmp_path: Path) -> None:
    first, second = scan(tmp_path / "a/knee.nii.gz"), scan(tmp_path / "b/knee.nrrd")
    with pytest.raises(UsageError, match="two scans are called knee: ") as refused:
        find_scans([first, second])
    assert str(first) in refused.value.message
    assert str(second) in refused.value.message


def test_scans_in_trees_are_called_by_what_tells_them_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("s0001/ct", "s0001/segmentations/femur_left", "s0002/ct", "sub-03/anat/sub-03_ct", "a/knee", "b/Knee"):
        scan(tmp_path / f"{name}.nii.gz")
    earlier, voted = (scan(tmp_path / f"{name}/s0001.nii.gz").parent for name in ("out", "voted"))
    (earlier / RECORD).write_text("{}")
    (voted / VOTES).write_text("{}")
    of_runs = [scan(tmp_path / f"{run}/predictions/c1.nii.gz").parent for run in ("done", "begun")]
    scan(tmp_path / "mine/predictions/foot.nii.gz")  # nothing says that they are results
    for path in (tmp_path / "done/model/validation.json", tmp_path / "begun/splits.yaml"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    cohort(tmp_path / "data", 1)
    assert [s.id for s in find_scans([tmp_path])] == ["a_knee", "b_Knee", "foot", "s0001", "s0002", "sub-03_ct"]
    output = " ".join(capsys.readouterr().err.split())
    assert f"1 files are named like masks, and skipped: {tmp_path}/s0001/segmentations/femur_left.nii.gz" in output
    assert f"{earlier}: is an earlier prediction, and skipped" in output
    assert f"{voted}: is an earlier vote, and skipped" in output
    for folder in of_runs:
        assert f"{folder}: is a run's validation, and skipped" in output
    assert f"{tmp_path}/data: is a dataset, and skipped" in output
    assert [s.id for s in find_scans([tmp_path / f"s000{n}/ct.nii.gz" for n in (1, 2)])] == ["s0001", "s0002"]
    assert [s.id for s in find_scans([tmp_path / "s0001/segmentations"])] == ["femur_left"]


@pytest.mark.parametrize("names", [("p{}_0000", "p{}_0001"), ("p{}_T1", "p{}_t2"), ("p{}/t1", "p{}/t2")])
def test_files_of_one_channel_each_are_one_scan(tmp_path: Path, names: tuple[str, str]) -> None:
    for patient in (1, 2):
        for channel, name in enumerate(names):
            scan(tmp_path / f"{name.format(patient)}.nii.gz", 10 * patient + channel)
    found = find_scans([tmp_path], two_channels())
    assert [s.id for s in found] == ["p1", "p2"]
    array = found[1].load().array
    assert np.array_equal(array[1], read_volume(tmp_path / f"{names[1].format(2)}.nii.gz").array[0])
    single = find_scans(list(tmp_path.rglob("*.nii.gz")), two_channels())
    assert [s.id for s in single] == ["p1", "p2"]
    last = tmp_path / f"{names[1].format(1)}.nii.gz"
    last.rename(tmp_path / "p1_0002.nii.gz" if "0001" in names[1] else tmp_path / "other.nii.gz")
    scan(tmp_path / "whole.nii.gz", channels=2)
    found = find_scans([tmp_path], two_channels())
    assert found[-1].load().array.shape[0] == 2
    if "0001" in names[1]:
        with pytest.raises(CaseError, match=r"has the channels p1_0000, p1_0002; the model needs 2 \(t1, t2\)"):
            found[0].load()


def test_numbers_are_channels_only_where_they_can_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a_0000", "b_0000"):
        scan(tmp_path / f"{name}.nii.gz")
    assert [s.id for s in find_scans([tmp_path])] == ["a", "b"]
    scan(tmp_path / "b_0001.nii.gz")
    assert [s.id for s in find_scans([tmp_path])] == ["a_0000", "b_0000", "b_0001"]
    assert "b_0000 and b_0001 are taken as scans of their own" in " ".join(capsys.readouterr().err.split())


def test_a_stray_picture_is_passed_over_and_named(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = scans(tmp_path / "scans", 1)
    Image.new("L", (4, 4), 9).save(folder / "preview.png")
    assert command("predict", trained, folder, tmp_path / "out", "--device", "cpu") == 0
    output = " ".join(capsys.readouterr().err.split())
    assert f"1 files are pictures, which this model does not segment, and skipped: {folder}/preview.png" in output


# Done and not done


def test_what_is_done_is_skipped(model: Model, tmp_path: Path) -> None:
    found = find_scans([scans(tmp_path / "scans", 2)])
    out = tmp_path / "out"
    assert predict(model, found, out).done == ["s0", "s1"]
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    second = predict(model, found, out)
    assert (second.done, second.skipped) == ([], ["s0", "s1"])
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    record = json.loads((out / RECORD).read_text())["s1"]
    assert record["model"] == model.sha256
    assert record["input"][0][0] == str(tmp_path / "scans/s1.nii.gz")
    assert (record["output"], record["shape"], record["spacing_mm"]) == ("s1.nii.gz", [12, 10, 8], [1, 1, 1])


def test_two_predictions_into_one_folder_keep_each_others_records(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = scans(tmp_path / "scans", 2), tmp_path / "out"
    segment, began = predictor.PredictStages.segment, list[str]()

    def meanwhile(self: Any, given: Any) -> Any:
        began.append("s0")
        if len(began) == 1:
            assert predict(model, find_scans([folder / "s1.nii.gz"]), out).done == ["s1"]
        return segment(self, given)

    monkeypatch.setattr(predictor.PredictStages, "segment", meanwhile)
    assert predict(model, find_scans([folder / "s0.nii.gz"]), out).done == ["s0"]
    assert sorted(json.loads((out / RECORD).read_text())) == ["s0", "s1"]
    assert predict(model, find_scans([folder]), out).skipped == ["s0", "s1"]


def test_an_odd_header_is_told_and_the_form_that_counts_is_written(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = scan(tmp_path / "s.nii")
    raw = bytearray(path.read_bytes())
    header = np.frombuffer(raw, dtype=nib.Nifti1Header.template_dtype, count=1)  # a view: changes the bytes
    header["qoffset_x"][0] += 30
    path.write_bytes(raw)
    assert predict(model, find_scans([path]), tmp_path / "out").done == ["s"]
    output = " ".join(capsys.readouterr().err.split())
    assert "s.nii: its qform contradicts its sform" in output
    written = nib.load(tmp_path / "out" / "s.nii.gz").header
    assert (int(written["sform_code"]), int(written["qform_code"])) == (1, 1)
    np.testing.assert_allclose(written.get_qform(), written.get_sform(), atol=1e-4)
    np.testing.assert_allclose(written.get_sform(), nib.load(path).affine, atol=1e-4)


def test_what_has_changed_is_done_again(model: Model, tmp_path: Path) -> None:
    found = find_scans([scans(tmp_path / "scans", 2)])
    out = tmp_path / "out"
    predict(model, found, out)
    image, _, _ = two_boxes(seed=1)
    moved = Geometry(image.shape, spacing_affine(1, 1, 1, origin=(0, 0, 99)))
    write_volume(tmp_path / "scans/s1.nii.gz", Volume(image[None], moved))
    third = predict(model, found, out)
    assert (third.done, third.skipped) == (["s1"], ["s0"])
    assert read_segmentation(out / "s1.nii.gz").geometry.is_close(moved)
    (out / "s0.nii.gz").unlink()
    assert predict(model, found, out).done == ["s0"]
    assert predict(model, found, out, PredictOptions(speed=BEST)).done == ["s0", "s1"]
    other = Model(model.network, model.plan, {}, "another")
    assert predict(other, found, out, PredictOptions(speed=BEST)).done == ["s0", "s1"]
    assert predict(other, found, out, PredictOptions(speed=BEST, overwrite=True)).done == ["s0", "s1"]


def test_a_scan_that_was_replaced_is_predicted_again_also_where_size_and_time_stay(
    model: Model, tmp_path: Path
) -> None:
    folder, out = tmp_path / "scans", tmp_path / "out"
    folder.mkdir()
    for number in range(2):
        image, _, affine = two_boxes(seed=number)
        write_volume(folder / f"s{number}.nii", Volume(image[None], Geometry(image.shape, affine)))
    predict(model, find_scans([folder]), out)
    facts = (folder / "s1.nii").stat()
    shutil.copyfile(folder / "s0.nii", folder / "s1.nii")
    os.utime(folder / "s1.nii", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert (folder / "s1.nii").stat().st_size == facts.st_size
    again = predict(model, find_scans([folder]), out)
    assert (again.done, again.skipped) == (["s1"], ["s0"])
    os.utime(folder / "s0.nii")  # touched only
    assert predict(model, find_scans([folder]), out).skipped == ["s0", "s1"]
    records = json.loads((out / RECORD).read_text())
    for name, record in records.items():  # as osteon wrote them that knew size and time of writing alone
        now = (folder / f"{name}.nii").stat()
        record["input"] = [[record["input"][0][0], now.st_size, now.st_mtime_ns]]
    shutil.rmtree(out / RECORDS_FOLDER)
    (out / RECORD).write_text(json.dumps(records))
    assert predict(model, find_scans([folder]), out).skipped == ["s0", "s1"]


def test_scans_that_were_copied_are_read_once_to_compare_them(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = scans(tmp_path / "scans", 2), tmp_path / "out"
    predict(model, find_scans([folder]), out)
    read: list[str] = []
    digest = file_stamps._digest
    monkeypatch.setattr(file_stamps, "_digest", lambda path: read.append(path.name) or digest(path))
    os.utime(folder / "s0.nii.gz")
    for _ in range(2):
        assert predict(model, find_scans([folder]), out).skipped == ["s0", "s1"]
        assert read == ["s0.nii.gz"]
    assert json.loads((out / RECORD).read_text())["s0"]["output"] == "s0.nii.gz"


def test_broken_scans_are_named_and_the_others_go_on(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = scans(tmp_path / "scans", 2)
    whole = (folder / "s0.nii.gz").read_bytes()
    (folder / "a_cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    image, _, affine = two_boxes()
    holes = image[None].astype(np.float32)
    holes[0, 1, 2, 3] = np.nan
    write_volume(folder / "b_nan.nii.gz", Volume(holes, Geometry(image.shape, affine)))
    scan(folder / "c_two.nii.gz", channels=2)
    (folder / "d_text.nii.gz").write_text("this is no image")
    (folder / "e.mgz").touch()
    (folder / "f.nii.gz").symlink_to("nowhere")
    assert command("predict", trained, folder, tmp_path / "out", "--device", "cpu") == 1
    output = capsys.readouterr()
    assert "2 scans segmented" in output.out
    assert "6 cases failed" in output.err
    for line in (
        f"a_cut: {folder}/a_cut.nii.gz: truncated or damaged",
        "b_nan: b_nan: 1 voxels are NaN and 0 are infinite, the first at (1, 2, 3)",
        "c_two: c_two: has 2 channels; the model needs 1 (ct)",
        f"d_text: {folder}/d_text.nii.gz: truncated, or not a NIfTI file",
        "→ copy the file again from its source",
        f"e: {folder}/e.mgz: is not read (FreeSurfer's MGH)",
        f"f: {folder}/f.nii.gz: the scan is a link to nowhere, which is not there",
    ):
        assert line in output.err
    assert "Traceback" not in output.err
    assert sorted(results(tmp_path / "out")) == ["s0.nii.gz", "s1.nii.gz"]
    assert sorted(json.loads((tmp_path / "out" / RECORD).read_text())) == ["s0", "s1"]


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")]
)
def test_a_scan_that_is_too_large_does_not_stop_the_rest(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    infer, seen = Model.infer, []

    def greedy(self: Model, prepared: PreparedScan, **how: Any) -> object:
        seen.append(prepared)
        if len(seen) == 2:
            raise error
        return infer(self, prepared, **how)

    monkeypatch.setattr(Model, "infer", greedy)
    report = predict(model, find_scans([scans(tmp_path / "scans", 3)]), tmp_path / "out")
    assert report.done == ["s0", "s2"]
    assert isinstance(report.failed["s1"], CaseError)
    assert "not enough memory" in report.failed["s1"].message


def test_a_fault_of_our_own_is_not_taken_for_a_bad_scan(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(Model, "infer", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        predict(model, find_scans([scan(tmp_path / "s.nii.gz")]), tmp_path / "out")


# Interruptions

KILLED = """
import os, signal, sys
from pathlib import Path
from osteon.predicting.model_folder import load_model
from osteon.predicting.predictor import predict
from osteon.predicting.scans import Scan, find_scans
from osteon.predicting.speed import BEST

replace = Path.replace
def acting(self, target):
    if target.name == "s2.nii.gz":
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
Path.replace = acting
predict(load_model(Path(sys.argv[1])), find_scans([Path(sys.argv[2])]), Path(sys.argv[3]))
"""


def test_killed_in_the_middle_it_goes_on_and_ends_the_same(trained: Path, model: Model, tmp_path: Path) -> None:
    folder, out = scans(tmp_path / "scans"), tmp_path / "out"
    predict(model, find_scans([folder]), tmp_path / "undisturbed")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, trained, folder, out], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert sorted(results(out)) == ["s0.nii.gz", "s1.nii.gz"]
    assert list(out.glob(".part-*"))  # the file that was being written, and which nothing takes for a result
    assert [s.id for s in find_scans([out])] == ["s0", "s1"]
    report = predict(model, find_scans([folder]), out)
    assert (report.done, report.skipped) == (["s2", "s3"], ["s0", "s1"])
    assert results(out) == results(tmp_path / "undisturbed")
    labels = cohort(tmp_path / "data", 4)
    for number in range(4):
        (labels.folder / f"labels/c{number}.nii.gz").rename(labels.folder / f"labels/s{number}.nii.gz")
    assert len(osteon.evaluate(out, labels.folder / "labels").scores) == 8


def test_killed_while_redoing_a_scan_the_old_result_does_not_stand_in(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = scan(tmp_path / "s.nii.gz", 0), tmp_path / "out"
    predict(model, find_scans([path]), out)
    scan(path, 1)
    replace = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if target.name == "s.nii.gz":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        predict(model, find_scans([path]), out)
    monkeypatch.undo()
    assert predict(model, find_scans([path]), out).done == ["s"]
    predict(model, find_scans([path]), tmp_path / "undisturbed")
    assert results(out) == results(tmp_path / "undisturbed")


def test_a_full_disk_stops_and_keeps_what_is_done(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = scans(tmp_path / "scans"), tmp_path / "out"
    fsync = os.fsync

    def full(number: int) -> None:
        if (out / "s1.nii.gz").exists():
            raise OSError(28, "No space left on device")
        fsync(number)

    monkeypatch.setattr(os, "fsync", full)
    assert command("predict", trained, folder, out, "--device", "cpu") == 1
    output = capsys.readouterr().err
    assert "the disk is full" in output
    assert "→ free some space and run the same command again; what is done is kept" in output
    assert sorted(path.name for path in out.glob("[!.]*")) == ["s0.nii.gz", "s1.nii.gz"]
    assert sorted(prediction_records(out).read()) == ["s0", "s1"]  # also where no file for all could be written
    monkeypatch.undo()
    assert command("predict", trained, folder, out, "--device", "cpu") == 0
    assert "2 scans segmented, 2 were done already" in capsys.readouterr().out


PREDICT = """
import sys
from pathlib import Path
from osteon.predicting.model_folder import load_model
from osteon.predicting.predictor import predict
from osteon.predicting.scans import Scan, find_scans

model, scans = load_model(Path(MODEL)), find_scans([Path(SCANS)])
print("ready", flush=True)
sys.stdin.readline()
report = predict(model, scans, Path(OUT))
print(len(report.done), len(report.skipped), len(report.failed))
"""


def test_two_processes_share_the_scans_of_a_folder(trained: Path, tmp_path: Path) -> None:
    folder, out = scans(tmp_path / "scans", 8), tmp_path / "out"
    code = PREDICT
    for name, path in (("MODEL", trained), ("SCANS", folder), ("OUT", out)):
        code = code.replace(name, repr(str(path)))
    both = [python(code, stdin=subprocess.PIPE) for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    counts = [[int(number) for number in finish(process).split()] for process in both]
    assert sum(done for done, _, _ in counts) == 8  # none twice
    assert [done + skipped for done, skipped, _ in counts] == [8, 8]  # and none ends before all are there
    assert sorted(json.loads((out / RECORD).read_text())) == [f"s{n}" for n in range(8)]
    predict(load_model(trained), find_scans([folder]), tmp_path / "alone")
    assert results(out) == results(tmp_path / "alone")
    assert not list(out.rglob("*.lock"))


def test_a_result_that_cannot_be_written_does_not_stop_the_rest(model: Model, tmp_path: Path) -> None:
    paths = {name: scan(tmp_path / f"{name}.nii.gz", number) for number, name in enumerate("abc")}
    found = [Scan(name, ((path,),)) for name, path in paths.items()]
    long, longest = "n" * 249, "n" * 248  # with .nii.gz systems allow the second, which an earlier version did not
    several = [found[0], replace(found[1], id=long), replace(found[1], id=longest), found[2]]
    report = predict(model, several, tmp_path / "out")
    assert report.done == ["a", longest, "c"]
    assert f"{long}.nii.gz: the name is longer than this disk allows" in report.failed[long].message
    assert "shorter name" in report.failed[long].hint
    assert sorted(results(tmp_path / "out")) == ["a.nii.gz", "c.nii.gz", f"{longest}.nii.gz"]
    assert sorted(prediction_records(tmp_path / "out").read()) == ["a", "c", longest]
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "b.probabilities.npz").mkdir()  # what cannot be replaced
    report = predict(model, found, tmp_path / "kept", PredictOptions(probabilities=True))
    assert (report.done, list(report.failed)) == (["a", "c"], ["b"])


# Other people's files


def test_a_scan_is_never_replaced_by_its_result(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = scans(tmp_path / "scans", 2)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for overwrite in ([], ["--overwrite"]):
        assert command("predict", trained, folder, folder, "--device", "cpu", *overwrite) == 2
        assert "s0.nii.gz: is a scan itself" in capsys.readouterr().err
        assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_files_that_are_no_results_are_replaced_only_on_request(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, labels = scans(tmp_path / "images", 2), tmp_path / "labels"
    drawn = scan(labels / "s1.nii.gz").read_bytes()
    assert command("predict", trained, folder, labels, "--device", "cpu") == 2
    output = capsys.readouterr().err
    assert f"{labels}/s1.nii.gz: is there already" in output
    assert "--overwrite" in output
    assert [(path.name, path.read_bytes()) for path in labels.iterdir()] == [("s1.nii.gz", drawn)]
    assert command("predict", trained, folder, labels, "--device", "cpu", "--overwrite") == 0
    assert (labels / "s1.nii.gz").read_bytes() != drawn


def test_a_forgotten_output_is_not_written_into_a_scan(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = scans(tmp_path / "scans", 2)
    assert command("predict", trained, folder / "s0.nii.gz", folder / "s1.nii.gz") == 2
    assert "the last argument is the output's folder, and this is a file" in capsys.readouterr().err
    assert command("predict", trained, folder) == 2
    assert "osteon predict MODEL SCAN… OUT" in capsys.readouterr().err


# Orientation


@pytest.mark.parametrize("turn", ["RAS", "LPS", "SAR", "PIR"])
def test_a_result_lies_on_its_scan_whatever_its_axes(trained: Path, tmp_path: Path, turn: str) -> None:
    image, labels, affine = two_boxes(seed=50)
    order = [next(n for n, axis in enumerate(("RL", "AP", "SI")) if letter in axis) for letter in turn]
    flips = [axis for axis, letter in enumerate(turn) if letter in "LPI"]
    turned = np.flip(image.transpose(order), flips)
    turned_affine = affine[:, [*order, 3]].copy()
    for axis in flips:
        turned_affine[:3, 3] += turned_affine[:3, axis] * (turned.shape[axis] - 1)
        turned_affine[:3, axis] *= -1
    geometry = Geometry(turned.shape, turned_affine)
    write_volume(tmp_path / "scan.nii.gz", Volume(np.ascontiguousarray(turned)[None], geometry))
    assert command("predict", trained, tmp_path / "scan.nii.gz", tmp_path / "out", "--device", "cpu") == 0
    found = read_segmentation(tmp_path / "out/scan.nii.gz")
    assert found.geometry.is_close(geometry)
    assert (found.array == np.flip(labels.transpose(order), flips)).mean() > 0.9
    straight = load_model(trained).predict(Volume(image[None].astype(np.float32), Geometry(image.shape, affine)))
    assert np.array_equal(found.array, np.flip(straight.array.transpose(order), flips))


# How sure, and what follows


def test_records_say_how_sure_and_why_to_look(
    model: Model, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = scans(tmp_path / "scans", 2)
    image, _, affine = two_boxes(seed=1)
    noise = np.random.default_rng(0).normal(100, 400, image.shape).astype(np.float32)
    write_volume(folder / "noise.nii.gz", Volume(noise[None], Geometry(image.shape, affine)))
    looked = [
        statistics.model_copy(update={"volumes": dict(statistics.volumes)}) for statistics in model.reference
    ] * 2  # four are too few
    write_reference(trained / "model/reference.json", looked)
    try:
        assert command("predict", trained, folder, tmp_path / "out", "--device", "cpu") == 0
        output = capsys.readouterr().err
        records = json.loads((tmp_path / "out" / RECORD).read_text())
        assert records["s0"]["review"] == []
        assert set(records["s0"]["confidence"]) == {"femur", "tibia"}
        assert 0.5 < records["s0"]["confidence"]["femur"] <= 1
        assert not records["s0"]["calibrated"]  # four validated structures are too few
        assert "the confidence is uncalibrated" in output
        assert records["noise"]["review"]
        assert "1 to be looked at by a person" in output
        assert "noise: " in output
        assert command("predict", trained, folder, tmp_path / "out", "--device", "cpu") == 0
        assert "1 to be looked at by a person" in capsys.readouterr().err  # of what is skipped, too
    finally:
        write_reference(trained / "model/reference.json", list(model.reference))


def test_post_processing_can_be_given_or_left_out(model: Model, trained: Path, tmp_path: Path) -> None:
    folder, out = scans(tmp_path / "scans", 1), tmp_path / "out"
    assert command("predict", trained, folder, out, "--device", "cpu") == 0
    plain = results(out)
    steps = tmp_path / "steps.yaml"
    steps.write_text("steps: [{structure: femur, step: least_size, amount: 1000}]")
    assert command("predict", trained, folder, out, "--device", "cpu", "--postprocess", steps) == 0
    without = read_segmentation(out / "s0.nii.gz")
    assert not without.mask(without.structures[0]).any()
    assert without.mask(without.structures[1]).any()
    assert json.loads((out / RECORD).read_text())["s0"]["postprocessing"] == ["femur: no piece below 1000 cm³"]
    assert command("predict", trained, folder, out, "--device", "cpu", "--postprocess", "none") == 0
    assert results(out) == plain
    assert command("predict", trained, folder, out, "--device", "cpu", "--postprocess", tmp_path / "gone.yaml") == 1
    assert model.with_postprocessing("auto") is model


def test_small_scans_looked_at_together_are_as_alone(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU; a scan that fails in company is looked at alone."""
    found = find_scans([scans(tmp_path / "scans", 3)])
    alone = predict(model, found, tmp_path / "alone")
    monkeypatch.setattr(predictor.PredictStages, "batch_size", 3)
    asked = []
    together = Model.infer_batch
    monkeypatch.setattr(Model, "infer_batch", lambda *a, **k: (asked.append(len(a[1])), together(*a, **k))[1])
    report = predict(model, found, tmp_path / "together")
    assert asked == [3]
    assert report.done == alone.done
    for name in report.done:
        one, other = (read_segmentation(tmp_path / where / f"{name}.nii.gz") for where in ("alone", "together"))
        assert np.count_nonzero(one.array != other.array) <= 1e-4 * one.array.size
        assert one.array.any()
