"""`osteon labels`: what people do to the labels of a dataset."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from osteon.cli.output import info, out, plain_table, report_failures, report_notes
from osteon.cli.shared_options import with_quiet_option
from osteon.core.errors import OsteonError, UsageError
from osteon.core.progress import format_duration
from osteon.core.quantities import parse_seconds
from osteon.core.text import pluralise

app = typer.Typer(
    help="Corrections of a dataset's labels: versions, states, who works on what. Nothing is ever replaced.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
Data = Annotated[Path, typer.Argument(metavar="DATASET", help="A folder that `osteon import` has written.")]
Cases = Annotated[list[str], typer.Argument(metavar="CASE…", help="Their ids, as dataset.yaml has them.")]
Author = Annotated[str | None, typer.Option(help="Who made them; your name on this machine when left out.")]
Judge = Annotated[str | None, typer.Option("--author", help="Who says so; your name on this machine when left out.")]


@app.command("list")
def list_(
    dataset: Data,
    state: Annotated[str | None, typer.Option(help="Only these: unlabelled, predicted, corrected, …")] = None,
    owner: Annotated[str | None, typer.Option(help="Only what this person works on.")] = None,
) -> None:
    """How far each case is: its state, who works on it, the time that was spent, notes."""
    from typing import get_args

    from osteon.dataset.case_history import NO_HISTORY, State, read_histories
    from osteon.dataset.manifest import read_manifest

    states = get_args(State)
    if state is not None and state not in states:
        raise UsageError(f"--state {state}: there is no such state", hint=f"there are {', '.join(states)}")
    histories, counts = read_histories(dataset), dict.fromkeys(states, 0)
    table = plain_table(("case", "state", "owner", "versions", "time", "note"), ("case", "state", "owner", "note"))
    for case in read_manifest(dataset).cases:
        history = histories.get(case.id, NO_HISTORY)
        now = history.state(case)
        counts[now] += 1
        if (state is None or now == state) and (owner is None or history.owner == owner):
            time = format_duration(history.seconds) if history.seconds else ""
            cells = (case.id, now, history.owner, str(len(history.versions)), time, history.note)
            table.add_row(*(escape(cell) for cell in cells))
    if table.row_count:
        out.print(table, soft_wrap=False)
    out.print(", ".join(f"{count} {name}" for name, count in counts.items() if count) or "no cases")


@app.command()
@with_quiet_option
def add(
    dataset: Data,
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Labels called as their cases, or folders.")],
    case: Annotated[str | None, typer.Option(help="The case of the only file, whatever its name.")] = None,
    author: Author = None,
    prediction: Annotated[
        bool, typer.Option("--prediction", help="A model made them: no reference until somebody approves them.")
    ] = False,
    second_reading: Annotated[
        bool, typer.Option("--second-reading", help="To be compared with the labels that count; they stay.")
    ] = False,
    time: Annotated[str | None, typer.Option(help="How long the work on each took: 90s, 5min.")] = None,
    what: Annotated[str, typer.Option(help="What was done, in words.")] = "",
    annotated: Annotated[
        str | None, typer.Option(help="NAME,…: the structures that somebody looked for; all when left out.")
    ] = None,
) -> None:
    """Take labels that were corrected in another program; each becomes a new version, which counts from then on."""
    import osteon

    if prediction and second_reading:
        raise UsageError("--prediction and --second-reading contradict each other", hint="leave one out")
    report = osteon.add_labels(
        dataset,
        files,
        case_id=case,
        author=author or getpass.getuser(),
        kind="prediction" if prediction else "second reading" if second_reading else "correction",
        seconds=0 if time is None else parse_seconds(time),
        what=what,
        annotated=None if annotated is None else [name.strip() for name in annotated.split(",")],
    )
    report_notes(report.notes)
    for name, version in report.added.items():
        out.print(escape(f"{name}: version {version.number}"))
    if report.same:
        info(f"{pluralise(len(report.same), 'case')} as before: {escape(', '.join(report.same))}")
    report_failures(report.failed, "could not be added")


@app.command()
def approve(
    dataset: Data, cases: Cases, note: Annotated[str, typer.Option(help="For the others.")] = "", author: Judge = None
) -> None:
    """Say that the labels that count are right; a prediction becomes a reference in this way."""
    _judge(dataset, cases, "approved", note, author)


@app.command()
def reject(
    dataset: Data,
    cases: Cases,
    note: Annotated[str, typer.Option(help="Why; nobody trains on them.")] = "",
    author: Judge = None,
) -> None:
    """Say that these cases serve nothing, with the reason in a note."""
    _judge(dataset, cases, "rejected", note, author)


@app.command()
def reopen(dataset: Data, cases: Cases, author: Judge = None) -> None:
    """Take back what was said of these cases."""
    _judge(dataset, cases, "open", "", author)


@app.command()
def assign(dataset: Data, owner: Annotated[str, typer.Argument(help='A name; "" for nobody.')], cases: Cases) -> None:
    """Give cases to somebody to work on."""
    from osteon.dataset.dataset import Dataset
    from osteon.dataset.label_versions import assign_case

    opened = Dataset.open(dataset)
    for case in cases:
        assign_case(opened, case, owner)
    out.print(escape(f"{pluralise(len(cases), 'case')}: {owner or 'nobody'}"))


@app.command()
def show(dataset: Data, case: Annotated[str, typer.Argument(help="Its id.")]) -> None:
    """The versions of a case's label, and how far two readers agree."""
    from osteon.dataset.case_history import read_history
    from osteon.dataset.dataset import Dataset
    from osteon.dataset.label_reviews import reader_agreement

    opened = Dataset.open(dataset)
    history = read_history(opened.folder, opened.case(case).id)
    out.print(escape(f"{case}: {history.state(opened.imported.case(case))} {history.note}".rstrip()))
    table = plain_table(("", "version", "made from", "by", "at", "time", "what"), ("", "by", "at", "what"))
    for version in history.versions:
        cells = (
            "→" if version.number == history.current else "",
            str(version.number),
            str(version.base),
            version.author,
            version.at,
            format_duration(version.seconds) if version.seconds else "",
            " ".join(part for part in ("" if version.kind == "correction" else version.kind, version.what) if part),
        )
        table.add_row(*(escape(cell) for cell in cells))
    if table.row_count:
        out.print(table, soft_wrap=False)
    for name, value in (reader_agreement(opened, case) or {}).items():
        out.print(escape(f"Dice between the readers, {name}: {'–' if value is None else f'{value:.3f}'}"))


