"""`osteon serve --protocol monailabel`, by the client module of the package `monailabel` against a real server.

`make setup` puts the package into a folder of its own, without what it requires, as its client needs `requests` and
`cgi` alone; where it is missing those tests are skipped.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK

import dicom_writing
from helpers import tiny_plan, two_boxes, write_dataset
from osteon.core.clicks import Click
from osteon.core.errors import LabelError, OsteonError, UsageError
from osteon.core.files import write_json
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation
from osteon.core.volume import Volume
from osteon.dataset.case_history import read_history
from osteon.dataset.dataset import Dataset
from osteon.dataset.label_versions import load_version
from osteon.dataset.manifest import Case, write_manifest
from osteon.formats import read_segmentation, write_segmentation, write_volume
from osteon.formats.io import read_geometry, read_volume
from osteon.labelling.growth import grow_structure
from osteon.labelling.ranking import rank_candidates
from osteon.labelling.signals import Candidate
from osteon.labelling.suggestion_files import write_suggestions
from osteon.networks.registry import build_network
from osteon.predicting.click_session import ClickSession
from osteon.predicting.model import Model
from osteon.predicting.model_folder import load_model, save_model
from osteon.runs.fit import train
from osteon.runs.update_files import label_versions
from osteon.runs.update_history import read_update
from osteon.serving.monailabel import sessions as session_module
from osteon.serving.monailabel.datastore import Datastore
from osteon.serving.monailabel.forms import split_form
from osteon.serving.monailabel.labels import read_label
from osteon.serving.monailabel.sessions import Sessions
from osteon.serving.monailabel.strategies import STRATEGIES
from osteon.serving.monailabel.training import Training, Trainings
from osteon.serving.monailabel.training_options import choose_beginning
from osteon.serving.worker import ServedModel, load_models
from osteon.web.http_errors import RejectedError
from runs import CPU, cohort, command, learning_plan
from serving import TOKEN, Client, FakePredictor, Reply, serve_model, wait_until

pytestmark = [  # the client leaves its sockets to the collector, and imports cgi
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
OBLIQUE = np.array([[0.8, -0.36, 0.96, -5], [0.6, 0.48, -1.28, 7], [0, 0.8, 1.2, 30], [0, 0, 0, 1]])
FLIPPED = np.array([[0, 0, 1.5, -5], [-1, 0, 0, 7], [0, -1.2, 0, 30], [0, 0, 0, 1.0]])
GRIDS = {"oblique": OBLIQUE, "flipped": FLIPPED, "straight": np.eye(4)}


@dataclass
class Labelled:
    """A running server, its dataset, and clients of it."""

    client: Client
    dataset: Path
    run: Path
    log: Path

    def case(self, case_id: str) -> tuple[Path, Geometry]:
        path = self.dataset / f"images/{case_id}.nii.gz"
        return path, read_geometry(path)

    def form(self, method: str, path: str, file: bytes = b"", params: Any = None, name: str = "label") -> Reply:
        parts = [b'--x\r\nContent-Disposition: form-data; name="params"\r\n\r\n', json.dumps(params or {}).encode()]
        if file:
            disposition = f'\r\n--x\r\nContent-Disposition: form-data; name="{name}"; filename="a.nii.gz"\r\n\r\n'
            parts += [disposition.encode(), file]
        content_type = "multipart/form-data; boundary=x"
        return self.client.ask(method, path, b"".join([*parts, b"\r\n--x--\r\n"]), content_type=content_type)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labelled]:
    """A server of a model that has learned the two boxes, and of its dataset with three scans more, not labelled."""
    folder = tmp_path_factory.mktemp("served")
    dataset = cohort(folder / "data")
    train(dataset, learning_plan(), folder / "boxes", CPU)
    shutil.copy(folder / "boxes/plan.yaml", folder / "data/plan.yaml")  # so that a training begins sooner
    cases = list(dataset.manifest.cases)
    for seed, (name, affine) in enumerate(GRIDS.items(), 20):
        image = two_boxes(seed=seed)[0].astype(np.float32)
        path = f"images/{name}.nii.gz"
        write_volume(folder / "data" / path, Volume(image[None], Geometry(image.shape, affine)))
        cases.append(Case(id=name, images=[path]))
    write_manifest(folder / "data", dataset.manifest.model_copy(update={"cases": cases}))
    plan = tiny_plan({"interactive": {"radius": 2.0}, "patch.size": [16, 16, 16]})
    save_model(folder / "clicks", Model(build_network(plan), plan, {"dice": 0.5, "structures": {}}, ""), "card")
    options = ("--protocol", "monailabel", "--dataset", folder / "data", "--max-upload", "1MB")
    options += ("--click-model", folder / "clicks")
    with serve_model(folder / "boxes", folder / "jobs", *options) as (client, _):
        yield Labelled(client, folder / "data", folder / "boxes", folder / "log")


@pytest.fixture(scope="module")
def module() -> Iterator[Any]:
    """The package's client module."""
    place = Path(sys.prefix) / "share/monailabel"
    try:
        with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
            warnings.simplefilter("ignore")  # cgi
            patch.setattr(sys, "path", [*sys.path, str(place)])
            found = importlib.import_module("monailabel.client.client")
    except ImportError as error:
        pytest.skip(f"needs pip install --no-deps --target {place} monailabel; and requests: {error}")
    yield found
    gc.collect()


