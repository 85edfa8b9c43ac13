"""`osteon publish`, and models of a hub: a server of this machine that speaks Hugging Face's file interface."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import yaml
from huggingface_hub import constants

import osteon
from helpers import two_boxes, use_hub, write_dataset
from osteon.core.errors import ModelError, OsteonError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.exporting.published_model import separate_statistics
from osteon.formats import read_segmentation, write_volume
from osteon.predicting.hub_files import CHECKSUMS, parse_address, read_checksums
from osteon.predicting.model_folder import load_model
from osteon.predicting.records import find_model_folder
from osteon.predicting.reference_statistics import ReferenceStatistics
from osteon.runs.fit import train
from runs import CPU, command, learning_plan

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAMES = [f"MUELLER-1961-{n}" for n in range(4)] + ["Schmidt_Anna", "patient 77"]
"""Ids of cases, as they should not be and often are."""
ABOUT: dict[str, Any] = {"licence": "cc-by-4.0", "authors": ["Doe, Jo"], "title": "Boxes", "onnx": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ward-12-archive")
    dataset = write_dataset(folder / "dataset", {name: two_boxes(seed=n) for n, name in enumerate(NAMES)})
    plan = learning_plan({"training.epoch_iterations": 8, "training.why": [f"{NAMES[0]} is the largest"]})
    train(dataset, plan, folder / "run", replace(CPU, epochs=1))
    return folder / "run"


@pytest.fixture(scope="module")
def published(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "boxes"
    osteon.publish(run, folder, **ABOUT | {"onnx": find_spec("onnx") is not None})
    return folder


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    image, _, affine = two_boxes(seed=9)
    write_volume(tmp_path / "new.nii.gz", Volume(image[None], Geometry(image.shape, affine)))
    return tmp_path / "new.nii.gz"


def test_no_file_names_a_case_or_a_path(published: Path, run: Path) -> None:
    validation = json.loads((run / "model/validation.json").read_text())
    hashes = [content for part in validation["seen"].values() for content in part.values() if content]
    words = [*NAMES, *hashes, run.parent.name, str(Path.home()), "/work/", str(Path(osteon.__file__).parent)]
    files = [path for path in published.rglob("*") if path.is_file()]
    planted = (run / "model/plan.yaml").read_text() + (run / "model/validation.json").read_text()
    assert all(name in planted for name in NAMES)  # else the search below would show nothing
    assert len(files) > 7
    for path in files:
        content = path.read_bytes()
        assert not [word for word in words if word.encode() in content], path.name
        assert not re.search(rb"20\d\d-\d\d-\d\d", content), path.name


def test_the_published_model_predicts_as_the_run_does(published: Path, run: Path, scan: Path, tmp_path: Path) -> None:
    assert command("predict", run, scan, tmp_path / "own", "--device", "cpu") == 0
    assert command("predict", published, scan, tmp_path / "given", "--device", "cpu") == 0
    own, given = (json.loads((tmp_path / name / "predictions.json").read_text()) for name in ("own", "given"))
    facts = [{key: one["new"][key] for key in ("confidence", "review")} for one in (own, given)]
    assert facts[0] == facts[1]
    labels = [read_segmentation(tmp_path / name / "new.nii.gz").array for name in ("own", "given")]
    np.testing.assert_array_equal(*labels)
    assert load_model(published).seen.known is False


def test_what_hugging_face_and_zenodo_read(published: Path) -> None:
    text = (published / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    front = yaml.safe_load(head)
    assert (front["license"], front["library_name"], front["pipeline_tag"]) == (
        "cc-by-4.0",
        "osteon",
        "image-segmentation",
    )
    for part in ("## Intended use", "not a medical device", "## Limits", "Trained on 4 scans", "95% interval", "femur"):
        assert part in body
    zenodo = json.loads((published / ".zenodo.json").read_text())
    assert (zenodo["license"], zenodo["creators"]) == ("cc-by-4.0", [{"name": "Doe, Jo"}])
    sums = read_checksums(published / CHECKSUMS, "boxes")
    there = {path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()}
    assert there - {CHECKSUMS} == set(sums)
    for name, digest in sums.items():
        assert hashlib.sha256((published / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize(("changes", "message"), [
    ({"licence": ""}, "licence is missing"),
    ({"licence": "cc-by"}, "neither a known licence"),
    ({"authors": [" "]}, "no author"),
    ({"title": "Boxes\nof two lines"}, "several lines"),
    ({"title": f"Boxes of {NAMES[4]}"}, f"README.md would hold '{NAMES[4]}'|zenodo.json would hold '{NAMES[4]}'"),
])  # fmt: skip
def test_what_nobody_should_guess_is_refused(run: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OsteonError, match=message):
        osteon.publish(run, tmp_path / "out", **ABOUT | changes)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_never_replaced_and_a_licence_may_be_a_file(run: Path, tmp_path: Path) -> None:
    (tmp_path / "Data Use.txt").write_text("For members only.\n")
    words = ("--author", "Doe, Jo", "--no-onnx", "--licence")
    assert command("publish", run, tmp_path / "out", *words, tmp_path / "Data Use.txt") == 0
    assert (tmp_path / "out/LICENSE").read_text() == "For members only.\n"
    assert "license_name: data-use" in (tmp_path / "out/README.md").read_text()
    assert "license" not in json.loads((tmp_path / "out/.zenodo.json").read_text())
    assert command("publish", run, tmp_path / "out", *words, "mit") == 2


def test_statistics_keep_their_ranges_and_lose_their_rows() -> None:
    rows = [
        ReferenceStatistics(
            volumes={"femur": volume} if volume else {},
            touching=["femur"] if volume == 3 else [],
            image={"ct: q50": -volume},
            spacing_mm=[spacing, 1, 1],
            extent_mm=[100, 100, 50 - volume],
            annotated=["femur"] if volume != 7 else [],
        )
        for volume, spacing in ((5.0, 0.1), (0.0, 0.9), (3.0, 0.5), (7.0, 0.4))
    ]
    apart = separate_statistics(rows)
    assert sorted(row.spacing_mm[0] for row in apart) == [0.1, 0.4, 0.5, 0.9]
    assert sorted(row.volumes["femur"] for row in apart if row.annotated and row.volumes) == [3.0, 5.0]
    assert sum(not row.annotated for row in apart) == 1
    assert [row.volumes for row in apart if row.touching] == [{"femur": 3.0}]
    assert {(row.spacing_mm[0], row.extent_mm[2]) for row in apart} != {(0.1, 45), (0.9, 50), (0.5, 47), (0.4, 43)}


class Hub:
    """A hub of one repository at one commit; `change` may replace a file's content on its way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.change: dict[str, bytes] = {}
        self.commit, self.announced = COMMIT, 0

    def serve(self) -> ThreadingHTTPServer:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                _, _, rest = self.path.partition("/org/boxes/resolve/")
                revision, _, name = rest.partition("/")
                if self.command == "GET":
                    hub.asked.append(name)
                path = hub.folder / name
                if revision not in (COMMIT, "main") or not (name in hub.change or path.is_file()):
                    self.send_response(404)
                    self.send_header("X-Error-Code", "EntryNotFound" if revision == COMMIT else "RevisionNotFound")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                content = hub.change[name] if name in hub.change else path.read_bytes()
                size = len(content) if self.command == "GET" or not hub.announced else hub.announced
                self.send_response(200)
                self.send_header("X-Repo-Commit", hub.commit)
                self.send_header("ETag", '"../../../escaped"')
                self.send_header("Content-Length", str(size))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)

            do_GET = do_HEAD  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OSTEON_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    look_up = socket.getaddrinfo

    def refuse(host: Any, *others: Any, **named: Any) -> Any:
        assert host == "127.0.0.1", "the network was asked"
        return look_up(host, *others, **named)

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tmp_path / "weights"


