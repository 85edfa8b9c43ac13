"""`--track mlflow:URI`: what is sent, to a client that writes it down, and to MLflow's own server where it is there."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
import time
import types
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

import osteon
from osteon.core.errors import UsageError
from osteon.plan.schema import write_plan
from osteon.runs.cross_validation import train_all_folds
from osteon.runs.fit import train
from osteon.training.tracking import PARENT, Tracker, parse_track
from runs import CPU, cohort, command, learning_plan

MISSING = [name for name in ("mlflow", "flask", "sqlalchemy", "alembic") if find_spec(name) is None]
QUICK = replace(CPU, epochs=2)
PLAN = {"training.epoch_iterations": 4}


class FakeServer:
    """What MLflow's client would send."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.down = False

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        server = self

        class RefusedError(Exception):
            error_code = "RESOURCE_DOES_NOT_EXIST"

        def run_info(run: str) -> Any:
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run))

        class Client:
            def __init__(self, uri: str) -> None:
                self.uri = uri

            def get_experiment_by_name(self, name: str) -> Any:
                server.answer()
                return types.SimpleNamespace(experiment_id=name)

            def create_run(self, experiment: str, tags: dict[str, str], run_name: str) -> Any:
                run = f"run-{len(server.runs)}"
                server.runs[run] = {"experiment": experiment, "tags": tags, "name": run_name}
                server.runs[run] |= {"params": {}, "metrics": [], "status": "RUNNING"}
                return run_info(run)

            def get_run(self, run: str) -> Any:
                server.answer()
                if run not in server.runs:
                    raise RefusedError(run)
                return run_info(run)

            def log_batch(self, run: str, metrics: Any = (), params: Any = ()) -> None:
                server.answer()
                server.runs[run]["metrics"] += metrics
                server.runs[run]["params"] |= dict(params)

            def set_terminated(self, run: str, status: str) -> None:
                server.runs[run]["status"] = status

            def update_run(self, run: str, status: str) -> None:
                server.runs[run]["status"] = status

        for name, content in {
            "mlflow": {"MlflowClient": Client},
            "mlflow.entities": {"Param": lambda *parts: parts, "Metric": lambda *parts: parts},
            "mlflow.exceptions": {"MlflowException": RefusedError},
        }.items():
            module: Any = types.ModuleType(name)
            module.__spec__ = ModuleSpec(name, None)
            vars(module).update(content)
            monkeypatch.setitem(sys.modules, name, module)

    def answer(self) -> None:
        if self.down:
            raise ConnectionError("nobody is there")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    made = FakeServer()
    made.install(monkeypatch)
    return made


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_server_gets_the_rows_of_metrics_csv_and_the_result(tmp_path: Path, server: FakeServer) -> None:
    cohort(tmp_path / "data")
    words = ("train", tmp_path / "data", tmp_path / "run", "--epochs", 2, "--device", "cpu", "--workers", 1)
    write_plan(tmp_path / "plan.yaml", learning_plan(PLAN))
    tracked = (*words, "--plan", tmp_path / "plan.yaml", "--track", "mlflow:http://127.0.0.1:5000")
    assert command(*tracked) == 0
    (run,) = server.runs.values()
    assert (run["status"], run["experiment"], run["name"]) == ("FINISHED", "tiny", "run")
    assert run["params"]["network"].startswith("unet")
    expected = [(name, float(row[name]), int(row["iteration"])) for row in rows(tmp_path / "run") for name in row]
    sent = [(name, value, step) for name, value, _, step in run["metrics"] if not name.startswith("final_")]
    assert sorted(sent) == sorted(e for e in expected if e[0] in {name for name, *_ in sent})
    assert len(sent) >= 2 * 6
    validation = json.loads((tmp_path / "run/model/validation.json").read_text())
    assert [value for name, value, *_ in run["metrics"] if name == "final_dice"] == [validation["dice"]]
    assert not [c for c in validation["cases"] if c in json.dumps(run)]
    assert "track" not in validation["training"]
    assert command(*tracked) == 0  # done already: nothing is sent
    assert len(server.runs) == 1


