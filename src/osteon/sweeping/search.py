"""What a search tries next: Optuna's sampler, given what was tried; the same history gives the same proposal."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from osteon.core.errors import UsageError
from osteon.sweeping.spec import Search, SearchRange

SEED_STRIDE = 100_003
"""A prime: the seeds of different searches' samplers do not meet."""

Attempt = tuple[Mapping[str, Any], float | None]
"""Values, and the Dice that they reached; None where the trial failed."""


def check_optuna() -> None:
    """Raises UsageError where Optuna is not installed."""
    try:
        import optuna  # noqa: F401 (whether it is there)
    except ImportError:
        raise UsageError(
            "a search needs Optuna, which is not installed", hint="pip install 'osteon[search]', or give a grid"
        ) from None


def propose(search: Search, history: Sequence[Attempt]) -> dict[str, Any]:
    """The values to try after those that were tried.

    Args:
        search: The ranges and lists.
        history: What was tried so far, in order.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spaces = {key: _distribution(optuna, over) for key, over in search.over.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's notes on its own experiments
        sampler = optuna.samplers.TPESampler(seed=search.seed * SEED_STRIDE + len(history))
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for values, dice in history:
            state = optuna.trial.TrialState.FAIL if dice is None else optuna.trial.TrialState.COMPLETE
            parameters = {key: _encode(search.over[key], value) for key, value in values.items()}
            study.add_trial(optuna.trial.create_trial(state=state, params=parameters, distributions=spaces, value=dice))
        proposed = study.ask(spaces).params
    return {key: _decode(over, proposed[key]) for key, over in search.over.items()}


def extreme_values(search: Search) -> list[dict[str, Any]]:
    """Values in which each key has each of its values, or either end of its range, at least once."""
    edges = {key: [over.low, over.high] if isinstance(over, SearchRange) else over for key, over in search.over.items()}
    base = {key: values[0] for key, values in edges.items()}
    combinations = [base]
    for key, values in edges.items():
        combinations += [{**base, key: value} for value in values[1:]]
    return combinations


def _distribution(optuna: Any, over: SearchRange | list[Any]) -> Any:
    if not isinstance(over, SearchRange):
        return optuna.distributions.CategoricalDistribution(tuple(range(len(over))))
    whole = isinstance(over.low, int) and isinstance(over.high, int)
    kind = optuna.distributions.IntDistribution if whole else optuna.distributions.FloatDistribution
    return kind(over.low, over.high, log=over.log)


def _encode(over: SearchRange | list[Any], value: Any) -> Any:
    return value if isinstance(over, SearchRange) else over.index(value)


def _decode(over: SearchRange | list[Any], value: Any) -> Any:
    if not isinstance(over, SearchRange):
        return over[value]
    if isinstance(value, int):
        return value
    return min(max(float(f"{value:.4g}"), over.low), over.high)  # as the run's name has it
