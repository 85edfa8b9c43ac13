"""A model's folder to give away: the model, its card, ONNX, checksums, what Hugging Face and Zenodo read."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from osteon.core.errors import ModelError, UsageError
from osteon.core.files import link_or_copy, temporary_path, write_error, write_json, write_text
from osteon.core.progress import status
from osteon.exporting.model_files import export_model
from osteon.exporting.published_card import LICENCE_FILE, Publication, card_text, zenodo_metadata
from osteon.exporting.published_model import names_of_cases, without_patients
from osteon.predicting.hub_files import CHECKSUMS
from osteon.predicting.model import Model
from osteon.predicting.model_folder import load_model, save_model
from osteon.predicting.records import FIRST, find_model_folder

CARD, ZENODO, ONNX = "README.md", ".zenodo.json", "onnx"
SHORTEST_ID = 4
"""Ids of fewer characters, as 1 or L1, stand in every text by chance."""
SHORTEST_ID_IN_BINARY = 8


@dataclass(frozen=True)
class PublishReport:
    """A published model.

    Attributes:
        folder: Where it lies.
        files: In it, relative, in order.
        notes: What a person should know.
    """

    folder: Path
    files: list[str]
    notes: list[str]


def publish(run: Path, folder: Path, about: Publication, *, onnx: bool = True) -> PublishReport:
    """Make a folder of a model that names no patient.

    Args:
        run: A model folder, or the run that made it.
        folder: The folder to make; it is written beside its place and renamed when it is whole.
        about: Title, licence, authors, intended use.
        onnx: Whether the network goes along in ONNX, too.

    Raises:
        UsageError: `folder` exists, something that only people know is missing, or ONNX cannot be written.
        ModelError: The model is not whole; or what was written would name one of its cases.
        FileError: `folder` cannot be written.
    """
    about.check()
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder}: exists already", hint="name a folder that does not exist yet, or remove it")
    own = load_model(find_model_folder(run))
    model = without_patients(own, about.title)
    temporary = temporary_path(folder)
    try:
        temporary.mkdir(parents=True)
        notes = _write(temporary, replace(own, postprocessing=model.postprocessing), model, about, onnx=onnx)
        _refuse_names(temporary, names_of_cases(own, run), own)
        names = _checksums(temporary)
        temporary.rename(folder)
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return PublishReport(folder, names, notes)


@status("writing the model")
def _write(folder: Path, own: Model, model: Model, about: Publication, *, onnx: bool) -> list[str]:
    """All files but the checksums; what is worth a note."""
    _save(folder, model)
    notes: list[str] = []
    if onnx:
        inner = folder.with_name(f"{folder.name}-{ONNX}")
        try:
            files, notes = export_model("onnx", folder, inner)
            for file in files:
                if file.name != "plan.yaml":
                    link_or_copy(file, folder / ONNX / file.name)
        finally:
            shutil.rmtree(inner, ignore_errors=True)
    if about.licence_file is not None:
        text = about.licence_file.read_bytes()
        write_text(folder / LICENCE_FILE, text.decode("utf-8", "replace"))
    write_json(folder / ZENODO, zenodo_metadata(model, about))
    write_text(folder / CARD, card_text(own, about, _files(folder)))
    return notes


def _save(folder: Path, model: Model) -> None:
    """A model, and the first of a cascade; the card is README.md."""
    if model.first is not None:
        _save(folder / FIRST, model.first)
    save_model(folder, model, "")
    (folder / "card.md").unlink()


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _checksums(folder: Path) -> list[str]:
    """Write SHA256SUMS; the names of all files, it among them."""
    names, lines = _files(folder), []
    for name in names:
        with (folder / name).open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
    write_text(folder / CHECKSUMS, "".join(lines))
    return sorted([*names, CHECKSUMS])


def _refuse_names(folder: Path, names: Iterable[str], model: Model) -> None:
    """Raise ModelError where a file holds the id of a case, or a path of this machine: in a title, for example."""
    allowed = {s.name for s in model.plan.structures} | {c.name for c in model.plan.channels}
    listed = sorted((name for name in set(names) - allowed if len(name) >= SHORTEST_ID), key=len, reverse=True)
    for name in _files(folder):
        least = SHORTEST_ID_IN_BINARY if name.endswith((".safetensors", ".onnx")) else SHORTEST_ID
        words = [re.escape(word.encode("utf-8", "surrogateescape")) for word in listed if len(word) >= least]
        content = (folder / name).read_bytes()
        found = words and re.search(rb"(?<![\w-])(?:" + b"|".join(words) + rb")(?![\w-])", content)
        if found:
            raise ModelError(
                f"{name} would hold {found[0].decode('utf-8', 'replace')!r}, the name of a training case or a path of "
                "this machine",
                hint="give a title, intended use and authors that do not hold it, and structures other names",
            )
