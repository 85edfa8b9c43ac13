"""`osteon archive watch`: every study is answered exactly once, whatever happens; what is not for it is told."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import yaml

from osteon.archive import watch as watching
from osteon.archive.answers import answer_id
from osteon.archive.status_page import WatchStatus, serve_status
from osteon.archive.watch import watch
from osteon.archive.watch_config import WatchConfig, read_watch_config
from osteon.archive.work_list import LONGEST_PAUSE_S, WorkItem, WorkList
from osteon.core.errors import (
    AccessError,
    ArchiveDownError,
    ArchiveError,
    ArchiveFullError,
    OsteonError,
    SeriesChangedError,
    UsageError,
)
from osteon.predicting.model_folder import load_model
from runs import command
from watching import ROOT, MemoryArchive, untrained_model, write_study

KINDS = ["seg", "sr", "picture"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MemoryArchive:
    """An archive with one study."""
    (tmp_path / "stored").mkdir()
    made = MemoryArchive(tmp_path / "stored")
    made.take(write_study(tmp_path / "sent", 1))
    monkeypatch.setattr(watching, "open_archive", lambda *_: made)
    monkeypatch.setattr(watching, "FIRST_PAUSE_S", 0.01)
    return made


def configured(model: Path, folder: Path, rule: dict[str, Any] | None = None, **changes: Any) -> WatchConfig:
    path = folder / "watch.yaml"
    data = {
        "archive": "https://pacs.example/dicom-web",
        "rules": [{"model": str(model)} | (rule or {})],
        "settle": 0,
        "measures": ["volume"],
        "device": "cpu",
        "keep": True,
    }
    path.write_text(yaml.safe_dump(data | changes))
    return read_watch_config(path)


def test_a_study_is_answered_once_in_its_own_terms(model: Path, archive: MemoryArchive, tmp_path: Path) -> None:
    config = configured(model, tmp_path)
    assert watch(config, once=True) == {"answered": 1}
    assert watch(config, once=True) == {"answered": 1}
    assert archive.stored == KINDS
    source = {header.SOPInstanceUID for header in archive.headers(SeriesInstanceUID=f"{ROOT}.1.1")}
    hashed = load_model(model).sha256
    files = {kind: next(tmp_path.glob(f"watch/work/*/answers/{kind}.dcm")) for kind in KINDS}
    for kind, modality in zip(KINDS, ("SEG", "SR", "OT"), strict=True):
        answer = pydicom.dcmread(files[kind])
        identity = answer_id(f"{ROOT}.1", f"{ROOT}.1.1", hashed, kind)
        assert (answer.SOPInstanceUID, answer.SeriesInstanceUID) == (identity.instance, identity.series)
        assert (answer.StudyInstanceUID, answer.PatientID) == (f"{ROOT}.1", "secret-1")
        assert answer.Modality == modality
        assert source <= set(re.findall(rf"{re.escape(ROOT)}\.1\.1\.\d+", str(answer)))
        if validator := shutil.which("dciodvfy"):
            done = subprocess.run([validator, files[kind]], capture_output=True, text=True, check=False)
            assert [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")] == []
    seg = pydicom.dcmread(files["seg"]).SOPInstanceUID
    assert seg in str(pydicom.dcmread(files["sr"]))
    pixels = pydicom.dcmread(files["picture"]).pixel_array
    assert pixels.shape[2] == 3
    assert np.ptp(pixels.astype(int), axis=2).max() > 100  # colours


@pytest.mark.parametrize("calls", range(14))
def test_what_is_ended_at_any_call_goes_on(model: Path, archive: MemoryArchive, tmp_path: Path, calls: int) -> None:
    config = configured(model, tmp_path, answers=["seg"], keep=False)
    archive.problems = [None] * calls + [KeyboardInterrupt()]
    with suppress(KeyboardInterrupt):  # after the last call there is none
        watch(config, once=True)
    archive.problems = []
    assert watch(config, once=True) == {"answered": 1}
    assert archive.stored == ["seg"]
    assert list(tmp_path.glob("watch/work/*")) == []


def test_answers_are_completed_and_a_lost_work_list_changes_nothing(
    model: Path, archive: MemoryArchive, tmp_path: Path
) -> None:
    config = configured(model, tmp_path)
    watch(config, once=True)
    sr = answer_id(f"{ROOT}.1", f"{ROOT}.1.1", load_model(model).sha256, "sr").instance
    del archive.files[sr]
    shutil.rmtree(tmp_path / "watch")
    assert watch(config, once=True) == {"answered": 1}
    assert archive.stored == [*KINDS, "sr"]
    shutil.rmtree(tmp_path / "watch")
    assert watch(config, once=True) == {"answered": 1}
    assert len(archive.stored) == 4


@pytest.mark.parametrize(
    ("study", "rule", "reason"),
    [
        ({"slices": 4}, {"slices": {"min": 5}}, "the series has 4 slices, and its rule asks for others"),
        ({"empty": True}, {}, "every voxel is 0; the image shows nothing"),
        ({"Modality": "MR"}, {}, "the series is MR, and the model is for ct"),
    ],
)
def test_studies_that_are_not_for_the_model_are_skipped(
    model: Path,
    archive: MemoryArchive,
    tmp_path: Path,
    study: dict[str, Any],
    rule: dict[str, Any],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    archive.files = {}
    archive.take(write_study(tmp_path / "other", 2, **study))
    assert watch(configured(model, tmp_path, rule), once=True) == {"skipped": 1}
    assert archive.stored == []
    said = " ".join(capsys.readouterr().err.split())
    assert reason in said
    assert "Doe" not in said
    assert "secret" not in said


def test_the_first_rule_that_fits_decides_and_rules_without_effect_are_named(
    model: Path, archive: MemoryArchive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.take(write_study(tmp_path / "more", 2, SeriesDescription="Scout"))
    rules = [{"model": str(model), "description": "hip"}, {"model": str(model), "description": "^spine"}]
    config = configured(model, tmp_path, rules=rules, answers=["seg"])
    assert watch(config, once=True) == {"answered": 1}
    assert "rule 1 (/hip/): fits none of 2 studies" in " ".join(capsys.readouterr().err.split())
    assert [item.study for item in WorkList(config.work_folder)] == [f"{ROOT}.1"]
    shutil.rmtree(config.work_folder)
    watch(configured(model, tmp_path, answers=["seg"]), once=True)
    assert "rule 1 (every series): fits all 2 studies" in " ".join(capsys.readouterr().err.split())


def test_many_studies_are_not_fetched_unasked(model: Path, archive: MemoryArchive, tmp_path: Path) -> None:
    archive.take(write_study(tmp_path / "more", 2))
    config = configured(model, tmp_path, most_studies=1, answers=["seg"])
    with pytest.raises(UsageError, match="more than 1 new studies of 2"):
        watch(config, once=True)
    assert len(WorkList(config.work_folder)) == 0
    assert watch(config, once=True, ask=False) == {"answered": 2}


def test_a_study_that_grows_is_waited_for(
    model: Path, archive: MemoryArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_study(tmp_path / "slow", 1, 20)
    fetched: list[int] = []

    def fetch(study: str, series: str, folder: Path) -> list[Path]:
        got = MemoryArchive.fetch_series(archive, study, series, folder)
        fetched.append(len(got))
        if len(got) < len(files):
            archive.take(files[: 12 + 4 * len(fetched)])  # the scanner sends on
            raise SeriesChangedError("it has changed while it was fetched")
        return got

    monkeypatch.setattr(archive, "fetch_series", fetch)
    config = configured(model, tmp_path, answers=["seg"])
    assert watch(config, once=True) == {"answered": 1}
    assert fetched == [12, 16, 20]
    assert (
        len(
            pydicom.dcmread(next(tmp_path.glob("watch/work/*/answers/seg.dcm")))
            .ReferencedSeriesSequence[0]["ReferencedInstanceSequence"]
            .value
        )
        == 20
    )


@pytest.mark.parametrize("error", [ArchiveDownError, ArchiveFullError])
def test_an_archive_that_is_down_or_full_costs_no_attempt(
    model: Path,
    archive: MemoryArchive,
    tmp_path: Path,
    error: type[OsteonError],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = configured(model, tmp_path, answers=["seg"])
    archive.problems = [None] * 7 + [error("https://pacs.example: no")] * 3
    monkeypatch.setattr(time, "sleep", lambda _: (_ for _ in ()).throw(KeyboardInterrupt) if archive.stored else None)
    with pytest.raises(KeyboardInterrupt):
        watch(config)
    assert archive.stored == ["seg"]
    (item,) = WorkList(config.work_folder)
    assert (item.state, item.failures) == ("answered", 0)
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("nothing is lost") == 1
    assert "the work goes on" in said


def test_failures_are_tried_again_and_end_in_quarantine(model: Path, archive: MemoryArchive, tmp_path: Path) -> None:
    config = configured(model, tmp_path, pause="1s", attempts=2, answers=["seg"])
    archive.problems = [None] * 3 + [ArchiveError("the archive gave an image of another patient")]
    assert watch(config, once=True) == {"failed": 1}
    (item,) = WorkList(config.work_folder)
    assert item.reason == "the archive gave an image of another patient"
    item.next_at = 0
    WorkList(config.work_folder).save(item)
    archive.problems = [None] * 2 + [RuntimeError("secret-1 is odd")]
    assert watch(config, once=True) == {"quarantined": 1}
    (item,) = WorkList(config.work_folder)
    assert "RuntimeError" in item.reason
    assert "secret" not in item.reason
    assert watch(config, once=True) == {"quarantined": 1}
    assert archive.stored == []


def test_a_study_over_which_the_process_dies_is_given_up(model: Path, archive: MemoryArchive, tmp_path: Path) -> None:
    config = configured(model, tmp_path)
    archive.problems = [None] * 3 + [ArchiveError("no")]
    watch(config, once=True)
    (item,) = WorkList(config.work_folder)
    item.deaths, item.next_at = 5, 0
    WorkList(config.work_folder).save(item)
    assert watch(config, once=True) == {"quarantined": 1}


def test_a_wrong_password_ends_the_watch(
    model: Path, archive: MemoryArchive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configured(model, tmp_path)
    archive.problems = [AccessError("https://pacs.example: the password is wrong")]
    assert command("archive", "watch", tmp_path / "watch.yaml") == 2
    assert "the password is wrong" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("failures", "state", "pause"),
    [(0, "failed", 60), (1, "failed", 120), (2, "failed", 240), (8, "failed", LONGEST_PAUSE_S), (9, "quarantined", 0)],
)
def test_pauses_grow(failures: int, state: str, pause: float) -> None:
    item = WorkItem(study="1", series="2", model="m", failures=failures)
    item.fail("no", 1000.0, 10, 60.0)
    assert (item.state, item.next_at) == (state, pause and 1000.0 + pause)
    assert item.is_due(1000.0 - 1e6) is (state == "failed")  # the clock was set back
    assert not item.is_due(1000.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(rule=1), "rule: a watch has no such key"),
        (lambda c: c.pop("archive"), "archive: Field required"),
        (lambda c: c.update(rules=[]), "rules"),
        (lambda c: c["rules"][0].pop("model"), "rules.0.model: Field required"),
        (lambda c: c["rules"][0].update(description="("), "rules.0.description: '(' is no regular expression"),
        (lambda c: c["rules"][0].update(slices={"min": 9, "max": 3}), "rules.0.slices: no series has 9 slices"),
        (lambda c: c.update(answers=["sr"]), "sr needs seg"),
        (lambda c: c.update(interval="soon"), "interval: 'soon' is not a valid length of time"),
        (lambda c: c.update(settings={"password": "x"}), "settings.password"),
        (lambda c: c.update(status="8080"), "status"),
    ],
)
def test_a_configuration_that_makes_no_sense_names_the_key(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    data: dict[str, Any] = {"archive": "https://x/", "rules": [{"model": "model"}]}
    change(data)
    (tmp_path / "watch.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(UsageError, match=re.escape(message)) as raised:
        read_watch_config(tmp_path / "watch.yaml")
    assert str(tmp_path / "watch.yaml") in raised.value.message


def test_paths_count_from_the_files_own_folder(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(
        "archive: https://x/\nsettings: {credentials: secret.yaml}\nrules: [{model: model}]\ninterval: 2min\n"
    )
    config = read_watch_config(tmp_path / "w.yaml")
    assert config.rules[0].model == str(tmp_path / "model")
    assert config.settings.credentials == tmp_path / "secret.yaml"
    assert (config.work_folder, config.interval) == (tmp_path / "w", 120)


def test_the_status_page_and_the_metrics_say_how_it_is(tmp_path: Path) -> None:
    items = WorkList(tmp_path)
    for number, state in enumerate(("answered", "answered", "failed")):
        items.save(WorkItem(study=f"1.{number}", series="2", model="m", found_at=time.time() - 90, state=state))
    status = WatchStatus(items, last_contact=1000.0, problem="<b>no</b> answer", seconds={"fetched": (2, 3.5)})
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]

    def get(path: str, **headers: str) -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
        with urllib.request.urlopen(request) as answer:
            return str(answer.read().decode())

    with serve_status(f"127.0.0.1:{port}", status):
        page, metrics = get("/"), get("/metrics")
        for path, headers in (("/other", {}), ("/", {"Host": "evil.example"})):
            with pytest.raises(urllib.error.HTTPError):
                get(path, **headers)
        with pytest.raises(UsageError, match="cannot be listened on"), serve_status(f"127.0.0.1:{port}", status):
            pass
    assert "&lt;b&gt;no&lt;/b&gt; answer" in page
    lines = samples(metrics)
    assert lines['osteon_watch_studies{state="answered"}'] == 2
    assert lines['osteon_watch_step_seconds_sum{step="fetched"}'] == 3.5
    assert lines["osteon_watch_up"] == 0
    assert 89 < lines["osteon_watch_oldest_waiting_seconds"] < 200


def samples(text: str) -> dict[str, float]:
    """The samples of a Prometheus text."""
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    }
