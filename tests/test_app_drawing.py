"""Drawing in headless Chromium: what lies on the disk is compared with masks that are computed here. One server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from app_browser import Visitor, chromium, open_visitor
from helpers import write_dataset
from osteon.app.state import AppState
from osteon.app.workspace import Workspace
from osteon.core.geometry import Geometry, reorient_to_ras
from osteon.core.labels import make_structures
from osteon.dataset.case_history import read_history
from osteon.dataset.dataset import Dataset

SPACING = np.array([2.0, 2.0, 3.0])
"""Of the leg, to the right, front and head; in millimetres."""
RAS = np.diag([*SPACING, 1.0])
SHAPE = (36, 34, 30)
STRUCTURE_VALUES = np.array([0, 3, 5], np.uint8)
"""In files, by the number in the drawing."""
TIBIA, FIBULA = 1, 2
AXIAL = 0
TIE = 1e-6
NEAR = 0.12
"""Millimetres: how far the pointer may be from where it should be; no voxel's middle is so near to a brush's edge."""
VIEW = "document.querySelector('.osteon-view canvas').osteonView"
WHERE = f"""([voxel, plane]) => {{
  const {{ nv }} = {VIEW}, box = nv.canvas.getBoundingClientRect();
  nv.drawScene();
  const [x, y] = nv.frac2canvasPosWithTile(nv.vox2frac(voxel), plane).pos;
  return [box.left + x / nv.uiData.dpr, box.top + y / nv.uiData.dpr];
}}"""


def affine(case: str) -> np.ndarray:
    """Where the crop lies when it is stored so."""
    turned = RAS.copy()
    if case == "oblique":
        c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
        turned[:3, :3] = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) @ turned[:3, :3]
    signs = {"ras": (1, 1, 1), "lps": (-1, -1, 1), "flipped": (1, 1, -1), "oblique": (-1, 1, -1)}[case]
    turned[:3, :3] *= signs
    return turned[:, [1, 2, 0, 3]] if case == "oblique" else turned  # its axes in another order, too


def stored(array: np.ndarray, case: str) -> np.ndarray:
    """The crop, whose axes run to the right, front and head, in the order of the file."""
    wanted = affine(case)
    shape = tuple(array.shape[n] for n in ((1, 2, 0) if case == "oblique" else (0, 1, 2)))
    return np.asarray(reorient_to_ras(Geometry(shape, wanted)).undo(array))


CASES = ("ras", "lps", "oblique", "flipped")


class Draftsman:
    """Somebody who draws, and what the drawing must be: `mask`, the number of each structure to R, A, S."""

    def __init__(self, visitor: Visitor, app: AppState, mask: np.ndarray) -> None:
        self.visitor, self.app, self.mask = visitor, app, mask
        self.item = app.workspace.item("datasets", "legs")
        self.places = np.stack(np.meshgrid(*map(np.arange, mask.shape), indexing="ij"), -1)

    @property
    def page(self) -> Any:
        return self.visitor.page

    def open(self, case: str) -> None:
        self.case = case
        self.visitor.open(f"/look/{self.item.id}/{self.app.case_id(self.item, case)}/draw")

    def keys(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def shown(self) -> np.ndarray:
        found = self.page.evaluate(f"() => [...{VIEW}.mask()]")
        return np.array(found, np.uint8).reshape(self.mask.shape, order="F")

    def saved(self) -> np.ndarray:
        """What counts on the disk, to R, A, S."""
        dataset = Dataset.open(self.item.path)
        segmentation = dataset.load_segmentation(dataset.case(self.case))
        np.testing.assert_allclose(segmentation.geometry.affine_ras, affine(self.case), atol=1e-4)
        return np.searchsorted(STRUCTURE_VALUES, reorient_to_ras(segmentation.geometry).apply(segmentation.array))

    def drag(self, start: Sequence[int], end: Sequence[int], *, slice_at: int) -> None:
        """In the axial plane, from a voxel's middle to another's."""
        self.page.evaluate(f"(k) => {VIEW}.goToSlice(0, k + 1)", slice_at)
        points = [self.page.evaluate(WHERE, [[*voxel, slice_at], AXIAL]) for voxel in (start, end)]
        self.page.mouse.move(*points[0])
        self.page.mouse.down()
        self.page.mouse.move(*[(a + b) / 2 for a, b in zip(*points, strict=True)])
        self.page.mouse.move(*points[1])
        self.page.mouse.up()

    def within(self, start: Sequence[int], end: Sequence[int], width: float, *, slice_at: int, ball: bool) -> Any:
        """Voxels whose middle lies within a brush's way, by the definition; see docs/drawing.md."""
        first, last = (np.array([*voxel, slice_at]) for voxel in (start, end))
        edges = SPACING if ball else SPACING * (1, 1, 0)
        way, away = (last - first) * edges, (self.places - first) * edges
        along = np.clip(away @ way / max(float(way @ way), TIE), 0, 1)
        distance = np.linalg.norm(away - along[..., None] * way, axis=-1)
        assert (np.abs(distance - width / 2) > NEAR).all(), "the pointer's place decides: choose another width"
        return (distance < width / 2) & (ball | (self.places[..., 2] == slice_at))

    def set_number(self, label: str, value: float) -> None:
        field = self.page.locator(".osteon-draw-options label", has_text=label).locator("input[type=number]")
        field.fill(str(value))
        field.press("Enter")

    def choose(self, label: str, option: str) -> None:
        self.page.locator(".osteon-draw-options label", has_text=label).locator("select").select_option(label=option)


