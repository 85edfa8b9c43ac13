"""Which prediction belongs to which reference, and what their labels mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from osteon.core.errors import DatasetError, LabelError, UsageError
from osteon.core.labels import Segmentation, Structure, palette
from osteon.core.text import shorten_list
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import FILE_NAME, Case
from osteon.formats.label_folders import find_label_files
from osteon.formats.label_meanings import (
    LabelMeanings,
    has_placeholder_names,
    label_meanings_for,
    piece_meanings_for,
    read_named_labels,
)
from osteon.formats.labelmap import is_placeholder, value_of_piece
from osteon.formats.registry import stem_of

_UNNAMED = re.compile(r"label_\d+")


@dataclass(frozen=True)
class PredictionPair:
    """One case to be scored.

    Attributes:
        case: Its id.
        prediction: The prediction's file.
        load_reference: Reads the reference; `pieces=True` keeps the numbers of pieces.
        reference: The reference's file.
        entry: What the manifest says of it; None where the reference is not a dataset.
        legend: What the prediction's numbers mean where it names none; None: what the reference's do.
        assumed: Whether nothing says what they mean: they are taken as the reference's.
    """

    case: str
    prediction: Path
    load_reference: Callable[..., Segmentation]
    reference: Path
    entry: Case | None = None
    legend: LabelMeanings | None = None
    assumed: bool = False

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
        notes: Whose word is taken for what numbers without names mean.
    """

    pairs: tuple[PredictionPair, ...]
    structures: tuple[Structure, ...]
    missing: tuple[str, ...]
    unmatched: tuple[str, ...]
    notes: tuple[str, ...] = ()


def match_predictions(
    prediction: Path,
    reference: Path,
    structures: Sequence[Structure] | None = None,
    labels: Mapping[str, int | str] | None = None,
) -> Pairing:
    """Match predictions with references: by name, or two files with each other whatever they are called.

    Args:
        prediction: A label file, or a folder of files named after the cases.
        reference: An osteon dataset, a folder of label files, or one file.
        structures: What the labels mean where the reference is not a dataset; None asks the files.
        labels: What numbers mean in predictions that name no structures, over a dataset.json beside them; where the
            reference is not a dataset, in its files too. The values of numbered pieces as text: `11-20`.

    Raises:
        FileError: One of the paths does not exist.
        UsageError: A folder holds no label files, or one case twice; `labels` name what the dataset does not have.
        DatasetError: No prediction has a reference.
        LabelError: Two files give the same value different names.
    """
    prediction, reference = Path(prediction), Path(reference)
    predictions = find_label_files(prediction, "the prediction")
    legend = label_meanings_for(predictions.values(), labels)
    if reference.is_dir() and (reference / FILE_NAME).is_file():
        dataset = Dataset.open(reference)
        known: tuple[Structure, ...] = tuple(dataset.structures)
        by_name = {structure.name: structure for structure in known}
        if strange := [n for n in labels or () if n not in by_name and value_of_piece(n, by_name) is None]:
            raise UsageError(
                f"--labels: {reference} has no structure {strange[0]}",
                hint=f"its structures are {', '.join(s.name for s in known)}",
            )
        others: LabelMeanings | None = None
        held_out = {case.id for case in dataset.manifest.labelled if case.held_out}
        expected = held_out or {case.id for case in dataset.manifest.labelled}
        make: dict[str, Callable[[Path], PredictionPair]] = {
            c.id: partial(_dataset_pair, dataset, c) for c in dataset.manifest.labelled
        }
    else:
        references = find_label_files(reference, "the reference")
        if prediction.is_file() and reference.is_file():
            references = {stem_of(prediction): reference}
        others = label_meanings_for(references.values(), labels)
        asked = [(path, others) for path in references.values()] + [(path, legend) for path in predictions.values()]
        known = tuple(structures) if structures else structures_in_files(asked)
        make = {case: partial(_file_pair, case, path, known, others) for case, path in references.items()}
        expected = set(make)
    pairs = [build(predictions[case]) for case, build in make.items() if case in predictions]
    if not pairs:
        raise DatasetError(
            f"{prediction}: no prediction has a reference in {reference} "
            f"(predictions: {shorten_list(list(predictions), 3) or 'none'}; "
            f"references: {shorten_list(list(make), 3) or 'none'})",
            hint="name each prediction after its case, as <case id>.nii.gz",
        )
    missing = tuple(case for case in make if case in expected - set(predictions)) if prediction.is_dir() else ()
    unmatched = tuple(case for case in predictions if case not in make) if not reference.is_file() else ()
    pairs, notes = _resolve_numbers(pairs, known, legend, reference)
    named = any(not is_placeholder(structure.name) for structure in known)
    if named and others is None and all(p.entry is None and has_placeholder_names(p.reference) for p in pairs):
        notes += (f"the references name no structures: {_taken_as(prediction, known)}",)
    counted = None if legend is not None else piece_meanings_for(predictions.values(), known)
    if counted is not None:
        pairs = [replace(pair, legend=counted) for pair in pairs]
        notes = (*notes, f"the predictions' classes are scored as pieces: {counted.source} ({counted})")
    return Pairing(tuple(pairs), known, missing, unmatched, notes)