@app.command()
@with_quiet_option
def progress(
    dataset: Data,
    csv: Annotated[bool, typer.Option("--csv", help="Print a table of all cases for spreadsheets instead.")] = False,
) -> None:
    """How far a labelling project is: states, people, minutes for a case, what is left, how readers agree."""
    import sys

    import osteon
    from osteon.labelling.work_list import work_csv

    found = osteon.label_progress(dataset)
    if csv:
        sys.stdout.write(work_csv(found.rows))
        return
    out.print(", ".join(f"{count} {name}" for name, count in found.counts.items() if count) or "no cases")
    for line in found.sentences():
        out.print(escape(line))
    table = plain_table(("person", "cases", "labelled", "approved", "time", "a case"), ("person",))
    for person in found.people:
        times = [format_duration(t) if t else "" for t in (person.seconds, person.median_seconds)]
        numbers = (sum(person.counts.values()), person.labelled, person.approved)
        table.add_row(escape(person.name or "nobody"), *(str(n or "") for n in numbers), *times)
    if found.people:
        out.print(table, soft_wrap=False)
    for name, value in found.agreement.items():
        out.print(escape(f"mean Dice between two readers, {name}: {value:.3f}"))
    report_failures(found.failed, "could not be compared")


@app.command()
def restore(
    dataset: Data,
    case: Annotated[str, typer.Argument(help="Its id.")],
    version: Annotated[int, typer.Argument(min=0, help="Its number; 0: the label as it was imported.")],
    author: Author = None,
) -> None:
    """Let an older version count again; the newer ones stay."""
    from osteon.dataset.dataset import Dataset
    from osteon.dataset.label_versions import restore_label

    restored = restore_label(Dataset.open(dataset), case, version, author=author or getpass.getuser())
    now = "the imported label" if restored is None else f"version {restored.number}, which is {restored.what}"
    out.print(escape(f"{case}: {now} counts"))


def _judge(dataset: Path, cases: list[str], verdict: str, note: str, author: str | None) -> None:
    from osteon.dataset.dataset import Dataset
    from osteon.dataset.label_versions import judge_label

    opened, failed = Dataset.open(dataset), dict[str, OsteonError]()
    for case in cases:
        try:
            judge_label(opened, case, verdict, note=note, author=getpass.getuser() if author is None else author)
        except OsteonError as error:
            failed[case] = error
    if len(failed) < len(cases):
        out.print(f"{pluralise(len(cases) - len(failed), 'case')}: {verdict}")
    report_failures(failed, f"not {verdict}")
