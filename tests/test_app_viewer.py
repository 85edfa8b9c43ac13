"""The viewers in headless Chromium, by the pixels they draw: made-up blocks whose every voxel is known."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

from app_browser import MINUTE_MS, Visitor, chromium, open_visitor
from helpers import box, spacing_affine, write_dataset
from osteon.app.previews import MAX_VOXELS
from osteon.app.state import AppState
from osteon.app.workspace import ABOUT, Workspace
from osteon.core.files import write_json
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.core.volume import Volume
from osteon.dataset.calibration import read_calibration
from osteon.dataset.manifest import Case, Channel, Manifest, write_manifest
from osteon.dataset.saved_measurements import read_measurements, save_angle, save_lengths
from osteon.formats import write_segmentation, write_volume
from osteon.formats.raster import TO_RAS

RED, GREEN = "#ff0000", "#00ff00"
STRUCTURES = (Structure(name="femur", value=3, colour=RED), Structure(name="tibia", value=5, colour=GREEN))
GREY = round(255 * 500 / 1800)
"""What 0 HU is drawn as in the bone window, -500 … 1300 HU."""
FEMUR, TIBIA = (slice(6, 22), slice(10, 38), slice(6, 26)), (slice(26, 34), slice(10, 38), slice(6, 26))
MIDDLE = (14, 24, 16)
"""A voxel of the femur's inside."""
FOLLOWED = ("block", "thick", "moved")
"""Cases of one subject."""
AWAY = (37, 45)
"""Where the crosshair does not cross what is looked at: i and j."""

MEASUREMENT = 2
"""NiiVue's DRAG_MODE.measurement."""
VIEW = "document.querySelectorAll('.osteon-view canvas')[n].osteonView"
PIXEL = f"""([n, voxel, cross, plane]) => {{
  const nv = {VIEW}.nv, gl = nv.gl, found = new Uint8Array(4);
  nv.scene.crosshairPos = nv.vox2frac(cross);
  nv.drawScene();
  const [x, y] = nv.frac2canvasPosWithTile(nv.vox2frac(voxel), plane).pos;
  gl.readPixels(Math.round(x), Math.round(gl.canvas.height - y), 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, found);
  return [...found].slice(0, 3);
}}"""
"""The colour at a voxel's middle, in the slice through it, with the crosshair elsewhere in that slice."""
WHERE = f"""([n, voxel, plane]) => {{
  const view = {VIEW}, nv = view.nv, box = nv.canvas.getBoundingClientRect();
  nv.drawScene();
  const [x, y] = nv.frac2canvasPosWithTile(nv.vox2frac(voxel), plane).pos;
  return [box.left + x / nv.uiData.dpr, box.top + y / nv.uiData.dpr];
}}"""
CROSS = f"([n]) => [...{VIEW}.nv.frac2vox({VIEW}.nv.scene.crosshairPos)]"
YELLOW = f"""([n]) => {{ // in each tile, the pixels of a row that are the crosshair's upright line
  const nv = {VIEW}.nv, gl = nv.gl;
  nv.drawScene();
  return nv.screenSlices.map(({{ leftTopWidthHeight: [left, top, width, height] }}) => {{
    const row = new Uint8Array(4 * Math.round(width)), y = Math.round(gl.canvas.height - top - 0.3 * height);
    gl.readPixels(Math.round(left), y, Math.round(width), 1, gl.RGBA, gl.UNSIGNED_BYTE, row);
    let count = 0;
    for (let at = 0; at < row.length; at += 4) if (row[at] > 180 && row[at] - row[at + 2] > 90) count++;
    return count;
  }});
}}"""


