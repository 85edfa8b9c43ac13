"""Bringing data into the app: unlabelled scans, folders in folders, values without names, many notes."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nicegui import ui
from nicegui.testing.user import User
from PIL import Image

from app_pages import click, visit
from dicom_writing import series
from helpers import tiny_plan, two_boxes, write_dataset
from osteon.app.reader import ReaderProcess
from osteon.app.source_inspection import inspect_source, list_scans
from osteon.app.state import AppState
from osteon.core.volume import Volume
from osteon.dataset.manifest import write_manifest
from osteon.formats import read_segmentation, write_volume
from osteon.plan.schema import write_plan
from test_app_pages import arguments, commands, dataset_in, folder_of, model_in


def nested_pictures(folder: Path) -> Path:
    """Radiographs as a browser sends a folder of folders."""
    for n, name in enumerate(("ward/a/hand.png", "ward/b/hand.png", "ward/b/other.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (12, 10), dtype=np.uint8)).save(folder / name)
    return folder


def nested_volumes(folder: Path) -> Path:
    made = write_dataset(folder.parent / "made", {f"p{n}": two_boxes(seed=n) for n in (1, 2)}).folder
    for n in (1, 2):
        (folder / f"june/p{n}").mkdir(parents=True)
        (made / f"images/p{n}.nii.gz").rename(folder / f"june/p{n}/ct.nii.gz")
    shutil.rmtree(made)
    return folder


def scans_and_model(tmp_path: Path) -> Path:
    """A workspace with uploaded scans, `new`, and a model that can segment them."""
    root = folder_of(tmp_path)
    nested_volumes(root / "sources/new")
    model_in(root)
    write_plan(root / "runs/first/model/plan.yaml", tiny_plan())
    return root


@contextmanager
def paused_reader() -> Iterator[Callable[[], None]]:
    """The reader's process answers nothing until what is given is called; its functions run in this process."""
    released = asyncio.Event()

    async def run(_: ReaderProcess, function: Callable[..., Any], *arguments: Any) -> Any:
        await released.wait()
        return function(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ReaderProcess, "run", run)
        yield released.set


@pytest.mark.parametrize("make", [nested_pictures, nested_volumes])
def test_scans_without_labels_are_brought_in_and_segmented(tmp_path: Path, make: object) -> None:
    root = folder_of(tmp_path)
    make(root / "sources/new")  # type: ignore[operator]

    async def steps(user: User, app: AppState) -> None:
        await user.open(f"/source/{app.workspace.items('sources')[0].id}")
        await user.should_see("Recognised: scans or pictures without labels", retries=20)
        await user.should_see("Bring in, to look at and segment")
        await user.should_see("Segment new")
        await user.should_not_see("It was not recognised")
        user.find(marker="import").click()
        await asyncio.sleep(0.1)

    app = visit(tmp_path / "w", steps)
    assert commands(app) == ["audit", "import"]
    given = arguments(app, "import")
    assert given == ["sources/new", "datasets/new"]  # nothing is held out of what no test can score


@pytest.mark.parametrize(("make", "count"), [(nested_pictures, 3), (nested_volumes, 2)])
def test_folders_in_folders_are_segmented_without_an_import(tmp_path: Path, make: object, count: int) -> None:
    root = folder_of(tmp_path)
    make(root / "sources/new")  # type: ignore[operator]
    model_in(root)
    unit = "px" if make is nested_pictures else "mm"
    write_plan(root / "runs/first/model/plan.yaml", tiny_plan({"unit": unit}))

    async def steps(user: User, app: AppState) -> None:
        item = app.workspace.items("sources")[0]
        await user.open(f"/segment?source={item.id}")
        await user.should_see(f"{count} scans: ", retries=20)
        user.find(content="Segment", kind=ui.button).click()
        await asyncio.sleep(0.1)

    app = visit(tmp_path / "w", steps)
    assert arguments(app, "predict")[:2] == ["runs/first", "sources/new"]


def test_nothing_is_segmented_that_is_still_being_looked_at(tmp_path: Path) -> None:
    scans_and_model(tmp_path)

    async def steps(user: User, app: AppState) -> None:
        with paused_reader() as proceed:
            await user.open(f"/segment?source={app.workspace.items('sources')[0].id}")
            await asyncio.sleep(0.1)
            user.find(content="Segment", kind=ui.button).click()
            await user.should_see("the scans are still being looked at")
            proceed()
            await user.should_see("2 scans: ", retries=20)

    assert commands(visit(tmp_path / "w", steps)) == []


