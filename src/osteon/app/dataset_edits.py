"""Corrections made on a dataset's page: names, colours, cases held out or removed. In the reader's process."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from osteon.core.errors import DatasetError, UsageError
from osteon.core.labels import Structure, palette, side_of
from osteon.dataset.annotated_names import keep_known, rename_annotated
from osteon.dataset.case_history import FOLDER as ANNOTATIONS
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Manifest, describe_errors, read_manifest, write_manifest
from osteon.formats.io import read_segmentation, write_segmentation


def correct_structures(folder: Path, names: Mapping[str, str], colours: Mapping[str, str]) -> Manifest:
    """Give structures other names and colours.

    Files in which names are the meaning (.seg.nrrd) are written anew where they are the dataset's own.

    Args:
        folder: The dataset.
        names: Name now → new name.
        colours: Name now → `#rrggbb`.

    Raises:
        UsageError: A name is empty or given twice, or label files of the user's would have to be changed.
        DatasetError: The manifest would make no sense.
        FileError: A file cannot be written.
    """
    dataset = Dataset.open(folder).imported
    before = dataset.manifest.structures
    new_names = {s.name: names.get(s.name, s.name).strip() for s in before}
    if not all(new_names.values()) or len(set(new_names.values())) < len(new_names):
        raise UsageError("two structures have the same name, or one has none", hint="give each a name of its own")
    known = set(new_names.values())
    structures = []
    for structure in before:
        name = new_names[structure.name]
        side, counterpart = structure.side, new_names.get(structure.counterpart or "")
        if name != structure.name:
            side, other = side_of(name)
            counterpart = other if other in known else None
        colour = colours.get(structure.name, structure.colour)
        fresh = {"name": name, "colour": colour, "side": side, "counterpart": counterpart}
        structures.append(Structure.model_validate(structure.model_dump() | fresh))
    counterparts = {s.name: s.counterpart for s in structures}
    structures = [
        s if counterparts.get(s.counterpart or "") == s.name else s.model_copy(update={"counterpart": None})
        for s in structures
    ]
    if any(old != new for old, new in new_names.items()):
        _rename_in_files(dataset, new_names)
        rename_annotated(folder, new_names)
    cases = [
        case.model_copy(
            update={"annotated": None if case.annotated is None else [new_names[n] for n in case.annotated]}
        )
        for case in dataset.manifest.cases
    ]
    return _write(folder, dataset.manifest, structures=structures, cases=cases)


def add_structure(folder: Path, name: str, colour: str | None = None) -> Manifest:
    """Add a structure: it is unknown in every case that has a label, since nobody has looked for it there.

    Args:
        folder: The dataset.
        name: Its name.
        colour: `#rrggbb`; the palette's next where None.

    Raises:
        UsageError: The name is empty or taken.
        DatasetError: The manifest would make no sense.
        FileError: A file cannot be written.
    """
    manifest, name = read_manifest(folder), name.strip()
    before = manifest.structures
    if not name or name in {s.name for s in before}:
        raise UsageError("a structure of this name is there already, or it has none", hint="give it a name of its own")
    side, other = side_of(name)
    twin = next((s for s in before if s.name == other and s.counterpart is None), None)
    fresh = Structure(
        name=name,
        value=max((s.values[-1] for s in before), default=0) + 1,
        colour=colour or palette(len(before) + 1)[-1],
        side=side if twin is not None or {"left", "right"} & set(re.split("[_ .-]", name.lower())) else None,
        counterpart=None if twin is None else twin.name,
    )
    linked = [s.model_copy(update={"counterpart": name}) if s is twin else s for s in before]
    known = [s.name for s in before]
    keep_known(folder, known)
    cases = [
        case.model_copy(update={"annotated": known}) if case.segmentation and case.annotated is None else case
        for case in manifest.cases
    ]
    return _write(folder, manifest, structures=[*linked, fresh], cases=cases)


def correct_cases(folder: Path, *, held_out: Collection[str], removed: Collection[str]) -> Manifest:
    """Hold cases out for the final test, and take others off the list; no file is removed.

    Raises:
        UsageError: None would be left to train on.
    """
    manifest = read_manifest(folder)
    cases = [
        case.model_copy(update={"held_out": case.id in held_out}) for case in manifest.cases if case.id not in removed
    ]
    labelled = [case for case in cases if case.segmentation is not None]
    if labelled and all(case.held_out for case in labelled):
        raise UsageError("every labelled case would be held out, and none be left to train on", hint="hold fewer out")
    return _write(folder, manifest, cases=cases)


def _rename_in_files(dataset: Dataset, new_names: Mapping[str, str]) -> None:
    folder = dataset.folder.resolve()
    named = sorted((folder / ANNOTATIONS).glob("*/*.seg.nrrd"))
    for case in dataset.manifest.labelled:
        path = dataset.resolve(str(case.segmentation)).resolve()
        if not path.name.lower().endswith(".seg.nrrd"):
            continue
        if not path.is_relative_to(folder):
            raise UsageError(
                f"case {case.id}: its label file is yours and says the structures' names itself",
                hint="rename the segments in 3D Slicer, then import again",
            )
        named.append(path)
    for path in named:
        read = read_segmentation(path, dataset.structures, pieces=True)
        fresh = tuple(s.model_copy(update={"name": new_names[s.name], "counterpart": None}) for s in read.structures)
        write_segmentation(path, replace(read, structures=fresh))


def _write(folder: Path, manifest: Manifest, **changes: object) -> Manifest:
    try:
        changed = Manifest.model_validate(manifest.model_copy(update=changes).model_dump())
    except ValidationError as error:
        raise DatasetError(
            f"the dataset would make no sense: {describe_errors(error)}", hint="correct what is named"
        ) from None
    write_manifest(folder, changed)
    return changed