def test_a_silent_server_is_an_error_at_first_and_a_warning_later(
    tmp_path: Path, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.down = True
    with pytest.raises(UsageError, match="does not take a run"):
        train(cohort(tmp_path / "data"), learning_plan(PLAN), tmp_path / "run", replace(QUICK, track="mlflow:x"))
    server.down = False
    tracker = Tracker("x", "tiny", "run", tmp_path)
    server.down = True
    tracker.log_metrics({"loss": 1.0}, 1)
    tracker.log_metrics({"loss": 0.5}, 2)
    assert capsys.readouterr().err.count("does not answer") == 1
    server.down = False
    tracker.log_metrics({"dice_Knochen ä": 0.25}, 3)
    (run,) = server.runs.values()
    assert [(name, value, step) for name, value, _, step in run["metrics"]] == [
        ("loss", 1.0, 1),
        ("loss", 0.5, 2),
        ("dice_Knochen _", 0.25, 3),
    ]
    again = Tracker("x", "tiny", "run", tmp_path)
    assert again.run_id == tracker.run_id  # a training that goes on
    assert Tracker("y", "tiny", "run", tmp_path).run_id != tracker.run_id  # on another server
    server.runs.clear()
    Tracker("y", "tiny", "run", tmp_path)  # one that was deleted there
    assert len(server.runs) == 1


def test_folds_are_runs_within_a_run_and_a_failure_is_said(tmp_path: Path, server: FakeServer) -> None:
    data, options = cohort(tmp_path / "data"), replace(QUICK, epochs=1, track="mlflow:x", fold="all", folds=2)
    train_all_folds(data, learning_plan(PLAN), tmp_path / "run", options)
    parent, *folds = server.runs
    assert [server.runs[fold]["tags"] for fold in folds] == [{PARENT: parent}] * 2
    assert [run["name"] for run in server.runs.values()] == ["run", "fold-0", "fold-1"]
    assert {run["status"] for run in server.runs.values()} == {"FINISHED"}
    diverging = learning_plan({**PLAN, "training.learning_rate": 1e30, "training.clip_gradient": 1e30})
    with pytest.raises(osteon.OsteonError):
        train(data, diverging, tmp_path / "bad", replace(options, fold=0))
    assert list(server.runs.values())[-1]["status"] == "FAILED"


@pytest.mark.parametrize(("text", "message"), [
    ("wandb:x", "not a place"),
    ("mlflow:", "not a place"),
    ("mlflow:http://user:secret@host", "password"),
])  # fmt: skip
def test_places_that_are_none_are_refused(text: str, message: str, server: FakeServer) -> None:
    with pytest.raises(UsageError, match=message) as error:
        parse_track(text)
    assert "secret" not in error.value.message
    assert not server.runs


def test_without_the_client_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("osteon.training.tracking.find_spec", lambda _: None)
    with pytest.raises(UsageError) as error:
        parse_track("mlflow:http://127.0.0.1:5000")
    assert "osteon[track]" in error.value.hint


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of MLflow's on this machine."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{folder}/db", "--artifacts-destination", str(folder / "artifacts")]
    quiet = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words], stdout=log, stderr=log, env=quiet, start_new_session=True
        ) as process,
    ):
        address = f"http://127.0.0.1:{port}"
        try:
            until = time.monotonic() + 300
            while True:
                try:
                    with urllib.request.urlopen(f"{address}/health"):
                        break
                except OSError:
                    assert process.poll() is None, (folder / "log").read_text()
                    assert time.monotonic() < until
                    time.sleep(0.2)
            yield address
        finally:
            os.killpg(process.pid, 15)


@pytest.mark.skipif(bool(MISSING), reason=f"MLflow's server is not installed ({', '.join(MISSING)} missing)")
def test_a_sweep_on_a_server_of_mlflows(mlflow: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    cohort(tmp_path / "data")
    sweep = {"dataset": "data", "epochs": 1, "device": "cpu", "workers": 1, "track": f"mlflow:{mlflow}", "stop": None}
    sweep["base"] = {"training.epoch_iterations": 2}
    sweep["grid"] = {"training.learning_rate": [0.01, 0.02]}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    assert command("sweep", tmp_path / "sweep.yaml") == 0
    client = MlflowClient(mlflow)
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if PARENT not in run.data.tags]
    trials = [run for run in runs if run is not parent]
    assert {run.data.tags[PARENT] for run in trials} == {parent.info.run_id}
    assert {run.data.params["learning_rate"] for run in trials} == {"0.01", "0.02"}
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in trials:
        folder = tmp_path / "sweep" / run.info.run_name
        loss = client.get_metric_history(run.info.run_id, "loss")
        assert [(m.value, m.step) for m in loss] == [(float(r["loss"]), int(r["iteration"])) for r in rows(folder)]