def test_scans_that_are_chosen_again_while_they_are_looked_at_are_listed_once(tmp_path: Path) -> None:
    (scans_and_model(tmp_path) / "sources/other").mkdir()

    async def steps(user: User, app: AppState) -> None:
        with paused_reader() as proceed:
            new, other = (app.workspace.item("sources", name).id for name in ("new", "other"))
            await user.open(f"/segment?source={new}")
            await asyncio.sleep(0.1)
            (box,) = (box for box in user.find(kind=ui.select).elements if new in box.options)
            for chosen in (other, new):
                with user:
                    box.set_value(chosen)
                await asyncio.sleep(0.1)
            proceed()
            await user.should_see("2 scans: ", retries=20)
            await asyncio.sleep(0.2)
            assert len(user.find("2 scans: ").elements) == 1

    visit(tmp_path / "w", steps)


def test_what_a_model_leaves_out_is_listed_before_the_start(tmp_path: Path) -> None:
    source = nested_volumes(tmp_path / "new")
    Image.new("L", (4, 4)).save(source / "june/p1/photo.png")
    (source / "june/p2/femur_mask.nii.gz").write_bytes((source / "june/p2/ct.nii.gz").read_bytes())
    (source / "june/p2/gone.nii.gz").symlink_to(source / "nowhere.nii.gz")
    write_plan(tmp_path / "model/plan.yaml", tiny_plan())
    (tmp_path / "model/validation.json").write_text("{}")
    found = list_scans(source, (tmp_path,), tmp_path / "model")
    assert found.ids == ("p1", "p2")
    assert any("1 files are named like masks" in note for note in found.notes)
    assert any("1 files are pictures" in note for note in found.notes)
    assert list(found.problems) == ["gone"]


