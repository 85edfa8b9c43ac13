"""Scans that come from an archive into the app, and results that go back: its file, its pages, its jobs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nicegui import ui
from nicegui.testing.user import User

from app_browser import Visitor, chromium, open_visitor, wait
from app_pages import visit
from dicom_writing import series
from helpers import two_boxes, write_dataset
from orthanc import PASSWORD, USER, Orthanc, orthanc
from osteon.app.archive_commands import origin_archive, start_fetch, start_sending
from osteon.app.archives import NamedArchive, read_archives
from osteon.app.jobs import Jobs
from osteon.app.state import AppState
from osteon.app.workspace import ABOUT, Workspace
from osteon.archive import series_search
from osteon.archive.archive import Query, SeriesEntry, StudyEntry, open_archive
from osteon.archive.settings import ArchiveSettings
from osteon.archive.transfer import parse_query
from osteon.core.errors import AccessError, ArchiveDownError, OsteonError, UsageError
from osteon.core.files import write_json, write_text
from osteon.core.labels import Segmentation, make_structures
from osteon.formats import write_segmentation
from osteon.formats.io import read_scan
from runs import command
from test_app_accessible import axe, found  # noqa: F401 (a fixture)
from test_app_pages import result_in

STUDY = "1.2.826.0.1.3680043.8.498.7.1"
OTHER = "1.2.826.0.1.3680043.8.498.7.2"
PATIENT, NAME = "secret-id", "Doe^Jane"
SLICES = [(0.0, 0.0, 5.0 * n) for n in range(3)]


def archives_in(folder: Path, url: str, password: str = PASSWORD) -> Path:
    """A file of one archive, Hospital, and its credentials."""
    write_text(folder / "credentials.yaml", f"user: {USER}\npassword: {password!r}\n")
    (folder / "credentials.yaml").chmod(0o600)
    write_text(folder / "archives.yaml", f"Hospital: {{url: {url}, settings: {{credentials: credentials.yaml}}}}\n")
    return folder / "archives.yaml"


def named(url: str = "https://pacs.example/dicom-web") -> NamedArchive:
    return NamedArchive("Hospital", url, ArchiveSettings(ca=Path("/ca.pem"), timeout=5))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "valid dictionary"),
        ("{}", "at least 1"),
        ("A: {}", "url"),
        ("A: {url: nonsense}", "none that osteon knows"),
        ("A: {url: 'https://ada:lovelace@pacs/dicom-web'}", "holds a user or a password"),
        ("A: {url: 'https://pacs/dicom-web', settings: {password: x}}", "settings.password"),
        ("A: {url: 'https://pacs/dicom-web', settings: {credentials: missing.yaml}}", "missing.yaml"),
        ("'<b>': {url: 'https://pacs/dicom-web'}", "<b>"),
        ("A: {url: 'https://a/dicom-web'}\nB: {url: 'https://b/dicom-web'}", "would go to A, B"),
    ],
)
def test_a_file_of_archives_that_makes_no_sense_is_refused(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSTEON_ARCHIVE_PASSWORD", "lovelace")
    path = tmp_path / "archives.yaml"
    write_text(path, text)
    with pytest.raises(OsteonError) as refused:
        read_archives(path)
    assert words in refused.value.message
    assert "lovelace" not in f"{refused.value.message} {refused.value.hint}"


def test_settings_become_the_options_of_the_command(tmp_path: Path) -> None:
    [archive] = read_archives(archives_in(tmp_path, "https://pacs.example/dicom-web")).values()
    assert archive.options == ["--credentials", str(tmp_path / "credentials.yaml")]
    assert named().options == ["--ca", "/ca.pem", "--timeout", "5.0"]


class SmallArchive:
    """Three studies of one series each; `error` is raised at the first question."""

    def __init__(self, count: int = 3, error: OsteonError | None = None) -> None:
        self.count, self.error = count, error

    def find_studies(self, query: Query) -> list[StudyEntry]:
        if self.error is not None:
            raise self.error
        every = [StudyEntry(f"{STUDY}.{n}", f"patient-{n}", f"2026070{n + 1}", "knee") for n in range(self.count)]
        return [each for each in every if query.study in ("", each.study_uid)][: query.limit]

    def find_series(self, study_uid: str) -> list[SeriesEntry]:
        return [SeriesEntry(study_uid, f"{study_uid}.1", "CT", "LEG", "bone", 3)]


def searched(tmp_path: Path, archive: SmallArchive, fill: dict[str, str], sees: Sequence[str]) -> AppState:
    """Search in an archive, and tick the first two series that are found."""

    async def steps(user: User, app: AppState) -> None:
        app.archives = {"Hospital": named()}
        await user.open("/archive")
        for label, text in fill.items():
            user.find(content=label, kind=ui.input).elements.pop().set_value(text)
        user.find(content="Search", kind=ui.button).click()
        for text in sees:
            await user.should_see(text, retries=20)
        if tables := list(user.find(ui.table).elements) if "In Hospital" in sees else []:
            tables[0].selected = [*tables[0].rows[:2], {"n": 99}, {"n": -1}, {"n": "0"}]
            user.find(marker="fetch").click()
            await asyncio.sleep(0.1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NamedArchive, "open", lambda _: archive)
        patch.setattr(series_search, "MOST_STUDIES", 2)
        return visit(tmp_path / "w", steps)


@pytest.mark.parametrize(
    ("archive", "fill", "sees"),
    [
        (SmallArchive(), {"Description of the series, with * and ?": "skull*"}, ["Nothing was found in the first 2"]),
        (SmallArchive(0), {}, ["Nothing was found."]),
        (SmallArchive(), {"From": "yesterday"}, ["is no date"]),
        (
            SmallArchive(error=ArchiveDownError("it does not answer", hint="try again later")),
            {},
            ["Hospital could not be searched", "it does not answer"],
        ),
        (
            SmallArchive(
                error=AccessError(
                    "it does not let this user in",
                    hint="correct the file of --credentials, or OSTEON_ARCHIVE_USER and OSTEON_ARCHIVE_PASSWORD",
                )
            ),
            {},
            ["the user and the password that this machine has for it must be corrected"],
        ),
    ],
)
def test_a_search_that_finds_nothing_says_why(
    tmp_path: Path, archive: SmallArchive, fill: dict[str, str], sees: list[str]
) -> None:
    assert searched(tmp_path, archive, fill, sees).jobs.all() == []


def test_what_is_ticked_is_fetched_by_its_uids_alone(tmp_path: Path) -> None:
    sees = ["In Hospital", "2 series of 2 studies, and there are more."]
    app = searched(tmp_path, SmallArchive(), {"Patient's ID": "patient-*"}, sees)
    [job] = app.jobs.all()
    assert job.title == "Fetch 2 series from Hospital"
    assert job.arguments[:3] == ("pull", named().url, app.workspace.items("sources")[0].relative_path)
    asked = parse_query([part for part in job.arguments if "=" in part])
    assert asked == Query(study=f"{STUDY}.2,{STUDY}.1", series=f"{STUDY}.2.1,{STUDY}.1.1")
    assert not asked.fits(SeriesEntry(STUDY, f"{STUDY}.0.1"))
    assert "patient" not in json.dumps([job.arguments, job.title, job.about])


def test_what_did_not_come_as_dicom_is_not_sent_and_says_so(tmp_path: Path) -> None:
    root = Workspace.open(tmp_path / "w").root
    write_dataset(root / "datasets/knees", {f"c{n}": two_boxes(seed=n) for n in range(4)})
    result_in(root)

    async def steps(user: User, app: AppState) -> None:
        app.archives = {"Hospital": named()}
        result = app.workspace.item("results", "mine")
        for page in (result.url, f"{result.url}/{app.case_id(result, 'c0')}"):
            await user.open(page)
            await user.should_see("These scans came in another form.")
            await user.should_not_see("Send to the archive")
        source, dataset = (
            app.workspace.create("sources", "a", {"archive": "Hospital"}),
            app.workspace.item("datasets", "knees"),
        )
        assert origin_archive(app, result) == ""
        write_json(dataset.path / ABOUT, {"source": source.relative_path})
        assert origin_archive(app, result) == "Hospital"
        with pytest.raises(UsageError, match="DICOM"):
            start_sending(app, named(), result)

    assert visit(tmp_path / "w", steps).jobs.all() == []


def test_nothing_is_fetched_where_nothing_is_ticked(tmp_path: Path) -> None:
    app = AppState(Workspace.open(tmp_path / "w"))
    with pytest.raises(UsageError, match="no series is chosen"):
        start_fetch(app, named(), [])
    assert app.workspace.items("sources") == []


def test_a_push_of_no_dicom_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_text(tmp_path / "a.txt", "no DICOM")
    assert command("archive", "push", "https://pacs.example/dicom-web", tmp_path) == 1
    assert "there is nothing to send" in "".join(capsys.readouterr())


# One story, with a real archive


def segmented(visitor: Visitor, folder: Path) -> str:
    """A result of a fetched series, as `osteon predict` would leave it; the URL of its page."""
    root = visitor.server.root
    images = sorted(folder.iterdir())
    scan = read_scan(images)
    label = np.zeros(scan.geometry.shape, np.uint8)
    label[1:3, 1:3, 1] = 1
    structures = make_structures(["femur"], [1])
    write_segmentation(root / "results/mine/knee.nii.gz", Segmentation(label, scan.geometry, structures))
    files = [[str(path), 1, 2] for path in images]
    write_json(root / "results/mine/predictions.json", {"knee": {"input": files, "output": "knee.nii.gz"}})
    write_json(root / "results/mine" / ABOUT, {"run": "first", "source": folder.parents[1].name})
    return Workspace.open(root).item("results", "mine").url


def answers(server: Orthanc) -> list[Any]:
    """DICOM SEGs that the archive has."""
    every = [server.get(f"/instances/{uid}/simplified-tags") for uid in server.get("/instances")]
    return [tags for tags in every if tags["Modality"] == "SEG"]


def has_sent(root: Path, often: int) -> bool:
    """Whether so many jobs have sent something."""
    jobs = Jobs(root)
    done = [job for job in jobs.all() if job.arguments[0] == "push" and jobs.state(job).phase == "done"]
    return len(done) == often


def send(visitor: Visitor, result: str) -> None:
    visitor.open(result)
    visitor.click("Send to the archive")
    visitor.page.get_by_text("What an archive has taken").wait_for()
    assert visitor.page.get_by_text("were not fetched from").count() == 0
    visitor.click("Send", exact=True)


def test_a_series_comes_from_the_archive_and_its_segmentation_goes_back(tmp_path: Path, axe: str) -> None:  # noqa: F811
    chromium()
    with orthanc(tmp_path / "orthanc") as server:
        path = archives_in(tmp_path, server.url)
        tags = {"PatientID": PATIENT, "PatientName": NAME, "StudyDate": "20260701", "SeriesDescription": "t1 knee"}
        for study in (STUDY, OTHER):
            given = {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.1", **tags}
            files = series(tmp_path / study, SLICES, **given)
            open_archive(server.url, {"credentials": tmp_path / "credentials.yaml"}).store(files)
        with open_visitor(tmp_path / "w", "--archives", str(path)) as visitor:
            page, root = visitor.page, visitor.server.root
            Workspace.open(root).save_settings(theme="light")
            visitor.open("/data")
            visitor.click("Fetch from Hospital")
            page.get_by_label("Patient's ID").fill(PATIENT)
            page.get_by_label("From", exact=True).fill("2026-07-01")
            visitor.click("Search", exact=True)
            visitor.sees("2 series of 2 studies.")
            page.get_by_role("checkbox", name="Tick secret-id").first.click()
            page.evaluate(axe)
            serious = found(visitor, "light")
            visitor.click("Theme: light; change it", exact=True)
            page.locator("body.body--dark").wait_for()
            page.wait_for_function("document.getAnimations().every((one) => !(one instanceof CSSTransition))")
            serious += found(visitor, "dark", runOnly=["color-contrast"])
            assert serious == []
            visitor.click("Fetch what is ticked")
            visitor.sees("Recognised: ")
            [fetched] = (folder for folder in root.glob("sources/*/*/*") if folder.is_dir())
            assert len(list(fetched.glob("*.dcm"))) == 3

            result = segmented(visitor, fetched)
            for often in (1, 2):
                send(visitor, result)
                wait(partial(has_sent, root, often))
                visitor.sees("Sent to Hospital")
                assert len(answers(server)) == 1
            archives_in(tmp_path, server.url, "wrong")
            send(visitor, result)
            visitor.sees("the archive does not let this user in")
            assert [tags["PatientID"] for tags in answers(server)] == [PATIENT]

            server.stop()
            visitor.open("/archive")
            visitor.click("Search", exact=True)
            visitor.sees("Hospital could not be searched")
            visitor.sees("does not answer")
            assert visitor.errors == []
            kept = "".join(path.read_text() for path in root.glob("jobs/*/*") if path.suffix in (".json", ".txt"))
            assert "archive" in kept
            assert not any(word in kept for word in (PATIENT, "Doe", PASSWORD))
