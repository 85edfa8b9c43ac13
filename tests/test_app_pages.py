"""Every page of the app, by NiceGUI's User: what it says, what it does, and what it asks the command line for."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nicegui import ui
from nicegui.testing.user import User

from app_pages import click, visit
from dicom_writing import series
from helpers import tiny_plan, two_boxes, write_dataset
from osteon.app.commands import fold_options
from osteon.app.dataset_edits import correct_cases
from osteon.app.job_cards import job_page
from osteon.app.jobs import JobState
from osteon.app.state import AppState
from osteon.app.viewer_controls import SHORTCUTS
from osteon.app.workspace import ABOUT, Item, Workspace
from osteon.core.files import write_json
from osteon.core.labels import Segmentation, Structure
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import read_manifest, write_manifest
from osteon.evaluating.evaluate import evaluate
from osteon.formats import write_segmentation
from osteon.plan.schema import write_plan

EVIL = "<img src=x onerror=alert(1)>"


def folder_of(tmp_path: Path) -> Path:
    return Workspace.open(tmp_path / "w").root


def dataset_in(root: Path, name: str = "knees", cases: int = 4) -> Dataset:
    return write_dataset(root / "datasets" / name, {f"c{n}": two_boxes(seed=n) for n in range(cases)})


def model_in(root: Path, name: str = "first", dataset: str = "knees") -> None:
    """A run with a model, as far as pages look at one."""
    run = root / "runs" / name
    (run / "model").mkdir(parents=True)
    (run / "model/weights.safetensors").touch()
    write_plan(run / "plan.yaml", tiny_plan())
    write_json(run / "model/validation.json", {"dice": 0.8125})
    write_json(run / ABOUT, {"dataset": dataset})


def result_in(root: Path, name: str = "mine", *, shift: int = 1) -> Path:
    """A result of two cases, one of them worse, scored."""
    dataset = Dataset.open(root / "datasets/knees")
    folder = root / "results" / name
    for number, case in enumerate(dataset.manifest.cases[:2]):
        truth = dataset.load_segmentation(case)
        moved = np.roll(truth.array, shift * (number + 1), axis=1)
        write_segmentation(folder / f"{case.id}.nii.gz", Segmentation(moved, truth.geometry, truth.structures))
    write_json(folder / ABOUT, {"dataset": "knees", "run": "first"})
    record = {"confidence": {"femur": 0.91, "tibia": None}, "seconds": 1.5}
    why = {"review": ["tibia: not found"]}
    write_json(folder / "predictions.json", {"c0": record | {"review": []}, "c1": record | why})
    evaluate(folder, root / "datasets/knees", folder)
    return folder


def arguments(app: AppState, command: str) -> list[str]:
    """Of the newest job of that command."""
    return list(next(job for job in app.jobs.all() if job.command == command).arguments)


def commands(app: AppState) -> list[str]:
    return sorted(job.command for job in app.jobs.all())


# Where there is nothing


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("/", ["From scans to bones", "Do this next", "Nothing has been started yet", "Make up data"]),
        ("/data", ["Bring data", "Nothing has been uploaded yet", "No dataset yet"]),
        ("/train", ["There is nothing to learn from yet", "Bring data"]),
        ("/segment", ["There is no model yet", "Train a model", "No result yet"]),
        ("/compare", ["Nothing to compare yet", "Import the dataset that it is of first"]),
        ("/runs", ["Nothing to compare yet", "Segment"]),
        ("/jobs", ["Nothing has been started yet", "Start"]),
    ],
)
def test_an_empty_page_says_what_to_do_next(tmp_path: Path, page: str, says: list[str]) -> None:
    async def steps(user: User, _: AppState) -> None:
        await user.open(page)
        for text in says:
            await user.should_see(text)

    visit(tmp_path, steps)


@pytest.mark.parametrize(
    "page",
    ["/source/x", "/dataset/x", "/look/x/y", "/train/x", "/result/x", "/result/x/y", "/compare/x/y/z"],
)
def test_what_is_no_longer_here_is_said(tmp_path: Path, page: str) -> None:
    async def steps(user: User, _: AppState) -> None:
        await user.open(page)
        await user.should_see("is no longer here")

    visit(tmp_path, steps)


# Data


def test_data_are_made_up_on_request(tmp_path: Path) -> None:
    async def steps(user: User, _: AppState) -> None:
        await user.open("/")
        await click(user, "Make up data")
        await user.open("/data")
        await user.should_see("appears here when it is done")
        await user.should_not_see("Nothing has been uploaded yet")

    app = visit(tmp_path, steps)
    assert arguments(app, "phantom") == ["limb", "sources/made-up-limb", "--cases", "8"]


def test_a_source_is_recognised_and_imported(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    scans = write_dataset(root / "sources/knees", {f"c{n}": two_boxes(seed=n) for n in range(6)}).folder
    lines = [f"images/c{n}.nii.gz,labels/c{n}.nii.gz" for n in range(6)]
    (scans / "pairs.txt").write_text("\n".join(lines))
    (scans / "dataset.yaml").unlink()

    async def steps(user: User, app: AppState) -> None:
        await user.open("/data")
        await user.should_see("13 files")
        await user.open(f"/source/{app.workspace.items('sources')[0].id}")
        await user.should_see("Recognised: ", retries=20)
        await user.should_see("6 cases")
        await user.should_see("femur")
        table = next(iter(user.find(ui.table).elements))
        table.selected = [row for row in table.rows if row["id"] != "c3"]
        names = [box for box in user.find(ui.input).elements if box.value == "tibia"]
        names[0].value = "shin"
        user.find(marker="import").click()
        await asyncio.sleep(0.1)

    app = visit(tmp_path / "w", steps)
    assert commands(app) == ["audit", "import"]
    given = arguments(app, "import")
    assert given[:2] == ["sources/knees", "datasets/knees"]
    assert given[given.index("--hold-out") + 1] == "0.2"
    assert given[given.index("--only") + 1] == "c0,c1,c2,c4,c5,"
    assert given[given.index("--labels") + 1] == "femur=3,shin=5"


def test_a_list_that_names_files_elsewhere_is_refused(tmp_path: Path) -> None:
    """An uploaded list must not have the server read what its user may not."""
    outside = write_dataset(tmp_path / "private", {"c0": two_boxes()}).folder
    root = folder_of(tmp_path)
    source = root / "sources/trick"
    source.mkdir()
    (source / "pairs.txt").write_text(f"{outside}/images/c0.nii.gz,{outside}/labels/c0.nii.gz\n")

    async def steps(user: User, app: AppState) -> None:
        await user.open(f"/source/{app.workspace.items('sources')[0].id}")
        await user.should_see("names a file outside the workspace", retries=20)
        await user.should_not_see("Import for training")

    visit(tmp_path / "w", steps)
    read = visit(tmp_path / "w", steps_that_see("6 cases", nothing=True), data=(outside,))
    assert read.workspace.may_read(outside / "images/c0.nii.gz")


def steps_that_see(text: str, *, nothing: bool = False) -> Any:
    async def steps(user: User, app: AppState) -> None:
        await user.open(f"/source/{app.workspace.items('sources')[0].id}")
        await user.should_see("Recognised: ", retries=20)
        if not nothing:
            await user.should_see(text)

    return steps


def test_what_is_not_recognised_can_be_paired_by_hand(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    heap = write_dataset(root / "sources/heap", {"c0": two_boxes()}).folder
    (heap / "dataset.yaml").unlink()
    (heap / "images/c0.nii.gz").rename(heap / "one.nii.gz")
    (heap / "labels/c0.nii.gz").rename(heap / "two.nii.gz")

    async def steps(user: User, app: AppState) -> None:
        await user.open(f"/source/{app.workspace.items('sources')[0].id}")
        await user.should_see("Which label belongs to which image?", retries=20)
        boxes = sorted(user.find(ui.select).elements, key=lambda box: box.id)
        image, label = [box for box in boxes if box.options and "one.nii.gz" in box.options]
        image.value, label.value = sorted(["one.nii.gz", "two.nii.gz"])
        await click(user, "Import these pairs")

    app = visit(tmp_path / "w", steps)
    given = arguments(app, "import")
    assert given[:2] == ["sources/heap-pairs/pairs.txt", "datasets/heap"]
    assert (root / "sources/heap-pairs/pairs.txt").read_text() == f'"{heap}/one.nii.gz","{heap}/two.nii.gz"\n'


ASKS = "give both the same `subject`"


def test_a_dataset_is_corrected(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset_in(root)
    audit = {
        "summary": "4 cases: 1 error",
        "findings": [
            {"severity": "error", "kind": "k", "cases": ["c1"], "what": "mirrored", "action": ASKS, "strength": 1.0}
        ],
        "cases": [{"id": "c0", "structures": {"femur": {}, "tibia": {}}}],
    }
    write_json(root / "datasets/knees/audit/audit.json", audit)

    async def steps(user: User, app: AppState) -> None:
        await user.open(f"/dataset/{app.workspace.items('datasets')[0].id}")
        for text in ("4 cases: 1 error", "mirrored", "What to do: import the data again", "Train on it"):
            await user.should_see(text)
        box = next(box for box in user.find(ui.input).elements if box.value == "tibia")
        box.value = "shin"
        await click(user, "Save names and colours")
        await user.should_see("Saved")
        table = next(iter(user.find(ui.table).elements))
        table.selected = [row for row in table.rows if row["id"] == "c2"]
        await click(user, "Keep for the final test")

    visit(tmp_path / "w", steps)
    manifest = read_manifest(root / "datasets/knees")
    assert [s.name for s in manifest.structures] == ["femur", "shin"]
    assert [case.id for case in manifest.cases if case.held_out] == ["c2"]
    dataset = Dataset.open(root / "datasets/knees")
    assert dataset.load_segmentation(manifest.cases[0]).mask(manifest.structures[1]).any()


def test_overlapping_structures_are_renamed_in_the_datasets_own_files(tmp_path: Path) -> None:
    from osteon.app.dataset_edits import correct_structures

    image, labels, affine = two_boxes()
    layers = np.stack([labels == 3, labels > 0]).astype(np.uint8)
    folder = write_dataset(tmp_path / "d", {"c0": (image, layers, affine)}, overlapping=True).folder
    correct_structures(folder, {"femur": "thigh"}, {"tibia": "#123456"})
    dataset = Dataset.open(folder)
    read = dataset.load_segmentation(dataset.manifest.cases[0])
    assert [s.name for s in read.structures] == ["thigh", "tibia"]
    np.testing.assert_array_equal(read.array, layers)
    assert dataset.structures[1].colour == "#123456"


def test_a_structure_with_numbered_pieces_keeps_them_under_another_name(tmp_path: Path) -> None:
    from osteon.app.dataset_edits import correct_structures

    fragment = Structure(name="fragment", value=1, colour="#ff0000", instances=True, last_value=9)
    folder = write_dataset(tmp_path / "d", {"c0": two_boxes()}, (fragment,)).folder
    correct_structures(folder, {"fragment": "piece"}, {})
    assert Dataset.open(folder).structures == (fragment.model_copy(update={"name": "piece"}),)


def test_names_that_hold_html_are_text(tmp_path: Path) -> None:
    """A case may be called anything; a page shows it and never obeys it."""
    root = folder_of(tmp_path)
    write_dataset(root / "datasets/evil", {EVIL: two_boxes()})

    async def steps(user: User, app: AppState) -> None:
        item = app.workspace.items("datasets")[0]
        await user.open(f"/dataset/{item.id}")
        rows = next(iter(user.find(ui.table).elements)).rows
        assert rows[0]["id"] == EVIL
        assert EVIL not in rows[0]["href"]
        await user.open(rows[0]["href"])
        await user.should_see(EVIL)

    visit(tmp_path / "w", steps)


# Look


def test_a_case_is_looked_at(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset_in(root)
    calls: list[tuple[str, tuple[Any, ...]]] = []

    async def steps(user: User, app: AppState) -> None:
        item = app.workspace.items("datasets")[0]
        await user.open(f"/look/{item.id}/{app.case_id(item, 'c1')}")
        await user.should_see("case 2 of 4")
        await user.should_see("12×10×8 voxels", retries=20)
        await user.should_see("Radiological", retries=20)
        view = next(iter(user.find(marker="view-0").elements))
        view.run_method = lambda name, *given: calls.append((name, given))  # type: ignore[method-assign]
        scene = view.props["scene"]
        assert [s["name"] for s in scene["layers"][0]["structures"]] == ["femur", "tibia"]
        assert re.fullmatch(r"/v/[0-9a-f]{20}/image\.nii\.gz", scene["image"])
        next(iter(user.find(marker="structure-2").elements)).set_value(False)
        await user.should_see("Radiological")

    app = visit(tmp_path / "w", steps)
    assert [name for name, _ in calls] == ["styles"]
    layer, changes = calls[0][1]
    assert (layer, changes[0][0], changes[0][2]) == (0, 1, 0.0)
    assert app.jobs.all() == []


KEYED = [
    ("1", "styles"),
    ("a", "styles"),
    ("o", "outline"),
    ("w", "window"),
    ("v", "layout"),
    ("b", "surround"),
    ("r", "convention"),
    ("m", "measure"),
    ("c", "clear"),
]


@pytest.mark.parametrize(("key", "method"), KEYED)
def test_every_key_does_what_it_says(tmp_path: Path, key: str, method: str) -> None:
    root = folder_of(tmp_path)
    dataset_in(root)
    calls: list[str] = []

    async def steps(user: User, app: AppState) -> None:
        item = app.workspace.items("datasets")[0]
        await user.open(f"/look/{item.id}/{app.case_id(item, 'c0')}")
        await user.should_see("Radiological", retries=20)
        view = next(iter(user.find(marker="view-0").elements))
        view.run_method = lambda name, *_: calls.append(name)  # type: ignore[method-assign]
        keyboard = next(iter(user.find(ui.keyboard).elements))
        event = {"action": "keydown", "repeat": False, "key": key, "code": "", "location": 0}
        event |= dict.fromkeys(("altKey", "ctrlKey", "shiftKey", "metaKey"), False)
        for listener in keyboard._event_listeners.values():
            if listener.type == "key":
                from nicegui import events

                events.handle_event(
                    listener.handler,
                    events.GenericEventArguments(sender=keyboard, client=keyboard.client, args=event),
                )
        await asyncio.sleep(0.1)

    visit(tmp_path / "w", steps)
    assert method in calls


def test_the_docs_have_the_keys_that_the_app_tells() -> None:
    page = (Path(__file__).parents[1] / "docs/app.md").read_text(encoding="utf-8")
    described = re.findall(r"^\| (.+?) \| (.+?) \|$", page.split("| key | does |")[1].split("\n\n")[0], re.MULTILINE)
    assert described[1:] == [*SHORTCUTS, ("?", "all keys")]


# Train


def test_a_training_is_started(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset_in(root)

    async def steps(user: User, _: AppState) -> None:
        await user.open("/train")
        await user.should_see("A forecast measures on this machine")
        own = next(box for box in user.find(ui.input).elements if box.props.get("label") == "or a time of your own")
        own.value = "45 min"
        await click(user, "Forecast first")
        await click(user, "Start training")

    app = visit(tmp_path / "w", steps)
    assert arguments(app, "plan") == ["datasets/knees", "--recipe", "osteon", "--budget", "45min", "--force"]
    given = arguments(app, "train")
    assert given[:6] == ["datasets/knees", "runs/knees-osteon", "--budget", "45min", "--recipe", "osteon"]
    assert given[6:] == ["--folds", "4"], "four cases make no five folds"


@pytest.mark.parametrize(
    ("cases", "held", "options"), [(6, 0, []), (6, 4, ["--folds", "2"]), (1, 0, ["--fold", "none"])]
)
def test_a_small_dataset_is_parted_into_what_it_has(tmp_path: Path, cases: int, held: int, options: list[str]) -> None:
    folder = dataset_in(tmp_path, cases=cases).folder
    correct_cases(folder, held_out=[f"c{n}" for n in range(held)], removed=[])
    assert fold_options(Item("datasets", "knees", folder, "")) == options


def test_what_has_nothing_to_learn_from_is_refused(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    folder = dataset_in(root, cases=2).folder
    manifest = read_manifest(folder)
    write_manifest(
        folder, manifest.model_copy(update={"cases": [c.model_copy(update={"held_out": True}) for c in manifest.cases]})
    )

    async def steps(user: User, _: AppState) -> None:
        await user.open("/train")
        await click(user, "Start training")
        await user.should_see("no case has a label and is there to train on")

    assert visit(tmp_path / "w", steps).jobs.all() == []


def test_a_training_takes_the_plan_that_was_forecast(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset_in(root)

    async def steps(user: User, _: AppState) -> None:
        await user.open("/train")
        await click(user, "Forecast first")
        write_plan(root / "datasets/knees/plan.yaml", tiny_plan())
        await user.open("/train")
        await user.should_see("Network")
        await user.should_see("Memory")
        await click(user, "Start training")

    app = visit(tmp_path / "w", steps)
    given = arguments(app, "train")
    assert given[given.index("--plan") + 1] == "plans/knees-osteon.yaml"
    assert (root / "plans/knees-osteon.yaml").read_bytes() == (root / "datasets/knees/plan.yaml").read_bytes()


def test_a_time_that_is_none_is_refused(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset_in(root)

    async def steps(user: User, _: AppState) -> None:
        await user.open("/train")
        own = next(box for box in user.find(ui.input).elements if box.props.get("label") == "or a time of your own")
        own.value = "soon"
        await click(user, "Start training")
        await user.should_see("is not a valid length of time")

    assert visit(tmp_path / "w", steps).jobs.all() == []


METRICS = """epoch,iteration,elapsed_s,learning_rate,loss,s_per_iteration,dice,dice_femur,dice_tibia
1,40,10.0,0.001,1.5,0.25,,,
2,80,20.0,0.001,0.9,0.25,0.612,0.7,0.524
"""


def test_a_training_shows_its_curves(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    model_in(root)
    run = root / "runs/first"
    (run / "metrics.csv").write_text(METRICS)
    (run / "samples").mkdir()
    (run / "samples/1.jpg").touch()

    async def steps(user: User, app: AppState) -> None:
        job = app.jobs.submit("train", ["a", "b"], "Train first", about={"run": "first", "budget": "1min"})
        app.jobs.write_state(job, JobState("paused"))
        await user.open(f"/train/{app.workspace.items('runs')[0].id}")
        for text in ("paused", "Resume", "0.524", "0.612", "20 s of 1 min", "iteration 80"):
            await user.should_see(text)
        bar = next(b for b in user.find(ui.linear_progress).elements if "time" in b.props.get("aria-label", ""))
        assert bar.value == pytest.approx(20 / 60)
        charts = list(user.find(ui.echart).elements)
        lines = [[s["name"] for s in chart.options["series"]] for chart in charts]
        assert sorted(lines, key=len) == [["loss"], ["mean", "femur", "tibia"]]
        await click(user, "Resume")

    app = visit(tmp_path / "w", steps)
    assert app.jobs.state(app.jobs.all()[0]).phase == "queued"


# Segment


def test_scans_are_segmented(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset_in(root)
    model_in(root)

    async def steps(user: User, app: AppState) -> None:
        item = app.workspace.items("datasets")[0]
        await user.open(f"/segment?source={item.id}")
        await user.should_see("scans: c0", retries=20)
        user.find(content="Segment", kind=ui.button).click()
        await asyncio.sleep(0.1)

    app = visit(tmp_path / "w", steps)
    given = arguments(app, "predict")
    assert given == ["runs/first", "datasets/knees", "results/knees-by-first", "--speed", "balanced"]
    assert commands(app) == ["evaluate", "export", "predict"]
    assert json.loads((root / "results/knees-by-first" / ABOUT).read_text()) == {"run": "first", "dataset": "knees"}


def test_what_was_kept_for_the_final_test_is_offered_first(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    folder = dataset_in(root).folder
    dataset_in(root, "other")
    model_in(root)

    def offered(held_out: list[str]) -> list[object]:
        correct_cases(folder, held_out=held_out, removed=[])
        found: list[object] = []

        async def steps(user: User, _: AppState) -> None:
            await user.open("/segment")
            found.extend(box.value for box in user.find(ui.select).elements if box.props.get("label") == "Scans")

        app = visit(tmp_path / "w", steps)
        return [next((i.name for i in app.datasets() if i.id == value), None) for value in found]

    assert offered([]) == [None]
    assert offered(["c1"]) == ["knees"]


def test_masks_for_a_pacs_refer_to_the_series_that_was_imported(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset_in(root)
    result_in(root)
    series(root / "sources/legs/source/c0", [(0, 0, 0), (0, 0, 1)])
    write_json(root / "datasets/knees" / ABOUT, {"source": "sources/legs/source"})

    async def steps(user: User, app: AppState) -> None:
        await user.open(f"/dataset/{app.datasets()[0].id}")
        await user.should_see("from legs")
        await user.open(f"/result/{app.workspace.items('results')[0].id}")
        form = next(box for box in user.find(ui.select).elements if box.props.get("label") == "Form")
        form.value = "dicom-seg"
        user.find(marker="export").click()
        await asyncio.sleep(0.1)

    app = visit(tmp_path / "w", steps)
    assert arguments(app, "export")[3:] == ["--overwrite", "--source", str(root / "sources/legs/source")]


def test_a_result_says_what_to_look_at_and_is_exported(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset_in(root)
    model_in(root)
    result_in(root)
    (root / "exports/mine-volumes").mkdir()
    table = "case,structure,voxels,fragments,volume_cm3,length_mm\nc0,femur,80,1,0.08,12.5\n"
    (root / "exports/mine-volumes/volumes.csv").write_text(table)

    async def steps(user: User, app: AppState) -> None:
        item = app.workspace.items("results")[0]
        await user.open(f"/result/{item.id}")
        await user.should_see("1 of 2 should be looked at by a person")
        cases, volumes = sorted(user.find(ui.table).elements, key=lambda table: table.id)
        assert [(row["id"], row["flag"], row["review"]) for row in cases.rows] == [
            ("c1", "look at it", "tibia: not found"),
            ("c0", "", ""),
        ]
        assert (volumes.rows[0]["volume"], volumes.rows[0]["confidence"]) == (0.08, 0.91)
        user.find(marker="export").click()
        await asyncio.sleep(0.1)
        await user.open(f"/result/{item.id}/{app.case_id(item, 'c1')}")
        await user.should_see("Look at it: tibia: not found")
        await user.should_see("12×10×8 voxels", retries=20)

    app = visit(tmp_path / "w", steps)
    assert arguments(app, "export") == ["seg-nrrd", "results/mine", "exports/mine-seg-nrrd", "--overwrite"]


# Compare and runs


def test_cases_are_compared_the_worst_first(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset_in(root)
    result_in(root)

    async def steps(user: User, _: AppState) -> None:
        await user.open("/compare")
        await user.should_see("Cases, the worst first")
        rows = min(user.find(ui.table).elements, key=lambda table: table.id).rows
        assert [row["case"] for row in rows] == ["c1", "c0"]
        assert rows[0]["dice"] < rows[1]["dice"] < 1
        await user.open(rows[0]["href"])
        await user.should_see("case 1 of 2, the worst first")
        await user.should_see("Reference")
        await user.should_see("12×10×8 voxels", retries=20)
        assert len(user.find(marker="view-1").elements) == 1
        mode = next(iter(user.find(marker="mode").elements))
        mode.set_value("difference")
        await asyncio.sleep(0.1)
        await user.should_see("missed: in the first alone")
        mode.set_value("outline")
        await asyncio.sleep(0.1)
        layers = next(iter(user.find(marker="view-0").elements)).props["scene"]["layers"]
        assert [layer["outline"] for layer in layers] == [False, True]

    visit(tmp_path / "w", steps)


def test_a_result_of_another_program_is_imported(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset = dataset_in(root)
    source = root / "sources/theirs"
    source.mkdir()
    (source / "c0.nii.gz").write_bytes((dataset.folder / "labels/c0.nii.gz").read_bytes())
    (source / "nobody.nii.gz").write_bytes((dataset.folder / "labels/c0.nii.gz").read_bytes())

    async def steps(user: User, app: AppState) -> None:
        from osteon.app.pages.result_upload import import_upload

        await user.open("/compare")
        with user:
            await import_upload(app, app.workspace.item("sources", "theirs"), app.datasets()[0])
        await user.should_see("1 case taken; 1 note, such as: nobody.nii.gz")

    app = visit(tmp_path / "w", steps)
    assert arguments(app, "evaluate")[:2] == ["results/theirs", "datasets/knees"]
    assert not source.exists()
    assert (root / "results/theirs/c0.nii.gz").is_file()


def test_results_are_sorted_filtered_voted_over_and_reported(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset_in(root)
    model_in(root)
    result_in(root, "good", shift=1)
    result_in(root, "bad", shift=2)

    async def steps(user: User, _: AppState) -> None:
        await user.open("/runs")
        table = next(iter(user.find(ui.table).elements))
        assert [row["name"] for row in table.rows] == ["good", "bad"]
        assert table.rows[0]["validation"] == 0.812
        assert table.rows[0]["review"] == 1
        box = next(box for box in user.find(ui.input).elements if box.props.get("label") == "Name contains")
        box.value = "ba"
        await asyncio.sleep(0.05)
        assert [row["name"] for row in table.rows] == ["bad"]
        box.value = ""
        await click(user, "Vote over the ticked results")
        await user.should_see("two results are needed")
        await asyncio.sleep(0.05)
        table.selected = list(table.rows)
        await click(user, "Make the report")
        await click(user, "Vote over the ticked results")

    app = visit(tmp_path / "w", steps)
    given = arguments(app, "vote")
    assert given == ["results/good", "results/bad", "results/vote", "--method", "hard", "--dataset", "datasets/knees"]
    given = arguments(app, "compare")
    assert given[:4] == ["results/good", "results/bad", "--reference", "datasets/knees"]
    assert commands(app) == ["compare", "evaluate", "export", "vote"]


# Jobs, theme


def test_jobs_show_where_they_stand(tmp_path: Path) -> None:
    async def steps(user: User, app: AppState) -> None:
        failed = app.jobs.submit("evaluate", ["a", "b"], "Compare a with b")
        app.jobs.write_state(failed, JobState("failed", code=1, began=1.0, ended=2.0))
        (app.jobs.store.folder / failed.id / "log.txt").write_text("error: a: is not there\n  → look for it\n")
        waiting = app.jobs.submit("train", ["a", "b"], "Train b")
        await user.open("/jobs")
        for text in (
            "Running and waiting",
            "Ended",
            "waits",
            "failed",
            "a: is not there",
            "What to do: look for it",
            "Try again",
        ):
            await user.should_see(text)
        user.find("Cancel").click()
        for _ in range(50):
            if app.jobs.state(waiting).phase == "cancelled":
                break
            await asyncio.sleep(0.05)

    app = visit(tmp_path, steps)
    assert {app.jobs.state(job).phase for job in app.jobs.all()} == {"cancelled", "failed"}


def test_a_jobs_title_leads_to_what_it_makes(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset_in(root)
    model_in(root)
    (root / "sources/legs/source").mkdir(parents=True)
    (root / "sources/legs/source/a.nii").touch()
    write_json(root / "datasets/knees" / ABOUT, {"source": "sources/legs/source"})

    async def steps(user: User, app: AppState) -> None:
        jobs, space = app.jobs, app.workspace
        train = jobs.submit("train", [], "Train", about={"dataset": "knees", "run": "first"})
        check = jobs.submit("audit", [], "Check", about={"dataset": "knees"})
        gone = jobs.submit("predict", [], "Segment", about={"run": "first", "result": "gone"})
        assert job_page(app, train) == f"/train/{space.item('runs', 'first').id}"
        assert job_page(app, check) == f"/dataset/{space.item('datasets', 'knees').id}"
        assert job_page(app, gone) == ""
        await user.open("/data")
        await user.should_see("1 file, imported as knees")
        await user.should_see("Import again")

    visit(tmp_path / "w", steps)


def test_the_theme_is_saved(tmp_path: Path) -> None:
    async def steps(user: User, _: AppState) -> None:
        await user.open("/jobs")
        user.find(marker="theme").click()
        await asyncio.sleep(0.05)

    first = visit(tmp_path, steps).workspace.read_settings()["theme"]
    second = visit(tmp_path, steps).workspace.read_settings()["theme"]
    assert (first, second) == ("light", "dark")


# What the model has seen, and what is sure


def test_what_the_model_was_trained_on_is_shown_before_and_after(tmp_path: Path) -> None:
    """c0 was trained on and is ticked as held out by now; c1 was not."""
    root = folder_of(tmp_path)
    dataset = dataset_in(root)
    cases = [case.model_copy(update={"held_out": case.id in ("c0", "c1")}) for case in dataset.manifest.cases]
    write_manifest(dataset.folder, dataset.manifest.model_copy(update={"cases": cases}))
    model_in(root)
    seen = {"training": {"c0": "", "c2": ""}, "validation": {"c3": ""}, "before": {}}
    write_json(root / "runs/first/model/validation.json", {"dice": 0.8125, "seen": seen})
    folder = result_in(root)
    record = {"confidence": {"femur": 0.584}, "calibrated": False, "review": []}
    roles = {"c0": {"seen": "trained on"}, "c1": {"seen": "not seen"}}
    write_json(folder / "predictions.json", {case: record | role for case, role in roles.items()})
    evaluate(folder, dataset.folder, folder)

    async def steps(user: User, app: AppState) -> None:
        await user.open("/segment")
        await user.should_see("2 scans: c0, c1", retries=30)
        await user.should_see("1 of them were trained on by this model")
        await user.open(f"/result/{app.workspace.items('results')[0].id}")
        await user.should_see("The model was trained on 1 of these 2 scans")
        await user.should_see("Confidence is uncalibrated")
        rows = min(user.find(ui.table).elements, key=lambda table: table.id).rows
        assert {row["id"]: row["seen"] for row in rows} == {"c0": "trained on", "c1": "not seen"}
        await user.open("/compare")
        await user.should_see("The model was trained on 1 of these 2 scans")
        _, structures = sorted(user.find(ui.table).elements, key=lambda table: table.id)
        assert {row["n"] for row in structures.rows} == {1}
        await user.open("/runs")
        rows = next(iter(user.find(ui.table).elements)).rows
        assert [(row["trained_on"], row["n"]) for row in rows] == [(1, 2)]

    visit(tmp_path / "w", steps)


def test_a_dataset_of_which_all_held_out_cases_were_trained_on_is_not_offered_first(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset = dataset_in(root)
    cases = [case.model_copy(update={"held_out": case.id == "c0"}) for case in dataset.manifest.cases]
    write_manifest(dataset.folder, dataset.manifest.model_copy(update={"cases": cases}))
    model_in(root)
    seen = {"training": {"c0": ""}, "validation": {}, "before": {}}
    write_json(root / "runs/first/model/validation.json", {"dice": 0.8125, "seen": seen})

    async def steps(user: User, _: AppState) -> None:
        await user.open("/segment")
        chosen = [e.value for e in user.find(ui.select).elements if e.props["label"] == "Scans"]
        assert chosen == [None]

    visit(tmp_path / "w", steps)
