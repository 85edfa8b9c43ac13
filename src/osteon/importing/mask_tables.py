"""Tables that say which value of a label map means what, as programs write them beside label maps.

`labels.json` with {"1": "femur"} or {"femur": 1}, also under the key `labels`; text with a line `1,femur` or
`1 femur …`, such as ITK-SNAP's descriptions (name in quotes) and FreeSurfer's and Slicer's colour tables.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from osteon.core.errors import DatasetError, FileError
from osteon.core.files import read_json, read_text
from osteon.core.labels import BACKGROUND, Structure, make_structures
from osteon.formats.polygons import checked_label

NAMES = tuple(f"label{plural}.{suffix}" for plural in ("s", "") for suffix in ("json", "txt", "csv", "tsv", "ctbl"))
_HIGHEST = np.iinfo(np.int32).max
"""More than any program numbers; NIfTI's usual types hold no more."""
_BACKGROUND = {"background", "clear label", "unknown", "bg", "air"}


def find_table(folder: Path) -> Path | None:
    """The table in `folder`. Raises DatasetError where there are several."""
    there = [folder / name for name in NAMES if (folder / name).is_file()]
    if len(there) > 1:
        raise DatasetError(f"{folder}: holds {there[0].name} and {there[1].name}", hint="keep the one that is right")
    return there[0] if there else None


def read_table(path: Path) -> tuple[Structure, ...]:
    """The structures of a table, by ascending value.

    Raises:
        FileError: It cannot be read.
        DatasetError: It is no table of one name for one number.
        LabelError: A name is none: too long, or of several lines.
    """
    named = _from_json(read_json(path, "the table of labels"), path) if path.suffix == ".json" else _from_text(path)
    named = {n: v for n, v in named.items() if v != BACKGROUND and n.lower() not in _BACKGROUND}
    if not named or min(named.values()) < 0 or len(set(named.values())) < len(named):
        raise DatasetError(f"{path}: names no structure, or two for one value", hint='write {"1": "femur"}')
    ordered = sorted(named, key=lambda name: named[name])
    return make_structures(ordered, [named[name] for name in ordered])


def _from_json(data: Any, path: Path) -> dict[str, int]:
    if isinstance(data, dict) and isinstance(data.get("labels"), dict):
        data = data["labels"]
    try:
        if not isinstance(data, dict) or not data:
            raise ValueError
        if all(re.fullmatch(r"\d+", key) for key in data):
            pairs = [(_name(name), int(value)) for value, name in data.items()]
        else:
            pairs = [(name, _number(value)) for name, value in data.items()]
    except ValueError:
        tables = [key for key, value in data.items() if isinstance(value, dict)] if isinstance(data, dict) else []
        several = f": it holds several tables ({', '.join(tables[:5])})" if len(tables) > 1 else ""
        raise DatasetError(
            f"{path}: does not say one name for each value{several}",
            hint='write {"1": "femur", "2": "tibia"}, or name the structures: --labels femur=1,tibia=2',
        ) from None
    return _once(pairs, path)


def _from_text(path: Path) -> dict[str, int]:
    pairs = []
    for line in read_text(path, "the table of labels").splitlines():
        text = re.split(r"^\s*[#/]", line)[0].strip()
        fields = _fields(text) if text else []
        if len(fields) < 2 or not re.fullmatch(r"\d+", fields[0]):
            continue  # a heading or a remark
        words = [field for field in fields[1:] if not re.fullmatch(r"[-\d.]+", field)]
        if words:
            pairs.append((words[0], int(fields[0])))
    return _once(pairs, path)


def _fields(text: str) -> list[str]:
    for separator in (",", ";", "\t"):
        if separator in text:
            return [field.strip(" \"'") for field in text.split(separator)]
    try:
        return shlex.split(text)
    except ValueError:  # a quote without an end
        return text.split()


def _once(pairs: list[tuple[str, int]], path: Path) -> dict[str, int]:
    named = dict(pairs)
    if len(named) < len(pairs):
        raise FileError(f"{path}: gives a name twice", hint="give each value a name of its own")
    for name, value in pairs:
        checked_label(name, str(path))
        if value > _HIGHEST:
            raise DatasetError(f"{path}: {name} has the value {value}", hint=f"values go up to {_HIGHEST}")
    return named


def _name(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError
    return value
