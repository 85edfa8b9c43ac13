"""Models that were trained elsewhere, brought into the app: osteon's and nnU-Net's."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nicegui import ui
from nicegui.testing.user import User
from typer.testing import CliRunner

from app_pages import visit
from helpers import tiny_plan
from nnunet_models import configuration, plans, write_model
from osteon.app.bin import rename
from osteon.app.commands import start_model_import
from osteon.app.model_import import copy_model, find_model
from osteon.app.reader import ReaderProcess
from osteon.app.state import AppState
from osteon.app.workspace import Workspace
from osteon.cli.main import app as command_line
from osteon.core.errors import OsteonError, UsageError
from osteon.predicting.model import Model
from osteon.predicting.model_folder import load_model, save_model
from osteon.training.module import TrainingModule
from test_app_pages import arguments, folder_of


def own_model(folder: Path) -> Path:
    """The folder of a run, as somebody hands it over."""
    plan = tiny_plan()
    network = TrainingModule(plan, 0, lambda: 0.0).network
    save_model(folder / "model", Model(network, plan, {"dice": 0.5}, ""), "# A card\n")
    return folder


def nnunet_results(folder: Path) -> Path:
    """A folder of nnUNet_results."""
    write_model(folder / "Dataset001_Knee", "3d_fullres", plans({"3d_fullres": configuration(3)}))
    return folder


def test_a_model_of_osteon_is_imported_and_segments(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    own_model(root / "sources/from-a-colleague/knees")

    async def steps(user: User, app: AppState) -> None:
        await user.open(f"/source/{app.workspace.items('sources')[0].id}")
        await user.should_see("Recognised: a model of osteon's", retries=20)
        await user.should_see("It finds femur, tibia.")
        user.find(marker="take").click()
        await user.should_see("A model added from from-a-colleague", retries=100)
        await user.should_see("Segment scans with it")
        await user.should_not_see("It is not recorded")
        user.find(content="Segment scans with it", kind=ui.button).click()
        await asyncio.sleep(0.1)
        await user.open("/train")
        await user.should_see("added")

        rename(app, app.workspace.item("sources", "from-a-colleague"), "Anna's")
        await user.open(f"/train/{app.models()[0].id}")
        await user.should_see("A model added from Anna's")

    app = visit(tmp_path / "w", steps)
    assert [item.name for item in app.models()] == ["knees"]
    given = load_model(root / "sources/from-a-colleague/knees")
    assert load_model(root / "runs/knees").sha256 == given.sha256
    assert not list((root / "runs/knees").glob(".part-*"))


def test_a_model_is_imported_once_however_often_it_is_pressed(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    own_model(root / "sources/knees")

    async def slow(_: ReaderProcess, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        await asyncio.sleep(0.3)
        return function(*arguments, **named)

    async def steps(user: User, app: AppState) -> None:
        await user.open(f"/source/{app.workspace.items('sources')[0].id}")
        await user.should_see("Recognised: a model of osteon's", retries=20)
        with pytest.MonkeyPatch.context() as patch:  # ends before the page's own patch of the reader does
            patch.setattr(ReaderProcess, "run", slow)
            user.find(marker="take").click()
            await asyncio.sleep(0.1)
            user.find(marker="take").click()
            await user.should_see("A model added", retries=100)
            await asyncio.sleep(0.5)

    app = visit(tmp_path / "w", steps)
    assert [item.name for item in app.models()] == ["knees"]


def test_a_damaged_model_is_not_imported(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    own_model(root / "sources/knees")
    (root / "sources/knees/model/weights.safetensors").write_bytes(b"damaged")

    async def steps(user: User, app: AppState) -> None:
        await user.open(f"/source/{app.workspace.items('sources')[0].id}")
        await user.should_see("Recognised: a model of osteon's", retries=20)
        user.find(marker="take").click()
        await user.should_see("the weights are damaged", retries=100)
        [button] = user.find(marker="take").elements
        assert isinstance(button, ui.button)
        assert button.enabled

    assert visit(tmp_path / "w", steps).workspace.items("runs") == []


def test_a_model_of_nnunet_is_imported_by_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder_of(tmp_path)
    nnunet_results(root / "sources/results")

    async def steps(user: User, app: AppState) -> None:
        await user.open(f"/source/{app.workspace.items('sources')[0].id}")
        await user.should_see("Recognised: a trained model of nnU-Net v2", retries=20)
        user.find(marker="take").click()
        await user.should_see("Take in the model Dataset001_Knee", retries=20)

    app = visit(tmp_path / "w", steps)
    given = arguments(app, "import-model")
    monkeypatch.chdir(root)
    done = CliRunner().invoke(command_line, ["import-model", *given])
    assert done.exit_code == 0, done.output
    assert [item.name for item in app.models()] == ["Dataset001_Knee"]
    assert load_model(root / "runs/Dataset001_Knee").plan.structures


def test_what_is_no_model_or_several(tmp_path: Path) -> None:
    assert find_model(folder_of(tmp_path) / "datasets") is None
    for name in ("one", "two"):
        own_model(tmp_path / "runs" / name)
    with pytest.raises(UsageError, match="2 models are in it: one/model, two/model") as caught:
        find_model(tmp_path / "runs")
    assert caught.value.hint


def test_the_first_of_two_stages_is_no_model_of_its_own(tmp_path: Path) -> None:
    own_model(tmp_path / "given")
    shutil.copytree(tmp_path / "given/model", tmp_path / "given/model/first")
    found = find_model(tmp_path / "given")
    assert found is not None
    assert found.folder == tmp_path / "given/model"
    assert found.name == "given"


def test_nothing_is_left_where_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_model(tmp_path / "given")
    app = AppState(Workspace.open(tmp_path / "w"))
    found = find_model(tmp_path / "given")
    assert found is not None
    item, job = start_model_import(app, found, "knees")
    assert job is None

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(OsteonError, match="full"):
        copy_model(found.folder, item.path / "model")
    assert sorted(path.name for path in item.path.iterdir()) == [".about.json"]
