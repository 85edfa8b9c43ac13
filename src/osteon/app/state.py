"""What all pages share: the workspace, its jobs, uploads, and the process that reads volumes."""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osteon.app.archives import NamedArchive
from osteon.app.drawing.presence import Presence
from osteon.app.jobs import Job, Jobs
from osteon.app.reader import ReaderProcess
from osteon.app.scenes import INFO, SceneRequest, make_scene
from osteon.app.uploads import MOST_BYTES, Uploads
from osteon.app.workspace import ID_DIGITS, Item, Workspace
from osteon.core.errors import OsteonError
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import FILE_NAME as MANIFEST

MAX_ORDERS = 100
"""Lists of cases that are remembered; the oldest is forgotten first."""
SCENE_FILE = re.compile(r"(image|[abd]-\d{1,2})\.(nii\.gz|bin)|poster\.png")


@dataclass(frozen=True)
class FoundCase:
    """A case of a dataset.

    Attributes:
        item: The dataset in the workspace.
        dataset: It, opened.
        name: The case's id in it.
        names: Of all cases, in the order in which a list showed them, else in the dataset's.
        order: Stands for that order in URLs; empty: the dataset's.
    """

    item: Item
    dataset: Dataset
    name: str
    names: list[str]
    order: str


@dataclass(frozen=True)
class Undo:
    """What was done last, and how it is undone.

    Attributes:
        text: What was done, in a sentence.
        revert: Undoes it; may take long, and raises OsteonError where that does not work.
        at_s: When it was done, on the monotonic clock.
    """

    text: str
    revert: Callable[[], object]
    at_s: float = field(default_factory=time.monotonic)


@dataclass
class AppState:
    """The app's state: the workspace on disk, what is being uploaded and read just now, and what was done last.

    Attributes:
        workspace: The folder with all data.
        upload_limit: Bytes that one upload may have, unpacked.
        reader: The process that reads volumes.
        undo: The last action, where it can be undone.
        presence: Who has which case open.
        archives: That may be asked and sent to, by name.
        jobs: Of the workspace.
        uploads: That are coming in.
        orders: Lists of cases as they were shown, by an id, so that pages go from case to case in their order.
    """

    workspace: Workspace
    upload_limit: int = MOST_BYTES
    reader: ReaderProcess = field(default_factory=ReaderProcess)
    undo: Undo | None = None
    presence: Presence = field(default_factory=Presence)
    archives: Mapping[str, NamedArchive] = field(default_factory=dict)
    jobs: Jobs = field(init=False)
    uploads: Uploads = field(init=False)
    orders: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.jobs = Jobs(self.workspace.root)
        self.uploads = Uploads(self.workspace, self.upload_limit)

    def datasets(self) -> list[Item]:
        """Datasets whose import has succeeded."""
        return [item for item in self.workspace.items("datasets") if (item.path / MANIFEST).is_file()]

    def models(self) -> list[Item]:
        """Runs that have a model."""
        return [item for item in self.workspace.items("runs") if (item.path / "model/weights.safetensors").is_file()]

    def open_jobs(self, kind: str, name: str) -> list[Job]:
        """The jobs about one thing that are neither done nor cancelled, the newest first."""
        return [job for job in self.jobs.about(kind, name) if self.is_open(job)]

    def is_open(self, job: Job) -> bool:
        """Whether a job is neither done nor cancelled."""
        return self.jobs.state(job).phase not in ("done", "cancelled")

    def case_id(self, item: Item, name: str) -> str:
        """The id that stands for a case of a dataset, a result or a run in URLs."""
        return self.workspace.keyed_hash(item.kind, item.name, name)

    def keep_order(self, item: Item, names: Iterable[str]) -> str:
        """Remember a list of an item's cases; an id for URLs, which hold no names."""
        order = tuple(names)
        order_id = self.workspace.keyed_hash("order", item.name, *order)
        self.orders.pop(order_id, None)
        self.orders[order_id] = order
        while len(self.orders) > MAX_ORDERS:
            del self.orders[next(iter(self.orders))]
        return order_id

    def find_case(self, item: Item, names: Iterable[str], case_id: str) -> str | None:
        """The case among `names` that an id stands for."""
        return next((name for name in names if hmac.compare_digest(self.case_id(item, name), case_id)), None)

    def find_dataset_case(self, dataset_id: str, case_id: str, order: str = "") -> FoundCase:
        """The case that a page's URL stands for. Raises OsteonError where it is no longer there."""
        item = self.workspace.find("datasets", dataset_id)
        dataset = None if item is None else open_dataset(item)
        names = [] if dataset is None else [case.id for case in dataset.manifest.cases]
        name = None if item is None else self.find_case(item, names, case_id)
        if item is None or dataset is None or name is None:
            raise OsteonError("this case is no longer here", hint="go back to Data")
        known = set(names)
        ordered = [other for other in self.orders.get(order, ()) if other in known]
        names, order = (ordered, order) if name in ordered else (names, "")
        return FoundCase(item, dataset, name, names, order)

    async def load_scene(self, request: SceneRequest) -> tuple[str, dict[str, Any]]:
        """The scene's id and its info.json; made where it is not there.

        Raises:
            OsteonError: A file lies outside the workspace or cannot be read, or labels do not fit.
        """
        for path in (*request.images, *(part.path for part in (request.first, request.second) if part is not None)):
            self.workspace.check_readable(path)
        scene_id = self.workspace.keyed_hash("scene", request.cache_key())
        folder = self.workspace.root / "cache" / scene_id
        return scene_id, await self.reader.run(make_scene, request, folder)

    async def preload_scene(self, request: SceneRequest) -> None:
        """Make a scene that will probably be asked for next; errors are ignored."""
        with suppress(OsteonError):
            await self.load_scene(request)

    def scene_file(self, scene_id: str, name: str) -> Path | None:
        """A file of a scene that was made; None for anything else."""
        if not re.fullmatch(rf"[0-9a-f]{{{ID_DIGITS}}}", scene_id) or not SCENE_FILE.fullmatch(name):
            return None
        folder = self.workspace.root / "cache" / scene_id
        path = folder / name
        return path if (path.is_file() and (folder / INFO).is_file()) else None


def open_dataset(item: Item) -> Dataset | None:
    """The dataset of an item; None where it has none yet, or it is damaged."""
    try:
        return Dataset.open(item.path)
    except OsteonError:
        return None
