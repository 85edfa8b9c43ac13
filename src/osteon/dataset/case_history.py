"""What is known of the labels that people made of a case: versions, state, who works on it. On disk:

DATASET/annotations/<case>/history.json   all of this, written whole
DATASET/annotations/<case>/1.nii.gz       each version, never changed; 1.seg.nrrd where structures overlap
DATASET/annotations/<case>/.lock          who is writing: a lease, as in `core.locks`

dataset.yaml stays as it was imported: what stands here is laid over it where a dataset is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from osteon.core.errors import DatasetError
from osteon.core.records import read_record
from osteon.dataset.manifest import Case, Manifest

FOLDER, HISTORY = "annotations", "history.json"

State = Literal["unlabelled", "predicted", "labelled", "corrected", "approved", "rejected"]
"""`labelled`: as it was imported; `predicted`: by a model, and nobody has looked at it; `corrected`: by a person."""
Kind = Literal["prediction", "correction", "second reading"]
"""What a version is. A second reading is compared with what counts, and never counts itself."""


class LabelVersion(BaseModel):
    """One version of a case's label.

    Attributes:
        number: From 1 on.
        file: In the case's folder of annotations.
        kind: What it is.
        author: Who made it: a person, or a model.
        at: When it was saved: `2026-01-31T14:05:00Z`.
        base: The version that it was made from; 0: the imported label, or none.
        seconds: How long the work on it took; 0 where nobody has counted.
        what: What was done, in words.
        annotated: Names of the structures that somebody looked for; None: all of them.
        content: SHA-256 of the voxels of the image that it belongs to, where the manifest had it.
    """

    model_config = ConfigDict(frozen=True)

    number: int = Field(ge=1)
    file: str
    kind: Kind = "correction"
    author: str = ""
    at: str = ""
    base: int = 0
    seconds: float = 0.0
    what: str = ""
    annotated: list[str] | None = None
    content: str | None = None


class StateChange(BaseModel):
    """What a case became.

    Attributes:
        at: When: `2026-01-31T14:05:00Z`.
        by: Who did it; empty where nobody said.
        state: What it is since.
        note: What was said of it.
    """

    model_config = ConfigDict(frozen=True)

    at: str
    by: str = ""
    state: State
    note: str = ""


class SettledReading(BaseModel):
    """A second reading of which somebody has said which of the two counts.

    Attributes:
        number: The version that is the second reading.
        against: The version that counted before; 0: the imported label.
        agreement: Dice of each structure between the two; None where neither has it.
        accepted: Whether the second reading counts now.
        by: Who said so.
        at: When: `2026-01-31T14:05:00Z`.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    against: int
    agreement: dict[str, float | None]
    accepted: bool
    by: str = ""
    at: str


class CaseHistory(BaseModel):
    """All that happened to a case's label.

    Attributes:
        versions: In the order in which they were saved.
        current: Number of the version that counts; 0: the imported label, or none.
        judged: What a person said of it; None where nobody has.
        owner: Who works on it.
        note: Why it was rejected, or what is to be done.
        changes: How often any of this was changed: who saves says what was seen.
        log: What the case became, in order; what it was at first is its state in dataset.yaml.
        readings: Second readings of which somebody has said which of the two counts.
    """

    model_config = ConfigDict(frozen=True)

    versions: list[LabelVersion] = []
    current: int = 0
    judged: Literal["approved", "rejected"] | None = None
    owner: str = ""
    note: str = ""
    changes: int = 0
    log: list[StateChange] = []
    readings: list[SettledReading] = []

    @property
    def version(self) -> LabelVersion | None:
        """The version that counts; None: the imported label, or none."""
        return self.versions[self.current - 1] if self.current else None

    @property
    def seconds(self) -> float:
        """Time that people spent on it."""
        return sum(version.seconds for version in self.versions)

    @property
    def open_reading(self) -> LabelVersion | None:
        """The last second reading, where nobody has said which of the two counts."""
        settled = max((reading.number for reading in self.readings), default=0)
        unsettled = [v for v in self.versions[settled:] if v.kind == "second reading"]
        return unsettled[-1] if unsettled else None

    @property
    def judgement(self) -> StateChange | None:
        """Who approved or rejected it, and when; None where it is open, or nobody noted that."""
        last = self.log[-1] if self.log else None
        return last if last is not None and last.state == self.judged else None

    def state(self, case: Case) -> State:
        """How far the case is; `case` as dataset.yaml has it."""
        if self.judged is not None:
            return self.judged
        if self.version is None:
            return "unlabelled" if case.segmentation is None else "labelled"
        return "predicted" if self.version.kind == "prediction" else "corrected"


NO_HISTORY = CaseHistory()


def history_path(folder: Path, case_id: str) -> Path:
    """Where the history of a dataset's case lies."""
    return folder / FOLDER / case_id / HISTORY


def read_history(folder: Path, case_id: str) -> CaseHistory:
    """The history of a dataset's case; an empty one where there is none. Raises FileError where it is damaged."""
    path = history_path(folder, case_id)
    if not path.is_file():
        return NO_HISTORY
    hint = "restore it from a copy; or move its folder away: the label as it was imported counts then"
    return CaseHistory.model_validate(read_record(path, "the history of a label", CaseHistory, hint))


def read_histories(folder: Path) -> dict[str, CaseHistory]:
    """Case id → its history, of those that have one. Raises FileError where one is damaged."""
    paths = sorted((folder / FOLDER).glob(f"*/{HISTORY}"))
    return {path.parent.name: read_history(folder, path.parent.name) for path in paths}


def apply_histories(manifest: Manifest, histories: Mapping[str, CaseHistory]) -> Manifest:
    """The manifest with the labels that count now.

    A version that a person made takes the imported label's place. What a model has predicted is no reference until
    somebody approves it, and what was rejected is none at all.

    Raises:
        DatasetError: A version was made for another image than the case now has.
    """
    cases = [apply_history(case, histories[case.id]) if case.id in histories else case for case in manifest.cases]
    return manifest.model_copy(update={"cases": cases}) if histories else manifest


def apply_history(case: Case, history: CaseHistory) -> Case:
    """A case of dataset.yaml with the label that counts now.

    Raises:
        DatasetError: It was made for another image.
    """
    state, version = history.state(case), history.version
    if state in ("rejected", "predicted", "unlabelled"):
        return case.model_copy(update={"segmentation": None, "annotated": None})
    if version is None:
        return case
    if version.content != case.content and None not in (version.content, case.content):
        raise DatasetError(
            f"case {case.id}: its label in {FOLDER}/{case.id} was made for another image",
            hint=f"bring that image back, or move {FOLDER}/{case.id} away: the imported label counts then",
        )
    label = f"{FOLDER}/{case.id}/{version.file}"
    return case.model_copy(update={"segmentation": label, "annotated": version.annotated})