def block(affine: np.ndarray, shape: tuple[int, int, int] = (40, 48, 32)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two boxes in a scan that is 0 HU everywhere but in a corner."""
    image = np.zeros(shape, dtype=np.int16)
    image[0, 0, 0] = 500
    return image, box(shape, (3, FEMUR), (5, TIBIA)), affine


def rotation(degrees: float) -> np.ndarray:
    affine = np.eye(4)
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    affine[:2, :2] = [[c, -s], [s, c]]
    return affine


def translation_affine(distance: float) -> np.ndarray:
    affine = np.eye(4)
    affine[0, 3] = distance
    return affine


def shear() -> np.ndarray:
    affine = np.eye(4)
    affine[1, 2] = 0.5
    return affine


def shell() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A block of flesh, as bright as bone, around a small bone."""
    image, _, affine = block(np.eye(4))
    image[2:-2, 2:-2, 2:-2] = 1000
    return image, box(image.shape, (3, (slice(16, 24), slice(20, 28), slice(12, 20)))), affine


def large() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """More voxels than a preview has, the first slice at the head."""
    shape = (160, 170, 200)
    assert np.prod(shape) > MAX_VOXELS
    image = np.zeros(shape, dtype=np.int16)
    image[0, 0, 0] = 500
    return image, box(shape, (3, (slice(40, 80), slice(40, 80), slice(40, 80)))), spacing_affine(1, 1, -1)


def pictures(folder: Path) -> None:
    """A picture that lies nowhere, and one whose file says where it lies."""
    grey = np.tile(np.arange(1200, dtype=np.uint16), (900, 1))[..., None]
    labels = box(grey.shape, (3, (slice(300, 600), slice(300, 900), slice(0, 1))))
    placed = np.array([[-0.2, 0, 0, 60.0], [0, 0, 1, 12], [0, -0.2, 0, 80], [0, 0, 0, 1]])
    entries = []
    for name, geometry in (
        ("nowhere", Geometry(grey.shape, TO_RAS, "px")),
        ("placed", Geometry(grey.shape, placed)),
    ):
        write_volume(folder / f"images/{name}.nii.gz", Volume(grey[None], geometry))
        write_segmentation(folder / f"labels/{name}.nii.gz", Segmentation(labels, geometry, STRUCTURES))
        entries.append(
            Case(id=name, images=[f"images/{name}.nii.gz"], segmentation=f"labels/{name}.nii.gz", subject="bo")
        )
    channels = [Channel(name="xray", modality="xray")]
    write_manifest(folder, Manifest(name="p", channels=channels, structures=list(STRUCTURES), cases=entries))


class Viewer:
    """Somebody at the viewer."""

    def __init__(self, visitor: Visitor, app: AppState) -> None:
        self.visitor, self.app, self.page = visitor, app, visitor.page

    def look(self, case: str, *, dataset: str = "made", size: tuple[int, int] = (1280, 900), layout: str = "") -> None:
        self.page.set_viewport_size({"width": size[0], "height": size[1]})
        item = self.app.workspace.item("datasets", dataset)
        self.visitor.open(f"/look/{item.id}/{self.app.case_id(item, case)}")
        self.visitor.sees("shown after")
        if layout:
            self.call("layout", layout)

    def call(self, method: str, *arguments: Any, n: int = 0) -> Any:
        return self.page.evaluate(f"([n, method, given]) => {VIEW}[method](...given)", [n, method, list(arguments)])

    def pixel(self, voxel: Sequence[int], *, plane: int = 0) -> list[int]:
        cross = [AWAY[0], AWAY[1], voxel[2]]
        found: list[int] = self.page.evaluate(PIXEL, [0, list(voxel), cross, plane])
        return found

    def where(self, voxel: Sequence[int], *, plane: int = 0) -> list[float]:
        found: list[float] = self.page.evaluate(WHERE, [0, list(voxel), plane])
        return found

    def cross(self, n: int = 0) -> list[int]:
        return [round(v) for v in self.page.evaluate(CROSS, [n])]

    def put(self, voxel: Sequence[int]) -> None:
        script = f"([n, v]) => {{ const nv = {VIEW}.nv; nv.scene.crosshairPos = nv.vox2frac(v); nv.drawScene(); }}"
        self.page.evaluate(script, [0, list(voxel)])


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    chromium()
    root = tmp_path_factory.mktemp("viewer") / "w"
    app = AppState(Workspace.open(root))
    cases = {
        "block": block(np.eye(4)),
        "thick": block(spacing_affine(1, 1, 4)),
        "oblique": block(rotation(17.5)),
        "sheared": block(shear()),
        "shell": shell(),
        "large": large(),
        "moved": block(translation_affine(500)),
    }
    made = write_dataset(root / "datasets/made", cases, STRUCTURES)
    of_anna = [c.model_copy(update={"subject": "anna" if c.id in FOLLOWED else None}) for c in made.manifest.cases]
    write_manifest(made.folder, made.manifest.model_copy(update={"cases": of_anna}))
    pictures(root / "datasets/pictures")
    labels = box((40, 48, 32), (3, FEMUR))
    found = Segmentation(labels, Geometry(labels.shape, np.eye(4)), STRUCTURES)
    write_segmentation(root / "results/mine/block.nii.gz", found)
    write_json(root / "results/mine" / ABOUT, {"dataset": "made"})
    with open_visitor(root) as visitor:
        yield Viewer(visitor, app)
    assert visitor.errors == []


def mix(colour: tuple[int, int, int], opacity: float) -> list[int]:
    return [round(GREY + opacity * (part - GREY)) for part in colour]


def test_a_structure_is_as_opaque_as_its_slider_says(viewer: Viewer) -> None:
    viewer.look("block", layout="axial")
    for opacity in (0.05, 0.3, 1.0):
        viewer.call("styles", 0, [[0, RED, opacity]])
        assert viewer.pixel(MIDDLE) == pytest.approx(mix((255, 0, 0), opacity), abs=2)
    assert viewer.pixel((FEMUR[0].start, 24, FEMUR[2].start))[0] > 200  # its edge no less than its inside
    viewer.call("styles", 0, [[0, RED, 0.0], [1, GREEN, 1.0]])
    assert viewer.pixel((21, 24, 16)) == pytest.approx([GREY] * 3, abs=1)  # hidden, and beside what is not


@pytest.mark.parametrize("case", ["block", "thick"])
def test_outlines_leave_the_inside_as_it_is(viewer: Viewer, case: str) -> None:
    viewer.look(case, layout="axial")
    viewer.call("outline", 0, True)
    assert viewer.pixel(MIDDLE) == pytest.approx([GREY] * 3, abs=1)
    assert viewer.pixel((6, 24, 16)) == pytest.approx([255, 0, 0], abs=40)
    if case == "thick":  # the slice at the end of a bone has the bone's outline, too, and is not filled
        assert viewer.pixel((14, 24, 6)) == pytest.approx([GREY] * 3, abs=1)


def test_3d_shows_bones_alone_until_the_scan_is_asked_for(viewer: Viewer) -> None:
    viewer.look("shell", layout="solid")
    bones = viewer.visitor.colours()
    drawn = f"""() => {{ const n = 0, {{ nv }} = {VIEW}, {{ gl }} = nv; nv.opts.show3Dcrosshair = false; nv.drawScene();
      const all = new Uint8Array(4 * gl.canvas.width * gl.canvas.height);
      gl.readPixels(0, 0, gl.canvas.width, gl.canvas.height, gl.RGBA, gl.UNSIGNED_BYTE, all);
      let count = 0; for (let at = 0; at < all.length; at += 4) if (all[at] > 40) count++; return count; }}"""
    alone = viewer.page.evaluate(drawn)
    assert 0 < alone < 1.5 * bones
    viewer.page.get_by_role("switch", name="Scan around the bones in 3D").click()
    viewer.page.wait_for_function(f"(most) => ({drawn})() > most", arg=4 * alone)


@pytest.mark.parametrize("dataset", ["made", "pictures"])
def test_the_first_press_moves_no_page_and_measures_what_lies_there(viewer: Viewer, dataset: str) -> None:
    viewer.look("block" if dataset == "made" else "placed", dataset=dataset, size=(1280, 560))
    viewer.page.evaluate("scrollTo(0, 0)")
    viewer.page.get_by_role("switch", name="Measure by dragging").click()
    view = VIEW.replace("[n]", "[0]")
    set_to = "measuring" if dataset != "made" else f"nv.opts.dragModePrimary === {MEASUREMENT}"
    viewer.page.wait_for_function(f"() => {view}.{set_to}")  # the server says it
    viewer.page.evaluate("scrollTo(0, 10)")
    canvas = viewer.page.locator(".osteon-view canvas").bounding_box()
    assert canvas is not None
    assert canvas["y"] + canvas["height"] > 570, "it is to reach beyond the window's lower edge"
    if dataset == "made":
        viewer.call("layout", "axial")
        start, end = viewer.where((10, 20, 16)), viewer.where((26, 32, 16))
    else:
        start = [canvas["x"] + canvas["width"] / 2, canvas["y"] + 60]
        end = [start[0] + 40, start[1] + 30]
    viewer.page.evaluate("document.activeElement.blur()")
    viewer.page.mouse.move(*start)
    viewer.page.mouse.down()
    for part in (0.3, 0.7, 1.0):
        viewer.page.mouse.move(*[a + part * (b - a) for a, b in zip(start, end, strict=True)])
    viewer.page.mouse.up()
    assert viewer.page.evaluate("scrollY") == 10
    if dataset == "made":
        script = f"([n]) => {VIEW}.nv.document.completedMeasurements[0].distance"
        assert viewer.page.evaluate(script, [0]) == pytest.approx(20.0, abs=0.4)
    else:
        script = f"([n]) => [{VIEW}.at.scale, {VIEW}.length(...{VIEW}.lines[0])]"
        scale, length = viewer.page.evaluate(script, [0])
        assert float(length.split()[0]) == pytest.approx(50 / scale * 0.2, abs=0.2)


def test_the_wheel_turns_slices_and_with_ctrl_it_zooms_to_the_mouse(viewer: Viewer) -> None:
    viewer.look("block", layout="coronal")
    viewer.put((20, 24, 16))
    x, y = viewer.where((12, 24, 8), plane=1)
    viewer.page.mouse.move(x, y)
    viewer.page.mouse.wheel(0, 100)
    assert viewer.cross() == [20, 23, 16]
    viewer.page.mouse.wheel(0, -100)
    viewer.page.mouse.wheel(0, -120)
    assert viewer.cross() == [20, 25, 16]
    viewer.page.mouse.wheel(0, 25)  # a touchpad's small turns add up
    assert viewer.cross() == [20, 25, 16]
    viewer.page.mouse.wheel(0, 25)
    assert viewer.cross() == [20, 24, 16]
    before = viewer.where((30, 24, 8), plane=1)
    viewer.page.keyboard.down("Control")
    viewer.page.mouse.wheel(0, -100)
    viewer.page.keyboard.up("Control")
    assert viewer.cross() == [20, 24, 16]
    assert viewer.where((12, 24, 8), plane=1) == pytest.approx([x, y], abs=1)
    after = viewer.where((30, 24, 8), plane=1)
    assert abs(after[0] - x) == pytest.approx(abs(before[0] - x) * math.exp(0.25), rel=0.02)


def test_linked_views_follow_the_wheel_whichever_has_the_keyboard(viewer: Viewer) -> None:
    dataset, result = (viewer.app.workspace.item(*name) for name in (("datasets", "made"), ("results", "mine")))
    viewer.visitor.open(f"/compare/{dataset.id}/{result.id}/{viewer.app.case_id(result, 'block')}")
    viewer.visitor.sees("shown after")
    viewer.page.wait_for_function("document.querySelectorAll('.osteon-view canvas')[1]?.osteonView.ready")
    viewer.page.locator(".osteon-view canvas").nth(1).focus()
    viewer.page.mouse.move(*viewer.where((10, 24, 16)))
    before = viewer.cross(1)
    viewer.page.mouse.wheel(0, -100)
    assert viewer.cross(0) == viewer.cross(1) != before
    slider = viewer.page.get_by_role("slider", name="Coronal slice").nth(1)
    slider.press("Home")
    assert viewer.cross(0) == viewer.cross(1)
    expect(viewer.page.get_by_role("slider", name="Coronal slice").nth(0)).to_have_attribute(
        "aria-valuetext", "1 of 48"
    )


def test_keys_zoom_to_the_crosshair_wherever_the_scan_lies(viewer: Viewer) -> None:
    viewer.look("block", layout="axial")
    viewer.put((20, 40, 16))
    viewer.page.locator(".osteon-view canvas").focus()  # which pulls it into view
    before = viewer.where((20, 40, 16))
    viewer.page.keyboard.press("+")
    assert viewer.where((20, 40, 16)) == pytest.approx(before, abs=1)
    assert viewer.cross() == [20, 40, 16]


def test_each_slice_has_its_number_and_a_slider(viewer: Viewer) -> None:
    viewer.look("block")
    sliders = viewer.page.locator(".osteon-slices")
    expect(sliders.get_by_role("slider")).to_have_count(3)
    axial = viewer.page.get_by_role("slider", name="Axial slice")
    axial.focus()
    axial.press("Home")
    assert viewer.cross()[2] == 0
    axial.press("ArrowRight")
    assert viewer.cross()[2] == 1
    expect(axial).to_have_attribute("aria-valuetext", "2 of 32")
    expect(sliders.get_by_text("2 / 32")).to_be_visible()
    viewer.put((3, 4, 5))
    viewer.call("move", 0, 1)
    expect(viewer.page.get_by_role("slider", name="Sagittal slice")).to_have_attribute("aria-valuetext", "5 of 40")
    viewer.call("layout", "coronal")
    expect(sliders.get_by_role("slider")).to_have_count(1)


def test_a_previews_slices_have_the_scans_numbers(viewer: Viewer) -> None:
    viewer.look("large")
    axial = viewer.page.get_by_role("slider", name="Axial slice")
    axial.focus()
    axial.press("Home")
    expect(axial).to_have_attribute("aria-valuetext", "1 of 200")
    axial.press("ArrowRight")
    expect(axial).to_have_attribute("aria-valuetext", "3 of 200")
    axial.press("End")
    expect(axial).to_have_attribute("aria-valuetext", "199 of 200")


@pytest.mark.parametrize("radiological", [True, False])
def test_arrows_move_the_crosshair_as_one_sees_it(viewer: Viewer, *, radiological: bool) -> None:
    viewer.look("block")
    viewer.call("convention", radiological)
    start = [20, 24, 16]
    for plane, layout in enumerate(("axial", "coronal", "sagittal")):
        viewer.call("layout", layout)
        for key, way in {"ArrowRight": (1, 0), "ArrowLeft": (-1, 0), "ArrowUp": (0, -1), "ArrowDown": (0, 1)}.items():
            viewer.put(start)
            viewer.page.locator(".osteon-view canvas").focus()
            before = viewer.where(start, plane=plane)
            viewer.page.keyboard.press(key)
            after = viewer.where(viewer.cross(), plane=plane)
            moved = [b - a for a, b in zip(before, after, strict=True)]
            assert [round(np.sign(by)) if abs(by) > 1 else 0 for by in moved] == list(way), (layout, key)
        viewer.put(start)
        viewer.page.keyboard.press("PageUp")
        assert viewer.cross() == [20 + (plane == 2), 24 + (plane == 1), 16 + (plane == 0)]
    behind, front = viewer.where((20, 10, 16), plane=2), viewer.where((20, 40, 16), plane=2)
    assert front[0] < behind[0], "seen from the side, the front is on the left"


def test_the_crosshair_stands_on_slices_as_they_were_taken(viewer: Viewer) -> None:
    viewer.look("block", layout="coronal")
    script = f"([n]) => {VIEW}.nv.frac2mm({VIEW}.nv.scene.crosshairPos, 0, true)[2]"
    assert viewer.page.evaluate(script, [0]) % 1 == pytest.approx(0, abs=1e-4)
    x, y = viewer.where((20, 24, 16), plane=1)
    viewer.page.mouse.click(x, y - 6)
    assert viewer.page.evaluate(script, [0]) % 1 == pytest.approx(0, abs=1e-4)


def test_unusual_orientations_are_described(viewer: Viewer) -> None:
    viewer.look("oblique")
    viewer.visitor.sees("Oblique by 17.5°")
    viewer.look("block")
    expect(viewer.page.get_by_text("Oblique")).to_have_count(0)
    viewer.look("sheared", layout="sagittal")
    viewer.visitor.sees("sheared by 26.6°")
    script = f"""([n]) => {{
      const {{ nv }} = {VIEW}, [a, b] = [[5, 5, 5], [5, 15, 25]].map((voxel) => nv.frac2mm(nv.vox2frac(voxel)));
      return Math.hypot(b[0] - a[0], b[1] - a[1], b[2] - a[2]);
    }}"""
    assert viewer.page.evaluate(script, [0]) == pytest.approx(math.hypot(10 + 0.5 * 20, 20), abs=0.01)


def test_letters_stand_where_the_file_says_sides(viewer: Viewer) -> None:
    viewer.look("placed", dataset="pictures")
    assert viewer.page.locator(".osteon-mark").all_inner_texts() == ["R", "L", "S", "I"]
    viewer.page.get_by_role("switch", name="Radiological").click()
    expect(viewer.page.locator(".osteon-mark").first).to_have_text("L")
    viewer.look("nowhere", dataset="pictures")
    viewer.visitor.sees("Nothing says where the patient's right")
    assert viewer.page.locator(".osteon-mark").all_inner_texts() == []
    expect(viewer.page.get_by_role("switch", name="Radiological")).not_to_be_visible()


@pytest.mark.parametrize("size", [(1280, 900), (1280, 330)])
def test_the_crosshair_is_a_line_in_every_tile(viewer: Viewer, size: tuple[int, int]) -> None:
    viewer.look("large", size=size, layout="slices")
    for zoom in (1, 8):
        viewer.call("zoom", zoom)
        lines = viewer.page.evaluate(YELLOW, [0])
        assert len(lines) == 3
        assert all(1 <= wide <= 3 for wide in lines), f"{lines} pixels at a zoom of {zoom}"


def test_outlines_of_pictures_are_as_wide_at_each_scale(viewer: Viewer) -> None:
    viewer.look("nowhere", dataset="pictures", size=(1280, 400))
    viewer.call("outline", 0, True)
    script = f"""([n]) => [0, 1, 2, 3, 4, 5, 6].map(() => {{ // moved by a pixel of the picture each time
      {VIEW}.at.x += 1;
      {VIEW}.draw();
      const canvas = {VIEW}.$refs.canvas, pen = canvas.getContext("2d");
      const row = pen.getImageData(0, canvas.height >> 1, canvas.width, 1).data;
      let count = 0;
      for (let at = 0; at < row.length; at += 4) if (row[at] - row[at + 1] > 100) count++;
      return count;
    }})"""
    for zoom in (1, 0.5, 3):
        viewer.call("zoom", zoom)
        wide = viewer.page.evaluate(script, [0])
        assert 2 <= min(wide) <= max(wide) <= 9, f"pixels of two edges at a zoom of {zoom}: {wide}"


def test_opacity_is_set_by_the_keyboard_and_read_out(viewer: Viewer) -> None:
    viewer.look("block", layout="axial")
    slider = viewer.page.get_by_role("slider", name="Opacity of femur")
    slider.focus()
    expect(slider).to_be_focused()
    expect(slider).to_have_attribute("aria-valuetext", "55 %")
    slider.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "60 %")
    viewer.page.wait_for_function(f"() => {{ const n = 0; return {VIEW}.nv.volumes[1].colormapLabel.lut[7] === 153; }}")
    assert viewer.pixel(MIDDLE) == pytest.approx(mix((255, 0, 0), 0.6), abs=2)
    every = viewer.page.get_by_role("slider", name="Opacity of all 2 structures")
    every.press("End")
    expect(slider).to_have_attribute("aria-valuetext", "100 %")
    expect(viewer.page.get_by_role("slider", name="Black up to")).to_have_attribute("aria-valuetext", "-500 HU")


