"""A real archive for tests: Debian's Orthanc with its DICOMweb plug-in, which can be killed and started again."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

PLUGINS = [Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so"), Path("/usr/lib/orthanc/libOrthancDicomWeb.so")]
USER, PASSWORD = "osteon", "a password, which no log may hold"
TITLE = "ORTHANC"


@dataclass
class Orthanc:
    """An archive.

    Attributes:
        folder: Of its configuration, database and log.
        http: Its port for DICOMweb.
        dicom: Its port for DIMSE.
        listener: Where it sends what C-MOVE asks for, to the station OSTEON.
    """

    folder: Path
    http: int
    dicom: int
    listener: int
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Of DICOMweb."""
        return f"http://127.0.0.1:{self.http}/dicom-web"

    @property
    def dimse(self) -> str:
        """Of DIMSE."""
        return f"dicom://{TITLE}@127.0.0.1:{self.dicom}"

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / "log.txt"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self.log.open("ab") as log:
            command = [str(shutil.which("Orthanc")), str(self.folder / "orthanc.json")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                self.get("/system")
            except (URLError, OSError):
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.05)
                continue
            return
        raise AssertionError(self.log.read_text())

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it: `signal.SIGKILL` in the middle of what it does."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(60)
            self.process = None

    def get(self, path: str) -> Any:
        """Its own interface, by which tests look at what it holds."""
        return json.loads(self.read(path))

    def post(self, path: str, body: Any) -> Any:
        """Have it do something."""
        return json.loads(self.read(path, json.dumps(body).encode()))

    def read(self, path: str, body: bytes | None = None) -> bytes:
        """A file by its own interface."""
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        passwords.add_password(None, f"http://127.0.0.1:{self.http}", USER, PASSWORD)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPBasicAuthHandler(passwords)
        )
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", body)
        with opener.open(request, timeout=60) as answer:
            return bytes(answer.read())


@contextmanager
def orthanc(folder: Path, settings: Mapping[str, Any] | None = None) -> Iterator[Orthanc]:
    """An archive that runs; `settings` go over its configuration. Skips where it is not installed."""
    plugin = next((path for path in PLUGINS if path.is_file()), None)
    if shutil.which("Orthanc") is None or plugin is None:
        pytest.skip("Orthanc and its DICOMweb plug-in are not installed here (Debian: orthanc, orthanc-dicomweb)")
    folder.mkdir(parents=True)
    archive = Orthanc(folder, *_free_ports(3))
    configuration: dict[str, Any] = {
        "Name": "tests",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "Plugins": [str(plugin)],
        "HttpPort": archive.http,
        "HttpDescribeErrors": True,
        "DicomServerEnabled": True,
        "DicomAet": TITLE,
        "DicomCheckCalledAet": True,
        "DicomPort": archive.dicom,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowFind": True,
        "DicomModalities": {"osteon": ["OSTEON", "127.0.0.1", archive.listener]},
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        "StableAge": 1,
        "ConcurrentJobs": 1,
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration | dict(settings or {})))
    try:
        archive.start()
        yield archive
    finally:
        archive.stop(signal.SIGKILL)


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
