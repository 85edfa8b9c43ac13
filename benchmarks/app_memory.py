"""What the browser app's server keeps after many page loads, as somebody makes them who clicks through it all day.

    python benchmarks/app_memory.py --work .bench/app-memory --loads 400

Headless Chromium opens one page after the other, each once it is drawn. Printed is the server's resident memory.
"""

from __future__ import annotations

import argparse
import time
from itertools import cycle, islice
from pathlib import Path

import psutil
from app import CHROMIUM, FLAGS, make_hand, opened, server
from playwright.sync_api import sync_playwright

from osteon.app.workspace import Workspace

TOLD = 100
"""Loads after which a line is printed."""
QUIET_S = 5.0
"""After the last load, before the last line."""


def main() -> None:
    """Make a workspace, start the server, and open pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path(".bench/app-memory"))
    parser.add_argument("--loads", type=int, default=400)
    options = parser.parse_args()
    workspace = Workspace.open(options.work.resolve() / "workspace")
    make_hand(options.work.resolve(), workspace.root / "datasets/hand")
    print("| loads | server, MB | most so far, MB | seconds |\n| --- | --- | --- | --- |", flush=True)
    with server(workspace.root) as (url, most), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        process = next(p for p in psutil.Process().children() if "osteon.cli" in p.cmdline())
        began = time.monotonic()

        def row(loads: int | str) -> None:
            memory = process.memory_info().rss / 1e6
            print(f"| {loads} | {memory:.0f} | {most():.0f} | {time.monotonic() - began:.0f} |", flush=True)

        with opened(browser) as page:
            page.goto(url)
            page.wait_for_timeout(3000)
            row(0)
            item = workspace.item("datasets", "hand")
            paths = ("", "data", f"dataset/{item.id}", "train", "segment", "compare", "runs", "jobs")
            for number, path in enumerate(islice(cycle(paths), options.loads), 1):
                page.goto(url + path)
                page.locator("h1").wait_for()
                if number % TOLD == 0:
                    row(number)
        time.sleep(QUIET_S)
        row(f"{options.loads}, {QUIET_S:.0f} s later")
        browser.close()


if __name__ == "__main__":
    main()
