"""`--device`, as every command that computes has it."""

from __future__ import annotations

from typing import Any

import typer

from osteon.core.devices import WORDS, check_device


def device_option(told: str) -> Any:
    """The option, with what it is for. A word that names no device is refused before anything is done."""
    return typer.Option(help=told, metavar=WORDS, callback=check_device)
