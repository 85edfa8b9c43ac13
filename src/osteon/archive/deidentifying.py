"""Files of patients made files of pseudonyms: below a folder, or while they are fetched from an archive."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from osteon.archive.archive import Archive, SeriesEntry
from osteon.archive.confidentiality import protect
from osteon.archive.doubtful_objects import opaque_kind, text_in_pixels
from osteon.archive.given_files import dicom_files
from osteon.archive.pseudonyms import ReidentificationTable, open_table
from osteon.core.errors import DiskFullError, FileError, OsteonError, UsageError
from osteon.core.files import atomic_write, write_error
from osteon.core.progress import progress_bar
from osteon.formats.dicom_files import element_text, file_errors, read_dataset

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_HINT = "the file lacks what DICOM asks for; it was left out"


@dataclass
class DeidentifyReport:
    """What became of files.

    Attributes:
        written: Those that were written now.
        present: Those that were there already.
        left_out: SOPInstanceUID, as it was → why the object was not taken.
        passed_over: Files that are not DICOM.
        failed: File → why it was not taken.
        doubts: Patients that may be one, or several.
    """

    written: list[Path] = field(default_factory=list)
    present: list[Path] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    passed_over: list[Path] = field(default_factory=list)
    failed: dict[str, OsteonError] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)


class Deidentifier:
    """Writes files without their patients.

    Args:
        table: Who is who; it is written before any file that it explains.
        folder: Where to: `StudyInstanceUID/SeriesInstanceUID/SOPInstanceUID.dcm`, of the new UIDs.
        text_in_pixels: Take images whose pixels may hold text, too.

    Attributes:
        report: What has become of the files so far.
    """

    def __init__(self, table: ReidentificationTable, folder: Path, *, text_in_pixels: bool) -> None:
        self.table, self.folder, self.takes_text = table, folder, text_in_pixels
        self.report = DeidentifyReport()
        self._sources: dict[Path, Path] = {}

    def take(self, path: Path, folder: Path | None = None) -> None:
        """Write a file's de-identified one; what is there already stays.

        Args:
            path: A DICOM file.
            folder: Where to, instead of the series' own place.

        Raises:
            FileError: It is damaged, or lacks its UIDs; the new one cannot be written.
        """
        header = read_dataset(path, pixels=False)
        study, series, instance = (
            element_text(header, key) for key in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        )
        reason = opaque_kind(header) or ("" if self.takes_text else text_in_pixels(header))
        if reason:
            self.report.left_out[instance or str(path)] = reason
            return
        if not (study and series and instance):
            raise FileError(f"{path}: has no UID of its study, series or own", hint=_HINT)
        target = (folder or self.place(study, series)) / f"{self.table.uid(instance)}.dcm"
        before = self._sources.setdefault(target, path)
        if before != path and not filecmp.cmp(before, path, shallow=False):
            raise FileError(f"{path}: {before} has the same SOPInstanceUID and other contents", hint=_HINT)
        if target.exists():
            self.report.present.append(target)
            return
        with file_errors(path, "cannot be de-identified"):
            self._write(path, header, study, target)
        self.report.written.append(target)

    def place(self, study_uid: str, series_uid: str) -> Path:
        """The folder of a series."""
        return self.folder / self.table.uid(study_uid) / self.table.uid(series_uid)

    def is_whole(self, series: SeriesEntry) -> bool:
        """Whether all of a series of an archive is there, but for what was left out."""
        left_out = 0 if self.takes_text else self.table.left_out(series.series_uid)
        place = self.place(series.study_uid, series.series_uid)
        if not place.is_dir() and not left_out:
            return False
        return series.instances in (None, left_out + sum(1 for _ in place.glob("*.dcm")))

    def fetch(self, archive: Archive, series: SeriesEntry) -> None:
        """Fetch a series; its folder is there when it is whole. Until then its files lie beside the table.

        Raises:
            ArchiveError: As `Archive.fetch_series`.
            FileError: A file of it cannot be taken: none is.
        """
        place = self.place(series.study_uid, series.series_uid)
        partial = place.with_name(f".{place.name}.partial")
        left_out = len(self.report.left_out)
        with _private_folder(self.table.path) as incoming:
            files = archive.fetch_series(series.study_uid, series.series_uid, incoming / "series")
            try:
                shutil.rmtree(partial, ignore_errors=True)
                for path in files:
                    self.take(path, partial)
                shutil.rmtree(place, ignore_errors=True)
                if partial.exists():
                    partial.rename(place)
                header = read_dataset(files[0], pixels=False)
                patient = self.table.patient_of(*_who(header, series.study_uid))
                self.table.note_left_out(patient, series.series_uid, len(self.report.left_out) - left_out)
                self.table.save()
            except OSError as error:
                raise write_error(place, error) from error
            finally:
                shutil.rmtree(partial, ignore_errors=True)

    def _write(self, path: Path, header: Dataset, study: str, target: Path) -> None:
        patient = self.table.patient_of(*_who(header, study))
        self.table.save()
        dataset = read_dataset(path, pixels=True)
        protect(dataset, self.table.stand_for(patient))
        _replace_meta(dataset)
        with atomic_write(target) as temporary:
            dataset.save_as(temporary, enforce_file_format=True)


def deidentify(paths: Sequence[Path], folder: Path, table: Path, *, text_in_pixels: bool = False) -> DeidentifyReport:
    """De-identify files, and those in folders; one that fails keeps no other back.

    Args:
        paths: Files and folders.
        folder: Where to; what is there already stays.
        table: The re-identification table, which is gone on with or begun.
        text_in_pixels: Take images whose pixels may hold text, too.

    Raises:
        UsageError: The table lies within the folder, the folder within the sources, or holds what is not from this
            table.
        FileError: A path is not there, or the table cannot be read or written.
        DiskFullError: The disk is full; what is there is whole.
    """
    for path in paths:
        if _within(folder, path) or _within(path, folder):
            raise UsageError(f"{folder}: is within {path}, or the other way round", hint="name a folder of its own")
    images, passed_over = dicom_files(paths)
    with deidentifier(table, folder, text_in_pixels=text_in_pixels) as work:
        work.report.passed_over = passed_over
        with progress_bar("de-identifying files", len(images)) as advance:
            for path in images:
                try:
                    work.take(path)
                except DiskFullError:
                    raise
                except FileError as error:
                    work.report.failed[str(path)] = error
                advance(work.report.failed.get(str(path)))
    return work.report


@contextmanager
def deidentifier(table: Path, folder: Path, *, text_in_pixels: bool) -> Iterator[Deidentifier]:
    """A table held, and a folder that is safe to be given away. Raises as `deidentify`."""
    if _within(table, folder):
        raise UsageError(
            f"{table}: lies within {folder}, which is given away", hint="keep the table elsewhere, beside the source"
        )
    with open_table(table) as opened:
        known = {study for patient in opened.patients for study in patient.studies.values()}
        strange = [path.name for path in folder.glob("[!.]*") if path.name not in known] if folder.is_dir() else []
        if strange:
            raise UsageError(
                f"{folder}: holds {strange[0]}, which is not from {table}", hint="name a new folder, or the right table"
            )
        work = Deidentifier(opened, folder, text_in_pixels=text_in_pixels)
        yield work
        work.report.doubts = opened.doubts()


def _who(header: Dataset, study_uid: str) -> tuple[str, str, str, str]:
    """What the table asks of a file."""
    return (
        element_text(header, "PatientID"),
        study_uid,
        element_text(header, "PatientName"),
        element_text(header, "PatientBirthDate"),
    )


def _replace_meta(dataset: Dataset) -> None:
    """File meta information of which only the transfer syntax is the source's; no preamble, which may hold text."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    implicit = bool(dataset.original_encoding[0])
    syntax = dataset.file_meta.get("TransferSyntaxUID") or (
        ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    )
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.preamble = bytes(128)


def _within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


@contextmanager
def _private_folder(table: Path) -> Iterator[Path]:
    """A folder beside the table, for its owner alone; what a command that was killed left there is removed."""
    folder = table.with_name(f".{table.name}.incoming")
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise write_error(folder, error) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
