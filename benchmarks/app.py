"""How quick the browser app is: a large CT, a large radiograph with 29 overlapping bones, and the server's memory.

    python benchmarks/app.py --work .bench/app

Headless Chromium draws in software (SwiftShader), as a server without a graphics card does. A page is opened as a
person opens it, after the server has been asked for nothing; the clock starts with the click. The scans are made up.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
from playwright.sync_api import Browser, Page, sync_playwright

import osteon
from osteon.app.workspace import Workspace
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, make_structures
from osteon.core.volume import Volume
from osteon.dataset.manifest import Case, Channel, Manifest, write_manifest
from osteon.formats import write_segmentation, write_volume
from osteon.phantoms.registry import make_request, write_phantoms

FLAGS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CHROMIUM = "/usr/bin/chromium"
PAINTED = "(after) => document.querySelector('.osteon-view canvas')?.osteonView?.painted > after"
BONES = 24


def main() -> None:
    """Make the scans, start the server, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path(".bench/app"))
    work = parser.parse_args().work.resolve()
    workspace = Workspace.open(work / "workspace")
    for scene in (workspace.root / "cache").iterdir():  # what an earlier run left
        shutil.rmtree(scene, ignore_errors=True)
    make_ct(workspace.root / "datasets/ct", (512, 512, 400))
    make_hand(work, workspace.root / "datasets/hand")
    print("| what | measured | result | CPU seconds |\n| --- | --- | --- | --- |", flush=True)
    with server(workspace.root) as (url, memory), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        with opened(browser) as page:
            page.goto(url)
            page.wait_for_timeout(3000)
        row("server, nothing opened", "memory", f"{memory():.0f} MB")
        with opened(browser) as page:
            radiograph(page, url, workspace)
        row("server, after the radiograph", "memory, most", f"{memory():.0f} MB")
        with opened(browser) as page:
            volume(page, url, workspace)
        row("server, after the CT", "memory, most", f"{memory():.0f} MB")
        browser.close()


def row(what: str, measured: str, result: str, cpu_s: float | None = None) -> None:
    """A line of the table, as soon as it is known."""
    print(f"| {what} | {measured} | {result} | {'' if cpu_s is None else f'{cpu_s:.2f}'} |", flush=True)


def busy_s() -> float:
    """CPU seconds that the browser, the server and its reader have taken: they stay the same beside other work."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


@contextmanager
def opened(browser: Browser) -> Iterator[Page]:
    """A page of its own."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(600_000)
    yield page
    page.close()


def volume(page: Page, url: str, workspace: Workspace) -> None:
    """The CT: the first time, when its preview is made, and again."""
    name = "CT 512×512×400, 24 structures"
    item = workspace.item("datasets", "ct")
    look = f"{url}look/{item.id}/{workspace.keyed_hash('datasets', 'ct', 'big')}"
    for often in ("first time", "again"):
        page.goto(f"{url}dataset/{item.id}")
        page.wait_for_timeout(1500)
        began, busy = time.monotonic(), busy_s()
        page.goto(look)
        page.wait_for_function("document.querySelector('.osteon-poster')?.naturalWidth > 0")
        row(name, f"slices on screen, {often}", f"{time.monotonic() - began:.1f} s", busy_s() - busy)
        page.get_by_text("shown after").wait_for()
        row(name, f"preview in the viewer, {often}", f"{time.monotonic() - began:.1f} s", busy_s() - busy)
    row(name, "a structure toggled, preview", *toggled(page))
    began, busy = time.monotonic(), busy_s()
    page.get_by_role("button", name="Full resolution").click()
    page.get_by_text("512×512×400 voxels").wait_for()
    page.get_by_text("shown after").wait_for()
    row(name, "full resolution in the viewer", f"{time.monotonic() - began:.1f} s", busy_s() - busy)


def radiograph(page: Page, url: str, workspace: Workspace) -> None:
    """The radiograph: the first time, and again."""
    name = "radiograph 2048², 29 bones"
    item = workspace.item("datasets", "hand")
    for often in ("first time", "again"):
        page.goto(f"{url}dataset/{item.id}")
        page.wait_for_timeout(1500)
        target = page.locator("td a").first.get_attribute("href")
        began, busy = time.monotonic(), busy_s()
        page.goto(url.rstrip("/") + str(target))
        page.get_by_text("shown after").wait_for()
        row(name, f"ready, {often}", f"{time.monotonic() - began:.1f} s", busy_s() - busy)
    row(name, "a bone toggled", *toggled(page))


def toggled(page: Page) -> tuple[str, float]:
    """From the click to the new picture: the median of five, and the mean of what it costs."""
    taken, busy = [], busy_s()
    for number in range(1, 6):
        switch = page.locator(".osteon-structure .q-toggle").nth(number)
        before = page.evaluate("performance.now()")
        switch.click()
        page.wait_for_function(PAINTED, arg=before)
        taken.append(page.evaluate("document.querySelector('.osteon-view canvas').osteonView.painted") - before)
    return f"{np.median(taken) / 1000:.2f} s", (busy_s() - busy) / len(taken)


def make_ct(folder: Path, shape: tuple[int, int, int]) -> None:
    """A body of noise with bones in it, as a scanner's file would be: int16, packed."""
    if (folder / "dataset.yaml").is_file():
        return
    rng = np.random.default_rng(0)
    image = rng.normal(0, 30, shape).astype(np.int16)
    labels = np.zeros(shape, dtype=np.uint8)
    grids = np.ogrid[tuple(slice(0, n) for n in shape)]
    for number in range(BONES):
        middle = [n * (0.15 + 0.7 * rng.random()) for n in shape]
        radius = [20 + 25 * rng.random() for _ in shape]
        inside = sum(((g - m) / r) ** 2 for g, m, r in zip(grids, middle, radius, strict=True)) < 1
        labels[inside] = number + 1
        image[inside] += np.int16(600)
    geometry = Geometry(shape, np.diag([0.8, 0.8, 1.0, 1.0]))
    structures = make_structures([f"bone_{n + 1}" for n in range(BONES)])
    write_volume(folder / "big.nii.gz", Volume(image[None], geometry))
    write_segmentation(folder / "big-labels.nii.gz", Segmentation(labels, geometry, structures))
    case = Case(id="big", images=["big.nii.gz"], segmentation="big-labels.nii.gz")
    channel = Channel(name="ct", modality="ct")
    write_manifest(folder, Manifest(name="ct", channels=[channel], structures=list(structures), cases=[case]))


def make_hand(work: Path, folder: Path) -> None:
    """The phantom's radiographs, imported."""
    if not (folder / "dataset.yaml").is_file():
        source = work / "workspace/sources/hands"
        write_phantoms(source, make_request("hand", cases=2))
        osteon.import_dataset(source / "source", folder)


@contextmanager
def server(root: Path, *options: str) -> Iterator[tuple[str, Callable[[], float]]]:
    """A server of its own, and the most memory (MB) that it has held so far."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "osteon.cli",
        "app",
        "--workspace",
        str(root),
        "--port",
        str(port),
        "--no-browser",
        *options,
    ]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    process, most = psutil.Process(child.pid), [0.0]

    def watch() -> None:
        while child.poll() is None:
            most[0] = max(most[0], process.memory_info().rss / 1e6)
            time.sleep(0.05)

    threading.Thread(target=watch, daemon=True).start()
    url = f"http://localhost:{port}/"
    until = time.monotonic() + 120
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.2)
    try:
        yield url, lambda: most[0]
    finally:
        child.terminate()
        child.wait(30)


if __name__ == "__main__":
    main()
