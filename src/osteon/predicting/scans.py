"""The scans that paths stand for: files, folders, DICOM series, the cases of a dataset."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osteon.core.errors import OsteonError, UsageError, missing_file_error
from osteon.core.file_names import name_key
from osteon.core.file_stamps import content_stamp, refresh_stamp
from osteon.core.files import is_file
from osteon.core.geometry import Geometry
from osteon.core.volume import Volume
from osteon.dataset.checks import content_hash
from osteon.dataset.dataset import Dataset, stack_channels
from osteon.dataset.manifest import FILE_NAME as MANIFEST
from osteon.dataset.manifest import Case, Manifest
from osteon.formats.dicom import read_dicom_files
from osteon.formats.io import companion_paths, read_geometry, read_volume
from osteon.formats.registry import known_suffixes
from osteon.plan.schema import Plan
from osteon.predicting.scan_folders import candidates_of_files, find_scans_below, join_channels
from osteon.predicting.training_cases import UNKNOWN, SeenScans

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scan:
    """A scan to be segmented: its id, its file or files, and the dataset that lists them where there is one.

    Attributes:
        id: The name of its result.
        channels: The files of each channel; a DICOM series has several. One entry also where a file holds all channels.
        dataset: That lists it.
        case: In the dataset.
        problem: Why it cannot be segmented, where that is known beforehand.
        grid: Its grid, where that is known beforehand.
    """

    id: str
    channels: tuple[tuple[Path, ...], ...]
    dataset: Dataset | None = None
    case: Case | None = None
    problem: OsteonError | None = None
    grid: Geometry | None = None

    @classmethod
    def of_case(cls, dataset: Dataset, case: Case) -> Scan:
        """The scan of a dataset's case."""
        return cls(case.id, tuple((dataset.resolve(image),) for image in case.images), dataset, case)

    @property
    def files(self) -> tuple[Path, ...]:
        """All its files."""
        return tuple(path for files in self.channels for path in files)

    def load(self) -> Volume:
        """The image with all channels. Raises as the readers do."""
        if self.problem is not None:
            raise self.problem
        if self.dataset is not None and self.case is not None:
            return self.dataset.load_image(self.case)
        volumes = (
            read_dicom_files(files, single=True) if len(files) > 1 else read_volume(files[0], single=True)
            for files in self.channels
        )
        names = [str(files[0]) for files in self.channels]
        return next(volumes) if len(names) == 1 else stack_channels(volumes, names, self.id)

    def geometry(self) -> Geometry | None:
        """The grid, from headers; None for a DICOM series whose slices make none. Raises as the readers do."""
        if self.problem is not None:
            raise self.problem
        if self.dataset is not None and self.case is not None:
            return self.dataset.geometry(self.case)
        if self.grid is not None:
            return self.grid
        return read_geometry(self.files[0]) if len(self.channels[0]) == 1 else None

    def content(self, volume: Volume) -> str:
        """The hash of its voxels; a dataset has compared its own with the image when it was read."""
        return (None if self.case is None else self.case.content) or content_hash(volume)

    def fingerprint(self) -> list[list[Any]]:
        """What the files are: path and `content_stamp`; reads them. Raises FileError where one is missing."""
        for file in self.files:
            if not file.is_file():
                raise missing_file_error(file, "the scan")
        return [[str(file.resolve()), content_stamp(file)] for file in self._read_files()]

    def refresh_fingerprint(self, before: Any) -> list[list[Any]] | None:
        """An earlier fingerprint with the files' times as they are now; None where the files have changed.

        They are read only where they were touched.
        """
        files = self._read_files()
        if not isinstance(before, list) or len(before) != len(files):
            return None
        now = []
        for file, entry in zip(files, before, strict=True):
            if not isinstance(entry, list) or entry[:1] != [str(file.resolve())]:
                return None
            mark = " ".join(map(str, entry[1:]))
            if (current := refresh_stamp(file, mark)) is None:
                return None
            now.append(entry if current == mark else [entry[0], current])
        return now

    def _read_files(self) -> list[Path]:
        """Its files, and those that are read with a single one."""
        beside = companion_paths(self.files[0]) if len(self.files) == 1 else ()
        return [*self.files, *filter(is_file, beside)]


def _print_note(note: str) -> None:
    logger.warning(f"note: {note}")


def find_scans(
    sources: Sequence[Path],
    plan: Plan | None = None,
    series: str | None = None,
    *,
    on_note: Callable[[str], None] = _print_note,
    seen: SeenScans = UNKNOWN,
) -> list[Scan]:
    """The scans that paths stand for, with notes on what is ignored.

    A file is a scan. A folder with dataset.yaml stands for its held-out and unlabelled cases (for all of them where
    there are none of these), any other folder for the images and DICOM series anywhere below it. Links that lead to
    nothing and images of formats that are not read are among them, so that they fail by name.

    Args:
        sources: Files and folders.
        plan: Of the model: how many channels a scan has, and whether pictures can be segmented.
        series: Of several DICOM series of one study, the one with this number, SeriesInstanceUID or description.
        on_note: Is given a note on each thing that is ignored or odd; prints them by default.
        seen: What the model was trained on: where nobody knows, a dataset that holds no case out is warned of.

    Raises:
        FileError: A path does not exist.
        UsageError: A folder holds no image, two scans have the same name, or a study has no series called so.
    """
    channels = () if plan is None else plan.channels
    notes: list[str] = []
    paths = [Path(source) for source in sources]
    files = join_channels(candidates_of_files([path for path in paths if path.is_file()]), channels, notes)
    counts = Counter(item.path.name for item in files)
    scans = [
        Scan(item.path.name if counts[item.path.name] == 1 else item.name, item.channels, problem=item.problem)
        for item in files
    ]
    for source in paths:
        if source.is_file():
            continue
        if (source / MANIFEST).is_file():
            dataset = Dataset.open(source)
            cases = find_cases_to_predict(dataset.manifest)
            if not any(case.held_out or case.segmentation is None for case in cases):
                may = "" if seen.known else "; a training may have seen these"
                notes.append(f"{source}: holds no case out: all are taken{may}")
            scans += [Scan.of_case(dataset, case) for case in cases]
        elif source.is_dir():
            below = find_scans_below(source, channels, pictures=plan is None or plan.unit == "px", series=series)
            notes += below.notes
            if not below.scans:
                raise UsageError(
                    f"{source}: no image lies in this folder",
                    hint=f"give a folder with a DICOM series, or with files that end in {', '.join(known_suffixes())}",
                )
            scans += [
                Scan(name, item.channels, problem=item.problem, grid=item.grid) for name, item in below.scans.items()
            ]
        else:
            raise missing_file_error(source, "the scan")
    for note in notes:
        on_note(note)
    _refuse_equal_names(scans)
    return scans


def find_cases_to_predict(manifest: Manifest) -> Sequence[Case]:
    """The held-out and unlabelled cases of a dataset; all of them where there are none."""
    return [case for case in manifest.cases if case.held_out or case.segmentation is None] or manifest.cases


def _refuse_equal_names(scans: list[Scan]) -> None:
    seen: dict[str, Scan] = {}
    for scan in scans:
        other = seen.setdefault(name_key(scan.id), scan)
        if other is not scan:
            paths = " and ".join(str(one.files[0]) for one in (other, scan) if one.files)
            names = scan.id if other.id == scan.id else f"{other.id} and {scan.id} (one file on Windows and macOS)"
            raise UsageError(
                f"two scans are called {names}: {paths}", hint="predict them into different folders, or rename one"
            )
