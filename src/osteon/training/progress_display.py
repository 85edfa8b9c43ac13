"""What a training shows while it runs: how far it is, how fast, and the Dice of each structure."""

from __future__ import annotations

import contextlib
import math
import time
from types import TracebackType

import torch
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from osteon.core.progress import console, format_time_left, is_quiet, log_lines, now, progress_logger
from osteon.training.validation import mean_over_structures

REFRESH_S = 0.5


class TrainingDisplay:
    """A live view on a terminal; elsewhere a line now and then, and one for each validation.

    Attributes:
        row: The newest row of metrics.csv.
        scores: The newest validation's Dice by structure.
    """

    def __init__(self) -> None:
        self.live = Live(console=console, auto_refresh=False, transient=True)
        self.log = contextlib.ExitStack()
        self.entered = False
        self.row: dict[str, float | int | None] = {}
        self.scores: dict[str, float | None] = {}
        self.shown_at = -math.inf
        self.done, self.elapsed_s, self.iteration, self.ticked_at = 0.0, 0.0, 0, -math.inf
        self.loss: torch.Tensor | None = None

    def __enter__(self) -> TrainingDisplay:
        self.entered = True
        if console.is_terminal and not is_quiet():
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.log.close()
        with contextlib.suppress(RuntimeError):
            self.live.stop()

    def update(self, done: float, elapsed_s: float, iteration: int, loss: torch.Tensor | None = None) -> None:
        """Note where the training stands, and show it; called before the first iteration and after each.

        Args:
            done: The part of the training that is done, 0 … 1.
            elapsed_s: Seconds of training.
            iteration: Iterations done.
            loss: The newest iteration's.
        """
        first = self.ticked_at == -math.inf
        self.done, self.elapsed_s, self.iteration, self.loss, self.ticked_at = done, elapsed_s, iteration, loss, now()
        if first and self.entered and not console.is_terminal:  # whose thread ends with the block
            self.log.enter_context(log_lines(self.line(), self.line))
        if not self.live.is_started or time.monotonic() - self.shown_at < REFRESH_S:
            return
        self.shown_at = time.monotonic()
        bar = Table.grid(padding=(0, 1))
        bar.add_row("training", ProgressBar(1.0, done, width=30), f"{done:.0%}")
        shown: list[RenderableType] = [bar, ", ".join(self.figures())]
        if self.scores:
            shown.append("validation Dice: " + escape(format_scores(self.scores)))
        self.live.update(Group(*shown), refresh=True)

    def line(self) -> str:
        """The progress as a line of a log: part done, iteration, time left, speed, loss, validation Dice."""
        mean = mean_over_structures(self.scores)
        dice = [] if mean is None else [f"validation Dice {mean:.3f}"]
        return ", ".join([f"training: {100 * self.done:.0f} %", *self.figures(), *dice])

    def figures(self) -> list[str]:
        """The figures for terminal and log; the loss is the newest epoch's, before its end the last iteration's."""
        left = self.elapsed_s / self.done - self.elapsed_s - (now() - self.ticked_at) if self.done else None
        figures = [f"iteration {self.iteration}", format_time_left(left)]
        if self.row:
            figures += [
                f"{self.row['s_per_iteration']:.3f} s an iteration",
                f"loss {self.row['loss']:.3f} in epoch {self.row['epoch']}",
                f"learning rate {self.row['learning_rate']:.1e}",
            ]
        elif self.iteration and self.loss is not None:
            figures += [f"{self.elapsed_s / self.iteration:.3f} s an iteration", f"loss {float(self.loss):.3f}"]
        return figures

    def show_scores(self, done: float, iteration: int, scores: dict[str, float | None]) -> None:
        """Show the scores of a validation."""
        self.scores = scores
        if not self.live.is_started:
            progress_logger.info(f"{done:4.0%}  iteration {iteration}  validation Dice  {format_scores(scores)}")


def format_scores(scores: dict[str, float | None]) -> str:
    """`mean 0.873 · Anterior 0.880 · Posterior 0.866`; a structure that did not occur shows a dash."""
    known = [value for value in scores.values() if value is not None]
    parts = [f"mean {sum(known) / len(known):.3f}"] if known else []
    parts += [f"{name} {value:.3f}" if value is not None else f"{name} –" for name, value in scores.items()]
    return " · ".join(parts)
