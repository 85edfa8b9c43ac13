"""Drawings over HTTP, as a browser sends them: formats, grids, drafts, conflicts, and what is refused. No browser."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from helpers import box, spacing_affine, write_dataset
from osteon.app.dataset_edits import correct_structures
from osteon.app.drawing.routes import drawing_routes
from osteon.app.reader import ReaderProcess
from osteon.app.state import AppState
from osteon.app.workspace import ABOUT, Workspace
from osteon.core.files import write_json
from osteon.core.geometry import Geometry, reorient_to_ras
from osteon.core.labels import Segmentation, Structure, make_structures, with_pieces
from osteon.dataset.case_history import read_history
from osteon.dataset.dataset import Dataset
from osteon.dataset.label_versions import LabelWork, load_version, save_label
from osteon.dataset.manifest import write_manifest
from osteon.formats import write_segmentation

HERE = "http://localhost:8080"
SHAPE = (6, 7, 5)
FEMUR, TIBIA = (slice(1, 3), slice(1, 6), slice(0, 4)), (slice(4, 6), slice(2, 7), slice(1, 5))
ENTRIES = [["femur", 3], ["tibia", 5]]


def turned(axes: Sequence[int], signs: Sequence[int], degrees: float = 0.0) -> np.ndarray:
    """An affine whose index axes run along these of the world, one of its axes tilted."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for index, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[axis, index] = sign * (1, 1.5, 2)[index]
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ affine[:3, :3]
    affine[:3, 3] = (-20, 30, 5)
    return affine


GRIDS = {
    "ras": turned((0, 1, 2), (1, 1, 1)),
    "lps": turned((0, 1, 2), (-1, -1, 1)),
    "oblique": turned((1, 2, 0), (1, -1, -1), degrees=30),
    "flipped": turned((0, 1, 2), (1, 1, -1)),
}


def scan(shape: Sequence[int]) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape)


class Client:
    """Somebody's browser at one case."""

    def __init__(self, app: AppState, dataset: str, case: str) -> None:
        self.http = TestClient(Starlette(routes=drawing_routes(app)), base_url=HERE)
        self.folder = app.workspace.item("datasets", dataset).path
        self.case = case
        item = app.workspace.item("datasets", dataset)
        self.url = f"/look/{item.id}/{app.case_id(item, case)}/draw"

    def get(self, version: str, **query: str) -> tuple[np.ndarray, list[list[Any]]]:
        answer = self.http.get(f"{self.url}/label", params={"version": version, **query})
        assert answer.status_code == 200, answer.text
        return np.frombuffer(answer.content, np.uint8), json.loads(unquote(answer.headers["X-Osteon-Entries"]))

    def state(self) -> dict[str, Any]:
        return dict(self.http.get(f"{self.url}/state").json())

    def send(
        self,
        numbers: np.ndarray | bytes,
        entries: Any = ENTRIES,
        *,
        path: str = "label",
        shape: Sequence[int] | None = None,
        method: str = "POST",
        **query: Any,
    ) -> tuple[int, dict[str, Any]]:
        body = numbers if isinstance(numbers, bytes) else gzip.compress(numbers.tobytes())
        lengths = self.state()["shape"] if shape is None else shape
        headers = {"X-Osteon-Entries": quote(json.dumps(entries)), "X-Osteon-Shape": ",".join(map(str, lengths))}
        params = {"author": "Anna", "base": "0", **query}
        answer = self.http.request(method, f"{self.url}/{path}", content=body, headers=headers, params=params)
        return answer.status_code, answer.json()


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AppState:
    async def at_once(_: ReaderProcess, function: Any, *arguments: Any, **named: Any) -> Any:
        return function(*arguments, **named)

    monkeypatch.setattr(ReaderProcess, "run", at_once)
    return AppState(Workspace.open(tmp_path / "w"))


def made(app: AppState, **options: Any) -> Client:
    """A dataset with a case on each grid; a client at the oblique one."""
    labels = box(SHAPE, (3, FEMUR), (5, TIBIA))
    cases = {name: (scan(SHAPE), labels, affine) for name, affine in GRIDS.items()}
    write_dataset(app.workspace.root / "datasets/d", cases, **options)
    return Client(app, "d", "oblique")