def test_values_that_nothing_names_are_named_at_import(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    made = write_dataset(root / "sources/knees", {f"p{n}": two_boxes(seed=n) for n in range(3)}).folder
    for n in range(3):  # written by a program that says no names
        label = read_segmentation(made / f"labels/p{n}.nii.gz")
        write_volume(made / f"labels/p{n}.nii.gz", Volume(label.array[None], label.geometry))
    lines = [f"images/p{n}.nii.gz,labels/p{n}.nii.gz" for n in range(3)]
    (made / "pairs.txt").write_text("\n".join(lines))
    (made / "dataset.yaml").unlink()

    async def steps(user: User, app: AppState) -> None:
        await user.open(f"/source/{app.workspace.items('sources')[0].id}")
        await user.should_see("Nothing names the values that 3 label files hold", retries=20)
        boxes = {str(box.props.get("label")): box for box in user.find(ui.input).elements}
        boxes["Value 3"].value, boxes["Value 5"].value = "femur", ""
        user.find(marker="import").click()
        await user.should_see("two values have the same name, or one has none")
        boxes["Value 5"].value = "tibia"
        user.find(marker="import").click()
        await asyncio.sleep(0.1)

    app = visit(tmp_path / "w", steps)
    given = arguments(app, "import")
    assert given[given.index("--labels") + 1] == "femur=3,tibia=5"


def test_many_notes_of_one_kind_are_one_line(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    for n in range(38):
        series(root / f"sources/ward/p{n}", [(0, 0, z) for z in (0.0, 1.0, 2.0)], SeriesInstanceUID=f"1.2.{n}")
        series(root / f"sources/ward/p{n}/scout", [(0, 0, 0)], SeriesInstanceUID=f"1.3.{n}", ImageType=["LOCALIZER"])

    async def steps(user: User, app: AppState) -> None:
        await user.open(f"/source/{app.workspace.items('sources')[0].id}")
        await user.should_see("38 times: ", retries=20)
        await user.should_see("38 cases")
        assert len([e for e in user.find(kind=ui.label).elements if "a localizer" in str(e.text)]) == 1
        await user.should_not_see(str(root))

    visit(tmp_path / "w", steps)


def test_a_source_that_is_not_recognised_asks_what_it_needs(tmp_path: Path) -> None:
    """What the command line would say as an option is a field of the page, and the source is looked at with it."""
    root = folder_of(tmp_path)
    made = write_dataset(tmp_path / "made", {f"p{n}": two_boxes(seed=n) for n in (1, 2)}).folder
    for n in (1, 2):
        (root / f"sources/heap/a{n}x").mkdir(parents=True)
        (root / f"sources/heap/b{n}y").mkdir(parents=True)
        (made / f"images/p{n}.nii.gz").rename(root / f"sources/heap/a{n}x/ct.nii.gz")
        (made / f"labels/p{n}.nii.gz").rename(root / f"sources/heap/b{n}y/femur_mask.nii.gz")
    allowed = (root,)
    before = inspect_source(root / "sources/heap", allowed, None)
    assert before.error
    assert "--case-pattern" in before.options

    async def steps(user: User, app: AppState) -> None:
        await user.open(f"/source/{app.workspace.items('sources')[0].id}")
        await user.should_see("It was not recognised", retries=20)
        [hint] = [e.text for e in user.find(kind=ui.label).elements if str(e.text).startswith("What to do: ")]
        assert "“Which part of a path is the case”" in hint
        assert "--" not in hint
        box = next(
            b for b in user.find(ui.input).elements if b.props.get("label") == "Which part of a path is the case"
        )
        box.value = r"[ab](\d)"
        await click(user, "Look again")
        await user.should_see("2 cases", retries=20)
        user.find(marker="import").click()
        await asyncio.sleep(0.1)

    app = visit(tmp_path / "w", steps)
    given = arguments(app, "import")
    assert given[given.index("--case-pattern") + 1] == r"[ab](\d)"


def test_what_was_not_looked_at_is_not_imported(tmp_path: Path) -> None:
    """How it is read changes the cases: what is chosen there and not looked at with would be lost."""
    root = folder_of(tmp_path)
    made = write_dataset(tmp_path / "made", {f"p{n}": two_boxes(seed=n) for n in (1, 2)}).folder
    for n in (1, 2):
        (root / f"sources/knees/a{n}").mkdir(parents=True)
        (made / f"images/p{n}.nii.gz").rename(root / f"sources/knees/a{n}/ct.nii.gz")
        (made / f"labels/p{n}.nii.gz").rename(root / f"sources/knees/a{n}/femur_mask.nii.gz")

    async def steps(user: User, app: AppState) -> None:
        await user.open(f"/source/{app.workspace.items('sources')[0].id}")
        await user.should_see("2 cases", retries=20)
        named = "Which part of a path is the case"
        box = next(b for b in user.find(ui.input).elements if b.props.get("label") == named)
        box.value = r"a(\d)"
        user.find(marker="import").click()
        await user.should_see("the reading options were changed")
        assert commands(app) == []
        await click(user, "Look again")
        await user.should_see("2 cases", retries=20)
        user.find(marker="import").click()
        await asyncio.sleep(0.1)

    app = visit(tmp_path / "w", steps)
    given = arguments(app, "import")
    assert given[given.index("--case-pattern") + 1] == r"a(\d)"


def test_a_dataset_without_labels_is_looked_at_and_segmented(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    dataset = dataset_in(root)
    data = dataset.manifest.model_dump()
    for case in data["cases"]:
        case["segmentation"] = None
    bare = dataset.manifest.model_validate(data | {"structures": []})
    write_manifest(dataset.folder, bare)

    async def steps(user: User, app: AppState) -> None:
        item = app.datasets()[0]
        await user.open(f"/dataset/{item.id}")
        for text in ("4 cases, none of them with a label", "Segment what has no label", "None: no case has a label"):
            await user.should_see(text)
        await user.should_not_see("Train on it")
        await user.open(f"/look/{item.id}/{app.case_id(item, 'c0')}")
        await user.should_see("12×10×8 voxels", retries=20)

    visit(tmp_path / "w", steps)


def test_pictures_of_any_kind_can_be_segmented_where_their_marks_fit_none(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    source = root / "sources/hands"
    source.mkdir(parents=True)
    Image.new("L", (12, 10), 7).save(source / "a.tif")
    marks = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 5, 1, 5, 5]]}
    picture = {"id": 1, "file_name": "b.png", "width": 12, "height": 10}
    coco = {"images": [picture], "annotations": [marks], "categories": [{"id": 1, "name": "bone"}]}
    (source / "instances.json").write_text(json.dumps(coco))

    async def steps(user: User, app: AppState) -> None:
        await user.open(f"/source/{app.workspace.items('sources')[0].id}")
        await user.should_see("no annotation finds its picture", retries=20)
        await user.should_see("Segment hands")

    visit(tmp_path / "w", steps)
