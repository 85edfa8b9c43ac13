"""update.json and updates.csv: how a model came to be, update by update, read from the runs' own files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from osteon.core.errors import OsteonError
from osteon.core.files import write_text
from osteon.core.records import read_record
from osteon.core.spreadsheets import to_csv
from osteon.predicting.records import find_model_folder, read_validation
from osteon.predicting.training_cases import KEY
from osteon.runs.update_files import HISTORY, UPDATE, finished_folder
from osteon.runs.update_gate import Verdict


class Parent(BaseModel):
    """The run that an update began with: the way to its folder from the update's, and the SHA-256 of its weights."""

    folder: str
    sha256: str


class UpdateRecord(BaseModel):
    """What update.json says.

    Attributes:
        parent: From which model it began.
        training: Cases to train on.
        validation: Cases that judge.
        new: Ids of those to train on that the model before was not trained on.
        corrected: Ids of those that it was trained on with another label.
        repeats: How often these are drawn where others are drawn once.
        judged_by: Where the cases that judge come from.
        verdict: What came of it; None before its end.
    """

    model_config = ConfigDict(frozen=True)

    parent: Parent
    training: int
    validation: int
    new: list[str] = []
    corrected: list[str] = []
    repeats: dict[str, int] = {}
    judged_by: str = ""
    verdict: Verdict | None = None


@dataclass(frozen=True)
class ChainLink:
    """One run of a chain of updates.

    Attributes:
        run: Its folder.
        labelled: Labelled cases that it had, to train on and to judge by.
        dice: Mean Dice of its model on its validation cases; None where it has none.
        structures: Of each structure.
        seconds: Of training.
        update: What it says of itself as an update; None: the chain's first run.
    """

    run: Path
    labelled: int
    dice: float | None
    structures: dict[str, float | None] = field(default_factory=dict)
    seconds: float = 0.0
    update: UpdateRecord | None = None

    @property
    def taken(self) -> bool:
        """Whether its model was taken; the first one was."""
        return self.update is None or self.update.verdict is None or self.update.verdict.taken


def read_update(run: Path) -> UpdateRecord | None:
    """What a run says of itself as an update; None where it is none. Raises FileError where update.json is damaged."""
    path = run / UPDATE
    if not path.is_file():
        return None
    hint = "restore it from a copy of the run, or --restart to delete this run"
    return UpdateRecord.model_validate(read_record(path, "the record of an update", UpdateRecord, hint))


def read_chain(run: Path) -> list[ChainLink]:
    """The finished runs that led to a run, and the run, the first one first.

    Raises:
        FileError: A record is damaged. Runs that are not there any more end the chain.
    """
    links: list[ChainLink] = []
    for folder in _ancestors(run):
        if (model := finished_folder(folder) or _own_model(folder)) is None:
            continue
        validation = read_validation(model)
        seen = validation.get(KEY) or {"training": {}, "validation": {}}
        training = validation.get("training", {})
        links.append(
            ChainLink(
                folder,
                len(seen["training"]) + len(seen["validation"]),
                validation.get("dice"),
                validation.get("structures", {}),
                float(training.get("seconds", 0.0)),
                read_update(folder),
            )
        )
    return links[::-1]


def find_newest(run: Path, among: Iterable[Path] | None = None) -> Path:
    """The last run in the chain of taken updates that begins with a run; itself where there is none.

    Args:
        run: Its folder.
        among: The folders of runs that are looked at; None: those beside it.
    """
    runs = run.resolve().parent.glob("*") if among is None else among
    children: dict[Path, list[Path]] = {}
    for path in sorted((p / UPDATE for p in runs if (p / UPDATE).is_file()), key=lambda path: path.stat().st_mtime):
        try:
            record = read_update(path.parent)
        except OsteonError:
            continue
        if record is not None and record.verdict is not None and record.verdict.taken:
            children.setdefault((path.parent / record.parent.folder).resolve(), []).append(path.parent)
    newest = run.resolve()
    while newest in children:
        newest = children.pop(newest)[-1]
    return newest


def _ancestors(run: Path) -> Iterator[Path]:
    """The run, the one that it is an update of, and so on."""
    seen: set[Path] = set()
    while run.is_dir() and (place := run.resolve()) not in seen:
        seen.add(place)
        yield run
        record = read_update(run)
        if record is None:
            return
        run = place / record.parent.folder


def _own_model(folder: Path) -> Path | None:
    """A model folder without a run around it."""
    try:
        return find_model_folder(folder)
    except OsteonError:
        return None


def history_table(chain: list[ChainLink]) -> str:
    """A chain as CSV: a line for each run, its Dice, and that of the run before on the same cases."""
    names = list(dict.fromkeys(name for link in chain for name in link.structures))
    head = ["run", "labelled", "new", "corrected", "judging", "taken", "dice", "before_on_same", "after_on_same"]
    head += ["gain", "gain_low", "gain_high", "seconds", *(f"dice_{name}" for name in names)]
    rows: list[list[object]] = [[*head]]
    for link in chain:
        update = link.update
        verdict = None if update is None else update.verdict
        pair = None if verdict is None else verdict.dice
        row: list[object] = [link.run.resolve().name, link.labelled]
        row += ["", ""] if update is None else [len(update.new), len(update.corrected)]
        row += ["" if update is None else update.validation, "yes" if link.taken else "no", link.dice]
        row += [None] * 5 if pair is None else [pair.before, pair.after, round(pair.gain, 5), pair.low, pair.high]
        rows.append([*row, link.seconds, *(link.structures.get(name) for name in names)])
    return to_csv(rows)


def write_history(run: Path) -> None:
    """Write RUN/updates.csv. Raises FileError where a record of the chain is damaged, or the disk is full."""
    write_text(run / HISTORY, history_table(read_chain(run)))