@pytest.fixture
def viewer(module: Any, server: Labelled, tmp_path: Path) -> Any:
    """The package's client, logged in."""
    client = module.MONAILabelClient(f"http://localhost:{server.client.port}/", str(tmp_path), "jane")
    assert client.auth_enabled()
    assert not client.auth_valid_token()
    with pytest.raises(module.MONAILabelClientException, match="the password is wrong"):
        client.auth_token("jane", "wrong")
    client.update_auth(client.auth_token("jane", TOKEN))
    assert client.auth_valid_token()
    return client


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def draw(grid: Geometry, path: Path, *, flip: bool = False) -> np.ndarray:
    """Labels as 3D Slicer saves them: its own numbers (tibia 1, femur 2), no names; the array in the dataset's."""
    rng = np.random.default_rng(1)
    own = np.repeat(rng.integers(0, 3, (grid.shape[0], 1, grid.shape[2])), grid.shape[1], 1).astype(np.uint8)
    own[: grid.shape[0] // 2, 0] = 0  # no symmetry
    lps = np.diag([-1.0, -1, 1, 1]) @ grid.affine_ras
    image = SimpleITK.GetImageFromArray(own.transpose(2, 1, 0))
    image.SetSpacing(grid.spacing_mm)
    image.SetDirection((lps[:3, :3] / np.array(grid.spacing_mm)).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    SimpleITK.WriteImage(SimpleITK.Flip(image, [True, False, True]) if flip else image, str(path))
    return np.array([0, 5, 3], np.uint8)[own]


LABEL_INFO = [{"name": "tibia", "idx": 1}, {"name": "femur", "idx": 2}]


def test_a_viewer_finds_models_scans_and_strategies(server: Labelled, viewer: Any, module: Any) -> None:
    info = viewer.info()
    assert info["labels"] == ["femur", "tibia"]
    model = info["models"]["boxes"]
    assert (model["type"], model["labels"], model["dimension"]) == ("segmentation", {"femur": 3, "tibia": 5}, 3)
    assert {"description", "config"} <= model.keys()
    kinds = {name: (row["type"], len(row["labels"])) for name, row in info["models"].items()}
    answering = dict.fromkeys(("clicks", "points", "boxes+clicks", "boxes+points"), ("deepgrow", 0))
    assert kinds == {"boxes": ("segmentation", 2)} | answering
    assert info["trainers"]["boxes"]["config"] == {"budget": "1h"}
    assert set(info["strategies"]) == {"first", "random", "suggest"}
    assert (info["scoring"], info["train_stats"]) == ({}, {})
    assert info["datastore"]["total"] == 9
    assert info["datastore"]["label_tags"]["original"] == 6
    sample = viewer.next_sample("first", {})
    path, _ = server.case("oblique")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert sample == {"id": "oblique", "name": "oblique.nii.gz", "path": str(path), "checksum": f"SHA256:{digest}"}
    assert viewer.next_sample("random", {"more": 1})["id"] in GRIDS
    assert server.client.ask("GET", "/datastore/image?image=oblique").body == path.read_bytes()
    with pytest.raises(module.MONAILabelClientException, match="no such strategy"):
        viewer.next_sample("best", {})


def test_masks_are_the_models_own(server: Labelled, viewer: Any, module: Any, tmp_path: Path) -> None:
    path, grid = server.case("straight")
    expected = load_model(server.run).predict(path)
    session = viewer.create_session(str(path))["session_id"]
    assert viewer.get_session(session)["name"] == session
    for given in (
        {"image_id": "straight"},
        {"image_id": "", "file": str(path)},
        {"image_id": "", "session_id": session},
        {"image_id": "straight", "label_in": str(path)},
    ):
        mask, params = viewer.infer("boxes", params={"extra": 1}, **given)
        found = read_segmentation(Path(mask))
        assert np.array_equal(found.array, expected.array)
        assert found.geometry.is_close(grid)
        assert params["label_names"] == {"femur": 3, "tibia": 5}
        assert set(params["confidence"]) == {"femur", "tibia"}
    mask, _ = viewer.infer("boxes", "straight", {"result_extension": ".seg.nrrd"})
    assert mask.endswith(".seg.nrrd")
    assert np.array_equal(read_segmentation(Path(mask), expected.structures).array, expected.array)
    assert viewer.remove_session(session)["client_id"] == "jane"
    with pytest.raises(module.MONAILabelClientException, match="no such session"):
        viewer.get_session(session)
    answer = server.form("POST", "/infer/boxes?image=straight&output=json")
    assert answer.data["label_names"] == {"femur": 3, "tibia": 5}
    answer = server.form("POST", "/infer/boxes?image=straight&output=image")
    (tmp_path / "mask.nii.gz").write_bytes(answer.body)
    assert np.array_equal(read_segmentation(tmp_path / "mask.nii.gz").array, expected.array)
    assert list((server.run.parent / "jobs/jobs").iterdir()) == []


FEMUR, TIBIA = [2, 5, 4], [8, 5, 4]
TRUE = two_boxes()[1]


def clicked(viewer: Any, model: str, image: str, **params: Any) -> Segmentation:
    """What a model makes of points, on the grid of the scan's own file; its names and values are those that it says."""
    path, said = viewer.infer(model, image, params)
    found = read_segmentation(Path(path))
    values = {s.name: s.value for s in found.structures if found.mask(s).any()}
    assert said["label_names"] == values
    return found


@pytest.mark.parametrize("case_id", ["oblique", "flipped"])
def test_points_alone_find_a_structure_on_the_scans_own_voxels(server: Labelled, viewer: Any, case_id: str) -> None:
    path, grid = server.case(case_id)
    first = clicked(viewer, "points", case_id, label="femur", foreground=[FEMUR], background=[], reach=4.0)
    assert first.geometry.is_close(grid)
    assert set(np.unique(first.array)) == {0, 3}
    assert dice(first.array == 3, TRUE == 3) > 0.8
    away = [FEMUR[0], FEMUR[1], 6]
    assert first.array[tuple(away)] == 3
    then = clicked(viewer, "points", case_id, label="femur", foreground=[FEMUR], background=[away], reach=4.0)
    assert then.array[tuple(away)] == 0
    image = read_volume(path).array[0]
    clicks = [Click((2, 5, 4)), Click((2, 5, 6), positive=False)]
    expected = grow_structure(image, clicks, grid.spacing_mm, reach=4.0)
    assert np.array_equal(then.array[expected.box.slices] == 3, expected.mask)
    both = clicked(viewer, "points", case_id, femur=[FEMUR], tibia=[TIBIA], background=[[6, 5, 4]], reach=4.0)
    assert dice(both.array == 3, TRUE == 3) > 0.7
    assert dice(both.array == 5, TRUE == 5) > 0.7
    assert both.array[6, 5, 4] == 0
    unnamed = clicked(viewer, "points", case_id, foreground=[FEMUR], background=[], reach=0)
    assert set(np.unique(unnamed.array)) == {0, 1}


def test_a_click_model_answers_as_it_does_in_python(server: Labelled, viewer: Any) -> None:
    """The network knows nothing: what counts is that scan, points and their order arrive."""
    path, _ = server.case("flipped")
    session = ClickSession(load_model(server.run.parent / "clicks"), path)
    given = viewer.create_session(str(path))["session_id"]
    for count in (1, 2, 2):
        points = [[2, 5, 4], [3, 3, 3]][:count]
        expected = session.answer([Click((i, j, k)) for i, j, k in points])
        params = {"label": "tibia", "foreground": points, "background": []}
        mask = np.zeros(TRUE.shape, bool)
        mask[expected.box.slices] = expected.mask
        for image, session_id in (("flipped", ""), ("", given)):
            answer, _ = viewer.infer("clicks", image, params, session_id=session_id)
            assert np.array_equal(read_segmentation(Path(answer)).array == 5, mask)


def test_points_correct_what_the_model_finds(server: Labelled, viewer: Any) -> None:
    path, grid = server.case("oblique")
    found = load_model(server.run).predict(path)
    femur, tibia = found.structures
    same = clicked(viewer, "boxes+points", "oblique", label="femur", foreground=[], background=[[0, 0, 0]])
    assert np.array_equal(same.array == 3, found.mask(femur))
    wrong = tuple(int(v) for v in np.argwhere(found.mask(femur))[-1])
    answer = clicked(
        viewer, "boxes+points", "oblique", label="femur", foreground=[], background=[list(wrong)], reach=2.0
    )
    image, out = read_volume(path).array[0], [Click(wrong, positive=False)]
    part = grow_structure(image, out, grid.spacing_mm, reach=2.0, previous=found.mask(femur))
    expected = found.mask(femur).copy()
    expected[part.box.slices] = part.mask
    assert not expected[wrong]
    assert np.array_equal(answer.array == 3, expected)
    both = clicked(viewer, "boxes+points", "oblique", femur=[FEMUR], tibia=[])
    assert np.array_equal(both.array == 5, found.mask(tibia))
    named, _ = viewer.infer("boxes+clicks", "oblique", {"label": "tibia", "result_extension": ".seg.nrrd"})
    assert np.array_equal(read_segmentation(Path(named)).mask(tibia), found.mask(tibia))


def test_a_dicom_seg_refers_to_the_series_that_was_sent(server: Labelled, module: Any, tmp_path: Path) -> None:
    paths = dicom_writing.series(tmp_path / "series", [(0.0, 0.0, 2.0 * n) for n in range(6)])
    files = [("files", (path.name, path.read_bytes())) for path in paths]
    url, headers = f"http://localhost:{server.client.port}", {"Authorization": f"Bearer {TOKEN}"}
    with module.requests.put(f"{url}/session/", files=files, headers=headers) as made:
        session = made.json()["session_id"]
    answer = server.form("POST", f"/infer/boxes?session_id={session}&output=dicom_seg")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/dicom")
    assert dicom_writing.SERIES.encode() in answer.body
    refused = server.form("POST", "/infer/boxes?image=straight&output=dicom_seg")
    assert refused.status == 422
    assert "DICOM" in refused.data["error"]


@pytest.mark.parametrize(("case_id", "suffix"), [("oblique", ".nii.gz"), ("flipped", ".nrrd")])
def test_a_label_comes_back_on_the_scans_own_grid(
    server: Labelled, viewer: Any, module: Any, tmp_path: Path, case_id: str, suffix: str
) -> None:
    _, grid = server.case(case_id)
    expected = draw(grid, tmp_path / f"drawn{suffix}", flip=True)
    before = viewer.info()["datastore"]["completed"]
    sent = viewer.save_label(case_id, str(tmp_path / f"drawn{suffix}"), params={"label_info": LABEL_INFO})
    assert (sent["image"], sent["version"]) == (case_id, 1)
    statistics = viewer.info()["datastore"]
    assert (statistics["completed"], statistics["label_tags"]["final"]) == (before + 1, before + 1)
    labels = viewer.datastore()["objects"][case_id]["labels"]
    assert (set(labels), labels["final"]["info"]) == ({"final", "v1"}, {"version": 1})
    found = read_segmentation(Path(viewer.download_label(case_id, "final")))
    assert np.array_equal(found.array, expected)
    assert np.abs(found.geometry.affine_ras - grid.affine_ras).max() < 1e-5
    first = (server.dataset / f"annotations/{case_id}/1.nii.gz").read_bytes()
    empty = tmp_path / f"erased{suffix}"
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(tmp_path / f"drawn{suffix}")) * 0, str(empty))
    again = viewer.save_label(case_id, str(empty), "final", {"label_info": LABEL_INFO[:1], "version": 1})
    assert again["version"] == 2
    found = read_segmentation(Path(viewer.download_label(case_id, "final")))
    assert np.array_equal(found.array, np.where(expected == 3, 3, 0))  # what it does not name stays
    assert (server.dataset / f"annotations/{case_id}/1.nii.gz").read_bytes() == first
    version = read_history(server.dataset, case_id).version
    assert (version.author, version.base, version.number) == ("jane", 1, 2)
    dataset = Dataset.open(server.dataset)
    assert np.array_equal(
        dataset.load_segmentation(dataset.case(case_id)).array, found.array
    )  # trainings learn from it
    with pytest.raises(module.MONAILabelClientException, match=r"409.*changed since it was opened \(version 1; now 2"):
        viewer.save_label(case_id, str(empty), "", {"label_info": LABEL_INFO, "version": 1})
    with pytest.raises(module.MONAILabelClientException, match=r"no label .*v3.*it has v1, v2, final"):
        viewer.download_label(case_id, "v3")


