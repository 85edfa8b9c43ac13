"""nnU-Net's raw folders: dataset.json, imagesTr with `CASE_0000.ext` for each channel, labelsTr with `CASE.ext`.

Version 2 (`channel_names`, `labels` as name → value) and version 1 (a list `training` that names images without their
`_0000`). Reference: github.com/MIC-DKFZ/nnUNet, documentation/dataset_format.md.

Regions (`"whole": [1, 2]`) are structures that overlap. An `ignore` label says that nobody looked at some voxels of a
case; osteon keeps what was annotated for whole cases, so a case that has such voxels is refused and one that has none
is taken.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from osteon.core.errors import DatasetError, FileError, LabelError, UsageError
from osteon.core.file_names import natural_key
from osteon.core.files import is_file
from osteon.core.folders import missing_files_below
from osteon.core.label_values import MAX_VALUE
from osteon.core.labels import BACKGROUND, Structure, make_structures
from osteon.core.text import pluralise
from osteon.dataset.case_ids import safe_id, unique_ids
from osteon.dataset.label_placement import place_segmentation
from osteon.formats.io import read_geometry, read_segmentation, read_volume
from osteon.formats.labelmap import to_integer_labels, value_counts
from osteon.formats.registry import format_of, suffix_of
from osteon.formats.unsupported import unsupported_format
from osteon.importing.decathlon import find_description, parse_channels, parse_structures
from osteon.importing.masks.merging import merge_masks
from osteon.importing.options import ImportOptions
from osteon.importing.source_forms import ConvertedCase, Source, SourceCase, SourceForm, fail
from osteon.importing.structure_names import check_priority, user_structures

_FILE = "dataset.json"
_IMAGE = re.compile(r"(.+)_(\d{4})")
_WHAT = "nnU-Net's description"


def explain_mismatch(source: Path) -> str | None:
    """What `source` lacks to be a raw folder of nnU-Net (or its dataset.json)."""
    try:
        path, data = find_description(source, _WHAT)
    except FileError as error:
        return error.message
    if not isinstance(data, dict) or not isinstance(data.get("labels"), dict):
        return f"{_FILE} has no `labels`"
    listed = isinstance(data.get("training"), list)
    if isinstance(data.get("dataset"), dict):
        return None
    numbered = any(_IMAGE.fullmatch(_stem(file, _ending(data))) for file in _files(path.parent / "imagesTr"))
    if not numbered:
        return f"no imagesTr/CASE_0000{_ending(data)}, and no `dataset` in {_FILE} that names the images"
    return f"{_FILE} lists its images in `training`" if listed and _listed_is_there(data, path) else None


def read(source: Path, options: ImportOptions) -> Source:
    """List the cases of a raw folder.

    Raises:
        FileError: dataset.json cannot be read, or its `file_ending` is no known format.
        DatasetError: dataset.json names no labels or channels, or of a kind that osteon does not know.
        UsageError: `--labels` or `--priority` does not fit what was found.
    """
    path, data = find_description(source, _WHAT)
    ending = _ending(data)
    format_of(Path("case" + ending))
    regions, ignore = _regions(data, path), _ignore_value(data, path)
    structures = user_structures(options.structures)
    if regions and options.fragments == "instances":
        raise UsageError(
            "--fragments instances: regions overlap, and one number for each voxel cannot say region and piece",
            hint="--fragments classes, or give `labels` as single values",
        )
    if structures is None:
        structures = make_structures(list(regions)) if regions else parse_structures(_without_ignore(data), path)
    check_priority(options.priority, structures)
    check_priority(options.priority, structures if regions else None)
    found = Source(str(data.get("name") or path.parent.absolute().name), parse_channels(data, options), [], structures)
    if not isinstance(data.get("channel_names") or data.get("modality"), dict):
        raise DatasetError(f"{path}: names no channels", hint='add "channel_names": {"0": "CT"}')
    cases = _listed_cases(data, path) if isinstance(data.get("dataset"), dict) else _named_cases(path, ending, found)
    ids = unique_ids([[case for case, *_ in cases]], found.warnings)
    for case_id, (_, images, label) in zip(ids, cases, strict=True):
        found.cases.append(_case(case_id, images, label, found, regions, ignore, options))
    labelled = sum(case.labelled for case in found.cases)
    found.summary = [
        f"{pluralise(len(found.cases), 'case')}, {labelled} of them with labels, {len(found.channels)} channels"
    ]
    if regions:
        listed = "; ".join(f"{name} = {', '.join(map(str, values))}" for name, values in regions.items())
        found.summary.append(f"regions become structures that may overlap: {listed}")
    if ignore is not None:
        found.summary.append(f"{ignore} is the ignore label: cases that have it are left out")
    return found


def _ending(data: dict[str, Any]) -> str:
    ending = data.get("file_ending", ".nii.gz")
    return ending if isinstance(ending, str) and ending.startswith(".") else ".nii.gz"


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*") if not file.name.startswith(".") and file.is_file())


def _stem(file: Path, ending: str) -> str:
    return file.name.removesuffix(ending) if file.name.endswith(ending) else ""


def _listed_is_there(data: dict[str, Any], path: Path) -> bool:
    """Whether an image of the list `training` exists as it is named; in nnU-Net's first version none does."""
    for entry in data["training"]:
        image = entry.get("image") if isinstance(entry, dict) else entry
        if isinstance(image, str) and is_file(path.parent / image):
            return True
    return False


