"""The watch as a station that scanners send to, with a real Orthanc on the other side: C-STORE, storage commitment."""

from __future__ import annotations

import gc
import shutil
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydicom
import pytest
import yaml

from certificates import make_certificate
from children import wait
from orthanc import Orthanc, orthanc
from osteon.archive import listening_archive
from osteon.archive.archive import Query, open_archive
from osteon.archive.commitment import make_report, make_request
from osteon.archive.dimse import DimseArchive
from osteon.archive.listening_archive import ListeningArchive, open_listening
from osteon.archive.received import ReceivedStudies
from osteon.archive.watch import watch
from osteon.archive.watch_config import WatchConfig, read_watch_config
from osteon.archive.work_list import WorkList
from osteon.core.errors import (
    AccessError,
    ArchiveDownError,
    ArchiveError,
    ArchiveFullError,
    DiskFullError,
    FileError,
    UsageError,
)
from runs import command
from watching import ROOT, answered, untrained_model, write_study

# pynetdicom leaves a socket open where a connection is refused
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
WHOLE = Counter({"SEG": 1, "SR": 1, "OT": 1})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """An archive that is full as long as a file lies beside it."""
    folder = tmp_path_factory.mktemp("archive")
    rule = folder / "full.lua"
    rule.write_text(
        "function ReceivedInstanceFilter(dicom, origin, info)\n"
        f"  local file = io.open('{folder / 'full'}')\n"
        "  if file then file:close() error('no room') end\n"
        "  return true\n"
        "end\n"
    )
    with orthanc(folder / "orthanc", {"LuaScripts": [str(rule)]}) as archive:
        yield archive


def configured(folder: Path, server: Orthanc, listen: dict[str, Any] | None = None, **changes: Any) -> WatchConfig:
    data = {
        "archive": server.dimse,
        "settings": {"timeout": 10},
        "listen": {"host": "127.0.0.1", "port": server.listener, "senders": [server.dimse, "SCANNER"]} | (listen or {}),
        "rules": [{"model": "model", "modality": "CT", "slices": {"min": 4}}],
        "measures": ["volume"],
        "settle": 0,
        "device": "cpu",
    }
    (folder / "watch.yaml").write_text(yaml.safe_dump(data | changes))
    return read_watch_config(folder / "watch.yaml")


def opened(config: WatchConfig) -> Any:
    assert config.listen is not None
    return open_listening(config, config.listen, WorkList(config.work_folder))


def sender(server: Orthanc, title: str = "SCANNER", called: str = "OSTEON") -> DimseArchive:
    """A scanner that sends to the listener."""
    scanner = open_archive(f"dicom://{called}@127.0.0.1:{server.listener}", {"aet": title, "timeout": 10})
    assert isinstance(scanner, DimseArchive)
    return scanner


def test_what_is_sent_is_answered_once_and_kept_as_promised(server: Orthanc, tmp_path: Path) -> None:
    untrained_model(tmp_path / "model")
    config = configured(tmp_path, server, {"commitment": True}, keep=True)
    open_archive(server.dimse).store([*write_study(tmp_path / "a", 1, 6), *write_study(tmp_path / "b", 2, 6)])
    series = [one["ID"] for one in server.get("/series?expand")]
    with opened(config):
        for _ in range(2):  # the same once more changes nothing
            assert server.post("/modalities/osteon/store", {"Resources": series})["FailedInstancesCount"] == 0
        kept = [{"SOPClassUID": CT, "SOPInstanceUID": f"{ROOT}.1.1.{k + 1}"} for k in range(6)]
        assert commitment(server, kept)["Status"] == "Success"
        lost = {"SOPClassUID": CT, "SOPInstanceUID": f"{ROOT}.9"}
        told = commitment(server, [*kept, lost])
        assert told["Status"] == "Failure"
        assert [one["SOPInstanceUID"] for one in told["Failures"]] == [lost["SOPInstanceUID"]]
        assert len(told["Success"]) == 6
    config = configured(tmp_path, server, {"commitment": True, "senders": ["SCANNER"]}, keep=True)
    for _ in range(2):
        assert watch(config, once=True) == {"answered": 2}
        assert answered(server) == {f"{ROOT}.1": WHOLE, f"{ROOT}.2": WHOLE}
    sent = sorted((tmp_path / "a").iterdir())
    got = ReceivedStudies(tmp_path / "watch/received")
    for path in sent:
        header = pydicom.dcmread(path)
        same = pydicom.dcmread(got.path(f"{ROOT}.1", f"{ROOT}.1.1", header.SOPInstanceUID))
        assert same.to_json() == header.to_json()


CT = "1.2.840.10008.5.1.4.1.1.2"


def commitment(server: Orthanc, instances: list[dict[str, str]]) -> Any:
    """Have Orthanc ask the listener for storage commitment; the report that it gets."""
    asked = server.post("/modalities/osteon/storage-commitment", {"DicomInstances": instances})
    found: dict[str, Any] = {}

    def there() -> bool:
        found.update(server.get(asked["Path"]))
        return bool(found["Status"] != "Pending")

    wait(there)
    return found


