"""`osteon vote`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from osteon.cli.option_values import Methods, Parts
from osteon.cli.output import out, report_failures, some
from osteon.core.errors import UsageError
from osteon.core.progress import console
from osteon.core.text import counted

if TYPE_CHECKING:
    from osteon.voting.fit import VoteFit
    from osteon.voting.report import Problem, VoteReport

SHOWN = 20


def vote(
    members: Annotated[
        list[Path],
        typer.Argument(help="MEMBER… OUT: folders of predictions, or tables of RLE (.csv); the last is the output."),
    ],
    method: Annotated[
        Methods, typer.Option(help="Count votes, average probabilities, or find out how good each member is.")
    ] = Methods.hard,
    threshold: Annotated[
        str | None, typer.Option(help="Votes needed: 2, or NAME=2,…, or both, or a fitted FILE; more than half.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="What each member counts: 2,1,1, or a fitted FILE; 1 each when left out.")
    ] = None,
    image_size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Tables: rows x columns of the pictures; 2048x2048.")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="A dataset whose structures, grids and sizes of pictures count.")
    ] = None,
    fit: Annotated[
        Path | None,
        typer.Option(help="Instead: choose thresholds or weights on this dataset's labels; OUT is a .yaml."),
    ] = None,
    fit_part: Annotated[
        Parts | None, typer.Option(help="With --fit: what; thresholds for hard, weights for soft.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Do again what is done; replace what no vote has written.")
    ] = False,
) -> None:
    """Make one answer of several models' predictions. Run it again: what is done is skipped."""
    import osteon
    from osteon.voting.picture_sizes import parse_size

    *paths, target = members
    size = None if image_size is None else parse_size(image_size)
    if fit is None:
        if fit_part is not None:
            raise UsageError("--fit-part belongs to --fit", hint="add --fit DATASET, or leave it out")
        report = osteon.vote(
            paths,
            target,
            method=method.value,
            threshold=threshold,
            weights=weights,
            image_size=size,
            dataset=dataset,
            overwrite=overwrite,
        )
        _say(report)
        return
    for name, value in (
        ("--threshold", threshold),
        ("--weights", weights),
        ("--image-size", size),
        ("--dataset", dataset),
    ):
        if value is not None:
            raise UsageError(f"--fit and {name} contradict each other", hint="leave one of them out")
    part: Any = fit_part and fit_part.value
    _say_fit(osteon.fit_vote(paths, fit, target, method=method.value, part=part, overwrite=overwrite))


def _say(report: VoteReport) -> None:
    """What was decided, who was silent, what could not be used; exit code 1 where something could not."""
    from osteon.voting.report import group_problems

    skipped = f", {len(report.skipped)} were done already" if report.skipped else ""
    done = f"{counted(len(report.cases), 'case')}, {counted(len(report.structures), 'structure')}"
    out.print(f"{done}, {counted(len(report.members), 'member')}{skipped}: {escape(str(report.out))}", soft_wrap=True)
    for note in report.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    _say_absences(report)
    problems, undecided = group_problems(report.all_problems), report.undecided
    lines = [_line(one, count) for one, count in problems]
    lines += [
        (f"{one.case}, {one.structure}: not voted on: {one.why}", "give a smaller --threshold") for one in undecided
    ]
    _say_lines(lines, len(report.all_problems) + len(undecided))
    console.print(f"each case: {escape(str(report.record))}", soft_wrap=True)
    report_failures(report.failed, "could not be voted on")
    if lines:
        raise typer.Exit(1)


def _line(one: Problem, count: int) -> tuple[str, str]:
    return one.what + (f" (and {count - 1} more like it)" if count > 1 else ""), one.hint


def _say_lines(lines: Sequence[tuple[str, str]], total: int) -> None:
    """What could not be used, and what to do about it; a hint that several lines share is given once."""
    if lines:
        console.print(f"[bold red]{total} row{'s' * (total != 1)} or files could not be used:[/]", soft_wrap=True)
    shown = lines[:SHOWN]
    for number, (what, hint) in enumerate(shown):
        console.print(f"  {escape(what)}", soft_wrap=True)
        if hint and (number + 1 == len(shown) or shown[number + 1][1] != hint):
            console.print(f"    → {escape(hint)}", soft_wrap=True)
    if len(lines) > SHOWN:
        console.print(f"  … and {len(lines) - SHOWN} more", soft_wrap=True)


def _say_absences(report: VoteReport) -> None:
    """Who says nothing of what, a line or two for each member."""
    for member in report.members:
        own = [one for one in report.absences if one.member == member]
        cases = [one.case for one in own if one.structure is None]
        if cases:
            _quiet(member, f"has nothing of {len(cases)} case{'s' * (len(cases) != 1)}", cases)
        counts = Counter(one.structure for one in own if one.structure is not None)
        if counts:
            places = [f"{name} in {count}" for name, count in counts.most_common() if name is not None]
            _quiet(member, f"does not vote on {len(counts)} structure{'s' * (len(counts) != 1)}, in cases", places)


def _quiet(member: str, what: str, names: Sequence[str]) -> None:
    console.print(f"[yellow]{escape(member)} {what}:[/] {some(names)}", soft_wrap=True)


def _say_fit(result: VoteFit) -> None:
    from rich.table import Table

    from osteon.voting.fit import FEW
    from osteon.voting.report import group_problems

    table = Table(box=None, pad_edge=False)
    for column in ("structure", "cases", "usual", "fitted", "left out", result.part):
        table.add_column(column, overflow="fold")
    for name, chosen in result.structures.items():
        figures = ["–" if f is None else f"{f:.3f}" for f in (chosen.usual, chosen.fitted, chosen.left_out)]
        what = "as usual"
        if chosen.taken:
            what = str(chosen.threshold) if chosen.weights is None else ", ".join(f"{w:g}" for w in chosen.weights)
        table.add_row(escape(name), str(chosen.cases), *figures, what)
    out.print(table)
    count = len(result.cases)
    out.print(f"fitted on {count} case{'s' * (count != 1)}: {escape(str(result.out))}", soft_wrap=True)
    if count < FEW:
        console.print(f"[yellow]{count} cases say little: look at the column `left out`, and test on others[/]")
    if result.held_out:
        console.print(
            f"[yellow]{len(result.held_out)} of them are held out for the final test; a figure on these is no test "
            f"any more: {some(result.held_out)}[/]",
            soft_wrap=True,
        )
    if result.trained_on:
        console.print(
            f"[yellow]{len(result.trained_on)} cases were left out, since a member was trained on them: "
            f"{some(result.trained_on)}[/]",
            soft_wrap=True,
        )
    lines = [_line(one, count) for one, count in group_problems(result.problems)]
    _say_lines(lines, len(result.problems))
    report_failures(result.failed, "could not be used")
    if lines:
        raise typer.Exit(1)
