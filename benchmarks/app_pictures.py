"""Pictures of every page of the browser app, in both themes, for the documentation.

    python benchmarks/app_pictures.py --work .bench/app-pictures --to docs/app

Made-up legs and hands are imported, trained on and segmented by the app's own jobs, once; then headless Chromium opens
page after page: light at 1280 pixels, dark at 1920, which is kept smaller. The archive is Debian's Orthanc with
made-up patients; `--only archive` makes its picture without the trainings.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from app import CHROMIUM, FLAGS, server
from PIL import Image
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from orthanc import PASSWORD, USER, orthanc
from osteon.app.commands import start_import, start_training
from osteon.app.external_results import import_result
from osteon.app.jobs import FINISHED
from osteon.app.result_commands import start_comparison, start_evaluation, start_export, start_prediction
from osteon.app.state import AppState
from osteon.app.workspace import ABOUT, Workspace
from osteon.archive.archive import open_archive
from osteon.core.files import write_json, write_text
from osteon.phantoms.registry import make_request, write_phantoms
from watching import write_study

ARCHIVE = "archive"
STUDIES = (
    ("CT lumbar spine", "bone 1.0", "LSPINE"),
    ("CT knee left", "bone 0.6", "KNEE"),
    ("CT knee left", "soft tissue 3.0", "KNEE"),
    ("CT wrist right", "bone 0.4", "WRIST"),
    ("CT ankle", "bone 0.6", "ANKLE"),
    ("CT lumbar spine", "bone 1.0", "LSPINE"),
)
"""Of the archive: descriptions of studies and series, and body parts."""
KEPT_WIDTH = {"light": 1280, "dark": 1120}
COLOURS = {"light": 160, "dark": 160}
THEMES = {"light": (1280, 860), "dark": (1920, 1290)}
WHOLE_PIECES = 1400
"""Pixels of a page's height that show the list of pieces and the buttons below it."""


