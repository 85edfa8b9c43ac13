"""Deleting, undoing and renaming in a real browser, on a real server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from app_browser import Visitor, chromium, open_visitor, wait
from osteon.app.workspace import Workspace
from test_app_bin import fill


@pytest.fixture(scope="module")
def visitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    chromium()
    root = fill(Workspace.open(tmp_path_factory.mktemp("app") / "workspace").root)
    with open_visitor(root) as made:
        yield made


def test_a_dataset_is_deleted_by_mistake_and_taken_back(visitor: Visitor) -> None:
    knees = visitor.server.root / "datasets/knees"
    visitor.open("/data")
    visitor.click("Delete knees")
    visitor.sees("Training first, result mine: made of it and kept")
    visitor.click("Keep", exact=True)
    expect(visitor.page.get_by_text("Delete knees?")).to_have_count(0)
    visitor.click("Delete knees")
    visitor.click("Delete", exact=True)
    visitor.sees("knees is in the bin")
    visitor.sees("No dataset yet")
    assert not knees.exists()
    visitor.click("Undo")
    wait(knees.exists)
    expect(visitor.page.get_by_text("is in the bin")).to_have_count(0)
    visitor.follow("knees")
    visitor.sees("4 cases")
    assert visitor.errors == []


def test_a_result_is_renamed_on_its_page(visitor: Visitor) -> None:
    visitor.open("/segment")
    visitor.follow("mine")
    visitor.sees("kB of the disk")
    visitor.click("Rename")
    visitor.page.get_by_label("New name").fill("Frühling <b>1</b>")
    visitor.page.keyboard.press("Enter")
    visitor.sees("mine is now called Frühling <b>1</b>.")
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Frühling <b>1</b>")
    visitor.sees("its folder is called mine")
    visitor.click("Undo")
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("mine")


def test_an_upload_is_removed_for_good_with_the_dataset_that_needs_it(visitor: Visitor) -> None:
    root = visitor.server.root
    visitor.open("/data")
    visitor.click("Delete legs")
    visitor.sees("Dataset knees: the files are in this upload, so they go together.")
    visitor.click("Delete both")
    visitor.sees("legs is in the bin, with 1 more that goes with it.")
    visitor.follow("Space")
    visitor.sees("of the disk are free")
    _save_pictures(visitor, "space")
    visitor.click("Empty the bin")
    visitor.sees("This cannot be undone.")
    visitor.click("Remove for good", exact=True)
    visitor.sees("The bin is empty.")
    wait(lambda: [path.name for path in (root / ".bin").iterdir()] == ["spent.json"])
    assert not (root / "sources/legs").exists()
    assert visitor.errors == []


def _save_pictures(visitor: Visitor, name: str) -> None:
    """Pictures in both themes, where somebody asks for them."""
    folder = os.environ.get("OSTEON_PICTURES")
    for theme in ("dark", "light") if folder else ():
        visitor.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        visitor.page.wait_for_timeout(500)
        visitor.page.screenshot(path=Path(str(folder)) / f"{name}-{theme}.png", full_page=True)