def test_what_was_chosen_stays_in_full_resolution(viewer: Viewer) -> None:
    viewer.look("large")
    viewer.page.get_by_role("switch", name="Measure by dragging").click()
    viewer.page.get_by_role("button", name="Full resolution").click()
    viewer.visitor.sees("160×170×200 voxels")
    viewer.visitor.sees("shown after")
    viewer.page.wait_for_function(f"() => {{ const n = 0; return {VIEW}.nv.opts.dragModePrimary === 2; }}")


def at(viewer: Viewer, place: tuple[float, float]) -> tuple[float, float]:
    """On the page, a point of the first picture."""
    script = """([x, y]) => {
      const view = document.querySelector(".osteon-view canvas").osteonView;
      const box = view.$refs.canvas.getBoundingClientRect();
      const [a, b] = view.screen([x, y]);
      return [Math.round(box.left + a), Math.round(box.top + b)];
    }"""
    x, y = viewer.page.evaluate(script, list(place))
    return x, y


def drag(viewer: Viewer, start: tuple[float, float], end: tuple[float, float]) -> None:
    mouse = viewer.page.mouse
    mouse.move(*at(viewer, start))
    mouse.down()
    mouse.move(*at(viewer, end), steps=3)
    mouse.up()


def shot(viewer: Viewer, name: str) -> None:
    """Pictures to look at, in both themes."""
    if folder := os.environ.get("OSTEON_SHOTS"):
        for theme in ("light", "dark"):
            viewer.page.evaluate("(dark) => Quasar.Dark.set(dark)", theme == "dark")
            viewer.page.wait_for_timeout(600)
            viewer.page.screenshot(path=f"{folder}/{name}-{theme}.png", full_page=True)
        viewer.page.evaluate("Quasar.Dark.set(false)")


