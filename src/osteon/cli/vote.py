"""`osteon vote`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from osteon.cli.option_values import FitPart, VoteMethod
from osteon.cli.output import info, out, plain_table, report_failures, report_notes, shorten, warn
from osteon.core.errors import UsageError
from osteon.core.text import pluralise

if TYPE_CHECKING:
    from osteon.voting.fit import VoteFit
    from osteon.voting.report import Problem, VoteReport

MAX_SHOWN = 20


def vote(
    members: Annotated[
        list[Path],
        typer.Argument(help="MEMBER… OUT: folders of predictions, or tables of RLE (.csv); the last is the output."),
    ],
    method: Annotated[
        VoteMethod,
        typer.Option(help="Count votes, average probabilities, or estimate how good each member is (STAPLE)."),
    ] = "hard",
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
        FitPart | None, typer.Option(help="With --fit: what; thresholds for hard, weights for soft.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Repeat what is done; replace files that no vote has written.")
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
            method=method,
            threshold=threshold,
            weights=weights,
            image_size=size,
            dataset=dataset,
            overwrite=overwrite,
        )
        _print_report(report)
        return
    for name, value in (
        ("--threshold", threshold),
        ("--weights", weights),
        ("--image-size", size),
        ("--dataset", dataset),
    ):
        if value is not None:
            raise UsageError(f"--fit and {name} contradict each other", hint="leave one of them out")
    _print_fit(osteon.fit_vote(paths, fit, target, method=method, part=fit_part, overwrite=overwrite))


def _print_report(report: VoteReport) -> None:
    """Results, notes, members without a vote and unusable rows; exit code 1 where there are such rows."""
    from osteon.voting.report import group_problems

    skipped = f", {len(report.skipped)} were done already" if report.skipped else ""
    counts = f"{pluralise(len(report.cases), 'case')}, {pluralise(len(report.structures), 'structure')}"
    out.print(f"{counts}, {pluralise(len(report.members), 'member')}{skipped}: {escape(str(report.out))}")
    report_notes(report.notes)
    _print_absences(report)
    problems, undecided = group_problems(report.all_problems), report.undecided
    lines = [_problem_line(one, count) for one, count in problems]
    lines += [
        (f"{one.case}, {one.structure}: not voted on: {one.why}", "give a smaller --threshold") for one in undecided
    ]
    _print_problems(lines, len(report.all_problems) + len(undecided))
    info(f"each case: {escape(str(report.record))}")
    report_failures(report.failed, "could not be voted on")
    if lines:
        raise typer.Exit(1)


def _problem_line(one: Problem, count: int) -> tuple[str, str]:
    return one.what + (f" (and {count - 1} more like it)" if count > 1 else ""), one.hint


def _print_problems(lines: Sequence[tuple[str, str]], total: int) -> None:
    """What could not be used, with hints; a hint that several lines share is printed once."""
    if lines:
        info(f"[bold red]{total} row{'s' * (total != 1)} or files could not be used:[/]")
    shown = lines[:MAX_SHOWN]
    for number, (what, hint) in enumerate(shown):
        info(f"  {escape(what)}")
        if hint and (number + 1 == len(shown) or shown[number + 1][1] != hint):
            info(f"    → {escape(hint)}")
    if len(lines) > MAX_SHOWN:
        info(f"  … and {len(lines) - MAX_SHOWN} more")


def _print_absences(report: VoteReport) -> None:
    """Cases and structures on which members do not vote, a line or two for each member."""
    for member in report.members:
        own = [one for one in report.absences if one.member == member]
        cases = [one.case for one in own if one.structure is None]
        if cases:
            _print_absence(member, f"has nothing of {pluralise(len(cases), 'case')}", cases)
        counts = Counter(one.structure for one in own if one.structure is not None)
        if counts:
            places = [f"{name} in {count}" for name, count in counts.most_common() if name is not None]
            _print_absence(member, f"does not vote on {pluralise(len(counts), 'structure')}, in cases", places)


def _print_absence(member: str, what: str, names: Sequence[str]) -> None:
    info(f"[yellow]{escape(member)} {what}:[/] {shorten(names)}")


def _print_fit(result: VoteFit) -> None:
    from osteon.voting.fit import FEW
    from osteon.voting.report import group_problems

    table = plain_table(("structure", "cases", "usual", "fitted", "left out", result.part))
    for name, chosen in result.structures.items():
        figures = ["–" if f is None else f"{f:.3f}" for f in (chosen.usual, chosen.fitted, chosen.left_out)]
        what = "as usual"
        if chosen.replaces_default:
            what = str(chosen.threshold) if chosen.weights is None else ", ".join(f"{w:g}" for w in chosen.weights)
        table.add_row(escape(name), str(chosen.cases), *figures, what)
    out.print(table, soft_wrap=False)
    count = len(result.cases)
    out.print(f"fitted on {pluralise(count, 'case')}: {escape(str(result.out))}")
    if count < FEW:
        warn(f"{count} cases are few: look at the column `left out`, and test on others")
    if result.held_out:
        warn(
            f"{len(result.held_out)} of them are held out for the final test; a figure on these is no test "
            f"any more: {shorten(result.held_out)}"
        )
    if result.trained_on:
        warn(
            f"{len(result.trained_on)} cases were left out, since a member was trained on them: "
            f"{shorten(result.trained_on)}"
        )
    lines = [_problem_line(one, count) for one, count in group_problems(result.problems)]
    _print_problems(lines, len(result.problems))
    report_failures(result.failed, "could not be used")
    if lines:
        raise typer.Exit(1)
