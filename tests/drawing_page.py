"""The drawing view of pictures alone, on a page without the app: served here, drawn on in headless Chromium."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from playwright.sync_api import Page, sync_playwright

from app_browser import QUIET, chromium

Mask = npt.NDArray[np.bool_]
Point = tuple[float, float]
APP = Path(__file__).parents[1] / "src/osteon/app"
VIEW = "document.querySelector('canvas').osteonView"
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>drawing</title>
<link rel="stylesheet" href="/style.css"><style>body { margin: 0; --osteon-tall: 400px; }</style>
<script type="importmap">{"imports": {"vue": "/vue.js", "osteon-picture/": "/static/picture/"}}</script>
<main id="app" style="width: 600px"></main>
<script type="module">
import { createApp, h } from "vue";
import component from "/drawing/draw_picture.js";
const { scene, rows } = await (await fetch("/scene.json")).json();
window.told = [];
for (const name of ["drawn", "picked", "said", "set"]) {
  addEventListener(`osteon-${name}`, (event) => window.told.push([name, event.detail]));
}
addEventListener("osteon-ready", async (event) => {
  const view = event.target.osteonView;
  view.load(new Uint8Array(await (await fetch("/label.bin")).arrayBuffer()), rows);
  view.setStructure(0);
  window.loaded = true;
});
createApp(() => h(component, { label: "The picture", scene })).mount("#app");
</script></html>"""


class _Handler(BaseHTTPRequestHandler):
    """Answers with what `files` has, else with the app's own scripts."""

    def __init__(self, files: dict[str, bytes], *arguments: Any) -> None:
        self.files = files
        super().__init__(*arguments)

    def do_GET(self) -> None:
        content = self.files.get(self.path)
        if content is None:
            path = APP / self.path.removeprefix("/")
            content = path.read_bytes() if path.suffix == ".js" and path.is_file() else b""
        self.send_response(200 if content else 404)
        kind = {".js": "text/javascript", ".css": "text/css"}.get(Path(self.path).suffix, "text/html")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def structure_rows(count: int) -> list[dict[str, Any]]:
    """What the panel says of structures."""
    return [
        {"name": f"bone {n}", "value": n + 1, "colour": f"#{(n * 77) % 256:02x}{255 - (n * 41) % 256:02x}80"}
        | {"opacity": 0.5, "visible": True, "locked": False}
        for n in range(count)
    ]