def test_an_image_is_added_once(server: Labelled, viewer: Any, module: Any, tmp_path: Path) -> None:
    path, grid = server.case("straight")
    image = two_boxes(seed=77)[0].astype(np.float32)
    write_volume(tmp_path / "new.nii.gz", Volume(image[None], grid))
    for _ in range(2):
        assert viewer.upload_image(str(tmp_path / "new.nii.gz"), "Scan 7") == {"image": "Scan 7"}
    dataset = Dataset.open(server.dataset)
    added = dataset.case("Scan 7")
    assert np.array_equal(dataset.load_image(added).array[0], image)
    assert added.provenance == ["sent by jane"]
    for file, name in ((tmp_path / "new.nii.gz", "other"), (path, "scan 7")):
        with pytest.raises(module.MONAILabelClientException, match=r"409.*the dataset has this image: Scan 7"):
            viewer.upload_image(str(file), name)
    mask, _ = viewer.infer("boxes", "Scan 7", {})
    assert viewer.save_label("Scan 7", mask)["version"] == 1
    named, _ = viewer.infer("boxes", "Scan 7", {"result_extension": ".seg.nrrd"})
    assert viewer.save_label("Scan 7", named, params={"label_info": LABEL_INFO})["version"] == 2
    for version in (1, 2):
        kept = load_version(dataset, "Scan 7", version)
        assert np.array_equal(kept.array, read_segmentation(Path(mask)).array)
    first = server.form("PUT", "/datastore/", (tmp_path / "new.nii.gz").read_bytes(), name="file")
    assert "the dataset has this image: Scan 7" in first.data["error"]  # its id is its file's name


