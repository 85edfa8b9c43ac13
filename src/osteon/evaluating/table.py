"""The summary as a table for the terminal."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from osteon.core.labels import Structure
from osteon.core.statistics import SampleStatistics
from osteon.evaluating.groups import Group
from osteon.evaluating.instance_summary import InstanceSummary
from osteon.evaluating.summary import NO_CASES, Summary

DASH = "–"
WIDTH = 100
"""Characters of a line, unless the terminal says otherwise."""
NAME = 18
"""Characters of a name for which columns are left out; longer ones are wrapped."""
_GAP = 2

_DISTANCE = re.compile(r"hd95_(mm|px)")
_SURFACE_DICE = re.compile(r"nsd_([\d.e+-]+)(mm|px)")


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        head: Its heading.
        cell: What stands in it for a summary.
        spare: Where the line is too narrow, the column of the highest number is left out first; 0 stays.
    """

    head: str
    cell: Callable[[Any], str]
    spare: int = 0


def summary_table(
    summaries: Sequence[Summary],
    overall: Summary,
    structures: Sequence[Structure] = (),
    *,
    title: str = "",
    width: int = WIDTH,
) -> Table:
    """A table with one line for each structure and one over all of them.

    Args:
        summaries: One for each structure.
        overall: The last line.
        structures: Where given, each name is led by a dot in its colour.
        title: Stands above the table.
        width: Of the terminal; a narrow one gets fewer columns.
    """
    names = [s.structure for s in (*summaries, overall)]
    columns = _fitting(_columns(overall), [*summaries, overall], names, width)
    table = _new_table("structure", columns, title, names)
    colours = {structure.name: structure.colour for structure in structures}
    for summary in summaries:
        table.add_row(_name(summary.structure, colours), *(column.cell(summary) for column in columns))
    if len(summaries) > 1:
        table.add_section()
        table.add_row(overall.structure, *(column.cell(overall) for column in columns), style="bold")
    return table


def piece_table(
    lines: Sequence[tuple[str, InstanceSummary]],
    structures: Sequence[Structure] = (),
    *,
    first: str = "structure",
    title: str = "numbered pieces",
    width: int = WIDTH,
) -> Table:
    """A table of numbered pieces: a line for each name and summary. Figures are means over cases, or over pairs."""
    names, summaries = [name for name, _ in lines], [summary for _, summary in lines]
    columns = [
        Column("F1", lambda s: _mean_sd(s.metrics["f1"], ".3f")),
        Column("PQ", lambda s: _mean(s.metrics["panoptic_quality"], ".3f"), 2),
        Column("merges\na case", lambda s: _mean(s.metrics["merges"], ".2f")),
        Column("splits\na case", lambda s: _mean(s.metrics["splits"], ".2f")),
        Column("Dice of\npairs", lambda s: _mean(s.pair_metrics.get("dice", NO_CASES), ".3f")),
    ]
    for unit in ("mm", "px"):
        for spare, name in enumerate(("hd95", "assd"), start=3):
            columns.append(Column(f"{name.upper()}\n{unit}", _mean_of_pairs(f"{name}_{unit}"), spare))
    columns.append(Column("n", lambda s: str(s.cases)))
    columns = _fitting(columns, summaries, names, width)
    table = _new_table(first, columns, title, names)
    colours = {structure.name: structure.colour for structure in structures}
    for name, summary in lines:
        table.add_row(_name(name, colours), *(column.cell(summary) for column in columns))
    return table


def _mean_of_pairs(metric: str) -> Callable[[InstanceSummary], str]:
    return lambda summary: _mean(summary.pair_metrics.get(metric, NO_CASES), ".2f")


