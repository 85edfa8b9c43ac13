"""Click tools of the drawing page over HTTP, on scans however they lie, and what is refused. No browser."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from helpers import tiny_plan, write_dataset
from osteon.app.drawing import clicks
from osteon.app.drawing.routes import drawing_routes
from osteon.app.orientation import PictureOrientation
from osteon.app.reader import ReaderProcess
from osteon.app.state import AppState
from osteon.app.workspace import Workspace
from osteon.core.geometry import Geometry, reorient_to_ras
from osteon.networks.registry import build_network
from osteon.predicting.model import Model
from osteon.predicting.model_folder import save_model

SHAPE = (40, 30, 24)
BONE, OTHER = (slice(6, 18), slice(8, 22), slice(6, 18)), (slice(22, 34), slice(8, 22), slice(6, 18))
FLIPPED, TURNED = np.diag([1.0, -1.0, -1.0, 1.0]), np.eye(4)[[2, 0, 1, 3]] * [[1], [-1], [1], [1]]


def drawn(grid: np.ndarray, array: np.ndarray) -> np.ndarray:
    """An array of the file's as a drawing has it, by the definition."""
    geometry = Geometry(array.shape, grid)  # type: ignore[arg-type]
    if 1 in array.shape:
        return PictureOrientation.from_geometry(geometry).to_picture(array)
    return np.asarray(reorient_to_ras(geometry).apply(array))


def bone(shape: tuple[int, ...], *boxes: tuple[slice, ...]) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    for number, where in enumerate(boxes):
        labels[tuple(w if n > 1 else slice(None) for w, n in zip(where, shape, strict=True))] = (3, 5)[number]
    return labels


class Page:
    """A drawing page's click tool at one case."""

    def __init__(self, app: AppState, grid: np.ndarray, shape: tuple[int, ...] = SHAPE) -> None:
        self.labels, self.grid, self.is_picture = bone(shape, BONE, OTHER), grid, 1 in shape
        noise = np.random.default_rng(0).normal(0, 10, shape)
        unit = "px" if self.is_picture else "mm"
        write_dataset(
            app.workspace.root / "datasets/d",
            {"a": ((noise + 150 * (self.labels > 0)).astype(np.int16), self.labels, grid)},
            unit=unit,
        )
        item = app.workspace.item("datasets", "d")
        self.http = TestClient(Starlette(routes=drawing_routes(app)), base_url="http://localhost:8080")
        self.url = f"/look/{item.id}/{app.case_id(item, 'a')}/draw"

    def post(self, asked: Any) -> tuple[int, dict[str, Any]]:
        body = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
        answer = self.http.post(f"{self.url}/click", content=body)
        return answer.status_code, answer.json()

    def place(self, mask: np.ndarray) -> list[int]:
        """The middle of what a mask of the file's holds, in the drawing."""
        where = np.argwhere(drawn(self.grid, mask))
        return [int(v) for v in where.mean(axis=0)]

    def found(self, asked: dict[str, Any]) -> np.ndarray:
        """The mask that the answer makes of an empty one, as the drawing has it."""
        status, answer = self.post(asked)
        assert status == 200, answer
        mask = np.zeros(drawn(self.grid, self.labels).shape, bool)
        first, stop = answer["box"]
        part = mask[tuple(slice(a, b) for a, b in zip(first, stop, strict=True))]
        data = np.frombuffer(gzip.decompress(base64.b64decode(answer["data"])), np.uint8)
        part[...] = data.reshape(part.shape, order="C" if self.is_picture else "F")
        assert answer["voxels"] == part.sum()
        return mask

    def sent(self, codes: np.ndarray) -> dict[str, Any]:
        """A mask of the drawing, all of it: 1 the structure, 2 others."""
        data = gzip.compress(codes.astype(np.uint8).tobytes(order="C" if self.is_picture else "F"))
        return {"box": [[0] * codes.ndim, list(codes.shape)], "data": base64.b64encode(data).decode()}


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AppState:
    async def at_once(_: ReaderProcess, function: Any, *arguments: Any, **named: Any) -> Any:
        return function(*arguments, **named)

    monkeypatch.setattr(ReaderProcess, "run", at_once)
    clicks._OPEN.clear()
    return AppState(Workspace.open(tmp_path / "w"))


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize("shape", [SHAPE, (40, 30, 1), (1, 30, 24)])
@pytest.mark.parametrize("grid", [np.eye(4), FLIPPED, TURNED], ids=["ras", "flipped", "turned"])
def test_a_click_finds_the_bone_where_it_was_clicked(app: AppState, grid: np.ndarray, shape: tuple[int, ...]) -> None:
    page = Page(app, grid, shape)
    if shape[0] == 1:
        page.labels[page.labels == 5] = 3  # both lie in one slice
    meant = page.labels == 3
    asked = {"tool": "points", "points": [{"at": page.place(meant), "positive": True}], "reach": 9}
    assert dice(page.found(asked), drawn(grid, meant)) > 0.85