def test_a_training_is_started_watched_and_stopped(server: Labelled, viewer: Any, module: Any) -> None:
    error = module.MONAILabelClientException
    for ask in (viewer.train_status, viewer.train_stop):
        with pytest.raises(error, match=r"404.*no training runs"):
            ask()
    assert not viewer.train_status(check_if_running=True)
    with pytest.raises(error, match="no such model"):
        viewer.train_start("other", {})
    with pytest.raises(error, match="not a valid length of time"):
        viewer.train_start("boxes", {"budget": "; rm"})
    mask, _ = viewer.infer("boxes", "c0", {})
    for case_id in ("c0", "c1", "c2"):  # one at least that it was trained on
        viewer.save_label(case_id, mask)
    begun = viewer.train_start("boxes", {"budget": "10min"})
    assert (begun["status"], begun["request"]) == ("RUNNING", {"budget": "10min", "client_id": "jane"})
    assert (begun["before"], begun["verdict"]) == ("the model", {"taken": None, "why": ""})
    with pytest.raises(error, match=r"429.*runs already"):
        viewer.train_start(None, {})
    wait_until(lambda: viewer.info()["train_stats"]["boxes"]["epoch"], 240)
    assert viewer.train_status(check_if_running=True)
    status = viewer.train_status()
    assert (status["id"], status["status"]) == (begun["id"], "RUNNING")
    assert str(server.run.parent) not in json.dumps(status)
    stopped = viewer.train_stop()
    assert (stopped["status"], bool(stopped["details"])) == ("STOPPED", True)
    assert not viewer.train_status(check_if_running=True)
    assert viewer.train_status()["status"] == "STOPPED"
    assert len(server.client.ask("GET", "/train/?all=true").data) == 1
    assert list((server.run.parent / "jobs" / stopped["run"] / "checkpoints").iterdir())
    viewer.train_start("boxes", {"budget": "1s"})
    wait_until(lambda: viewer.train_status()["status"] != "RUNNING", 240)
    judged = viewer.train_status()
    record = read_update(server.run.parent / "jobs" / judged["run"])
    assert record is not None
    assert record.verdict is not None
    assert (judged["status"], judged["verdict"]["taken"]) == ("DONE", record.verdict.taken)
    assert judged["verdict"]["why"] == judged["result"]
    assert record.verdict.why in judged["result"]