def shown(labels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The labels as a drawing has them, by the definition: femur 1, tibia 2, axes to R, A, S, i fastest."""
    geometry = Geometry(labels.shape, affine)  # type: ignore[arg-type]
    numbers = np.select([labels == 3, labels == 5], [1, 2]).astype(np.uint8)
    return np.asarray(reorient_to_ras(geometry).apply(numbers)).ravel(order="F")


@pytest.mark.parametrize("grid", GRIDS)
def test_a_drawing_lies_where_it_was_drawn(app: AppState, grid: str) -> None:
    made(app)
    client, rng = Client(app, "d", grid), np.random.default_rng(3)
    numbers, entries = client.get("0")
    assert entries == ENTRIES
    np.testing.assert_array_equal(numbers, shown(box(SHAPE, (3, FEMUR), (5, TIBIA)), GRIDS[grid]))
    wanted = rng.choice(np.array([0, 3, 5], np.uint8), SHAPE)  # no symmetry that would hide a flip

    status, answer = client.send(shown(wanted, GRIDS[grid]), seconds="12.5")

    assert (status, answer["version"], answer["seconds"]) == (201, 1, 12.5)
    dataset = Dataset.open(client.folder)
    saved = dataset.load_segmentation(dataset.case(grid))
    np.testing.assert_array_equal(saved.array, wanted)
    np.testing.assert_allclose(saved.geometry.affine_ras, GRIDS[grid], atol=1e-5)
    np.testing.assert_array_equal(client.get("1")[0], shown(wanted, GRIDS[grid]))


def test_who_was_slower_overwrites_nothing(app: AppState) -> None:
    client = made(app)
    empty = np.zeros(np.prod(SHAPE), np.uint8)
    assert client.send(empty, author="Bela")[0] == 201
    before = (client.folder / "annotations/oblique/1.nii.gz").read_bytes()

    status, answer = client.send(empty + 1)

    assert (status, answer["current"], answer["author"]) == (409, 1, "Bela")
    assert "version 0; now 1" in answer["message"]
    assert (client.folder / "annotations/oblique/1.nii.gz").read_bytes() == before
    assert len(read_history(client.folder, "oblique").versions) == 1
    assert client.send(empty + 1, kind="second reading")[0] == 201
    assert read_history(client.folder, "oblique").current == 1
    assert client.send(empty + 1, base="1")[1]["version"] == 3
    assert client.http.post(f"{client.url}/restore", json={"number": 1, "base": 1, "author": "A"}).status_code == 409
    restored = client.http.post(f"{client.url}/restore", json={"number": 1, "base": 3, "author": "Anna"})
    assert restored.json() == {"current": 4}
    np.testing.assert_array_equal(client.get("4")[0], empty)


BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "another size said": ({"shape": (5, 5, 5)}, 422, "another size"),
    "another size sent": ({"numbers": np.zeros(9, np.uint8)}, 422, "9 bytes"),
    "too much sent": ({"numbers": np.zeros(211, np.uint8)}, 422, "not more"),
    "a bomb": ({"numbers": gzip.compress(bytes(10**7))}, 413, "more than"),
    "no gzip": ({"numbers": b"\x1f\x8bnonsense"}, 422, "damaged"),
    "an unknown structure": ({"entries": [["femur", 3], ["ulna", 9]]}, 422, "ulna"),
    "a value of another": ({"entries": [["femur", 5]]}, 422, "femur"),
    "a number of nothing": ({"numbers": np.full(210, 7, np.uint8)}, 422, "number 7"),
    "one structure twice": ({"entries": [["femur", 3], ["femur", 3]]}, 422, "twice"),
    "no entries": ({"entries": {"femur": 3}}, 422, "does not say"),
    "no base": ({"base": "-1"}, 422, "base"),
    "an unknown name looked for": ({"looked_for": "ulna"}, 422, "ulna"),
    "another kind": ({"kind": "prediction"}, 422, "correction"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_drawing_of_this_case_is_refused(app: AppState, what: str) -> None:
    client, (given, status, text) = made(app), BAD[what]
    given = {"numbers": np.zeros(np.prod(SHAPE), np.uint8), **given}
    got, answer = client.send(given.pop("numbers"), given.pop("entries", ENTRIES), **given)
    assert got == status
    assert text in answer["message"]
    assert answer["hint"]
    assert not (client.folder / "annotations").exists()
    assert list((app.workspace.root / "cache/drawings").glob("*")) == [] or status == 422


@pytest.mark.parametrize("case", ["../secret", "%2e%2e%2fsecret", "0" * 20, "oblique"])
def test_only_ids_lead_to_a_case(app: AppState, case: str) -> None:
    client = made(app)
    base = client.url.rsplit("/", 2)[0]
    assert client.http.get(f"{base}/{case}/draw/state").status_code == 404


def test_versions_are_numbers_and_results_are_known(app: AppState) -> None:
    client = made(app)
    for version in ("../1", "1.5", "", "99", "result"):
        answer = client.http.get(f"{client.url}/label", params={"version": version, "result": "../x"})
        assert answer.status_code in (404, 422), version


def test_a_draft_is_kept_until_it_is_saved(app: AppState) -> None:
    client = made(app)
    numbers = np.zeros(np.prod(SHAPE), np.uint8)
    for value in (1, 2):
        sent = client.send(numbers + value, path="draft", method="PUT", seconds="7", what="by hand", author="../Anna")
        assert sent[0] == 200, sent
    assert client.state()["drafts"][0] | {"at": ""} == {
        "author": "../Anna",
        "at": "",
        "base": 0,
        "seconds": 7.0,
        "what": "by hand",
    }
    folder = client.folder / "annotations/oblique/drafts"
    assert len(list(folder.iterdir())) == 2  # the record, and the newest drawing
    assert all("Anna" not in path.name for path in client.folder.rglob("*"))
    np.testing.assert_array_equal(client.get("draft", author="../Anna")[0], numbers + 2)
    assert client.http.get(f"{client.url}/label", params={"version": "draft", "author": "B"}).status_code == 422
    assert client.state()["state"] == "labelled"  # a draft counts for nothing

    correct_structures(client.folder, {"tibia": "shin"}, {})
    assert client.get("draft", author="../Anna")[1] == [["femur", 3], ["shin", 5]]
    renamed = [["femur", 3], ["shin", 5]]
    assert client.send(numbers + 2, renamed, author="../Anna")[0] == 201
    assert client.state()["drafts"] == []


def test_a_draft_of_another_size_takes_no_drafts_place(app: AppState) -> None:
    client = made(app)
    numbers = np.zeros(np.prod(SHAPE), np.uint8)
    client.send(numbers + 1, path="draft", method="PUT")
    assert client.send(numbers[:9], path="draft", method="PUT")[0] == 422
    np.testing.assert_array_equal(client.get("draft", author="Anna")[0], numbers + 1)
    assert client.http.delete(f"{client.url}/draft", params={"author": "Anna"}).status_code == 200
    assert client.state()["drafts"] == []


def test_a_new_structure_is_unknown_where_nobody_looked(app: AppState) -> None:
    client = made(app)
    dataset = Dataset.open(client.folder)
    seen = dataset.load_segmentation(dataset.case("lps"))
    save_label(dataset, "lps", seen, LabelWork("Bela"), base=0)  # knows all there is

    answer = client.http.post(f"{client.url}/structures", json={"name": " fibula ", "colour": "#123456", "add": True})

    assert [s["name"] for s in answer.json()["structures"]] == ["femur", "tibia", "fibula"]
    assert answer.json()["structures"][-1] | {"name": ""} == {"name": "", "value": 6, "colour": "#123456"}
    dataset = Dataset.open(client.folder)
    assert {case.id: case.annotated for case in dataset.manifest.cases} == {name: ["femur", "tibia"] for name in GRIDS}
    entries, numbers = [*ENTRIES, ["fibula", 6]], np.zeros(np.prod(SHAPE), np.uint8)
    client.send(numbers, entries)
    assert Dataset.open(client.folder).case("oblique").annotated == ["femur", "tibia"]  # known before, and still
    client.send(numbers + 3, entries, base="1")
    assert Dataset.open(client.folder).case("oblique").annotated is None  # drawn, and so looked for
    client.http.post(f"{client.url}/structures", json={"name": "tibia", "rename": "shin"})
    assert Dataset.open(client.folder).case("lps").annotated == ["femur", "shin"]
    for body in ({"name": "femur", "add": True}, {"name": "x", "rename": "y"}, {"name": "femur", "colour": "red"}, []):
        assert client.http.post(f"{client.url}/structures", json=body).status_code == 422


def test_an_unlabelled_case_begins_empty_or_with_a_prediction(app: AppState) -> None:
    client = made(app)
    dataset = Dataset.open(client.folder)
    cases = [case.model_copy(update={"segmentation": None}) for case in dataset.manifest.cases]
    write_manifest(client.folder, dataset.manifest.model_copy(update={"cases": cases}))
    assert not client.get("0")[0].any()
    assert client.state()["results"] == []

    folder = app.workspace.root / "results/found"
    labels = box(SHAPE, (1, FEMUR), (2, TIBIA))  # another program's numbers, and a name that the dataset lacks
    structures = make_structures(["tibia", "ulna"], [1, 2])
    write_segmentation(folder / "oblique.nii.gz", Segmentation(labels, Geometry(SHAPE, GRIDS["oblique"]), structures))
    write_json(folder / ABOUT, {"dataset": "d"})
    [result] = client.state()["results"]
    found, _ = client.get("result", result=result["id"])
    np.testing.assert_array_equal(found, shown(box(SHAPE, (5, FEMUR)), GRIDS["oblique"]))
    client.send(found, looked_for="femur")
    assert Dataset.open(client.folder).case("oblique").annotated is None
    assert client.state()["known"] == ["femur", "tibia"]


def test_pieces_keep_their_values(app: AppState) -> None:
    pieces = (with_pieces(Structure(name="pelvis", value=11, colour="#ff0000"), 19),)
    labels = box(SHAPE, (11, FEMUR), (14, TIBIA))
    write_dataset(app.workspace.root / "datasets/d", {"a": (scan(SHAPE), labels, GRIDS["lps"])}, pieces)
    client = Client(app, "d", "a")
    numbers, entries = client.get("0")
    assert entries == [["pelvis", 11], ["pelvis", 14], ["pelvis", 12]]  # those that are there, and a free one
    numbers = numbers.copy()
    numbers[numbers == 2] = 3
    assert client.send(numbers, entries)[0] == 201
    dataset = Dataset.open(client.folder)
    np.testing.assert_array_equal(load_version(dataset, "a", 1).array, np.where(labels == 14, 12, labels))


@pytest.mark.parametrize("overlapping", [True, False])
def test_a_picture_has_a_bit_for_each_structure(app: AppState, overlapping: bool) -> None:
    shape, structures = (9, 1, 12), make_structures([f"bone {n}" for n in range(40)])
    layers = np.random.default_rng(0).integers(0, 2, (40, *shape)).astype(np.uint8)
    index = np.where(layers.any(0), layers.argmax(0) + 1, 0).astype(np.uint8)
    labels, affine = layers if overlapping else index, turned((0, 1, 2), (-1, -1, -1))
    options: dict[str, Any] = {"overlapping": overlapping, "modality": "xray"}
    write_dataset(app.workspace.root / "datasets/d", {"a": (scan(shape), labels, affine)}, structures, **options)
    client = Client(app, "d", "a")
    numbers, entries = client.get("0")
    words = numbers.view("<u4").reshape(2, 12, 9)
    assert client.state()["shape"] == [12, 9]
    assert entries[39] == ["bone 39", 40]
    mask = (layers[35] if overlapping else index == 36)[:, 0, :]
    np.testing.assert_array_equal(words[1] >> 3 & 1, mask.T)  # to the left and down, as pictures run

    changed = words.copy()
    changed[1, 2, 3] = 1 << 5
    changed[0, 2, 3] = 0
    assert client.send(changed, entries)[0] == 201
    expected = labels.copy()
    expected[..., 3, 0, 2] = (np.arange(40) == 37) if overlapping else 38
    dataset = Dataset.open(client.folder)
    np.testing.assert_array_equal(dataset.load_segmentation(dataset.case("a")).array, expected)
    changed[0, 2, 3] = 1
    assert client.send(changed, entries, base="1")[0] == (201 if overlapping else 422)
    changed[1, 2, 3] = 1 << 20  # no 53rd structure
    assert client.send(changed, entries, base="2")[0] == 422


def test_overlapping_volumes_are_refused_with_a_way_out(app: AppState) -> None:
    labels = np.stack([box(SHAPE, (1, FEMUR)), box(SHAPE, (1, FEMUR))])
    cases = {"a": (scan(SHAPE), labels, spacing_affine(1, 1, 1))}
    write_dataset(app.workspace.root / "datasets/d", cases, overlapping=True)
    client = Client(app, "d", "a")
    assert "3D Slicer" in client.state()["refused"]
    answer = client.http.get(f"{client.url}/label", params={"version": "0"})
    assert (answer.status_code, "overlap" in answer.json()["message"]) == (422, True)


def test_two_people_at_one_case_hear_of_each_other(app: AppState, monkeypatch: pytest.MonkeyPatch) -> None:
    client = made(app)

    def call(page: str, author: str, **more: Any) -> Any:
        data = {"page": page, "author": author, **more}
        return client.http.post(f"{client.url}/presence", json=data).json().get("others")

    assert call("1", "Anna") == []
    assert call("2", "Bela") == ["Anna"]
    assert call("3", "") == ["Anna", "Bela"]
    call("1", "Anna", leaving=True)
    assert call("2", "Bela") == ["somebody"]
    monkeypatch.setattr("osteon.app.drawing.presence.AWAY_S", -1.0)
    assert call("2", "Bela") == []


def test_scans_outside_the_workspace_are_not_read(app: AppState, tmp_path: Path) -> None:
    client = made(app)
    dataset = Dataset.open(client.folder)
    outside = tmp_path / "elsewhere.nii.gz"
    outside.write_bytes(dataset.resolve(dataset.case("oblique").images[0]).read_bytes())
    cases = [case.model_copy(update={"images": [str(outside)]}) for case in dataset.manifest.cases]
    write_manifest(client.folder, dataset.manifest.model_copy(update={"cases": cases}))
    for path in ("state", "label?version=0"):
        assert client.http.get(f"{client.url}/{path}").status_code == 404
