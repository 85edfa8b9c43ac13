"""The whole job in a browser, as somebody does it who never opens a terminal. One server, one story in three tests.

The training that the first test begins goes on while the second looks at radiographs; the third waits for its end.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from playwright.sync_api import expect

from app_browser import Visitor, alive, chromium, open_visitor, wait, zip_of
from osteon.app.jobs import FINISHED, Job, Jobs
from osteon.formats.io import read_segmentation
from osteon.formats.stl import read_stl
from osteon.phantoms.registry import make_request, write_phantoms
from osteon.predicting.model_folder import load_model
from osteon.predicting.records import read_predictions

UNSEEN, KEPT = "L006", "L005"
TOO_SMALL = "fibula"
"""Bones of less than a voxel in scans so coarse, from which so short a training learns nothing."""
MANY = 1000
"""Voxels of which some are seen, whatever slices are shown."""


@pytest.fixture(scope="module")
def legs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a hospital hands over: a folder of DICOM and masks for each of six children."""
    folder = tmp_path_factory.mktemp("made") / "legs"
    write_phantoms(folder, make_request("limb", cases=6, size=64))
    return folder / "source"


@pytest.fixture(scope="module")
def visitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    chromium()
    with open_visitor(tmp_path_factory.mktemp("app") / "workspace") as made:
        yield made
        for job in Jobs(made.server.root).all():
            Jobs(made.server.root).cancel(job, grace_s=1)


def training(visitor: Visitor) -> tuple[Jobs, Job]:
    jobs = Jobs(visitor.server.root)
    found = [job for job in jobs.all() if job.command == "train"]
    if not found:
        pytest.fail("the training was not begun: see the first test")
    return jobs, found[0]


def results(visitor: Visitor) -> list[Path]:
    """What was segmented, the newest first."""
    jobs = [job for job in Jobs(visitor.server.root).all() if job.command == "predict"]
    return [visitor.server.root / "results" / job.about["result"] for job in jobs]


def voxels_in(result: Path) -> int:
    """How much the model found: how much it learns depends on what else the machine does."""
    return sum(int(np.count_nonzero(read_segmentation(path).array)) for path in result.glob("*.nii.gz"))


def test_a_zip_of_dicom_and_masks_is_imported_and_trained_on(visitor: Visitor, legs: Path, tmp_path: Path) -> None:
    def is_taken(path: Path) -> bool:
        return UNSEEN not in path.parts and TOO_SMALL not in path.name

    archive = zip_of(legs, tmp_path / "legs.zip", is_taken)

    visitor.open("/")
    visitor.sees("Nothing has been started yet")
    visitor.follow("Data")
    visitor.sees("Nothing has been uploaded yet")
    visitor.upload(archive)
    visitor.sees("5 cases")
    visitor.choose("Keep for the final test", "the last one")
    visitor.click("Import", exact=True)
    visitor.sees("5 cases, 1 kept for the final test", minutes=2)

    visitor.follow("L001")
    visitor.sees("shown after")
    before = visitor.colours()
    visitor.page.get_by_role("switch", name="femur_left").click()
    wait(lambda: visitor.colours() < before)
    one = visitor.colours()
    visitor.click("Hide all structures")
    wait(lambda: visitor.colours() < one)
    visitor.page.go_back()

    visitor.click("Train on it")
    visitor.choose("How long", "1 minute")
    visitor.page.get_by_label("or a time of your own").fill("20s")
    visitor.page.get_by_label("Name", exact=True).fill("legs")
    visitor.click("Start training")
    visitor.sees("Train legs on legs")
    jobs, job = training(visitor)
    wait(lambda: jobs.progress(job).startswith("training"), seconds=300)

    visitor.server.kill()  # the server is gone, the training is not
    assert jobs.state(job).phase == "running"
    assert len(alive(jobs.state(job).pid)) >= 2
    address = urlsplit(visitor.page.url).path
    visitor.tab()
    visitor.server.start()
    visitor.open(address)
    visitor.sees("Train legs on legs")
    expect(visitor.page.get_by_text(re.compile("^(runs|done)$")).first).to_be_visible()


