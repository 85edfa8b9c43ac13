"""Tables that say which value of a label map means what, as programs write them beside label maps.

`labels.json` with {"1": "femur"} or {"femur": 1}, also under the key `labels`; text with a line `1,femur` or
`1 femur …`, such as ITK-SNAP's descriptions (name in quotes) and FreeSurfer's and Slicer's colour tables.

3D Slicer writes the names of a label map into a table beside it (`Segmentation-label_ColorTable.ctbl`), and numbers the
segments of each scan anew: such a table belongs to its one file, wherever that is read.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osteon.core.errors import DatasetError, FileError, OsteonError
from osteon.core.files import is_file, read_json, read_text
from osteon.core.labels import BACKGROUND, Structure, make_structures
from osteon.formats.annotation_fields import check_label

TABLE_NAMES = tuple(
    f"label{plural}.{suffix}" for plural in ("s", "") for suffix in ("json", "txt", "csv", "tsv", "ctbl")
)
_HIGHEST = np.iinfo(np.int32).max
"""More than any program numbers; NIfTI's usual types hold no more."""
_BACKGROUND = {"background", "clear label", "unknown", "bg", "air"}
_UNUSED = {"none", "(none)"}
"""What 3D Slicer calls the values of a table that stand for nothing."""
SUFFIXES = (".ctbl", ".label")
"""Of files that are tables of labels and nothing else."""
_ALONE = (".txt", *SUFFIXES)
_ENDINGS = ("_ColorTable.ctbl", "_ColorTable.csv", "_ColorTable.txt", ".ctbl")
_LABELS = tuple(f"_labels.{suffix}" for suffix in ("json", "txt", "csv", "tsv"))
DESCRIPTIONS = ".label.txt"
"""Ending of ITK-SNAP's descriptions as osteon writes them."""
_AMBIGUOUS_ENDINGS = (DESCRIPTIONS, ".label", *_LABELS, ".tsv", ".txt", ".json", ".csv")
"""What may as well be something else that is called after the label map (measurements): it then names nothing."""
_MAX_TEXT_BYTES = 1 << 20
"""Bytes of a text that may be a table; logs are longer."""
_HEADING = re.compile(r"^(label_?value|value|index|id|label|number)[,;\t].*name", re.IGNORECASE)
_DESCRIPTION = re.compile(r'^\s*(\d+(?:\s+\d+){3}\s+[\d.]+\s+[01]\s+[01])\s+"(.*)', re.MULTILINE)
"""A line of ITK-SNAP's: value, red, green, blue, opacity, two switches, the name in quotes."""


@dataclass(frozen=True)
class LabelTable:
    """What a table says of a label map's values."""

    path: Path
    structures: tuple[Structure, ...]


def table_beside(path: Path, stem: str) -> LabelTable | None:
    """The table that belongs to a label map alone, called after it; None where there is none.

    Args:
        path: The label map.
        stem: Its name without its suffix.

    Raises:
        FileError, DatasetError, LabelError: As `read_label_table`.
    """
    for ending in _ENDINGS:
        if is_file(beside := path.with_name(f"{stem}{ending}")):
            return LabelTable(beside, read_label_table(beside))
    for ending in _AMBIGUOUS_ENDINGS:
        beside = path.with_name(f"{stem}{ending}")
        if not is_file(beside):
            continue
        try:
            if "label" in ending or _is_unambiguous(beside):
                return LabelTable(beside, read_label_table(beside))
        except OsteonError:
            continue
    return None


def _is_unambiguous(path: Path) -> bool:
    """Whether a file whose name says nothing maps values to names beyond doubt. Raises FileError.

    {"EchoTime": 5} does not, nor does a table of measurements.
    """
    if path.suffix == ".json":
        data = read_json(path, "the table of labels")
        if isinstance(data, dict) and isinstance(data.get("labels"), dict):
            return True
        return isinstance(data, dict) and bool(data) and (all(key.isdecimal() for key in data) or _counts_up(data))
    text = read_text(path, "the table of labels")
    if path.suffix == ".txt":
        return _DESCRIPTION.search(text) is not None or text.lower().startswith("# color table")
    return _HEADING.search(text) is not None


def _counts_up(data: dict[str, Any]) -> bool:
    """Whether names are numbered without a gap: {"femur": 1, "tibia": 2}. Settings and measurements are not."""
    numbers = [value for value in data.values() if type(value) is int]
    return len(data) > 1 and sorted(numbers) in (list(range(len(data))), list(range(1, len(data) + 1)))


def ambiguous_tables_beside(path: Path, stem: str) -> list[Path]:
    """What is called after a label map and can be read as a table of its own, but as something else too."""
    beside = [path.with_name(f"{stem}{ending}") for ending in _AMBIGUOUS_ENDINGS if "label" not in ending]
    return [other for other in beside if is_file(other) and is_label_table(other)]


def find_label_table(folder: Path, others: Collection[Path] = ()) -> Path | None:
    """The table in `folder`, by its name, or else the only file there that can be nothing but a table.

    Args:
        folder: Where it lies.
        others: Tables that belong to single label maps.

    Raises:
        DatasetError: There are several of the names that say so.
    """
    there = [folder / name for name in TABLE_NAMES if (folder / name).is_file()]
    if not there and folder.is_dir():
        text = [path for path in folder.iterdir() if path.suffix.lower() in _ALONE and not path.name.startswith(".")]
        alone = [path for path in sorted(text) if path not in others and is_file(path) and is_unambiguous_table(path)]
        there = alone if len(alone) == 1 else []
    if len(there) > 1:
        raise DatasetError(f"{folder}: holds {there[0].name} and {there[1].name}", hint="keep the one that is right")
    return there[0] if there else None


