"""Uploaded models that were trained elsewhere: osteon's and nnU-Net's. Runs in the reader's process."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from osteon.converting.model_folder import DATASET, PLANS
from osteon.converting.model_search import names_below, trainer_in
from osteon.core.errors import FileError, UsageError
from osteon.core.files import read_json, temporary_path, write_error
from osteon.plan.schema import FILE_NAME as PLAN
from osteon.plan.schema import read_plan
from osteon.predicting.records import FIRST, WEIGHTS


@dataclass(frozen=True)
class UploadedModel:
    """A model in an upload.

    Attributes:
        kind: The program that trained it.
        folder: Of the model.
        name: A name to propose.
        structures: That it finds.
    """

    kind: Literal["osteon", "nnunet"]
    folder: Path
    name: str
    structures: tuple[str, ...]


def find_model(source: Path) -> UploadedModel | None:
    """The model in a folder, by the names of its files; None where there is none.

    Raises:
        UsageError: There are several.
        FileError: It lacks a file, or one of them is damaged.
    """
    if not source.is_dir():
        return None
    names = names_below(source)
    folders = sorted({path.parent for path in names if path.name == WEIGHTS} - {path.parent / FIRST for path in names})
    if len(folders) > 1:
        listed = ", ".join(map(str, folders[:8]))
        raise UsageError(f"{len(folders)} models are in it: {listed}", hint="upload the folder of one of them")
    if folders:
        folder = source / folders[0]
        name = next((part for part in (*reversed(folders[0].parts), source.name) if part != "model"), "model")
        return UploadedModel("osteon", folder, name, tuple(s.name for s in read_plan(folder / PLAN).structures))
    if not any(path.name == PLANS for path in names) or not any(path.name == DATASET for path in names):
        return None
    folder = source / trainer_in(names, source)
    dataset = read_json(folder / DATASET, "what the model was trained on")
    labels = dataset.get("labels") if isinstance(dataset, dict) else None
    if not isinstance(labels, dict):
        raise FileError(f"{folder / DATASET}: names no labels", hint="copy the model's folder again, whole")
    structures = tuple(str(name) for name, value in labels.items() if value != 0 and name != "ignore")
    return UploadedModel("nnunet", folder, folder.parent.name or source.name, structures)


def copy_model(folder: Path, target: Path) -> None:
    """Copy a model of osteon's; it is loaded first, so that no damaged one is copied.

    Raises:
        ModelError, PlanError, FileError: It lacks a file, or is damaged, or there is no room.
    """
    from osteon.predicting.model_folder import load_model  # torch's memory is the reader's, and not the server's

    load_model(folder)
    copy = temporary_path(target)
    try:
        shutil.copytree(folder, copy)
        copy.rename(target)
    except OSError as error:
        raise write_error(target, error) from error
    finally:
        shutil.rmtree(copy, ignore_errors=True)