def test_hand_radiographs_are_compared_with_a_table(visitor: Visitor, tmp_path: Path) -> None:
    write_phantoms(tmp_path / "made", make_request("hand", cases=2, size=256))
    source = tmp_path / "made/source"

    visitor.open("/data")
    visitor.upload(zip_of(source, tmp_path / "hands.zip"))
    visitor.sees("2 cases")
    visitor.click("Import", exact=True)
    visitor.sees("2 cases, 0 kept", minutes=2)
    visitor.page.locator("td a").first.click()
    visitor.sees("shown after")
    before = visitor.colours()
    visitor.page.locator(".osteon-structure .q-toggle").nth(3).click()
    wait(lambda: visitor.colours() < before)
    visitor.click("Hide all structures")
    wait(lambda: visitor.colours() == 0)

    table = (source / "annotations.csv").read_text().splitlines()
    (tmp_path / "theirs.csv").write_text("\n".join(table[:-1]) + "\n")  # the last bone is missing
    visitor.open("/compare")
    visitor.choose("Of which dataset", "hands (reference)")
    visitor.upload(tmp_path / "theirs.csv")
    visitor.sees("Cases, the worst first", minutes=2)
    visitor.sees("missed")
    visitor.page.locator("td a").first.click()
    visitor.sees("shown after")
    assert visitor.colours(0) > visitor.colours(1) > 0
    visitor.choose("How", "Difference map")
    visitor.sees("missed: in the first alone")


def test_what_was_trained_segments_a_scan_that_it_never_saw(visitor: Visitor, legs: Path, tmp_path: Path) -> None:
    jobs, job = training(visitor)
    archive = zip_of(legs / UNSEEN / "mr", tmp_path / "new.zip")

    visitor.open("/train")
    visitor.follow("legs")
    visitor.sees("Segment scans with it", minutes=5)
    expect(visitor.page.locator(".osteon-score").filter(has_text="femur_left")).to_be_visible()
    expect(visitor.page.locator(".osteon-pictures img").first).to_be_visible()
    assert jobs.state(job).phase == "done"

    visitor.click("Segment scans with it")
    visitor.upload(archive)
    visitor.sees("1 scan: mr")
    visitor.click("Segment", exact=True)
    visitor.sees("Confidence is uncalibrated", minutes=2)
    new = results(visitor)[0]
    [record] = read_predictions(new).values()
    assert record["model"] == load_model(visitor.server.root / "runs/legs").sha256
    wait(lambda: all(jobs.state(job).phase in FINISHED for job in jobs.all()))
    if voxels_in(new):
        visitor.sees("Volume, cm³", minutes=2)
        visitor.choose("Form", "Surfaces (STL)")
        visitor.click("Make the files")
        with visitor.page.expect_download() as download:
            visitor.page.get_by_role("link", name="Download: Surfaces (STL)").click()
        came = tmp_path / "surfaces" / download.value.suggested_filename
        download.value.save_as(came)
        if came.suffix == ".zip":  # a lone file comes as it is: on a busy machine one bone may be all that was learned
            shutil.unpack_archive(came, came.parent)
        assert len(read_stl(next(came.parent.rglob("*.stl"))).triangles)
    else:
        visitor.sees("femur_left: not found")
    visitor.page.locator("td a").first.click()
    visitor.sees("shown after")
    shown = visitor.colours()
    visitor.click("Hide all structures")
    wait(lambda: visitor.colours() < max(shown, 1) or voxels_in(new) < MANY)

    visitor.open("/segment")
    visitor.choose("Scans", "legs: its held-out or unlabelled cases")
    visitor.sees(f"1 scan: {KEPT}")
    visitor.click("Segment", exact=True)
    visitor.click("Compare with the reference")
    visitor.sees("Cases, the worst first")  # the page before has a link of that name, too
    visitor.follow(KEPT)
    visitor.sees("case 1 of 1, the worst first")
    visitor.sees("shown after")
    assert visitor.colours(0) > 0

    assert visitor.hosts == {urlsplit(visitor.server.url).netloc}, "something was asked of another host"
    assert visitor.errors == []
