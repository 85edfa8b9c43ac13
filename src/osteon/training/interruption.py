"""Ctrl-C, SIGTERM and SIGHUP during a training: it ends between two iterations, saved."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from osteon.core.processes import exit_for_signal, notify_on_signals
from osteon.training import ranks

logger = logging.getLogger(__name__)


class Interruption:
    """Notes that the training was asked to end.

    Lightning would stop in the middle of an iteration, exit with 1 at Ctrl-C and leave it without effect from then
    on, and end as if all were done at SIGTERM.

    Attributes:
        signal: The number of the first signal that came; None: none did.
        install_handlers: Take the signals from whoever has taken them since `watch` began.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.install_handlers: Callable[[], None] = lambda: None

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Note these signals in a block that ends soon after one; a second Ctrl-C ends it at once.

        Raises:
            KeyboardInterrupt: At the block's end, where one of them came in it.
            SystemExit: SIGTERM or SIGHUP came, and nobody has taken them for Ctrl-C.
        """
        try:
            with notify_on_signals(self._note) as self.install_handlers:
                yield
        except (SystemExit, KeyboardInterrupt):
            if self.signal is None:
                raise
        if self.signal is not None:
            exit_for_signal(self.signal)

    def agree(self) -> None:
        """Between two iterations: a signal that came to any rank came to all."""
        self.signal = int(ranks.largest(torch.tensor(self.signal or 0))) or None

    def _note(self, number: int) -> None:
        if self.signal is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return  # sent to the group, too
        self.signal = number
        logger.info("stopping after this iteration; Ctrl-C again stops now")
