"""How the vertebrae of a result were named, the other ways, and one click that picks one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nicegui import ui
from nicegui.testing.user import User

from app_browser import chromium, open_visitor
from app_pages import click, visit
from helpers import box
from osteon.app.state import AppState
from osteon.app.workspace import ABOUT, Workspace
from osteon.core.errors import UsageError
from osteon.core.files import write_json
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.formats import read_segmentation, write_segmentation, write_volume
from osteon.networks.registry import build_network
from osteon.plan.outputs import output_layout
from osteon.predicting.level_choices import describe_levels, level_choices
from osteon.predicting.model import Model
from osteon.predicting.model_folder import load_model, save_model
from osteon.predicting.predictor import predict
from osteon.predicting.records import prediction_records, read_predictions
from osteon.predicting.scans import find_scans
from test_levels import SHAPE, plan

UPWARDS = [
    {"names": ["L5", "L4", "L3", "L2", "L1"], "first": "L1", "probability": 0.62},
    {"names": ["L4", "L3", "L2", "L1", "T12"], "first": "T12", "probability": 0.35},
    {"names": ["L4", "L3", "L2", "L1", ""], "first": "", "probability": 0.02},
]
DOUBT = "names: L1…L5 or T12…L4: 62% against 35%"


def record(**more: Any) -> dict[str, Any]:
    return {
        "levels": {"margin": 0.27, "assignments": UPWARDS, **more},
        "review": [] if more else [DOUBT],
        "speed": "fast",
        "confidence": {"L1": 0.9},
    }


def test_names_are_read_as_people_count() -> None:
    best, other, third = level_choices(record())
    assert (best.names, best.first, best.shown, best.picked) == ("L1…L5", "L1", True, False)
    assert (other.names, other.first, other.probability, other.shown) == ("T12…L4", "T12", 0.35, False)
    assert (third.names, third.first) == ("L4…L1", "")
    assert describe_levels(record()) == "L1…L5 62%"
    assert describe_levels(record(picked="L1")) == "L1…L5, picked"


def test_a_way_with_the_first_name_of_a_likelier_one_cannot_be_picked_by_it() -> None:
    downwards = [
        {"names": ["L1", "L2", "L3"], "first": "L1", "probability": 0.6},
        {"names": ["L1", "L2", "L4"], "first": "L1", "probability": 0.4},
        {"names": ["L2"], "first": "L2", "probability": 0.1},
    ]
    choices = level_choices({"levels": {"assignments": downwards}})
    assert [(c.names, c.first) for c in choices] == [("L1…L3", "L1"), ("L1…L4", ""), ("L2", "L2")]


@pytest.mark.parametrize("levels", [None, {}, {"assignments": []}, {"assignments": [3]}, {"assignments": [{}]}])
def test_records_without_names_have_no_choice(levels: Any) -> None:
    assert level_choices({"levels": levels}) == []
    assert describe_levels({"levels": levels}) == ""


def spines(folder: Path) -> Path:
    """A workspace with a result of two scans, as far as pages look at one."""
    root = Workspace.open(folder).root
    shape, names = (12, 10, 40), ["L1", "L2", "L3"]
    geometry, structures = Geometry(shape, np.eye(4)), make_structures(names)
    labels = box(shape, *((n + 1, (slice(2, 9), slice(2, 8), slice(28 - 12 * n, 36 - 12 * n))) for n in range(3)))
    image = np.where(labels > 0, 300, 0).astype(np.int16)
    entries = {}
    for name in ("sure", "unsure"):
        write_volume(root / f"sources/spines/{name}.nii.gz", Volume(image[None], geometry))
        write_segmentation(root / f"results/mine/{name}.nii.gz", Segmentation(labels, geometry, structures))
        entries[name] = {"input": [[str(root / f"sources/spines/{name}.nii.gz")]], "confidence": {}, "review": []}
    entries["unsure"] |= record()
    write_json(root / "results/mine/predictions.json", entries)
    write_json(root / "results/mine" / ABOUT, {"run": "first", "source": "spines", "scans": "sources/spines"})
    (root / "runs/first/model").mkdir(parents=True)
    return root


def page_of(app: AppState, case: str) -> str:
    item = app.workspace.item("results", "mine")
    return f"{item.url}/{app.case_id(item, case)}"


def test_one_click_predicts_that_scan_alone_with_other_names(tmp_path: Path) -> None:
    spines(tmp_path)

    async def steps(user: User, app: AppState) -> None:
        await user.open(app.workspace.item("results", "mine").url)
        rows = {row["id"]: row["levels"] for row in next(iter(user.find(ui.table).elements)).rows}
        assert rows == {"sure": "", "unsure": "L1…L5 62%"}
        await user.open(page_of(app, "sure"))
        await user.should_not_see("Names")
        await user.open(page_of(app, "unsure"))
        for text in (DOUBT, "L1…L5", "62%", "shown", "35%", "L1…L5 is right"):
            await user.should_see(text)
        await user.should_not_see("Name it L4…L1")
        await click(user, "Name it T12…L4")
        await asyncio.sleep(1.1)
        await user.should_see("Segment unsure of mine with T12 as the first name")
        await click(user, "Name it T12…L4")
        await user.should_see("is being segmented again")

    app = visit(tmp_path, steps)
    jobs = {job.command: job for job in app.jobs.all()}
    assert list(jobs["predict"].arguments) == [
        *("runs/first", "sources/spines", "results/mine", "--only", "unsure,", "--levels", "FIRST=T12"),
        *("--speed", "fast"),
    ]
    assert jobs["export"].after == (jobs["predict"].id,)
    assert len(app.jobs.all()) == 2


def test_what_a_person_has_picked_is_said(tmp_path: Path) -> None:
    root = spines(tmp_path)
    prediction_records(root / "results/mine").write("unsure", record(picked="L1"))

    async def steps(user: User, app: AppState) -> None:
        await user.open(page_of(app, "unsure"))
        await user.should_see("picked by a person")
        await user.should_see("Name it T12…L4")
        await user.should_not_see("is right")
        await user.should_not_see("Look at it")

    visit(tmp_path, steps)


def test_without_the_model_nothing_is_begun(tmp_path: Path) -> None:
    from osteon.app.result_commands import start_renaming

    root = spines(tmp_path)
    (root / "runs/first/model").rmdir()
    app = AppState(Workspace.open(root))
    with pytest.raises(UsageError, match="no longer here"):
        start_renaming(app, app.workspace.item("results", "mine"), "unsure", "T12")
    assert not app.jobs.all()


def model_of_one_body() -> Model:
    """It takes each scan for one vertebra, a little more likely L2 than L1."""
    how = plan(**{"patch.size": list(SHAPE)})
    layout, network = output_layout(how), build_network(how).eval()
    head = network.heads[-1]
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
        head.bias[[layout.body, layout.core]] = 6.0
        head.bias[layout.first_level + 2 : layout.first_level + 4] = torch.tensor([3.0, 2.8])
    return Model(network, how, {"dice": 0.5}, "")


def test_picked_names_are_predicted_by_a_job_and_other_scans_stay(tmp_path: Path) -> None:
    chromium()
    root = Workspace.open(tmp_path / "w").root
    save_model(root / "runs/first/model", model_of_one_body(), "# A card\n")
    for n, name in enumerate(("other", "unsure")):
        scan = np.random.default_rng(n).normal(100, 50, SHAPE).astype(np.float32)
        write_volume(root / f"sources/spines/{name}.nii.gz", Volume(scan[None], Geometry(SHAPE, np.eye(4))))
    out = root / "results/mine"
    predict(load_model(root / "runs/first/model"), find_scans([root / "sources/spines"]), out)
    write_json(out / ABOUT, {"run": "first", "source": "spines", "scans": "sources/spines"})
    before = (out / "other.nii.gz").read_bytes(), (out / "other.nii.gz").stat().st_mtime_ns
    assert read_predictions(out)["unsure"]["review"][0].startswith("names: L2 or L1: ")
    with open_visitor(root) as visitor:
        visitor.open(page_of(AppState(Workspace.open(root)), "unsure"))
        visitor.sees("shown after")
        if shots := os.environ.get("OSTEON_SHOTS"):
            visitor.page.screenshot(path=f"{shots}/levels.png", full_page=True)
        visitor.click("Name it L1", exact=True)
        visitor.sees("Segment unsure of mine with L1 as the first name")
        visitor.sees("picked by a person", minutes=2)
        if shots:
            visitor.page.screenshot(path=f"{shots}/levels-picked.png", full_page=True)
        assert visitor.errors == []
    after = read_predictions(out)
    assert after["unsure"]["levels"]["picked"] == "L1"
    assert not [reason for reason in after["unsure"]["review"] if reason.startswith("names")]
    assert {s.name: s.value for s in plan().structures}["L1"] == read_segmentation(out / "unsure.nii.gz").array[
        5, 5, 40
    ]
    assert after["other"]["first_level"] is None
    assert ((out / "other.nii.gz").read_bytes(), (out / "other.nii.gz").stat().st_mtime_ns) == before
