"""`osteon archive watch` and a real Orthanc, either killed in the middle: every study is answered exactly once."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path

import yaml

from children import wait
from orthanc import PASSWORD, USER, orthanc
from osteon.archive.archive import open_archive
from osteon.archive.settings import ArchiveSettings
from watching import ROOT, answered, quick_config, start_watch, untrained_model, write_study

STUDIES = 4
WHOLE = Counter({"SEG": 1, "SR": 1, "OT": 1})


def test_every_study_is_answered_once_though_watch_and_archive_are_killed(tmp_path: Path) -> None:
    model = untrained_model(tmp_path / "model")
    credentials = tmp_path / "credentials.yaml"
    credentials.write_text(yaml.safe_dump({"user": USER, "password": PASSWORD}))
    credentials.chmod(0o600)
    log = tmp_path / "log"
    with orthanc(tmp_path / "orthanc") as archive:
        config = tmp_path / "watch.yaml"
        config.write_text(yaml.safe_dump(quick_config(archive.url, model, 5, 4)))
        sender = open_archive(archive.url, ArchiveSettings(credentials=credentials))

        def states() -> Counter[str]:
            files = (tmp_path / "watch/studies").glob("[!.]*.json")
            return Counter(json.loads(file.read_text())["state"] for file in files)

        for number in range(STUDIES - 1):
            sender.store(write_study(tmp_path / f"sent/{number}", number + 1, 6))
        process = start_watch(config, log, USER, PASSWORD)
        try:
            wait(lambda: states()["answered"] >= 1)
            process.kill()
            process.wait()
            assert states()["answered"] < STUDIES - 1
            process = start_watch(config, log, USER, PASSWORD)
            wait(lambda: states()["answered"] >= 2)
            archive.stop(signal.SIGKILL)
            wait(lambda: "nothing is lost" in log.read_text())
            archive.start()
            sender.store(write_study(tmp_path / "sent/last", STUDIES, 6))
            wait(lambda: states()["answered"] == STUDIES)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 128 + signal.SIGTERM
        finally:
            process.kill()
            process.wait()
        assert answered(archive) == {f"{ROOT}.{number + 1}": WHOLE for number in range(STUDIES)}
        if validator := shutil.which("dciodvfy"):
            for kind in ("SEG", "SR", "OT"):
                series = archive.get("/series?expand")
                one = next(one for one in series if one["MainDicomTags"]["Modality"] == kind)
                path = tmp_path / f"{kind}.dcm"
                path.write_bytes(archive.read(f"/instances/{one['Instances'][0]}/file"))
                done = subprocess.run([validator, path], capture_output=True, text=True, check=False)
                assert [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")] == []
    said = log.read_text()
    assert not any(word in said for word in ("Doe", "secret", PASSWORD))
