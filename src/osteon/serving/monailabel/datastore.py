"""The dataset as MONAI Label's clients see it: images by id, each with labels under tags.

`original` is the label that the case was imported with, `final` the one that counts now (`dataset.case_history`), `v3`
the third version.
"""

from __future__ import annotations

import hashlib
import threading
from contextlib import ExitStack
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from osteon.core.errors import ConflictError, DiskFullError, OsteonError, UsageError
from osteon.core.file_names import name_key
from osteon.core.file_stamps import modification_stamp
from osteon.core.files import link_or_copy
from osteon.core.locks import LOCK_NAME, exclusive_lock
from osteon.core.volume import Volume
from osteon.dataset.case_history import read_history
from osteon.dataset.checks import content_hash
from osteon.dataset.dataset import Dataset, read_channels
from osteon.dataset.label_placement import place_segmentation
from osteon.dataset.label_versions import LabelWork, save_label, version_path
from osteon.dataset.manifest import Case, describe_errors, read_manifest, write_manifest
from osteon.formats.io import read_geometry
from osteon.formats.labelmap import to_index_map, to_multi_hot
from osteon.formats.registry import suffix_of
from osteon.serving.monailabel.labels import keep_unnamed, read_label
from osteon.web.http_errors import RejectedError

FINAL, ORIGINAL = "final", "original"
IMAGES = "images"