def test_what_makes_no_sense_is_refused_in_a_sentence(server: Labelled, tmp_path: Path) -> None:
    path, grid = server.case("straight")
    draw(grid, tmp_path / "drawn.nii.gz")
    moved = SimpleITK.ReadImage(str(tmp_path / "drawn.nii.gz"))
    moved.SetOrigin((1.0, 0, 0))
    SimpleITK.WriteImage(moved, str(tmp_path / "moved.nii.gz"))
    moved.SetOrigin((0.4, 0, 0))
    SimpleITK.WriteImage(moved[1:], str(tmp_path / "small.nii.gz"))
    image, label = path.read_bytes(), (tmp_path / "drawn.nii.gz").read_bytes()
    senseless = [
        ("points", {"label": "femur", "foreground": [[12, 5, 4]]}),
        ("clicks", {"label": "femur", "foreground": [[-1, 5, 4]]}),
        ("points", {"label": "femur", "foreground": [[1, 2]]}),
        ("points", {"label": "femur", "foreground": [["a", 2, 3]]}),
        ("points", {"label": "femur", "foreground": [[float("nan"), 2, 3]]}),
        ("points", {"label": "femur", "foreground": {"0": FEMUR}}),
        ("points", {"label": "femur", "foreground": [FEMUR] * 2001}),
        ("points", {"label": "femur", "foreground": [FEMUR] * 1500, "background": [FEMUR] * 501}),
        ("points", {"label": "femur", "foreground": [], "background": [FEMUR]}),
        ("points", {"label": "femur", "foreground": [FEMUR], "reach": "far"}),
        ("points", {"label": "femur", "foreground": [FEMUR], "reach": -3}),
        ("points", {"label": "tumour", "foreground": [FEMUR]}),
        ("points", {"label": ["femur"], "foreground": [FEMUR]}),
        ("boxes+points", {"foreground": [FEMUR]}),
        ("points", None),
    ]
    tricks = ["..%2F..%2Fetc", "%2Fetc%2Fpasswd", ".hidden", "a%00b", "a%5Cb", "x" * 180]
    asked = [
        *(("GET", f"/datastore/label?label={trick}&tag=final", b"", None, 404) for trick in tricks),
        *(("POST", f"/infer/boxes?image={trick}", b"", None, 404) for trick in tricks),
        *(("PUT", f"/datastore/label?image={trick}", label, None, 404) for trick in tricks),
        *(("PUT", f"/datastore/?image={trick}", image, None, 422) for trick in tricks),
        ("GET", "/datastore/label?label=c0&tag=..%2Fv1", b"", None, 404),
        ("GET", f"/datastore/label?label={'x' * 300}", b"", None, 422),
        ("GET", "/datastore/?output=everything", b"", None, 422),
        ("GET", "/session/..", b"", None, 404),
        ("DELETE", f"/session/{'0' * 32}", b"", None, 404),
        ("POST", "/infer/other?image=c0", b"", None, 404),
        ("POST", "/infer/boxes", b"", None, 422),
        ("POST", "/infer/boxes?image=c0&output=exe", b"", None, 422),
        ("POST", f"/infer/boxes?session_id={'0' * 32}", b"", None, 404),
        ("PUT", "/datastore/label?image=straight&tag=..%2Fx", label, {"label_info": LABEL_INFO}, 422),
        ("PUT", "/datastore/label?image=straight", label, None, 422),  # 1 and 2 are no structures of the dataset
        ("PUT", "/datastore/label?image=straight", label, {"label_info": "femur"}, 422),
        ("PUT", "/datastore/label?image=straight", label, {"label_info": [{"name": "femur", "idx": "1"}]}, 422),
        ("PUT", "/datastore/label?image=straight", label, {"label_info": LABEL_INFO, "version": "1"}, 422),
        ("PUT", "/datastore/label?image=straight", label, {"label_info": LABEL_INFO, "version": 7}, 409),
        ("PUT", "/datastore/label?image=straight", b"no label", None, 415),
        ("PUT", "/datastore/label?image=straight", b"PK\x03\x04", None, 415),
        ("PUT", "/datastore/label?image=straight", label[:-30], {"label_info": LABEL_INFO}, 422),
        ("PUT", "/datastore/label?image=straight", b"", None, 422),
        ("PUT", "/datastore/label?image=straight", bytes(1_100_000), None, 413),
        ("PUT", "/datastore/?image=c0", image, None, 409),
        ("PUT", "/session/", b"", None, 422),
        *(("POST", f"/infer/{model}?image=c0", b"", params, 422) for model, params in senseless),
    ]
    for method, address, file, params, status in asked:
        name = "file" if "/datastore/?" in address else "label"
        reply = (
            server.client.ask(method, address) if method == "GET" else server.form(method, address, file, params, name)
        )
        assert (reply.status, set(reply.data)) == (status, {"error", "hint"}), (address[:60], reply.body)
        assert reply.data["error"]
        assert str(server.dataset.parent) not in reply.body.decode()
    for name in ("moved", "small"):
        reply = server.form(
            "PUT",
            "/datastore/label?image=straight",
            (tmp_path / f"{name}.nii.gz").read_bytes(),
            {"label_info": LABEL_INFO},
        )
        assert reply.status == 422
        assert reply.data["error"].startswith(
            "case straight: the label does not lie on the grid of case straight: the scan"
        )
    for body in (b"{", b"[]", b"nonsense" * 200_000):
        assert server.client.ask("POST", "/activelearning/first", body).status in (413, 422)
    assert read_history(server.dataset, "straight").versions == []
    assert server.client.ask("POST", "/auth/token", b"password=" + b"x" * 20_000).status == 413
    log = server.log.read_text()
    assert not any(word in log for word in (TOKEN, "Traceback", "straight"))