@pytest.fixture
def hub(published: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    assert not cache.exists()
    made = Hub(published)
    with made.serve() as server:
        use_hub(f"http://127.0.0.1:{server.server_port}", monkeypatch)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield made
        server.shutdown()


MODEL = f"hf:org/boxes@{COMMIT}"


def test_a_model_of_the_hub_predicts_and_is_fetched_once(
    hub: Hub, cache: Path, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("predict", MODEL, scan, tmp_path / "out", "--device", "cpu") == 0
    assert read_segmentation(tmp_path / "out/new.nii.gz").array.any()
    assert sorted(hub.asked) == sorted(set(hub.asked))
    assert not [name for name in hub.asked if name.endswith((".onnx", ".py", ".md"))]
    folder = find_model_folder(MODEL)
    assert folder == cache / "models/org--boxes" / COMMIT
    use_hub("http://127.0.0.1:9", monkeypatch)  # nobody listens there
    assert command("predict", MODEL, scan, tmp_path / "again", "--device", "cpu") == 0
    data = bytearray((folder / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match="cannot be fetched"):
        load_model(MODEL)  # what is damaged is not used, and without a network not replaced
    assert not (folder / "weights.safetensors").exists()


def test_what_is_damaged_in_the_cache_is_fetched_again(hub: Hub) -> None:
    folder = find_model_folder(MODEL)
    (folder / "plan.yaml").write_text("dataset: other\n")
    hub.asked.clear()
    assert load_model(MODEL).plan.dataset == "Boxes"
    assert hub.asked == ["plan.yaml"]


def test_what_other_programs_have_fetched_is_used(hub: Hub, published: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "hf/models--org--boxes/snapshots" / COMMIT
    shutil.copytree(published, snapshot)
    (snapshot / "plan.yaml").write_text("dataset: other\n")
    assert load_model(MODEL).plan.dataset == "Boxes"
    assert hub.asked == ["plan.yaml"]


def replaced(name: str, content: bytes) -> Callable[[Hub], None]:
    return lambda hub: hub.change.update({name: content})


def sums_with(line: str) -> Callable[[Hub], None]:
    def change(hub: Hub) -> None:
        hub.change[CHECKSUMS] = (hub.folder / CHECKSUMS).read_bytes() + line.encode()

    return change


@pytest.mark.parametrize(("change", "message"), [
    (replaced("weights.safetensors", b"damaged"), "weights.safetensors is not what was published"),
    (replaced("plan.yaml", b"dataset: other\n"), "plan.yaml is not what was published"),
    (replaced(CHECKSUMS, b"<html>"), "names no file"),
    (replaced(CHECKSUMS, b""), "is no model of osteon"),
    (replaced(CHECKSUMS, f"{'0' * 64}  pytorch_model.bin\n".encode()), "a pickle, which can run code"),
    (sums_with(f"{'0' * 64}  ../../escaped\n"), "names no file"),
    (sums_with(f"{'0' * 64}  /etc/escaped\n"), "names no file"),
    (sums_with(f"{'0' * 64}  first\\..\\escaped\n"), "names no file"),
    (sums_with(f"{'0' * 64}  plan.yaml\n"), "names no file"),
    (lambda hub: setattr(hub, "commit", "../../../../escaped"), "answers with another commit"),
    (lambda hub: setattr(hub, "announced", 10), "sends more than it announced|cannot be fetched"),
    (lambda hub: setattr(hub, "announced", 1 << 40), "at most"),
])  # fmt: skip
def test_a_hub_that_is_wrong_is_not_believed(
    hub: Hub, cache: Path, change: Callable[[Hub], None], message: str
) -> None:
    change(hub)
    with pytest.raises(ModelError, match=message):
        load_model(MODEL)
    assert not list(cache.parent.rglob("*escaped*"))
    assert not (cache / "models/org--boxes" / COMMIT / "weights.safetensors").exists()


@pytest.mark.parametrize(("address", "hint"), [
    ("hf:org/boxes", f"today it is {MODEL}"),
    ("hf:org/boxes@main", f"today it is {MODEL}"),
    ("hf:org/boxes@0123abc", "lists its commits"),
    ("hf:boxes", "ORGANISATION/NAME@COMMIT"),
    (f"hf:org/../boxes@{COMMIT}", "ORGANISATION/NAME@COMMIT"),
    (f"hf:org/..@{COMMIT}", "ORGANISATION/NAME@COMMIT"),
])  # fmt: skip
def test_only_a_commit_names_a_model(hub: Hub, address: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_address(address)
    assert hint in error.value.hint
    assert not hub.asked


@pytest.mark.usefixtures("hub")
def test_a_missing_commit_and_a_silent_server_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="cannot be fetched"):
        load_model(f"hf:org/boxes@{'f' * 40}")
    use_hub("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(ModelError) as error:
        load_model(MODEL)
    assert "on a machine with a network" in error.value.hint
