"""How commands say what they did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import typer
from rich.console import Console
from rich.markup import escape

from osteon.core.errors import OsteonError
from osteon.core.listing import shortly
from osteon.core.progress import console

out = Console(highlight=False)
"""The result of a command goes to standard output."""


def report_failures(failed: Mapping[str, OsteonError], what: str) -> None:
    """Name every case that failed and end with exit code 1; nothing where none did."""
    if not failed:
        return
    cases = f"{len(failed)} case{'s' * (len(failed) != 1)}"
    console.print(f"[bold red]{cases} {what}:[/]", soft_wrap=True)
    for case, error in failed.items():
        console.print(f"  {escape(case)}: {escape(error.message)}", soft_wrap=True)
        if error.hint:
            console.print(f"    → {escape(error.hint)}", soft_wrap=True)
    raise typer.Exit(1)


def report_lost(lost: Sequence[str]) -> None:
    """Name what was there and was not taken; the command should then end with 1. Nothing where all was taken."""
    if lost:
        console.print(f"[bold red]{len(lost)} passed over:[/]")
    for line in lost:
        console.print(f"  {escape(line)}", soft_wrap=True)


def some(names: Sequence[str], most: int = 8) -> str:
    """The first names, and how many more there are, as rich prints them."""
    return escape(shortly(names, most))


def seconds_of(text: str) -> float:
    """Seconds of `90`, `90s`, `20min`, `1.5h`, `7d`. Raises typer.BadParameter where it is none of these."""
    units = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
    number = text.strip().lower()
    factor = 1
    for unit in sorted(units, key=len, reverse=True):
        if number.endswith(unit):
            number, factor = number[: -len(unit)], units[unit]
            break
    try:
        value = float(number) * factor
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no length of time; write 90s, 20min or 1.5h") from None
    if not 0 < value < float("inf"):
        raise typer.BadParameter(f"{text!r}: a budget must be longer than nothing and end some day")
    return value


def bytes_of(text: str) -> int:
    """Bytes of `4GB`, `500MB` or `4e9`. Raises typer.BadParameter where it is none of these."""
    number = text.strip().lower().removesuffix("b")
    factor = {"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}.get(number[-1:], 1)
    try:
        value = float(number[:-1] if factor != 1 else number) * factor
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no amount of memory; write 4GB or 500MB") from None
    if not 0 < value < float("inf"):
        raise typer.BadParameter(f"{text!r}: an amount of memory is more than nothing")
    return int(value)


def numbers_of(text: str, what: str) -> tuple[float, ...]:
    """The numbers above 0 of `2` or `1,2,3`, each once. Raises typer.BadParameter where one is none."""
    numbers = []
    for part in text.split(","):
        try:
            number = float(part)
        except ValueError:
            raise typer.BadParameter(f"{part.strip()!r} is no number; write 2, or 1,2,3") from None
        if not 0 < number < float("inf"):
            raise typer.BadParameter(f"{part.strip()!r}: {what} must be above 0")
        numbers.append(number)
    return tuple(dict.fromkeys(numbers))


def memory(count: int | None) -> str:
    """`1.2 GB`, or `unknown`."""
    if count is None:
        return "unknown"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
