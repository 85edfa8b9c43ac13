"""The scans that paths stand for: files, folders, DICOM series, the cases of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape

from osteon.core.errors import UsageError, missing_file
from osteon.core.files import is_file
from osteon.core.geometry import Geometry
from osteon.core.progress import console
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import FILE_NAME as MANIFEST
from osteon.dataset.manifest import Case
from osteon.formats.dicom import SUFFIXES as DICOM_SUFFIXES
from osteon.formats.dicom import read_dicom_files
from osteon.formats.dicom_series import find_series
from osteon.formats.registry import companions, known_suffixes, read_geometry, read_volume, stem_of, suffix_of
from osteon.formats.unread import told_unread, unread_images

_SAYS_NOTHING = ("ct", "mr", "mri", "dicom", "dcm", "images", "series", "scan", "image")
"""Names of folders that are the same for every patient."""


@dataclass(frozen=True)
class Scan:
    """A scan to be segmented: its id, its file or files, and the dataset that lists them where there is one."""

    id: str
    files: tuple[Path, ...]
    dataset: Dataset | None = None
    case: Case | None = None

    def load(self) -> Volume:
        """The image with all channels. Raises as the readers do."""
        if self.dataset is not None and self.case is not None:
            return self.dataset.load_image(self.case)
        if len(self.files) > 1:
            return read_dicom_files(self.files)
        return read_volume(self.files[0])

    def geometry(self) -> Geometry | None:
        """The grid, from headers; None for a DICOM series, which has to be read for it. Raises as the readers do."""
        if self.dataset is not None and self.case is not None:
            return self.dataset.geometry(self.case)
        return read_geometry(self.files[0]) if len(self.files) == 1 else None

    def fingerprint(self) -> list[list[Any]]:
        """What tells whether the files are still the same: path, size, time of change."""
        found = []
        for file in self.files:
            if not file.is_file():
                raise missing_file(file, "the scan")
        beside = companions(self.files[0]) if len(self.files) == 1 else ()
        for file in (*self.files, *filter(is_file, beside)):
            facts = file.stat()
            found.append([str(file.resolve()), facts.st_size, facts.st_mtime_ns])
        return found


def find_scans(sources: Sequence[Path]) -> list[Scan]:
    """The scans that paths stand for.

    A file is a scan. A folder with dataset.yaml stands for its held-out and unlabelled cases (for all of them where
    there are none of these), any other folder for the images that lie in it, or for the DICOM series below it. Links
    that lead to nothing and images of formats that are not read are among them, so that they fail by name.

    Raises:
        FileError: A path does not exist.
        UsageError: A folder holds no image, or two scans have the same name.
    """
    scans: list[Scan] = []
    for source in map(Path, sources):
        if source.is_file():
            scans.append(Scan(stem_of(source), (source,)))
        elif (source / MANIFEST).is_file():
            dataset = Dataset.open(source)
            cases = [c for c in dataset.manifest.cases if c.held_out or c.segmentation is None]
            if not cases:
                console.print(f"[yellow]{escape(str(source))}: holds no case out; a training may have seen these[/]")
            for case in cases or dataset.manifest.cases:
                scans.append(Scan(case.id, tuple(dataset.resolve(image) for image in case.images), dataset, case))
        elif source.is_dir():
            files = [path for path in sorted(source.iterdir()) if not path.is_dir()]
            images = [path for path in files if _is_image(path)]
            found = [Scan(stem_of(image), (image,)) for image in images] or _series(source)
            unread = told_unread(files, ["images"])
            # Each fails by its name, and says the way out.
            found += [Scan(path.name, (path,)) for path in unread_images(files)] if found else []
            if not found:
                raise UsageError(
                    f"{source}: no image lies in this folder{''.join(f'; {line}' for line in unread)}",
                    hint=f"give a folder with a DICOM series, or with files that end in {', '.join(known_suffixes())}",
                )
            scans += found
        else:
            raise missing_file(source, "the scan")
    _refuse_twins(scans)
    return scans


def _is_image(path: Path) -> bool:
    return suffix_of(path) not in (None, ".seg.nrrd", *DICOM_SUFFIXES) and not path.name.startswith(".")


def _series(folder: Path) -> list[Scan]:
    """The DICOM series below a folder: called by their folders, or by their files where they are pictures."""
    scans: list[Scan] = []
    for series in find_series(folder).series:
        single = len(series.files) == 1
        name = stem_of(series.files[0]) if single else _telling(series.folder.resolve(), folder.resolve())
        taken = [scan.id for scan in scans]
        others = (f"{name}-{n}" for n in range(2, len(taken) + 3))
        scans.append(Scan(name if name not in taken else next(o for o in others if o not in taken), series.files))
    return scans


def _telling(series: Path, top: Path) -> str:
    """The name of a series' folder; that of the one above where it says only what lies there (`p07/mr`)."""
    above = series
    while above.name.lower() in _SAYS_NOTHING and above != top:
        above = above.parent
    return series.name if above.name.lower() in _SAYS_NOTHING else above.name


def _refuse_twins(scans: list[Scan]) -> None:
    seen: dict[str, Scan] = {}
    for scan in scans:
        if scan.id in seen:
            raise UsageError(
                f"two scans are called {scan.id}: {seen[scan.id].files[0]} and {scan.files[0]}",
                hint="predict them into different folders, or rename one",
            )
        seen[scan.id] = scan
