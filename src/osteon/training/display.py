"""What a training shows while it runs: how far it is, how fast, and the Dice of each structure."""

from __future__ import annotations

import contextlib
from types import TracebackType

from rich.live import Live
from rich.markup import escape
from rich.table import Table

from osteon.core.progress import console
from osteon.planning.plan import Plan


class Display:
    """A live table on a terminal; one line for each validation elsewhere."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.live = Live(console=console, refresh_per_second=2, transient=True)
        self.scores: dict[str, float | None] = {}

    def __enter__(self) -> Display:
        if console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(RuntimeError):
            self.live.stop()

    def show(self, *, done: float, left_s: float, row: dict[str, float | int | None]) -> None:
        """Update the table after an epoch."""
        if not console.is_terminal:
            return
        table = Table(box=None, pad_edge=False)
        for head in ("done", "left", "epoch", "iteration", "loss", "s/iteration", "rate"):
            table.add_column(head, justify="right")
        table.add_row(
            f"{done:.0%}",
            clock(left_s),
            f"{row['epoch']}",
            f"{row['iteration']}",
            f"{row['loss']:.3f}",
            f"{row['s_per_iteration']:.3f}",
            f"{row['learning_rate']:.1e}",
        )
        grid = Table.grid()
        grid.add_row(table)
        if self.scores:
            grid.add_row("validation Dice  " + escape(score_line(self.scores)))
        self.live.update(grid)

    def validated(self, done: float, iteration: int, scores: dict[str, float | None]) -> None:
        """Show the scores of a validation."""
        self.scores = scores
        if not console.is_terminal:
            console.print(f"{done:4.0%}  iteration {iteration}  validation Dice  {escape(score_line(scores))}")


def score_line(scores: dict[str, float | None]) -> str:
    """`mean 0.873 · Anterior 0.880 · Posterior 0.866`; a structure that did not occur shows a dash."""
    known = [value for value in scores.values() if value is not None]
    parts = [f"mean {sum(known) / len(known):.3f}"] if known else []
    parts += [f"{name} {value:.3f}" if value is not None else f"{name} –" for name, value in scores.items()]
    return " · ".join(parts)


def clock(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
