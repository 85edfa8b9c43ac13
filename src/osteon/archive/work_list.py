"""The studies of a watch and how far each is: a file for each, so that a kill at any moment loses nothing.

found → fetched → segmented → answered, or from any of them → failed (tried again later) → quarantined, or skipped.
Each step can be done twice without harm; so what was killed is simply begun again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from osteon.core.files import remove_stale, write_json
from osteon.core.records import read_record

State = Literal["found", "fetched", "segmented", "answered", "failed", "quarantined", "skipped"]
FINAL: frozenset[State] = frozenset({"answered", "quarantined", "skipped"})
STUDIES = "studies"
WORK = "work"
LONGEST_PAUSE_S = 3600.0
MOST_DEATHS = 5
"""A study over which the process died so often without an error is put into quarantine."""


class WorkItem(BaseModel):
    """A study and how far it is.

    Attributes:
        study: StudyInstanceUID.
        series: SeriesInstanceUID of the series that is segmented.
        model: Folder of the model.
        rule: That fits it, in words.
        modality: Of the series, as DICOM says it.
        state: The last step that was done, or how it ended.
        resume: Where a study that failed goes on.
        in_range: Whether the series has as many slices as its rule asks for.
        instances: Of the series, when it was looked at last.
        changed_at: Since when there are so many, in seconds of the epoch.
        found_at: When it was seen first, likewise.
        ended_at: When it was answered, skipped or put into quarantine; 0: not yet.
        failures: Attempts that ended with an error.
        deaths: Attempts that ended with the process.
        next_at: When it is tried again; 0: at once.
        reason: Why it failed, waits or was skipped.
        sent: Kinds of answers that the archive has.
        seconds: By step.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    study: str
    series: str
    model: str
    rule: str = ""
    modality: str = ""
    state: State = "found"
    resume: State = "found"
    in_range: bool = True
    instances: int = 0
    changed_at: float = 0.0
    found_at: float = 0.0
    ended_at: float = 0.0
    failures: int = 0
    deaths: int = 0
    next_at: float = 0.0
    reason: str = ""
    sent: list[str] = []
    seconds: dict[str, float] = {}

    @property
    def name(self) -> str:
        """How files and messages call it; says nothing of the patient."""
        return study_name(self.study)

    @property
    def over(self) -> bool:
        """Whether nothing more is done."""
        return self.state in FINAL

    def is_due(self, now: float) -> bool:
        """Whether it is to be worked on; a clock that was set back does not make it wait longer than any pause."""
        return not self.over and not now < self.next_at <= now + LONGEST_PAUSE_S

    def settled(self, looked_at: float, quiet_s: float) -> bool:
        """Whether the series had not grown for so long at the last look; where a clock was set back, from then on."""
        self.changed_at = min(self.changed_at, looked_at)
        return looked_at > 0 and looked_at - self.changed_at >= quiet_s

    def fail(self, reason: str, now: float, attempts: int, pause_s: float) -> None:
        """Count a failure: it is tried again after a pause that grows, or never."""
        self.failures += 1
        self.reason, self.resume = reason, "segmented" if self.state == "segmented" else "found"
        if self.failures >= attempts:
            self.end("quarantined", reason, now)
        else:
            self.state = "failed"
            self.next_at = now + min(pause_s * 2 ** (self.failures - 1), LONGEST_PAUSE_S)

    def end(self, state: Literal["answered", "quarantined", "skipped"], reason: str, now: float) -> None:
        """Nothing more is done."""
        self.state, self.reason, self.ended_at, self.next_at, self.deaths = state, reason, now, 0.0, 0


def study_name(study: str) -> str:
    """A name of 16 characters for a StudyInstanceUID."""
    return hashlib.sha256(study.encode()).hexdigest()[:16]


class WorkList:
    """The work list of a folder, which the caller holds (`core.locks.lock_folder`).

    Args:
        folder: Of the watch.

    Raises:
        FileError: A file of it is damaged; the hint says the way out.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / STUDIES).mkdir(parents=True, exist_ok=True)
        remove_stale(folder / STUDIES)
        self._items: dict[str, WorkItem] = {}
        for path in sorted((folder / STUDIES).glob("*.json")):
            hint = "remove the file: the study is found again, and what it was answered with is not sent twice"
            item = WorkItem.model_validate(read_record(path, "the state of a study", WorkItem, hint))
            self._items[item.study] = item

    def __iter__(self) -> Iterator[WorkItem]:
        return iter(list(self._items.values()))

    def waiting(self) -> list[WorkItem]:
        """Those that are not over, in the order in which they were found."""
        return sorted(
            (item for item in self._items.values() if not item.over), key=lambda item: (item.found_at, item.study)
        )

    def __contains__(self, study: object) -> bool:
        return study in self._items

    def __len__(self) -> int:
        return len(self._items)

    def get(self, study: str) -> WorkItem | None:
        """The item of a StudyInstanceUID; None where there is none."""
        return self._items.get(study)

    def save(self, item: WorkItem) -> None:
        """Write an item, whole or not at all. Raises FileError, DiskFullError."""
        write_json(self.folder / STUDIES / f"{item.name}.json", item.model_dump(mode="json"))
        self._items[item.study] = item

    def work_folder(self, item: WorkItem) -> Path:
        """Where scan, segmentation and answers of a study lie while it is in work."""
        return self.folder / WORK / item.name

    def counts(self) -> Counter[State]:
        """Items by state."""
        return Counter(item.state for item in self)

    def oldest_waiting(self) -> float | None:
        """When the oldest item that is not over was found, in seconds of the epoch; None: nothing waits."""
        return min((item.found_at for item in self if not item.over), default=None)
