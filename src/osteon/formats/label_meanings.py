"""What the numbers of label files mean that name no structures themselves.

nnU-Net and the Decathlon say it in a dataset.json. nnU-Net numbers structures without gaps, whatever they were before,
and its `predict` writes the dataset.json that it was trained with into the folder of its predictions
(https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/how_to_use_nnunet.md); in a raw folder it lies beside
`labelsTr`, in a folder of results two above `validation`. Regions are drawn over one another there: a structure is
every number in its list (documentation/region_based_training.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osteon.core.errors import CaseError, DatasetError, LabelError, UnknownValueError, UsageError
from osteon.core.files import is_file, read_json
from osteon.core.labels import BACKGROUND, MAX_PIECES, Segmentation, Structure, make_structures, with_pieces
from osteon.formats.io import read_segmentation, read_structures
from osteon.formats.labelmap import is_placeholder, make_index_map, match_layers, smallest_uint, split_number

FILE_NAME = "dataset.json"
_IGNORED = "ignore"


@dataclass(frozen=True)
class LabelMeanings:
    """What numbers mean.

    Attributes:
        source: Who says so: a file, or an option.
        numbers: Structure → its numbers; several where it shares voxels with others, or has numbered pieces.
        chosen: A person says so, of these very files: it also counts for names that nobody else knows.
        counted: The structures with numbered pieces, one for each of their numbers.
    """

    source: str
    numbers: Mapping[str, tuple[int, ...]]
    chosen: bool = False
    counted: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return ", ".join(
            f"{name}={f'{own[0]}-{own[-1]}' if name in self.counted else '+'.join(map(str, own))}"
            for name, own in self.numbers.items()
        )

    @property
    def structures(self) -> tuple[Structure, ...]:
        """The structures; each with its number where that is its own."""
        values = [own[0] for own in self.numbers.values()]
        made = make_structures(list(self.numbers), None if self.overlapping else values)
        return tuple(with_pieces(s, self.numbers[s.name][-1]) if s.name in self.counted else s for s in made)

    @property
    def names(self) -> dict[int, str]:
        """Number → structure, or which piece of it."""
        names = {own[0]: name for name, own in self.numbers.items()}
        pieces = ((name, place, number) for name in self.counted for place, number in enumerate(self.numbers[name], 1))
        return names | {number: f"{name} {place}" for name, place, number in pieces}

    @property
    def overlapping(self) -> bool:
        """Whether structures share numbers."""
        every = [number for own in self.numbers.values() for number in own]
        return len(set(every)) < len(every)

    def name(self, segmentation: Segmentation, path: Path) -> Segmentation:
        """An index map without names as what it means: multi-hot where structures share numbers.

        Raises:
            UnknownValueError: It holds a number that means nothing.
        """
        meant = {number for own in self.numbers.values() for number in own}
        strange = [s.value for s in segmentation.structures if s.value not in meant]
        if strange:
            raise UnknownValueError(
                f"{path}: holds {', '.join(map(str, strange))}; {self.source} does not say what that is ({self})",
                hint="correct what it says, or give --labels NAME=VALUE,…",
            )
        layers = [np.isin(segmentation.array, own) for own in self.numbers.values()]
        if self.overlapping:
            return Segmentation(np.stack(layers).astype(np.uint8), segmentation.geometry, self.structures)
        array = np.zeros(segmentation.array.shape, smallest_uint(max(s.values[-1] for s in self.structures)))
        for structure, layer in zip(self.structures, layers, strict=True):
            array[layer] = segmentation.array[layer] if structure.instances else structure.value
        return Segmentation(array, segmentation.geometry, self.structures)


def label_meanings_for(files: Iterable[Path], labels: Mapping[str, int | str] | None = None) -> LabelMeanings | None:
    """What numbers mean in label files of one folder that name nothing: as a person says it, or a dataset.json there.

    None where every file names its structures, or nobody says it.

    Args:
        files: Of the folder.
        labels: What a person says: the value of each structure, or the first and last of its pieces (`11-20`).

    Raises:
        UsageError: A range is none, or shares a number with another structure.
        FileError, DatasetError: As `find_label_meanings`.
    """
    if labels:
        ranges = {name: parse_range(name, value) for name, value in labels.items() if isinstance(value, str)}
        numbers = {name: ranges[name] if isinstance(value, str) else (value,) for name, value in labels.items()}
        said = LabelMeanings("--labels", numbers, chosen=True, counted=frozenset(ranges))
        if ranges and said.overlapping:
            raise UsageError(f"--labels: structures share numbers: {said}", hint="give each numbers of its own")
        return said
    first = next((path for path in files if has_placeholder_names(path)), None)
    return None if first is None else find_label_meanings(first.parent)


def parse_range(name: str, text: str) -> tuple[int, ...]:
    """The values from the first to the last of `11-20`. Raises UsageError, with `name` for the structure."""
    found = re.fullmatch(r"\s*(\d+)\s*-\s*(\d+)\s*", text)
    first, last = (int(found[1]), int(found[2])) if found else (0, -1)
    if not 0 <= last - first < MAX_PIECES:
        raise UsageError(
            f"--labels: {name}={text}: is not the first and the last value of at most {MAX_PIECES} pieces",
            hint=f"{name}=1-10, for example",
        )
    return tuple(range(first, last + 1))


def piece_meanings_for(files: Iterable[Path], known: Sequence[Structure]) -> LabelMeanings | None:
    """What classes mean that count pieces under another name than the one structure of `known` with numbered pieces.

    `fragment_1`, `fragment_2` … are then pieces 1, 2 … of `humerus`. None where the first file that names structures
    has the structure itself or its pieces, other names that are not known, or none.
    """
    wholes, names = [s for s in known if s.instances], {s.name for s in known}
    path = next((path for path in files if is_file(path) and not has_placeholder_names(path)), None)
    if len(wholes) != 1 or path is None:
        return None
    try:
        own = read_structures(path)
    except CaseError:
        return None  # reading it will say why
    parts = {s.value: split_number(s.name) for s in own if s.name not in names}
    stems = {stem for stem, _ in parts.values()}
    if len(stems) != 1 or any(number is None for _, number in parts.values()):
        return None
    if wholes[0].name in {*stems, *(s.name for s in own)}:
        return None
    numbers = {f"{wholes[0].name} {number}": (value,) for value, (_, number) in parts.items()}
    return LabelMeanings(f"{stems.pop()} taken as {wholes[0].name}", numbers, chosen=True)


def find_label_meanings(folder: Path) -> LabelMeanings | None:
    """What a dataset.json says of the label files in a folder; None where none does.

    Raises:
        FileError: It cannot be read.
        DatasetError: It does not give structures whole numbers.
    """
    folder = folder.absolute()
    places = [folder]
    if folder.name.lower().startswith("labels"):
        places.append(folder.parent)
    if folder.name == "validation":
        places.append(folder.parents[1])
    path = next((place / FILE_NAME for place in places if is_file(place / FILE_NAME)), None)
    data = None if path is None else read_json(path, "what label files beside it mean")
    if path is None or not isinstance(data, dict) or not isinstance(data.get("labels"), dict):
        return None
    numbers = _numbers(data["labels"], path)
    return LabelMeanings(str(path), numbers) if numbers else None


def _numbers(table: Mapping[str, Any], path: Path) -> dict[str, tuple[int, ...]]:
    """Structure → numbers, of {"femur": 1} (nnU-Net), {"whole": [1, 2]} (its regions) or {"1": "femur"} (Decathlon)."""
    turned = all(str(key).isdecimal() for key in table)
    try:
        pairs = [(str(value), [int(key)]) if turned else (key, _to_list(value)) for key, value in table.items()]
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"{path}: `labels` does not give each structure a whole number, or a list of them",
            hint='correct it, such as {"background": 0, "femur": 1}, or give --labels NAME=VALUE,…',
        ) from error
    return {name: tuple(own) for name, own in pairs if name != _IGNORED and own and set(own) != {BACKGROUND}}


def _to_list(value: Any) -> list[int]:
    return [int(number) for number in (value if isinstance(value, list) else [value])]


def has_placeholder_names(path: Path) -> bool:
    """Whether a label file's header names nothing, or only what programs make up; no for one that cannot be read."""
    try:
        return are_placeholders(read_structures(path))
    except CaseError:
        return False  # reading it will say why


