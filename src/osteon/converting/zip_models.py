"""Zips of trained models, as `nnUNetv2_export_model_to_zip` writes them: what is needed comes out, and nothing else.

Names in a zip never become paths outside the temporary folder, and bytes are counted as they come out.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from osteon.converting.model_folder import PLANS, ModelPackage
from osteon.converting.model_search import names_below, trainer_in
from osteon.core.errors import FileError, ModelError, OsteonError, UsageError, missing_file_error
from osteon.core.files import write_error
from osteon.core.zip_files import UntrustedZip

CHECKPOINT_SUFFIXES = (".pth", ".pt", ".ckpt", ".model")


@contextmanager
def open_package(path: Path) -> Iterator[ModelPackage]:
    """The trained model in a folder or in a zip, while the block lasts.

    Args:
        path: A trainer's folder, a folder or a zip that holds a single one, or a folder within a zip
            (`model.zip/Dataset001_Knee/TRAINER__PLANS__CONFIGURATION`).

    Raises:
        FileError: It does not exist.
        ModelError: It is none, or a damaged or malicious zip.
        UsageError: It holds several models.
    """
    path = Path(path)
    if path.is_dir():
        if path.name.startswith("fold_") and (path.parent / PLANS).is_file():
            raise UsageError(f"{path}: is one fold of a model", hint=f"give {path.parent}, with --folds")
        package = ModelPackage(path)
        yield package if package.has(PLANS) else ModelPackage(path / trainer_in(names_below(path), path))
        return
    archive = next((part for part in (path, *path.parents) if part.is_file()), None)
    if archive is None:
        raise missing_file_error(path, "the folder of the trained model")
    _check_kind(archive)
    inner = PurePosixPath(path.relative_to(archive).as_posix())
    with tempfile.TemporaryDirectory() as temporary, UntrustedZip(archive, partial(_zip_error, archive)) as zipped:
        top = Path(temporary) / archive.stem
        try:
            contents = _Contents(zipped, top)
            below = [name for name in contents.entries if name.is_relative_to(inner)]
            if not below:
                raise missing_file_error(path, "the folder of the trained model in the zip")
            found = trainer_in([name.relative_to(inner) for name in below], top / inner)
            yield ZippedPackage(contents, inner / found)
        except OsteonError as error:  # people know the zip, and not where it was unpacked
            message, hint = (text.replace(str(top), str(archive)) for text in (error.message, error.hint))
            raise type(error)(message, hint=hint) from error


def _check_kind(file: Path) -> None:
    """Refuse what is no zip; a checkpoint is one by accident."""
    if file.suffix in CHECKPOINT_SUFFIXES:
        whole = file.parent.parent
        fold = file.parent.name.removeprefix("fold_")
        known = file.parent.name.startswith("fold_") and (whole / PLANS).is_file()
        raise UsageError(
            f"{file}: is a checkpoint alone; a model is made of dataset.json and {PLANS}, too",
            hint=f"give {whole}, with --folds {fold}"
            if known
            else "give the folder TRAINER__PLANS__CONFIGURATION in nnUNet_results, copied whole",
        )
    if not zipfile.is_zipfile(file):
        raise ModelError(
            f"{file}: is neither a folder nor a whole zip", hint="copy it again, or unpack it and give the folder"
        )


def _zip_error(archive: Path, problem: str, hint: str) -> ModelError:
    return ModelError(f"{archive}: {problem}", hint=f"{hint}, or unpack it and give the folder")


class _Contents:
    """A zip's files, each of which is unpacked when it is asked for.

    Raises:
        ModelError: A name leads out of the zip, or is listed twice.
    """

    def __init__(self, zipped: UntrustedZip, top: Path) -> None:
        self.zipped, self.top = zipped, top
        self.entries: dict[PurePosixPath, zipfile.ZipInfo] = {}
        for entry in zipped.files:
            name = zipped.name(entry)
            if "__MACOSX" in name.parts:
                continue
            if name in self.entries or ":" in entry.filename:
                raise zipped.reject("holds two files of one name, or a colon in a name", "zip the model's folder again")
            self.entries[name] = entry

    def unpack(self, name: PurePosixPath) -> Path:
        """A file, on the disk."""
        target, entry = self.top / name, self.entries[name]
        if target.exists():
            return target
        if entry.file_size > shutil.disk_usage(self.top.parent).free:
            raise FileError(
                f"{target}: there is no room to unpack {entry.file_size / 1e9:.2f} GB",
                hint="free some space where temporary files go, or name another place for them with TMPDIR",
            )
        try:
            self.zipped.extract(entry, target)
        except OSError as error:
            raise write_error(target, error) from error
        return target


class ZippedPackage(ModelPackage):
    """A trainer's folder within a zip."""

    def __init__(self, contents: _Contents, inner: PurePosixPath) -> None:
        super().__init__(contents.top / inner)
        self.contents, self.inner = contents, inner

    def has(self, name: str) -> bool:
        """Whether there is a file of this name, relative to the folder."""
        return self.inner / name in self.contents.entries

    def file(self, name: str) -> Path:
        """Where it lies once it is unpacked."""
        return self.contents.unpack(self.inner / name) if self.has(name) else super().file(name)

    @property
    def folds(self) -> list[str]:
        """Names of the folds that have files."""
        below = (name.relative_to(self.inner) for name in self.contents.entries if name.is_relative_to(self.inner))
        return sorted({n.parts[0].removeprefix("fold_") for n in below if n.parts[0].startswith("fold_")})

    def sibling(self, name: str) -> ModelPackage:
        """The folder of this name next to it."""
        return ZippedPackage(self.contents, self.inner.parent / name)
