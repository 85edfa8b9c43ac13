"""What a training shows while it runs: how far it is, how fast, and the Dice of each structure."""

from __future__ import annotations

import contextlib
import math
import time
from types import TracebackType

from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from osteon.core.progress import console

REFRESH_S = 0.5


class Display:
    """A live view on a terminal; one line for each validation elsewhere.

    Attributes:
        row: The newest row of metrics.csv.
        scores: The newest validation's Dice by structure.
    """

    def __init__(self) -> None:
        self.live = Live(console=console, auto_refresh=False, transient=True)
        self.row: dict[str, float | int | None] = {}
        self.scores: dict[str, float | None] = {}
        self.shown_at = -math.inf

    def __enter__(self) -> Display:
        if console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(RuntimeError):
            self.live.stop()

    def tick(self, done: float, elapsed_s: float, iteration: int) -> None:
        """Show where the training stands; called after each iteration, and does nothing most of the time."""
        if not console.is_terminal or time.monotonic() - self.shown_at < REFRESH_S:
            return
        self.shown_at = time.monotonic()
        left = clock(elapsed_s / done - elapsed_s) if done else "?"
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            "training", ProgressBar(1.0, done, width=30), f"{done:.0%}", f"{left} left", f"iteration {iteration}"
        )
        lines: list[RenderableType] = [bar]
        if self.row:
            lines.append(
                f"epoch {self.row['epoch']}: loss {self.row['loss']:.3f}, {self.row['s_per_iteration']:.3f} s an "
                f"iteration, learning rate {self.row['learning_rate']:.1e}"
            )
        if self.scores:
            lines.append("validation Dice: " + escape(score_line(self.scores)))
        self.live.update(Group(*lines), refresh=True)

    def validated(self, done: float, iteration: int, scores: dict[str, float | None]) -> None:
        """Show the scores of a validation."""
        self.scores = scores
        if not console.is_terminal:
            text = f"{done:4.0%}  iteration {iteration}  validation Dice  {escape(score_line(scores))}"
            console.print(text, soft_wrap=True)


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