def test_an_archive_without_questions_has_what_it_took(
    server: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workstation that only takes: what it took is recorded, and studies leave the disk."""
    untrained_model(tmp_path / "model")
    config = configured(tmp_path, server, answers=["seg"])
    [*files] = write_study(tmp_path / "a", 11, 6)
    with opened(config):
        sender(server).store(files)
    stored: list[Path] = []
    monkeypatch.setattr(DimseArchive, "find_instances", lambda *_: not_offered())
    monkeypatch.setattr(DimseArchive, "store", lambda _, files: stored.extend(files))
    assert watch(config, once=True) == {"answered": 1}
    shutil.rmtree(tmp_path / "watch/studies")  # a lost work list
    assert watch(config, once=True) == {"answered": 1}
    assert [path.name for path in stored] == ["seg.dcm"]
    with opened(config) as archive:
        archive.find_studies(Query())
        assert archive.received.studies() == []
        assert not list((tmp_path / "watch/received").iterdir())


def test_an_archive_that_is_full_has_everything_later(
    server: Orthanc, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    untrained_model(tmp_path / "model")
    config = configured(tmp_path, server)
    files = write_study(tmp_path / "a", 12, 6)
    full = server.folder.parent / "full"
    full.touch()
    with opened(config):
        sender(server).store(files)
    assert command("archive", "push", server.dimse, files[0]) == 1
    assert command("archive", "watch", tmp_path / "watch.yaml", "--once") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("the archive is out of resources (status 0xA700)") == 2
    assert f"{ROOT}.12" not in answered(server)
    full.unlink()
    for _ in range(2):
        assert command("archive", "watch", tmp_path / "watch.yaml", "--once") == 0
        assert answered(server)[f"{ROOT}.12"] == WHOLE


def not_offered() -> list[str]:
    raise listening_archive.NotOfferedError("no")


def test_who_is_not_known_sends_nothing(server: Orthanc, tmp_path: Path) -> None:
    [*files] = write_study(tmp_path / "a", 21, 2)
    with opened(configured(tmp_path, server, {"commitment": True, "senders": ["SCANNER"]})) as archive:
        for title, called, words in (
            ("STRANGER", "OSTEON", "it does not know STRANGER"),
            ("SCANNER", "OTHER", "no archive of this AE title"),
            ("ORTHANC", "OSTEON", "refuses it .status 0x0124"),  # it is only heard for its reports
        ):
            with pytest.raises((AccessError, ArchiveError), match=words):
                sender(server, title, called).store(files)
        assert archive.received.studies() == []


def test_what_cannot_be_taken_is_refused_with_its_reason(
    server: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    [first, second] = write_study(tmp_path / "a", 31, 2)
    other = write_study(tmp_path / "b", 31, 2, PatientID="secret-other")
    with opened(configured(tmp_path, server)) as archive:
        scanner = sender(server)
        scanner.store([first])
        changed = pydicom.dcmread(first)
        changed.SeriesDescription = "changed"
        changed.save_as(tmp_path / "changed.dcm")
        for path in (tmp_path / "changed.dcm", other[1]):
            with pytest.raises(ArchiveError, match="the archive refuses it"):
                scanner.store([path])
        with monkeypatch.context() as patch:
            patch.setattr(ReceivedStudies, "take", full)
            with pytest.raises(ArchiveFullError):
                scanner.store([second])
        scanner.store([second])
        [study] = archive.find_studies(Query())
        assert (study.instances, study.modalities) == (2, ("CT",))
    said = caplog.text
    for words in ("two instances with the UID", "for several patients", "nothing more can be taken"):
        assert words in said
    assert "secret" not in said


def test_with_tls_only_who_shows_a_certificate_sends(server: Orthanc, tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    threads = threading.active_count()
    settings = {"ca": "cert.pem", "cert": "cert.pem", "key": "key.pem", "timeout": 2}
    files = write_study(tmp_path / "a", 71, 2)
    url = f"dicoms://OSTEON@localhost:{server.listener}"
    with opened(configured(tmp_path, server, {"tls": True, "host": "localhost"}, settings=settings)) as archive:
        with (
            socket.create_connection(("localhost", server.listener)) as plain,
            ssl.create_default_context(cafile=cert).wrap_socket(plain, server_hostname="localhost") as stranger,
            pytest.raises(ssl.SSLError, match="certificate required"),
        ):
            stranger.recv(1)
        assert archive.received.studies() == []
        with socket.create_connection(("localhost", server.listener)):  # says nothing, and keeps nobody waiting
            open_archive(url, {"aet": "SCANNER", "ca": cert, "cert": cert, "key": key, "timeout": 10}).store(files)
        assert archive.received.studies()[0].instances == 2
    wait(lambda: threading.active_count() <= threads)
    gc.collect()  # here, where a socket that pynetdicom left open is no error


def later(clock: str) -> Callable[[], float]:
    """A clock that is an hour and more ahead, and stands."""
    now = getattr(time, clock)() + 4000
    return lambda: now


def full(*_: Any) -> None:
    raise DiskFullError("the disk is full", hint="free some space")


def test_commitment_is_only_given_where_scans_are_kept(
    server: Orthanc, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(configured(tmp_path, server)):
        asked = [{"SOPClassUID": CT, "SOPInstanceUID": "1.2"}]
        with pytest.raises(OSError, match="500"):
            server.post("/modalities/osteon/storage-commitment", {"DicomInstances": asked})
    assert "nothing is kept for good" in caplog.text


def test_a_report_that_nobody_takes_does_not_keep_a_watch_from_ending(server: Orthanc, tmp_path: Path) -> None:
    threads = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        nobody = f"dicom://CT1@127.0.0.1:{probe.getsockname()[1]}"
    with opened(configured(tmp_path, server, {"senders": [nobody]}, keep=True)) as archive:
        asked = make_request(write_study(tmp_path / "a", 81, 1))
        assoc = SimpleNamespace(requestor=SimpleNamespace(ae_title="CT1"))
        event = SimpleNamespace(assoc=assoc, action_type=1, action_information=asked)
        assert archive.listener.request(event) == (0, None)
    wait(lambda: threading.active_count() <= threads)


@pytest.mark.parametrize(
    ("told", "error", "words"),
    [
        (True, ArchiveError, "does not commit to keep 1 answer .reason 0x0112"),
        (False, ArchiveDownError, "has not said within 0.05 s"),
    ],
)
def test_an_answer_that_is_not_committed_is_not_taken(
    server: Orthanc,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    told: bool,
    error: type[ArchiveError],
    words: str,
) -> None:
    config = configured(tmp_path, server, {"commitment": True}, settings={"timeout": 0.05})
    [file] = write_study(tmp_path / "a", 41, 1)

    def request(_: DimseArchive, asked: Any) -> None:
        if told:
            archive.listener.reports[str(asked.TransactionUID)].put(make_report(asked, lambda _: False))

    monkeypatch.setattr(DimseArchive, "store", lambda *_: None)
    monkeypatch.setattr(listening_archive, "send_request", request)
    archive: ListeningArchive
    with opened(config) as archive:
        with pytest.raises(error, match=words):
            archive.store([file])
        assert archive.find_instances("1.2", f"{ROOT}.41.1") == []
        assert archive.listener.reports == {}


def test_what_no_rule_fits_is_removed_after_an_hour(
    tmp_path: Path, server: Orthanc, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = configured(tmp_path, server)
    [file] = write_study(tmp_path / "a", 51, 1)
    with opened(config) as archive:
        archive.received.take(pydicom.dcmread(file), file.read_bytes())
    monkeypatch.setattr(time, "time", later("time"))
    with opened(config) as archive:  # an hour without a process is no hour in which rules were tried
        assert len(archive.find_studies(Query())) == 1
        assert len(archive.find_studies(Query())) == 1
        monkeypatch.setattr(time, "monotonic", later("monotonic"))
        assert archive.find_studies(Query()) == []
    assert "no rule fits it; it was removed, 1 image" in caplog.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"listen": {"senders": ["https://pacs.example"]}}, "a sender speaks DIMSE"),
        ({"listen": {"tls": True}}, "TLS needs a certificate"),
        (
            {"listen": {"commitment": True}, "archive": "https://pacs.example"},
            "only an archive that speaks DIMSE commits",
        ),
        ({"listen": {"host": "192.0.2.1"}}, "cannot be listened on"),
    ],
)
def test_a_listener_that_makes_no_sense_says_so(
    server: Orthanc, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words), opened(configured(tmp_path, server, **changes)):
        pass


@pytest.mark.parametrize("key", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
@pytest.mark.parametrize("uid", ["", "../../escaped", "1.2/3", "1." * 40])
def test_what_is_no_uid_names_no_file(tmp_path: Path, key: str, uid: str) -> None:
    uids = {"StudyInstanceUID": "1", "SeriesInstanceUID": "2", "SOPInstanceUID": "3"} | {key: uid}
    header: Any = SimpleNamespace(get=uids.get)
    received = ReceivedStudies(tmp_path / "got")
    with pytest.raises(ArchiveError, match="which is no UID"):
        received.take(header, b"")
    assert not list((tmp_path / "got").iterdir())
    assert not list(tmp_path.glob("escaped*"))


def test_damaged_facts_name_the_way_out(tmp_path: Path) -> None:
    [file] = write_study(tmp_path / "a", 61, 1)
    ReceivedStudies(tmp_path / "got").take(pydicom.dcmread(file), file.read_bytes())
    next(tmp_path.glob("got/*/*/series.json")).write_text("{}")
    assert len(ReceivedStudies(tmp_path / "got").studies()) == 1
    next(tmp_path.glob("got/*/*/series.json")).write_text("{")
    with pytest.raises(FileError, match="what a series says"):
        ReceivedStudies(tmp_path / "got")
