"""A dataset's images and labels as files of another layout: copied or linked where they can stay, else written anew.

Labels are always written anew: on the image's axes, with the values that the layout wants.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from osteon.core.errors import DatasetError
from osteon.core.files import atomic_write
from osteon.core.labels import Segmentation
from osteon.core.pieces import without_pieces
from osteon.core.volume import Volume
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import Case, Channel
from osteon.dataset.modality import modality_of
from osteon.exporting.export_form import ExportCase, OutputFile
from osteon.formats import write_segmentation, write_volume
from osteon.formats.io import header_warnings

SUFFIX = ".nii.gz"
"""Of every file: both layouts have one for all."""
_NAMES = {"ct": "CT", "mr": "MRI", "xray": "xray"}


def dataset_entry(case: ExportCase) -> tuple[Dataset, Case]:
    """The dataset and its case. Raises DatasetError where the case is none of a dataset."""
    if case.dataset is None or case.entry is None:
        raise DatasetError(f"{case.id}: is no case of a dataset", hint="give a folder with dataset.yaml")
    return case.dataset, case.entry


def check_fully_annotated(case: ExportCase, layout: str) -> None:
    """Raise DatasetError where somebody looked for some structures only: the layout would call the rest background."""
    dataset, entry = dataset_entry(case)
    unknown = [s.name for s in dataset.structures if entry.annotated is not None and s.name not in entry.annotated]
    if unknown and entry.segmentation is not None:
        raise DatasetError(
            f"case {case.id}: {', '.join(unknown)} not annotated in it, and {layout} can only call that background",
            hint="annotate the case, or leave it out",
        )


def channel_files(case: ExportCase, folder: str, *, link: bool) -> list[OutputFile]:
    """A file for each channel, `CASE_0000.nii.gz`, `CASE_0001.nii.gz` …, as nnU-Net has them."""
    dataset, entry = dataset_entry(case)
    files = [dataset.resolve(image) for image in entry.images]
    paths = [Path(folder, f"{case.id}_{n:04d}{SUFFIX}") for n in range(len(dataset.manifest.channels))]
    volume = dataset.load_image(entry, keep_dtype=True)  # checked in any case: what is exported can be read
    outputs = []
    for n, path in enumerate(paths):
        alone = len(files) == len(paths)
        write = (
            partial(_copy_or_link, source=files[n], link=link)
            if alone and _can_link(files[n])
            else partial(write_volume, volume=Volume(volume.array[n : n + 1], volume.geometry))
        )
        outputs.append(OutputFile(path, write))
    return outputs


def image_file(case: ExportCase, folder: str, *, link: bool) -> OutputFile:
    """One file with all channels, `CASE.nii.gz`, as the Decathlon has it."""
    dataset, entry = dataset_entry(case)
    files = [dataset.resolve(image) for image in entry.images]
    volume = dataset.load_image(entry, keep_dtype=True)
    path = Path(folder, f"{case.id}{SUFFIX}")
    if len(files) == 1 and _can_link(files[0]):
        return OutputFile(path, partial(_copy_or_link, source=files[0], link=link))
    return OutputFile(path, partial(write_volume, volume=volume))


def label_file(case: ExportCase, folder: str, segmentation: Segmentation) -> OutputFile:
    """An index map as a label file; names and colours of its structures go along in the header, none of pieces."""
    plain = Segmentation(
        segmentation.array, segmentation.geometry, tuple(without_pieces(s) for s in segmentation.structures)
    )
    return OutputFile(Path(folder, f"{case.id}{SUFFIX}"), partial(write_segmentation, segmentation=plain))


def channel_name(channel: Channel) -> str:
    """A channel's name that shows its modality; CT is `CT`, by which nnU-Net chooses its normalisation."""
    if channel.modality == "ct" or modality_of(channel.name) != channel.modality:
        return _NAMES.get(channel.modality, channel.name)
    return channel.name


def _can_link(file: Path) -> bool:
    """Whether a file can be handed on as it is: not where other programs may see it elsewhere than its label."""
    return file.name.endswith(SUFFIX) and not any(odd.severe for odd in header_warnings(file, label=False))


def _copy_or_link(path: Path, source: Path, *, link: bool) -> None:
    with atomic_write(path) as temporary:
        if link:
            temporary.symlink_to(source.resolve())
        else:
            shutil.copyfile(source, temporary)