def test_what_is_drawn_already_counts_and_others_keep_theirs(app: AppState) -> None:
    page = Page(app, FLIPPED)
    own, other = drawn(FLIPPED, page.labels == 3), drawn(FLIPPED, page.labels == 5)
    point = {"at": page.place(page.labels == 5), "positive": True}
    asked = {"points": [point], "reach": 9, "session": "s", "mask": page.sent(own + 2 * other)}
    found = page.found(asked)
    assert not (found & other).any()
    wrong = {"at": page.place(page.labels == 3), "positive": False}
    now = page.found({**asked, "points": [wrong], "mask": page.sent(own | False)})
    assert not now[tuple(wrong["at"])]  # type: ignore[arg-type]


def test_models_that_answer_clicks_are_tools_and_the_others_are_none(app: AppState) -> None:
    page = Page(app, TURNED)
    for name, more in (("clicks", {"interactive": {"radius": 2.0}, "patch.size": [16, 16, 16]}), ("usual", {})):
        plan = tiny_plan(more)
        run = app.workspace.root / "runs" / name
        save_model(run / "model", Model(build_network(plan), plan, {"structures": {}}, ""), "card")
    tools = page.http.get(f"{page.url}/state").json()["tools"]
    assert [tool["label"] for tool in tools] == ["Points alone", "clicks"]
    point = {"at": page.place(page.labels == 3), "positive": True}
    assert page.post({"tool": tools[1]["name"], "points": [point]})[0] == 200
    status, answer = page.post({"tool": app.workspace.item("runs", "usual").id, "points": [point]})
    assert (status, answer["message"]) == (422, "this click tool is no longer here")


POINT = {"at": [10, 12, 10], "positive": True}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (b"no json", "no JSON"),
        ({}, "no points"),
        ({"points": [POINT] * 2001}, "no points, or more"),
        ({"points": [{"at": [1, 2], "positive": True}]}, "3 whole numbers"),
        ({"points": [{"at": [1.5, 2, 3], "positive": True}]}, "3 whole numbers"),
        ({"points": [{"at": [1, 2, 99], "positive": True}]}, "outside the scan"),
        ({"points": [{"at": [-1, 2, 3], "positive": True}]}, "outside the scan"),
        ({"points": [{"at": [1, 2, 3]}]}, "lies inside"),
        ({"points": [{"at": [1, 2, 3], "positive": False}]}, "no point inside"),
        ({"points": [POINT], "tool": "../../model"}, "click tool"),
        ({"points": [POINT], "tool": ["points"]}, "click tool"),
        ({"points": [POINT], "reach": "far"}, "not a number"),
        ({"points": [POINT], "reach": 1e9}, "makes no sense"),
        ({"points": [POINT], "mask": {"box": [[0, 0, 0], [40, 30, 99]], "data": ""}}, "does not lie in the scan"),
        ({"points": [POINT], "mask": {"box": [[0, 0, 0], [2, 2, 2]], "data": "%%%"}}, "damaged"),
        ({"points": [POINT], "mask": {"box": [[0, 0, 0], [2, 2, 2]], "data": None}}, "damaged"),
        ({"points": [POINT], "mask": [1, 2]}, "no box"),
    ],
)
def test_what_makes_no_sense_is_refused(app: AppState, asked: Any, message: str) -> None:
    status, answer = Page(app, np.eye(4)).post(asked)
    assert status == 422
    assert message in answer["message"]


def test_no_mask_unpacks_to_more_than_its_box(app: AppState) -> None:
    bomb = base64.b64encode(gzip.compress(bytes(50_000_000))).decode()
    mask = {"box": [[0, 0, 0], [4, 4, 4]], "data": bomb}
    assert "another size" in Page(app, np.eye(4)).post({"points": [POINT], "mask": mask})[1]["message"]
    assert Page(app, np.eye(4)).post(b"{" + b" " * 8_000_001)[0] == 413