def test_an_xray_is_calibrated_and_what_is_saved_is_drawn_again(viewer: Viewer) -> None:
    page, visitor = viewer.page, viewer.visitor
    folder = viewer.app.workspace.item("datasets", "pictures").path
    viewer.look("nowhere", dataset="pictures")
    visitor.sees("Not calibrated: lengths are in pixels.")
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("Your name").press("Enter")
    page.get_by_label("Pixel size in mm").fill("50")
    visitor.click("Calibrate by the number")
    visitor.sees("the side of a pixel of 50 mm makes no sense")
    assert read_calibration(folder, "nowhere") is None
    page.locator("h1").click()
    page.keyboard.press("m")
    expect(page.get_by_role("switch", name="Measure by dragging")).to_be_checked()
    page.evaluate("scrollTo(0, 0)")
    drag(viewer, (200, 500), (800, 500))
    page.get_by_label("Marker length in mm").fill("60")
    visitor.click("Calibrate by the line")
    visitor.sees("0.1 mm a pixel, by a marker of 60 mm")
    said = read_calibration(folder, "nowhere")
    assert said is not None
    assert (said.scale, said.author) == (pytest.approx(0.1, rel=0.01), "Ada")
    visitor.sees("shown after")
    page.evaluate("scrollTo(0, 0)")
    drag(viewer, (200, 200), (500, 600))
    assert page.evaluate(f"((n) => {VIEW}.length(...{VIEW}.lines[0]))(0)").endswith(" mm")
    visitor.click("Keep the lengths")
    visitor.sees("1 length saved")
    (saved,) = read_measurements(folder, "nowhere")
    assert (saved.unit, saved.value) == ("px", pytest.approx(500, rel=0.01)), "the file's own unit stays"
    text = f"{saved.value * said.factor:.1f} mm"
    visitor.sees(f"Length 1: {text}")

    viewer.look("nowhere", dataset="pictures")
    visitor.sees(f"Length 1: {text}")
    page.wait_for_function(f"((n) => {VIEW}.kept.length === 1)(0)")
    kept = page.evaluate(f"((n) => {VIEW}.kept)(0)")
    assert kept[0]["text"] == text
    np.testing.assert_allclose(kept[0]["ends"], saved.points, atol=0.01)
    shot(viewer, "calibrated")
    visitor.click("Remove the calibration")
    visitor.sees(f"Length 1: {saved.value:.1f} px")
    assert read_calibration(folder, "nowhere") is None

    visitor.choose("Beside it", "placed")
    visitor.sees("Linked by the part of width and height")
    expect(page.locator(".osteon-view canvas")).to_have_count(2, timeout=MINUTE_MS)
    page.wait_for_function("[...document.querySelectorAll('.osteon-view canvas')].every((c) => c.osteonView.shown)")
    viewer.call("goTo", [300, 450])
    assert page.evaluate(f"((n) => [{VIEW}.at.x, {VIEW}.at.y])(1)") == [300.5, 450.5]
    shot(viewer, "beside-pictures")


