"""Drawing in headless Chromium: what lies on the disk is compared with masks that are computed here. One server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
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
from osteon.dataset.label_versions import LabelWork, load_version, save_label

SPACING = np.array([2.0, 2.0, 3.0])
"""Of the leg, to the right, front and head; in millimetres."""
RAS = np.diag([*SPACING, 1.0])
SHAPE = (36, 34, 30)
STRUCTURE_VALUES = np.array([0, 3, 5], np.uint8)
"""In files, by the number in the drawing."""
TIBIA, FIBULA = 1, 2
AXIAL = 0
WINDOW = {"width": 1000, "height": 640}
"""Small, since it is drawn without a graphics card here."""
TIE = 1e-6
PATIENCE_MINUTES = 5.0
A_PIXEL = 0.2
"""Millimetres that a pixel of the screen may be away from where it is wanted."""
VIEW = "document.querySelector('.osteon-view canvas').osteonView"
WHERE = f"""([voxel, plane]) => {{
  const {{ nv }} = {VIEW}, box = nv.canvas.getBoundingClientRect();
  nv.drawScene();
  const [x, y] = nv.frac2canvasPosWithTile(nv.vox2frac(voxel), plane).pos;
  return [box.left + x / nv.uiData.dpr, box.top + y / nv.uiData.dpr];
}}"""

POINTED = f"""([x, y, plane]) => {{
  const tile = {VIEW}.nv.screenSlices.findIndex((slice) => slice.axCorSag === plane);
  return {VIEW}.voxel({{ clientX: x, clientY: y }}, tile);
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
    """Somebody who draws on one case after the other; arrays have the number of each structure, to R, A, S."""

    def __init__(self, visitor: Visitor, app: AppState) -> None:
        self.visitor, self.app = visitor, app
        self.item = app.workspace.item("datasets", "legs")
        self.places = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)

    @property
    def page(self) -> Any:
        return self.visitor.page

    def open(self, case: str) -> None:
        self.case = case
        self.page.set_viewport_size(WINDOW)
        self.visitor.open(f"/look/{self.item.id}/{self.app.case_id(self.item, case)}/draw")

    def sees(self, text: str) -> None:
        self.visitor.sees(text, minutes=PATIENCE_MINUTES)

    def sign(self) -> None:
        field = self.page.get_by_label("Your name")
        field.fill("Anna")
        field.press("Enter")

    def keys(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def shown(self) -> np.ndarray:
        found = self.page.evaluate(f"() => {VIEW}.mask().join('')")  # every number has one digit here
        return np.frombuffer(found.encode(), np.uint8).reshape(SHAPE, order="F") - ord("0")

    def saved(self) -> np.ndarray:
        """What counts on the disk, to R, A, S."""
        dataset = Dataset.open(self.item.path)
        segmentation = dataset.load_segmentation(dataset.case(self.case))
        np.testing.assert_allclose(segmentation.geometry.affine_ras, affine(self.case), atol=1e-4)
        return np.searchsorted(STRUCTURE_VALUES, reorient_to_ras(segmentation.geometry).apply(segmentation.array))

    def drag(self, start: Sequence[int], end: Sequence[int], *, slice_at: int) -> list[np.ndarray]:
        """In the axial plane, from a voxel to another; where the pointer was, in voxels: it has whole pixels alone."""
        return self.path((start, end), slice_at=slice_at)

    def path(self, voxels: Sequence[Sequence[int]], *, slice_at: int) -> list[np.ndarray]:
        """As `drag`, over many voxels."""
        self.page.evaluate(f"(k) => {VIEW}.goToSlice(0, k + 1)", slice_at)
        found, points = [], []
        for voxel in voxels:
            x, y = map(round, self.page.evaluate(WHERE, [[*voxel, slice_at], AXIAL]))
            there = np.array(self.page.evaluate(POINTED, [x, y, AXIAL]))
            assert np.abs((there - [*voxel, slice_at]) * SPACING).max() < A_PIXEL
            points.append((x, y))
            found.append(there)
        self.page.mouse.move(*points[0])
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*point)
        self.page.mouse.up()
        return found

    def stroke(self, start: Sequence[int], end: Sequence[int], width: float, *, slice_at: int, ball: bool) -> Any:
        """Drag a brush; the voxels whose middle lies within its way, by the definition in docs/drawing.md."""
        first, last = self.drag(start, end, slice_at=slice_at)
        edges = SPACING if ball else SPACING * (1, 1, 0)
        way, away = (last - first) * edges, (self.places - first) * edges
        along = np.clip(away @ way / float(way @ way), 0, 1)
        distance = np.linalg.norm(away - along[..., None] * way, axis=-1)
        return (distance <= width / 2) & (ball | (self.places[..., 2] == slice_at))

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
        yield Draftsman(visitor, app)
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
    for low, high in pairwise(there):
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
    mask[person.stroke((15, 14), (19, 16), 31.5, slice_at=23, ball=True) & (mask == TIBIA)] = 0
    person.keys("b")
    person.choose("Shape", "Disc in the slice")
    person.set_number("Width", 11.5)
    for start, end, slice_at in (((14, 14), (17, 14), 19), ((17, 17), (17, 15), 25)):
        mask[person.stroke(start, end, 11.5, slice_at=slice_at, ball=False)] = TIBIA
    person.keys("i")
    return between(mask, TIBIA)


def test_what_was_drawn_lies_on_the_disk(draftsman: Draftsman) -> None:
    person = draftsman
    person.open("lps")
    person.sees("This is the imported label.")
    np.testing.assert_array_equal(person.shown(), leg()[1])
    wanted = draw(person)
    np.testing.assert_array_equal(person.shown(), wanted)

    person.drag((4, 5), (12, 20), slice_at=9)
    assert (person.shown() != wanted).any()
    person.keys("Control+z")
    np.testing.assert_array_equal(person.shown(), wanted)
    person.keys("Control+y", "Control+z", "Control+z", "Control+z", "Control+z", "Control+z")
    np.testing.assert_array_equal(person.shown(), leg()[1])
    person.keys(*["Control+y"] * 4)
    np.testing.assert_array_equal(person.shown(), wanted)
    person.sees("Kept as a draft")

    person.visitor.server.kill()
    last = person.stroke((8, 20), (12, 20), 11.5, slice_at=5, ball=False)
    wanted[last] = TIBIA
    person.sees("This browser keeps it")
    person.visitor.tab()
    person.visitor.server.start()
    person.open("lps")
    person.sees("which this browser kept")
    np.testing.assert_array_equal(person.shown(), wanted)
    person.sees("Kept as a draft")
    person.open("lps")
    person.sees("This is your unsaved draft")
    np.testing.assert_array_equal(person.shown(), wanted)
    person.visitor.click("Save", exact=True)
    person.sees("Say who you are first")
    person.keys(*"Anna", "Enter")  # the field has the keyboard
    person.visitor.click("Save", exact=True)
    person.sees("Saved as version 1")
    np.testing.assert_array_equal(person.saved(), wanted)
    assert read_history(person.item.path, "lps").versions[0].author == "Anna"
    person.visitor.server.kill()
    person.visitor.tab()
    person.visitor.server.start()
    person.open("lps")
    person.sees("This is version 1.")
    np.testing.assert_array_equal(person.shown(), wanted)


@pytest.mark.parametrize("case", [case for case in CASES if case != "lps"])
def test_the_order_of_a_files_axes_is_nothing_to_a_drawing(draftsman: Draftsman, case: str) -> None:
    draftsman.open(case)
    draftsman.sees("This is the imported label.")
    draftsman.sign()
    wanted = draw(draftsman)
    draftsman.keys("Control+s")
    draftsman.sees("Saved as version 1")
    np.testing.assert_array_equal(draftsman.saved(), wanted)


def test_tools_for_whole_pieces(draftsman: Draftsman) -> None:
    """One structure's piece to another, protected ones, what is filled, grown and rounded: each by one click or key."""
    person, mask = draftsman, leg()[1]
    person.open("ras")
    person.sees("This is ")
    person.page.evaluate(f"(bytes) => {VIEW}.load(Uint8Array.from(bytes), {VIEW}.rows)", mask.ravel(order="F").tolist())
    person.keys("1", "t", "k")  # the fibula is protected
    person.drag((26, 22), (26, 22), slice_at=9)
    person.sees("fibula is protected")
    np.testing.assert_array_equal(person.shown(), mask)
    person.keys("k")
    person.drag((26, 22), (26, 22), slice_at=9)
    np.testing.assert_array_equal(person.shown(), np.minimum(mask, TIBIA))
    person.keys("Control+z", "2", "r")
    person.drag((18, 29), (18, 29), slice_at=9)  # flesh
    grown = person.shown()
    assert (grown[mask > 0] == mask[mask > 0]).all()
    [[x, y, z], distance] = [18, 29, 9], 30.0
    near = np.linalg.norm((person.places - (x, y, z)) * SPACING, axis=-1) <= distance
    flesh, _ = ndimage.label((leg()[0] == 40) & (mask == 0) & near)
    np.testing.assert_array_equal(grown == FIBULA, (mask == FIBULA) | (flesh == flesh[x, y, z]))
    person.keys("Control+z", "f")
    person.drag((18, 29), (18, 29), slice_at=9)
    person.sees("The contour is not closed")
    np.testing.assert_array_equal(person.shown(), mask)
    person.keys("o", "1")
    corners = ((2, 2), (6, 2), (6, 7), (2, 7))
    person.path(corners, slice_at=12)
    drawn = person.shown()
    assert (drawn[3:6, 3:7, 12] == TIBIA).all()
    assert (drawn != mask).sum() == (drawn[2:7, 2:8, 12] == TIBIA).sum()


def test_two_who_save_lose_nothing(draftsman: Draftsman) -> None:
    """Anna draws while Bela saves: she hears of both, looks at what he saved, goes back, and saves on top of it."""
    person, dataset = draftsman, Dataset.open(draftsman.item.path)
    person.open("flipped")
    person.sees("This is ")
    person.sign()
    first = read_history(person.item.path, "flipped").current
    bela = load_version(dataset, "flipped", first)
    save_label(dataset, "flipped", replace(bela, array=np.zeros_like(bela.array)), LabelWork("Bela"), base=first)
    person.keys("1", "b")
    person.drag((3, 3), (6, 3), slice_at=20)
    drawn = person.shown()

    person.keys("Control+s")
    person.sees(f"Bela changed the label since you opened it: version {first + 1} counts now")
    person.visitor.click(f"Look at version {first + 1}")
    person.sees(f"You look at version {first + 1}")
    person.page.wait_for_function(f"() => !{VIEW}.edits.labels.some((value) => value)")
    person.drag((3, 3), (6, 3), slice_at=20)
    person.sees("This is an older version")
    person.visitor.click("Back to the drawing")
    np.testing.assert_array_equal(person.shown(), drawn)
    person.keys("Control+s")
    person.visitor.click("Save mine on top of it")
    person.sees(f"Saved as version {first + 2}")
    np.testing.assert_array_equal(person.saved(), drawn)
    assert [version.base for version in read_history(person.item.path, "flipped").versions] == list(range(first + 2))

    person.visitor.click("Versions")
    person.sees(f"Version {first + 1}: correction by Bela")
    person.page.get_by_role("dialog").get_by_role("button", name="Restore").first.click()
    person.page.get_by_role("dialog").get_by_role("button", name="Restore", exact=True).click()
    person.sees(f"This is version {first + 3}.")
    assert not person.saved().any()


def test_a_few_clicks_draw_a_bone(draftsman: Draftsman) -> None:
    """Points without a model: into a bone, outside of it, and taken back one by one; the other bone keeps its own."""
    person, mask = draftsman, leg()[1]
    person.open("ras")
    person.visitor.sees("This is")
    fibula = np.where(mask == FIBULA, mask, 0)
    person.page.evaluate(
        f"(bytes) => {VIEW}.load(Uint8Array.from(bytes), {VIEW}.rows)", fibula.ravel(order="F").tolist()
    )
    person.keys("1", "c")
    person.set_number("Radius, about", 40)
    person.drag((16, 15), (16, 15), slice_at=14)
    person.visitor.sees("By one point")
    found = person.shown()
    both = (found == TIBIA) & (mask == TIBIA)
    assert 2 * both.sum() > 0.95 * ((found == TIBIA).sum() + (mask == TIBIA).sum())
    np.testing.assert_array_equal(found == FIBULA, mask == FIBULA)

    person.page.keyboard.down("Control")
    person.drag((16, 15), (16, 15), slice_at=20)
    person.page.keyboard.up("Control")
    person.visitor.sees("By 2 points")
    assert person.shown()[16, 15, 20] == 0
    person.keys("Control+z")
    np.testing.assert_array_equal(person.shown(), found)
    person.drag((16, 15), (16, 15), slice_at=8)
    person.visitor.sees("By 2 points")
    person.keys("Control+z", "Control+z")
    np.testing.assert_array_equal(person.shown(), fibula)
