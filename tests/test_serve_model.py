"""`osteon serve` with a model, as people start it; killed, and started again."""

from __future__ import annotations

import gzip
import io
import os
import signal
import socket
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import psutil
import pytest

import dicom_writing
from helpers import two_boxes
from osteon.core.geometry import Geometry
from osteon.core.labels import make_structures
from osteon.core.volume import Volume
from osteon.formats import read_segmentation, write_volume
from osteon.predicting.model import Model
from osteon.predicting.model_folder import load_model
from osteon.predicting.stages import PredictOptions
from osteon.runs.fit import train
from osteon.serving.click_tasks import ClickTask, write_click_task
from osteon.serving.click_worker import ClickTools
from osteon.serving.guard import find_token
from osteon.serving.job_work import MASK, PredictionTask, Worker, run_task
from osteon.serving.jobs import RESULT, SCAN, JobQueue
from osteon.serving.predictor import JobTimeoutError, ProcessDiedError, start_predictors
from osteon.serving.worker import ServedModel
from runs import CPU, cohort, command, learning_plan
from serving import TOKEN, serve_model, wait_until


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned the two boxes."""
    folder = tmp_path_factory.mktemp("trained")
    train(cohort(folder / "data"), learning_plan(), folder / "run", CPU)
    return folder / "run"


@pytest.fixture(scope="module")
def model(trained: Path) -> Model:
    return load_model(trained)


def scan(path: Path, seed: int = 0) -> Path:
    image, _, affine = two_boxes(seed=seed)
    write_volume(path, Volume(image[None].astype(np.float32), Geometry(image.shape, affine)))
    return path


def predicting_process(server: subprocess.Popen[str]) -> psutil.Process:
    children = psutil.Process(server.pid).children(recursive=True)
    return next(child for child in children if "resource_tracker" not in " ".join(child.cmdline()))


def test_masks_are_the_models_own_and_outlive_a_kill(trained: Path, model: Model, tmp_path: Path) -> None:
    scans = [scan(tmp_path / f"Doe-Jane-{n}.nii.gz", n) for n in range(4)]
    truncated = scans[0].read_bytes()[:-40]
    folder = tmp_path / "jobs"
    with serve_model(trained, folder) as (client, process):
        assert client.ask("GET", "/model").data["sha256"] == model.sha256
        first = client.send(scans[0].read_bytes(), "?forms=stl,dicom-seg").data["id"]
        bad = client.send(truncated).data["id"]
        assert client.wait_for(first)["state"] == "done"
        assert client.wait_for(bad)["state"] == "failed"
        held = predicting_process(process)
        held.send_signal(signal.SIGSTOP)  # so that what comes now is under way when all are killed
        later = [client.send(path.read_bytes()).data["id"] for path in scans[1:]]
        process.kill()
        process.wait()
        held.send_signal(signal.SIGCONT)
        wait_until(lambda: not held.is_running() or held.status() == psutil.STATUS_ZOMBIE)  # it goes with its server
    with serve_model(trained, folder) as (client, process):
        job = client.ask("GET", f"/jobs/{first}").data
        assert job["state"] == "done"
        assert job["result"]["files"] == ["mask.nii.gz", "stl.zip"]
        assert "DICOM" in job["result"]["not_made"]["dicom-seg"]
        assert set(job["result"]["confidence"]) == {"femur", "tibia"}
        assert job["result"]["calibrated"] is False  # said beside figures that are no Dice to be expected
        assert job["result"]["seen"] == "trained on"  # the voxels are known again, whatever the upload is called
        meshes = zipfile.ZipFile(io.BytesIO(client.ask("GET", f"/jobs/{first}/stl.zip").body))
        assert sorted(meshes.namelist()) == ["mask/femur.stl", "mask/tibia.stl"]
        for job_id, path in zip([first, *later], scans, strict=True):
            assert client.wait_for(job_id)["state"] == "done"
            (tmp_path / "mask.nii.gz").write_bytes(client.ask("GET", f"/jobs/{job_id}/mask.nii.gz").body)
            mask, expected = read_segmentation(tmp_path / "mask.nii.gz"), model.predict(path)
            assert np.array_equal(mask.array, expected.array)
            assert mask.structures == expected.structures
            volume = client.ask("GET", f"/jobs/{job_id}").data["result"]["volumes"]["femur"]["voxels"]
            assert volume == int((expected.array == 3).sum())
        assert "truncated" in client.ask("GET", f"/jobs/{bad}").data["error"]
        assert str(tmp_path) not in client.ask("GET", f"/jobs/{bad}").data["error"]
        held = predicting_process(process)
        held.send_signal(signal.SIGSTOP)
        last = client.send(scans[0].read_bytes()).data["id"]
        wait_until(lambda: client.ask("GET", f"/jobs/{last}").data["state"] == "running")
        for one in (held, process):  # as a service manager does it
            one.send_signal(signal.SIGTERM)
        wait_until(lambda: client.ask("GET", "/ready").status == 503)
        held.send_signal(signal.SIGCONT)
        assert process.wait(60) == 0
    assert JobQueue(folder, 1).get(last).state == "done"
    log = (tmp_path / "log").read_text()
    assert log.count("listening") == 2
    assert "stopped   0 jobs" in log
    assert not any(word in log for word in (TOKEN, "Doe", first, "Traceback"))
    assert not any("Doe" in path.name for path in folder.rglob("*"))


def test_a_predictor_that_is_killed_says_how_and_starts_again(trained: Path, tmp_path: Path) -> None:
    with start_predictors([ServedModel(trained, device="cpu")]) as (predictor,):
        assert predictor.alive
        assert predictor.facts["engine"] == "torch"
        assert predictor.pid is not None
        os.kill(predictor.pid, signal.SIGKILL)
        with pytest.raises(ProcessDiedError, match="Killed"):
            predictor.run(PredictionTask(tmp_path, ()), 60)
        assert not predictor.alive
        predictor.start()
        scan(tmp_path / SCAN / "scan.nii.gz")
        assert predictor.run(PredictionTask(tmp_path, ()), 60).error == ""
        held = predictor.pid
        os.kill(held, signal.SIGSTOP)  # so does a scan that hangs
        with pytest.raises(JobTimeoutError):
            predictor.run(PredictionTask(tmp_path, ()), 0.2)
        assert not predictor.alive
        assert not psutil.pid_exists(held)
    assert not predictor.alive


def working(model: Model, *, memory: int | None = None, most_voxels: int = 10**9) -> Worker:
    return Worker(model, PredictOptions(memory=memory), ClickTools(), most_voxels)


def task(folder: Path, *files: tuple[str, bytes], forms: tuple[str, ...] = ()) -> PredictionTask:
    (folder / SCAN / "scan").mkdir(parents=True)
    for name, content in files:
        (folder / SCAN / "scan" / name).write_bytes(content)
    return PredictionTask(folder, forms)


def test_a_dicom_series_is_segmented_and_its_contours_refer_to_it(model: Model, tmp_path: Path) -> None:
    paths = dicom_writing.series(tmp_path / "series", [(0.0, 0.0, 2.0 * n) for n in range(6)])
    files = ((f"{n:06d}", path.read_bytes()) for n, path in enumerate(paths))
    given = task(tmp_path / "job", *files, forms=("rtstruct", "seg-nrrd"))
    assert run_task(given, working(model)).error == ""
    mask = read_segmentation(given.folder / RESULT / "mask.nii.gz")
    assert sorted(mask.array.shape) == [3, 4, 6]
    with zipfile.ZipFile(given.folder / RESULT / "rtstruct.zip") as made:
        assert dicom_writing.SERIES.encode() in made.read(made.namelist()[0])


@pytest.mark.parametrize(
    ("names", "message"),
    [(["a.txt"], "holds no scan that osteon reads"), (["a.nii.gz", "b.nii.gz"], "holds 2 scans")],
)
def test_an_archive_holds_one_scan(model: Model, tmp_path: Path, names: list[str], message: str) -> None:
    content = scan(tmp_path / "s.nii.gz").read_bytes()
    answer = run_task(task(tmp_path / "job", *((name, content) for name in names)), working(model))
    assert message in answer.error
    assert answer.hint


def test_a_scan_with_no_room_is_refused_by_its_header(model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    scan(folder / SCAN / "scan.nii.gz")
    for clicked in (False, True):
        if clicked:
            points = {"femur": ((2, 2, 2),)}
            asked = ClickTask(tool="points", correcting=False, structures=make_structures(["femur"]), inside=points)
            write_click_task(folder, asked)
        answer = run_task(PredictionTask(folder, ()), working(model, memory=1000))
        assert answer.error.startswith("the scan: needs about")
    assert run_task(PredictionTask(folder, ()), working(model)).error == ""


def test_a_scan_of_too_many_voxels_is_refused_by_its_header(model: Model, tmp_path: Path) -> None:
    """The file claims 700 voxels each way, and has hardly one: it is told by its header, not by what is missing."""
    folder = tmp_path / "job"
    content = bytearray(gzip.decompress(scan(tmp_path / "s.nii.gz").read_bytes()))
    content[42:48] = np.array([700] * 3, "<i2").tobytes()
    (folder / SCAN).mkdir(parents=True)
    (folder / SCAN / "scan.nii.gz").write_bytes(gzip.compress(bytes(content)))
    answer = run_task(PredictionTask(folder, ()), working(model, most_voxels=300 * 10**6))
    assert answer.error == "the scan has 343,000,000 voxels, on its own grid or the model's; 300,000,000 are taken"
    assert "--max-voxels" in answer.hint
    paths = dicom_writing.series(tmp_path / "series", [(0.0, 0.0, 2.0 * n) for n in range(6)])
    files = ((f"{n:06d}", path.read_bytes()) for n, path in enumerate(paths))
    assert "72 voxels" in run_task(task(tmp_path / "other", *files), working(model, most_voxels=71)).error


def test_what_nobody_foresaw_is_kept_for_the_keeper_alone(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("Doe^Jane")

    monkeypatch.setattr("osteon.serving.job_work._find_scan", broken)
    answer = run_task(PredictionTask(tmp_path, ()), working(model))
    assert "Doe" not in answer.error + answer.hint
    assert "Doe^Jane" in (tmp_path / "trouble.txt").read_text()
    assert MASK == "mask"


# The command


def test_the_token_is_made_once_and_kept(tmp_path: Path) -> None:
    assert find_token(None, "", tmp_path, local=True) == ("", False)
    token, made = find_token(None, "", tmp_path, local=False)
    assert made
    assert len(token) == 32
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert find_token(None, "", tmp_path, local=False) == (token, False)
    (tmp_path / "given").write_text("a" * 20 + "\n")
    assert find_token(tmp_path / "given", TOKEN, tmp_path, local=True) == ("a" * 20, False)


def test_a_bad_start_is_said(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "short").write_text("secret")
    assert command("serve", trained, "--folder", tmp_path / "j", "--token-file", tmp_path / "short") == 2
    assert "shorter than 16 characters" in capsys.readouterr().err
    assert command("serve", tmp_path / "nothing", "--folder", tmp_path / "j") == 1
    assert "not a whole model folder" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert command("serve", trained, "--folder", tmp_path / "j", "--port", port) == 2
    assert f"--port {port + 1}" in capsys.readouterr().err


def test_what_has_to_be_installed_is_said(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("osteon.cli.serve.find_spec", lambda _: None)
    assert command("serve", trained, "--folder", tmp_path / "j") == 2
    assert "pip install 'osteon[serve]'" in capsys.readouterr().err
    assert not (tmp_path / "j").exists()


def test_a_folder_serves_one_server(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from osteon.serving.server import hold_jobs_folder

    with hold_jobs_folder(tmp_path):
        assert command("serve", trained, "--folder", tmp_path) == 2
    assert "another `osteon serve` works in it" in capsys.readouterr().err