def are_placeholders(own: Sequence[Structure]) -> bool:
    """Whether what a header names are no names, or only those that programs make up."""
    return all(is_placeholder(structure.name) for structure in own)


def read_named_labels(
    path: Path,
    known: Sequence[Structure] | None = None,
    legend: LabelMeanings | None = None,
    *,
    pieces: bool = False,
) -> Segmentation:
    """Read somebody's labels as what their names say: those in the header, or else the legend's.

    A number decides only where nothing names it: two programs number structures as they like.

    Args:
        path: The file.
        known: The structures wanted; None takes the file's own.
        legend: What numbers without names mean; None takes them as those of `known`. Where a person says it and
            `known` is None, numbers whose names are not among theirs mean it, too.
        pieces: As for `read_segmentation`.

    Raises:
        FileError: As `read_segmentation`.
        LabelError: As `read_segmentation`; or it holds a structure of a name that is not known.
    """
    found = _read_named_labels(path, known, legend)
    return found if pieces else found.merged()


def _read_named_labels(path: Path, known: Sequence[Structure] | None, legend: LabelMeanings | None) -> Segmentation:
    own = read_structures(path)
    if are_placeholders(own):
        if legend is None:
            return read_segmentation(path, known, pieces=True)
        found = legend.name(read_segmentation(path, pieces=True), path)
        return found if known is None else _in_terms_of(found, known, path)
    chosen = legend.names if legend is not None and legend.chosen else {}
    if known is None and legend is not None and any(s.name not in legend.numbers and s.value in chosen for s in own):
        known = (*legend.structures, *(s for s in own if s.name not in legend.numbers and s.value not in chosen))
    names = {structure.name for structure in known or own}
    if all(structure.name in names for structure in own):
        return read_segmentation(path, known, pieces=True)
    found = read_segmentation(path, pieces=True)
    if chosen:
        renamed = tuple(
            s if s.name in names else s.model_copy(update={"name": chosen.get(s.value, s.name), "counterpart": None})
            for s in found.structures
        )
        found = Segmentation(found.array, found.geometry, renamed)
    return _in_terms_of(found, known or (), path)


def _in_terms_of(found: Segmentation, known: Sequence[Structure], path: Path) -> Segmentation:
    """The same voxels as the known structures, by name. Raises LabelError where one is not known."""
    if not found.overlapping:
        array, structures = make_index_map(found.array, found.structures, known, path, by_value=False)
        return Segmentation(array, found.geometry, structures)
    layers, unknown = match_layers(found, known, path)
    if unknown:
        strange, names = (", ".join(s.name for s in structures) for structures in (unknown, known))
        raise LabelError(
            f"{path}: holds {strange}, which no structure is called ({names})",
            hint="correct the names, or say what the numbers mean: --labels NAME=VALUE,…",
        )
    return Segmentation(layers, found.geometry, tuple(known))