def is_unambiguous_table(path: Path) -> bool:
    """Whether a file is a table of labels and can be nothing else, by its suffix or, in text, by how it begins."""
    if path.suffix.lower() == ".txt":
        return path.stat().st_size <= _MAX_TEXT_BYTES and is_label_table(path) and _is_unambiguous(path)
    return path.suffix.lower() in SUFFIXES and is_label_table(path)


def is_label_table(path: Path) -> bool:
    """Whether a file can be read as a table of labels."""
    try:
        return bool(read_label_table(path))
    except OsteonError:
        return False


def read_label_table(path: Path) -> tuple[Structure, ...]:
    """The structures of a table, by ascending value.

    Raises:
        FileError: It cannot be read.
        DatasetError: It is no table of one name for one number.
        LabelError: A name is none: too long, or of several lines.
    """
    colours: dict[str, str] = {}
    if path.suffix == ".json":
        named = _from_json(read_json(path, "the table of labels"), path)
    else:
        named, colours = _from_text(path)
    named = {n: v for n, v in named.items() if v != BACKGROUND and n.lower() not in _BACKGROUND}
    if not named or min(named.values()) < 0 or len(set(named.values())) < len(named):
        raise DatasetError(f"{path}: names no structure, or two for one value", hint='write {"1": "femur"}')
    ordered = sorted(named, key=lambda name: named[name])
    made = make_structures(ordered, [named[name] for name in ordered])
    return tuple(s.model_copy(update={"colour": colours.get(s.name, s.colour)}) for s in made)


def label_descriptions(structures: Sequence[Structure]) -> str:
    """A description of labels as ITK-SNAP reads it; also `read_label_table` does."""
    rows = ["# ITK-SnAP Label Description File", "# value red green blue opacity visible in-3D name"]
    rows.append('0 0 0 0 0 0 0 "Clear Label"')
    for structure in structures:
        red, green, blue = (int(structure.colour[at : at + 2], 16) for at in (1, 3, 5))
        rows.append(f'{structure.value} {red} {green} {blue} 1 1 1 "{structure.name.replace(chr(34), chr(39))}"')
    return "\n".join(rows) + "\n"


def _from_json(data: Any, path: Path) -> dict[str, int]:
    if isinstance(data, dict) and isinstance(data.get("labels"), dict):
        data = data["labels"]
    pairs: list[tuple[Any, Any]] = list(data.items()) if isinstance(data, dict) else []
    if all(re.fullmatch(r"\d+", key) for key, _ in pairs):
        with suppress(ValueError):  # more digits than Python turns into a number
            pairs = [(name or None, int(value)) for value, name in pairs]
    if not pairs or not all(isinstance(name, str) and type(value) is int for name, value in pairs):
        tables = [key for key, value in data.items() if isinstance(value, dict)] if isinstance(data, dict) else []
        several = f": it holds several tables ({', '.join(tables[:5])})" if len(tables) > 1 else ""
        raise DatasetError(
            f"{path}: does not say one name for each value{several}",
            hint='write {"1": "femur", "2": "tibia"}, or name the structures: --labels femur=1,tibia=2',
        )
    return _check_unique(pairs, path)


def _from_text(path: Path) -> tuple[dict[str, int], dict[str, str]]:
    """Names with their values, and with their colours where they have some."""
    pairs, colours = [], {}
    for line in read_text(path, "the table of labels").splitlines():
        text = re.split(r"^\s*[#/]", line)[0].strip()
        fields = _fields(text) if text else []
        if len(fields) < 2 or not re.fullmatch(r"\d+", fields[0]):
            continue  # a heading or a remark
        words = [field for field in fields[1:] if not re.fullmatch(r"[-\d.]+", field)]
        if words and words[0].lower() not in _UNUSED:
            pairs.append((words[0], int(fields[0])))
            if colour := _colour([field for field in fields[1:] if field not in words]):
                colours[words[0]] = colour
    return _check_unique(pairs, path), colours


def _colour(numbers: Sequence[str]) -> str | None:
    """`#rrggbb` of red, green, blue and opacity, as ITK-SNAP and colour tables have them; None where they are none."""
    if len(numbers) < 4 or not all(re.fullmatch(r"\d{1,3}", n) and int(n) < 256 for n in numbers[:3]):
        return None
    colour = "#" + "".join(f"{int(n):02x}" for n in numbers[:3])
    return None if colour == "#000000" else colour  # nobody sees it


def _fields(text: str) -> list[str]:
    if described := _DESCRIPTION.match(text):
        return [*described[1].split(), described[2].rstrip().removesuffix('"')]
    for separator in (",", ";", "\t"):
        if separator in text:
            return [field.strip(" \"'") for field in text.split(separator)]
    try:
        return shlex.split(text)
    except ValueError:  # a quote without an end
        return text.split()


def _check_unique(pairs: list[tuple[str, int]], path: Path) -> dict[str, int]:
    named = dict(pairs)
    if len(named) < len(pairs):
        raise FileError(f"{path}: gives a name twice", hint="give each value a name of its own")
    for name, value in pairs:
        check_label(name, str(path))
        if value > _HIGHEST:
            raise DatasetError(f"{path}: {name} has the value {value}", hint=f"values go up to {_HIGHEST}")
    return named
