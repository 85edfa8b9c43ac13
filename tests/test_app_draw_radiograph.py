"""Radiographs drawn on in the app: what lies on the disk afterwards, pixel by pixel against masks made here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app_browser import Visitor, chromium, open_visitor
from drawing_page import VIEW, Mask, PictureDrawer, Point, polygon, stroke
from osteon.app.state import AppState
from osteon.app.workspace import Workspace
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.dataset.case_history import read_history
from osteon.dataset.dataset import Dataset
from osteon.dataset.label_versions import load_version
from osteon.dataset.manifest import Case, Channel, Manifest, write_manifest
from osteon.formats import write_segmentation, write_volume
from osteon.importing.run import import_dataset
from osteon.phantoms.registry import make_request, write_phantoms

SIZE = 384


class Radiologist(PictureDrawer):
    """Somebody at the drawing page of a case."""

    def __init__(self, visitor: Visitor, app: AppState) -> None:
        self.visitor, self.app = visitor, app

    @property
    def page(self) -> Any:  # type: ignore[override]
        return self.visitor.page

    def open(self, dataset: str, case: str, sign: str) -> None:
        item = self.app.workspace.item("datasets", dataset)
        self.folder, self.case, self.names = item.path, case, [s.name for s in Dataset.open(item.path).structures]
        self.visitor.open(f"/look/{item.id}/{self.app.case_id(item, case)}/draw")
        self.visitor.sees(sign)
        self.size = tuple(self.page.evaluate(f"{VIEW}.shown.size"))
        self.count = len(self.names)

    def choose(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def tool(self, name: str) -> None:
        self.page.get_by_role("toolbar", name="Drawing tools").get_by_role("button", name=name, exact=True).click()

    def set_width(self, pixels: int) -> None:
        self.set_number("Width", pixels)

    def set_number(self, name: str, value: int) -> None:
        field = self.page.locator(".osteon-draw-options label", has_text=name).locator("input[type=number]")
        field.fill(str(value))
        field.press("Enter")

    def on_disk(self) -> Segmentation:
        dataset = Dataset.open(self.folder)
        return dataset.load_segmentation(dataset.case(self.case))

    def shot(self, name: str) -> None:
        if folder := os.environ.get("OSTEON_SHOTS"):
            self.page.screenshot(path=f"{folder}/{name}.png")


def side_view(folder: Path) -> None:
    """A picture whose columns run to the patient's right and whose rows run to the head, with pixels of 2:3."""
    affine = np.array([[0.2, 0, 0, 0], [0, 0, 1, 0], [0, 0.3, 0, 0], [0, 0, 0, 1.0]])
    labels = np.zeros((90, 70, 1), np.uint8)
    labels[20:50, 30:60], labels[55:80, 10:30] = 1, 2
    geometry, structures = Geometry((90, 70, 1), affine), make_structures(["radius", "ulna"])
    write_volume(folder / "images/c.nii.gz", Volume(labels[None].astype(np.float32), geometry))
    write_segmentation(folder / "labels/c.nii.gz", Segmentation(labels, geometry, structures))
    case = Case(id="c", images=["images/c.nii.gz"], segmentation="labels/c.nii.gz")
    channels = [Channel(name="xray", modality="xray")]
    write_manifest(folder, Manifest(name="f", channels=channels, structures=list(structures), cases=[case]))


@pytest.fixture(scope="module")
def radiologist(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Radiologist]:
    chromium()
    folder = tmp_path_factory.mktemp("radiographs")
    write_phantoms(folder / "w/sources/made", make_request("hand", cases=2, seed=6, size=SIZE))
    import_dataset(folder / "w/sources/made/source", folder / "w/datasets/hands", workers=1)
    side_view(folder / "w/datasets/forearm")
    with open_visitor(folder / "w") as visitor:
        visitor.page.set_viewport_size({"width": 1000, "height": 700})
        yield Radiologist(visitor, AppState(Workspace.open(folder / "w")))
    assert visitor.errors == []


def hand_on_disk(label: Segmentation) -> Mask:
    """`[structure, row, column]` of `[structure, i, j, k]`: a PNG's columns run along i, its rows along j."""
    return np.moveaxis(label.array[..., 0], 1, 2).astype(bool)