def group_table(groups: Sequence[Group], by: str, *, width: int = WIDTH) -> Table:
    """A table with one line for each group, over all structures.

    Args:
        groups: Of the cases.
        by: What they have in common.
        width: Of the terminal.
    """
    lines = {f"{group.name} ({group.cases} case{'s' * (group.cases != 1)})": group.overall for group in groups}
    everything = {name: values for line in lines.values() for name, values in line.metrics.items()}
    columns = _fitting(_columns(Summary("", everything)), list(lines.values()), list(lines), width)
    table = _new_table(by, columns, "", list(lines))
    for name, line in lines.items():
        table.add_row(Text(name), *(column.cell(line) for column in columns))
    return table


def _fitting(columns: Sequence[Column], lines: Sequence[Any], names: Sequence[str], width: int) -> list[Column]:
    """As many of the columns as fit beside the names, without those in which nothing stands (a picture's cm³)."""
    columns = [c for c in columns if not c.spare or any(c.cell(line) != DASH for line in lines)]
    widths = [
        max(map(len, (*column.head.split("\n"), *(column.cell(line) for line in lines)))) + _GAP for column in columns
    ]
    room = width - _GAP - _name_width(names)
    kept = list(zip(columns, widths, strict=True))
    for number in sorted({column.spare for column in columns if column.spare}, reverse=True):
        if sum(each for _, each in kept) > room:
            kept = [(column, each) for column, each in kept if column.spare != number]
    return [column for column, _ in kept]


def _name_width(names: Sequence[str]) -> int:
    """Characters that a name has at least, however narrow the terminal is: what belongs to whom must be told."""
    return min(NAME, max(map(len, names), default=0) + len("● "))


def _columns(overall: Summary) -> list[Column]:
    """What is shown: of distances those in the first unit, at the first tolerance."""
    columns = [
        Column("Dice", lambda s: _mean_sd(s.dice, ".3f")),
        Column("95%\ninterval", lambda s: _interval(s.dice, ".2f"), 4),
    ]
    distance = next(filter(None, map(_DISTANCE.fullmatch, overall.metrics)), None)
    surface_dice = next(filter(None, map(_SURFACE_DICE.fullmatch, overall.metrics)), None)
    if distance and surface_dice:
        columns += [
            Column(f"HD95\n{distance[1]}", _mean_of(distance[0], ".1f"), 3),
            Column(f"NSD\n{surface_dice[1]} {surface_dice[2]}", _mean_of(surface_dice[0], ".2f"), 2),
        ]
    columns += [
        Column("volume\nerror cm³", lambda s: _mean_sd(s.volume_error_cm3, "+.2f"), 6),
        Column("volume\nerror %", lambda s: _mean_sd(s.volume_error_percent, "+.1f"), 5),
        Column("n", lambda s: str(s.dice.n)),
        Column("absent/\nmissed/\ninvented", lambda s: _counts(s.absent, s.false_negatives, s.false_positives), 1),
    ]
    return columns


def _mean_of(metric: str, form: str) -> Callable[[Summary], str]:
    return lambda summary: _mean_sd(summary.metrics.get(metric, NO_CASES), form)


def _new_table(first: str, columns: Sequence[Column], title: str, names: Sequence[str]) -> Table:
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(first, min_width=_name_width(names))
    for column in columns:
        table.add_column(column.head, justify="right", no_wrap=True)
    return table


def _name(name: str, colours: dict[str, str]) -> Text:
    if name not in colours:
        return Text(name)
    return Text.assemble(("● ", colours[name]), name)


def _counts(*counts: int) -> str:
    return "/".join(str(count) if count else DASH for count in counts)


def _interval(values: SampleStatistics, form: str) -> str:
    if values.low is None or values.high is None:
        return DASH
    return f"{values.low:{form}}{DASH}{values.high:{form}}"


def _mean(values: SampleStatistics, form: str) -> str:
    return DASH if values.mean is None else f"{values.mean:{form}}"


def _mean_sd(values: SampleStatistics, form: str) -> str:
    if values.mean is None:
        return DASH
    mean = f"{values.mean:{form}}"
    return mean if values.sd is None else f"{mean} ± {values.sd:{form.lstrip('+')}}"
