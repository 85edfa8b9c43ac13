"""Times, amounts of memory and lists of numbers, as people write them and read them."""

from __future__ import annotations

from osteon.core.errors import UsageError


def parse_seconds(text: str) -> float:
    """Seconds of `90`, `90s`, `20min`, `1.5h`, `7d`. Raises UsageError where it is none of these."""
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
        raise UsageError(f"{text!r} is not a valid length of time; write 90s, 20min or 1.5h") from None
    if not 0 < value < float("inf"):
        raise UsageError(f"{text!r}: a budget must be longer than nothing and end some day")
    return value


def parse_bytes(text: str) -> int:
    """Bytes of `4GB`, `500MB` or `4e9`. Raises UsageError where it is none of these."""
    number = text.strip().lower().removesuffix("b")
    factor = {"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}.get(number[-1:], 1)
    try:
        value = float(number[:-1] if factor != 1 else number) * factor
    except ValueError:
        raise UsageError(f"{text!r} is not a valid amount of memory; write 4GB or 500MB") from None
    if not 0 < value < float("inf"):
        raise UsageError(f"{text!r}: an amount of memory is more than nothing")
    return int(value)


def parse_numbers(text: str, what: str) -> tuple[float, ...]:
    """The numbers above 0 of `2` or `1,2,3`, each once. Raises UsageError where one is none."""
    numbers = []
    for part in text.split(","):
        try:
            number = float(part)
        except ValueError:
            raise UsageError(f"{part.strip()!r} is not a number; write 2, or 1,2,3") from None
        if not 0 < number < float("inf"):
            raise UsageError(f"{part.strip()!r}: {what} must be above 0")
        numbers.append(number)
    return tuple(dict.fromkeys(numbers))


def format_bytes(count: int | None) -> str:
    """`1.2 GB`, `20 MB`, `300 kB`, or `unknown`."""
    if count is None:
        return "unknown"
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