def _regions(data: dict[str, Any], path: Path) -> dict[str, tuple[int, ...]]:
    """Name → values of each region; empty where labels exclude one another."""
    labels = data["labels"]
    if not any(isinstance(value, list) for value in labels.values()):
        return {}
    regions: dict[str, tuple[int, ...]] = {}
    for name, value in labels.items():
        values = value if isinstance(value, list) else [value]
        if name == "ignore" or values == [BACKGROUND]:
            continue
        whole = [v for v in values if isinstance(v, int) and not isinstance(v, bool)]
        if not values or len(whole) < len(values) or not all(BACKGROUND < v <= MAX_VALUE for v in whole):
            raise DatasetError(
                f"{path}: the region {name} is {value}",
                hint=f"give whole numbers from 1 to {MAX_VALUE}, such as [1, 2]",
            )
        regions[name] = tuple(values)
    return regions


def _ignore_value(data: dict[str, Any], path: Path) -> int | None:
    value = data["labels"].get("ignore")
    if value is None or (isinstance(value, int) and value > BACKGROUND):
        return value
    raise DatasetError(f"{path}: the ignore label is {value}", hint="give one whole number")


def _without_ignore(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "labels": {name: value for name, value in data["labels"].items() if name != "ignore"}}


def _listed_cases(data: dict[str, Any], path: Path) -> list[tuple[str, tuple[Path, ...], Path | None]]:
    """Cases of the key `dataset`: {"case": {"images": ["…"], "label": "…"}}."""
    cases = []
    for name, entry in data["dataset"].items():
        images = entry.get("images") if isinstance(entry, dict) else None
        label = entry.get("label") if isinstance(entry, dict) else None
        if not isinstance(images, list) or not images or not all(isinstance(i, str) for i in images):
            raise DatasetError(f"{path}: the case {name} names no images", hint='write {"images": ["a_0000.nii.gz"]}')
        places = tuple(path.parent / PurePosixPath(image) for image in images)
        cases.append((safe_id(name), places, path.parent / label if isinstance(label, str) and label else None))
    return cases


