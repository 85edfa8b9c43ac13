"""What earlier versions left on disk (tests/fixtures/before, see make_before.py) is read, and work on it goes on."""

from __future__ import annotations

import csv
import os
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from osteon.app.bin import list_deletions, restore
from osteon.app.curves import read_curves
from osteon.app.jobs import FINISHED
from osteon.app.pages.dataset import read_audit
from osteon.app.results import (
    describe_maker,
    find_dataset,
    prediction_records,
    read_metrics,
    read_volumes,
    result_files,
)
from osteon.app.state import AppState
from osteon.app.workspace import Workspace
from osteon.core import schema_versions
from osteon.core.errors import DatasetError, OsteonError, PlanError, UsageError
from osteon.core.files import read_json, read_yaml
from osteon.core.schema_versions import SCHEMAS, Schema, SchemaKind, migrate
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Manifest, read_manifest, write_manifest
from osteon.formats import read_segmentation
from osteon.plan.schema import Plan, read_plan, write_plan
from osteon.planning.recipe_files import read_recipe
from osteon.predicting.model_folder import load_model
from osteon.runs.record import plan_hash
from osteon.serving.jobs import RESULT, SCAN, JobQueue
from runs import command

BEFORE = Path(__file__).parent / "fixtures/before"
MADE_IN = "/tmp/osteon-v1"
TRAIN = ("--folds", "2", "--device", "cpu", "--workers", "1")
CASES = [f"leg{n}" for n in range(4)]


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all that version 1 left, as the folder one works in."""
    folder = tmp_path / "v1"
    shutil.copytree(BEFORE / "v1", folder)
    for path in folder.rglob("*"):
        if path.suffix in (".json", ".yaml") and MADE_IN in (text := path.read_text()):
            path.write_text(text.replace(MADE_IN, str(folder)))
    for path, mark in exported_files(
        folder / "export"
    ).items():  # a ledger knows files by times, which git does not keep
        os.utime(path, ns=(int(mark.split()[1]),) * 2)
    monkeypatch.chdir(folder)
    return folder


def exported_files(folder: Path) -> dict[Path, str]:
    """The files of an export, and how its ledger knows each: its size and time."""
    cases = read_json(folder / "exports.json", "the ledger")["stl"]
    return {folder / name: mark for names in cases.values() for name, mark in names.items()}


def files(folder: Path, pattern: str) -> dict[Path, tuple[int, bytes]]:
    """When the files of a folder were written, and what they hold."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob(pattern) if path.is_file()}


def maps(folder: str) -> dict[str, np.ndarray]:
    """The label maps of a folder of results."""
    return {case: read_segmentation(Path(folder, f"{case}.nii.gz")).array for case in CASES}


def printed_by(capsys: pytest.CaptureFixture[str]) -> str:
    """What a command said."""
    output = capsys.readouterr()
    return output.out + output.err


# Datasets and plans


@pytest.mark.parametrize("name", ["legs", "hand"])
def test_a_dataset_is_audited_and_planned_again(left: Path, name: str) -> None:
    manifest, before = read_manifest(left / name), read_audit(left / name)
    assert before is not None
    summary, findings, *rest = before
    reworded = [f.model_copy(update={"what": f.what.replace("and likewise in", "and also in")}) for f in findings]
    assert command("audit", name, "--workers", "1") == 0
    assert read_audit(left / name) == (summary, reworded, *rest)
    assert command("plan", name, "--no-cost", "--force") == 0
    write_manifest(left / name, manifest)
    assert read_manifest(left / name) == manifest


def test_structures_that_overlap_are_read(left: Path) -> None:
    hand = Dataset.open(left / "hand")
    (case, *_), plan = hand.manifest.cases, read_plan(left / "hand/plan.yaml")
    assert plan.overlapping
    assert hand.manifest.overlapping
    assert hand.load_segmentation(case).array.shape[0] == len(plan.structures) == 29


def test_a_plan_says_what_it_said(left: Path) -> None:
    before, plan = read_yaml(left / "legs/plan.yaml", ""), read_plan(left / "legs/plan.yaml")
    assert (left / "legs/cache" / plan.cache_key).is_dir()
    assert (plan.training.learning_rate, plan.network.features) == (0.02, [4, 6])  # type: ignore[union-attr]
    assert read_recipe(left / "recipe.yaml").plan == {"training": {"learning_rate": 0.02}}
    write_plan(left / "new.yaml", plan)
    assert read_plan(left / "new.yaml") == plan
    written = read_yaml(left / "new.yaml", "")
    assert [written[key] for key in ("structures", "grid", "patch")] == [
        before[k] for k in ("structures", "grid", "patch")
    ]


