"""`osteon archive watch` while studies arrive and either side is killed: is each study answered exactly once?

    python benchmarks/archive_watch.py
    python benchmarks/archive_watch.py --studies 200 --kills 10 --route dicomweb
    python benchmarks/archive_watch.py --studies 200 --kills 10 --route listen

Studies of six small CT slices are sent, one after the other, while a watch runs with an untrained model: to an Orthanc
that the watch asks (by DICOMweb or DIMSE), or to the watch itself, which listens and answers to the Orthanc by C-STORE
and storage commitment. At random moments the watch or the archive is killed (SIGKILL) and started again. When every
study is answered, the archive is asked what it has, and dciodvfy looks at one answer of each kind.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import date
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from orthanc import PASSWORD, USER, Orthanc, orthanc
from osteon.archive.archive import open_archive
from osteon.core.errors import ArchiveError
from watching import answered, quick_config, start_watch, untrained_model, write_study

WHOLE = Counter({"SEG": 1, "SR": 1, "OT": 1})
SLICES = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=20)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--route", choices=("dicomweb", "dimse", "listen"), default="dicomweb")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    kills = sorted(draw.uniform(0, 1) for _ in range(arguments.kills))
    sides = [draw.choice(("watch", "archive")) for _ in kills]
    with tempfile.TemporaryDirectory() as name:
        run(Path(name), arguments.studies, list(zip(kills, sides, strict=True)), draw, arguments.route)


def run(folder: Path, studies: int, kills: list[tuple[float, str]], draw: random.Random, route: str) -> None:
    """Send, kill, wait, and print what came of it; a kill comes when so large a part of the studies is answered."""
    config, credentials, log = folder / "watch.yaml", folder / "credentials.yaml", folder / "log"
    credentials.write_text(yaml.safe_dump({"user": USER, "password": PASSWORD}))
    credentials.chmod(0o600)
    with orthanc(folder / "orthanc") as archive:
        url = archive.url if route == "dicomweb" else archive.dimse
        data = quick_config(url, untrained_model(folder / "model"), 10, SLICES)
        sender = open_archive(archive.url, {"credentials": credentials})
        if route == "listen":
            data["listen"] = {"host": "127.0.0.1", "port": archive.listener, "senders": ["CT1"], "commitment": True}
            sender = open_archive(f"dicom://OSTEON@127.0.0.1:{archive.listener}", {"aet": "CT1", "timeout": 10})
        config.write_text(yaml.safe_dump(data))
        began, sent, done = time.monotonic(), 0, 0
        process = start_watch(config, log, USER, PASSWORD)
        while done < studies:
            if sent < studies:
                try:
                    sender.store(write_study(folder / f"sent/{sent}", sent + 1, SLICES))
                    sent += 1
                except ArchiveError:  # it is sent again
                    pass
            if kills and done >= kills[0][0] * studies:
                time.sleep(draw.uniform(0, 2))
                _, side = kills.pop(0)
                if side == "watch":
                    process.kill()
                    process.wait()
                    process = start_watch(config, log, USER, PASSWORD)
                else:
                    archive.stop(signal.SIGKILL)
                    time.sleep(draw.uniform(0, 5))
                    archive.start()
            if process.poll() is not None:
                raise SystemExit(f"the watch has ended:\n{log.read_text()[-2000:]}")
            files = (folder / "watch/studies").glob("[!.]*.json")
            done = Counter(json.loads(file.read_text())["state"] for file in files)["answered"]
            if sent == studies:
                time.sleep(0.5)
        seconds = time.monotonic() - began
        process.terminate()
        process.wait()
        found = answered(archive)
        right = sum(answers == WHOLE for answers in found.values())
        print(f"{date.today()}\n\n| route | studies | answered exactly once | seconds a study | errors of dciodvfy |")
        print("| --- | --- | --- | --- | --- |")
        print(
            f"| {route} | {studies} | {right} of {len(found)} | {seconds / studies:.2f} | {validate(archive, folder)} |"
        )


def validate(archive: Orthanc, folder: Path) -> str:
    """Errors in one answer of each kind."""
    if (validator := shutil.which("dciodvfy")) is None:
        return "not installed"
    errors = 0
    series = archive.get("/series?expand")
    for kind in WHOLE:
        one = next(one for one in series if one["MainDicomTags"]["Modality"] == kind)
        path = folder / f"{kind}.dcm"
        path.write_bytes(archive.read(f"/instances/{one['Instances'][0]}/file"))
        done = subprocess.run([validator, path], capture_output=True, text=True, check=False)
        errors += sum(line.startswith("Error") for line in (done.stdout + done.stderr).splitlines())
    return str(errors)


if __name__ == "__main__":
    main()
