"""The summary as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from osteon.core.labels import Structure
from osteon.evaluating.summary import Spread, Summary

DASH = "–"


def summary_table(
    summaries: Sequence[Summary], overall: Summary, structures: Sequence[Structure] = (), *, title: str = ""
) -> Table:
    """A table with one line for each structure and one over all of them.

    Args:
        summaries: One for each structure.
        overall: The last line.
        structures: Where given, each name is led by a dot in its colour.
        title: Stands above the table.
    """
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("structure")
    for head in ("Dice", "median", "volume\nerror cm³", "volume\nerror %", "n", "absent/\nmissed/\ninvented"):
        table.add_column(head, justify="right", no_wrap=True)
    colours = {structure.name: structure.colour for structure in structures}
    for summary in summaries:
        table.add_row(_name(summary.structure, colours), *_cells(summary))
    if len(summaries) > 1:
        table.add_section()
        table.add_row(overall.structure, *_cells(overall), style="bold")
    return table


def _name(name: str, colours: dict[str, str]) -> Text:
    if name not in colours:
        return Text(name)
    return Text.assemble(("● ", colours[name]), name)


def _cells(summary: Summary) -> list[str]:
    return [
        _mean_sd(summary.dice, ".3f"),
        _number(summary.dice.median, ".3f"),
        _mean_sd(summary.volume_error_cm3, "+.2f"),
        _mean_sd(summary.volume_error_percent, "+.1f"),
        str(summary.dice.n),
        "/".join(str(count) if count else DASH for count in (summary.absent, summary.missed, summary.invented)),
    ]


def _mean_sd(values: Spread, form: str) -> str:
    mean = _number(values.mean, form)
    return mean if values.sd is None else f"{mean} ± {values.sd:{form.lstrip('+')}}"


def _number(value: float | None, form: str) -> str:
    return DASH if value is None else f"{value:{form}}"