# Trainings


def test_an_interrupted_training_goes_on_to_its_end(left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cached, begun = files(left / "legs/cache", "*.npy"), (left / "interrupted/metrics.csv").read_text()
    assert cached
    assert not (left / "interrupted/model").exists()
    assert command("train", "legs", "interrupted", "--epochs", "4", *TRAIN) == 0
    assert "continuing from iteration" in printed_by(capsys)
    rows = (left / "interrupted/metrics.csv").read_text()
    assert rows.startswith(begun)
    assert [row["iteration"] for row in csv.DictReader(rows.splitlines())] == ["40", "80", "120", "160"]
    assert files(left / "legs/cache", "*.npy") == cached
    assert load_model(left / "interrupted").validation["dice"] > 0.9
    assert command("train", "legs", "interrupted", "--epochs", "4", *TRAIN) == 0


def test_a_finished_training_is_found_done(left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(left / "run", "*")
    assert command("train", "legs", "run", "--epochs", "4", *TRAIN) == 0
    assert "is trained already" in printed_by(capsys)
    assert command("train", "legs", "run", "--epochs", "5", *TRAIN) == 2
    assert files(left / "run", "*") == before


def test_a_training_begins_with_a_model(left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("train", "legs", "new", "--init", "run", "--epochs", "1", *TRAIN) == 0
    assert "head kept for femur, tibia" in printed_by(capsys)
    assert read_yaml(left / "new/run.yaml", "")["schema"] == SCHEMAS["run"].version


def test_a_sweep_is_found_done(left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(left / "sweep", "*.safetensors")
    assert len(before) == 6
    assert command("sweep", "sweep.yaml") == 0
    assert printed_by(capsys).count("done") >= 2
    assert files(left / "sweep", "*.safetensors") == before


# Results


def test_a_model_predicts_what_it_predicted(left: Path) -> None:
    model = load_model(left / "run")
    for case, before in maps("predictions").items():
        now = model.predict(left / f"legs-source/{case}_image.nii.gz").array
        assert np.mean(now != before) < 0.002  # another processor may round a voxel the other way


def test_predictions_are_skipped_and_done_again(left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(left / "predictions", "*.nii.gz")
    given = ("predict", "run", "legs", "predictions", "--probabilities", "--device", "cpu", "--engine", "torch")
    assert command(*given) == 0
    assert "4 were done" in printed_by(capsys)
    assert files(left / "predictions", "*.nii.gz") == before
    assert command(*given, "--overwrite") == 0
    assert files(left / "predictions", "*.nii.gz") != before


def test_results_are_voted_on_scored_and_exported_again(left: Path) -> None:
    votes, scores = maps("vote"), read_json(left / "predictions/metrics.json", "")
    assert command("vote", "predictions", "others", "vote", "--threshold", "1") == 0
    assert all(np.array_equal(votes[case], now) for case, now in maps("vote").items())
    assert command("evaluate", "predictions", "legs", "--workers", "1") == 0
    again = read_json(left / "predictions/metrics.json", "")
    assert (again["overall"]["dice"], again["seen"]) == (scores["overall"]["dice"], scores["seen"])
    ledger = exported_files(left / "export")
    assert command("export", "stl", "predictions", "export") == 0  # over files that it knows as its own
    again = exported_files(left / "export")
    assert again.keys() == ledger.keys()
    assert not again.items() & ledger.items()


# The app and the server


def test_the_apps_workspace_lists_what_it_holds(left: Path) -> None:
    app = AppState(Workspace.open(left / "workspace"))
    space = app.workspace
    assert [item.name for item in space.items("sources")] == [item.name for item in app.datasets()] == ["legs"]
    assert [item.name for item in app.models()] == ["first"]
    assert read_audit(app.datasets()[0].path) is not None
    assert read_curves(app.models()[0].path).loss
    (result,) = space.items("results")
    assert (result.name, result.title, describe_maker(app, result)) == ("mine", "My result", "the model first")
    assert (
        sorted(result_files(result))
        == sorted(prediction_records(result))
        == sorted(read_metrics(result)["cases"])
        == CASES
    )
    assert len(read_volumes(app, result)) == 8
    found = find_dataset(app, result)
    assert found is not None
    assert found[0].name == "legs"
    assert {item.name for item in space.items("exports")} == {"mine-volumes", "mine-seg-nrrd"}
    jobs = app.jobs.all()
    assert {job.command for job in jobs} == {"import", "audit", "train", "predict", "export", "evaluate"}
    assert {app.jobs.state(job).phase for job in jobs} == {"done"} < {*FINISHED}
    (gone,) = list_deletions(app)
    assert (gone.title, gone.kind) == ("gone", "results")
    restore(app, gone)
    assert {item.name for item in space.items("results")} == {"mine", "gone"}


def test_a_server_takes_its_jobs_up(left: Path) -> None:
    queue = JobQueue(left / "served", 8)
    assert queue.damaged == 0
    (done,) = (job for job in queue.jobs.values() if job.state == "done")
    assert (queue.store.path(done.id) / RESULT / "mask.nii.gz").is_file()
    waiting = queue.start_next(0)
    assert waiting is not None
    assert (queue.store.path(waiting.id) / SCAN / "scan.nii.gz").is_file()


# Versions of files


READERS = {
    "dataset": ("legs/dataset.yaml", ("audit", "legs"), 1),
    "plan": ("legs/plan.yaml", ("train", "legs", "new", "--epochs", "1"), 2),
    "run": ("run/run.yaml", ("train", "legs", "run", "--epochs", "4", *TRAIN), 2),
}


@pytest.mark.parametrize("kind", READERS)
def test_a_newer_version_is_refused(left: Path, kind: SchemaKind, capsys: pytest.CaptureFixture[str]) -> None:
    name, given, code = READERS[kind]
    data = read_yaml(left / name, "")
    (left / name).write_text(yaml.safe_dump(data | {SCHEMAS[kind].key: 7}))
    assert command(*given) == code
    output = " ".join(printed_by(capsys).split())
    assert f"{name}: {SCHEMAS[kind].key}: version 7" in output
    assert "update osteon" in output
    assert ("which osteon 0.1.0 wrote" in output) == (kind == "run")


@pytest.mark.parametrize("kind", READERS)
def test_a_file_without_a_number_is_of_version_1(kind: SchemaKind) -> None:
    key = SCHEMAS[kind].key
    assert migrate(kind, {"name": "a"}, Path("a")) == {"name": "a", key: SCHEMAS[kind].version}
    for nonsense in (0, -1, True, "1", 1.0, None):
        with pytest.raises(OsteonError, match=f"a: {key}: .* is no version"):
            migrate(kind, {key: nonsense}, Path("a"))
    assert migrate(kind, ["no mapping"], Path("a")) == ["no mapping"]


def test_earlier_versions_are_migrated_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEMAS, "run", Schema("schema", UsageError, version=3))
    monkeypatch.setattr(
        schema_versions,
        "MIGRATIONS",
        {
            ("run", 1): lambda data: {"epochs_of_2": data["epochs"]},
            ("run", 2): lambda data: {"epochs_of_3": data["epochs_of_2"] + 1},
        },
    )
    before = {"epochs": 4}
    assert migrate("run", before, Path("run.yaml")) == {"epochs_of_3": 5, "schema": 3}
    assert migrate("run", {"schema": 2, "epochs_of_2": 4}, Path("run.yaml")) == {"epochs_of_3": 5, "schema": 3}
    assert before == {"epochs": 4}


def test_there_is_a_way_from_each_earlier_version() -> None:
    ways = {(kind, version) for kind, schema in SCHEMAS.items() for version in range(1, schema.version)}
    assert set(schema_versions.MIGRATIONS) == ways
    assert (SCHEMAS["dataset"].error, SCHEMAS["plan"].error) == (DatasetError, PlanError)
    for kind, model in (("dataset", Manifest), ("plan", Plan)):
        assert model.model_fields["osteon"].default == SCHEMAS[kind].version  # type: ignore[index, attr-defined]


def test_a_files_version_changes_no_hash(left: Path) -> None:
    plan = read_plan(left / "legs/plan.yaml")
    later = plan.model_copy(update={"osteon": 2})
    assert (plan_hash(later), later.cache_key) == (plan_hash(plan), plan.cache_key)


def test_what_this_version_leaves_can_be_kept() -> None:
    runpy.run_path(str(BEFORE.with_name("make_before.py")), run_name="not begun")  # its imports follow the code