def test_the_description_has_every_call(server: Labelled) -> None:
    paths = server.client.ask("GET", "/openapi.json").data["paths"]
    assert {
        "/info/",
        "/auth/",
        "/auth/token",
        "/auth/token/valid",
        "/activelearning/{strategy}",
        "/infer/{model}",
        "/session/",
        "/session/{session_id}",
        "/datastore/",
        "/datastore/image",
        "/datastore/label",
        "/train/",
        "/train/{model}",
    } <= paths.keys()
    assert paths["/train/"].keys() == {"get", "post", "delete"}
    for address, methods in paths.items():
        for method in methods.values():
            refused = [code for code in method["responses"] if code.startswith("4")]
            schemas = [method["responses"][code]["content"]["application/json"]["schema"] for code in refused]
            assert all(schema == {"$ref": "#/components/schemas/Problem"} for schema in schemas), address
    assert Client(server.client.port).ask("GET", "/info/").status == 401
    assert server.client.ask("PATCH", "/train/").headers["allow"] == "GET, POST, DELETE"


# Parts


def split(tmp_path: Path, body: bytes) -> Any:
    (tmp_path / "form").write_bytes(body)
    return split_form(tmp_path / "form", tmp_path)


def test_a_form_is_taken_apart_by_its_own_first_line(tmp_path: Path) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="params"\r\n\r\n{"a": 1}\r\n--b\r\n'
    file = (
        b'Content-Type: x/y\r\nContent-Disposition: form-data; filename="/t/f.nrrd"; name=label\r\n\r\n\r\n--c\r\n\r\n'
    )
    form = split(tmp_path, head + file + b"\r\n--b--\r\n")
    assert form.params == {"a": 1}
    path, name = form.file("label")
    assert (name, path.read_bytes()) == ("/t/f.nrrd", b"\r\n--c\r\n\r\n")
    assert split(tmp_path, b"").params == {}
    for broken in (
        b"nonsense",
        b"--b\r\n",
        head,
        head[:-3],
        b"--b\r\nContent-Type: x\r\n\r\n\r\n--b--",
        b"--b\r\n\r\n--b--",
    ):
        with pytest.raises(RejectedError) as refused:
            split(tmp_path, broken)
        assert refused.value.status == 422
    form = split(tmp_path, head.replace(b'{"a": 1}\r\n--b', b"[1]\r\n--b--"))
    with pytest.raises(RejectedError, match="not a JSON object"):
        _ = form.params


