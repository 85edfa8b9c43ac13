"""The tree of errors."""

from __future__ import annotations

import pickle
import re

import pytest

from osteon.core import errors
from osteon.core.errors import CaseError, OsteonError, PlanError, UsageError


def all_kinds(kind: type[OsteonError] = OsteonError) -> list[type[OsteonError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in all_kinds(child))]


# Answers of HTTP have a status, too; whether they are known here depends on what other tests have imported.
KINDS = [kind for kind in all_kinds() if not kind.__module__.startswith("osteon.web")]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_crosses_process_borders_with_its_hint(kind: type[OsteonError]) -> None:
    again = pickle.loads(pickle.dumps(kind("a.nii: is broken", hint="copy it")))
    assert type(again) is kind
    assert (again.message, again.hint) == ("a.nii: is broken", "copy it")
    assert str(again) == "a.nii: is broken\n  → copy it"
    assert str(kind("alone")) == "alone"


@pytest.mark.parametrize("kind", KINDS)
def test_misuse_exits_with_2_and_bad_data_with_1(kind: type[OsteonError]) -> None:
    assert kind.exit_code == (2 if issubclass(kind, UsageError) else 1)
    assert kind is OsteonError or issubclass(kind, (UsageError, CaseError))


def test_the_docstring_draws_the_tree_as_it_is() -> None:
    drawn = re.findall(r"^[ │├└─]*(\w+Error)\b", errors.__doc__ or "", re.MULTILINE)
    here = [kind for kind in all_kinds() if kind.__module__ == errors.__name__]
    assert drawn == [kind.__name__ for kind in here]
    assert issubclass(PlanError, UsageError)
