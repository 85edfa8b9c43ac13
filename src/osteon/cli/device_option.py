"""`--device`, as every command that computes has it."""

from __future__ import annotations

from typing import Any

import typer

from osteon.core.devices import DEVICE_CHOICES, check_device


def device_option(told: str) -> Any:
    """The option, with what it is for. A word that names no device is refused before anything is done."""
    return typer.Option(help=told, metavar=DEVICE_CHOICES, callback=check_device)
