"""What a search tries next: Optuna's sampler, given what was tried; the same history gives the same proposal."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from osteon.core.errors import UsageError
from osteon.sweeping.spec import Between, Search

SPREAD = 100_003
"""A prime: the seeds of different searches' samplers do not meet."""

Tried = tuple[Mapping[str, Any], float | None]
"""Values, and the Dice that they reached; None where the trial failed."""


def check_optuna() -> None:
    """Raises UsageError where Optuna is not installed."""
    try:
        import optuna  # noqa: F401 (whether it is there)
    except ImportError:
        raise UsageError(
            "a search needs Optuna, which is not installed", hint="pip install 'osteon[search]', or give a grid"
        ) from None


def propose(search: Search, history: Sequence[Tried]) -> dict[str, Any]:
    """The values to try after those that were tried.

    Args:
        search: The ranges and lists.
        history: What was tried so far, in order.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spaces = {key: _space(optuna, over) for key, over in search.over.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's notes on its own experiments
        sampler = optuna.samplers.TPESampler(seed=search.seed * SPREAD + len(history))
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for values, dice in history:
            state = optuna.trial.TrialState.FAIL if dice is None else optuna.trial.TrialState.COMPLETE
            parameters = {key: _to_space(search.over[key], value) for key, value in values.items()}
            study.add_trial(optuna.trial.create_trial(state=state, params=parameters, distributions=spaces, value=dice))
        asked = study.ask(spaces).params
    return {key: _from_space(over, asked[key]) for key, over in search.over.items()}


def extremes(search: Search) -> list[dict[str, Any]]:
    """Values in which each key has each of its values, or either end of its range, at least once."""
    edges = {key: [over.low, over.high] if isinstance(over, Between) else over for key, over in search.over.items()}
    first = {key: values[0] for key, values in edges.items()}
    found = [first]
    for key, values in edges.items():
        found += [{**first, key: value} for value in values[1:]]
    return found


def _space(optuna: Any, over: Between | list[Any]) -> Any:
    if not isinstance(over, Between):
        return optuna.distributions.CategoricalDistribution(tuple(range(len(over))))
    whole = isinstance(over.low, int) and isinstance(over.high, int)
    kind = optuna.distributions.IntDistribution if whole else optuna.distributions.FloatDistribution
    return kind(over.low, over.high, log=over.log)


def _to_space(over: Between | list[Any], value: Any) -> Any:
    return value if isinstance(over, Between) else over.index(value)


def _from_space(over: Between | list[Any], value: Any) -> Any:
    if not isinstance(over, Between):
        return over[value]
    if isinstance(value, int):
        return value
    return min(max(float(f"{value:.4g}"), over.low), over.high)  # as the run's name has it