def test_half_a_bone_is_erased_and_drawn_again_and_lies_on_the_disk(radiologist: Radiologist) -> None:
    person = radiologist
    item = person.app.workspace.item("datasets", "hands")
    case = Dataset.open(item.path).manifest.cases[0].id
    person.open("hands", case, "This is the imported label.")
    wanted = hand_on_disk(person.on_disk())
    assert len(wanted) == 29
    assert np.array_equal(person.masks(), wanted)
    overlapped = (wanted & (wanted.sum(0) > 1)).sum((1, 2))
    bone = int(np.argmax(overlapped))
    rows, columns = np.nonzero(wanted[bone])
    x, y = float(columns.mean()), float(rows.mean())
    right, top, bottom = float(columns.max()), float(rows.min()), float(rows.max())
    person.choose(person.names[bone])

    person.tool("Eraser")
    person.set_width(40)
    at = person.drag((x + 20, top), (x + 20, y), (x + 20, bottom))
    wanted[bone] &= ~stroke((SIZE, SIZE), at, 40)
    assert np.array_equal(person.masks(), wanted)
    half = wanted.copy()
    person.shot("radiograph-erased")

    person.tool("Brush")
    person.set_width(9)
    at = person.drag((x, y), (right, y - 6), (right - 4, y + 6), (x, y + 9))
    wanted[bone] |= stroke((SIZE, SIZE), at, 9)
    assert np.array_equal(person.masks(), wanted)

    person.tool("Polygon")
    corners: list[Point] = [(x - 2, top + 3), (right + 6, top + 6), (right + 2, bottom - 4), (x - 1, bottom - 2)]
    points = [person.on_screen(corner) for corner in corners]
    for point in points:
        person.page.mouse.click(*point)
    person.page.keyboard.press("Enter")
    at = [person.in_picture(point) for point in points]
    to = person.drag(at[1], (right + 20, top - 10))[-1]
    before = wanted[bone].copy()
    wanted[bone] = before | polygon((SIZE, SIZE), [at[0], to, *at[2:]])
    person.shot("radiograph-polygon")
    assert np.array_equal(person.masks(), wanted)
    person.page.keyboard.press("Control+z")
    wanted[bone] = before | polygon((SIZE, SIZE), at)
    assert np.array_equal(person.masks(), wanted)
    for _ in ("the polygon is open again", *points, "the brush"):
        person.page.keyboard.press("Control+z")
    assert np.array_equal(person.masks(), half)
    for _ in range(2):
        person.page.keyboard.press("Control+y")
    assert np.array_equal(person.masks(), wanted)
    person.visitor.sees("Kept as a draft")

    person.visitor.server.kill()
    person.visitor.tab()
    person.visitor.server.start()
    person.open("hands", case, "This is your unsaved draft")
    assert np.array_equal(person.masks(), wanted)
    person.page.get_by_label("Your name").fill("Anna")
    person.page.get_by_label("Your name").press("Enter")
    person.visitor.click("Save", exact=True)
    person.visitor.sees("Saved as version 1")
    label = person.on_disk()
    assert label.overlapping
    assert np.array_equal(hand_on_disk(label), wanted)
    assert (wanted.sum(0) > 1).any()
    assert read_history(person.folder, case).versions[0].author == "Anna"
    person.open("hands", case, "This is version 1.")
    assert np.array_equal(person.masks(), wanted)
    person.shot("radiograph-saved")
    row, column = max(zip(*np.nonzero(wanted[bone]), strict=True), key=lambda at: int(wanted[:, *at].sum()))
    person.choose(person.names[bone])
    person.tool("Click")
    person.page.keyboard.down("Control")
    person.page.mouse.click(*person.on_screen((column + 0.5, row + 0.5)))
    person.page.keyboard.up("Control")
    person.visitor.sees("By one point")
    found = person.masks()
    assert not found[bone, row, column]
    assert np.array_equal(np.delete(found, bone, 0), np.delete(wanted, bone, 0)), "what lies there, too, stays"
    person.page.keyboard.press("Control+z")
    assert np.array_equal(person.masks(), wanted)