class Datastore:
    """A dataset that viewers ask for scans, and send labels to.

    Args:
        folder: With dataset.yaml; it is read anew for each request, as other programs may change it.
        most_voxels: That an image may have.
    """

    def __init__(self, folder: Path, most_voxels: int) -> None:
        self.folder, self.most_voxels = folder, most_voxels
        self._adding = threading.Lock()

    def open(self) -> Dataset:
        """The dataset as it is now."""
        return Dataset.open(self.folder)

    def case(self, image_id: str) -> tuple[Dataset, Case]:
        """A case by its id. Raises RejectedError (404) where there is none."""
        dataset = self.open()
        try:
            return dataset, dataset.case(image_id)
        except UsageError:
            raise RejectedError(
                404, "the dataset has no such image", hint="GET /datastore/?output=all lists them"
            ) from None

    def image(self, image_id: str) -> Path:
        """The file of an image's first channel. Raises RejectedError (404) where there is none."""
        dataset, case = self.case(image_id)
        path = dataset.resolve(case.images[0])
        if not path.is_file():
            raise RejectedError(404, "the image is not one file", hint="ask who runs the server")
        return path

    def label(self, image_id: str, tag: str) -> Path:
        """The file of a label. Raises RejectedError (404) where there is none."""
        dataset, case = self.case(image_id)
        labels = self._labels(dataset, case)
        if tag not in labels or not labels[tag].is_file():
            raise RejectedError(
                404,
                f"the image has no label {tag[:50]!r}",
                hint=f"it has {', '.join(labels)}" if labels else "send one: PUT /datastore/label",
            )
        return labels[tag]

    def unlabelled(self) -> tuple[Dataset, list[Case]]:
        """The cases without a label that counts."""
        dataset = self.open()
        return dataset, [case for case in dataset.manifest.cases if case.segmentation is None]

    def statistics(self) -> dict[str, Any]:
        """How many images there are, how many have a label, and labels by tag."""
        dataset = self.open()
        counts = {
            tag: len(manifest.labelled)
            for tag, manifest in ((FINAL, dataset.manifest), (ORIGINAL, dataset.imported.manifest))
        }
        total, tags = len(dataset.manifest.cases), {tag: count for tag, count in counts.items() if count}
        return {"total": total, "completed": counts[FINAL], "label_tags": tags}

    def objects(self) -> dict[str, Any]:
        """All images and labels."""
        dataset = self.open()
        found: dict[str, Any] = {}
        for case in dataset.manifest.cases:
            current = read_history(self.folder, case.id).current
            found[case.id] = {
                "image": {"ext": suffix_of(Path(case.images[0])) or "", "info": {"name": image_name(case)}},
                "labels": {
                    tag: {"ext": suffix_of(path), "info": {"version": current} if tag == FINAL else {}}
                    for tag, path in self._labels(dataset, case).items()
                },
            }
        return {"name": dataset.manifest.name, "description": "an osteon dataset", "objects": found}

    def _labels(self, dataset: Dataset, case: Case) -> dict[str, Path]:
        """Tag → file."""
        versions = read_history(self.folder, case.id).versions
        labels = {f"v{version.number}": version_path(dataset, case.id, version) for version in versions}
        imported = dataset.imported.case(case.id).segmentation
        for tag, path in ((ORIGINAL, imported), (FINAL, case.segmentation)):
            if path is not None:
                labels[tag] = dataset.resolve(path)
        return labels

    def sample(self, case: Case, dataset: Dataset, *, local: bool) -> dict[str, Any]:
        """A case as a viewer opens it; where its file lies is said to programs on this machine alone."""
        path = dataset.resolve(case.images[0])
        checksum = f"SHA256:{_sha256(path, modification_stamp(path))}" if path.is_file() else ""
        where = str(path.resolve()) if local else ""
        return {"id": case.id, "name": image_name(case), "path": where, "checksum": checksum}

    def add_image(self, image_id: str, path: Path, author: str) -> str:
        """Add a scan to the dataset, under a new id; one that is there under its id stays as it is.

        Args:
            image_id: As the client calls it.
            path: The file, under a suffix that readers know; it is copied.
            author: Who sends it.

        Raises:
            RejectedError: 409, the dataset has such an image, or another program changes it; 422, the id cannot name
                files, or the image is none that the dataset can have.
        """
        name = f"images/{image_id}{suffix_of(path)}"
        try:
            case = Case(id=image_id, images=[name], provenance=[f"sent by {author}"])
        except ValidationError as error:
            raise RejectedError(422, f"image: {describe_errors(error)}", hint="give another id") from None
        with self._adding, ExitStack() as held:
            try:
                held.enter_context(exclusive_lock(self.folder / LOCK_NAME, wait=False))
            except BlockingIOError:
                raise RejectedError(409, "the dataset is being changed", hint="try again later") from None
            manifest = read_manifest(self.folder)
            volume = self._read_image(path, manifest.channels)
            content = content_hash(volume)
            for other in manifest.cases:
                if (other.id, other.content) == (image_id, content):
                    return image_id
                if name_key(other.id) == name_key(image_id) or content == other.content:
                    raise RejectedError(
                        409, f"the dataset has this image: {other.id}", hint=f"use the image {other.id}"
                    )
            target = self.folder / name
            if target.exists():
                raise RejectedError(409, "the dataset has a file of this name", hint="give another id")
            link_or_copy(path, target)
            cases = [*manifest.cases, case.model_copy(update={"content": content})]
            write_manifest(self.folder, manifest.model_copy(update={"cases": cases}))
        return image_id

    def _read_image(self, path: Path, channels: Any) -> Volume:
        try:
            voxels = prod(read_geometry(path).shape)
            if voxels > self.most_voxels:
                raise RejectedError(
                    422,
                    f"the image has {voxels:,} voxels; {self.most_voxels:,} are taken",
                    hint="crop it, or ask the server's administrator to raise --max-voxels",
                )
            return read_channels([path], channels, "the image")
        except OsteonError as error:
            raise as_rejected(error, path, "the image") from error

    def save_label(
        self, image_id: str, path: Path, author: str, *, label_info: Any = None, base: int | None = None
    ) -> int:
        """Save a label that a viewer sends as a new version, which counts from now on. Returns its number.

        Args:
            image_id: The case.
            path: The file, under a suffix that readers know. A box of the scan's voxels is laid where it lies.
            author: Who sends it.
            label_info: What its values mean (`labels.read_label`). Structures that it does not name stay as they are.
            base: The version that it was made from; None: the client does not say.

        Raises:
            RejectedError: 404, there is no such image; 409, `base` does not count any more; 422, it does not lie on
                the image's grid, or holds what is no structure.
        """
        dataset, case = self.case(image_id)
        name, image = f"case {image_id}: the label", f"case {image_id}: the scan"
        try:
            sent, spoken = read_label(path, dataset.structures, label_info)
            placed, _ = place_segmentation(sent, dataset.geometry(case), name=name, image_name=image, hint=_GRID_HINT)
            label = to_multi_hot(placed) if dataset.manifest.overlapping else to_index_map(placed, name)
            current = read_history(self.folder, image_id).current
            if case.segmentation is not None and {s.name for s in dataset.structures} - spoken:
                label = keep_unnamed(label, dataset.load_segmentation(case, pieces=True), spoken)
            work = LabelWork(author, annotated=spoken, what="sent by MONAI Label's client")
            return save_label(dataset, image_id, label, work, base=current if base is None else base).number
        except OsteonError as error:
            raise as_rejected(error, path, "the label") from error


_GRID_HINT = "save it on the scan's own grid: in 3D Slicer with the scan as the segmentation's source geometry"


def as_rejected(error: OsteonError, path: Path, name: str) -> OsteonError:
    """An error about a file that was sent, as the answer to its request; the file is called by `name`."""
    if isinstance(error, RejectedError | DiskFullError):
        return error
    status = 409 if isinstance(error, ConflictError) else 422
    message, hint = (text.replace(str(path), name) for text in (error.message, error.hint))
    return RejectedError(status, message, hint=hint)


def image_name(case: Case) -> str:
    """A name for the file of a case's image: viewers know its format by it."""
    return f"{case.id}{suffix_of(Path(case.images[0])) or ''}"


@lru_cache(maxsize=1024)
def _sha256(path: Path, _stamp: str) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
