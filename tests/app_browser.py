"""The browser app in headless Chromium: a server in a process of its own, and somebody who clicks."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    TimeoutError,
    expect,
    sync_playwright,
)

NAMES = ("chromium", "chromium-browser", "google-chrome")
SOFTWARE = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
QUIET = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
PATIENCE_S = 90.0
MINUTE_MS = 60_000
TESTING = ("PYTEST_", "NICEGUI_")
"""By these NiceGUI knows that it is tested, and opens no port then."""


def chromium() -> str:
    """Its path; the tests are skipped where there is none, and say so."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    pytest.skip(f"no Chromium is installed ({', '.join(NAMES)}): apt-get install chromium")


@dataclass
class Server:
    """`osteon app` on a workspace; it can be killed and started again on the same port."""

    root: Path
    port: int
    options: tuple[str, ...] = ()
    child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "osteon.cli",
            "app",
            "--no-browser",
            "--workspace",
            str(self.root),
            *self.options,
        ]
        own = {name: value for name, value in os.environ.items() if not name.startswith(TESTING)}
        self.child = subprocess.Popen([*command, "--port", str(self.port)], stdout=subprocess.DEVNULL, env=own)
        wait(self.answers)

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """As a power failure does it."""
        if self.child is not None:
            self.child.send_signal(signal.SIGKILL)
            self.child.wait()


def wait(met: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    until = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.1)


@dataclass
class Visitor:
    """Somebody at the app's pages.

    Attributes:
        server: Whose pages.
        context: The browser's.
        page: The tab.
        hosts: Every host that any page asked for anything.
        errors: What pages' scripts failed with, and what their policy refused.
    """

    server: Server
    context: BrowserContext
    page: Page
    hosts: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        self.page.goto(self.server.url + path)

    def tab(self) -> None:
        """Close the tab, and open another one."""
        self.page.close()
        self.page = self.context.new_page()
        self.page.set_default_timeout(MINUTE_MS)

    def click(self, name: str, *, exact: bool = False) -> None:
        self.page.get_by_role("button", name=name, exact=exact).first.click()

    def choose(self, label: str, option: str) -> None:
        """Choose in a list; it is opened again where the page was still being drawn."""
        wanted = self.page.get_by_role("option", name=option).first
        for _ in range(10):
            self.page.get_by_label(label, exact=True).first.click()
            try:
                wanted.click(timeout=6000)
                return
            except TimeoutError:
                self.page.keyboard.press("Escape")
        wanted.click()

    def upload(self, *files: Path) -> None:
        self.page.locator(".osteon-drop input[type=file]").first.set_input_files([str(file) for file in files])

    def sees(self, text: str, minutes: float = 1.0) -> None:
        expect(self.page.get_by_text(text).first).to_be_visible(timeout=minutes * MINUTE_MS)

    def follow(self, name: str) -> None:
        self.page.get_by_role("link", name=name).first.click()

    def colours(self, number: int = 0) -> int:
        """Coloured pixels of a view."""
        script = "(n) => document.querySelectorAll('.osteon-view canvas')[n].osteonView.colours()"
        return int(self.page.evaluate(script, number))


@contextmanager
def open_visitor(root: Path, *options: str) -> Iterator[Visitor]:
    """A server on a workspace, with options of `osteon app`, and somebody at its pages."""
    path = chromium()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server = Server(root, probe.getsockname()[1], options)
    try:
        server.start()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=[*SOFTWARE, *QUIET])
            yield _visitor(server, browser)
            browser.close()
    finally:
        server.kill()


def _visitor(server: Server, browser: Browser) -> Visitor:
    size = {"width": 1280, "height": 900}
    context = browser.new_context(viewport=size, accept_downloads=True, reduced_motion="reduce")  # nothing to wait for
    visitor = Visitor(server, context, context.new_page())
    visitor.page.set_default_timeout(MINUTE_MS)

    def noted(request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob"):
            visitor.hosts.add(address.netloc)

    def refused(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            visitor.errors.append(message.text)

    context.on("request", noted)
    context.on("console", refused)
    context.on("weberror", lambda error: visitor.errors.append(str(error.error)))
    return visitor


def zip_of(folder: Path, archive: Path, only: Callable[[Path], bool] = lambda _: True) -> Path:
    """A folder's files as somebody would zip them."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and only(path):
                made.write(path, path.relative_to(folder.parent))
    return archive


def alive(group: int) -> list[int]:
    """Living processes of a process group."""
    listed = subprocess.run(["ps", "-eo", "pid,pgid,stat"], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()[1:]]
    return [int(pid) for pid, pgid, state in rows if int(pgid) == group and not state.startswith("Z")]