def main() -> None:
    """Fill the workspace, then take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path(".bench/app-pictures"))
    parser.add_argument("--to", type=Path, default=Path("docs/app"))
    parser.add_argument("--budget", default="3min", help="of the training")
    parser.add_argument("--only", nargs="*", help="names of pictures")
    options = parser.parse_args()
    app = AppState(Workspace.open(options.work.resolve()))
    options.to.mkdir(parents=True, exist_ok=True)
    wanted = set(options.only or ())
    if not wanted or ARCHIVE in wanted:
        with tempfile.TemporaryDirectory() as folder, orthanc(Path(folder) / "orthanc") as pacs:
            take_all(app, {ARCHIVE: "/archive"}, options.to, "--archives", str(fill_archive(Path(folder), pacs.url)))
    if wanted != {ARCHIVE}:
        fill(app, options.budget)
        pages = {name: path for name, path in addresses(app).items() if not wanted or name in wanted}
        take_all(app, pages, options.to)
    app.reader.close()


def take_all(app: AppState, pages: Mapping[str, str], to: Path, *more: str) -> None:
    """Pages by name, in both themes; `more` are options of the app."""
    with server(app.workspace.root, *more) as (url, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for theme in THEMES:
            app.workspace.save_settings(theme=theme)
            page = browser.new_page()
            page.set_default_timeout(180_000)
            for name, path in pages.items():
                take(page, url.rstrip("/") + path, to / f"{name}-{theme}.png", name, theme)
            page.close()
        browser.close()


def fill_archive(folder: Path, url: str) -> Path:
    """Studies of made-up patients for an archive, and the file that names it to the app."""
    write_text(folder / "credentials.yaml", f"user: {USER}\npassword: {PASSWORD!r}\n")
    (folder / "credentials.yaml").chmod(0o600)
    path = folder / "archives.yaml"
    write_text(path, f"Hospital: {{url: {url}, settings: {{credentials: credentials.yaml}}}}\n")
    archive = open_archive(url, {"credentials": folder / "credentials.yaml"})
    for number, (study, series, part) in enumerate(STUDIES, 1):
        tags = {"StudyDescription": study, "SeriesDescription": series, "BodyPartExamined": part}
        more = {"PatientID": f"made-up-{number:02}", "StudyDate": f"202611{number * 3:02}"}
        archive.store(write_study(folder / "files", number, 4 + 3 * number % 7, **tags, **more))
    return path


def fill(app: AppState, budget: str) -> None:
    """Datasets, a training, results, a report: what is not there yet."""
    root, space = app.workspace.root, app.workspace
    if not (root / "sources/legs").exists():
        write_phantoms(root / "sources/legs", make_request("limb", cases=10, size=96))
        for mask in (root / "sources/legs/source").rglob("fibula*"):  # minutes do not teach what is that thin
            mask.unlink()
        write_phantoms(root / "sources/hands", make_request("hand", cases=6, size=1024))
        start_import(app, root / "sources/legs/source", "legs", ["--hold-out", "last:3"])
        start_import(app, root / "sources/hands/source", "hands")
        wait_for_jobs(app)
    if not (root / "runs/legs").exists():
        start_training(app, space.item("datasets", "legs"), "legs", recipe="osteon", budget=budget)
        wait_for_jobs(app)
    if not (root / "results/legs-by-legs").exists():
        for name, speed in (("legs-by-legs", "balanced"), ("legs-fast", "fast")):
            legs = space.item("datasets", "legs")
            start_prediction(app, space.item("runs", "legs"), legs.path, name, origin={"dataset": "legs"}, speed=speed)
        start_export(app, space.item("results", "legs-by-legs"), "stl", options=["--overwrite"])
        wait_for_jobs(app)
    if not (root / "results/reader-two").exists():
        table = (root / "sources/hands/source/annotations.csv").read_text().splitlines()
        uploaded = root / "cache/reader-two"
        uploaded.mkdir(exist_ok=True)
        (uploaded / "reader-two.csv").write_text("\n".join(table[:1] + table[2:-3]) + "\n")
        result = space.item("results", "reader-two")
        import_result(uploaded, root / "datasets/hands", result.path)
        write_json(result.path / ABOUT, {"dataset": "hands"})
        start_evaluation(app, result, space.item("datasets", "hands"))
        results = [space.item("results", name) for name in ("legs-by-legs", "legs-fast")]
        start_comparison(app, results, space.item("datasets", "legs"))
        wait_for_jobs(app)
    if not (root / "results/humeri-reader").exists():
        write_phantoms(root / "sources/humeri", make_request("humerus", cases=3, size=96, variants="pieces"))
        start_import(app, root / "sources/humeri/source", "humeri", ["--labels", "humerus=1-99", "--modality", "ct"])
        wait_for_jobs(app)
        result = space.item("results", "humeri-reader")
        import_result(root / "sources/humeri/source/labels", root / "datasets/humeri", result.path)
        write_json(result.path / ABOUT, {"dataset": "humeri"})


def wait_for_jobs(app: AppState) -> None:
    """Wait for all jobs."""
    while any(app.jobs.state(job).phase not in FINISHED for job in app.jobs.all()):
        time.sleep(0.5)
    failed = [job.title for job in app.jobs.all() if app.jobs.state(job).phase == "failed"]
    assert not failed, f"failed: {failed}"


def addresses(app: AppState) -> dict[str, str]:
    """The pages by the names of their pictures."""
    space = app.workspace
    legs, hands = (space.item("datasets", name) for name in ("legs", "hands"))
    result, other, pieces = (space.item("results", name) for name in ("legs-by-legs", "reader-two", "humeri-reader"))
    last, hand = "L010", sorted(path.name.split(".")[0] for path in other.path.glob("*.seg.nrrd"))[0]
    return {
        "start": "/",
        "data": "/data",
        "import": f"/source/{space.item('sources', 'legs').id}",
        "dataset": f"/dataset/{legs.id}",
        "look": f"/look/{legs.id}/{app.case_id(legs, 'L002')}",
        "look-hand": f"/look/{hands.id}/{app.case_id(hands, hand)}",
        "train": f"/train?dataset={legs.id}",
        "training": f"/train/{space.item('runs', 'legs').id}",
        "segment": f"/segment?source={legs.id}",
        "result": f"/result/{result.id}",
        "result-case": f"/result/{result.id}/{app.case_id(result, last)}",
        "pieces": f"/result/{pieces.id}/{app.case_id(pieces, 'humerus_003')}",
        "compare": f"/compare?a={legs.id}&b={result.id}",
        "compare-case": f"/compare/{legs.id}/{result.id}/{app.case_id(result, last)}",
        "compare-hand": f"/compare/{hands.id}/{other.id}/{app.case_id(other, hand)}",
        "runs": "/runs",
        "jobs": "/jobs",
        "space": "/space",
    }


def take(page: Page, url: str, target: Path, name: str, theme: str) -> None:
    """One picture, once everything on the page is there."""
    width, height = THEMES[theme]
    page.set_viewport_size({"width": width, "height": WHOLE_PIECES if name == "pieces" else height})
    page.goto(url)
    page.wait_for_load_state("networkidle")
    if name.startswith(("look", "result-", "compare-")) or name == "pieces":
        page.get_by_text("shown after").first.wait_for()
        if name in ("look", "result-case", "pieces"):
            page.get_by_label("Layout").first.click()
            page.get_by_role("option", name="Slices and 3D").click()
    if name == "import":
        page.get_by_text("Recognised: ").wait_for()
    if name == ARCHIVE:
        page.get_by_label("Modality").fill("CT")
        page.get_by_label("From", exact=True).fill("2026-11-01")
        page.get_by_role("button", name="Search", exact=True).click()
        page.get_by_text("series of").wait_for()
        for box in page.get_by_role("checkbox", name="Tick made-up").all()[:2]:
            box.click()
    if name == "segment":
        page.get_by_text("3 scans").wait_for()
    page.wait_for_timeout(2500)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    if picture.width > KEPT_WIDTH[theme]:
        height = picture.height * KEPT_WIDTH[theme] // picture.width
        picture = picture.resize((KEPT_WIDTH[theme], height), Image.Resampling.LANCZOS)
    picture.quantize(COLOURS[theme], kmeans=1, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
