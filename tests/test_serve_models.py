"""Several models in one server: each with its queue, its process and its thread."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from osteon.core.errors import UsageError
from osteon.serving.guard import ServerRules
from osteon.serving.job_work import TaskResult
from osteon.serving.jobs import JobQueue
from osteon.serving.model_names import name_models
from osteon.serving.worker import share_memory
from runs import cohort
from serving import TOKEN, FakePredictor, Reply, RunningServer, serving, wait_until
from test_serve_watched import metrics


@pytest.fixture
def two(tmp_path: Path) -> Iterator[RunningServer]:
    """A server of `leg`, which hangs, and `arm`, which works."""
    arm = FakePredictor(name="arm")
    arm.facts = {"structures": ["humerus"]}
    arm.go.set()
    leg = FakePredictor(name="leg")
    with serving(tmp_path, predictor=leg, others=[arm], rules=ServerRules(TOKEN), limit_s=2, queue=2) as running:
        running.client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield running


def test_a_request_chooses_its_model(two: RunningServer) -> None:
    client = two.client
    assert [model["name"] for model in client.ask("GET", "/models").data] == ["leg", "arm"]
    assert client.ask("GET", "/model").data == {"name": "leg", "structures": ["femur"]}
    assert client.ask("GET", "/model?model=arm").data["structures"] == ["humerus"]
    for method, path in (("GET", "/model"), ("POST", "/jobs"), ("GET", "/ready")):
        answer = client.ask(method, f"{path}?model=hand", b"x" if method == "POST" else None)
        assert (answer.status, answer.data["hint"]) == (404, "GET /models names them: leg, arm")
    usual, chosen = client.send().data, client.send(query="?model=arm").data
    assert (usual["model"], chosen["model"]) == ("leg", "arm")
    assert client.wait_for(chosen["id"])["state"] == "done"
    assert [job["id"] for job in client.ask("GET", "/jobs?model=leg").data] == [usual["id"]]


def test_a_model_that_hangs_holds_up_no_other(two: RunningServer) -> None:
    client = two.client
    hung = [client.send().data["id"]]
    wait_until(lambda: two.predictor.tasks)
    hung += [client.send().data["id"] for _ in range(2)]
    assert client.send().status == 429  # its queue is full; the other's is not
    wait_until(lambda: client.ask("GET", "/ready?model=leg").status == 503)
    assert client.ask("GET", "/ready").status == client.ask("GET", "/ready?model=arm").status == 200
    health = client.ask("GET", "/health").data
    assert (health["status"], health["waiting"], health["free"]) == ("degraded", 2, 2)
    assert health["why"][0].startswith("leg: a job has been worked on for")
    for _ in range(3):
        assert client.wait_for(client.send(query="?model=arm").data["id"])["state"] == "done"
    assert client.wait_for(hung[0])["error"] == "the job took longer than 2 s"
    two.predictor.go.set()
    assert {client.wait_for(job_id)["state"] for job_id in hung[1:]} == {"done"}
    found = metrics(client.ask("GET", "/metrics").body)
    assert found['osteon_serve_jobs_ended_total{model="arm",state="done"}'] == 3
    assert found['osteon_serve_jobs_ended_total{model="leg",state="failed"}'] == 1
    assert found['osteon_serve_predictor_restarts_total{model="leg"}'] == 1
    assert found['osteon_serve_predictor_restarts_total{model="arm"}'] == 0
    assert found['osteon_serve_job_seconds_count{model="leg"}'] == 3


def test_a_job_that_runs_is_removed_with_its_own_process(two: RunningServer) -> None:
    arm = two.dispatchers.find("arm").predictor
    job_id = two.client.send().data["id"]
    wait_until(lambda: two.predictor.tasks)
    assert two.client.ask("DELETE", f"/jobs/{job_id}").status == 204
    wait_until(lambda: two.predictor.starts == 1)
    assert two.dispatchers.find("arm").restarts == 0
    assert arm.alive


def test_a_job_waits_for_a_server_that_has_its_model(tmp_path: Path) -> None:
    before = JobQueue(tmp_path, 4, ["leg", "arm"])
    ids = {}
    for model in ("", "arm"):
        with before.store.incoming() as folder:
            ids[model] = before.submit(folder, (), model).id
    running = FakePredictor(name="foot")
    running.go.set()
    with serving(tmp_path, predictor=running) as server:
        assert server.queue.unserved() == ["arm"]
        assert server.client.wait_for(ids[""])["model"] == "foot"  # the first, whichever that is now
        waits = server.client.ask("GET", f"/jobs/{ids['arm']}").data
        assert (waits["state"], waits["ahead"], waits["model"]) == ("queued", None, "arm")
        assert waits["hint"] == "this server does not have the model; the job waits for one that has"
    again = JobQueue(tmp_path, 4, ["foot", "arm"])
    job = again.start_next(0, "arm")
    assert job is not None
    assert job.id == ids["arm"]


def test_viewers_find_all_models_and_hear_when_the_server_ends(tmp_path: Path) -> None:
    cohort(tmp_path / "data", 1)
    models = [FakePredictor(lambda _: TaskResult("seen", "by it"), name) for name in ("leg", "arm")]
    for model, structure in zip(models, ("femur", "humerus"), strict=True):
        own = {"structures": [{"name": structure, "value": 1}], "dimensions": 3, "validation_dice": None}
        model.facts = own | {"interactive": False, "clicks": None}
    with serving(tmp_path, predictor=models[0], others=models[1:], dataset=tmp_path / "data") as running:

        def segment(model: str) -> Reply:
            return running.client.ask("POST", f"/infer/{model}?image=c0&output=json", b"")

        info = running.client.ask("GET", "/info/").data
        assert list(info["models"]) == ["leg", "arm", "points", "leg+points", "arm+points"]
        assert info["models"]["arm"]["labels"] == {"humerus": 1}
        assert list(info["trainers"]) == ["leg"]
        models[1].go.set()
        assert (segment("arm").status, segment("foot").status) == (422, 404)
        assert (len(models[1].tasks), models[0].tasks) == (1, [])
        with ThreadPoolExecutor() as threads:
            first = threads.submit(segment, "leg")
            wait_until(lambda: models[0].tasks)
            second = threads.submit(segment, "leg")
            wait_until(lambda: running.queue.of("leg").waiting)
            running.queue.close(20)
            assert second.result().status == 503  # nobody could fetch it from the next server
            assert not running.queue.of("leg").waiting
            models[0].go.set()
            assert first.result().data == {"error": "seen", "hint": "by it"}


def test_models_share_the_memory_unless_there_is_one() -> None:
    shared = share_memory(4)
    assert share_memory(1) is None
    assert shared is not None
    assert 0 < 4 * shared < psutil.virtual_memory().total


def test_models_are_named_by_their_folders_unless_named(tmp_path: Path) -> None:
    run, odd = tmp_path / "legs/model", tmp_path / "a=b c"
    run.mkdir(parents=True)
    odd.mkdir()
    assert name_models([str(run), f"arm={run}", str(odd)]) == {"legs": run, "arm": run, "a-b-c": odd}
    assert list(name_models(["hf:clinic/knee@0123abc"])) == ["knee"]
    for texts, words in (
        ([str(run), str(run)], "two models are called legs"),
        ([f"a/b={run}"], "'a/b' cannot be"),
        ([f"={run}"], "'' cannot be"),
        ([f"{65 * 'a'}={run}"], "cannot be a model's name"),
    ):
        with pytest.raises(UsageError, match=words):
            name_models(texts)
