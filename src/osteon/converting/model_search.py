"""Which trained model is meant by a folder or a zip, by the names of its files alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from osteon.converting.model_folder import DATASET, PLANS
from osteon.core.errors import ModelError, OsteonError, UsageError
from osteon.core.text import shorten_list

DEPTH = 5
"""So far below what is given a model is looked for: a folder of downloads holds results/DATASET/TRAINER."""
MOST = 20_000
"""Folders that are looked into."""
LISTED = 12
"""Models that a message names."""
_OTHERS = (
    (
        ("plans.pkl", "*.model"),
        "is of nnU-Net's first version, whose files can run code when they are loaded",
        "train it again with nnU-Net v2 or with osteon; its weights cannot be taken over",
    ),
    (
        ("weights.safetensors",),
        "is a model of osteon's",
        "it needs no import: `osteon predict` takes its folder as it is",
    ),
    (
        ("configs/metadata.json", "configs/inference.json", "configs/inference.yaml"),
        "is a bundle of MONAI's, and no trained model of nnU-Net v2",
        "osteon takes over models of nnU-Net v2; run this one with `python -m monai.bundle`",
    ),
    (
        ("imagesTr/*",),
        "is a dataset, and no trained model",
        "`osteon import` takes it; a trained model lies in nnUNet_results",
    ),
    (
        ("*Plans.json",),
        "is what nnU-Net prepared for a training, and no trained model",
        "give the folder TRAINER__PLANS__CONFIGURATION in nnUNet_results",
    ),
)
"""What else people have: patterns of names, what it is, and the way out."""


def names_below(folder: Path) -> list[PurePosixPath]:
    """The files of a folder and of those in it, relative to it; folds' own are left out."""
    found, left, seen = [], [(folder, 0)], set[Path]()
    for inner, depth in left:
        if (real := inner.resolve()) in seen or len(seen) == MOST:
            continue
        seen.add(real)
        try:
            entries = sorted(inner.iterdir())
        except OSError:
            continue  # not ours to read
        for path in entries:
            if path.is_dir():
                if depth < DEPTH and not path.name.startswith("fold_"):
                    left.append((path, depth + 1))
            else:
                found.append(PurePosixPath(path.relative_to(folder).as_posix()))
    return found


def trainer_in(names: Sequence[PurePosixPath], top: Path) -> PurePosixPath:
    """The only folder with dataset.json and plans.json.

    Args:
        names: Of files, relative to `top`.
        top: What was given, for messages.

    Raises:
        ModelError: There is none; the message says what there is instead.
        UsageError: There are several, or `top` is one fold of a model.
    """
    found = sorted(set.intersection(*({path.parent for path in names if path.name == n} for n in (DATASET, PLANS))))
    if len(found) == 1:
        return found[0]
    if found:
        listed = shorten_list([str(top / path) for path in found], LISTED)
        raise UsageError(f"{top}: holds {len(found)} trained models", hint=f"give one of them: {listed}")
    raise _other(names, top)


def _other(names: Sequence[PurePosixPath], top: Path) -> OsteonError:
    for patterns, what, hint in _OTHERS:
        for path in names:
            if any(path.match(pattern) for pattern in patterns):
                return ModelError(f"{top / path}: {what}", hint=hint)
    missing = [name for name in (DATASET, PLANS) if PurePosixPath(name) not in names]
    return ModelError(
        f"{top}: is no trained model of nnU-Net v2: {' and '.join(missing)} missing",
        hint="give the folder TRAINER__PLANS__CONFIGURATION in nnUNet_results, copied whole, or a zip of it",
    )