def _resolve_numbers(
    pairs: Sequence[PredictionPair], known: Sequence[Structure], legend: LabelMeanings | None, reference: Path
) -> tuple[list[PredictionPair], tuple[str, ...]]:
    """The pairs with what their predictions' numbers mean, and what a person should know of that."""
    nameless = {pair.case for pair in pairs if has_placeholder_names(pair.prediction)}
    files = f"{len(nameless)} prediction{'s name' if len(nameless) > 1 else ' names'} no structures"
    if legend is not None:
        note = f"{files}: the numbers mean what {legend.source} says ({legend})"
        notes = () if legend.chosen or not nameless else (note,)
        return [replace(pair, legend=legend) for pair in pairs], notes
    if not nameless or all(is_placeholder(structure.name) for structure in known):
        return list(pairs), ()
    note = f"{files}: {_taken_as(reference, known)}"
    return [replace(pair, assumed=pair.case in nameless) for pair in pairs], (note,)


def _taken_as(path: Path, known: Sequence[Structure]) -> str:
    meaning = ", ".join(f"{structure.name}={_values(structure)}" for structure in known)
    ranges = " or NAME=FIRST-LAST" if any(structure.instances for structure in known) else ""
    return f"the numbers are taken as those of {path} ({meaning}); --labels NAME=VALUE{ranges},… says otherwise"


def _values(structure: Structure) -> str:
    first, last = structure.values[0], structure.values[-1]
    return f"{first}-{last}" if structure.instances else str(first)


def structures_in_files(paths: Iterable[tuple[Path, LabelMeanings | None]]) -> tuple[Structure, ...]:
    """The structures that label files name, or the legend beside each; their values (`label_<value>`) where none does.

    Raises:
        LabelError: Two files give the same value different names.
    """
    found: dict[str, tuple[Structure, Path]] = {}
    for path, legend in paths:
        for structure in read_named_labels(path, None, legend).structures:
            found.setdefault(structure.name, (structure, path))
    every = {name: structure for name, (structure, _) in found.items()}
    named = [s for s in every.values() if not _UNNAMED.fullmatch(s.name) and value_of_piece(s.name, every) is None]
    by_value: dict[int, Structure] = {}
    for structure in named:
        for value in structure.values:
            if (other := by_value.setdefault(value, structure)) is not structure:
                raise _two_names(value, *found[other.name], *found[structure.name])
    unnamed = [s for s in every.values() if _UNNAMED.fullmatch(s.name) and s.value not in by_value]
    known = sorted([*named, *unnamed], key=lambda s: s.value)
    names = {structure.name for structure in known}
    return tuple(_settled(s, colour, names) for s, colour in zip(known, palette(len(known)), strict=True))


def _two_names(value: int, one: Structure, path: Path, other: Structure, where: Path) -> LabelError:
    hint = "evaluate against the dataset, whose structures say what the values mean"
    if whole := next((structure for structure in (one, other) if structure.instances), None):
        hint = f"if the numbers are pieces, say of what: --labels {whole.name}={_values(whole)},…; or {hint}"
    return LabelError(f"label {value} is {one.name} in {path} and {other.name} in {where}", hint=hint)


def _settled(structure: Structure, colour: str, names: Container[str]) -> Structure:
    """The structure as one of `names`: an unnamed one gets a colour of its own, a lost counterpart is forgotten."""
    changes: dict[str, str | None] = {}
    if _UNNAMED.fullmatch(structure.name):
        changes["colour"] = colour
    if structure.counterpart not in names:
        changes["counterpart"] = None
    return structure.model_copy(update=changes)


def _dataset_pair(dataset: Dataset, case: Case, prediction: Path) -> PredictionPair:
    # A pair travels to another process: it takes its own case along and not all of them.
    reference = dataset.resolve(case.segmentation or "")
    return PredictionPair(
        case.id, prediction, partial(dataset.restrict_to(case).load_segmentation, case), reference, case
    )


def _file_pair(
    case: str, reference: Path, structures: tuple[Structure, ...], legend: LabelMeanings | None, prediction: Path
) -> PredictionPair:
    return PredictionPair(case, prediction, partial(read_named_labels, reference, structures, legend), reference)
