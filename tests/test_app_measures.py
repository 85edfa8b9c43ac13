"""The measures of a case on its page: the job, the table, what is drawn, landmarks that people move."""

from __future__ import annotations

import asyncio
import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nicegui.testing.user import User

import osteon
from app_pages import visit
from osteon.app.case_measures import read_measures, viewer_drawings
from osteon.app.state import AppState
from osteon.app.workspace import Workspace
from osteon.core.case_records import CaseRecords
from osteon.core.errors import UsageError
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.formats import write_volume
from osteon.measuring.figure import Drawing, Figure
from osteon.measuring.run import RECORD
from osteon.measuring.saved_landmarks import read_moves, save_move, undo_move
from test_app_pages import arguments, commands, dataset_in, folder_of, model_in, result_in

HEAD, KNEE = (0.0, 12.0, 35.0), (0.0, 12.0, 31.0)


def length(case: str = "c1") -> list[Figure]:
    """The length of a tiny femur, which hangs on two landmarks, and what was not measured."""
    axis = Drawing.of("line", "mechanical axis", HEAD, KNEE)
    points = [Drawing.of("point", name, at) for name, at in (("head centre", HEAD), ("knee centre", KNEE))]
    known = {"case": case, "structures": ("femur",), "unit": "mm"}
    return [
        Figure(measure="depth", not_measured="<i>femur</i> is cut", **known),
        Figure(measure="femur_length", value=4.0, low=3.5, high=4.5, drawings=(axis, *points), **known),
    ]


def measured_in(root: Path, result: str = "mine", case: str = "c1") -> None:
    """What `osteon measure` leaves of a case."""
    folder = root / "results" / result / "measured"
    kept = [figure.model_dump(mode="json", exclude_defaults=True) for figure in length(case)]
    records = CaseRecords(folder, RECORD)
    with records.claim(case, wait=True):
        records.write(case, {"made_from": [], "figures": kept})
    (folder / "measures.json").write_text("{}")


def address(app: AppState) -> str:
    item = app.workspace.items("results")[0]
    return f"/result/{item.id}/{app.case_id(item, 'c1')}"