def _named_cases(path: Path, ending: str, found: Source) -> list[tuple[str, tuple[Path, ...], Path | None]]:
    """Cases of imagesTr and imagesTs, by their names."""
    cases = []
    for part in ("Tr", "Ts"):
        images: dict[str, list[Path]] = defaultdict(list)
        for file in _files(path.parent / f"images{part}"):
            if match := _IMAGE.fullmatch(_stem(file, ending)):
                images[match[1]].append(file)
            else:
                lines = found.lost if suffix_of(file) or unsupported_format(file) else found.warnings
                lines.append(f"{file}: is not called CASE_0000{ending}; skipped")
        if part == "Tr":
            labels = [file for file in _files(path.parent / "labelsTr") if suffix_of(file)]
            unmatched = [file for file in labels if _stem(file, ending) not in images]
            found.lost += [f"{file}: has no image in imagesTr; skipped" for file in unmatched]
        found.lost += [f"{file}: is {why}; skipped" for file, why in missing_files_below(path.parent / f"images{part}")]
        for name in sorted(images, key=natural_key):
            files = images[name]
            label = path.parent / "labelsTr" / f"{name}{ending}" if part == "Tr" else None
            if label is not None and not is_file(label) and not label.is_symlink():
                found.warnings.append(f"{label}: does not exist; {name} comes in without a label")
                label = None
            cases.append((safe_id(name), tuple(files), label))
    if (path.parent / "labelsTs").is_dir():
        found.warnings.append(f"{path.parent / 'labelsTs'}: skipped; test cases come in without labels")
    return cases


def _case(
    case_id: str,
    images: tuple[Path, ...],
    label: Path | None,
    found: Source,
    regions: dict[str, tuple[int, ...]],
    ignore: int | None,
    options: ImportOptions,
) -> SourceCase:
    numbers = [int(m[2]) for image in images if (m := _IMAGE.fullmatch(image.name.split(".")[0]))]
    if len(images) != len(found.channels) or (numbers and numbers != list(range(len(numbers)))):
        error = DatasetError(
            f"{', '.join(image.name for image in images)}: are not one image for each of the channels "
            f"{', '.join(channel.name for channel in found.channels)}",
            hint="give CASE_0000, CASE_0001 … for every case",
        )
        return SourceCase(case_id, images, None, convert=partial(fail, error), labels=True)
    if label is None or not (regions or ignore is not None):
        return SourceCase(case_id, images, label)
    if not regions:  # the label file can be referred to, once it is seen to have nothing that is ignored
        return SourceCase(case_id, images, label, convert=partial(_check_ignored, label, ignore))
    convert = partial(_convert, images[0], label, found, regions, ignore, options)
    return SourceCase(case_id, images, None, convert=convert, parts=(label,), labels=True)


def _check_ignored(label: Path, ignore: int | None) -> ConvertedCase:
    count = value_counts(to_integer_labels(read_volume(label).array, label)).get(ignore or 0, 0)
    if count:
        raise LabelError(
            f"{label}: {count} voxels hold the ignore label {ignore}; what was annotated is known for whole cases only",
            hint="finish the annotation of this case, or leave it out",
        )
    return ConvertedCase()


def _convert(
    image: Path,
    label: Path,
    found: Source,
    regions: dict[str, tuple[int, ...]],
    ignore: int | None,
    options: ImportOptions,
) -> ConvertedCase:
    """The regions of one label file as structures that may overlap."""
    if ignore is not None:
        _check_ignored(label, ignore)
    values = sorted({value for listed in regions.values() for value in listed})
    known = make_structures([f"label_{value}" for value in values], values)
    geometry = read_geometry(image)
    labels, placement = place_segmentation(
        read_segmentation(label, known), geometry, name=str(label), image_name=str(image)
    )
    structures: tuple[Structure, ...] = found.structures or ()
    missing = [s.name for s in structures if s.name not in regions]
    if missing:
        raise LabelError(f"{label}: no region is called {missing[0]}", hint=f"regions are {', '.join(regions)}")
    masks = [(s.name, np.isin(labels.array, regions[s.name])) for s in structures]
    segmentation, _ = merge_masks(masks, structures, geometry, options.priority)
    notes = (f"{label} is {placement}",) if placement else ()
    return ConvertedCase(None, segmentation, None, (f"regions from {label.name}", *notes), notes)


FORM = SourceForm(
    "nnunet",
    "a raw folder of nnU-Net: dataset.json, imagesTr with CASE_0000, labelsTr",
    explain_mismatch,
    read,
    "dataset.json and files called CASE_0000",
    frozenset({"priority", "fragments"}),
)