def test_scans_of_one_subject_are_shown_beside_each_other_and_fill_the_window(viewer: Viewer) -> None:
    page, visitor = viewer.page, viewer.visitor
    folder = viewer.app.workspace.item("datasets", "made").path
    lines = [[[8, 14, 16], [20, 14, 16]], [[8, 30, 16], [20, 34, 16]]]
    save_lengths(folder, "block", lines, "mm", "Ada")
    save_angle(folder, "block", [1, 2], "Ada")
    viewer.look("block")
    page.wait_for_function(f"((n) => {VIEW}.nv.document.completedAngles.length === 1)(0)")
    assert min(viewer.pixel((10, 14, 16))[1:]) > 200, "the saved length, in its slice"
    assert viewer.pixel((10, 14, 10)) == mix((255, 0, 0), 0.55), "and in no other"
    assert viewer.call("measured") == [], "what is saved is not drawn a second time"

    visitor.choose("Beside it", "thick")
    visitor.sees("Linked by place, by the millimetres of their files")
    both = "[...document.querySelectorAll('.osteon-view canvas')].filter((c) => c.osteonView.ready).length === 2"
    page.wait_for_function(both)
    viewer.call("goTo", [10, 12, 21])
    assert viewer.cross(0) == [10, 12, 21]
    assert viewer.cross(1) == [10, 12, 5], "the slice that is nearest to 21 mm"
    visitor.choose("Beside it", "moved")
    visitor.sees("not by place: in the millimetres of their files 0% of the smaller scan lies within the other")
    page.wait_for_function(both)
    viewer.call("goTo", [10, 12, 21])
    assert viewer.cross(1) == [10, 12, 21], "the same part of each axis"
    viewer.call("goToSlice", 0, 4, n=1)
    assert viewer.cross(0) == [10, 12, 3], "and the other way round"

    page.locator("h1").click()
    page.keyboard.press("e")
    visitor.sees("Back to the page")
    tall = page.evaluate("document.querySelector('.osteon-view').getBoundingClientRect().height")
    assert tall > 0.8 * 900
    assert not page.get_by_role("link", name="Data").first.is_visible()
    shot(viewer, "full")
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Data").first).to_be_visible()
    visitor.choose("Beside it", "nothing")
    expect(page.locator(".osteon-view canvas")).to_have_count(1, timeout=MINUTE_MS)
