"""How is voted: the method, how many votes are needed, how much each member's vote counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from osteon.core.errors import UsageError
from osteon.core.files import read_yaml
from osteon.voting.decision import VoteWeights

Method = Literal["hard", "soft", "staple"]
Threshold = float | str | Path | Mapping[str, float]
Weights = str | Path | Sequence[float]

UNIT = 1_000_000
"""Weights are whole millionths of a vote: sums are exact, so that .1 + .2 is .3, and a tie is a tie."""
HIGHEST_WEIGHT = 1000.0
"""The largest weight and threshold."""


@dataclass(frozen=True)
class VoteRules:
    """How is voted.

    Attributes:
        method: `hard` counts votes, `soft` averages probabilities, `staple` estimates how good each member is.
        threshold: Votes that a structure needs; None: more than half of those that voted.
        thresholds: The same for single structures.
        weights: One for each member, for all structures; None: each counts 1.
        weights_of: The same for single structures.
        named: Structures that were named by hand, and must exist.
    """

    method: Method = "hard"
    threshold: float | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    weights: tuple[float, ...] | None = None
    weights_of: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    named: tuple[str, ...] = ()

    def weight(self, structure: str, members: int) -> tuple[float, ...]:
        """What each member's vote on a structure counts."""
        return self.weights_of.get(structure, self.weights or (1.0,) * members)

    def scale(self, structure: str, voting: Sequence[bool]) -> VoteWeights:
        """For a hard vote on a structure.

        Args:
            structure: Its name.
            voting: For each member, whether it votes here.
        """
        weights = np.rint(np.array(self.weight(structure, len(voting))) * UNIT) * np.array(voting)
        threshold = self.thresholds.get(structure, self.threshold)
        enough = weights.sum() // 2 + 1 if threshold is None else round(threshold * UNIT)
        return VoteWeights(weights, float(enough))

    def to_dict(self) -> dict[str, Any]:
        """For the record of a vote: what decides its result."""
        return {
            "method": self.method,
            "threshold": self.threshold,
            "thresholds": dict(self.thresholds),
            "weights": None if self.weights is None else list(self.weights),
            "weights_of": {name: list(weights) for name, weights in self.weights_of.items()},
        }


def make_rules(
    method: Method, members: int, threshold: Threshold | None = None, weights: Weights | None = None
) -> VoteRules:
    """Rules from what a user says.

    Args:
        method: See `VoteRules`.
        members: How many there are.
        threshold: A number, `NAME=2,…` or both (`2,NAME=1`), or a YAML file with `thresholds` as `--fit` writes it.
        weights: A number for each member, or a YAML file with `weights` for each structure.

    Raises:
        UsageError: They make no sense, or do not go with the method.
        FileError: A file is missing or not YAML.
    """
    if threshold is not None and method != "hard":
        raise UsageError(f"--threshold counts votes, and --method {method} counts none", hint="leave one of them out")
    if weights is not None and method == "staple":
        raise UsageError("--method staple finds the weights itself", hint="leave --weights out")
    common, single = _thresholds(threshold)
    every, own = _weights(weights, members)
    rules = VoteRules(method, common, single, every, own, () if _is_file(threshold) else tuple(single))
    for where, threshold in [("", common), *((f"{name}=", value) for name, value in single.items())]:
        name = where.removesuffix("=")
        most = sum(rules.weight(name, members))
        if threshold is not None and threshold > most + 0.5 / UNIT:
            raise UsageError(
                f"--threshold {where}{threshold:g}: the {members} members have {most:g} votes together",
                hint="give a smaller threshold, or more members",
            )
    return rules


def _is_file(value: object) -> bool:
    return isinstance(value, Path) or (isinstance(value, str) and value.lower().endswith((".yaml", ".yml")))


def _thresholds(given: Threshold | None) -> tuple[float | None, dict[str, float]]:
    """For all structures, and for single ones."""
    if given is None:
        return None, {}
    if isinstance(given, int | float):
        return _number(given, "--threshold", positive=True), {}
    if isinstance(given, Mapping):
        return None, {name: _number(value, f"--threshold {name}=", positive=True) for name, value in given.items()}
    if _is_file(given):
        found = _section(Path(given), "thresholds")
        return None, {name: _number(value, f"{given}: {name}", positive=True) for name, value in found.items()}
    common: float | None = None
    single: dict[str, float] = {}
    for part in str(given).split(","):
        name, equals, value = (piece.strip() for piece in part.rpartition("="))
        if (equals and not name) or name in single or (not equals and common is not None):
            raise UsageError(f"--threshold {given}: {part!r} is not NAME=VOTES, or is listed twice", hint=_FORMS)
        number = _number(value, f"--threshold {part}", positive=True)
        if equals:
            single[name] = number
        else:
            common = number
    return common, single


_FORMS = "--threshold 2, --threshold NAME=2,OTHER=3, --threshold 2,NAME=1, or a file that `osteon vote --fit` wrote"


def _weights(given: Weights | None, members: int) -> tuple[tuple[float, ...] | None, dict[str, tuple[float, ...]]]:
    """For all structures, and for single ones."""
    if given is None:
        return None, {}
    if _is_file(given):
        path = Path(str(given))
        return None, {name: _row(row, f"{path}: {name}", members) for name, row in _section(path, "weights").items()}
    values = str(given).split(",") if isinstance(given, str) else given
    return _row(values, "--weights", members), {}


def _row(values: object, where: str, members: int) -> tuple[float, ...]:
    if not isinstance(values, list | tuple) or len(values) != members:
        count = len(values) if isinstance(values, list | tuple) else 1
        raise UsageError(f"{where}: {count} weights for {members} members", hint="give one for each member, in order")
    row = tuple(_number(value, where) for value in values)
    if not any(row):
        raise UsageError(f"{where}: no member's vote counts", hint="give at least one weight above 0")
    return row


def _section(path: Path, key: str) -> dict[str, Any]:
    data = read_yaml(path, f"the file of {key}")
    found = data.get(key) if isinstance(data, dict) else None
    if not isinstance(found, dict):
        raise UsageError(f"{path}: holds no {key}", hint=f"give a file that `osteon vote --fit` wrote with {key}")
    return {str(name): value for name, value in found.items()}


def _number(value: object, where: str, *, positive: bool = False) -> float:
    """A number from 0 on, or above it. Raises UsageError."""
    try:
        number = float(str(value))
    except ValueError:
        number = float("nan")
    if not (1 / UNIT if positive else 0) <= number <= HIGHEST_WEIGHT:
        lower_bound = "above 0" if positive else "from 0"
        raise UsageError(
            f"{where}: {value!r} is not a number {lower_bound} to {HIGHEST_WEIGHT:g}", hint=_FORMS if positive else ""
        )
    return number
