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

from osteon.core.errors import ModelError, UsageError
from osteon.core.files import is_file

DATASET, PLANS = "dataset.json", "plans.json"
CHECKPOINTS = {kind: f"checkpoint_{kind}.pth" for kind in ("final", "best", "latest")}
"""Of a training that is finished, of its best epoch so far, and of its last one so far."""
ALL_CASES = "all"
"""The fold that was trained on all cases."""


class ModelPackage:
    """A trainer's folder. (`zip_models.ZippedPackage` is one within a zip.)

    Attributes:
        folder: TRAINER__PLANS__CONFIGURATION.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, name: str) -> bool:
        """Whether there is a file of this name, relative to the folder."""
        return is_file(self.folder / name)

    def file(self, name: str) -> Path:
        """Where it lies, if it is there."""
        return self.folder / name

    @property
    def folds(self) -> list[str]:
        """Names of the folds that have a folder."""
        return [path.name.removeprefix("fold_") for path in sorted(self.folder.glob("fold_*")) if path.is_dir()]

    def sibling(self, name: str) -> ModelPackage:
        """The folder of this name next to it."""
        return ModelPackage(self.folder.parent / name)


@dataclass(frozen=True)
class ModelFiles:
    """A model's files.

    Attributes:
        folder: That of the trainer.
        checkpoints: Fold → its checkpoint, in order.
        notes: What was left out, and why.
    """

    folder: Path
    checkpoints: dict[str, Path]
    notes: list[str] = field(default_factory=list)


def find_model(package: ModelPackage, folds: Sequence[str] | None = None, checkpoint: str | None = None) -> ModelFiles:
    """Find a model's files.

    Args:
        package: The trainer's folder.
        folds: Numbers, or `all`; None: all numbered folds, or else `all`.
        checkpoint: One of `CHECKPOINTS`; None: the first of them that some fold has.

    Raises:
        ModelError: It lacks a file.
        UsageError: A fold that was asked for is not there.
    """
    folder, there = package.folder, package.folds
    kinds = {fold: [k for k, name in CHECKPOINTS.items() if package.has(f"fold_{fold}/{name}")] for fold in there}
    kind = checkpoint or next((k for k in CHECKPOINTS if any(k in has for has in kinds.values())), "final")
    name = CHECKPOINTS[kind]
    have = [fold for fold in there if kind in kinds[fold]]
    if folds is not None:
        for fold in folds:
            if fold not in have:
                raise UsageError(
                    f"{folder / f'fold_{fold}'}: there is no {name}",
                    hint=f"--folds: {', '.join(have) or 'none'} can be taken; --checkpoint: {', '.join(CHECKPOINTS)}",
                )
        return ModelFiles(folder, {fold: package.file(f"fold_{fold}/{name}") for fold in dict.fromkeys(folds)})
    chosen = sorted((fold for fold in have if fold.isdecimal()), key=int) or [
        fold for fold in have if fold == ALL_CASES
    ]
    if not chosen:
        raise ModelError(
            f"{folder}: no fold has a {name if checkpoint else ' or '.join(CHECKPOINTS.values())}",
            hint="copy the folders fold_0 … whole, as nnU-Net wrote them",
        )
    notes = []
    for fold in there:
        if fold.isdecimal() and fold not in have:
            other = f" (it has {CHECKPOINTS[kinds[fold][0]]})" if kinds[fold] else ""
            notes.append(f"fold {fold} has no {name}: left out{other}")
    if ALL_CASES in have and ALL_CASES not in chosen:
        notes.append("fold all is left out: the numbered ones are taken; --folds all takes it alone")
    if kind != "final" and not checkpoint:
        so_far = {"best": "the best so far", "latest": "the last so far"}[kind]
        notes.append(f"no fold has a {CHECKPOINTS['final']}: {so_far} is taken ({name})")
    return ModelFiles(folder, {fold: package.file(f"fold_{fold}/{name}") for fold in chosen}, notes)


def first_model_package(package: ModelPackage, stage: str) -> ModelPackage:
    """The first model of a cascade beside the second: the same trainer and plans, another configuration.

    Raises:
        ModelError: There is none.
    """
    trainer, _, _ = package.folder.name.rpartition("__")
    sibling = package.sibling(f"{trainer}__{stage}")
    if not sibling.has(PLANS):
        raise ModelError(
            f"{package.folder}: is the second model of a cascade; the first one ({stage}) is not beside it: "
            f"{sibling.folder}",
            hint="copy it there, or give its folder with --before FOLDER",
        )
    return sibling
