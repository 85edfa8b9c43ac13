"""A dataset on disk: its manifest, and its images and labels loaded as what they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from osteon.core.errors import DatasetError, UsageError
from osteon.core.geometry import Geometry
from osteon.core.labels import Segmentation, Structure
from osteon.core.volume import Volume
from osteon.dataset.case_history import apply_histories, read_histories
from osteon.dataset.checks import align_segmentation, check_content, check_image, grid_mismatch, reorient_array
from osteon.dataset.manifest import Case, Channel, Manifest, read_manifest
from osteon.formats.io import read_geometry, read_segmentation, read_volume
from osteon.formats.labelmap import to_index_map, to_multi_hot


@dataclass(frozen=True)
class Dataset:
    """A folder with dataset.yaml.

    Attributes:
        folder: Where paths in the manifest start.
        manifest: What dataset.yaml says, with the labels that count now.
    """

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path) -> Dataset:
        """Read `folder`/dataset.yaml, and over it the labels that people saved since (`case_history`).

        Raises FileError and DatasetError as `read_manifest`.
        """
        folder = Path(folder)
        return cls(folder, apply_histories(read_manifest(folder), read_histories(folder)))

    @cached_property
    def imported(self) -> Dataset:
        """The dataset as dataset.yaml alone has it. Raises FileError and DatasetError as `read_manifest`."""
        return Dataset(self.folder, read_manifest(self.folder))

    @property
    def structures(self) -> tuple[Structure, ...]:
        """The structures, in the manifest's order."""
        return tuple(self.manifest.structures)

    def case(self, case_id: str) -> Case:
        """The case of that id. Raises UsageError where there is none."""
        if case_id in self._by_id:
            return self._by_id[case_id]
        raise UsageError(
            f"{self.folder}: no case is called {case_id}", hint="dataset.yaml lists the ids; check the spelling"
        )

    @cached_property
    def _by_id(self) -> dict[str, Case]:
        return {case.id: case for case in self.manifest.cases}

    def restrict_to(self, case: Case) -> Dataset:
        """The dataset with that case only: what another process is given to work on it."""
        return Dataset(self.folder, self.manifest.model_copy(update={"cases": [case]}))

    def resolve(self, path: str) -> Path:
        """A path of the manifest as one that can be opened: relative ones start at the dataset's folder."""
        return self.folder / path

    def geometry(self, case: Case) -> Geometry:
        """The grid of the case's first image; reads no voxels."""
        return read_geometry(self.resolve(case.images[0]))

    def load_image(self, case: Case, *, verify: bool = True, keep_dtype: bool = False) -> Volume:
        """The image with all its channels, `[channel, i, j, k]`, on the first file's grid.

        Args:
            case: Of this dataset.
            verify: Refuse an image that is not the one whose hash the manifest has (`content`): folds and the
                final test are made by that, and its label may not belong to another.
            keep_dtype: Keep types of eight bytes, to write the image anew; else they become float32, as networks take
                them.

        Raises:
            FileError: A file is missing or damaged.
            GeometryError: Two channels do not lie on one grid.
            ImageError: A channel holds NaN or Inf, or shows nothing.
            DatasetError: The number of channels is not the manifest's, or the image is another.
        """
        name = f"case {case.id}"
        paths = [self.resolve(image) for image in case.images]
        volume = read_channels(paths, self.manifest.channels, name, keep_dtype=keep_dtype)
        if verify and case.content is not None:
            check_content(volume, case.content, f"{name}: {self.resolve(case.images[0])}")
        return volume

    def load_segmentation(self, case: Case, *, pieces: bool = False) -> Segmentation:
        """The reference on the image's grid: multi-hot where the manifest says `overlapping`, an index map else.

        Args:
            case: Of this dataset.
            pieces: Of structures with `instances`, whether each piece keeps its value; else all have the structure's.

        Raises:
            FileError: A file is missing or damaged.
            LabelError: It holds what no structure has.
            GeometryError: It does not lie on the image's grid.
            DatasetError: The case has no segmentation.
        """
        if case.segmentation is None:
            raise DatasetError(f"case {case.id}: has no segmentation", hint="use the cases of `manifest.labelled`")
        path = self.resolve(case.segmentation)
        name, image_name = f"case {case.id}: {path}", str(self.resolve(case.images[0]))
        segmentation = read_segmentation(path, self.structures, pieces=pieces)
        aligned = align_segmentation(segmentation, self.geometry(case), name=name, image_name=image_name)
        return to_multi_hot(aligned) if self.manifest.overlapping else to_index_map(aligned, name)


def read_channels(paths: Sequence[Path], channels: Sequence[Channel], name: str, *, keep_dtype: bool = False) -> Volume:
    """Read and check one image from one file for each channel, or from one file that holds them all.

    Args:
        paths: The files, in the channels' order; the first one's axes are taken for all.
        channels: What the channels must be.
        name: The case, for messages.
        keep_dtype: As for `Dataset.load_image`.

    Raises:
        FileError, GeometryError, ImageError, DatasetError: As `Dataset.load_image`.
    """
    volume = stack_channels(
        (read_volume(path, single=not keep_dtype) for path in paths), [str(path) for path in paths], name
    )
    array = volume.array
    if len(array) != len(channels):
        raise DatasetError(
            f"{name}: {paths[0]} holds {len(array)} channels, the dataset has {len(channels)} "
            f"({', '.join(channel.name for channel in channels)})",
            hint="correct the dataset's list of channels, or leave the case out",
        )
    return volume


def stack_channels(volumes: Iterable[Volume], names: Sequence[str], name: str) -> Volume:
    """Check images and make them the channels of one, on the first one's axes; a single one stays as it is.

    Args:
        volumes: One for each channel, or one that holds them all; each is asked for when the one before is laid in.
        names: What each is called, for messages.
        name: The case, for messages.

    Raises:
        GeometryError: Two do not lie on one grid.
        ImageError: One holds NaN or Inf, or shows nothing.
        DatasetError: One of several holds several channels.
    """
    made: Volume | None = None
    for number, (path_name, volume) in enumerate(zip(names, volumes, strict=True)):
        grid = volume.geometry if made is None else made.geometry
        turned = reorient_array(volume.array, volume.geometry, grid)
        if turned is None:
            hint = "channels of one case must lie on one grid: correct the header that is wrong, or resample the image"
            raise grid_mismatch(grid, volume.geometry, name=f"{name}: {path_name}", image_name=names[0], hint=hint)
        check_image(volume, f"{name}: {path_name}")
        if len(names) > 1 and len(turned) != 1:
            raise DatasetError(
                f"{name}: {path_name} holds {len(turned)} channels, but is listed for one",
                hint="list one file for each channel, or one file that holds them all",
            )
        if len(names) == 1:
            return volume
        if made is None:
            made = Volume(np.empty((len(names), *grid.shape), dtype=turned.dtype), grid)
        kind = np.result_type(made.array.dtype, turned.dtype)
        made = Volume(made.array.astype(kind, copy=False), grid)
        made.array[number] = turned[0]
    if made is None:
        raise ValueError("an image without a file")
    return made
