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

FIXED_SECTIONS = ("osteon", "dataset", "forecast")
"""What is no decision."""
SCIENTIFIC_NOTATION = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")
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
        _set_key(data, key, value, reason)
    try:
        return Plan.model_validate(data)
    except ValidationError as error:
        listed = ", ".join(f"{key}={_to_yaml(value)}" for key, value in settings.items())
        raise PlanError(
            f"{listed}: {describe_errors(error, TAGS)}", hint="correct the value, or leave the key out"
        ) from None


def known_keys(plan: Plan) -> list[str]:
    """Every key that `overlay` takes for this plan."""
    return list(_iterate_keys({name: part for name, part in plan.model_dump().items() if name not in FIXED_SECTIONS}))


def parse_settings(texts: Iterable[str], option: str = "--set") -> dict[str, object]:
    """`section.key=value` from the command line; values are YAML.

    Raises:
        UsageError: One is not KEY=VALUE, not YAML, or given twice.
    """
    settings: dict[str, object] = {}
    hint = f"{option} training.learning_rate=1e-4, for example"
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(f"{option}: {text!r} is not KEY=VALUE", hint=hint)
        if key in settings:
            raise UsageError(f"{option}: {key} is given twice", hint=hint)
        try:
            settings[key] = parse_numbers(yaml.safe_load(value))
        except yaml.YAMLError:
            raise UsageError(f"{option} {key}: {value!r} is not a value in YAML", hint=hint) from None
    return settings


def parse_numbers(value: Any) -> Any:
    """What YAML gave, with numbers such as 1e-4 as numbers."""
    if isinstance(value, str):
        return float(value) if SCIENTIFIC_NOTATION.fullmatch(value) else value
    if isinstance(value, list):
        return [parse_numbers(part) for part in value]
    if isinstance(value, dict):
        return {key: parse_numbers(part) for key, part in value.items()}
    return value


def flatten_settings(sections: Mapping[str, object]) -> dict[str, object]:
    """`{section: {key: value}}` as `{section.key: value}`; a section that is no mapping is taken as a whole."""
    settings: dict[str, object] = {}
    for section, content in sections.items():
        if isinstance(content, Mapping):
            settings |= {f"{section}.{key}": value for key, value in content.items()}
        else:
            settings[section] = content
    return settings


def closest_names(name: str, names: Sequence[str], least: float = 0.5) -> str:
    """The names most like one that does not exist; all of a few where none is."""
    close = get_close_matches(name, names, 3, least) or (list(names) if len(names) <= 20 else list(names)[:8])
    return ", ".join(close)


def _set_key(data: dict[str, Any], key: str, value: object, reason: str) -> None:
    first, *path = key.split(".")
    if first in FIXED_SECTIONS or first not in data:
        raise _unknown_key_error(key, data)
    if not path:
        data[first] = value
        return
    section = value_at = data[first]
    for part in path[:-1]:
        value_at = _enter(value_at, part, key, data)
    _enter(value_at, path[-1], key, data)
    value_at[int(path[-1]) if isinstance(value_at, list | tuple) else path[-1]] = value
    if isinstance(section, list):
        section = section[int(path[0])]
    if "why" in section and path[-1] != "why":
        section["why"] = [*section["why"], f"{'.'.join(path)} {_to_yaml(value)}: {reason}"]


def _enter(container: Any, part: str, key: str, data: dict[str, Any]) -> Any:
    if isinstance(container, dict) and part in container:
        return container[part]
    if isinstance(container, list) and part.isdigit() and int(part) < len(container):
        return container[int(part)]
    raise _unknown_key_error(key, data)


def _unknown_key_error(key: str, data: dict[str, Any]) -> PlanError:
    section = key.partition(".")[0]
    if section in data and section not in FIXED_SECTIONS and data[section] is None:
        return PlanError(
            f"{key}: the plan has no section {section}", hint=f"it is made where it is needed (--{section})"
        )
    known = list(_iterate_keys({name: part for name, part in data.items() if name not in FIXED_SECTIONS}))
    in_section = [name for name in known if name.startswith(f"{section}.")]
    tails = {name.rpartition(".")[2]: name for name in known}
    close = get_close_matches(key, known, 3, 0.75)
    close += [
        tails[tail] for tail in get_close_matches(key.rpartition(".")[2], tails, 2, 0.8) if tails[tail] not in close
    ]
    hint = f"near it: {', '.join(close or in_section or [name for name in data if name not in FIXED_SECTIONS])}"
    return PlanError(f"{key}: the plan has no such key", hint=hint)


def _iterate_keys(data: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for name, value in data.items():
        if name == "why":
            continue
        key = f"{before}{name}"
        if isinstance(value, dict):
            yield from _iterate_keys(value, f"{key}.")
        elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
            for number, part in enumerate(value):
                yield from _iterate_keys(part, f"{key}.{number}.")
        else:
            yield key


def _to_yaml(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000).strip().removesuffix("...").strip()
