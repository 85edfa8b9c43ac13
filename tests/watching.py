"""Small studies, a model that needs no training, and an archive in memory, for tests of `osteon archive watch`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import torch

from dicom_writing import ct_slice, image, save
from helpers import tiny_plan
from osteon.archive.archive import Query, SeriesEntry, StudyEntry
from osteon.networks.registry import build_network
from osteon.predicting.model import Model
from osteon.predicting.model_folder import save_model

if TYPE_CHECKING:
    from orthanc import Orthanc

ROOT = "1.2.826.0.1.3680043.8.498"
SHAPE = (24, 20, 12)


def untrained_model(folder: Path, changes: dict[str, Any] | None = None) -> Path:
    """A model folder whose network finds something everywhere."""
    plan = tiny_plan(changes)
    torch.manual_seed(0)
    save_model(folder, Model(build_network(plan), plan, {"dice": 0.5}, ""), "# A card\n")
    return folder


def write_study(
    folder: Path, number: int, slices: int = SHAPE[2], *, empty: bool = False, **tags: object
) -> list[Path]:
    """A study of one CT series; its UIDs follow from the number."""
    files = []
    for k in range(slices):
        pixels = np.random.default_rng([number, k]).integers(0, 900, SHAPE[1::-1]).astype(np.int16)
        known = {
            "StudyInstanceUID": f"{ROOT}.{number}",
            "SeriesInstanceUID": f"{ROOT}.{number}.1",
            "FrameOfReferenceUID": f"{ROOT}.{number}.2",
            "SOPInstanceUID": f"{ROOT}.{number}.1.{k + 1}",
            "PatientID": f"secret-{number}",
            "PatientName": f"Doe^Jane{number}",
            "StudyDate": "20260101",
            "SeriesDescription": "Spine",
        } | ct_slice(k)
        files.append(save(image(pixels * (not empty), **known | tags), folder / f"{number}-{k}.dcm"))
    return files


def quick_config(archive: str, model: Path, timeout_s: float, slices: int) -> dict[str, Any]:
    """A watch's configuration that waits for seconds where others wait for minutes; beside its credentials.yaml."""
    return {
        "archive": archive,
        "settings": {"credentials": "credentials.yaml", "timeout": timeout_s},
        "rules": [{"model": str(model), "modality": "CT", "slices": {"min": slices}}],
        "measures": ["volume"],
        "days": None,
        "interval": "1s",
        "settle": "1s",
        "pause": "1s",
        "device": "cpu",
    }


def start_watch(config: Path, log: Path, user: str, password: str) -> subprocess.Popen[bytes]:
    """`osteon archive watch` in a process of its own, which writes to a log."""
    command = [sys.executable, "-m", "osteon.cli", "archive", "watch", str(config)]
    known = {"OSTEON_ARCHIVE_USER": user, "OSTEON_ARCHIVE_PASSWORD": password, "OMP_NUM_THREADS": "1"}
    with log.open("ab") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=stream, env=os.environ | known)


def answered(archive: Orthanc) -> dict[str, Counter[str]]:
    """Study → how many instances Orthanc has of each modality other than CT."""
    found: dict[str, Counter[str]] = {}
    for study in archive.get("/studies?expand"):
        series = [archive.get(f"/series/{one}") for one in study["Series"]]
        found[study["MainDicomTags"]["StudyInstanceUID"]] = Counter(
            {
                one["MainDicomTags"]["Modality"]: len(one["Instances"])
                for one in series
                if one["MainDicomTags"]["Modality"] != "CT"
            }
        )
    return found


@dataclass
class MemoryArchive:
    """An archive whose files lie in a folder; `problems` are raised, the first at the next call, and so on."""

    folder: Path
    files: dict[str, Path] = field(default_factory=dict)
    stored: list[str] = field(default_factory=list)
    problems: list[Exception | None] = field(default_factory=list)

    def take(self, files: Sequence[Path]) -> None:
        """Files that somebody else sends."""
        self.files |= {str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID): file for file in files}

    def headers(self, **wanted: str) -> list[pydicom.Dataset]:
        """Headers of what it has."""
        read = (pydicom.dcmread(file, stop_before_pixels=True) for file in self.files.values())
        return [header for header in read if all(header.get(key) == value for key, value in wanted.items())]

    def find_studies(self, query: Query) -> list[StudyEntry]:  # noqa: ARG002 (it has few)
        self._fail()
        return [StudyEntry(uid) for uid in {header.StudyInstanceUID for header in self.headers()}]

    def find_series(self, study_uid: str) -> list[SeriesEntry]:
        self._fail()
        headers = {header.SeriesInstanceUID: header for header in self.headers(StudyInstanceUID=study_uid)}
        return [
            SeriesEntry(study_uid, uid, header.Modality, "", str(header.get("SeriesDescription", "")))
            for uid, header in headers.items()
        ]

    def find_instances(self, study_uid: str, series_uid: str) -> list[str]:
        self._fail()
        return [
            header.SOPInstanceUID for header in self.headers(StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid)
        ]

    def fetch_series(self, study_uid: str, series_uid: str, folder: Path) -> list[Path]:
        self._fail()
        folder.mkdir(parents=True)
        uids = self.find_instances(study_uid, series_uid)
        return [Path(shutil.copy(self.files[uid], folder / f"{uid}.dcm")) for uid in uids]

    def store(self, files: Sequence[Path]) -> None:
        self._fail()
        self.take([Path(shutil.copy(file, self.folder / f"{len(self.stored)}")) for file in files])
        self.stored += [file.stem for file in files]

    def _fail(self) -> None:
        if self.problems and (problem := self.problems.pop(0)) is not None:
            raise problem