@pytest.fixture(scope="module")
def draftsman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Draftsman]:
    chromium()
    root = tmp_path_factory.mktemp("drawing") / "w"
    app = AppState(Workspace.open(root))
    image, labels = leg()
    cases = {case: (stored(image, case), stored(STRUCTURE_VALUES[labels], case), affine(case)) for case in CASES}
    write_dataset(root / "datasets/legs", cases, make_structures(["tibia", "fibula"], STRUCTURE_VALUES[1:].tolist()))
    with open_visitor(root) as visitor:
        yield Draftsman(visitor, app, labels)
        assert visitor.errors == []


def leg() -> tuple[np.ndarray, np.ndarray]:
    """A made-up lower leg: the scan in HU, and its tibia (1) and fibula (2)."""
    x, y, z = (SPACING[n] * places for n, places in enumerate(np.indices(SHAPE)))
    image = np.full(SHAPE, -1000, np.int16)
    image[(x - 36) ** 2 + (y - 34) ** 2 < 30**2] = 40
    labels = np.zeros(SHAPE, np.uint8)
    labels[(x - 30 - 0.05 * z) ** 2 + (y - 30) ** 2 < (9 + 5 * np.cos(z / 14)) ** 2] = 1
    labels[(x - 52) ** 2 + (y - 44) ** 2 < 4.5**2] = 2
    labels[..., :3] = labels[..., -3:] = 0
    image[labels > 0] = 900 + 10 * z[labels > 0].astype(np.int16)
    return image, labels


def between(mask: np.ndarray, number: int) -> np.ndarray:
    """Slices to the head that lack a structure, filled by the signed distances of those around them."""

    def signed(here: np.ndarray) -> Any:
        inside, outside = (ndimage.distance_transform_edt(part, sampling=SPACING[:2]) for part in (here, ~here))
        return outside - inside

    filled, there = mask.copy(), np.flatnonzero((mask == number).any((0, 1)))
    for low, high in zip(there, there[1:], strict=False):
        one, two = (signed(mask[..., k] == number) for k in (low, high))
        for k in range(low + 1, high):
            part = (k - low) / (high - low)
            filled[..., k][((1 - part) * one + part * two < -TIE) & (mask[..., k] == 0)] = number
    return filled


def draw(person: Draftsman) -> np.ndarray:
    """Erase the upper half of the tibia, and paint some of it back; what there must be then."""
    mask = leg()[1]
    person.keys("1", "e")
    person.choose("Shape", "Ball")
    person.set_number("Width", 31.5)
    person.drag((15, 14), (19, 16), slice_at=23)
    mask[person.within((15, 14), (19, 16), 31.5, slice_at=23, ball=True) & (mask == TIBIA)] = 0
    person.keys("b")
    person.choose("Shape", "Disc in the slice")
    person.set_number("Width", 11.5)
    for start, end, slice_at in (((14, 14), (17, 14), 19), ((17, 17), (17, 15), 25)):
        person.drag(start, end, slice_at=slice_at)
        mask[person.within(start, end, 11.5, slice_at=slice_at, ball=False)] = TIBIA
    person.keys("i")
    return between(mask, TIBIA)


def test_what_was_drawn_lies_on_the_disk(draftsman: Draftsman) -> None:
    person = draftsman
    person.open("lps")
    person.visitor.sees("This is the imported label.")
    np.testing.assert_array_equal(person.shown(), leg()[1])
    wanted = draw(person)
    np.testing.assert_array_equal(person.shown(), wanted)

    before = person.shown()
    person.drag((4, 5), (12, 20), slice_at=9)
    assert (person.shown() != before).any()
    person.keys("Control+z")
    np.testing.assert_array_equal(person.shown(), before)
    person.keys("Control+y", "Control+z", "Control+z", "Control+z", "Control+z", "Control+z")
    np.testing.assert_array_equal(person.shown(), leg()[1])
    person.keys(*["Control+y"] * 4)
    np.testing.assert_array_equal(person.shown(), wanted)
    person.visitor.sees("Kept as a draft")

    person.visitor.server.kill()
    person.visitor.tab()
    person.visitor.server.start()
    person.open("lps")
    person.visitor.sees("This is your unsaved draft")
    np.testing.assert_array_equal(person.shown(), wanted)
    person.page.get_by_label("Your name").fill("Anna")
    person.page.get_by_label("Your name").press("Enter")
    person.visitor.click("Save", exact=True)
    person.visitor.sees("Saved as version 1")
    np.testing.assert_array_equal(person.saved(), wanted)
    assert read_history(person.item.path, "lps").versions[0].author == "Anna"
    person.visitor.server.kill()
    person.visitor.server.start()
    person.visitor.tab()
    person.open("lps")
    person.visitor.sees("This is version 1.")
    np.testing.assert_array_equal(person.shown(), wanted)