def click_a_bone(person: Radiologist, label: np.ndarray) -> None:
    """The ulna from a point inside; a point outside, by keyboard; both taken back. The radius keeps its own."""
    person.choose("ulna")
    person.tool("Eraser")
    person.set_width(60)
    person.drag((15, 50), (30, 50))
    assert not person.masks()[1].any()
    middle = person.on_screen((float(np.nonzero(label == 2)[1].mean()), float(np.nonzero(label == 2)[0].mean())))
    person.tool("Click")
    person.set_number("Radius, about", 4)
    person.page.mouse.click(*middle)
    person.visitor.sees("By one point")
    found = person.masks()
    assert 2 * (found[1] & (label == 2)).sum() > 0.95 * (found[1].sum() + (label == 2).sum())
    assert np.array_equal(found[0], label == 1)

    for key in ("ArrowLeft", "ArrowLeft", "ArrowDown"):  # a cursor, from the picture's middle into the bone
        person.page.keyboard.press(f"Shift+{key}")
    column, row = [int(v) for v in person.page.evaluate(f"{VIEW}.cursor")]
    assert found[1, row, column]
    person.page.keyboard.press("Alt+Enter")
    person.visitor.sees("By 2 points")
    assert person.page.evaluate(f"{VIEW}.points")[1] == {"at": [row, column], "positive": False}
    assert not person.masks()[1, row, column]
    person.shot("radiograph-clicks")
    for points in (1, 0):
        person.page.keyboard.press("Control+z")
        assert len(person.page.evaluate(f"{VIEW}.points")) == points
        assert np.array_equal(person.masks()[1], found[1] if points else np.zeros_like(found[1]))
    person.page.keyboard.press("Control+z")
    assert np.array_equal(person.masks()[1], label == 2)


def test_a_picture_that_is_turned_on_the_screen_is_saved_as_its_file_lies(radiologist: Radiologist) -> None:
    person = radiologist
    person.open("forearm", "c", "This is the imported label.")

    def turned(values: np.ndarray) -> np.ndarray:  # what `[i, j, k]` is, by a picture's rows and columns
        return values[::-1, ::-1, 0].T

    before = person.on_disk().array
    assert np.array_equal(person.masks(), [turned(before) == 1, turned(before) == 2])
    click_a_bone(person, turned(before))
    person.choose("ulna")
    person.tool("Brush")
    person.set_width(7)
    at = person.drag((8, 8), (60, 30))
    drawn = stroke((90, 70), at, 7, stretch=1.5)
    wanted = np.where(drawn, 2, turned(before))
    assert (wanted != turned(before)).sum() > 100
    assert (drawn & (turned(before) == 1)).any(), "where they exclude one another, the other gives way"
    person.page.get_by_label("Your name").fill("Anna")
    person.page.get_by_label("Your name").press("Enter")
    person.visitor.click("Save", exact=True)
    person.visitor.sees("Saved as version 1")
    assert np.array_equal(turned(person.on_disk().array), wanted)

    item = person.app.workspace.item("datasets", "forearm")
    person.visitor.open(f"/look/{item.id}/{person.app.case_id(item, 'c')}")
    person.visitor.click("Second reading")
    person.visitor.sees("This is a second reading: it begins empty")
    assert not person.masks().any()
    person.choose("ulna")
    person.tool("Brush")
    person.set_width(9)
    second = stroke((90, 70), person.drag((10, 8), (50, 20)), 9, stretch=1.5)
    person.shot("second-reading")
    person.visitor.click("Save the second reading")
    person.page.get_by_role("dialog").get_by_role("checkbox", name="radius").check()
    person.page.get_by_role("dialog").get_by_role("button", name="Save", exact=True).click()
    person.visitor.sees("Saved as version 2, a second reading")
    history = read_history(person.folder, "c")
    assert (history.current, history.open_reading) == (1, history.versions[1])
    assert (history.versions[1].annotated, history.versions[1].what) == (None, "")
    dataset = Dataset.open(person.folder)
    assert np.array_equal(turned(load_version(dataset, "c", 2).array), np.where(second, 2, 0))