def test_a_result_is_measured_by_a_job(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset_in(root)
    model_in(root)
    result_in(root)

    async def steps(user: User, app: AppState) -> None:
        await user.open(address(app))
        await user.should_see("It has not been measured yet")
        user.find(marker="measure-case").click()
        await user.should_see("is being measured")
        assert commands(app) == ["measure"]
        assert arguments(app, "measure") == ["results/mine", "results/mine/measured", "--dataset", "datasets/knees"]

    visit(tmp_path / "w", steps)


def test_a_figure_is_drawn_and_its_landmark_moved(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset_in(root)
    model_in(root)
    folder = result_in(root)
    measured_in(root)
    calls: list[tuple[str, tuple[Any, ...]]] = []
    answer: list[Any] = [[0.0, 12.0, 37.0]]

    def called(name: str, *given: Any, **_: Any) -> Any:
        calls.append((name, given))

        async def wait() -> Any:
            return answer[0]

        return wait() if name == "crosshair" else None

    async def steps(user: User, app: AppState) -> None:
        await user.open(address(app))
        await user.should_see("Radiological", retries=20)
        next(iter(user.find(marker="view-0").elements)).run_method = called  # type: ignore[method-assign]
        table = next(one for one in user.find(kind=type_of_table()).elements if "95 % interval" in str(one.columns))
        first, second = table.rows
        assert (first["measure"], first["value"], first["interval"]) == ("femur length", "4.0 mm", "3.5 to 4.5")
        assert (second["value"], second["against"]) == ("–", "not measured: <i>femur</i> is cut")
        table._handle_event({"listener_id": listener(table, "figure"), "args": first["n"]})
        await asyncio.sleep(0.1)
        await user.should_see("Drawn: femur length of femur, 4.0 mm (mechanical axis, head centre, knee centre)")
        drawn = dict(calls)["figure"][0]
        assert [row["points"] for row in drawn] == [[list(HEAD), list(KNEE)], [list(HEAD)], [list(KNEE)]]
        user.find(marker="move-0").click()
        await user.should_see("your name is missing")
        user.find(marker="reader-name").elements.pop().set_value("Ada")
        user.find(marker="move-0").click()
        await user.should_see("moved by Ada, 20")
        table = next(one for one in user.find(kind=type_of_table()).elements if "95 % interval" in str(one.columns))
        assert table.rows[0]["value"] == "6.0 mm"
        assert table.rows[0]["against"] == "moved by Ada: head centre"
        assert dict(calls)["figure"][0][1]["points"] == [[0.0, 12.0, 37.0]]

    visit(tmp_path / "w", steps)
    (move,) = read_moves(folder, "c1")
    assert (move.name, move.author, move.point) == ("head centre", "Ada", [0.0, 12.0, 37.0])


def type_of_table() -> Any:
    from nicegui import ui

    return ui.table


def listener(element: Any, event: str) -> str:
    return next(one.id for one in element._event_listeners.values() if one.type == event)


def test_moves_are_checked_kept_and_taken_back(tmp_path: Path) -> None:
    figures = length()
    for point in ([1.0, 2.0], [1.0, 2.0, float("nan")], [1.0, 2.0, 1e9]):
        with pytest.raises(UsageError):
            save_move(tmp_path, "c1", figures, "femur", "head centre", point, "Ada")
    with pytest.raises(UsageError, match="no landmark"):
        save_move(tmp_path, "c1", figures, "tibia", "head centre", [1, 2, 3], "Ada")
    assert read_moves(tmp_path, "c1") == []
    for z in (36, 38):
        save_move(tmp_path, "c1", figures, "femur", "head centre", [0, 12, z], "Ada")
    assert [move.point for move in read_moves(tmp_path, "c1")] == [[0, 12, 38]]
    undo_move(tmp_path, "c1", "femur", "head centre")
    assert read_moves(tmp_path, "c1") == []


def test_the_command_reads_figures_with_moved_landmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from osteon.measuring import run

    root = folder_of(tmp_path)
    dataset_in(root)
    folder = result_in(root)
    monkeypatch.setattr(run, "measure_case", lambda case, *_: length(case.id))
    save_move(folder, "c1", length(), "femur", "head centre", [0, 12, 40], "Ada")
    osteon.measure(folder, folder / "measured", what=["femur"])
    with (folder / "measured/measures.csv").open(newline="") as stream:
        rows = {row["case"]: row for row in csv.DictReader(stream) if row["measure"] == "femur_length_mm"}
    assert (rows["c0"]["value"], rows["c0"]["flagged"]) == ("4.0", "")
    assert (rows["c1"]["value"], rows["c1"]["low"]) == ("9.0", "8.5")
    assert rows["c1"]["flagged"] == "moved by Ada: head centre"
    found = read_measures(Workspace.open(root).items("results")[0], "c1")
    assert found is not None
    assert [figure.value for figure in found.found] == [None, 4.0]  # as it was found


def test_a_picture_is_drawn_on_in_its_own_pixels(tmp_path: Path) -> None:
    affine = np.array([[0, -0.5, 0, 9], [-0.2, 0, 0, 4], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    grid = Geometry((30, 20, 1), affine)  # i runs to the back, j to the left: as a picture hangs
    write_volume(tmp_path / "p.nii.gz", Volume(np.zeros((1, 30, 20, 1), np.int16), grid))
    line = Drawing.of("line", "length", *grid.to_world([[3, 5, 0], [20, 5, 0]]))
    (row,) = viewer_drawings([line], [tmp_path / "p.nii.gz"], picture=True)
    assert np.asarray(row["points"]) == pytest.approx(np.array([[5.5, 3.5], [5.5, 20.5]]))
    (world,) = viewer_drawings([line], [tmp_path / "p.nii.gz"], picture=False)
    assert np.asarray(world["points"]) == pytest.approx(np.asarray(line.points))
    assert viewer_drawings([line], [tmp_path / "gone.nii.gz"], picture=True) == []
