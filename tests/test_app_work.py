"""The work list in a browser: somebody goes through the cases by keys, and two readers are compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from nicegui.testing.user import User
from playwright.sync_api import expect

from app_browser import MINUTE_MS, Visitor, chromium, open_visitor, wait
from app_pages import click, visit
from helpers import two_boxes, write_dataset
from osteon.app.state import AppState
from osteon.app.work_table import KEYS
from osteon.app.workspace import Workspace
from osteon.core.files import write_json
from osteon.core.labels import Segmentation
from osteon.dataset.case_history import CaseHistory, read_history
from osteon.dataset.dataset import Dataset
from osteon.dataset.label_versions import LabelWork, judge_label, save_label
from osteon.dataset.manifest import read_manifest, write_manifest
from osteon.dataset.saved_measurements import read_measurements
from test_app_accessible import axe, beyond, found
from test_app_pages import arguments, commands, dataset_in, folder_of, model_in

__all__ = ["axe"]
MANY = 230
"""Cases: more than a page of the list has. All show one scan."""


@pytest.fixture
def visitor(tmp_path: Path) -> Iterator[Visitor]:
    chromium()
    furnish(tmp_path / "w")
    expect.set_options(timeout=MINUTE_MS)
    with open_visitor(tmp_path / "w") as made:
        yield made
    expect.set_options(timeout=5000)


def furnish(root: Path) -> None:
    """A dataset of many cases: the first has a label, four were predicted, one was corrected and read again."""
    Workspace.open(root)
    folder = write_dataset(root / "datasets/knees", {"c1": two_boxes((24, 20, 32))}).folder
    manifest = read_manifest(folder)
    bare = manifest.cases[0].model_copy(update={"segmentation": None})
    rest = [bare.model_copy(update={"id": f"c{number}"}) for number in range(2, MANY + 1)]
    write_manifest(folder, manifest.model_copy(update={"cases": [manifest.cases[0], *rest]}))
    dataset = Dataset.open(folder)
    truth = dataset.load_segmentation(dataset.case("c1"))

    def save(case: str, author: str, kept: int, **work: object) -> None:
        array = truth.array.copy()
        array[:, :, kept:] = 0
        base = read_history(folder, case).current
        label = Segmentation(array, truth.geometry, truth.structures)
        save_label(dataset, case, label, LabelWork(author, **work), base=base)  # type: ignore[arg-type]

    for case in ("c2", "c3", "c4", "c5"):
        save(case, "first", 30, kind="prediction")
    save("c6", "Cy", 28, seconds=95.0, annotated=["femur"])
    save("c6", "Dee", 20, kind="second reading", seconds=80.0, annotated=["femur"])
    judge_label(dataset, "c1", "approved", author="Cy")
    reasons = ["femur: expected Dice 0.61", "unlike the labelled scans"]
    rows = [
        {"case": case, "rank": rank, "suggested": True, "score": 0.9, "quantiles": {}, "values": {}, "reasons": reasons}
        for rank, case in enumerate(("c9", "c4"), 1)
    ]
    write_json(folder / "suggestions/suggestions.json", {"model": "0", "suggestions": rows})


def state(history: CaseHistory) -> tuple[str | None, str, str]:
    by = history.log[-1].by if history.log else ""
    return history.judged, by, history.note


def slice_middle(visitor: Visitor) -> tuple[float, float]:
    """The middle of the first slice on the screen."""
    script = """() => {
        const canvas = document.querySelector("canvas"), view = canvas.osteonView, box = canvas.getBoundingClientRect();
        const [left, top, wide, high] = view.nv.screenSlices[0].leftTopWidthHeight, dpr = view.nv.uiData.dpr;
        return [box.left + (left + wide / 2) / dpr, box.top + (top + high / 2) / dpr];
    }"""
    x, y = visitor.page.evaluate(script)
    return x, y


def drag(visitor: Visitor, start: tuple[float, float], end: tuple[float, float]) -> None:
    mouse = visitor.page.mouse
    mouse.move(*start)
    mouse.down()
    mouse.move(*end, steps=4)
    mouse.up()


def is_for_everybody(visitor: Visitor, axe: str, name: str, shots: Path) -> None:
    """What axe-core calls serious in either theme, and what lies beyond a small window; pictures to look at."""
    page = visitor.page
    page.evaluate(axe)
    page.evaluate("scrollTo(0, 0)")
    serious = found(visitor, "light")
    page.screenshot(path=shots / f"{name}-light.png")
    cut = beyond(visitor, 900)
    page.set_viewport_size({"width": 1100, "height": 800})
    for theme in ("light", "dark"):
        visitor.click(f"Theme: {theme}; change it", exact=True)
        if theme == "light":
            page.locator("body.body--dark").wait_for()
            serious += found(visitor, "dark", runOnly=["color-contrast"])
            page.screenshot(path=shots / f"{name}-dark.png")
    visitor.click("Theme: auto; change it", exact=True)
    assert not serious, json.dumps(serious, indent=1)
    assert cut == 0
    assert visitor.errors == []


def test_a_project_is_worked_through(visitor: Visitor, axe: str, tmp_path: Path) -> None:
    page, root = visitor.page, visitor.server.root
    folder = root / "datasets/knees"
    dataset = Workspace.open(root).item("datasets", "knees").id
    Workspace.open(root).save_settings(theme="light")
    visitor.open(f"/dataset/{dataset}")
    visitor.click("Work list")
    visitor.sees(f"{MANY} cases: 224 unlabelled, 4 predicted, 1 corrected, 1 approved")
    links = page.locator(".osteon-work tbody a")
    expect(links).to_have_count(200)
    visitor.click("Next page")
    expect(links).to_have_count(30)
    visitor.click("Last change")
    expect(page.locator(".osteon-work th[aria-sort=descending]")).to_contain_text("Last change")
    expect(links.nth(6)).to_have_text("c7")
    visitor.click("Suggested, and why")
    expect(links.first).to_have_text("c9")

    # by keys: nobody is known yet, then Ada approves one, and rejects another for a reason
    visitor.choose("State", "predicted")
    visitor.click("Case", exact=True)
    expect(links).to_have_text(["c2", "c3", "c4", "c5"])
    page.keyboard.press("ArrowDown")
    expect(links.first).to_be_focused()
    page.keyboard.press("a")
    visitor.sees("your name is missing")
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("Your name").press("Enter")
    wait(lambda: "osteon-name=Ada" in page.evaluate("document.cookie"))
    links.first.focus()
    page.keyboard.press("a")
    expect(links).to_have_text(["c3", "c4", "c5"])
    wait(lambda: state(read_history(folder, "c2")) == ("approved", "Ada", ""))
    expect(links.first).to_be_focused()
    page.keyboard.press("r")
    page.get_by_label("Why").fill("the leg moved")
    page.get_by_label("Why").press("Enter")
    expect(links).to_have_text(["c4", "c5"])
    assert state(read_history(folder, "c3")) == ("rejected", "Ada", "the leg moved")

    # many at once
    page.get_by_label("Tick all cases of this page").check()
    visitor.sees("2 ticked")
    page.get_by_label("Give to").fill("Zoe")
    visitor.click("Assign")
    visitor.choose("Owner", "Zoe")
    visitor.choose("State", "all")
    expect(links).to_have_text(["c4", "c5"])
    assert read_history(folder, "c5").owner == "Zoe"
    page.get_by_label("Search").fill("C5")
    expect(links).to_have_text(["c5"])
    page.get_by_label("Search").fill("")
    expect(links).to_have_count(2)
    is_for_everybody(visitor, axe, "work-list", tmp_path)

    # from case to case in the list's order, and who somebody is stays known
    links.first.focus()
    page.keyboard.press("Enter")
    visitor.sees("case 1 of 2")
    visitor.sees("shown after")
    expect(page.get_by_label("Your name")).to_have_value("Ada")
    page.keyboard.press("m")
    expect(page.get_by_role("switch", name="Measure by dragging")).to_be_checked()
    x, y = slice_middle(visitor)
    drag(visitor, (x - 20, y), (x + 20, y))
    drag(visitor, (x - 10, y - 20), (x - 10, y + 20))
    drawn = page.evaluate(
        "document.querySelector('canvas').osteonView.nv.document.completedMeasurements.map((m) => m.distance)"
    )
    visitor.click("Keep the lengths")
    visitor.sees("2 lengths saved")
    for box in page.get_by_role("checkbox", name="Length").all():
        box.click()
    visitor.click("Angle between the ticked")
    visitor.sees("Angle 3: 90.0°")
    saved = read_measurements(folder, "c4")
    assert [one.value for one in saved] == pytest.approx([*drawn, 90], abs=0.01)
    assert saved[0].value > 1
    visitor.click("Remove Angle 3")
    expect(page.get_by_text("Angle 3: 90.0°")).to_have_count(0)
    page.locator("h1").click()
    page.keyboard.press("Shift+A")
    visitor.sees("case 2 of 2")
    assert state(read_history(folder, "c4")) == ("approved", "Ada", "")

    # two readings
    case = Workspace.open(root).keyed_hash("datasets", "knees", "c6")
    visitor.open(f"/look/{dataset}/{case}")
    visitor.sees("Not annotated: tibia. It is unknown here, not background.")
    visitor.sees("shown after")
    visitor.sees(f"{2 * 19 / (27 + 19):.3f}")
    visitor.choose("Show", "Where they differ")
    wait(lambda: visitor.colours() > 0)
    is_for_everybody(visitor, axe, "two-readings", tmp_path)
    visitor.click("Annotated: femur")
    page.get_by_role("checkbox", name="tibia").click()
    expect(page.get_by_role("checkbox", name="tibia")).to_be_checked()
    visitor.click("Save", exact=True)
    expect(page.get_by_text("Not annotated: tibia")).to_have_count(0)
    visitor.click("The second counts")
    expect(page.get_by_text("Two readings")).to_have_count(0)
    history = read_history(folder, "c6")
    assert [(reading.number, reading.accepted, reading.by) for reading in history.readings] == [(2, True, "Ada")]
    assert history.version is not None
    assert history.version.file == "2.nii.gz"

    visitor.sees("shown after")
    with page.expect_download() as download:
        visitor.click("Report (PDF)")
    assert download.value.suggested_filename == "c6.pdf"
    assert Path(download.value.path()).read_bytes().startswith(b"%PDF-")

    # how far it is
    visitor.open(f"/work/{dataset}/progress")
    visitor.sees("226 cases left to draw, to look at or to approve")
    visitor.sees("1 case read by two people")
    page.wait_for_timeout(500)
    is_for_everybody(visitor, axe, "progress", tmp_path)
    with page.expect_download() as download:
        visitor.click("Table of all cases (CSV)")
    assert "c3,rejected" in Path(download.value.path()).read_text()


def test_scans_are_suggested_by_a_job(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset_in(root)
    model_in(root)

    async def steps(user: User, app: AppState) -> None:
        await user.open(f"/work/{app.workspace.item('datasets', 'knees').id}")
        await user.should_see("Nothing is suggested.")
        await click(user, "Suggest what to label")
        await click(user, "Suggest what to label")
        await user.should_see("that is being done already")
        await user.open("/work/x")
        await user.should_see("is no longer here")

    app = visit(root, steps)
    assert arguments(app, "suggest") == ["datasets/knees", "runs/first", "--count", "10"]
    assert commands(app) == ["suggest"]


def test_every_key_of_the_list_is_described() -> None:
    page = (Path(__file__).parents[1] / "docs/app.md").read_text(encoding="utf-8")
    assert all(f"| {keys} | {what} |" in page for keys, what in KEYS)
