"""Which prediction belongs to which reference, and what their labels mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from osteon.core.errors import DatasetError, LabelError, UsageError, missing_file
from osteon.core.labels import Segmentation, Structure, palette
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import FILE_NAME, Case
from osteon.formats import read_segmentation
from osteon.formats.registry import known_suffixes, stem_of, suffix_of

_UNNAMED = re.compile(r"label_\d+")


@dataclass(frozen=True)
class Pair:
    """One case to be scored.

    Attributes:
        case: Its id.
        prediction: The prediction's file.
        load_reference: Reads the reference.
        reference: The reference's file.
        entry: What the manifest says of it; None where the reference is no dataset.
    """

    case: str
    prediction: Path
    load_reference: Callable[[], Segmentation]
    reference: Path
    entry: Case | None = None

    def __str__(self) -> str:
        return f"case {self.case}"

    @property
    def annotated(self) -> list[str] | None:
        """Structures that somebody looked for; None means all."""
        return self.entry.annotated if self.entry else None


@dataclass(frozen=True)
class Pairing:
    """All pairs, and what remained alone.

    Attributes:
        pairs: In the order of the references.
        structures: What the labels of both sides mean.
        missing: Cases that have a reference and no prediction; where a dataset holds cases out, of those alone.
        unmatched: Predictions without a reference, by the file's stem.
    """

    pairs: tuple[Pair, ...]
    structures: tuple[Structure, ...]
    missing: tuple[str, ...]
    unmatched: tuple[str, ...]


def pair_up(prediction: Path, reference: Path, structures: Sequence[Structure] | None = None) -> Pairing:
    """Match predictions with references: by name, or two files with each other whatever they are called.

    Args:
        prediction: A label file, or a folder of files named after the cases.
        reference: An osteon dataset, a folder of label files, or one file.
        structures: What the labels mean where the reference is no dataset; None asks the files.

    Raises:
        FileError: One of the paths does not exist.
        UsageError: A folder holds no label files, or one case twice.
        DatasetError: No prediction has a reference.
        LabelError: Two files give the same value different names.
    """
    prediction, reference = Path(prediction), Path(reference)
    predictions = label_files(prediction, "the prediction")
    if reference.is_dir() and (reference / FILE_NAME).is_file():
        dataset = Dataset.open(reference)
        known: tuple[Structure, ...] = tuple(dataset.structures)
        held_out = {case.id for case in dataset.manifest.labelled if case.held_out}
        expected = held_out or {case.id for case in dataset.manifest.labelled}
        make: dict[str, Callable[[Path], Pair]] = {
            c.id: partial(_dataset_pair, dataset, c) for c in dataset.manifest.labelled
        }
    else:
        references = label_files(reference, "the reference")
        if prediction.is_file() and reference.is_file():
            references = {stem_of(prediction): reference}
        known = tuple(structures) if structures else ask_files([*references.values(), *predictions.values()])
        make = {case: partial(_file_pair, case, path, known) for case, path in references.items()}
        expected = set(make)
    pairs = tuple(build(predictions[case]) for case, build in make.items() if case in predictions)
    if not pairs:
        raise DatasetError(
            f"{prediction}: no prediction has a reference in {reference} "
            f"(predictions: {_some(predictions)}; references: {_some(make)})",
            hint="name each prediction after its case, as <case id>.nii.gz",
        )
    missing = tuple(case for case in make if case in expected - set(predictions)) if prediction.is_dir() else ()
    unmatched = tuple(case for case in predictions if case not in make) if not reference.is_file() else ()
    return Pairing(pairs, known, missing, unmatched)


def ask_files(paths: Iterable[Path]) -> tuple[Structure, ...]:
    """The structures that label files themselves name, or their values (`label_<value>`) where they name none.

    Raises:
        LabelError: Two files give the same value different names.
    """
    by_name: dict[str, Structure] = {}
    by_value: dict[int, tuple[Structure, Path]] = {}
    for path in paths:
        for structure in read_segmentation(path).structures:
            if structure.name in by_name:
                continue
            known, where = by_value.get(structure.value, (None, path))
            if known is None or _UNNAMED.fullmatch(known.name):
                by_name.pop(known.name if known else "", None)
                by_name[structure.name] = structure
                by_value[structure.value] = structure, path
            elif not _UNNAMED.fullmatch(structure.name):
                raise LabelError(
                    f"label {structure.value} is {known.name} in {where} and {structure.name} in {path}",
                    hint="evaluate against the dataset, whose structures say what the values mean",
                )
    ordered = sorted(by_name.values(), key=lambda s: s.value)
    return tuple(_settled(s, colour, by_name) for s, colour in zip(ordered, palette(len(ordered)), strict=True))


def _settled(structure: Structure, colour: str, names: Container[str]) -> Structure:
    """The structure as one of `names`: an unnamed one gets a colour of its own, a lost counterpart is forgotten."""
    changes: dict[str, str | None] = {}
    if _UNNAMED.fullmatch(structure.name):
        changes["colour"] = colour
    if structure.counterpart not in names:
        changes["counterpart"] = None
    return structure.model_copy(update=changes)


def _dataset_pair(dataset: Dataset, case: Case, prediction: Path) -> Pair:
    # A pair travels to another process: it takes its own case along and not all of them.
    alone = Dataset(dataset.folder, dataset.manifest.model_copy(update={"cases": [case]}))
    reference = dataset.resolve(case.segmentation or "")
    return Pair(case.id, prediction, partial(alone.load_segmentation, case), reference, case)


def _file_pair(case: str, reference: Path, structures: tuple[Structure, ...], prediction: Path) -> Pair:
    return Pair(case, prediction, partial(read_segmentation, reference, structures), reference)


def label_files(path: Path, what: str) -> dict[str, Path]:
    """Label files by stem, sorted."""
    if path.is_file():
        return {stem_of(path): path}
    if not path.is_dir():
        raise missing_file(path, what)
    found: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        if not file.is_file() or file.name.startswith(".") or suffix_of(file) is None:
            continue
        stem = stem_of(file)
        if stem in found:
            raise UsageError(
                f"{path}: case {stem} stands there twice, as {found[stem].name} and {file.name}",
                hint="remove or rename one of them",
            )
        found[stem] = file
    if not found:
        raise UsageError(
            f"{path}: {what} holds no label files",
            hint=f"give a folder of files that end in {', '.join(known_suffixes())}",
        )
    return found


def _some(names: Iterable[str], most: int = 3) -> str:
    listed = list(names)
    rest = f" and {len(listed) - most} more" if len(listed) > most else ""
    return (", ".join(listed[:most]) or "none") + rest
