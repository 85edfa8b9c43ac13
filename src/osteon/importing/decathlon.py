"""The layout of the Medical Segmentation Decathlon: a folder with dataset.json, imagesTr, labelsTr, imagesTs.

Files in the world differ from its description: labels the other way round ({"background": 0}, as nnU-Net writes),
`training` entries that are plain strings, numTraining that lies, `._` files of macOS, paths with and without `./`. An
image with several modalities is one 4-D file, which serves all channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from osteon.core.errors import DatasetError, FileError
from osteon.core.files import is_file, read_json
from osteon.core.labels import BACKGROUND, Structure, make_structures
from osteon.dataset.case_ids import unique_ids
from osteon.dataset.manifest import Channel
from osteon.dataset.modality import modality_of
from osteon.formats.registry import stem_of, suffix_of
from osteon.importing.options import ImportOptions
from osteon.importing.source_forms import Source, SourceCase, SourceForm
from osteon.importing.structure_names import user_structures

_FILE = "dataset.json"
_WHAT = "the Decathlon description"


def find_description(source: Path, what: str) -> tuple[Path, Any]:
    """dataset.json in a folder, or itself, and what it says. Raises FileError where there is none, or it is no JSON."""
    path = source / _FILE if source.is_dir() else source
    if path.name != _FILE or not path.is_file():
        raise FileError(f"no {_FILE}")
    return path, read_json(path, what)


def explain_mismatch(source: Path) -> str | None:
    """What `source` lacks to be a Decathlon folder (or its dataset.json)."""
    try:
        path, data = find_description(source, _WHAT)
    except FileError as error:
        return error.message
    if not isinstance(data, dict) or not isinstance(data.get("training"), list):
        return f"{_FILE} has no list `training`"
    if (path.parent / "imagesTr").is_dir() and _is_numbered(data["training"], path.parent):
        return f"{_FILE} lists images without the _0000 that their files have (nnU-Net's way)"
    return None


def _is_numbered(training: list[Any], folder: Path) -> bool:
    """Whether the first image is not there, but is with nnU-Net's number of the channel."""
    entry = training[0] if training else None
    image = entry.get("image") if isinstance(entry, dict) else entry
    if not isinstance(image, str) or is_file(folder / _normalise(image)):
        return False
    file = folder / _normalise(image)
    return is_file(file.with_name(f"{stem_of(file)}_0000{file.name[len(stem_of(file)) :]}")) if file.name else False


def read(source: Path, options: ImportOptions) -> Source:
    """List the cases of a Decathlon folder.

    Raises:
        DatasetError: dataset.json names no labels, or labels or entries of a kind that osteon does not know.
    """
    path, data = find_description(source, _WHAT)
    found = Source(
        name=str(data.get("name") or path.parent.name),
        channels=parse_channels(data, options),
        cases=[],
        structures=user_structures(options.structures) or parse_structures(data, path),
    )
    entries = [(entry, True) for entry in data["training"]] + [(entry, False) for entry in data.get("test") or []]
    pairs: list[tuple[Path, Path | None]] = []
    for entry, trained in entries:
        image, label = _entry(entry, trained, path)
        if PurePosixPath(image).name.startswith("._"):
            found.warnings.append(f"{path}: {image} is a leftover of macOS, not an image; skipped")
            continue
        pair = (path.parent / image, path.parent / label if label else None)
        if pair in pairs:
            found.warnings.append(f"{path}: {image} is listed twice; taken once")
        else:
            pairs.append(pair)
    for key, count in (("numTraining", len(data["training"])), ("numTest", len(data.get("test") or []))):
        if key in data and data[key] != count:
            found.warnings.append(f"{path}: {key} says {data[key]}, but {count} cases are listed; the list is taken")
    images = [image for image, _ in pairs]
    found.warnings += _unlisted(path.parent / "imagesTr", images)
    if len(set(images)) < len(images):
        raise DatasetError(f"{path}: two entries have one image", hint="list every image once")
    stems = [stem_of(image) for image in images]
    ids = unique_ids(
        [stems, [f"{i.parent.name}_{stem}" for i, stem in zip(images, stems, strict=True)]], found.warnings
    )
    found.cases = [SourceCase(n, (image,), label) for n, (image, label) in zip(ids, pairs, strict=True)]
    return found


def _unlisted(folder: Path, images: Sequence[Path]) -> list[str]:
    """A note on images that lie there and that the list leaves out; none where it names no file as it is called."""
    there = sorted(file for file in folder.glob("[!.]*") if suffix_of(file) is not None and is_file(file))
    left = [file for file in there if file not in set(images)]
    if not left or len(left) == len(there):
        return []
    return [f"{len(left)} images, such as {left[0]}, are not listed in {_FILE}; the list is taken"]


def parse_channels(data: dict[str, Any], options: ImportOptions) -> list[Channel]:
    """Channels from `channel_names` or `modality`. Raises DatasetError where they are not numbered."""
    table = data.get("channel_names") or data.get("modality") or {"0": options.modality or "image"}
    if isinstance(table, dict):
        if not all(str(key).isdecimal() for key in table):
            raise DatasetError(f"channels {table} are not numbered", hint='write {"0": "CT"} into dataset.json')
        names = [str(table[key]) for key in sorted(table, key=int)]
    else:
        names = [str(name) for name in (table if isinstance(table, list) else [table])]
    return [Channel(name=name, modality=options.modality or modality_of(name)) for name in names]


def parse_structures(data: dict[str, Any], path: Path) -> tuple[Structure, ...]:
    """Structures from {"1": "femur"} (Decathlon) or {"femur": 1} (nnU-Net)."""
    table = data.get("labels")
    if not isinstance(table, dict) or not table:
        raise DatasetError(f"{path}: names no labels", hint='add "labels": {"0": "background", "1": "femur"}')
    try:
        if all(str(key).lstrip("-").isdigit() for key in table):
            named = {str(name): int(value) for value, name in table.items()}
        else:
            named = {str(name): int(value) for name, value in table.items()}
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"{path}: labels {table} are not one name for one number (regions are not known here)",
            hint="give one whole number for each structure",
        ) from error
    named = {name: value for name, value in named.items() if value != BACKGROUND}
    named.pop("ignore", None)
    if not named or len(set(named.values())) < len(named) or min(named.values()) < 0 or "" in named:
        raise DatasetError(f"{path}: labels {table} give two names to a value, or none", hint="correct `labels`")
    return make_structures(list(named), list(named.values()))


def _entry(entry: object, trained: bool, path: Path) -> tuple[str, str | None]:
    """Image and label of one list entry, relative to dataset.json."""
    if isinstance(entry, dict) and isinstance(entry.get("image"), str):
        image, label = _normalise(entry["image"]), entry.get("label")
        return image, _normalise(label) if trained and isinstance(label, str) and label else None
    if isinstance(entry, str):
        image = _normalise(entry)
        parts = PurePosixPath(image).parts
        label = str(PurePosixPath(*("labelsTr" if part == "imagesTr" else part for part in parts)))
        return image, label if trained and label != image else None
    raise DatasetError(
        f"{path}: the entry {entry} names no image", hint='write {"image": "./imagesTr/a.nii.gz", "label": "…"}'
    )


def _normalise(text: str) -> str:
    return str(PurePosixPath(text.strip().replace("\\", "/")))


FORM = SourceForm(
    "decathlon",
    "a folder with dataset.json, imagesTr and labelsTr (MSD)",
    explain_mismatch,
    read,
    "`training` in dataset.json",
    frozenset({"fragments"}),
)
