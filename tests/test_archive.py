"""Studies are found in, fetched from and sent to a real archive, by DICOMweb and by DIMSE."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from dicom_writing import image, save
from orthanc import PASSWORD, USER, Orthanc, orthanc
from osteon.archive.archive import Archive, Query, open_archive
from osteon.archive.dimse import DimseArchive
from osteon.archive.fetching import Inbox
from osteon.archive.transfer import parse_query, pull
from osteon.core.errors import AccessError, ArchiveDownError, ArchiveError, UsageError
from osteon.core.files import write_text
from runs import command

WAYS = ("dicomweb", "dimse")
STUDY, OTHER = "1.2.826.0.1.3680043.8.498.5.1", "1.2.826.0.1.3680043.8.498.5.2"


def written(folder: Path, study: str, slices: int = 3, **tags: Any) -> list[Path]:
    """A series `study.1` in which each slice has pixels of its own."""
    given = {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.1", "PatientID": "secret-id"} | tags
    paths = []
    for n in range(slices):
        pixels = (np.arange(64).reshape(8, 8) * (n + 1)).astype(np.int16)
        uid = f"{given['SeriesInstanceUID']}.{n + 1}"
        made = image(pixels, SOPInstanceUID=uid, InstanceNumber=n + 1, StudyDate="20260701", **given)
        paths.append(save(made, folder / f"{uid}.dcm"))
    return paths


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("archive") / "orthanc") as archive:
        opened("dicomweb", archive, tmp_path_factory.mktemp("keys")).store(
            [
                *written(tmp_path_factory.mktemp("a"), STUDY, BodyPartExamined="LEG", SeriesDescription="t1 knee"),
                *written(tmp_path_factory.mktemp("b"), OTHER, Modality="MR", PatientID="another"),
            ]
        )
        yield archive


def opened(way: str, server: Orthanc, folder: Path, **settings: Any) -> Archive:
    if way == "dimse":
        return open_archive(server.dimse, {"port": server.listener} | settings)
    path = folder / "credentials.yaml"
    write_text(path, f"user: {USER}\npassword: {PASSWORD!r}\n")
    path.chmod(0o600)
    return open_archive(server.url, {"credentials": path} | settings)


@pytest.mark.parametrize("way", WAYS)
def test_studies_and_series_are_found_by_what_they_are(way: str, server: Orthanc, tmp_path: Path) -> None:
    archive = opened(way, server, tmp_path)
    found = {
        query: {s.study_uid for s in archive.find_studies(query)}
        for query in (
            Query(),
            Query(modality="mr"),
            Query(patient="secret-id"),
            Query(study=OTHER),
            Query(until=date(2026, 6, 30)),
            Query(since=date(2026, 7, 1), until=date(2026, 7, 1)),
        )
    }
    assert list(found.values()) == [{STUDY, OTHER}, {OTHER}, {STUDY}, {OTHER}, set(), {STUDY, OTHER}]
    assert len(archive.find_studies(Query(limit=1))) == 1
    [study] = archive.find_studies(Query(study=STUDY))
    assert (study.patient_id, study.date, study.modalities) == ("secret-id", "20260701", ("CT",))
    [series] = archive.find_series(STUDY)
    assert (series.series_uid, series.modality, series.body_part) == (f"{STUDY}.1", "CT", "LEG")
    assert (series.description, series.instances) == ("t1 knee", 3)
    fits = [
        Query(body_part="leg").fits(series),
        Query(description="*KNEE").fits(series),
        Query(modality="MR").fits(series),
    ]
    assert fits == [True, True, False]
    assert archive.find_series("1.2.3.4") == archive.find_instances("1.2.3.4", "1.2.3.4.5") == []
    assert sorted(archive.find_instances(STUDY, f"{STUDY}.1")) == [f"{STUDY}.1.{n}" for n in (1, 2, 3)]


@pytest.mark.parametrize("way", [*WAYS, "move"])
def test_what_was_sent_comes_back_the_same(way: str, server: Orthanc, tmp_path: Path) -> None:
    archive = opened(way.replace("move", "dimse"), server, tmp_path)
    if isinstance(archive, DimseArchive) and way == "move":
        archive.gets = False
    study = f"1.2.826.0.1.3680043.8.498.6.{len(way)}"
    files = written(tmp_path / "mine", study)
    archive.store(files)
    archive.store(files)  # again: the archive still has each once
    came = archive.fetch_series(study, f"{study}.1", tmp_path / "fetched")
    assert [path.name for path in came] == [path.name for path in files]
    for sent, got in zip(files, came, strict=True):
        assert np.array_equal(pydicom.dcmread(sent).pixel_array, pydicom.dcmread(got).pixel_array)
        assert pydicom.dcmread(sent).to_json() == pydicom.dcmread(got).to_json()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize("way", WAYS)
def test_a_folder_is_there_whole_or_not_at_all(
    way: str, server: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = opened(way, server, tmp_path)
    for found, words in (
        (lambda _, series: [f"{series}.{n}" for n in (1, 2, 3, 4)], "1 of 4 instances did not come"),
        (growing(f"{STUDY}.1"), "has changed while it was fetched"),
        (lambda *_: [], "does not have it"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(archive, "find_instances", found)
            with pytest.raises(ArchiveError, match=words):
                archive.fetch_series(STUDY, f"{STUDY}.1", tmp_path / "fetched")
    studies = archive.find_studies(Query(study=STUDY))
    for patients, words in ((["x"], "another patient"), (["x", "y"], "for several patients")):
        claimed = [replace(studies[0], patient_id=patient) for patient in patients]
        with monkeypatch.context() as patch:
            patch.setattr(archive, "find_studies", lambda _, claimed=claimed: claimed)
            with pytest.raises(ArchiveError, match=words):
                archive.fetch_series(STUDY, f"{STUDY}.1", tmp_path / "fetched")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def growing(series: str) -> Any:
    answers = iter([[f"{series}.{n}" for n in range(1, most + 1)] for most in (3, 4)])
    return lambda *_: next(answers)


def test_who_may_not_come_in_is_told_so_without_the_password(
    server: Orthanc, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = tmp_path / "wrong.yaml"
    write_text(wrong, f"user: {USER}\npassword: {PASSWORD[::-1]}\n")
    with pytest.raises(UsageError, match="others may read the password"):
        open_archive(server.url, {"credentials": wrong})
    wrong.chmod(0o600)
    refused: Mapping[str, tuple[str, Mapping[str, Any]]] = {
        "does not let this user in": (server.url, {"credentials": wrong}),
        "no archive of this AE title": (server.dimse.replace("ORTHANC", "NOBODY"), {}),
    }
    with caplog.at_level(logging.DEBUG):
        for words, (url, settings) in refused.items():
            with pytest.raises(AccessError, match=words) as caught:
                open_archive(url, settings).find_studies(Query(patient="secret-id"))
            assert PASSWORD[::-1] not in f"{caught.value}"
            assert "secret-id" not in f"{caught.value}"
    assert PASSWORD[::-1] not in caplog.text
    assert "secret-id" not in "".join(r.getMessage() for r in caplog.records if r.levelno > logging.DEBUG)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pynetdicom leaves its socket open
@pytest.mark.parametrize("way", WAYS)
def test_an_archive_that_is_down_may_be_tried_again(way: str, tmp_path: Path) -> None:
    with orthanc(tmp_path / "orthanc") as server:
        archive = opened(way, server, tmp_path, timeout=20)
        archive.store(written(tmp_path / "mine", STUDY))
        server.stop(signal.SIGKILL)
        for ask in (lambda: archive.find_studies(Query()), lambda: archive.store(written(tmp_path / "x", OTHER))):
            with pytest.raises(ArchiveDownError, match="does not answer"):
                ask()
        server.start()
        assert [study.study_uid for study in archive.find_studies(Query())] == [STUDY]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://me:secret@host/dicom-web", "holds a user or a password"),
        ("ftp://host", "none that osteon knows"),
        ("dicom://host:104", "none that osteon knows"),
        ("dicom://AET@host", "none that osteon knows"),
        ("http://[::1", "is none"),
    ],
)
def test_a_url_that_is_none_is_refused_before_anything_is_asked(url: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        open_archive(url)
    assert "secret" not in f"{caught.value}"


def test_another_service_is_told_from_an_archive(server: Orthanc, tmp_path: Path) -> None:
    archive = opened("dicomweb", server, tmp_path)
    assert not isinstance(archive, DimseArchive)
    for path in ("/app/explorer.html", "/nothing"):
        other = open_archive(server.url.replace("/dicom-web", path), {"credentials": tmp_path / "credentials.yaml"})
        with pytest.raises(ArchiveError, match="nothing at this URL"):
            other.find_studies(Query())


def test_a_query_is_pulled_once_and_grows_with_the_archive(server: Orthanc, tmp_path: Path) -> None:
    archive = opened("dicomweb", server, tmp_path)
    study = "1.2.826.0.1.3680043.8.498.7.1"
    archive.store(written(tmp_path / "x", study))
    query = parse_query([f"study={study}", "modality=ct"])
    first, again = (pull(archive, tmp_path / "pulled", query) for _ in range(2))
    target = tmp_path / "pulled" / study / f"{study}.1"
    assert (first.fetched, first.present, again.fetched, again.present) == ([target], [], [], [target])
    archive.store(written(tmp_path / "y", study, 4))
    assert pull(archive, tmp_path / "pulled", query).fetched == [target]
    assert len(list(target.iterdir())) == 4
    assert pull(archive, tmp_path / "pulled", parse_query(["study=1.2.3"])).studies == 0
    assert not pull(archive, tmp_path / "pulled", replace(query, modality="", description="*hip*")).fetched


def test_one_series_that_fails_keeps_no_other_back(
    server: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = opened("dicomweb", server, tmp_path)
    fetch = archive.fetch_series

    def failing(study: str, series: str, folder: Path) -> list[Path]:
        if study == OTHER:
            raise ArchiveDownError("it is down", hint="later")
        return fetch(study, series, folder)

    monkeypatch.setattr(archive, "fetch_series", failing)
    report = pull(archive, tmp_path / "pulled", Query(since=date(2026, 7, 1)))
    assert list(report.failed) == [f"study {OTHER}, series {OTHER}.1"]
    assert tmp_path / "pulled" / STUDY / f"{STUDY}.1" in report.fetched
    monkeypatch.setattr("osteon.archive.transfer.MOST_STUDIES", 1)
    with pytest.raises(UsageError, match="studies fit, and not more than 1 are fetched unasked"):
        pull(archive, tmp_path / "more", Query())


def test_the_commands_send_and_fetch(
    server: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = "1.2.826.0.1.3680043.8.498.8.1"
    written(tmp_path / "mine", study)
    (tmp_path / "mine" / "notes.txt").write_text("no image")
    monkeypatch.setenv("OSTEON_ARCHIVE_USER", USER)
    monkeypatch.setenv("OSTEON_ARCHIVE_PASSWORD", PASSWORD)
    assert command("archive", "push", server.url, tmp_path / "mine") == 0
    assert command("archive", "pull", server.url, tmp_path / "got", "--query", f"study={study}") == 0
    assert len(list((tmp_path / "got" / study / f"{study}.1").iterdir())) == 3
    assert command("archive", "pull", server.url, tmp_path / "got", "--query", "colour=blue") == 2
    assert command("archive", "pull", server.dimse.replace("ORTHANC", "X"), tmp_path / "got") == 2
    said = capsys.readouterr()
    assert "1 file (notes.txt)" in said.err
    assert "3 files sent" in said.out
    assert "1 study fits, 1 series fetched" in said.out
    assert PASSWORD not in said.out + said.err


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # pydicom's, of the UID that is none
@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({}, "two instances with the UID"),
        ({"SOPInstanceUID": f"{STUDY}.1.9", "SeriesInstanceUID": f"{STUDY}.2"}, "an instance of another series"),
        ({"SOPInstanceUID": f"{STUDY}.1.9", "StudyInstanceUID": OTHER}, "an instance of another series"),
        ({"SOPInstanceUID": f"{STUDY}.1.9", "PatientID": "another"}, "an instance of another patient"),
        ({"SOPInstanceUID": "../../etc"}, "which is no UID"),
    ],
)
def test_what_does_not_belong_to_a_series_is_refused(tags: Mapping[str, str], words: str, tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, STUDY, f"{STUDY}.1", "secret-id")
    own = {"SOPInstanceUID": f"{STUDY}.1.1", "StudyInstanceUID": STUDY, "SeriesInstanceUID": f"{STUDY}.1"}
    first = image(np.zeros((2, 2), np.int16), **own)
    inbox.take(first, Path.touch)
    with pytest.raises(ArchiveError, match=words):
        inbox.take(image(np.zeros((2, 2), np.int16), **own | dict(tags)), Path.touch)
    assert [path.name for path in tmp_path.iterdir()] == [f"{STUDY}.1.1.dcm"]


def test_what_is_fetched_loses_its_patients_on_the_way(
    server: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = opened("dicomweb", server, tmp_path)
    study = "1.2.826.0.1.3680043.8.498.9.1"
    archive.store(written(tmp_path / "x", study))
    drawn = f"{study}.2"
    archive.store(written(tmp_path / "y", study, SeriesInstanceUID=drawn, BurnedInAnnotation="YES"))
    table, folder = tmp_path / "table.yaml", tmp_path / "given"
    (tmp_path / ".table.yaml.incoming" / "series").mkdir(parents=True)  # of a command that was killed
    asked = ("archive", "pull", server.url, folder, "--query", f"study={study}", "--deidentify", table)
    monkeypatch.setenv("OSTEON_ARCHIVE_USER", USER)
    monkeypatch.setenv("OSTEON_ARCHIVE_PASSWORD", PASSWORD)
    assert [command(*asked), command(*asked)] == [0, 0]
    said = capsys.readouterr()
    assert "2 series fetched" in said.out
    assert "0 series fetched, 2 there already" in said.out
    assert f"3 files left out (says that there is text in its pixels): {drawn}.1" in said.err
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) == 3
    for path in files:
        assert not any(secret in path.read_bytes() for secret in (b"secret-id", b"Doe", study.encode(), b"20260701"))
    assert "secret-id" in table.read_text()
    assert "secret-id" not in said.out + said.err
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    archive.store(written(tmp_path / "z", study, 4))
    assert command(*asked, "--text-in-pixels") == 0
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 7
    assert command(*asked[:-1], folder / "table.yaml") == 2
