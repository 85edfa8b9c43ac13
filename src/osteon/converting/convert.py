"""A trained model of nnU-Net v2, or a bundle of MONAI's, as a model folder of osteon's."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from osteon.converting.bundle import read_bundle_model
from osteon.converting.checkpoint import Checkpoint, read_checkpoint
from osteon.converting.model_folder import DATASET, PLANS, ModelPackage, find_model, first_model_package
from osteon.converting.plan import NnUNetModel, convert_plan
from osteon.converting.plans_files import DatasetFile, Plans, read_dataset, read_plans, resolve_configuration
from osteon.converting.validation import SUMMARY, read_validation_dice
from osteon.converting.zip_models import open_package
from osteon.core.errors import ModelError, UsageError
from osteon.core.progress import status
from osteon.core.version import __version__
from osteon.networks.ensemble import Ensemble
from osteon.networks.registry import build_network
from osteon.plan.schema import NnUNet, Plan
from osteon.predicting.model import Model
from osteon.predicting.model_folder import save_model
from osteon.predicting.records import FIRST, WEIGHTS


@dataclass(frozen=True)
class ConvertOptions:
    """Which parts of a model are converted, and how.

    Attributes:
        folds: Numbers, or `all`; None: all numbered folds, or else `all`.
        checkpoint: `final`, `best` or `latest`; None: the first of these that some fold has.
        before: Folder or zip of the first model of a cascade; None: it lies beside the second.
        orientation: Where the file axes of the training scans run, such as `RAS`; scans are then reoriented to it.
            None: they are taken with their files' axes, as nnU-Net does.
        overwrite: Replace a model that is there.
    """

    folds: Sequence[str] | None = None
    checkpoint: str | None = None
    before: Path | None = None
    orientation: str | None = None
    overwrite: bool = False


DEFAULTS = ConvertOptions()


@dataclass(frozen=True)
class ConvertedModel:
    """A converted model's folder.

    Attributes:
        model: The model's folder.
        plan: Its plan.
        folds: In order; none of a bundle.
        notes: What was left out, and why.
        first: The first model of a cascade.
    """

    model: Path
    plan: Plan
    folds: list[str]
    notes: list[str] = field(default_factory=list)
    first: ConvertedModel | None = None


def convert_model(folder: Path, model: Path, options: ConvertOptions = DEFAULTS) -> ConvertedModel:
    """Convert a trained model of nnU-Net v2; nothing in its files is run.

    Args:
        folder: TRAINER__PLANS__CONFIGURATION as nnU-Net wrote it, or a folder or a zip that holds one such.
        model: The folder to make.
        options: Folds, checkpoint, orientation.

    Raises:
        FileError: A file is missing or unreadable, or the disk is full.
        ModelError: It is damaged, holds more than weights, or is of a kind that osteon does not build.
        UsageError: `model` is there already, or folds or orientation make no sense.
    """
    _check(model, options)
    with open_package(folder) as package:
        source, first = _read(package, options), None
        if isinstance(source.model.plan.network, NnUNet) and source.model.plan.network.before:
            before = (
                nullcontext(first_model_package(package, source.previous_stage))
                if options.before is None
                else open_package(options.before)
            )
            with before as other:
                first = _read(other, replace(options, folds=None))
            _check_first(first, source)
        elif options.before is not None:
            raise UsageError(f"{folder}: is no second model of a cascade", hint="leave out --before")
    if options.overwrite:
        (model / WEIGHTS).unlink(missing_ok=True)
        shutil.rmtree(model / FIRST, ignore_errors=True)
    converted_first = None if first is None else _write(first, model / FIRST)
    return replace(_write(source, model), first=converted_first)


@dataclass(frozen=True)
class _SourceModel:
    nnunet: NnUNetModel
    model: Model
    checkpoints: dict[str, Checkpoint]
    notes: list[str]

    @property
    def previous_stage(self) -> str:
        """The configuration of the first model of a cascade."""
        return self.nnunet.configuration.previous_stage or ""


def _check(model: Path, options: ConvertOptions) -> None:
    if model.exists() and not model.is_dir():
        raise UsageError(f"{model}: is a file", hint="give a folder that does not exist yet")
    if model.is_dir() and any(model.iterdir()):
        if not (model / WEIGHTS).is_file():
            raise UsageError(f"{model}: holds other files, and no model", hint="give a folder that does not exist yet")
        if not options.overwrite:
            raise UsageError(f"{model}: there is a model already", hint="choose another folder, or --overwrite")
    letters = options.orientation
    if letters is not None and {frozenset("RL"), frozenset("AP"), frozenset("SI")} != {
        pair for pair in map(frozenset, ("RL", "AP", "SI")) if len(pair & set(letters)) == 1 and len(letters) == 3
    }:
        raise UsageError(f"--orientation {letters}: names no three world axes", hint="such as RAS, LPS or PIR")


@status("reading the model")
def _read(package: ModelPackage, options: ConvertOptions) -> _SourceModel:
    plans, dataset = read_plans(package.file(PLANS)), read_dataset(package.file(DATASET))
    found = find_model(package, options.folds, options.checkpoint)
    checkpoints = {fold: read_checkpoint(path) for fold, path in found.checkpoints.items()}
    source = _source(plans, dataset, checkpoints, package)
    plan = convert_plan(source, options.orientation)
    networks = [_network(plan, checkpoint) for checkpoint in checkpoints.values()]
    network = networks[0] if len(networks) == 1 else Ensemble(networks)
    validation = read_validation_dice((package.file(f"fold_{fold}/{SUMMARY}") for fold in checkpoints), dataset, plan)
    return _SourceModel(
        source, Model(network.eval(), plan, validation, ""), checkpoints, [*found.notes, *conversion_notes(source)]
    )


def _source(
    plans: Plans, dataset: DatasetFile, checkpoints: dict[str, Checkpoint], package: ModelPackage
) -> NnUNetModel:
    first, *others = checkpoints.values()
    for other in others:
        if (other.configuration, other.mirror_axes) != (first.configuration, first.mirror_axes):
            raise ModelError(
                f"{other.path}: was trained with {other.configuration}, mirrored along {list(other.mirror_axes)}; "
                f"{first.path} with {first.configuration}, along {list(first.mirror_axes)}",
                hint="import folds of one training, or name those that belong together with --folds",
            )
    path = package.folder / PLANS
    configuration = resolve_configuration(plans, first.configuration, path)
    if first.batch_norms:
        configuration = configuration.with_batch_norms()
    return NnUNetModel(plans, dataset, configuration, first.configuration, first.mirror_axes, path)


def _network(plan: Plan, checkpoint: Checkpoint) -> nn.Module:
    """The plan's network with a checkpoint's weights."""
    network = build_network(plan)
    expected = network.state_dict()
    given = {name: tensor.float() for name, tensor in checkpoint.weights.items()}
    missing, unexpected = sorted(expected.keys() - given.keys()), sorted(given.keys() - expected.keys())
    wrong = [name for name in expected.keys() & given.keys() if expected[name].shape != given[name].shape]
    if missing or unexpected or wrong:
        kinds = {"it lacks": missing, "it has besides": unexpected, "of another shape": wrong}
        reasons = "; ".join(f"{kind} {names[0]} ({len(names)} tensors)" for kind, names in kinds.items() if names)
        raise ModelError(
            f"{checkpoint.path}: its weights are not those of the plans' network: {reasons}",
            hint=f"take the {PLANS} and {DATASET} that were copied beside the folds when they were trained; a network "
            f"of the trainer's own ({checkpoint.trainer or 'not recorded'}), which they do not describe, is not built",
        )
    if not all(bool(torch.isfinite(tensor).all()) for tensor in given.values()):
        raise ModelError(f"{checkpoint.path}: weights are NaN or Inf", hint="take another fold, or checkpoint_best.pth")
    network.load_state_dict(given)
    return network


def _check_first(first: _SourceModel, second: _SourceModel) -> None:
    one, other = ([(s.name, s.value) for s in one.model.plan.structures] for one in (first, second))
    if one != other or len(first.model.plan.channels) != len(second.model.plan.channels):
        raise ModelError(
            f"{first.nnunet.path.parent}: has other labels or channels than the second model of the cascade",
            hint="give the folder of the model whose predictions the second was trained on with --before",
        )


def _write(source: _SourceModel, folder: Path) -> ConvertedModel:
    plan = source.model.plan
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder, source.model, converted_model_card(plan, source.nnunet, source.checkpoints, source.notes))
    return ConvertedModel(folder, plan, list(source.checkpoints), source.notes)


def convert_bundle(folder: Path, model: Path, options: ConvertOptions = DEFAULTS) -> ConvertedModel:
    """Convert a bundle of MONAI's; nothing in its files is run.

    Args:
        folder: With configs/inference.json and models/model.pt.
        model: The folder to make.
        options: `overwrite`; the others are nnU-Net's.

    Raises:
        FileError: A file is missing or unreadable, holds more than tensors, or the disk is full.
        ModelError: A transform, the network or an argument is not known here; the message names it.
        UsageError: `model` is there already, or an option of nnU-Net's is given.
    """
    _check(model, options)
    if options != ConvertOptions(overwrite=options.overwrite):
        raise UsageError("a bundle has no folds, checkpoints or orientation to choose", hint="leave these options out")
    source, card, notes = read_bundle_model(folder)
    if options.overwrite:
        (model / WEIGHTS).unlink(missing_ok=True)
        shutil.rmtree(model / FIRST, ignore_errors=True)
    model.mkdir(parents=True, exist_ok=True)
    save_model(model, source, card)
    return ConvertedModel(model, source.plan, [], notes)


CONVERTERS = {"nnunet": convert_model, "monai": convert_bundle}
"""By the program that trained a model: a new one is one row."""


def conversion_notes(source: NnUNetModel) -> list[str]:
    """A line for each; none where there is nothing to tell."""
    configuration, notes = source.configuration, []
    if configuration.architecture != resolve_configuration(source.plans, source.name, source.path).architecture:
        notes.append(
            "the weights are those of batch norms, which the trainer built instead of the plans' instance norms"
        )
    if "RGBTo01Normalization" in configuration.normalization_schemes:
        notes.append(
            "the channels are a picture's red, green and blue; osteon reads a picture as one channel of grey, so they "
            "have to be given as files of their own, in a dataset"
        )
    return notes


def converted_model_card(
    plan: Plan, source: NnUNetModel, checkpoints: dict[str, Checkpoint], notes: Sequence[str]
) -> str:
    """The model's contents, origin and licence.

    Args:
        plan: The converted one.
        source: nnU-Net's files.
        checkpoints: Fold → its checkpoint.
        notes: What was left out.
    """
    spacing = "×".join(f"{s:.3g}" for s in plan.grid.spacing_mm)
    first = next(iter(checkpoints.values()))
    lines = [
        f"# {plan.dataset}",
        "",
        f"A {plan.grid.dimensions}D {plan.network.description}, trained by nnU-Net v2 and taken over by osteon "
        f"{__version__}. Research software, no medical device.",
        "",
        "## Data",
        "",
        f"- Channels: {', '.join(f'{i.channel} ({i.why[0]})' for i in plan.intensities)}",
        f"- Structures: {', '.join(s.name for s in plan.structures)}",
        f"- Grid: {spacing} {plan.unit} along {'-'.join(plan.grid.axes)}",
        "",
        "## Origin",
        "",
        f"- {source.path.parent.name or source.path.parent}: trainer {first.trainer or 'not recorded'}, "
        f"plans {source.plans.plans_name}, configuration {source.name}",
        *(f"- fold {fold}: {c.path.name}, SHA-256 {c.sha256}" for fold, c in checkpoints.items()),
        *(f"- {note}" for note in notes),
        "",
        "## Licence",
        "",
        "nnU-Net's code is Apache-2.0; osteon contains none of it. Its folder does not say under which terms the "
        "weights may be used: ask those who trained the model, and respect the terms of the data it was trained on.",
    ]
    return "\n".join(lines) + "\n"
