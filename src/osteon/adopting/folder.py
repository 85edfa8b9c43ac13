"""The files of a trained nnU-Net model: dataset.json, plans.json, and a checkpoint for each fold.

    TRAINER__PLANS__CONFIGURATION/
      dataset.json  plans.json
      fold_0/checkpoint_final.pth  fold_0/checkpoint_best.pth  fold_0/validation/summary.json
      fold_1/ …

Reference: github.com/MIC-DKFZ/nnUNet, documentation/how_to_use_nnunet.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from osteon.core.errors import ModelError, UsageError, missing_file
from osteon.core.files import is_file

DATASET, PLANS = "dataset.json", "plans.json"
FINAL, BEST = "checkpoint_final.pth", "checkpoint_best.pth"
CHECKPOINTS = {"final": FINAL, "best": BEST}
ALL = "all"
"""The fold that was trained on all cases."""


@dataclass(frozen=True)
class Found:
    """A model's files.

    Attributes:
        folder: That of the trainer.
        checkpoints: Fold → its checkpoint, in order.
        notes: What was left out, and why.
    """

    folder: Path
    checkpoints: dict[str, Path]
    notes: list[str] = field(default_factory=list)


def find_model(folder: Path, folds: Sequence[str] | None = None, checkpoint: str | None = None) -> Found:
    """Find a model's files.

    Args:
        folder: The trainer's folder, or one that holds a single such folder.
        folds: Numbers, or `all`; None: all numbered folds, or else `all`.
        checkpoint: `final` or `best`; None: final, or best where no fold has a final one.

    Raises:
        FileError: The folder does not exist.
        ModelError: It lacks a file, or is of nnU-Net's first version.
        UsageError: It holds several models, or a fold that was asked for is not there.
    """
    folder = _trainer(Path(folder))
    there = {path.name.removeprefix("fold_"): path for path in sorted(folder.glob("fold_*")) if path.is_dir()}
    name = CHECKPOINTS[checkpoint] if checkpoint else FINAL
    if not checkpoint and not any(is_file(path / FINAL) for path in there.values()):
        name = BEST
    have = {fold: path / name for fold, path in there.items() if is_file(path / name)}
    if folds is not None:
        for fold in folds:
            if fold not in have:
                raise UsageError(
                    f"{folder / f'fold_{fold}'}: there is no {name}",
                    hint=f"--folds: {', '.join(have) or 'none'} can be taken; --checkpoint: final or best",
                )
        return Found(folder, {fold: have[fold] for fold in dict.fromkeys(folds)})
    numbered = sorted((fold for fold in have if fold.isdecimal()), key=int)
    chosen = numbered or [fold for fold in have if fold == ALL]
    if not chosen:
        raise ModelError(
            f"{folder}: no fold has a {FINAL} or {BEST}",
            hint="copy the folders fold_0 … whole, as nnU-Net wrote them",
        )
    notes = [f"fold {fold} has no {name}: left out" for fold in there if fold.isdecimal() and fold not in have]
    if ALL in have and ALL not in chosen:
        notes.append("fold all is left out: the numbered ones are taken; --folds all takes it alone")
    if name == BEST and not checkpoint:
        notes.append(f"no fold has a {FINAL}: the best so far is taken ({BEST})")
    return Found(folder, {fold: have[fold] for fold in chosen}, notes)


def _trainer(folder: Path) -> Path:
    """The folder with dataset.json and plans.json: the one that is given, or the only one in it."""
    if not folder.is_dir():
        raise missing_file(folder, "the folder of the trained model")
    if is_file(folder / PLANS) and is_file(folder / DATASET):
        return folder
    _refuse_first_version(folder)
    if folder.name.startswith("fold_") and is_file(folder.parent / PLANS):
        raise UsageError(f"{folder}: is one fold of a model", hint=f"give {folder.parent}, with --folds")
    inside = [path for path in sorted(folder.iterdir()) if is_file(path / PLANS) and is_file(path / DATASET)]
    if len(inside) == 1:
        return inside[0]
    if inside:
        names = ", ".join(path.name for path in inside)
        raise UsageError(f"{folder}: holds several trained models", hint=f"give one of them: {names}")
    missing = [name for name in (DATASET, PLANS) if not is_file(folder / name)]
    raise ModelError(
        f"{folder}: is no trained model of nnU-Net v2: {' and '.join(missing)} missing",
        hint="give the folder TRAINER__PLANS__CONFIGURATION in nnUNet_results, copied whole",
    )


def _refuse_first_version(folder: Path) -> None:
    old = [*folder.glob("plans.pkl"), *folder.glob("*/plans.pkl"), *folder.glob("fold_*/*.model")]
    if old:
        raise ModelError(
            f"{old[0]}: is of nnU-Net's first version, whose files can run code when they are loaded",
            hint="train it anew with nnU-Net v2 or with osteon; its weights cannot be taken over",
        )


def model_before(folder: Path, stage: str) -> Path:
    """Where the first model of a cascade lies beside the second: the same trainer and plans, another configuration.

    Raises:
        ModelError: There is none.
    """
    trainer, _, _ = folder.name.rpartition("__")
    beside = folder.parent / f"{trainer}__{stage}"
    if not is_file(beside / PLANS):
        raise ModelError(
            f"{folder}: is the second model of a cascade; the first one ({stage}) is not beside it: {beside}",
            hint="copy it there, or say where it lies with --before FOLDER",
        )
    return beside
