"""What all pages share: the workspace, its jobs, uploads, and the process that reads volumes."""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osteon.app.jobs import Jobs
from osteon.app.reader import ReaderProcess
from osteon.app.scenes import INFO, SceneRequest, make_scene
from osteon.app.uploads import MOST_BYTES, Uploads
from osteon.app.workspace import ID_DIGITS, Item, Workspace
from osteon.core.errors import OsteonError
from osteon.dataset.dataset import Dataset
from osteon.dataset.manifest import FILE_NAME as MANIFEST
from osteon.dataset.manifest import Case

SCENE_FILE = re.compile(r"(image|[abd]-\d{1,2})\.(nii\.gz|bin)|poster\.png")


@dataclass(frozen=True)
class Undo:
    """What was done last, and how it is taken back.

    Attributes:
        text: What was done, in a sentence.
        back: Takes it back; may take long, and raises OsteonError where that does not work.
        at: When it was done; seconds of the monotonic clock.
    """

    text: str
    back: Callable[[], object]
    at: float = field(default_factory=time.monotonic)


@dataclass
class AppState:
    """The app's state: all of it lies on disk but what is being uploaded and read just now, and what was done last."""

    workspace: Workspace
    limit: int = MOST_BYTES
    reader: ReaderProcess = field(default_factory=ReaderProcess)
    undo: Undo | None = None
    jobs: Jobs = field(init=False)
    uploads: Uploads = field(init=False)

    def __post_init__(self) -> None:
        self.jobs = Jobs(self.workspace.root)
        self.uploads = Uploads(self.workspace, self.limit)

    def datasets(self) -> list[Item]:
        """Those whose import came to something."""
        return [item for item in self.workspace.items("datasets") if (item.path / MANIFEST).is_file()]

    def models(self) -> list[Item]:
        """Runs that have a model."""
        return [item for item in self.workspace.items("runs") if (item.path / "model/weights.safetensors").is_file()]

    def case_id(self, item: Item, name: str) -> str:
        """The id that stands for a case of a dataset, a result or a run in URLs."""
        return self.workspace.keyed_hash(item.kind, item.name, name)

    def find_case(self, item: Item, names: Iterable[str], case_id: str) -> str | None:
        """Which of some names an id stands for."""
        return next((name for name in names if hmac.compare_digest(self.case_id(item, name), case_id)), None)

    async def load_scene(self, wanted: SceneRequest) -> tuple[str, dict[str, Any]]:
        """The scene's id, and what is in it; made where it is not there.

        Raises:
            OsteonError: A file lies outside the workspace or cannot be read, or labels do not fit.
        """
        for path in (*wanted.images, *(part.path for part in (wanted.first, wanted.second) if part is not None)):
            self.workspace.check_readable(path)
        scene_id = self.workspace.keyed_hash("scene", wanted.key())
        folder = self.workspace.root / "cache" / scene_id
        return scene_id, await self.reader.run(make_scene, wanted, folder)

    async def preload_scene(self, wanted: SceneRequest) -> None:
        """Make a scene that will probably be asked for next; nothing is said where that fails."""
        with suppress(OsteonError):
            await self.load_scene(wanted)

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


def image_paths(dataset: Dataset, case: Case) -> tuple[Path, ...]:
    """A case's images, as paths that can be opened."""
    return tuple(dataset.resolve(image) for image in case.images)
