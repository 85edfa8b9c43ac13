"""Every page in both themes, on a small screen and by keyboard: what axe-core finds, and what it cannot see.

A page is opened once and looked at in every way, for opening takes the most time; so what its policy refuses is looked
at here, too.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import TimeoutError, expect

from app_browser import Visitor, chromium, open_visitor, wait
from helpers import two_boxes, write_dataset
from osteon.app.bin import delete
from osteon.app.corrections import PieceEdit, correct_pieces
from osteon.app.jobs import Job, JobPhase, Jobs, JobState
from osteon.app.state import AppState
from osteon.app.workspace import Workspace
from osteon.core.files import write_json
from scripts import load_script
from test_app_measures import measured_in
from test_app_pages import dataset_in, model_in, result_in
from test_app_pieces import LEVELS, fractures
from test_app_viewer import pictures

ROOT = Path(__file__).parents[1]
FOLDED = 9
SERIOUS = ("serious", "critical")
PAGES = (
    *("start", "data", "source", "scans", "pairs", "dataset", "look", "picture", "train", "training", "segment"),
    *("draw", "draw a picture", "result", "case of a result", "pieces of a result", "compare", "compared case", "runs"),
    *("jobs", "space"),
)
WIDE, SMALL, ENLARGED = 1280, 900, 1280 * 2 // 3
"""Pixels; the last is what a page of 1280 has at 150 %."""


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core's code; it was fetched with the installation, or is now."""
    pytest.importorskip("hatchling", reason="hatchling, which knows where axe-core comes from, is not installed here")
    build = load_script("hatch_build.py")
    if reason := build.why_not(build.AXE, ROOT):
        pytest.skip(reason)
    return (ROOT / build.AXE.folder / "index.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def visitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    chromium()
    root = tmp_path_factory.mktemp("app") / "workspace"
    furnish(root)
    with open_visitor(root) as made:
        yield made


def furnish(root: Path) -> None:
    """A workspace in which every page has something to show."""
    space = Workspace.open(root)
    scans = write_dataset(root / "sources/knees", {f"c{n}": two_boxes(seed=n) for n in range(6)}).folder
    (scans / "pairs.txt").write_text("\n".join(f"images/c{n}.nii.gz,labels/c{n}.nii.gz" for n in range(6)))
    (scans / "dataset.yaml").unlink()
    heap = write_dataset(root / "sources/heap", {"c0": two_boxes()}).folder
    (heap / "dataset.yaml").unlink()
    (heap / "images/c0.nii.gz").rename(heap / "one.nii.gz")
    (heap / "labels/c0.nii.gz").rename(heap / "two.nii.gz")
    write_dataset(root / "sources/more", {"c0": two_boxes()})
    shutil.rmtree(root / "sources/more/labels")
    (root / "sources/more/dataset.yaml").unlink()
    pictures(root / "datasets/hands")
    dataset_in(root, cases=6)
    model_in(root)
    rows = ["iteration,elapsed_s,loss,s_per_iteration,dice,dice_femur", "10,20,0.9,0.2,0.5,0.5", "20,40,0.7,0.2,,"]
    (root / "runs/first/metrics.csv").write_text("\n".join(rows) + "\n")
    result_in(root)
    measured_in(root)
    fractures(root, "arms", levels=LEVELS, review=["names: L1 or L2: 60% against 40%"])
    correct_pieces(root / "results/arms/a.nii.gz", PieceEdit("split", (4,)))
    (root / "sources/old").mkdir()
    delete(AppState(space), space.item("sources", "old"))
    jobs = Jobs(space.root)
    of = {"train": {"run": "first", "dataset": "knees", "budget": "1min"}, "import": {"dataset": "knees"}}
    phases: dict[str, JobPhase] = {"import": "done", "train": "paused", "predict": "failed", "plan": "cancelled"}
    for number, (command, phase) in enumerate(phases.items()):
        about = of.get(command, {"result": "mine", "run": "first"})
        job = Job(f"{number:016x}", command, ("knees",), f"{command} of knees", about, created=time.time() + number)
        write_json(jobs.store.folder / job.id / "job.json", asdict(job))
        jobs.write_state(job, JobState(phase, began=time.time() - 60, ended=time.time(), code=1))
        (jobs.store.folder / job.id / "log.txt").write_text("error: knees: nothing is there\n  → look elsewhere\n" * 40)


def address(visitor: Visitor, page: str) -> str:
    space = Workspace.open(visitor.server.root)
    data, hands = space.item("datasets", "knees").id, space.item("datasets", "hands").id
    run, result = space.item("runs", "first").id, space.item("results", "mine").id
    case, of_result = space.keyed_hash("datasets", "knees", "c1"), space.keyed_hash("results", "mine", "c1")
    return {
        "start": "/",
        "data": "/data",
        "source": f"/source/{space.item('sources', 'knees').id}",
        "scans": f"/source/{space.item('sources', 'more').id}",
        "pairs": f"/source/{space.item('sources', 'heap').id}",
        "dataset": f"/dataset/{data}",
        "look": f"/look/{data}/{case}",
        "picture": f"/look/{hands}/{space.keyed_hash('datasets', 'hands', 'placed')}",
        "draw": f"/look/{data}/{case}/draw",
        "draw a picture": f"/look/{hands}/{space.keyed_hash('datasets', 'hands', 'placed')}/draw",
        "train": "/train",
        "training": f"/train/{run}",
        "segment": f"/segment?model={run}",
        "result": f"/result/{result}",
        "case of a result": f"/result/{result}/{of_result}",
        "pieces of a result": f"/result/{space.item('results', 'arms').id}/{space.keyed_hash('results', 'arms', 'a')}",
        "compare": f"/compare?a={data}&b={result}",
        "compared case": f"/compare/{data}/{result}/{of_result}",
        "runs": "/runs",
        "jobs": "/jobs",
        "space": "/space",
    }[page]


SIGNS = {
    "source": "Recognised: ",
    "scans": "Recognised: ",
    "pairs": "Which label belongs to which image?",
    "look": "shown after",
    "draw": "This is the imported label.",
    "draw a picture": "This is the imported label.",
    "case of a result": "shown after",
    "pieces of a result": "shown after",
    "compared case": "shown after",
    "space": "of the disk are free",
}
"""What shows that a page is drawn; elsewhere its heading does."""


def open_page(visitor: Visitor, page: str) -> None:
    """A page in the light, with all that it folds away."""
    Workspace.open(visitor.server.root).save_settings(theme="light")
    visitor.open(address(visitor, page))
    visitor.page.locator("h1").wait_for()
    if page in SIGNS:
        visitor.page.get_by_text(SIGNS[page]).first.wait_for(state="attached")
    folded = visitor.page.locator(".q-expansion-item--collapsed .q-expansion-item__container > .q-item")
    for one in folded.all()[:FOLDED]:
        with suppress(TimeoutError):  # drawn anew in between
            one.click(timeout=1000)
    visitor.page.wait_for_timeout(300)


def found(visitor: Visitor, theme: str, **options: list[str]) -> list[dict[str, Any]]:
    """What axe-core calls serious."""
    result = visitor.page.evaluate("(o) => axe.run(document, o)", {"resultTypes": ["violations"], **options})
    return [
        {"theme": theme, "rule": v["id"], "nodes": [(n["html"][:160], n["failureSummary"][:200]) for n in v["nodes"]]}
        for v in result["violations"]
        if v["impact"] in SERIOUS
    ]


def beyond(visitor: Visitor, width: int) -> int:
    """Pixels of the page that lie beyond the right edge of a window so wide, once charts have found their width."""
    over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    visitor.page.set_viewport_size({"width": width, "height": 600})
    with suppress(TimeoutError):
        visitor.page.wait_for_function(f"{over} <= 0", timeout=3000)
    return int(visitor.page.evaluate(over))


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_for_everybody(visitor: Visitor, axe: str, page: str) -> None:
    open_page(visitor, page)
    visitor.page.evaluate(axe)
    serious = found(visitor, "light")
    cut = {width: beyond(visitor, width) for width in (ENLARGED, SMALL, WIDE)}
    visitor.click("Theme: light; change it", exact=True)
    visitor.page.locator("body.body--dark").wait_for()
    passed_over = "document.getAnimations().every((one) => !(one instanceof CSSTransition))"
    visitor.page.wait_for_function(passed_over)
    serious += found(visitor, "dark", runOnly=["color-contrast"])
    assert not serious, json.dumps(serious, indent=1)
    assert set(cut.values()) == {0}, f"pixels beyond the right edge, by the window's width: {cut}"
    assert visitor.errors == []


def test_a_figure_is_drawn_and_its_landmark_moved_by_keys(visitor: Visitor) -> None:
    """The line's ends are where the viewer has the landmarks, and the crosshair's place is a landmark's."""
    open_page(visitor, "case of a result")
    page = visitor.page
    page.get_by_role("button", name="Draw femur length of femur").press("Enter")
    page.get_by_text("Drawn: femur length of femur, 4.0 mm").wait_for()
    line = page.locator(".osteon-figure svg").nth(1).locator("polyline").first  # coronal: the line runs down there
    canvas = page.locator(".osteon-view canvas")
    expected = """(canvas) => { const { nv } = canvas.osteonView, { dpr } = nv.uiData, tile = nv.screenSlices[1];
      const [left, top] = tile.leftTopWidthHeight;
      return [[0, 12, 35], [0, 12, 31]].map((mm) => { // where NiiVue itself draws measurements, across from the slice
        nv.scene.crosshairPos = nv.mm2frac(mm);
        nv.drawScene();
        const [x, y] = nv.frac2canvasPosWithTile(nv.mm2frac(mm), 1).pos;
        return [(x - left) / dpr, (y - top) / dpr];
      }); }"""
    places = canvas.evaluate(expected)
    ends = [[float(v) for v in end.split(",")] for end in (line.get_attribute("points") or "").split()]
    assert ends == [pytest.approx(place, abs=0.5) for place in places]
    name = page.get_by_label("Your name")
    name.fill("Ada")
    name.press("Tab")
    canvas.press("PageUp")
    at = canvas.evaluate("(canvas) => canvas.osteonView.crosshair()")
    page.get_by_role("button", name="To the crosshair: head centre of femur").press("Enter")
    page.get_by_text("moved by Ada: head centre").first.wait_for()
    kept = json.loads((visitor.server.root / "results/mine/annotations/c1/landmarks.json").read_text())
    assert kept["moves"][0]["point"] == pytest.approx(at, abs=0.001)
    page.get_by_role("button", name="Put back head centre of femur").press("Enter")
    page.get_by_text("moved by Ada").first.wait_for(state="detached")
    assert visitor.errors == []


def test_a_script_that_was_smuggled_into_a_page_is_not_run(visitor: Visitor) -> None:
    open_page(visitor, "data")
    visitor.page.evaluate("""() => {
        document.body.insertAdjacentHTML("beforeend", `<img src="/nothing.png" onerror="window.ran = 'handler'">`);
        document.body.insertAdjacentHTML("beforeend", `<a id="bad" href="javascript:void (window.ran = 'link')">x</a>`);
        const script = document.createElement("script");
        script.textContent = "window.ran = 'script'";
        document.body.append(script);
        document.getElementById("bad").click();
    }""")
    wait(lambda: visitor.page.evaluate("window.ran") is not None or len(visitor.errors) == 3, seconds=10)
    assert visitor.page.evaluate("window.ran") is None
    visitor.errors.clear()


def test_the_first_key_leads_to_the_content(visitor: Visitor) -> None:
    open_page(visitor, "data")
    page = visitor.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Choose files or a zip")).to_be_focused()
    ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert ring == "solid"


@pytest.mark.parametrize("name", ["Start training", "Show or hide the menu"])
def test_what_has_the_focus_shows_it(visitor: Visitor, name: str) -> None:
    open_page(visitor, "train")
    button = visitor.page.get_by_role("button", name=name)
    for _ in range(60):
        visitor.page.keyboard.press("Tab")
        if button.evaluate("(e) => e === document.activeElement"):
            break
    style = button.evaluate("(e) => { const s = getComputedStyle(e); return [s.outlineStyle, s.outlineWidth]; }")
    assert style == ["solid", "3px"]