def numbered(path: Path, *values: int) -> Path:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.array([[[0, *values]]], np.uint8)), str(path))
    return path


@pytest.mark.parametrize(
    ("indices", "values", "meant"),
    [
        ((1, 2), (1, 2), [3, 5]),
        ((3, 7), (7,), [5]),  # as OHIF numbers them
        ((2, 3), (1, 2), [3, 5]),  # as 3D Slicer counts where it leaves out the first
        ((2, 3), (2,), None),  # either
        ((2, 3), (9,), None),
        ((1, 1), (1,), None),
    ],
)
def test_numbers_mean_what_their_names_say_or_are_refused(
    tmp_path: Path, indices: tuple[int, int], values: tuple[int, ...], meant: list[int] | None, server: Labelled
) -> None:
    structures = Dataset.open(server.dataset).structures
    info = [{"name": name, "idx": index} for name, index in zip(("femur", "tibia"), indices, strict=True)]
    path = numbered(tmp_path / "label.nii.gz", *values)
    if meant is None:
        with pytest.raises(OsteonError):
            read_label(path, structures, info)
        return
    label, spoken = read_label(path, structures, info)
    assert label.array.ravel()[1:].tolist() == meant
    assert spoken == {"femur", "tibia"}


def test_names_that_are_no_structures_are_refused_and_none_is_taken_for_another(
    tmp_path: Path, server: Labelled
) -> None:
    structures = Dataset.open(server.dataset).structures
    with pytest.raises(LabelError, match="3 \\(tumour\\)"):
        read_label(numbered(tmp_path / "a.nii.gz", 3), structures, [{"name": "tumour", "idx": 3}])
    with pytest.raises(LabelError, match="is empty"):
        read_label(numbered(tmp_path / "b.nii.gz", 0), structures, None)
    label, spoken = read_label(numbered(tmp_path / "c.nii.gz", 5), structures, None)
    assert (int(label.array.max()), spoken) == (5, {"tibia"})


def test_the_next_scan_is_the_one_that_was_suggested_or_it_is_said_why_not(tmp_path: Path) -> None:
    dataset = cohort(tmp_path / "data", 4)
    cases = [case.model_copy(update={"segmentation": None}) for case in dataset.manifest.cases[1:]]
    choose = STRATEGIES["suggest"].choose
    case, why = choose(dataset, cases)
    assert (case.id, why[:58]) == ("c1", "the first scan without a label: nothing was suggested yet:")
    ranked = rank_candidates([Candidate(f"c{n}", confidence={"femur": 1 - n / 5}) for n in range(4)], {}, 2)
    write_suggestions(tmp_path / "data/suggestions", ranked, {}, dataset="tiny", model="")
    assert choose(dataset, cases)[0].id == "c3"
    assert choose(dataset, cases)[1].startswith("expected Dice 0.40")
    assert choose(dataset, cases[:2])[0].id == "c2"
    other = Case(id="new", images=["new.nii.gz"])
    case, why = choose(dataset, [other])
    assert case == other
    assert "everything that was suggested has a label" in why
    (tmp_path / "data/suggestions/suggestions.json").write_text("{")
    assert "the suggestions cannot be read" in choose(dataset, cases)[1]


def test_where_a_scan_lies_is_said_on_this_machine_alone(tmp_path: Path) -> None:
    dataset = cohort(tmp_path / "data", 1)
    store, case = Datastore(dataset.folder, 10**6), dataset.case("c0")
    assert store.sample(case, dataset, local=True)["path"] == str(dataset.folder / "images/c0.nii.gz")
    assert store.sample(case, dataset, local=False)["path"] == ""


@pytest.mark.parametrize("overlapping", [False, True])
def test_a_label_of_a_part_leaves_the_rest_as_it_was(tmp_path: Path, overlapping: bool) -> None:
    """A box of the scan, as 3D Slicer cuts it in .seg.nrrd, and one structure of two."""
    image, labels, affine = two_boxes()
    masks = np.stack([labels == 3, labels == 5]).astype(np.uint8) if overlapping else labels
    dataset = write_dataset(tmp_path / "data", {"c0": (image, masks, affine)}, overlapping=overlapping)
    part = Geometry((2, 2, 2), affine @ np.array([[1, 0, 0, 5], [0, 1, 0, 5], [0, 0, 1, 3], [0, 0, 0, 1.0]]))
    tibia = tuple(s for s in dataset.structures if s.name == "tibia")
    write_segmentation(tmp_path / "a.seg.nrrd", Segmentation(np.full((2, 2, 2), 5, np.uint8), part, tibia))
    assert Datastore(dataset.folder, 10**6).save_label("c0", tmp_path / "a.seg.nrrd", "jane") == 1
    kept = load_version(dataset, "c0", 1)
    assert np.array_equal(kept.mask(dataset.structures[0]), labels == 3)
    drawn = np.zeros(labels.shape, bool)
    drawn[5:7, 5:7, 3:5] = True
    assert np.array_equal(kept.mask(dataset.structures[1]), drawn)


