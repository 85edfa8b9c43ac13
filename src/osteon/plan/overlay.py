"""Single keys of a plan, put in over what was decided: `--set training.learning_rate=1e-4`, a recipe's `plan:`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import yaml
from pydantic import ValidationError

from osteon.core.errors import PlanError, UsageError
from osteon.dataset.manifest import describe_errors
from osteon.plan.network_sections import TAGS
from osteon.plan.schema import Plan

FIXED = ("osteon", "dataset", "forecast")
"""What is no decision."""
EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")
"""1e-4 is a number to everyone but YAML 1.1."""


def overlay(plan: Plan, settings: Mapping[str, object], reason: str = "as asked") -> Plan:
    """The plan with `section.key` → value put in; the section says so under `why`.

    Args:
        plan: Left as it is.
        settings: A key is a section of the plan (`zoom`, to be taken away with None) or a path into one
            (`training.learning_rate`, `intensities.0.clip`).
        reason: Whose wish it is.

    Raises:
        PlanError: There is no such key (the nearest are named), or the plan makes no sense with the value.
    """
    if not settings:
        return plan
    data = plan.model_dump()
    for key, value in settings.items():
        _put(data, key, value, reason)
    try:
        return Plan.model_validate(data)
    except ValidationError as error:
        told = ", ".join(f"{key}={_short(value)}" for key, value in settings.items())
        raise PlanError(
            f"{told}: {describe_errors(error, TAGS)}", hint="correct the value, or leave the key out"
        ) from None


def known_keys(plan: Plan) -> list[str]:
    """Every key that `overlay` takes for this plan."""
    return list(_keys({name: part for name, part in plan.model_dump().items() if name not in FIXED}))


def parse_settings(texts: Iterable[str], option: str = "--set") -> dict[str, object]:
    """`section.key=value` from the command line; values are YAML.

    Raises:
        UsageError: One is not KEY=VALUE, not YAML, or given twice.
    """
    found: dict[str, object] = {}
    hint = f"{option} training.learning_rate=1e-4, for example"
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(f"{option}: {text!r} is not KEY=VALUE", hint=hint)
        if key in found:
            raise UsageError(f"{option}: {key} is given twice", hint=hint)
        try:
            found[key] = numbers(yaml.safe_load(value))
        except yaml.YAMLError:
            raise UsageError(f"{option} {key}: {value!r} is not a value in YAML", hint=hint) from None
    return found


def numbers(value: Any) -> Any:
    """What YAML gave, with numbers such as 1e-4 as numbers."""
    if isinstance(value, str):
        return float(value) if EXPONENT.fullmatch(value) else value
    if isinstance(value, list):
        return [numbers(part) for part in value]
    if isinstance(value, dict):
        return {key: numbers(part) for key, part in value.items()}
    return value


def flat_settings(sections: Mapping[str, object]) -> dict[str, object]:
    """`{section: {key: value}}` as `{section.key: value}`; a section that is no mapping is taken as a whole."""
    found: dict[str, object] = {}
    for section, content in sections.items():
        if isinstance(content, Mapping):
            found |= {f"{section}.{key}": value for key, value in content.items()}
        else:
            found[section] = content
    return found


def nearest(name: str, names: Sequence[str], least: float = 0.5) -> str:
    """The names most like one that does not exist; all of a few where none is."""
    near = get_close_matches(name, names, 3, least) or (list(names) if len(names) <= 20 else list(names)[:8])
    return ", ".join(near)


def _put(data: dict[str, Any], key: str, value: object, reason: str) -> None:
    first, *way = key.split(".")
    if first in FIXED or first not in data:
        raise _unknown(key, data)
    if not way:
        data[first] = value
        return
    section = place = data[first]
    for part in way[:-1]:
        place = _step(place, part, key, data)
    _step(place, way[-1], key, data)
    place[int(way[-1]) if isinstance(place, list | tuple) else way[-1]] = value
    if isinstance(section, list):
        section = section[int(way[0])]
    if "why" in section and way[-1] != "why":
        section["why"] = [*section["why"], f"{'.'.join(way)} {_short(value)}: {reason}"]


def _step(place: Any, part: str, key: str, data: dict[str, Any]) -> Any:
    if isinstance(place, dict) and part in place:
        return place[part]
    if isinstance(place, list) and part.isdigit() and int(part) < len(place):
        return place[int(part)]
    raise _unknown(key, data)


def _unknown(key: str, data: dict[str, Any]) -> PlanError:
    section = key.partition(".")[0]
    if section in data and section not in FIXED and data[section] is None:
        return PlanError(
            f"{key}: the plan has no section {section}", hint=f"it is made where it is needed (--{section})"
        )
    known = list(_keys({name: part for name, part in data.items() if name not in FIXED}))
    here = [name for name in known if name.startswith(f"{section}.")]
    tails = {name.rpartition(".")[2]: name for name in known}
    near = get_close_matches(key, known, 3, 0.75)
    near += [
        tails[tail] for tail in get_close_matches(key.rpartition(".")[2], tails, 2, 0.8) if tails[tail] not in near
    ]
    hint = f"near it: {', '.join(near or here or [name for name in data if name not in FIXED])}"
    return PlanError(f"{key}: the plan has no such key", hint=hint)


def _keys(data: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for name, value in data.items():
        if name == "why":
            continue
        key = f"{before}{name}"
        if isinstance(value, dict):
            yield from _keys(value, f"{key}.")
        elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
            for number, part in enumerate(value):
                yield from _keys(part, f"{key}.{number}.")
        else:
            yield key


def _short(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000).strip().removesuffix("...").strip()
