"""The configuration of a MONAI bundle, read as data: no expression in it is evaluated.

Values may refer to others (`@network_def`, `@image_size::0`, before 1.3 `#`); those that begin with `$` are Python,
and stay the text that they are, which whatever needs a value there refuses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from osteon.core.errors import FileError, ModelError, missing_file_error
from osteon.core.files import is_file, read_json, read_yaml

CONFIGS = ("configs", "config", ".")
INFERENCE = ("inference.json", "inference.yaml", "inference.yml")
METADATA = "metadata.json"
MAX_VALUES = 1_000_000
"""That references may come to: those that hold one another twice grow without end."""
DEPTH = 32
"""Of references within references: a circle has no end."""
HINT = "such a bundle stays with MONAI (`python -m monai.bundle run`)"


@dataclass(frozen=True)
class BundleConfig:
    """The files that describe a bundle.

    Attributes:
        path: Of the inference's configuration, for messages.
        data: Its content.
        metadata: Content of metadata.json.
    """

    path: Path
    data: Mapping[str, Any]
    metadata: Mapping[str, Any]
    _resolved: count[int] = field(default_factory=count, repr=False)

    def resolve(self, value: Any, *, depth: int = 0) -> Any:
        """A value with what it refers to put in; expressions stay as they are.

        Raises:
            ModelError: It refers to itself, or to nothing.
        """
        if depth > DEPTH or next(self._resolved) > MAX_VALUES:
            raise self.error("refers to itself, or to far too much")
        if isinstance(value, str) and value.startswith("@"):
            return self.resolve(self._look_up(value), depth=depth + 1)
        if isinstance(value, Mapping):
            return {str(key): self.resolve(part, depth=depth + 1) for key, part in value.items()}
        if isinstance(value, list):
            return [self.resolve(part, depth=depth + 1) for part in value]
        return value

    def _look_up(self, reference: str) -> Any:
        found: Any = self.data
        for part in re.split(r"::|#", reference[1:]):
            if isinstance(found, Mapping) and part in found:
                found = found[part]
            elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
                found = found[int(part)]
            else:
                raise self.error(f"refers to {reference}, which is not in it")
        return found

    def component(self, *names: str) -> tuple[str, dict[str, Any]] | None:
        """Class and arguments of the first of these components that there is. Raises ModelError where it is none."""
        name = next((name for name in names if name in self.data), None)
        return None if name is None else self.as_component(self.resolve(self.data[name]), name)

    def as_component(self, value: Any, name: str) -> tuple[str, dict[str, Any]]:
        """Class and arguments of a resolved value."""
        if not isinstance(value, Mapping) or not isinstance(value.get("_target_"), str):
            raise self.error(f"{name} names no class (`_target_`), but is {str(value)[:80]}")
        return value["_target_"], {key: part for key, part in value.items() if not key.startswith("_")}

    def transforms(self, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The dictionary transforms of `preprocessing` or `postprocessing` that are not switched off, in order.

        Their classes without module and without the letter d at their end.

        Raises:
            ModelError: It is no list of transforms, or an expression decides whether one is switched off.
        """
        if name not in self.data:
            return
        target, arguments = self.as_component(self.resolve(self.data[name]), name)
        listed = arguments.get("transforms")
        if class_name(target) != "Compose" or not isinstance(listed, list):
            raise self.error(f"{name} is no list of transforms (Compose), but {target}")
        for number, value in enumerate(listed):
            given, arguments = self.as_component(value, f"{name}.transforms.{number}")
            disabled = value.get("_disabled_", False)
            if isinstance(disabled, str):
                raise self.error(f"{given}: whether it is switched off is the expression {disabled}")
            if not disabled:
                yield re.sub(r"(?:d|D|Dict)$", "", class_name(given)), arguments

    def error(self, what: str) -> ModelError:
        """A ModelError that names the file."""
        return ModelError(f"{self.path}: {what}", hint=HINT)


def class_name(target: str) -> str:
    """A class of MONAI's by its name alone; of others the whole, which nothing knows."""
    return target.rpartition(".")[2] if target.startswith("monai.") else target


def read_bundle(folder: Path) -> BundleConfig:
    """The configuration of a bundle's folder.

    Raises:
        FileError: The folder or a file is missing or damaged.
        ModelError: A file is of another shape.
    """
    if not folder.is_dir():
        raise missing_file_error(folder, "the bundle's folder")
    names = [f"{inner}/{name}" for inner in CONFIGS for name in INFERENCE]
    path = next((folder / name for name in names if is_file(folder / name)), None)
    if path is None:
        raise FileError(f"{folder}: has no configs/inference.json", hint="give a bundle's folder, copied whole")
    metadata = path.with_name(METADATA)
    data = (read_json if path.suffix == ".json" else read_yaml)(path, "the bundle's configuration")
    about = read_json(metadata, "the bundle's metadata")
    for file, content in ((path, data), (metadata, about)):
        if not isinstance(content, dict):
            raise ModelError(f"{file}: is no table of keys and values", hint="give a bundle's folder, copied whole")
    return BundleConfig(path, data, about)