def test_sessions_end_and_are_not_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(session_module, "time", SimpleNamespace(monotonic=lambda: now[0], time=lambda: 0))
    monkeypatch.setattr(session_module, "MOST_SESSIONS", 2)
    sessions = Sessions(tmp_path)
    names = []
    for expiry in (10, 0):
        with sessions.store.incoming() as folder:
            names.append(sessions.add(folder, "jane", expiry).name)
    with pytest.raises(RejectedError, match="there are 2 sessions"):
        sessions.check_room()
    now[0] = 9
    sessions.get(names[0])
    now[0] = 18
    assert sessions.get(names[0]).expiry == 10
    now[0] = 30
    sessions.check_room()
    with pytest.raises(RejectedError, match="no such session"):
        sessions.get(names[0])
    assert Sessions(tmp_path).get(names[1]).expiry == session_module.USUAL_S


def pretend_run(folder: Path, before: Path, verdict: dict[str, Any] | None) -> Path:
    """A run that is an update, as far as it is looked at."""
    record = {"parent": {"folder": os.path.relpath(before, folder), "sha256": ""}, "training": 1, "validation": 1}
    judged = verdict and {"dice": {"before": 0.9, "after": 0.8}, "structures": {}, "cases": {}} | verdict
    write_json(folder / "update.json", record | {"verdict": judged})
    model = folder / ("model" if judged and judged["taken"] else "not-taken")
    shutil.copytree(before / "model", model)
    return folder


def test_a_training_goes_on_from_the_last_model_that_was_taken(tmp_path: Path, server: Labelled) -> None:
    run, dataset = tmp_path / "boxes", Dataset.open(server.dataset)
    shutil.copytree(server.run / "model", run / "model")
    validation = json.loads((run / "model/validation.json").read_text())
    begin = choose_beginning(dataset, run, [])
    assert (begin.options, begin.ungated) == (("--update", str(run)), "")
    taken = pretend_run(tmp_path / "1/run", run, {"taken": True, "why": "better"})
    worse = pretend_run(tmp_path / "2/run", taken, {"taken": False, "why": "worse"})
    other = pretend_run(tmp_path / "3/run", tmp_path / "1/run", None)
    for runs, before in (([worse], run), ([taken, worse, other], taken)):
        assert choose_beginning(dataset, run / "model", runs).before == before
    seen = dict.fromkeys((case.id for case in dataset.manifest.cases), "")
    for role, message in (("training", "nothing was labelled"), ("before", "nothing was labelled")):
        old = validation | {"seen": {"training": {}, "validation": {}, "before": {}} | {role: seen}}
        write_json(run / "model/validation.json", old | {"labels": label_versions(dataset, seen)})
        with pytest.raises(RejectedError, match=message) as refused:
            choose_beginning(dataset, run, [])
        assert refused.value.status == 422
    write_json(run / "model/validation.json", {k: v for k, v in validation.items() if k != "seen"})
    begin = choose_beginning(dataset, run, [])
    assert begin.options[:2] == ("--init", str(run))
    assert "does not say which scans" in begin.ungated


@pytest.mark.parametrize("taken", [True, False])
def test_viewers_are_told_whether_a_model_was_taken(tmp_path: Path, server: Labelled, taken: bool) -> None:
    trainings = Trainings(tmp_path, server.dataset, server.run, "boxes", "cpu", "1h")
    place = tmp_path / "trainings/0123456789abcdef"
    pretend_run(place / "run", server.run, {"taken": taken, "why": "femur 0.9 → 0.8"})
    begun = Training(
        id=place.name, model="boxes", budget="1h", client_id="jane", began=1.0, pid=2**22 - 7, pid_since=1.0
    )
    write_json(place / "training.json", begun.model_dump())
    status = trainings.status(running=False)
    said = "femur 0.9 → 0.8" if taken else "not taken, and the model stays in use: femur 0.9 → 0.8"
    assert (status["status"], status["result"]) == ("DONE", said)
    facts = {"before": 0.9, "after": 0.8, "low": None, "high": None, "cases": 0}
    assert status["verdict"] == {"taken": taken, "why": said} | facts


def test_options_that_belong_together_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("serve", tmp_path, "--protocol", "monailabel") == 2
    assert command("serve", tmp_path, "--dataset", tmp_path) == 2
    assert capsys.readouterr().err.count("belong together") == 2


def test_a_model_for_clicks_is_told_from_one_that_segments(
    server: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clicks = server.run.parent / "clicks"
    with pytest.raises(UsageError, match="boxes: answers no clicks"):
        load_models(ServedModel(clicks, device="cpu", click_model=server.run))
    worker = load_models(ServedModel(clicks, device="cpu"))
    assert worker.clicks.model is worker.model
    predictor = FakePredictor()
    predictor.facts["interactive"] = True
    monkeypatch.setattr("osteon.serving.predictor.PredictorProcess", lambda _: predictor)
    assert command("serve", clicks, "--folder", tmp_path / "jobs") == 2
    assert "answers clicks, and finds nothing by itself" in " ".join(capsys.readouterr().err.split())
    assert not predictor.alive