class PictureDrawer:
    """Somebody who draws on the first view of a page.

    Attributes:
        page: The tab.
        size: Columns and rows.
        count: Of structures.
    """

    page: Page
    size: tuple[int, int]
    count: int

    def call(self, method: str, *arguments: Any) -> Any:
        return self.page.evaluate(f"([m, a]) => {VIEW}[m](...a)", [method, list(arguments)])

    def masks(self) -> Mask:
        """What is drawn, `[structure, row, column]`."""
        raw = self.page.evaluate(f"""() => {{
          const bytes = {VIEW}.mask(), parts = [], many = 32768;
          for (let n = 0; n < bytes.length; n += many) parts.push(String.fromCharCode(...bytes.subarray(n, n + many)));
          return parts.join("");
        }}""")
        words = np.frombuffer(raw.encode("latin-1"), "<u4").reshape(-1, self.size[1], self.size[0])
        return np.stack([(words[n // 32] >> np.uint32(n % 32)) & 1 for n in range(self.count)]).astype(bool)

    def on_screen(self, place: Point) -> tuple[int, int]:
        """The pixel of the page nearest to a point of the picture."""
        script = f"""(at) => {{
          const box = {VIEW}.$refs.canvas.getBoundingClientRect(), [x, y] = {VIEW}.screen(at);
          return [Math.round(box.left + x), Math.round(box.top + y)];
        }}"""
        x, y = self.page.evaluate(script, list(place))
        return int(x), int(y)

    def in_picture(self, point: tuple[int, int]) -> Point:
        script = f"""([x, y]) => {{
          const box = {VIEW}.$refs.canvas.getBoundingClientRect();
          return {VIEW}.pixel([x - box.left, y - box.top]);
        }}"""
        x, y = self.page.evaluate(script, list(point))
        return x, y

    def drag(self, *places: Point, button: str = "left") -> list[Point]:
        """Draw with the mouse; where in the picture it really was."""
        points = [self.on_screen(place) for place in places]
        mouse = self.page.mouse
        mouse.move(*points[0])
        mouse.down(button=button)  # type: ignore[arg-type]
        for point in points[1:]:
            mouse.move(*point)
        mouse.up(button=button)  # type: ignore[arg-type]
        return [self.in_picture(point) for point in points]

    def settle(self) -> None:
        """Let what was changed be painted."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def colour(self, place: Point) -> list[int]:
        """What is on the screen at a point of the picture."""
        script = f"""([x, y]) => {{
          const canvas = {VIEW}.$refs.canvas, box = canvas.getBoundingClientRect(), ratio = devicePixelRatio;
          return [...canvas.getContext("2d").getImageData((x - box.left) * ratio, (y - box.top) * ratio, 1, 1).data];
        }}"""
        found: list[int] = self.page.evaluate(script, list(self.on_screen(place)))
        return found[:3]

    def told(self, name: str) -> list[Any]:
        return [what for kind, what in self.page.evaluate("window.told") if kind == name]

    def said(self) -> str:
        return str(self.told("said")[-1]["text"])


class Drawer(PictureDrawer):
    """Somebody who draws on the view alone.

    Attributes:
        stretch: A pixel's height by its width.
    """

    def __init__(self, page: Page, address: str, files: dict[str, bytes]) -> None:
        self.page, self.address, self.files = page, address, files

    def open(
        self,
        masks: Mask,
        pixel: Point = (1.0, 1.0),
        marks: Sequence[str] = (),
        grey: Any = None,
        *,
        exclusive: bool = False,
    ) -> None:
        """A picture `[row, column]` with masks `[structure, row, column]`."""
        count, rows, columns = masks.shape
        self.size, self.stretch, self.count = (columns, rows), pixel[1] / pixel[0], count
        words = np.zeros((-(-count // 32), rows, columns), np.uint32)
        for number, mask in enumerate(masks):
            words[number // 32][mask] |= np.uint32(1 << number % 32)
        grey = np.full((rows, columns), 100, np.uint16) if grey is None else grey
        scene = {"key": "a", "image": "/image.bin", "size": self.size, "slope": 1, "intercept": 0, "window": [0, 255]}
        scene |= {"pixel": pixel, "unit": "px", "marks": list(marks), "layers": [], "exclusive": exclusive}
        self.files |= {
            "/label.bin": words.tobytes(),
            "/image.bin": grey.astype(np.uint16).tobytes(),
            "/scene.json": json.dumps({"scene": scene, "rows": structure_rows(count)}).encode(),
        }
        self.page.goto(self.address)
        self.page.wait_for_function("window.loaded")


@contextmanager
def open_drawer() -> Iterator[Drawer]:
    """The page in a browser of its own."""
    path, spec = chromium(), importlib.util.find_spec("nicegui")
    assert spec is not None
    assert spec.origin is not None
    vue = Path(spec.origin).parent / "static/vue.esm-browser.js"
    files = {"/": PAGE.encode(), "/vue.js": vue.read_bytes(), "/style.css": (APP / "static/style.css").read_bytes()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, files))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    errors: list[str] = []
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu", *QUIET])
            page = browser.new_page(viewport={"width": 640, "height": 460}, has_touch=True)
            page.on("pageerror", lambda error: errors.append(str(error)))
            yield Drawer(page, f"http://127.0.0.1:{server.server_port}/", files)
            browser.close()
    finally:
        server.shutdown()
        server.server_close()
    assert errors == []


# What is to be drawn, by other ways than the page's


def middles(size: tuple[int, int]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """x and y of the middles of pixels, each `[row, column]`."""
    columns, rows = size
    x, y = np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
    return x, y


def stroke(size: tuple[int, int], places: Sequence[Point], diameter: float, stretch: float = 1.0) -> Mask:
    """What a round brush covers on its way, the pixels under the pointer included."""
    x, y = middles(size)
    covered = np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(places, [*places[1:], places[-1]], strict=True):
        along = np.array([bx - ax, (by - ay) * stretch])
        px, py = x - ax, (y - ay) * stretch
        t = np.clip((px * along[0] + py * along[1]) / max(along @ along, 1e-30), 0, 1)
        covered |= np.hypot(px - t * along[0], py - t * along[1]) <= diameter / 2
        covered[int(ay), int(ax)] = True
    return covered


def polygon(size: tuple[int, int], corners: Sequence[Point]) -> Mask:
    """Pixels whose middles lie within, by how often a ray to the right crosses a side."""
    x, y = middles(size)
    inside = np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if ay != by:
            inside ^= ((ay <= y) != (by <= y)) & (x < ax + (y - ay) * (bx - ax) / (by - ay))
    return inside
